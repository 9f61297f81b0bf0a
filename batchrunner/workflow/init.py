"""A first manifest for an exported workflow, to read, to run as it is, and to change."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from batchrunner.core.job import PREFIX_INPUT
from batchrunner.text import printable
from batchrunner.workflow.graph import links
from batchrunner.workflow.values import LONGEST_TEXT, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from batchrunner.core.job import Json
    from batchrunner.workflow.graph import Graph, Node

    Places = Mapping[str, Sequence[tuple[str, str]]]

_SWEPT = ("prompt", "seed")
_MOST_LEFT = 30


def first_manifest(workflow_path_name: str, graph: Graph) -> str:
    """Return a commented manifest (YAML) for the workflow saved as `workflow_path_name`, beside it.

    It names the inputs that were recognised, keeps the values that stand in the workflow, and sweeps the seed; loading
    it gives a sound batch without a change.
    """
    params = find_params(graph)
    parts = [_head(workflow_path_name), _params(graph, params), _defaults(graph, params), _sweep(graph, params)]
    return "\n".join(part for part in parts if part)


def yaml_text(text: str) -> str:
    """Return `text` as a double-quoted YAML scalar that reads back unchanged."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{"".join(char if char.isprintable() else _escape(char) for char in escaped)}"'


def _head(path: str) -> str:
    stem = path.replace("\\", "/").rsplit("/", 1)[-1].removesuffix(".json")
    name = re.sub(r"\.{2,}|[^A-Za-z0-9._-]+", "-", stem).strip("-.")[:64].strip(".") or "batch"
    return f"""\
# A first manifest. `batchrunner plan` shows what it would do; change it, look again, then `batchrunner run` it.
# yaml-language-server: $schema=./manifest.schema.json
name: {yaml_text(name)}
server: http://127.0.0.1:8188  # where ComfyUI listens; several as a list; `sim` needs none
ttl: none  # your own server keeps its files; say `10m` where something deletes them after ten minutes
workflow: {yaml_text(path)}
"""


def _params(graph: Graph, params: Places) -> str:
    lines = ["params:  # a name of your choice, and the input, or inputs, that it drives"]
    for name, places in params.items():
        selectors = [yaml_text(f"{key}.{name}") for key, name in places]
        value = selectors[0] if len(selectors) == 1 else f"[{', '.join(selectors)}]"
        node = graph[places[0][0]]
        lines.append(f"  {name}: {value}  # {printable(node.title or node.class_type, 60)}")
    taken = {place for places in params.values() for place in places}
    left = [place for place in free_inputs(graph) if place not in taken]
    if left:
        lines.append("  # what else could be named here:")
        lines += [
            f"  #   {printable(graph[key].class_type, 60)}: {printable(key)}.{printable(name)}"
            for key, name in left[:_MOST_LEFT]
        ]
    return "\n".join(lines) + "\n" if params else ""


def _defaults(graph: Graph, params: Places) -> str:
    lines = list(_values(graph, {name: places for name, places in params.items() if name not in _SWEPT}))
    return (
        "\n".join(["defaults:  # every job starts from these; now they are what the workflow holds", *lines, ""])
        if lines
        else ""
    )


def _sweep(graph: Graph, params: Places) -> str:
    lines = ["sweep:  # a list is an axis; axes multiply"]
    prompt = next(iter(_values(graph, {"prompt": params["prompt"]})), None) if "prompt" in params else None
    if prompt is not None:
        lines += ["  prompt:", f"    - {prompt.removeprefix('  prompt: ')}"]
    if "seed" in params:
        lines.append("  seed: {count: 2}  # the same two for every prompt")
    if len(lines) == 1:
        lines.append("  _take: [1]  # nothing to sweep was recognised: name it under params, then list its values here")
    return "\n".join(lines) + "\n"


def _values(graph: Graph, params: Places) -> Iterator[str]:
    for name, places in params.items():
        key, source = places[0]
        value = graph[key].inputs[source]
        if isinstance(value, str) and len(value) <= LONGEST_TEXT and "${" not in value:
            yield f"  {name}: {yaml_text(value)}"
        elif isinstance(value, int | float):
            yield f"  {name}: {shown(value)}"


def _escape(char: str) -> str:
    code = ord(char)
    if code > 0xFFFF:
        return f"\\U{code:08x}"
    return f"\\u{code:04x}" if code > 0xFF else f"\\x{code:02x}"


# -- Guessing which inputs of a strange workflow a person would want to sweep, by their names and what they feed.


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
