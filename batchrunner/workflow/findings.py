"""Guessing which inputs of a strange workflow a person would want to sweep, by their names and what they feed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchrunner.core.identity import PREFIX_INPUT
from batchrunner.workflow.graph import links

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batchrunner.core.identity import Json
    from batchrunner.workflow.graph import Graph, Node

_TEXTS = ("text", "prompt", "text_g", "text_l", "clip_l", "t5xxl", "positive_prompt", "value", "string")
_NAMES: dict[str, tuple[str, ...]] = {
    "width": ("width",),
    "height": ("height",),
    "length": ("length", "frames_number", "num_frames", "video_frames", "frames"),
    "fps": ("fps", "frame_rate"),
    "seed": ("seed", "noise_seed"),
    "steps": ("steps",),
    "cfg": ("cfg", "guidance", "guidance_scale"),
}


def find_params(graph: Graph) -> dict[str, list[tuple[str, str]]]:
    """Return parameter -> the (node, input) pairs that it should drive; only those that are there."""
    found: dict[str, list[tuple[str, str]]] = {}
    positive = _texts_towards(graph, "positive") or _named_texts(graph, "positive") or _any_text(graph)
    negative = _texts_towards(graph, "negative") or _named_texts(graph, "negative")
    found["prompt"] = positive
    found["negative"] = [place for place in negative if place not in positive]
    for param, names in _NAMES.items():
        found[param] = _agreeing(graph, names)
    return {param: places for param, places in found.items() if places}


def free_inputs(graph: Graph) -> Iterator[tuple[str, str]]:
    """Yield every (node, input) that holds a value of its own."""
    for key, node in graph.items():
        for name, value in node.inputs.items():
            if isinstance(value, str | int | float) and name != PREFIX_INPUT:
                yield key, name


def _agreeing(graph: Graph, names: Sequence[str]) -> list[tuple[str, str]]:
    """Return the first number of such a name, and all that hold the same: they agree now, so they belong together."""
    places = [(key, name) for key, name in free_inputs(graph) if name in names and _is_number(graph[key].inputs[name])]
    if not places:
        return []
    key, name = places[0]
    first = graph[key].inputs[name]
    return [(key, name) for key, name in places if graph[key].inputs[name] == first]


def _texts_towards(graph: Graph, side: str) -> list[tuple[str, str]]:
    """Return the texts that reach some node's input `positive` or `negative`, walking the links upwards."""
    starts = [feeds[side] for node in graph.values() if side in (feeds := links(node))]
    seen: set[str] = set()
    for start in starts:
        waiting = [start]
        while waiting:
            key = waiting.pop(0)
            if key in seen or key not in graph:
                continue
            seen.add(key)
            texts = _texts(graph, key)
            if texts:
                return texts
            feeds = links(graph[key])
            waiting += [feeds[side]] if side in feeds else feeds.values()
    return []


def _texts(graph: Graph, key: str) -> list[tuple[str, str]]:
    inputs = graph[key].inputs
    return [(key, name) for name in _TEXTS if isinstance(inputs.get(name), str)]


def _named_texts(graph: Graph, side: str) -> list[tuple[str, str]]:
    """Return texts whose input or node is called after a side."""
    for key, node in graph.items():
        for name, value in node.inputs.items():
            if isinstance(value, str) and side in name.lower():
                return [(key, name)]
        if side in node.title.lower() and _texts(graph, key):
            return _texts(graph, key)
    return []


def _any_text(graph: Graph) -> list[tuple[str, str]]:
    return next((texts for key, node in graph.items() if _encodes(node) and (texts := _texts(graph, key))), [])


def _encodes(node: Node) -> bool:
    return "Encode" in node.class_type or "Prompt" in node.class_type


def _is_number(value: Json) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
