"""A workflow of one's own in a manifest: its parameters, its outputs, and what is said when they do not fit."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from manifests import batch, diagnostics, jobs

from batchrunner.core.job import render_digest
from batchrunner.errors import ManifestError
from batchrunner.manifest import Options, load

if TYPE_CHECKING:
    from pathlib import Path

HEAD = "name: t\nserver: sim\nworkflow: w.json\n"
GRAPH: dict[str, Any] = {
    "1": {"class_type": "LoadModel", "inputs": {"file": "m"}},
    "2": {"class_type": "Encode", "inputs": {"text": "old", "clip": ["1", 0]}, "_meta": {"title": "Say"}},
    "3": {
        "class_type": "Draw",
        "inputs": {"noise_seed": 1, "steps": 20, "strength": 0.5, "big": 7, "on": True, "text": ["2", 0]},
    },
    "4": {"class_type": "SaveImage", "inputs": {"images": ["3", 0], "filename_prefix": "a"}},
    "5": {"class_type": "SaveAudio", "inputs": {"audio": ["3", 1], "filename_prefix": ["2", 0]}},
}
FILES = {"w.json": json.dumps(GRAPH)}
PARAMS = 'params: {prompt: "@Say.text", seed: Draw.noise_seed, strength: 3.strength, big: 3.big, on: 3.on}\n'


def said(body: str) -> str:
    """Return what is reported."""
    return diagnostics(body, FILES, head=HEAD)


def test_a_sweep_of_its_own() -> None:
    """Named inputs are swept; everything else is what was exported."""
    found = batch(PARAMS + "sweep: {prompt: [a, b], seed: [1, 2]}", FILES, head=HEAD)
    assert jobs(found, "prompt seed strength big on") == [
        "a 1 0.5 7 True",
        "b 1 0.5 7 True",
        "a 2 0.5 7 True",
        "b 2 0.5 7 True",
    ]
    graph = json.loads(json.dumps(found.graph(found.jobs[1], "p-1-a1")))
    assert graph["2"]["inputs"] == {"text": "b", "clip": ["1", 0]}
    assert graph["4"]["inputs"]["filename_prefix"] == graph["5"]["inputs"]["filename_prefix"] == "p-1-a1"


def test_values_take_the_type_that_stands_there() -> None:
    """A whole number in the workflow takes either kind as written; other types stay what they are."""
    found = batch(PARAMS + "sweep: {prompt: 5, strength: 1, big: [7.5, 8], on: false}", FILES, head=HEAD)
    sent = [json.dumps(found.graph(job, "p")["3"]) for job in found.jobs]
    assert ['"strength": 1.0, "big": 7.5, "on": false' in sent[0], '"big": 8, ' in sent[1]] == [True, True]
    assert found.jobs[0].params["prompt"] == "5"


def test_a_workflow_without_prompt_is_broad_in_its_first_axis() -> None:
    """Without a parameter called prompt, every value of the first axis comes once before any comes twice."""
    found = batch("params: {say: 2.text, seed: 3.noise_seed}\nsweep: {say: [a, b], seed: [1, 2]}", FILES, head=HEAD)
    assert jobs(found, "say seed") == ["a 1", "b 1", "a 2", "b 2"]


def test_outputs() -> None:
    """Only the named nodes' files are wanted; unless said, those of every node that saves."""
    assert batch("outputs: [4]\nsweep: {_a: 1}", FILES, head=HEAD).outputs == {"4"}
    assert batch("outputs: SaveAudio\nsweep: {_a: 1}", FILES, head=HEAD).outputs == {"5"}
    assert batch("sweep: {_a: 1}", FILES, head=HEAD).outputs is None


@pytest.mark.parametrize(
    ("body", "diagnostic"),
    [
        (
            "params: {seed: Draw.noise_sed}\n",
            (
                'm.yaml:4:16: params.seed: node 3 (Draw) has no input "noise_sed", only noise_seed, '
                "steps, strength, big, on - did you mean noise_seed?"
            ),
        ),
        (
            "params: {seed: [3.noise_seed, 3.text]}\n",
            (
                'm.yaml:4:16: params.seed: "text" of node 3 (Draw) is fed by node '
                '"2" and is not overwritten; its own values are noise_seed, steps, strength, big, on'
            ),
        ),
        (
            "params: {zip: 3.steps}\n",
            "m.yaml:4:10: params.zip: must be a letter, then letters, digits or `_`, and none of job, rows and zip",
        ),
        (
            "params: {_x: 3.steps}\n",
            "m.yaml:4:10: params._x: must be a letter, then letters, digits or `_`, and none of job, rows and zip",
        ),
        ("params: {x: 3}\n", 'm.yaml:4:13: params.x: must be a text, not 3 - did you mean "3"?'),
        ("outputs: [3]\n", 'm.yaml:4:11: outputs[0]: node "3" saves no file; these do: 4, 5'),
        (
            "outputs: [SaveAudoi]\n",
            (
                'm.yaml:4:11: outputs[0]: no node is called "SaveAudoi"; there is 1 (LoadModel), '
                "2 (Say), 3 (Draw), 4 (SaveImage), 5 (SaveAudio) - did you mean SaveAudio?"
            ),
        ),
    ],
)
def test_names_that_do_not_fit(body: str, diagnostic: str) -> None:
    """A name that is not there, or not to be touched, is refused at its place with what there is."""
    assert said(body + "sweep: {_a: 1}\n") == diagnostic


