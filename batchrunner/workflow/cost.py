"""How much work a job is: width x height x frames x steps (x batch), wherever a workflow keeps them.

Measured times follow that product closely enough to plan a night.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchrunner.workflow.graph import is_link

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchrunner.core.job import Scalar
    from batchrunner.workflow.graph import Graph
    from batchrunner.workflow.params import Template

_FRAMES = ("length", "num_frames", "video_frames", "frames", "frames_number")


class Effort:
    """The product, for one template's jobs."""

    def __init__(self, template: Template) -> None:
        self._template = template
        self._factors = _factors(template.graph)
        driven = {(target.node, target.input): name for name, p in template.params.items() for target in p.targets}
        self._names = [driven.get(place) for place in self._factors]
        self._own = [template.graph[node].inputs[name] for node, name in self._factors]

    def cost(self, values: Mapping[str, Scalar]) -> float:
        """Return the product, or 0 where the workflow does not say its size or steps."""
        product = 1.0 if self._factors else 0.0
        for name, own in zip(self._names, self._own, strict=True):
            value = values.get(name, own) if name else own
            product *= float(value) if isinstance(value, int | float) else 1.0
        return product


def _factors(graph: Graph) -> list[tuple[str, str]]:
    """Return the inputs that multiply: a node's own width and height, frames and batch, and some node's steps."""
    sized = [key for key in graph if _is_number(graph, key, "width") and _is_number(graph, key, "height")]
    latents = [key for key in sized if "Latent" in graph[key].class_type] or sized
    stepped = [key for key in graph if _is_number(graph, key, "steps")]
    if not latents or not stepped:
        return []
    size = latents[0]
    frames = [name for name in _FRAMES if _is_number(graph, size, name)][:1]
    batch = ["batch_size"] if _is_number(graph, size, "batch_size") else []
    return [*((size, name) for name in ("width", "height", *frames, *batch)), (stepped[0], "steps")]


def _is_number(graph: Graph, node: str, name: str) -> bool:
    value = graph[node].inputs.get(name)
    return isinstance(value, int | float) and not isinstance(value, bool) and not is_link(value)
