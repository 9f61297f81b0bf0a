"""A first manifest for an unknown workflow: sound as it is, with what was recognised and all the rest listed."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from graphs import IMAGE, image
from hypothesis import given, settings, strategies as st

from batchrunner.manifest import Batch, load
from batchrunner.workflow import WorkflowError, first_manifest, read_graph
from batchrunner.workflow.init_roles import find_roles

if TYPE_CHECKING:
    from pathlib import Path

LTX2 = files("batchrunner.workflow").joinpath("ltx2.json").read_text("utf-8")


def started(folder: Path, text: str, name: str = "my graph.json") -> Batch:
    """Write a workflow and its first manifest, and load that."""
    (folder / name).write_text(text, "utf-8")
    path = folder / "first.yaml"
    path.write_text(first_manifest(name, read_graph(text)), "utf-8")
    return load(path)


def found(text: str) -> dict[str, str]:
    """Return parameter -> the inputs it drives, `3.seed 10.seed`."""
    roles = find_roles(read_graph(text))
    return {param: " ".join(f"{key}.{name}" for key, name in places) for param, places in roles.params.items()}


def node(kind: str, title: str = "", **inputs: Any) -> dict[str, Any]:
    """Return one node."""
    return {"class_type": kind, "inputs": inputs, "_meta": {"title": title}}


def changed(key: str, **inputs: Any) -> dict[str, Any]:
    """Return a node of the image workflow with some inputs replaced."""
    return {key: {**IMAGE[key], "inputs": {**IMAGE[key]["inputs"], **inputs}}}


REFINER = changed("3") | {
    "11": node(
        "KSamplerAdvanced",
        add_noise="disable",
        noise_seed=5,
        steps=25,
        cfg=8.0,
        model=["4", 0],
        positive=["15", 0],
        negative=["16", 0],
        latent_image=["3", 0],
    ),
    "15": node("CLIPTextEncode", text="an owl", clip=["4", 1]),
    "16": node("CLIPTextEncode", text="blur", clip=["4", 1]),
}
ENHANCER = {
    "50": node("TextGenerateLTX2Prompt", prompt=["51", 0], clip=["4", 1], max_length=256, seed=5),
    "51": node("StringConcatenate", delimiter="", string_a=["52", 0], string_b=["53", 0]),
    "52": node("PrimitiveStringMultiline", "INSTRUCT", value="Rewrite the user's words as a shot list."),
    "53": node("PrimitiveStringMultiline", "PROMPT", value="two news anchors talk"),
}
WILDCARD = {"wildcard_text": "a __animal__", "populated_text": "a fox", "seed": 5, "model": ["4", 0], "clip": ["4", 1]}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, {"prompt": "6.text", "negative": "7.text", "width": "5.width", "seed": "3.seed", "cfg": "3.cfg"}),
        (changed("3", seed=["31", 0]) | {"31": node("PrimitiveInt", "Seed", value=42)}, {"seed": "31.value"}),
        (changed("3", seed=["31", 0]) | {"31": node("Seed (rgthree)", seed=-1)}, {"seed": "31.seed"}),
        (
            changed("3", steps=["31", 0]) | {"31": node("MathInt", a=["32", 0]), "32": node("INTConstant", value=9)},
            {"steps": "32.value"},
        ),
        (
            changed("3", cfg=["31", 0]) | {"31": node("Any Switch", any_01=["32", 0]), "32": node("Float", value=2.5)},
            {"cfg": "32.value"},
        ),
        (
            {"3": node("SamplerCustomAdvanced", noise=["10", 0], guider=["11", 0], latent_image=["6", 1])}
            | {"10": node("RandomNoise", noise_seed=0), "11": node("BasicGuider", conditioning=["6", 0])}
            | {"6": node("SomebodysImageToVideo", prompt="a singer", width=832, height=480, length=97), "7": None},
            {"prompt": "6.prompt", "seed": "10.noise_seed", "width": "6.width", "length": "6.length"},
        ),
        (REFINER, {"seed": "3.seed", "prompt": "6.text 15.text", "negative": "7.text 16.text", "steps": "3.steps"}),
        ({"6": node("ImpactWildcardEncode", mode="populate", **WILDCARD)}, {"prompt": "6.wildcard_text"}),
        ({"6": node("ImpactWildcardEncode", mode="fixed", **WILDCARD)}, {"prompt": "6.populated_text"}),
        ({"6": node("ImpactWildcardEncode", mode="fixed", **WILDCARD)}, {"negative": "7.text", "seed": "3.seed"}),
        (changed("6", text=["50", 0]) | ENHANCER, {"prompt": "53.value", "seed": "3.seed"}),
        (
            changed("6", text=["50", 0]) | {"50": node("LLM", system_prompt="Be brief.", prompt="a kite", seed=5)},
            {"prompt": "50.prompt", "seed": "3.seed"},
        ),
        ({"10": node("LoadImage", image="cat.png", upload="image")}, {"image": "10.image"}),
        (
            {"10": node("VHS_LoadVideo", video="a.mp4"), "12": node("VHS_LoadVideo", video="b.mp4")},
            {"video": "10.video", "video_2": "12.video"},
        ),
        (
            {"20": node("LoraLoader", lora_name="a", strength_model=0.7, strength_clip=0.7, model=["4", 0])},
            {"lora": "20.lora_name", "lora_strength": "20.strength_model 20.strength_clip"},
        ),
        (
            {"20": node("Power Lora Loader (rgthree)", lora_1={"on": True, "lora": "a", "strength": 0.8})},
            {"lora": "20.lora_1.lora", "lora_strength": "20.lora_1.strength"},
        ),
        (
            {"20": node("CR LoRA Stack", lora_name_1="None", lora_name_2="a", model_weight_1=1.0, model_weight_2=0.4)},
            {"lora": "20.lora_name_2", "lora_strength": "20.model_weight_2"},
        ),
        (
            {"20": node("easy loraStack", lora_1_name="a", lora_1_strength=1.0, lora_2_name="b", lora_2_strength=0.5)},
            {
                "lora_strength": "20.lora_1_strength",
                "lora_2": "20.lora_2_name",
                "lora_2_strength": "20.lora_2_strength",
            },
        ),
        (
            changed("6", text=["50", 0])
            | {"50": node("Concat", string_a="photo of ", string_b=["51", 0]), "51": node("Text", "Subject", text="a")},
            {"prompt": "51.text"},
        ),
        (
            changed("6", text=["50", 1], clip=["4", 1])
            | changed("7", text=["50", 0])
            | {"50": node("SDXLPromptStyler", text_positive="an owl", text_negative="blur", style="anime")},
            {"prompt": "50.text_positive", "negative": "50.text_negative"},
        ),
        (
            changed("3", positive=["50", 4], negative=["50", 5], seed=["50", 8], model=["50", 1])
            | {"50": node("Context", positive=["6", 0], negative=["7", 0], seed=["51", 0], model=["4", 0])}
            | {"51": node("easy seed", seed=8)},
            {"prompt": "6.text", "negative": "7.text", "seed": "51.seed"},
        ),
        (
            {"3": node("easy kSampler", pipe=["50", 0], seed=8, steps=20, cfg=7.0)}
            | {"50": node("easy fullLoader", positive="an owl", negative="blur", lora_name="None", batch_size=1)},
            {"prompt": "50.positive", "negative": "50.negative", "seed": "3.seed"},
        ),
        ({"9": node("Image Saver", filename="%time", path="", images=["8", 0])}, {"prompt": "6.text"}),
    ],
)
def test_what_is_recognised(tmp_path: Path, changes: dict[str, Any], expected: dict[str, str]) -> None:
    """Values are found where they stand, by links and not by names alone, and the manifest loads as it is."""
    text = image(**changes)
    assert found(text).items() >= expected.items()
    batch = started(tmp_path, text)
    assert len({job.params["seed"] for job in batch.jobs}) == len(batch.jobs) == 2


@pytest.mark.parametrize("switch", ["disable", False, ["31", 0]])
def test_a_sampler_that_adds_no_noise(switch: object) -> None:
    """A seed without noise changes nothing, so it is never the one that is swept."""
    quiet = node("KSamplerAdvanced", add_noise=switch, noise_seed=5, positive=["6", 0], latent_image=["5", 0])
    changes = {"3": quiet, "31": node("PrimitiveString", value="disable")}
    assert "seed" not in found(image(**changes))


@pytest.mark.parametrize(
    ("inputs", "splits"),
    [
        ({"start_at_step": 0, "end_at_step": 10000}, False),
        ({"start_step": 0, "end_step": -1}, False),
        ({"start_at_step": 0, "end_at_step": 20}, True),
        ({"start_at_step": 10, "end_at_step": 10000}, True),
        ({"start_at_step": ["31", 0], "end_at_step": 10000}, True),
        ({"start_at_step": 0, "end_at_step": ["31", 0]}, True),
    ],
)
def test_steps_that_samplers_share_are_left_alone(tmp_path: Path, inputs: dict[str, Any], *, splits: bool) -> None:
    """Where a sampler begins or ends at a step, `steps` is not driven alone, and the manifest says why."""
    text = image(**changed("3", **inputs), **{"31": node("PrimitiveInt", value=10)})
    assert ("steps" in found(text)) is not splits
    batch = started(tmp_path, text)
    assert ("steps" in batch.jobs[0].params) is not splits
    written = (tmp_path / "first.yaml").read_text("utf-8")
    assert ("# steps is left out: 3.start_at_step" in written or "# steps is left out: 3.end_at" in written) is splits


def test_a_sigma_schedule_that_is_split() -> None:
    """The step at which SplitSigmas cuts belongs to the scheduler's steps: they are left alone too."""
    cut = {"31": node("BasicScheduler", steps=20), "32": node("SplitSigmas", sigmas=["31", 0], step=10)}
    assert "steps" not in found(image(**cut))


