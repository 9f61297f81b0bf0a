"""Which nodes save files, where each takes its file prefix, and how a prompt's only file is called."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchrunner.core.job import PREFIX_INPUT
from batchrunner.text import printable
from batchrunner.workflow.graph import WorkflowError, label

if TYPE_CHECKING:
    from batchrunner.workflow.graph import Graph, Node
    from batchrunner.workflow.params import Template

KEPT_INPUT = "save_output"
"""What VHS_VideoCombine and its kind have for a switch: files that stay on the server, or temporary ones."""
_NAME_INPUTS = ("prefix", "file_prefix", "output_prefix", "filename", "file_name", "base_filename")
"""What saving nodes without a `filename_prefix` call the input that their files are named by, the likeliest first."""
_INSTEAD = {
    "PreviewImage": "SaveImage",
    "PreviewVideo": "SaveVideo",
    "PreviewAudio": "SaveAudio",
    "SaveImageWebsocket": "SaveImage",
}
"""Classes that keep no file where it can be fetched, and what saves the same."""
_FILES = {
    "SaveWEBM": "_00001_.webm",
    "SaveAnimatedPNG": "_00001_.png",
    "SaveAnimatedWEBP": "_00001_.webp",
    "SaveLatent": "_00001_.latent",
}
"""Classes that write one file, whatever they are given, in every version under the same name.

SaveImage, SaveGLB and SaveSVGNode write one for each picture, mesh or drawing, and a text could not prove whose it is.
"""
_SOUNDS = {"SaveAudio": ".flac", "SaveAudioMP3": ".mp3", "SaveAudioOpus": ".opus"}
"""Classes that write one file for each sound of a batch, with or without a last `_` (docs/comfyui.md §12)."""
_BATCH_INPUT = "batch_size"
_CONTAINERS = {None: "mp4", "auto": "mp4", "mp4": "mp4", "mkv": "mkv", "webm": "webm"}
"""SaveVideo's `format` and its suffix; older versions know mp4 only and have no such input."""


def prefix_inputs(graph: Graph) -> dict[str, str]:
    """Return node id -> input of every node that takes its file prefix by the usual name, `filename_prefix`."""
    return {key: PREFIX_INPUT for key, node in graph.items() if PREFIX_INPUT in node.inputs}


def guess_prefix_inputs(graph: Graph) -> dict[str, str]:
    """Return the same for a workflow where no node has a `filename_prefix`: what saving nodes name files by.

    Raises:
        WorkflowError: nothing saves a file; the message says which node to replace, and by what.

    """
    found = {key: name for key, node in graph.items() if (name := _name_input(node))}
    if not found:
        raise WorkflowError(no_saving_node(graph))
    return found


def no_saving_node(graph: Graph) -> str:
    """Return what to do about a graph without a node that saves: name its prefix input, or replace one node."""
    said = "no node saves a file: "
    for key, node in graph.items():
        if name := _name_input(node):
            cure = f"write prefix: {printable(key)}.{name} to name its files by that input"
            return f"{said}{label(graph, key)} has no {PREFIX_INPUT}; {cure}"
    for key, node in graph.items():
        kind = printable(node.class_type)
        if kind in _INSTEAD or kind.startswith("Preview"):
            instead = _INSTEAD.get(kind, "one that saves")
            return f"{said}{label(graph, key)} keeps none on the server; replace {kind} by {instead}"
        if "save" in kind.lower():
            cure = f"name the input that its files are named by, prefix: {printable(key)}.…"
            return f"{said}{label(graph, key)} has no {PREFIX_INPUT}; {cure}"
    return f"{said}none has a {PREFIX_INPUT}"


def _name_input(node: Node) -> str:
    names = _NAME_INPUTS if "save" in node.class_type.lower() and node.class_type not in _INSTEAD else ()
    return next((name for name in names if isinstance(node.inputs.get(name), str | list)), "")


def expected_files(template: Template) -> tuple[str, ...]:
    """Return what the name of the one file of a prompt may be behind its prefix: `_00001_.mp4`; empty if unknown.

    A file found by its guessed name tells that the prompt has ended. Of several files it would be one, perhaps not
    even one that is wanted, and the others would be missed for ever.
    """
    graph = template.graph
    kept = [graph[node] for node in template.saves if graph[node].inputs.get(KEPT_INPUT) is not False]
    if len(kept) != 1:
        return ()
    if (suffix := _SOUNDS.get(kept[0].class_type)) and _is_single(template):
        return f"_00001_{suffix}", f"_00001{suffix}"
    return tuple(filter(None, (_only_file(kept[0]),)))


def _is_single(template: Template) -> bool:
    """Whether nothing in the workflow makes several of one."""
    driven = any(target.input == _BATCH_INPUT for param in template.params.values() for target in param.targets)
    nodes = template.graph.values()
    return not driven and all(
        "Batch" not in node.class_type and node.inputs.get(_BATCH_INPUT, 1) == 1 for node in nodes
    )


def _only_file(node: Node) -> str:
    """Return what the name of the one file that `node` writes is behind its prefix; empty if nobody can tell."""
    kind, container = node.class_type, node.inputs.get("format")
    if container is not None and not isinstance(container, str):
        container = "unknown"
    if kind == "SaveVideo":
        return f"_00001_.{_CONTAINERS[container]}" if container in _CONTAINERS else ""
    if kind == "VHS_VideoCombine":
        # No `_` behind the number, and with sound `-audio`. Its other formats keep the workflow where it is not
        # looked for, so that a guess could not be proven.
        sound = "-audio" if "audio" in node.inputs else ""
        return f"_00001{sound}.mp4" if container and container.endswith("-mp4") else ""
    return _FILES.get(kind, "")
