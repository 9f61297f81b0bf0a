"""What the only file of a prompt ends in, for the one time that its name has to be guessed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchrunner.workflow.graph import saves

if TYPE_CHECKING:
    from batchrunner.workflow.graph import Graph

_SUFFIXES = {
    "SaveVideo": ".mp4",
    "VHS_VideoCombine": ".mp4",
    "SaveWEBM": ".webm",
    "SaveAnimatedPNG": ".png",
    "SaveAnimatedWEBP": ".webp",
}
"""Classes that write one file, whatever they are given; SaveImage writes one for each picture of a clip."""


def expected_suffix(graph: Graph) -> str:
    """Return the extension of the one file that a prompt writes; empty if it may write several, or nobody knows.

    A file found by its guessed name then tells that the prompt is home. Of several it would be one, perhaps not even
    one that is wanted, and the others would be missed for ever.
    """
    classes = [graph[node].class_type for node in saves(graph)]
    return _SUFFIXES.get(classes[0], "") if len(classes) == 1 else ""