def test_samplers_side_by_side() -> None:
    """All that start from noise get one seed, whatever they held; a later stage joins where it held the same."""
    second = {**IMAGE["3"]["inputs"], "seed": 6}
    later = {**second, "latent_image": ["3", 0]}
    text = image(
        **{"21": node("KSampler", **second), "22": node("KSampler", **later), "23": node("KSampler", **later, on=1)},
        **{"24": node("KSampler", **{**later, "seed": 9})},
    )
    assert found(text)["seed"] == "3.seed 21.seed 22.seed 23.seed"
    assert 'seed: ["3.seed"' in first_manifest("w.json", read_graph(text))
    assert "; left alone: 24.seed (9)" in first_manifest("w.json", read_graph(text))


def test_ltx2() -> None:
    """In the built-in workflow everything that must agree is driven together."""
    assert (
        found(LTX2).items()
        >= {
            "length": "4.length 5.frames_number",
            "fps": "5.frame_rate 9.frame_rate 14.fps",
            "height": "4.height",
        }.items()
    )


def test_a_negative_is_never_the_prompt() -> None:
    """A workflow whose positive side holds no text of its own gets no prompt, and keeps its negative."""
    text = image(**{"6": node("LoadConditioning", name="owl")})
    assert "prompt" not in found(text)
    assert found(text)["negative"] == "7.text"


