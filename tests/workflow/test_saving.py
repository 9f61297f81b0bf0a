"""The one file that a prompt writes, where its name has to be guessed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from graphs import IMAGE, image

from batchrunner.workflow import Template, read_graph
from batchrunner.workflow.saving import expected_files


def _saver(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": {"filename_prefix": "out", "images": ["8", 0], **inputs}}


def _expected(text: str) -> str:
    return " ".join(expected_files(Template(read_graph(text))))


def _combine(**inputs: Any) -> dict[str, Any]:
    return _saver("VHS_VideoCombine", **{"format": "video/h264-mp4", "save_output": True, **inputs})


@pytest.mark.parametrize(
    ("savers", "tail"),
    [
        ({"9": _saver("SaveVideo")}, "_00001_.mp4"),
        (
            {"9": _saver("SaveWEBM"), "10": {"class_type": "PreviewImage", "inputs": {"images": ["8", 0]}}},
            "_00001_.webm",
        ),
        ({"9": _saver("SaveImage")}, ""),
        ({"9": _saver("SaveVideo"), "10": _saver("SaveVideo", format="mp4")}, ""),
        ({"9": _saver("SaveVideo"), "10": _saver("SomebodysOwnSaver")}, ""),
        ({"9": _saver("SaveVideo"), "10": _combine(save_output=False)}, "_00001_.mp4"),
        ({"9": _combine(save_output=False)}, ""),
        ({"9": _saver("SomebodysOwnSaver")}, ""),
    ],
)
def test_a_file_is_guessed_only_where_it_is_all_there_is(savers: dict[str, Any], tail: str) -> None:
    """A prompt that may write several files is not home when one of them is found, so no name is guessed for it."""
    assert _expected(image(**savers)) == tail


@pytest.mark.parametrize(
    ("saver", "tail"),
    [
        (_saver("SaveVideo", format="auto", codec="h264"), "_00001_.mp4"),
        (_saver("SaveVideo", format="mkv"), "_00001_.mkv"),
        (_saver("SaveVideo", format="webm", codec="av1"), "_00001_.webm"),
        (_saver("SaveVideo", format="avi"), ""),
        (_saver("SaveVideo", format=["8", 0]), ""),
        (_saver("SaveAnimatedPNG"), "_00001_.png"),
        (_saver("SaveAnimatedWEBP"), "_00001_.webp"),
        (_saver("SaveLatent"), "_00001_.latent"),
        (_saver("SaveAudio"), "_00001_.flac _00001.flac"),
        (_saver("SaveAudioMP3"), "_00001_.mp3 _00001.mp3"),
        (_saver("SaveAudio", batch_size=2), ""),
        (_saver("SaveText"), ""),
        (_saver("SaveGLB"), ""),
        (_combine(), "_00001.mp4"),
        (_combine(format="video/nvenc_hevc-mp4"), "_00001.mp4"),
        (_combine(audio=["8", 1]), "_00001-audio.mp4"),
        (_combine(format="video/webm"), ""),
        (_combine(format="image/gif"), ""),
        (_combine(format=["8", 0]), ""),
    ],
)
def test_each_class_names_its_file_in_its_own_way(saver: dict[str, Any], tail: str) -> None:
    """SaveVideo puts `_` behind the number and VHS_VideoCombine does not; who names it differently is not guessed."""
    assert _expected(image(**{"9": saver})) == tail


def test_other_nodes_do_not_count() -> None:
    """Only who takes a file prefix writes a file."""
    assert _expected(json.dumps({**IMAGE, "9": _saver("SaveAnimatedWEBP")})) == "_00001_.webp"
