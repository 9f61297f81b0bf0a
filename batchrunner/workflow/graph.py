"""A workflow in ComfyUI's API format: numbered nodes, each with a class and its inputs, checked once when it is read.

`{"4": {"class_type": "KSampler", "inputs": {"seed": 1, "model": ["1", 0]}}}`: an input is a value, or a link, which
is a list of a node id and the number of that node's output. Every node must have `inputs`: a node without them can
end a server's worker for good (docs/comfyui.md §4).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, TypeAlias, TypeGuard

from batchrunner.errors import YoursError
from batchrunner.text import printable, quote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batchrunner.core.job import Json

MOST_NODES = 5000
MOST_NESTING = 64
_WRAPPERS = ("prompt", "output", "input", "workflow")
"""Keys under which APIs and tools keep the graph: `{"prompt": …}`, `{"output": …}`, `{"input": {"workflow": …}}`."""
_MEMO = "is_changed"
"""What a server wrote beside inputs, often a bare NaN; sent again, it brings old files (docs/comfyui.md §10)."""


class WorkflowError(YoursError):
    """The workflow is wrong; `line` and `column` are 1 unless its JSON could not be read."""

    def __init__(self, message: str, line: int = 1, column: int = 1) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


@dataclass(frozen=True, slots=True)
class Node:
    """One node: `inputs` holds values and links, `rest` whatever else was saved with it (`_meta`)."""

    class_type: str
    inputs: Mapping[str, Json]
    rest: Mapping[str, Json] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The name that a person gave it in the editor, or nothing."""
        meta = self.rest.get("_meta")
        title = meta.get("title") if isinstance(meta, dict) else None
        return title if isinstance(title, str) else ""

    def payload(self) -> dict[str, Json]:
        """Return the node as a server takes it."""
        return {"inputs": dict(self.inputs), "class_type": self.class_type, **self.rest}


Graph: TypeAlias = "Mapping[str, Node]"


def is_link(value: Json) -> TypeGuard[list[Json]]:
    """Tell whether an input is fed by another node."""
    match value:
        case [str() | int(), int(number)]:
            return not isinstance(number, bool) and not isinstance(value[0], bool)
        case _:
            return False


def links(node: Node) -> dict[str, str]:
    """Return input name -> id of the node that feeds it."""
    return {name: str(value[0]) for name, value in node.inputs.items() if is_link(value)}


def leaves(inputs: Mapping[str, Json]) -> Iterator[tuple[str, Json]]:
    """Yield every input that holds a value of its own; one inside an object as `lora_1.strength`."""
    for name, value in inputs.items():
        if isinstance(value, dict):
            yield from ((f"{name}.{inner}", leaf) for inner, leaf in leaves(value))
        elif not is_link(value):
            yield name, value


def label(graph: Graph, node: str) -> str:
    """Return how messages call a node: `node 4 (KSampler)`."""
    return f"node {printable(node, 30)} ({printable(graph[node].class_type)})"


def read_graph(text: str) -> Graph:
    """Return the checked graph of an exported workflow, also where a whole request was saved around it.

    Raises:
        WorkflowError: not JSON, the editor's own format, or not a graph that a server could run.

    """
    read = _parse(text)
    _check_nesting(read)
    nodes = _unwrap(read)
    if len(nodes) > MOST_NODES:
        raise WorkflowError(f"this workflow has {len(nodes):,} nodes; at most {MOST_NODES:,} are read")
    graph = {key: _node(key, node) for key, node in nodes.items()}
    sources_first(graph)
    return graph


def sources_first(graph: Graph) -> tuple[str, ...]:
    """Return all node ids, each after those that feed it.

    Raises:
        WorkflowError: a node is fed by one that is missing, or nodes feed each other in a circle.

    """
    feeds = {key: links(node) for key, node in graph.items()}
    for key, sources in feeds.items():
        for name, source in sources.items():
            if source not in graph:
                missing = f"{quote(name)} is fed by {quote(source, 30)}, which is missing"
                raise WorkflowError(f"node {quote(key, 30)}: {missing}")
    try:
        return tuple(TopologicalSorter({key: set(sources.values()) for key, sources in feeds.items()}).static_order())
    except CycleError as error:
        circle = min(map(str, error.args[1]))
        raise WorkflowError(f"node {quote(circle, 30)}: nodes feed each other in a circle") from None


def _parse(text: str) -> Json:
    try:
        read: Json = json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise WorkflowError(f"this is not JSON: {error.msg}", error.lineno, error.colno) from None
    except RecursionError:
        raise WorkflowError("this JSON is nested too deeply") from None
    except ValueError as error:
        raise WorkflowError(f"a number is out of range: {printable(str(error), 60)}") from None
    return read


def _unique(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    """Refuse what JSON leaves open: the same key twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise WorkflowError(f"the key {quote(twice)} stands twice in one object")
    return found


def _check_nesting(read: Json) -> None:
    level: list[Json] = [read]
    for _ in range(MOST_NESTING):
        inner: list[Json] = []
        for value in level:
            inner += value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
        level = inner
    if level:
        raise WorkflowError("this JSON is nested too deeply")


def _unwrap(read: Json) -> dict[str, Json]:
    """Return the object of nodes: `read`, or the one inside a saved request."""
    if not isinstance(read, dict) or not read:
        raise WorkflowError("this is no workflow: a JSON object of nodes was expected")
    if isinstance(read.get("nodes"), list):
        raise WorkflowError(
            "this is the editor's own format, which a server does not take: save it with the menu entry "
            '"Export (API)" (older versions: "Save (API Format)")'
        )
    if any(isinstance(node, dict) and "class_type" in node for node in read.values()):
        return read
    inner = next((read[key] for key in _WRAPPERS if isinstance(read.get(key), dict)), None)
    return read if inner is None else _unwrap(inner)


def _node(key: str, node: Json) -> Node:
    where = f"node {quote(key, 30)}"
    if not isinstance(node, dict):
        raise WorkflowError(f"{where}: an object with class_type and inputs was expected")
    class_type, inputs = node.get("class_type"), node.get("inputs", {})
    if not isinstance(class_type, str) or not class_type:
        raise WorkflowError(f"{where}: class_type is missing")
    if not isinstance(inputs, dict):
        raise WorkflowError(f"{where}: inputs must be an object")
    for name, value in inputs.items():
        if not _is_json(value):
            raise WorkflowError(f"{where}: {quote(name)} holds a number that JSON does not know (NaN or infinite)")
    kept = {name: value for name, value in node.items() if name != _MEMO and _is_json(value)}
    return Node(
        class_type, inputs, {name: value for name, value in kept.items() if name not in {"class_type", "inputs"}}
    )


def _is_json(value: Json) -> bool:
    """Tell whether a value can be posted: Python reads and writes NaN and infinities, which are no JSON."""
    if value is None or isinstance(value, str | int):
        return True
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        return False
    return True
