"""What a workflow asks of its video, where it can be told for certain."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from batchrunner.core.video import Video
from batchrunner.workflow import Template, read_graph
from batchrunner.workflow.asked import asked_video
from batchrunner.workflow.ltx2 import ltx2
from batchrunner.workflow.params import make_param

_PACKS = Path(__file__).parent / "packs"


def test_the_built_in_workflow_asks_for_size_length_and_sound() -> None:
    """Values are those that the server rounds them to, and clips of a batch follow one another."""
    values = {"prompt": "x", "width": 1280, "height": 720, "length": 100, "fps": 24, "batch_size": 2}
    assert asked_video(ltx2(), values, "15") == Video(1280, 704, 97 * 2, sound=True)
    assert asked_video(ltx2(), {}, "99") == Video()
    assert asked_video(ltx2(), {}, "") == Video()


@pytest.mark.parametrize(
    ("pack", "node", "asked"),
    [
        ("wan22_high_low", "63", Video(832, 480, 81)),
        ("animatediff", "26", Video(512, 768, 32)),
        ("ltx2_two_stage", "75", Video(sound=True)),
        ("hunyuan_video", "75", Video()),
        ("wan_i2v_vhs", "30", Video()),
        ("upscale_video", "7", Video()),
    ],
)
def test_what_scales_or_is_unknown_leaves_it_open(pack: str, node: str, asked: Video) -> None:
    """A node that nobody knows, or that changes pictures, between latent and file: nothing is claimed."""
    graph = read_graph((_PACKS / f"{pack}.json").read_text(encoding="utf-8"))
    assert asked_video(Template(graph), {}, node) == asked


def _film(**nodes: Any) -> Template:
    """Return a workflow of three nodes, with some replaced."""
    graph = {
        "1": {"class_type": "EmptyHunyuanLatentVideo", "inputs": {"width": 832, "height": 480, "length": ["4", 0]}},
        "2": {"class_type": "VAEDecode", "inputs": {"samples": ["1", 0]}},
        "3": {"class_type": "VHS_VideoCombine", "inputs": {"images": ["2", 0], "filename_prefix": "x"}},
        "4": {"class_type": "PrimitiveInt", "inputs": {"value": 81}},
    }
    read = read_graph(json.dumps({**graph, **{key[1:]: node for key, node in nodes.items()}}))
    return Template(read, {"length": make_param(read, "length", ["4.value"])})


def test_a_number_is_followed_to_its_node() -> None:
    """A length that stands in a node of its own is the job's; one that is computed is not known."""
    latent = {"width": 832, "height": 481, "length": ["4", 0], "batch_size": 1}
    whole = _film(n1={"class_type": "EmptyHunyuanLatentVideo", "inputs": {**latent, "height": 480}})
    assert asked_video(whole, {"length": 41}, "3") == Video(832, 480, 41)
    assert asked_video(whole, {"length": 40}, "3") == Video(832, 480)
    odd = _film(n1={"class_type": "EmptyHunyuanLatentVideo", "inputs": {**latent, "length": ["2", 0]}}, n2=SOURCE)
    assert asked_video(odd, {}, "3") == Video()


SOURCE: dict[str, Any] = {"class_type": "Compute", "inputs": {}}


def test_frames_that_are_played_back_too_are_not_counted() -> None:
    """A node that plays forth and back doubles the frames in its own way."""
    combine = {"images": ["2", 0], "filename_prefix": "x", "pingpong": True}
    latent = {"width": 832, "height": 480, "length": 81, "batch_size": 1}
    film = _film(
        n1={"class_type": "EmptyHunyuanLatentVideo", "inputs": latent},
        n3={"class_type": "VHS_VideoCombine", "inputs": combine},
    )
    assert asked_video(film, {}, "3") == Video(832, 480)
