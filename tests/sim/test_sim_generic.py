"""A simulator that is not strict runs any workflow; a strict one refuses what it does not know."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from bench import bench, edited, ending, node

from batchrunner.sim.record import What

if TYPE_CHECKING:
    from pathlib import Path


def own(saver: dict[str, Any]) -> dict[str, Any]:
    """Return a workflow of unknown nodes, but for the text encoder, with `saver` at its end."""
    return {
        "1": node("WanVideoModelLoader", model="wan2.2_i2v.safetensors"),
        "2": node("CLIPTextEncode", text="a fox", clip=["1", 1]),
        "3": node("WanVideoEmptyEmbeds", width=832, height=480, num_frames=81),
        "4": node("WanVideoSampler", model=["1", 0], positive=["2", 0], embeds=["3", 0], seed=7, steps=6),
        "5": node("WanVideoDecode", samples=["4", 0], vae=["1", 2]),
        "6": saver,
    }


@pytest.mark.parametrize(
    ("saver", "key", "file"),
    [
        (node("EasySave", filename_prefix="x", frames=["5", 0]), "images", "x_00001_.png"),
        (node("MySaveVideo", filename_prefix="sub/x", frames=["5", 0]), "images", "x_00001_.mp4"),
        (node("SaveAudioAdvanced", audio=["5", 1]), "audio", "SaveAudioAdvanced_00001_.flac"),
        (node("SaveGLB", mesh=["5", 0], filename_prefix="x"), "3d", "x_00001_.glb"),
        (node("Sink", image=["5", 0]), "images", "Sink_00001_.png"),
    ],
)
async def test_an_unknown_saving_node_writes_a_plausible_file(
    saver: dict[str, Any], key: str, file: str, tmp_path: Path
) -> None:
    """Its kind follows from the node's name and inputs, and /view has it; a sampler of unknown class renders."""
    async with bench(tmp_path, strict=False) as here:
        shown = (await here.run(own(saver)))["outputs"]["6"]
        assert shown[key][0]["filename"] == file
        assert (await here.view(shown[key][0]))[0] == 200
        assert len(here.sim.record.of(What.RENDERED)) == 1


async def test_a_strict_simulator_refuses_unknown_classes(tmp_path: Path) -> None:
    """By default an unknown class and a model that is not listed are a 400, as before."""
    async with bench(tmp_path) as here:
        status, answer = await here.ask("POST", "/prompt", json={"prompt": own(node("SaveAny", x=["5", 0]))})
        assert (status, answer["error"]["type"]) == (400, "invalid_prompt")
        wrong = edited({"1": {"ckpt_name": "mine.safetensors"}})
        assert (await here.ask("POST", "/prompt", json={"prompt": wrong}))[0] == 400


async def test_any_model_may_be_named(tmp_path: Path) -> None:
    """A person's own models and samplers are taken by the nodes that are known; ranges are checked all the same."""
    async with bench(tmp_path, strict=False) as here:
        mine = edited(
            {"1": {"ckpt_name": "mine.safetensors"}, "3": {"ckpt_name": "x"}, "10": {"sampler_name": "res_2s"}}
        )
        assert ending(await here.run(mine))[0] == "execution_success"
        status, _ = await here.ask("POST", "/prompt", json={"prompt": edited({"10": {"steps": 0}})})
        assert status == 400


async def test_outputs_are_typed_by_the_nodes_that_take_them(tmp_path: Path) -> None:
    """/object_info shows a learnt class with the types that known nodes want of it."""
    async with bench(tmp_path, strict=False) as here:
        await here.run(own(node("SaveImage", filename_prefix="x", images=["5", 0])))
        _, loader = await here.ask("GET", "/object_info/WanVideoModelLoader")
        assert loader["WanVideoModelLoader"]["output"] == ["*", "CLIP", "*"]
        _, decode = await here.ask("GET", "/object_info/WanVideoDecode")
        assert decode["WanVideoDecode"]["output"] == ["IMAGE"]


async def test_a_loader_reads_its_file(tmp_path: Path) -> None:
    """A file that is not in the input folder is taken for a sound one; one that is there must be of the right kind."""
    workflow = {
        "1": node("VHS_LoadVideo", video="a.mp4", frame_load_cap=0),
        "2": node("SaveImage", images=["1", 0], filename_prefix="x"),
    }
    async with bench(tmp_path, strict=False) as here:
        assert ending(await here.run(workflow))[0] == "execution_success"
        (tmp_path / "input" / "a.mp4").write_bytes(b"no film")
        assert ending(await here.run(workflow))[0] == "execution_error"
        (tmp_path / "input" / "a.mp4").write_bytes(b"\x00\x00\x00\x20ftypisom")
        assert ending(await here.run(workflow))[0] == "execution_success"
