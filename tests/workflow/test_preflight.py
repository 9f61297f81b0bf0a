"""Asking a server's own list what it lacks, before the night."""

from __future__ import annotations

import json
from typing import Any

import pytest
from graphs import IMAGE
from hypothesis import given, strategies as st

from batchrunner.workflow import check_against

NUMBER = {"min": 0, "max": 100}
INFO: dict[str, Any] = {
    "KSampler": {
        "input": {
            "required": {
                "model": ["MODEL"],
                "seed": ["INT", {"min": 0, "max": 2**64 - 1}],
                "steps": ["INT", {"min": 1, "max": 10000}],
                "cfg": ["FLOAT", NUMBER],
                "sampler_name": [["euler", "heun"]],
                "scheduler": ["COMBO", {"options": ["simple", "normal"]}],
            },
            "optional": {"denoise": ["FLOAT", {"min": 0, "max": 1}]},
        }
    },
    "CheckpointLoaderSimple": {"input": {"required": {"ckpt_name": [["base.safetensors", "b.ckpt"], {}]}}},
    "EmptyLatentImage": {"input": {"required": {"width": ["INT", {}], "height": ["INT", {}]}}},
    "CLIPTextEncode": {"input": {"required": {"text": ["STRING", {"multiline": True}], "clip": ["CLIP"]}}},
    "VAEDecode": {"input": {}},
    "SaveImage": {"input": {"required": {"images": ["IMAGE"]}, "hidden": {"prompt": "PROMPT"}}},
}


def changed(node: str, **inputs: Any) -> dict[str, Any]:
    """Return the image workflow with some inputs of one node changed; None takes one out."""
    graph = json.loads(json.dumps(IMAGE))
    graph[node]["inputs"].update(inputs)
    graph[node]["inputs"] = {name: value for name, value in graph[node]["inputs"].items() if value is not None}
    return graph


def test_a_sound_workflow() -> None:
    """What the server can run is not complained about."""
    assert check_against(INFO, IMAGE) == []


@pytest.mark.parametrize(
    ("graph", "said"),
    [
        (
            changed("3", sampler_name="eular"),
            'sampler_name must be one of euler, heun, not "eular" - did you mean euler?',
        ),
        (changed("3", scheduler="karras"), 'scheduler must be one of simple, normal, not "karras"'),
        (
            changed("4", ckpt_name="bse.safetensors"),
            'ckpt_name must be one of base.safetensors, b.ckpt, not "bse.safetensors" - did you mean base.safetensors?',
        ),
        (changed("3", cfg=101), "cfg must be at most 100, not 101"),
        (changed("3", denoise=-0.5), "denoise must be at least 0, not -0.5"),
        (changed("3", steps=None), "steps is required and missing"),
    ],
)
def test_what_the_server_would_refuse(graph: dict[str, Any], said: str) -> None:
    """A choice, a range or a missing input is named with its node, with a suggestion where one is near."""
    found = check_against(INFO, graph)
    assert len(found) == 1
    assert found[0].endswith(f"): {said}")


def test_a_node_the_server_lacks() -> None:
    """A class that the server does not know is named, with the one that was probably meant."""
    info = {("KSamplerr" if name == "KSampler" else name): spec for name, spec in INFO.items() if name != "VAEDecode"}
    assert check_against(info, IMAGE) == [
        "node 3 (KSampler): the server has no such node - did you mean KSamplerr?",
        "node 8 (VAEDecode): the server has no such node; a custom node pack may be missing there",
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner)
        | st.dictionaries(st.sampled_from(["input", "required", "optional", "cfg", "sampler_name", "options"]), inner)
    ),
    max_leaves=8,
)


@given(st.one_of(JSON, st.dictionaries(st.sampled_from(sorted(INFO)), JSON)))
def test_an_odd_answer_is_no_evidence(info: Any) -> None:
    """Whatever a server answers, checking against it gives printable lines and no crash."""
    assert all(line.isprintable() for line in check_against(info, IMAGE))
