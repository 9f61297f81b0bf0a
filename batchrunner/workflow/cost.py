"""How much work a job is: width x height x frames x steps (x batch), wherever a workflow keeps them.

Measured times follow that product closely enough to plan a night.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchrunner.workflow.init_roles import find_roles, value_at

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchrunner.core.job import Scalar
    from batchrunner.workflow.graph import Graph
    from batchrunner.workflow.init_roles import Place
    from batchrunner.workflow.params import Template


class Effort:
    """The product, for one template's jobs."""

    def __init__(self, template: Template) -> None:
        driven = {(target.node, target.input): name for name, p in template.params.items() for target in p.targets}
        self._factors = [(driven.get(place), value_at(template.graph, place)) for place in _factors(template.graph)]

    def cost(self, values: Mapping[str, Scalar]) -> float:
        """Return the product, or 0 where the workflow does not say its size or steps."""
        product = 1.0 if self._factors else 0.0
        for name, own in self._factors:
            value = values.get(name, own) if name else own
            product *= float(value) if isinstance(value, int | float) else 1.0
        return product


def _factors(graph: Graph) -> list[Place]:
    """Return the places that multiply: size, frames and steps of the first stage, and the latents' batch."""
    roles = find_roles(graph).params
    if not {"width", "height", "steps"} <= roles.keys():
        return []
    batches = [(key, "batch_size") for key, node in graph.items() if "Latent" in node.class_type]
    batch = [place for place in batches if isinstance(value_at(graph, place), int)][:1]
    return list(
        dict.fromkeys([*(roles[name][0] for name in ("width", "height", "length", "steps") if name in roles), *batch])
    )
