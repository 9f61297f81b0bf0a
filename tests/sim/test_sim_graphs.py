"""Other workflows than LTX-2, what the server says about its nodes, and how long things take."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import pytest
from bench import MODELS, bench, edited, ending, file_of, node, shot

from batchrunner.sim.graph import Graph, Shot
from batchrunner.sim.machine import Pace
from batchrunner.sim.nodes import Models, catalogue, object_info
from batchrunner.sim.record import What

if TYPE_CHECKING:
    from pathlib import Path

SDXL = {
    "3": node(
        "KSampler",
        seed=156680208700286,
        steps=20,
        cfg=8,
        sampler_name="euler",
        scheduler="normal",
        denoise=1,
        model=["4", 0],
        positive=["6", 0],
        negative=["7", 0],
        latent_image=["5", 0],
    ),
    "4": node("CheckpointLoaderSimple", ckpt_name="sd_xl_base_1.0.safetensors"),
    "5": node("EmptyLatentImage", width=1024, height=1024, batch_size=2),
    "6": node("CLIPTextEncode", text="a glass bottle", clip=["4", 1]),
    "7": node("CLIPTextEncode", text="text, watermark", clip=["4", 1]),
    "8": node("VAEDecode", samples=["3", 0], vae=["4", 2]),
    "9": node("SaveImage", filename_prefix="sdxl", images=["8", 0]),
}
WAN = {
    "3": node(
        "KSampler",
        seed=82628696717253,
        steps=30,
        cfg=6,
        sampler_name="uni_pc",
        scheduler="simple",
        denoise=1,
        model=["48", 0],
        positive=["6", 0],
        negative=["7", 0],
        latent_image=["40", 0],
    ),
    "6": node("CLIPTextEncode", text="a fox in the snow", clip=["38", 0]),
    "7": node("CLIPTextEncode", text="static, blurred", clip=["38", 0]),
    "8": node("VAEDecode", samples=["3", 0], vae=["39", 0]),
    "37": node("UNETLoader", unet_name="wan2.1_t2v_1.3B_fp16.safetensors", weight_dtype="default"),
    "38": node("CLIPLoader", clip_name="umt5_xxl_fp8_e4m3fn_scaled.safetensors", type="wan"),
    "39": node("VAELoader", vae_name="wan_2.1_vae.safetensors"),
    "40": node("EmptyHunyuanLatentVideo", width=832, height=480, length=33, batch_size=1),
    "48": node("ModelSamplingSD3", shift=8, model=["37", 0]),
    "49": node("CreateVideo", fps=16, images=["8", 0]),
    "50": node("SaveVideo", filename_prefix="video/wan", format="auto", codec="auto", video=["49", 0]),
}


async def test_an_sdxl_graph_makes_pictures(tmp_path: Path) -> None:
    """A text-to-image graph is accepted and saves one PNG per image of its batch."""
    async with bench(tmp_path, models=Models()) as here:
        entry = await here.run(SDXL)
        assert [file["filename"] for file in entry["outputs"]["9"]["images"]] == ["sdxl_00001_.png", "sdxl_00002_.png"]


async def test_a_wan_graph_makes_a_video(tmp_path: Path) -> None:
    """A text-to-video graph without sound is accepted and saves an MP4 in its subfolder."""
    async with bench(tmp_path, models=Models()) as here:
        file = file_of(await here.run(WAN), "50")
        assert file == {"filename": "wan_00001_.mp4", "subfolder": "video", "type": "output"}
        assert (await here.view(file))[0] == 200


@pytest.mark.parametrize(
    ("workflow", "target", "expected"),
    [
        (shot(7), "15", Shot(768, 512, 25, 1, 24.0, 7, 4, "a cat", 25 / 24)),
        (
            edited({"4": {"width": 721, "height": 720, "length": 100, "batch_size": 2}, "5": {"frames_number": 97}}),
            "15",
            Shot(704, 704, 97, 2, 24.0, 42, 4, "a cat", 97 / 24),
        ),
        (SDXL, "9", Shot(1024, 1024, 1, 2, 24.0, 156680208700286, 20, "a glass bottle")),
        (WAN, "50", Shot(832, 480, 33, 1, 16.0, 82628696717253, 30, "a fox in the snow")),
    ],
    ids=["ltx2", "ltx2, cut to the grid", "sdxl", "wan"],
)
def test_what_a_graph_amounts_to(workflow: Any, target: str, expected: Shot) -> None:
    """Sizes are cut to the model's grid, and text, seed and rate come from the nodes that lead to the output."""
    assert Graph(workflow).shot(target) == expected


