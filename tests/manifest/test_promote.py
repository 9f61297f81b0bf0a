"""The picks of the gallery become a manifest of their own: the same prompts and seeds, only what is set is new."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import yaml

from batchrunner.errors import ManifestError, YoursError
from batchrunner.manifest import Options, load
from batchrunner.manifest.picks import Pick, Picks, read_picks
from batchrunner.manifest.promote import promote, promoted_name

if TYPE_CHECKING:
    from pathlib import Path

    from batchrunner.manifest import Batch

NIGHT = r"""
name: cats
server: http://gpu-box:8188
workflow: ltx2
ttl: 15m
presets:
  look: {noir: {_poll: "film: noir", denoise: 0.9}, "yes": {_poll: plain}}
defaults: {negative: "no, # text", size: sd, fps: 25}
sweep:
  prompt: ["A cat: ${_poll}", "\u202e\U0001F408 \"quoted\" \\ back\nslash ${_poll}", "1984", "- {a: b}"]
  look: [noir, "yes"]
  quality: [fast, high]
  seed: [18446744073709551615, 7]
"""
UHD = (("size", "1080p"), ("quality", "high"))


def _loaded(folder: Path, text: str, name: str = "cats.yaml") -> tuple[Path, Batch]:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path, load(path)


def _promoted(folder: Path, source: Path, batch: Batch, sets: tuple[tuple[str, str], ...]) -> Batch:
    picks = Picks(batch.name, tuple(Pick(job.id) for job in batch.jobs))
    jobs = {job.id: job for job in batch.jobs}
    return _loaded(folder, promote(picks, jobs, source, Options(sets=sets)), "picks.yaml")[1]


def test_promoted_jobs_keep_prompt_and_seed(tmp_path: Path) -> None:
    """Every pick is rendered again as it was, whatever stands in its prompt, but for what is set."""
    source, batch = _loaded(tmp_path, NIGHT)
    promoted = _promoted(tmp_path, source, batch, UHD)
    same = ("prompt", "seed", "negative", "fps", "_poll")
    wanted = {tuple(job.params[name] for name in same) for job in batch.jobs}
    assert {tuple(job.params[name] for name in same) for job in promoted.jobs} == wanted
    assert {(job.params["width"], job.params["steps"], job.params["cfg"]) for job in promoted.jobs} == {(1920, 40, 6.0)}
    assert promoted.name == "cats-picks"
    assert promoted.servers == batch.servers
    assert promoted.rules == batch.rules


def test_nothing_set_is_nothing_changed(tmp_path: Path) -> None:
    """Without `--set` the very same jobs come out, to the id."""
    source, batch = _loaded(tmp_path, NIGHT)
    assert {job.id for job in _promoted(tmp_path, source, batch, ()).jobs} == {job.id for job in batch.jobs}


def test_filled_texts_are_not_filled_again(tmp_path: Path) -> None:
    """A `${` that a prompt holds once it is filled in means itself in the new manifest."""
    night = 'name: a\nserver: sim\nworkflow: ltx2\nsweep: {prompt: "a ${_b}{steps} ${_b}{x}", _b: "$"}\n'
    source, batch = _loaded(tmp_path, night)
    (job,) = batch.jobs
    assert job.params["prompt"] == "a ${steps} ${x}"
    (again,) = _promoted(tmp_path, source, batch, ()).jobs
    assert again.params["prompt"] == job.params["prompt"]
    assert again.id == job.id


def test_picks_that_differ_in_what_is_set_are_one(tmp_path: Path) -> None:
    """Fast and high of one prompt and seed, promoted to high, are one row with both notes."""
    source, batch = _loaded(tmp_path, NIGHT)
    twins = [job for job in batch.jobs if (job.params["prompt"], job.params["seed"]) == ("1984", 7)]
    picks = Picks("cats", tuple(Pick(job.id, f"note\n{place}") for place, job in enumerate(twins)))
    text = promote(picks, {job.id: job for job in twins}, source, Options(sets=(("quality", "high"),)))
    rows = yaml.safe_load(text)["sweep"]["rows"]
    assert [(row["prompt"], row["seed"]) for row in rows] == [("1984", 7)] * 2
    assert text.count("    # note ") == 4


def test_another_server_comes_along(tmp_path: Path) -> None:
    """A server named on the command line takes the place of the manifest's."""
    source, batch = _loaded(tmp_path, NIGHT)
    picks = Picks("", (Pick(batch.jobs[0].id),))
    text = promote(picks, {batch.jobs[0].id: batch.jobs[0]}, source, Options(servers=("http://other:1",)))
    assert _loaded(tmp_path, text)[1].servers == ("http://other:1",)


