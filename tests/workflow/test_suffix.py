"""The one file that a prompt writes, where its name has to be guessed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from graphs import IMAGE, image

from batchrunner.workflow.graph import read_graph
from batchrunner.workflow.suffix import expected_suffix


def _saver(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": {"filename_prefix": "out", "images": ["8", 0], **inputs}}


@pytest.mark.parametrize(
    ("savers", "suffix"),
    [
        ({"9": _saver("SaveVideo")}, ".mp4"),
        ({"9": _saver("SaveWEBM"), "10": {"class_type": "PreviewImage", "inputs": {"images": ["8", 0]}}}, ".webm"),
        ({"9": _saver("SaveImage")}, ""),
        ({"9": _saver("SaveVideo"), "10": _saver("SaveVideo", format="mp4")}, ""),
        ({"9": _saver("SaveVideo"), "10": _saver("SomebodysOwnSaver")}, ""),
        ({"9": _saver("SomebodysOwnSaver")}, ""),
    ],
)
def test_a_file_is_guessed_only_where_it_is_all_there_is(savers: dict[str, Any], suffix: str) -> None:
    """A prompt that may write several files is not home when one of them is found, so no name is guessed for it."""
    assert expected_suffix(read_graph(image(**savers))) == suffix


def test_other_nodes_do_not_count() -> None:
    """Only who takes a file prefix writes a file."""
    assert expected_suffix(read_graph(json.dumps({**IMAGE, "9": _saver("SaveAnimatedWEBP")}))) == ".webp"
