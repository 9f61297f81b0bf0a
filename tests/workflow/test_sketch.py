"""A first manifest for a strange workflow: sound as it is, with what was recognised."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pytest
from graphs import IMAGE, image
from hypothesis import given, settings, strategies as st

from batchrunner.manifest import Batch, load
from batchrunner.workflow import first_manifest, read_graph
from batchrunner.workflow.init import find_params

if TYPE_CHECKING:
    from pathlib import Path

WAN = {
    "1": {"class_type": "UNETLoader", "inputs": {"unet_name": "w"}},
    "2": {"class_type": "CLIPLoader", "inputs": {"clip_name": "c", "type": "wan"}},
    "3": {"class_type": "CLIPTextEncode", "inputs": {"text": "a red kite", "clip": ["2", 0]}},
    "4": {"class_type": "CLIPTextEncode", "inputs": {"text": "static", "clip": ["2", 0]}},
    "5": {
        "class_type": "EmptyHunyuanLatentVideo",
        "inputs": {"width": 832, "height": 480, "length": 33, "batch_size": 1},
    },
    "6": {
        "class_type": "KSamplerAdvanced",
        "inputs": {
            "noise_seed": 1,
            "steps": 20,
            "cfg": 6.0,
            "model": ["1", 0],
            "positive": ["3", 0],
            "negative": ["4", 0],
            "latent_image": ["5", 0],
        },
    },
    "7": {"class_type": "VHS_VideoCombine", "inputs": {"frame_rate": 16, "filename_prefix": "x", "images": ["6", 0]}},
}
LTX2 = files("batchrunner.workflow").joinpath("ltx2.json").read_text("utf-8")


def sketched(folder: Path, text: str, name: str = "my graph.json") -> Batch:
    """Write a workflow and its first manifest, and load that."""
    (folder / name).write_text(text, "utf-8")
    path = folder / "first.yaml"
    path.write_text(first_manifest(name, read_graph(text)), "utf-8")
    return load(path)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (image(), {"prompt": ["6.text"], "negative": ["7.text"], "width": ["5.width"], "seed": ["3.seed"]}),
        (
            json.dumps(WAN),
            {
                "prompt": ["3.text"],
                "negative": ["4.text"],
                "length": ["5.length"],
                "seed": ["6.noise_seed"],
                "fps": ["7.frame_rate"],
                "steps": ["6.steps"],
                "cfg": ["6.cfg"],
            },
        ),
        (
            LTX2,
            {
                "prompt": ["7.text"],
                "negative": ["8.text"],
                "length": ["4.length", "5.frames_number"],
                "fps": ["5.frame_rate", "9.frame_rate", "14.fps"],
                "seed": ["10.seed"],
                "height": ["4.height"],
            },
        ),
    ],
    ids=["image", "video", "ltx2"],
)
def test_what_is_recognised(tmp_path: Path, text: str, found: dict[str, list[str]]) -> None:
    """Prompt, negative, seed, steps, cfg, size and length are found by class and link, and load as they are."""
    params = {name: [f"{node}.{key}" for node, key in places] for name, places in find_params(read_graph(text)).items()}
    assert params.items() >= found.items()
    batch = sketched(tmp_path, text)
    assert (batch.name, len(batch.jobs), batch.warnings) == ("my-graph", 2, ())
    assert len({job.params["seed"] for job in batch.jobs}) == 2


def test_the_values_are_the_workflows_own(tmp_path: Path) -> None:
    """The first manifest's jobs are the workflow itself, but for the seed."""
    batch = sketched(tmp_path, image())
    graph = json.loads(json.dumps(batch.graph(batch.jobs[0], "out")))
    graph["3"]["inputs"]["seed"] = 5
    assert graph == IMAGE


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@settings(deadline=None, max_examples=80)
@given(TEXT, TEXT, st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=20))
def test_any_text_survives(tmp_path_factory: pytest.TempPathFactory, prompt: str, title: str, key: str) -> None:
    """Whatever texts, titles and ids a workflow holds, its first manifest loads and keeps them."""
    graph: dict[str, Any] = json.loads(json.dumps(IMAGE))
    node = graph.pop("6")
    graph["3"]["inputs"]["positive"] = [key, 0]
    graph[key] = {**node, "inputs": {**node["inputs"], "text": prompt}, "_meta": {"title": title}}
    if key in IMAGE:
        return
    batch = sketched(tmp_path_factory.mktemp("sketch"), json.dumps(graph))
    assert batch.jobs[0].params["prompt"] == prompt


def test_nothing_recognised(tmp_path: Path) -> None:
    """Even a workflow without any known input gets a manifest that loads."""
    text = '{"1": {"class_type": "Odd", "inputs": {"filename_prefix": "x", "b": true}}}'
    assert len(sketched(tmp_path, text).jobs) == 1