async def test_object_info_in_both_forms(tmp_path: Path) -> None:
    """V1 choices are a list, V3 choices are named, ranges are there, and an unknown class is `{}`."""
    async with bench(tmp_path) as here:
        _, sampler = await here.ask("GET", "/object_info/KSampler")
        inputs = sampler["KSampler"]["input"]["required"]
        assert inputs["seed"] == ["INT", {"default": 0, "min": 0, "max": 2**64 - 1}]
        assert (len(inputs["sampler_name"][0]), len(inputs["scheduler"][0])) == (42, 9)
        _, save = await here.ask("GET", "/object_info/SaveVideo")
        kind, rest = save["SaveVideo"]["input"]["required"]["format"]
        assert (kind, rest["options"], rest["default"]) == ("COMBO", ["auto", "mp4"], "auto")
        assert save["SaveVideo"]["output_node"] is True
        assert await here.ask("GET", "/object_info/Nope") == (200, {})
        _, everything = await here.ask("GET", "/object_info")
        assert everything == object_info(catalogue(MODELS))


def test_the_nights_pace_is_the_documents() -> None:
    """The real pace meets the document's table of times within a tenth."""
    pace = dataclasses.replace(Pace.night(), noise=0.0)
    table = [(768, 512, 20, 1, 300), (1280, 704, 30, 1, 600), (1920, 1088, 30, 1, 780), (1920, 1088, 40, 1, 1020)]
    for width, height, steps, batch, seconds in table:
        assert pace.sampling(width * height * 121 * batch, steps, "") == pytest.approx(seconds, rel=0.1)
    assert pace.sampling(1920 * 1088 * 121 * 2, 30, "") == pytest.approx(960, rel=0.1)


def test_the_pace_is_a_function_of_the_inputs() -> None:
    """Time grows with volume and steps, differs a little by signature, halves on a GPU twice as fast, and is capped."""
    pace = Pace(longest=None)
    volume = 768 * 512 * 25
    assert dataclasses.replace(pace, noise=0.0).sampling(volume, 20, "") == pytest.approx(1.5)
    assert pace.sampling(volume, 20, "a") == pace.sampling(volume, 20, "a") != pace.sampling(volume, 20, "b")
    assert pace.sampling(2 * volume, 20, "a") == pytest.approx(2 * pace.sampling(volume, 20, "a"))
    assert dataclasses.replace(pace, speed=2.0).sampling(volume, 20, "a") == pace.sampling(volume, 20, "a") / 2
    assert Pace(longest=3.0).sampling(volume * 1000, 20, "a") == 3.0


async def test_the_text_encoder_runs_once_per_text(tmp_path: Path) -> None:
    """With the cache, the encoder runs only for texts that the last prompt did not have."""
    async with bench(tmp_path) as here:
        for text in ("a", "a", "b", "a"):
            await here.run(edited({"7": {"text": text}, "10": {"seed": len(here.sim.prompts.history)}}))
        assert len(here.sim.record.of(What.ENCODED)) == 4
        assert len(here.sim.record.of(What.RENDERED)) == 4


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ({"3": {"ckpt_name": "nope"}}, ("3", "LTXVAudioVAELoader", "FileNotFoundError")),
        ({"15": {"codec": "vp9"}}, ("15", "SaveVideo", "ValueError")),
    ],
)
async def test_late_choices_fail_at_their_node(edit: Any, said: tuple[str, ...], tmp_path: Path) -> None:
    """A choice that posting does not check fails when its node runs."""
    async with bench(tmp_path) as here:
        _, details = ending(await here.run(edited(edit)))
        assert (details["node_id"], details["node_type"], details["exception_type"]) == said
