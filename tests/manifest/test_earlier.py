"""Rows from another batch: its finished jobs, or what was picked of them."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest

from batchrunner import consent
from batchrunner.core.facts import Accepted, File, Rendered, Saved
from batchrunner.core.job import Job
from batchrunner.errors import ManifestError
from batchrunner.ledger import Ledger
from batchrunner.manifest import Batch, Options, load

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_WORKFLOW = {
    "1": {"class_type": "LoadVideo", "inputs": {"file": "x.mp4"}},
    "2": {"class_type": "CLIPTextEncode", "inputs": {"text": "x"}},
    "3": {"class_type": "KSampler", "inputs": {"seed": 1, "steps": 20, "sampler_name": "euler", "of": ["1", 0]}},
    "4": {"class_type": "SaveVideo", "inputs": {"filename_prefix": "x", "video": ["3", 0], "of": ["2", 0]}},
    "5": {"class_type": "LoadImage", "inputs": {"image": "x.png"}},
}
_HEAD = """
name: finals
server: sim
workflow: w.json
params: {video: 1.file, prompt: 2.text, seed: 3.seed, steps: 3.steps, image: 5.image}
"""
JOBS = [
    Job(f"{place:012x}", "", {"prompt": text, "seed": 2**40 + place, "_look": "noir"}, f"clips/{place}", 0.0)
    for place, text in enumerate(("a cat", "costs ${5}", "a dog"))
]
FILM = b"\0\0\0\x18ftypisom film "


def _finish(out: Path, jobs: Sequence[Job], done: Sequence[Job], name: str = "drafts") -> None:
    """Leave the state of a batch in which some of its jobs are done."""
    with Ledger.open(out / name, name) as ledger:
        ledger.keep(jobs)
        for job in done:
            path = f"{job.file}.mp4"
            ledger.append(Accepted(job.id, 1, 0.0, "id", "p", "http://gpu:8188"))
            ledger.append(Rendered(job.id, 1, 0.0, (File("x.mp4"), File("y.png")), None))
            for file, home in (("x.mp4", path), ("y.png", f"{job.file}-2.png")):
                ledger.append(Saved(job.id, 1, 0.0, file, home, 9, "0" * 64))
                (out / name / home).parent.mkdir(parents=True, exist_ok=True)
                (out / name / home).write_bytes(FILM + job.id.encode())


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Return an output folder with a batch of three jobs, the first two of them done."""
    _finish(tmp_path / "out", JOBS, JOBS[:2])
    return tmp_path / "out"


def _load(out: Path, sweep: str, head: str = _HEAD, pending: Sequence[Job] | None = None) -> Batch:
    (out.parent / "w.json").write_text(json.dumps(_WORKFLOW), encoding="utf-8")
    (out.parent / "m.yaml").write_text(f"{head}sweep: {sweep}\n", encoding="utf-8")
    waited = {} if pending is None else {"drafts": pending}
    return load(out.parent / "m.yaml", Options(out=out, pending=waited))


def _wrong(out: Path, sweep: str, pending: Sequence[Job] | None = None) -> str:
    with pytest.raises(ManifestError) as caught:
        _load(out, sweep, pending=pending)
    return str(caught.value).replace(f"{out.parent}/", "")


def test_each_finished_job_is_a_row(out: Path) -> None:
    """Its values are own variables, also for numbers; its file is uploaded, and stands as its stem in names."""
    batch = _load(
        out,
        "{rows: {batch: drafts}, video: '${_file}', prompt: '${_prompt}, again', seed: '${_seed}', steps: [5, 6]}",
        _HEAD + "files: '{_file}-{_look}-{steps}'\n",
    )
    assert [(job.params["prompt"], job.params["seed"], job.file) for job in batch.jobs[:2]] == [
        ("a cat, again", 2**40, "0-noir-5"),
        ("costs ${5}, again", 2**40 + 1, "1-noir-5"),
    ]
    assert [batch.sources[job.uploads["video"]].path for job in batch.jobs[:2]] == [
        out / "drafts" / "clips" / f"{place}.mp4" for place in (0, 1)
    ]
    assert batch.jobs[0].params["_file"] == "clips/0.mp4"
    assert batch.axes == (("rows", 2), ("steps", 2))


def test_picks_choose_and_order_the_rows(out: Path) -> None:
    """Rows are the picks in their order; one that is not finished is left out, and that is said."""
    picked = [{"job": JOBS[place].id} for place in (2, 1, 0)]
    (out / "drafts" / "picks.json").write_text(json.dumps({"batch": "drafts", "picks": picked}), encoding="utf-8")
    batch = _load(out, "{rows: {batch: drafts, picks: picks.json}, prompt: '${_prompt}'}")
    assert [job.params["_prompt"] for job in batch.jobs] == ["costs ${5}", "a cat"]
    assert any("1 pick left out: not finished" in warning for warning in batch.warnings)