def test_what_is_offered_for_files(tmp_path: Path) -> None:
    """Uncommenting a line takes the pictures in a folder; until then the server's own file is used."""
    text = image(**{"10": node("LoadImage", image="cat.png"), **changed("5", width=["10", 1])})
    manifest = first_manifest("w.json", read_graph(text))
    line = '  # image: {files: "image/*"}  # your own files, which are uploaded; now "cat.png" of the server\n'
    assert line in manifest
    batch = started(tmp_path, text)
    graph = json.loads(json.dumps(batch.graph(batch.jobs[0], "p")))
    assert (graph["10"]["inputs"]["image"], "image: " in manifest.partition("defaults:")[2].partition("sweep")[0]) == (
        "cat.png",
        False,
    )
    (tmp_path / "image").mkdir()
    (tmp_path / "image" / "a.jpg").write_bytes(b"\xff\xd8\xff")
    (tmp_path / "w.json").write_text(text)
    (tmp_path / "m.yaml").write_text(manifest.replace("  # image:", "  image:"))
    assert {job.params["image"] for job in load(tmp_path / "m.yaml").jobs} == {"image/a.jpg"}


def test_the_rest_is_listed_whole() -> None:
    """Every input that was not recognised is named, however many there are."""
    knobs = {str(key): node("PrimitiveInt", f"Knob {key}", value=key, own={"deep": key}) for key in range(100, 180)}
    manifest = first_manifest("w.json", read_graph(image(**knobs)))
    assert all(f"  #   Knob {key}: {key}.value, {key}.own.deep\n" in manifest for key in range(100, 180))