COMBINE = {
    "class_type": "VHS_VideoCombine",
    "inputs": {"filename_prefix": "a", "images": ["3", 0], "save_output": False},
}
TEMPORARY = (
    "node 6 (VHS_VideoCombine) has save_output: false: its files are temporary and can't be downloaded; set it to true"
)


def _with_combine(*others: str) -> dict[str, str]:
    """Return the workflow ending in a node that keeps nothing, and these save nodes."""
    nodes = {key: node for key, node in GRAPH.items() if key in {"1", "2", "3", *others}}
    return {"w.json": json.dumps({**nodes, "6": COMBINE})}


@pytest.mark.parametrize(
    ("others", "body"),
    [
        ((), ""),
        (("4",), "outputs: [6]\n"),
        ((), "params: {keep: 6.save_output}\n"),
        ((), "params: {keep: 6.save_output}\ndefaults: {keep: false}\n"),
    ],
)
def test_temporary_files_alone_are_refused(others: tuple[str, ...], body: str) -> None:
    """A workflow whose files are all temporary would render for nothing: plan says so, with the cure."""
    assert (
        diagnostics(body + "sweep: {_a: 1}\n", _with_combine(*others), head=HEAD)
        == f"m.yaml:3:11: workflow: {TEMPORARY}"
    )


@pytest.mark.parametrize(
    ("others", "body", "warned"),
    [
        (("4",), "", [TEMPORARY]),
        (("4",), "outputs: [4]\n", []),
        ((), "params: {keep: 6.save_output}\ndefaults: {keep: true}\n", []),
        (("4",), "params: {keep: 6.save_output}\ndefaults: {keep: true}\n", []),
    ],
)
def test_temporary_files_beside_others_are_told(others: tuple[str, ...], body: str, warned: list[str]) -> None:
    """Where another node saves too, the batch is sound, and it is only said that these files stay behind."""
    assert list(batch(body + "sweep: {_a: 1}\n", _with_combine(*others), head=HEAD).warnings) == warned


def test_one_job_without_a_file_is_enough() -> None:
    """A sweep that turns saving off for some of its jobs is refused: they would render for nothing."""
    body = "params: {keep: 6.save_output}\nsweep: {keep: [true, false]}\n"
    assert TEMPORARY in diagnostics(body, _with_combine(), head=HEAD)


@pytest.mark.parametrize("kind", ["SaveLatent", "SaveGLB", "SaveText", "SaveSVGNode"])
def test_any_kind_of_file_is_worth_a_batch(kind: str) -> None:
    """A workflow that saves nothing but latents, meshes, texts or drawings is as good as one of videos."""
    saver = {"class_type": kind, "inputs": {"filename_prefix": "a", "x": ["3", 0]}}
    files = {"w.json": json.dumps({**{key: GRAPH[key] for key in "123"}, "4": saver})}
    found = batch("sweep: {_a: 1}\n", files, head=HEAD)
    assert (len(found.jobs), found.warnings) == (1, ())


def test_a_preview_is_no_output() -> None:
    """A workflow that only shows its pictures is refused where it is named, with the node to put there instead."""
    preview = {"class_type": "PreviewImage", "inputs": {"images": ["3", 0]}}
    files = {"w.json": json.dumps({**{key: GRAPH[key] for key in "123"}, "4": preview})}
    assert diagnostics("sweep: {_a: 1}\n", files, head=HEAD) == (
        'm.yaml:3:11: workflow: "w.json": no node saves a file: node 4 (PreviewImage) keeps none on the server; '
        "replace PreviewImage by SaveImage"
    )


def test_presets_need_their_parameters() -> None:
    """`quality` and `size` exist where the workflow has what they set."""
    assert said("params: {steps: 3.steps}\nsweep: {quality: fast}\n").startswith("m.yaml:5:9: sweep.quality: unknown")
    found = batch("params: {steps: 3.steps, cfg: 3.strength}\nsweep: {quality: fast}", FILES, head=HEAD)
    assert jobs(found, "quality steps cfg") == ["fast 20 4.0"]