@pytest.mark.parametrize(
    ("sweep", "said"),
    [
        ("{rows: {batch: draft}, prompt: x}", "m.yaml:6:23: sweep.rows.batch: no batch in "),
        ("{rows: {batch: draft}, prompt: x}", "out/draft: run it first - did you mean drafts?"),
        ("{rows: {batch: finals}, prompt: x}", "a batch can't take its rows from itself"),
        ("{rows: {batch: empty}, prompt: x}", 'no job of "empty" is finished'),
        ("{rows: {batch: ../out/drafts}, prompt: x}", "sweep.rows.batch: must be 1 to 64 letters"),
        ("{rows: {batch: drafts, picks: ../../m.yaml}, prompt: x}", 'sweep.rows.picks: "../../m.yaml": leads outside'),
        (
            "{rows: {batch: drafts, picks: no.json}, prompt: x}",
            '"no.json" in the folder of "drafts": there is no such file',
        ),
        ("{rows: {batch: drafts, picks: other.json}, prompt: x}", 'these are picks of the batch "other"'),
        ("{rows: {batch: drafts, picks: odd.json}, prompt: x}", "ffffffffffff: no such job in the batch"),
        ("{rows: {batch: drafts, frame: middle}, prompt: x}", "sweep.rows.frame: must be first, last or a number"),
        ("{rows: {batch: drafts, frame: -1}, prompt: x}", "must be first, last or a number from 0, not"),
        ("{rows: {batch: drafts, columns: {a: b}}, prompt: x}", "sweep.rows.columns"),
        ("{rows: {batch: drafts}, image: '${_file}'}", '"clips/0.mp4": is a video, and a picture is loaded here'),
        ("{rows: {batch: drafts, frame: last}, video: '${_file}'}", "its frame is a picture, and a video is loaded"),
        ("{rows: {batch: drafts}, seed: '${_prompt}'}", "sweep.seed: must be a whole number, not the text"),
        ("{rows: {batch: drafts}, seed: '${_nothing}'}", "${_nothing} is not set here"),
        ("{rows: {batch: drafts}, _a: {count: 2, per: _look}, seed: '${_a}'}", "${_a} depends on other values itself"),
        ("{rows: {batch: drafts}, _file: x}", "sets _file a second time"),
    ],
)
def test_what_cannot_be_a_row_is_said_with_its_place(out: Path, sweep: str, said: str) -> None:
    """A batch that is not there or has nothing finished, picks of another, a file of another kind: each is named."""
    _finish(out, JOBS, [], "empty")
    for name, batch, job in (("other", "other", JOBS[0].id), ("odd", "drafts", "f" * 12)):
        text = json.dumps({"batch": batch, "picks": [{"job": job}]})
        (out / "drafts" / f"{name}.json").write_text(text, encoding="utf-8")
    assert said in _wrong(out, sweep)


def test_a_file_that_is_gone_is_named(out: Path) -> None:
    """A video that somebody deleted can't be a row's file."""
    (out / "drafts" / "clips" / "1.mp4").unlink()
    assert '"clips/1.mp4": there is no such file' in _wrong(out, "{rows: {batch: drafts}, video: '${_file}'}")


def test_a_damaged_state_is_no_traceback(out: Path) -> None:
    """A state that can't be read, or contradicts itself, is a complaint about the batch."""
    with Ledger.open(out / "odd", "odd") as ledger:
        ledger.append(Rendered(JOBS[0].id, 1, 0.0, (File("x.mp4"),), None))
    assert "the state of odd is damaged" in _wrong(out, "{rows: {batch: odd}, prompt: x}")
    (out / "drafts" / "state.sqlite3").write_bytes(b"no state")
    assert "sweep.rows.batch: " in _wrong(out, "{rows: {batch: drafts}, prompt: x}")


def test_a_job_that_its_own_manifest_has_no_more_is_no_row(out: Path) -> None:
    """What a batch rendered for an earlier version of its manifest goes through no second pass unless it is picked."""
    with Ledger.open(out / "drafts", "drafts") as ledger:
        ledger.keep(JOBS[1:])
    batch = _load(out, "{rows: {batch: drafts}, prompt: '${_prompt}'}")
    assert [job.params["_prompt"] for job in batch.jobs] == ["costs ${5}"]
    text = json.dumps({"batch": "drafts", "picks": [{"job": JOBS[0].id}]})
    (out / "drafts" / "picks.json").write_text(text, encoding="utf-8")
    batch = _load(out, "{rows: {batch: drafts, picks: picks.json}, prompt: '${_prompt}'}")
    assert [job.params["_prompt"] for job in batch.jobs] == ["a cat"]


