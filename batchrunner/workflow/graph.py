"""A workflow in ComfyUI's API format: numbered nodes, each with a class and its inputs, checked once when it is read.

`{"4": {"class_type": "KSampler", "inputs": {"seed": 1, "model": ["1", 0]}}}`: an input is a value, or a link, which
is a list of a node id and the number of that node's output. Every node must have `inputs`: a node without them can
end a server's worker for good (PROTOCOL.md §1, 9).
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from graphlib import CycleError, TopologicalSorter
from typing import TYPE_CHECKING, TypeAlias, TypeGuard

from batchrunner.core.job import PREFIX_INPUT
from batchrunner.errors import YoursError
from batchrunner.text import printable, quote

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchrunner.core.job import Json

KEPT_INPUT = "save_output"
"""What VHS_VideoCombine and its kind have for a switch: files that stay on the server, or temporary ones."""
_SAVERS = {
    "PreviewImage": "SaveImage",
    "PreviewVideo": "SaveVideo",
    "PreviewAudio": "SaveAudio",
    "SaveImageWebsocket": "SaveImage",
}
"""What keeps no file where it can be fetched, and what saves the same."""
MOST_NODES = 5000
MOST_NESTING = 64


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


def saves(graph: Graph) -> tuple[str, ...]:
    """Return the ids of the nodes that write files: those with a `filename_prefix`."""
    return tuple(key for key, node in graph.items() if PREFIX_INPUT in node.inputs)


def read_graph(text: str) -> Graph:
    """Return the checked graph of an exported workflow.

    Raises:
        WorkflowError: not JSON, the editor's own format, or not a graph that a server could run.

    """
    read = _parse(text)
    _check_nesting(read)
    nodes = _nodes(read)
    if len(nodes) > MOST_NODES:
        raise WorkflowError(f"this workflow has {len(nodes):,} nodes; at most {MOST_NODES:,} are read")
    graph = {key: _node(key, node) for key, node in nodes.items()}
    sources_first(graph)
    if not saves(graph):
        raise WorkflowError(f"no node saves a file: {_instead(graph)}")
    return graph


def _instead(graph: Graph) -> str:
    """Return what to do about a graph without a save node: for most, one node is to be replaced."""
    for key, node in graph.items():
        name, kind = f"node {printable(key, 30)} ({printable(node.class_type, 60)})", node.class_type
        if kind in _SAVERS or kind.startswith("Preview"):
            saver = _SAVERS.get(kind, "one that saves")
            return f"{name} keeps none on the server; replace {printable(kind, 60)} by {saver}"
        if "save" in kind.lower():
            return f"{name} has no {PREFIX_INPUT}, by which its files are found again; replace it by one that has"
    return f"none has a {PREFIX_INPUT}"


def sources_first(graph: Graph) -> tuple[str, ...]:
    """Return all node ids, each after those that feed it.

    Raises:
        WorkflowError: a node is fed by one that is missing, or nodes feed each other in a circle.

    """
    feeds = {key: links(node) for key, node in graph.items()}
    for key, sources in feeds.items():
        for name, source in sources.items():
            if source not in graph:
                missing = f"{quote(name)} is fed by {_called(source)}, which is missing"
                raise WorkflowError(f"node {_called(key)}: {missing}")
    try:
        return tuple(TopologicalSorter({key: set(sources.values()) for key, sources in feeds.items()}).static_order())
    except CycleError as error:
        circle = min(map(str, error.args[1]))
        raise WorkflowError(f"node {_called(circle)}: nodes feed each other in a circle") from None


def _parse(text: str) -> Json:
    try:
        read: Json = json.loads(text, parse_constant=_refuse, object_pairs_hook=_once)
    except json.JSONDecodeError as error:
        raise WorkflowError(f"this is not JSON: {error.msg}", error.lineno, error.colno) from None
    except RecursionError:
        raise WorkflowError("this JSON is nested too deeply") from None
    except ValueError as error:
        raise WorkflowError(f"a number is out of range: {printable(str(error), 60)}") from None
    return read


def _check_nesting(read: Json) -> None:
    level: list[Json] = [read]
    for _ in range(MOST_NESTING):
        inner: list[Json] = []
        for value in level:
            inner += value if isinstance(value, list) else value.values() if isinstance(value, dict) else ()
        level = inner
    if level:
        raise WorkflowError("this JSON is nested too deeply")


def _refuse(name: str) -> Json:
    raise WorkflowError(f"{name} is not a number that JSON knows")


def _once(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    """Refuse what JSON leaves open: the same key twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise WorkflowError(f"the key {quote(twice)} stands twice in one object")
    return found


