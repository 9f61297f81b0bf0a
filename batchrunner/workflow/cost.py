"""How much work a job is, in sampler steps of one size, wherever a workflow keeps them.

A step's time grows with the 0.4th power of width x height x frames x batch: so the published times of the deployed
server are met within 6 % (docs/comfyui.md §17). Measured ones replace that guess, kind of job by kind of job.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchrunner.workflow.init_roles import find_roles, value_at

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchrunner.core.job import Json, Scalar
    from batchrunner.workflow.graph import Graph
    from batchrunner.workflow.init_roles import Place
    from batchrunner.workflow.params import Template

_REFERENCE = 768 * 512 * 121
"""The volume at which a step counts 1."""
_POWER = 0.4
_LARGEST = 1_000_000
"""Of a number of steps or pixels: nobody renders more, and a forecast can count with it."""


class Effort:
    """The steps, for one template's jobs, each by the size it works on."""

    def __init__(self, template: Template) -> None:
        driven = {(target.node, target.input): name for name, p in template.params.items() for target in p.targets}
        steps, sizes = _places(template.graph)
        self._steps = [(driven.get(place), value_at(template.graph, place)) for place in steps]
        self._sizes = [(driven.get(place), value_at(template.graph, place)) for place in sizes]

    def cost(self, values: Mapping[str, Scalar]) -> float:
        """Return them, or 0 where the workflow does not say its size or steps."""
        if not self._steps:
            return 0.0
        volume = _product(self._sizes, values) / _REFERENCE
        return float(f"{_product(self._steps, values) * volume**_POWER:.6g}")  # the same on every machine


def _product(factors: list[tuple[str | None, Json]], values: Mapping[str, Scalar]) -> float:
    product = 1.0
    for name, own in factors:
        value: Json = values.get(name, own) if name else own
        product *= float(min(max(0, value), _LARGEST)) if isinstance(value, int | float) else 1.0
    return product


def _places(graph: Graph) -> tuple[list[Place], list[Place]]:
    """Return the places of the first stage's steps, and of its size: width, height, frames, and the latents' batch."""
    roles = find_roles(graph).params
    if not {"width", "height", "steps"} <= roles.keys():
        return [], []
    batches = [(key, "batch_size") for key, node in graph.items() if "Latent" in node.class_type]
    batch = [place for place in batches if isinstance(value_at(graph, place), int)][:1]
    sizes = [roles[name][0] for name in ("width", "height", "length") if name in roles]
    return [roles["steps"][0]], list(dict.fromkeys([*sizes, *batch]))