def test_own_workflow_and_knobs_are_kept(tmp_path: Path) -> None:
    """Parameters, outputs and knobs of a workflow of one's own are in the new manifest, on what they stood."""
    graph = {
        "3": {"class_type": "KSampler", "inputs": {"seed": 1, "steps": 20, "latent_image": ["4", 0]}},
        "4": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 512, "batch_size": 1}},
        "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "x", "images": ["3", 0]}},
    }
    (tmp_path / "own.json").write_text(json.dumps(graph), encoding="utf-8")
    source, batch = _loaded(
        tmp_path,
        "name: own\nserver: [sim]\nworkflow: own.json\nparams: {seed: 3.seed, side: [4.width, 4.height]}\n"
        "outputs: [9]\nattempts: 5\nttl: none\nstuck: off\nsweep: {seed: [1, 2], side: 256}\n",
    )
    promoted = _promoted(tmp_path, source, batch, (("side", "1024"),))
    assert [(job.params["seed"], job.params["side"]) for job in promoted.jobs] == [(1, 1024), (2, 1024)]
    assert (promoted.rules, promoted.outputs) == (batch.rules, batch.outputs)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("[]", 'no list "picks"'),
        ('{"picks": {}}', 'no list "picks"'),
        ('{"picks": []}', "nothing is picked"),
        ('{"picks": ["0123456789ab"]}', "picks[0]"),
        ('{"picks": [{"job": "../../etc"}]}', "12 hex digits"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_what_is_no_picks_file_is_said(text: str, message: str) -> None:
    """A file that the gallery did not save is refused in one line that says why."""
    with pytest.raises(YoursError) as refused:
        read_picks(text)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_picks_are_read_in_order_and_once() -> None:
    """The order is the gallery's; a job picked twice is picked once, and what is unknown is left alone."""
    one, two = "0" * 12, "f" * 12
    items = [{"job": two, "note": "best", "seed": "7"}, {"job": one, "note": 3}, {"job": two, "note": "again"}]
    read = read_picks(json.dumps({"batch": "cats", "manifest": "cats.yaml", "picks": items, "more": 1}))
    assert read == Picks("cats", (Pick(two, "best"), Pick(one)), "cats.yaml")


def test_strangers_are_refused(tmp_path: Path) -> None:
    """A pick of no job, of another batch, or with a set that does not fit writes nothing and says why."""
    source, batch = _loaded(tmp_path, NIGHT)
    job = batch.jobs[0]
    with pytest.raises(YoursError, match="no such job"):
        promote(Picks("cats", (Pick("f" * 12),)), {job.id: job}, source, Options())
    with pytest.raises(YoursError, match="of the batch"):
        promote(Picks("dogs", (Pick(job.id),)), {job.id: job}, source, Options())
    with pytest.raises(ManifestError, match="size"):
        promote(Picks("cats", (Pick(job.id),)), {job.id: job}, source, Options(sets=(("size", "huge"),)))


def test_the_new_name_is_a_name() -> None:
    """However long the batch's name is, that of its picks is within the 64 characters of one."""
    assert promoted_name("x" * 64) == "x" * 58 + "-picks"


def test_files_are_kept(tmp_path: Path) -> None:
    """Local files are named by their paths, even if the workflow holds that name; the server's stay its own."""
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "cat.png"}},
        "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "x", "images": ["1", 0]}},
    }
    (tmp_path / "w.json").write_text(json.dumps(graph))
    (tmp_path / "cat.png").write_bytes(b"mine")
    (tmp_path / "dog.png").write_bytes(b"dog")
    text = (
        "name: a\nserver: sim\nworkflow: w.json\nparams: {image: {input: 1.image, upload: true}}\n"
        "sweep: {image: [cat.png, dog.png, {server: dog.png}, {server: cat.png}]}\n"
    )
    source, batch = _loaded(tmp_path, text)
    promoted = _promoted(tmp_path, source, batch, ())
    assert [job.id for job in promoted.jobs] == [job.id for job in batch.jobs]
    assert promoted.inputs == batch.inputs


def test_a_file_that_is_found_no_more_is_the_batchs_copy(tmp_path: Path) -> None:
    """A path that leads elsewhere from the new manifest (a table's cell, an edited file) becomes that of the copy."""
    graph = {
        "1": {"class_type": "LoadImage", "inputs": {"image": "cat.png"}},
        "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "x", "images": ["1", 0]}},
    }
    (tmp_path / "w.json").write_text(json.dumps(graph))
    (tmp_path / "sub").mkdir()
    for name, content in {
        "x.png": b"another",
        "sub/x.png": b"theirs",
        "y.png": b"mine",
        "sub/t.csv": b"image\nx.png\n",
    }.items():
        (tmp_path / name).write_bytes(content)
    head = "name: a\nserver: sim\nworkflow: w.json\nparams: {image: 1.image}\n"
    source, batch = _loaded(tmp_path, f"{head}sweep: [{{rows: sub/t.csv}}, {{image: y.png}}]\n")
    (tmp_path / "out" / "a" / "inputs").mkdir(parents=True)
    (tmp_path / "out" / "a" / "inputs" / batch.inputs[0].name).write_bytes(b"theirs")
    picks = Picks("a", tuple(Pick(job.id) for job in batch.jobs))
    jobs = {job.id: job for job in batch.jobs}
    text = promote(picks, jobs, source, Options(out=tmp_path / "out"))
    promoted = _loaded(tmp_path, text, "picks.yaml")[1]
    assert [job.id for job in promoted.jobs] == list(jobs)
    assert [job.params["image"] for job in promoted.jobs] == [f"out/a/inputs/{batch.inputs[0].name}", "y.png"]