def _nodes(read: Json) -> dict[str, Json]:
    if not isinstance(read, dict) or not read:
        raise WorkflowError("this is no workflow: a JSON object of nodes was expected")
    if isinstance(read.get("nodes"), list):
        raise WorkflowError(
            "this is the editor's own format, which a server does not take: save it with the menu entry "
            '"Export (API)" (older versions: "Save (API Format)")'
        )
    if isinstance(read.get("prompt"), dict):
        raise WorkflowError('this is a whole request: keep only what stands under "prompt"')
    return read


def _node(key: str, node: Json) -> Node:
    if not isinstance(node, dict):
        raise WorkflowError(f"node {_called(key)}: an object with class_type and inputs was expected")
    class_type, inputs = node.get("class_type"), node.get("inputs", {})
    if not isinstance(class_type, str) or not class_type:
        raise WorkflowError(f"node {_called(key)}: class_type is missing")
    if not isinstance(inputs, dict):
        raise WorkflowError(f"node {_called(key)}: inputs must be an object")
    rest = {name: value for name, value in node.items() if name not in {"class_type", "inputs"}}
    return Node(class_type, inputs, rest)


def _called(key: str) -> str:
    return quote(key, 30)


# -- How the only file of a prompt is called, for the one time that its name has to be guessed.


_FILES = {
    "SaveWEBM": "_00001_.webm",
    "SaveAnimatedPNG": "_00001_.png",
    "SaveAnimatedWEBP": "_00001_.webp",
    "SaveLatent": "_00001_.latent",
}
"""Classes that write one file, whatever they are given, in every version under the same name.

SaveImage, SaveGLB and SaveSVGNode write one for each picture, mesh or drawing; SaveAudio dropped its last `_` between
two versions (PROTOCOL2.md §9, 31), and a text could not prove whose it is.
"""
_CONTAINERS = {None: "mp4", "auto": "mp4", "mp4": "mp4", "mkv": "mkv", "webm": "webm"}


def expected_file(graph: Graph) -> str:
    """Return what the name of the one file of a prompt is behind its prefix: `_00001_.mp4`; empty if nobody can tell.

    A file found by its guessed name then tells that the prompt is home. Of several it would be one, perhaps not even
    one that is wanted, and the others would be missed for ever.
    """
    kept = [graph[node] for node in saves(graph) if graph[node].inputs.get(KEPT_INPUT) is not False]
    if len(kept) != 1:
        return ""
    if kept[0].class_type == "SaveVideo":
        return _video(kept[0])
    if kept[0].class_type == "VHS_VideoCombine":
        return _combined(kept[0])
    return _FILES.get(kept[0].class_type, "")


def _video(node: Node) -> str:
    """Name SaveVideo's file: older versions know mp4 only, newer ones three containers (PROTOCOL2.md §13)."""
    container = node.inputs.get("format")
    known = _CONTAINERS.get(container) if container is None or isinstance(container, str) else None
    return f"_00001_.{known}" if known else ""


def _combined(node: Node) -> str:
    """Name VideoHelperSuite's file: no `_` behind the number, and with sound `-audio` (PROTOCOL.md §5).

    Its other formats keep the workflow where we don't find it, so that a guess could not be proven.
    """
    container = node.inputs.get("format")
    sound = "-audio" if "audio" in node.inputs else ""
    return f"_00001{sound}.mp4" if isinstance(container, str) and container.endswith("-mp4") else ""
