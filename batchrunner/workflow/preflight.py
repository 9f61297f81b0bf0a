"""What a server's own list of nodes says about a workflow, before it is sent: what would fail at four fails now.

`/object_info` maps a class to its inputs, each `[type, options]`; the choices of an older node are the list in place of
the type, those of a newer one `["COMBO", {"options": [...]}]`. Newer servers check the second kind when a prompt is
posted, older ones only when the node runs, after all the sampling (docs/comfyui.md §3, §19).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchrunner.text import did_you_mean, listing, printable, quote
from batchrunner.workflow.graph import is_link
from batchrunner.workflow.values import MEDIA, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batchrunner.core.job import Json


ANY_CLASS = "*"
"""A class that only the simulator lists, unless it is strict: it runs every other one too (docs/simulator.md)."""


def check_against(object_info: Json, graph: Mapping[str, Json], ours: frozenset[str] = frozenset()) -> list[str]:
    """Return what the server lacks to run `graph` (as it is sent), one line each, with a suggestion where one is near.

    An answer of another shape than expected is no evidence: nothing is said about what it does not tell. Nor is
    anything said of files that it is not there to know: `ours`, which are uploaded later, and at a loader those in a
    folder of their own, which its list leaves out (docs/comfyui.md §19).
    """
    return list(_check_graph(object_info, graph, ours)) if isinstance(object_info, dict) and object_info else []


def _refused(described: Json, name: str, value: Json) -> str | None:
    """Return why a server would refuse `value` for an input of a class it describes so, or None."""
    spec = _inputs(described, "required", "optional").get(name)
    match spec:
        case [list(choices), *_] | ["COMBO", {"options": list(choices)}]:
            return _choice(value, choices)
        case ["INT" | "FLOAT", dict(options)]:
            return _bounds(value, options)
        case _:
            return None


def _check_graph(classes: Mapping[str, Json], graph: Mapping[str, Json], ours: frozenset[str]) -> Iterator[str]:
    for key, node in graph.items():
        match node:
            case {"class_type": str(class_type), "inputs": dict(inputs)}:
                yield from _check_node(classes, key, class_type, inputs, ours)


def _check_node(
    classes: Mapping[str, Json], key: str, class_type: str, inputs: Mapping[str, Json], ours: frozenset[str]
) -> Iterator[str]:
    where = f"node {printable(key)} ({printable(class_type)})"
    if class_type not in classes and ANY_CLASS in classes:
        return
    if class_type not in classes:
        near = did_you_mean(class_type, classes)
        yield f"{where}: the server has no such node{near or '; a custom node pack may be missing there'}"
        return
    for name in _inputs(classes[class_type], "required"):
        if name not in inputs:
            yield f"{where}: {printable(name)} is required and missing"
    for name, value in inputs.items():
        unknown = is_link(value) or _is_unlisted(class_type, name, value, ours)
        wrong = None if unknown else _refused(classes[class_type], name, value)
        if wrong is not None:
            yield f"{where}: {printable(name)} {wrong}"


def _is_unlisted(class_type: str, name: str, value: Json, ours: frozenset[str]) -> bool:
    """Tell whether a server that can load this file need not list it."""
    if not isinstance(value, str):
        return False
    return value in ours or ((class_type, name) in MEDIA and ("/" in value or value.endswith("]")))


def _inputs(described: Json, *kinds: str) -> dict[str, Json]:
    groups = described.get("input") if isinstance(described, dict) else None
    found: dict[str, Json] = {}
    for kind in kinds:
        group = groups.get(kind) if isinstance(groups, dict) else None
        found |= group if isinstance(group, dict) else {}
    return found


def _choice(value: Json, choices: list[Json]) -> str | None:
    if value in choices:
        return None
    texts = [choice for choice in choices if isinstance(choice, str)]
    said = quote(value) if isinstance(value, str) else _said(value)
    near = did_you_mean(value, texts) if isinstance(value, str) else ""
    return f"must be one of {listing(texts, 8)}, not {said}{near}"


def _bounds(value: Json, options: Mapping[str, Json]) -> str | None:
    low, high = options.get("min"), options.get("max")
    if isinstance(value, int | float) and not isinstance(value, bool):
        if isinstance(low, int | float) and value < low:
            return f"must be at least {shown(low)}, not {_said(value)}"
        if isinstance(high, int | float) and value > high:
            return f"must be at most {shown(high)}, not {_said(value)}"
    return None


def _said(value: Json) -> str:
    return "that" if isinstance(value, list | dict) else shown(value)
