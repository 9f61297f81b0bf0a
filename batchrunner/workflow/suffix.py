"""What a workflow's files will end in, for the one time that a name has to be guessed."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from batchrunner.workflow.graph import Graph

_SUFFIXES = {
    "SaveVideo": ".mp4",
    "VHS_VideoCombine": ".mp4",
    "SaveWEBM": ".webm",
    "SaveImage": ".png",
    "SaveAnimatedPNG": ".png",
    "SaveAnimatedWEBP": ".webp",
    "SaveAudio": ".flac",
    "SaveAudioMP3": ".mp3",
    "SaveAudioOpus": ".opus",
}
_USUAL = ".mp4"


def expected_suffix(graph: Graph, outputs: Collection[str] | None) -> str:
    """Return the extension of the file that the first wanted save node writes, `.mp4` if the class is unknown."""
    wanted = (node.class_type for key, node in graph.items() if outputs is None or key in outputs)
    return next((_SUFFIXES[name] for name in wanted if name in _SUFFIXES), _USUAL)