def test_saving_nodes(tmp_path: Path) -> None:
    """Where no input is called `filename_prefix`, the one that names files is guessed; several savers are listed."""
    saver = node("Image Saver", filename="%time", path="", images=["8", 0])
    batch = started(tmp_path, image(**{"9": saver}))
    assert batch.template.saving == {"9": "filename"}
    both = first_manifest("w.json", read_graph(image(**{"12": {**IMAGE["9"], "_meta": {"title": "Upscaled"}}})))
    assert '# outputs: ["9"]  # only these nodes\' files; these save: 9 (SaveImage), 12 (Upscaled)\n' in both
    with pytest.raises(WorkflowError, match="replace PreviewImage by SaveImage"):
        first_manifest("w.json", read_graph(image(**{"9": node("PreviewImage", images=["8", 0])})))


def test_temporary_files(tmp_path: Path) -> None:
    """Where every saving node writes temporary files only, the manifest switches that; beside another it is left."""
    combine = node("VHS_VideoCombine", filename_prefix="x", save_output=False, images=["8", 0])
    batch = started(tmp_path, image(**{"9": combine}))
    assert batch.warnings == ()
    graph = json.loads(json.dumps(batch.graph(batch.jobs[0], "p")))
    assert graph["9"]["inputs"]["save_output"] is True
    assert "save_output:" not in first_manifest("w.json", read_graph(image(**{"12": combine})))


def test_a_node_that_takes_small_seeds_only() -> None:
    """Where a node's own largest seed lies below those that are derived, two small seeds are written."""
    text = json.dumps({"1": node("ViduTextToVideoNode", prompt="a", seed=0, filename_prefix="x")})
    assert "  seed: [1, 2]  # at most 2147483647\n" in first_manifest("w.json", read_graph(text))


def test_a_workflow_in_another_folder() -> None:
    """A workflow outside the manifest's folder is named as such, with the option that permits it."""
    manifest = first_manifest("../w.json", read_graph(image()))
    assert yaml.safe_load(manifest)["workflow"] == "../w.json"
    assert "--allow-outside" in manifest


def test_the_values_are_the_workflows_own(tmp_path: Path) -> None:
    """The first manifest's jobs are the workflow itself, but for the seed, and nothing is warned about."""
    batch = started(tmp_path, image())
    assert (batch.name, batch.warnings) == ("my-graph", ())
    graph = json.loads(json.dumps(batch.graph(batch.jobs[0], "out")))
    graph["3"]["inputs"]["seed"] = 5
    assert graph == IMAGE


TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@settings(deadline=None, max_examples=80)
@given(TEXT, TEXT, st.text(st.characters(exclude_categories=["Cs"], exclude_characters="/\0"), min_size=1, max_size=20))
def test_any_text_survives(tmp_path_factory: pytest.TempPathFactory, prompt: str, title: str, key: str) -> None:
    """Whatever texts, titles and ids a workflow holds, its first manifest loads and keeps them."""
    graph: dict[str, Any] = json.loads(json.dumps(IMAGE))
    encoder = graph.pop("6")
    graph["3"]["inputs"]["positive"] = [key, 0]
    graph[key] = {**encoder, "inputs": {**encoder["inputs"], "text": prompt}, "_meta": {"title": title}}
    if key in IMAGE:
        return
    batch = started(tmp_path_factory.mktemp("init"), json.dumps(graph))
    assert batch.jobs[0].params["prompt"] == prompt


def test_nothing_recognised(tmp_path: Path) -> None:
    """Even a workflow without any known input gets a manifest that loads."""
    text = '{"1": {"class_type": "Odd", "inputs": {"filename_prefix": "x", "b": true}}}'
    assert len(started(tmp_path, text).jobs) == 1