def test_files_stay_in_their_folder(tmp_path: Path) -> None:
    """Nothing outside the manifest's folder is read, not through a link either, unless that is allowed."""
    inside = tmp_path / "jobs"
    inside.mkdir()
    (tmp_path / "w.json").write_text(FILES["w.json"], "utf-8")
    (inside / "link.json").symlink_to(tmp_path / "w.json")
    for name in ("../w.json", "link.json", str(tmp_path / "w.json")):
        path = inside / "m.yaml"
        path.write_text(f"name: t\nserver: sim\nworkflow: {name}\nsweep: {{_a: 1}}\n", "utf-8")
        with pytest.raises(ManifestError, match="leads outside the manifest's folder; --allow-outside permits that"):
            load(path)
        assert len(load(path, Options(allow_outside=True)).jobs) == 1


def test_what_a_server_lacks() -> None:
    """The server's own list is held against every value of the sweep, and each lack is said once."""
    found = batch("params: {model: 1.file}\nsweep: {model: [m, mm], _a: [1, 2]}", FILES, head=HEAD)
    known = {node["class_type"]: {} for node in GRAPH.values() if node["class_type"] != "SaveAudio"}
    known["LoadModel"] = {"input": {"required": {"file": [["m", "mmm.ckpt"]]}}}
    assert found.refusals(known) == [
        "node 5 (SaveAudio): the server has no such node; a custom node pack may be missing there",
        'node 1 (LoadModel): file must be one of m, mmm.ckpt, not "mm" - did you mean m?',
    ]


def test_a_wrong_parameter_is_said_once() -> None:
    """A parameter that names no input is reported where it is made, not again wherever it is used."""
    body = "params: {seed: Draw.nothing}\ndefaults: {seed: 1}\nsweep: {_a: 1}\nexclude: {seed: 2}\n"
    assert said(body).count("\n") == 0
    assert said(body).startswith("m.yaml:4:16: params.seed: ")


SAVER = {"class_type": "Image Saver", "inputs": {"filename": "%time", "path": "", "images": ["3", 0]}}
UNNAMED = {"w.json": json.dumps({**{key: GRAPH[key] for key in "123"}, "6": SAVER})}


def test_a_prefix_input_that_is_named() -> None:
    """Where `prefix` names its input, a saving node without `filename_prefix` saves, and its files are known again."""
    found = batch("prefix: 6.filename\nsweep: {_a: 1}\n", UNNAMED, head=HEAD)
    assert found.graph(found.jobs[0], "p")["6"] == {**SAVER, "inputs": {**SAVER["inputs"], "filename": "p"}}
    assert found.renders(found.jobs[0]) == render_digest(found.graph(found.jobs[0], "other-0123456789ab-a7"))


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (
            "",
            (
                'm.yaml:3:11: workflow: "w.json": no node saves a file: node 6 (Image Saver) has no filename_prefix; '
                "write prefix: 6.filename to name its files by that input"
            ),
        ),
        (
            "prefix: 6.filenam\n",
            (
                'm.yaml:4:9: prefix[0]: node 6 (Image Saver) has no input "filenam", only filename, path, images'
                " - did you mean filename?"
            ),
        ),
        (
            "prefix: 6.filename\nparams: {x: 6.filename}\n",
            "m.yaml:5:13: params.x: takes the file prefix, which batchrunner sets itself: name your files with `files`",
        ),
    ],
)
def test_prefix_inputs_that_do_not_fit(body: str, complaint: str) -> None:
    """Without a prefix input nothing could be found again, so that is said before anything is sent."""
    assert diagnostics(body + "sweep: {_a: 1}\n", UNNAMED, head=HEAD) == complaint


def test_a_parameter_beside_the_sweep() -> None:
    """A line that is not indented enough is told where its parameter belongs, not which keys there are."""
    assert (
        said(f"{PARAMS}sweep: {{prompt: a}}\nstrength: 1\n")
        == "m.yaml:6:1: strength: is a parameter: write it in a block of `sweep`, or in `defaults`"
    )


def test_a_workflow_in_place_of_a_manifest(tmp_path: Path) -> None:
    """Whoever gives the workflow itself is told what writes its manifest, once."""
    path = tmp_path / "my wan.json"
    path.write_text(FILES["w.json"], encoding="utf-8")
    with pytest.raises(ManifestError) as wrong:
        load(path, Options())
    assert str(wrong.value).endswith(
        "my wan.json:1:1: this is a workflow, not a manifest; the verb init writes one for it"
    )