def test_without_an_output_folder_there_are_no_batches(out: Path) -> None:
    """A program that loads a manifest without saying where batches lie is told so."""
    _load(out, "{prompt: x}")
    (out.parent / "m.yaml").write_text(f"{_HEAD}sweep: {{rows: {{batch: drafts}}, prompt: x}}\n", encoding="utf-8")
    with pytest.raises(ManifestError, match="in which folder the batch lies is not known"):
        load(out.parent / "m.yaml", Options())


def test_rows_that_are_still_to_be_rendered_are_checked_for_their_shape(out: Path) -> None:
    """Before the other batch has run, every job of its manifest is a row; what is wrong with the values is found."""
    pending = [*JOBS, Job("f" * 12, "", {"prompt": "new", "seed": 1}, "new", 0.0)]
    sweep = "{rows: {batch: drafts, picks: later.json}, video: '${_file}', seed: '${_seed}', prompt: '${_prompt}'}"
    batch = _load(out, sweep, pending=pending)
    assert [job.params["_file"] for job in batch.jobs] == ["clips/0.mp4", "clips/1.mp4", "clips/2.mp4", "new.mp4"]
    assert len({job.uploads["video"] for job in batch.jobs}) == 4
    assert "sweep.seed: must be a whole number" in _wrong(
        out, "{rows: {batch: drafts}, seed: '${_prompt}'}", pending=pending
    )
    frames = _load(out, "{rows: {batch: drafts, frame: last}, image: '${_file}'}", pending=pending)
    assert len(frames.jobs) == 4


def test_a_frame_is_identified_by_its_video_and_number(out: Path) -> None:
    """The same frame of the same video is the same job, wherever the video lies; another frame is another one."""
    pytest.importorskip("av", reason="frames need PyAV (extra: video)")

    def names(frame: str) -> list[str]:
        batch = _load(out, f"{{rows: {{batch: drafts, frame: {frame}}}, image: '${{_file}}'}}")
        assert set(batch.frames.values()) == {frame}
        assert all(job.uploads["image"].endswith(".png") for job in batch.jobs)
        return [job.id for job in batch.jobs]

    last = names("last")
    assert last != names("3")
    assert len({*last, *names("first")}) == 4
    (out / "drafts" / "clips" / "0.mp4").write_bytes(b"\0\0\0\x18ftypisom another")
    again = names("last")
    assert (again[0] != last[0], again[1]) == (True, last[1])


def test_without_pyav_there_are_no_frames(out: Path) -> None:
    """The message says what to install; rows without frames need nothing."""
    known = {name: sys.modules.pop(name) for name in [name for name in sys.modules if name.split(".")[0] == "av"]}
    sys.modules["av"] = None  # type: ignore[assignment] # this is how Python spells a module that cannot be imported
    try:
        assert "pip install 'batchrunner[video]'" in _wrong(out, "{rows: {batch: drafts, frame: last}, prompt: x}")
    finally:
        del sys.modules["av"]
        sys.modules |= known


def test_a_workflow_that_loads_no_file_takes_rows_too(out: Path) -> None:
    """Prompts and seeds of another batch may go through any workflow; the file is then its stem."""
    head = "\nname: finals\nserver: sim\nworkflow: ltx2\n"
    batch = _load(out, "{rows: {batch: drafts}, prompt: '${_prompt} (${_file})', seed: '${_seed}'}", head)
    assert [job.params["prompt"] for job in batch.jobs] == ["a cat (0)", "costs ${5} (1)"]


@pytest.mark.parametrize(
    ("server", "asked"),
    [("sim", []), ("http://gpu:8188", []), ("[http://gpu:8188, http://evil:8188]", ["http://evil:8188"])],
)
def test_a_batch_goes_only_to_servers_that_had_it_unless_a_person_agrees(
    out: Path, server: str, asked: list[str]
) -> None:
    """Values and files of another batch need consent for each server that has had none of its prompts."""
    text = (
        f'{_HEAD.replace("server: sim", f"server: {server}")}sweep: {{rows: {{batch: drafts}}, video: "${{_file}}"}}\n'
    )
    (out.parent / "w.json").write_text(json.dumps(_WORKFLOW), encoding="utf-8")
    (out.parent / "m.yaml").write_text(text, encoding="utf-8")
    batch = load(out.parent / "m.yaml", Options(out=out))
    assert consent.requests(batch) == tuple(f"send values and files of the batch drafts to {url}" for url in asked)
