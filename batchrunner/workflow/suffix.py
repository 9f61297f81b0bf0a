"""How the only file of a prompt is called, for the one time that its name has to be guessed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchrunner.workflow.graph import KEPT_INPUT, saves

if TYPE_CHECKING:
    from batchrunner.workflow.graph import Graph, Node

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
