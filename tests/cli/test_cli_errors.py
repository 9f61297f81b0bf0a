"""A person's mistakes: one line each, the exit code of the table, never a traceback, and nothing made."""

from __future__ import annotations

import json
import os
import re
import shutil
import sqlite3
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchrunner.cli.app import app
from batchrunner.core.facts import Accepted, Claimed, Dropped, Fact, File, Lost, Rendered, Saved, Why
from batchrunner.ledger import Ledger, hold
from batchrunner.manifest import Options, load
from batchrunner.manifest.schema import manifest_schema

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchrunner.core.job import Job

_NIGHT = """
name: night
server: http://127.0.0.1:1
workflow: ltx2
sweep: {prompt: [a, b], seed: [1, 2]}
files: "{prompt}/s{seed}"
"""
_JOBS = Path(__file__).parents[2] / "jobs"
_VERBS = ("run", "plan", "status", "retry", "verify", "cancel", "gallery")
_KEEPING = ("retry", "verify", "cancel", "gallery")
"""Verbs that need a batch that ran."""


@dataclass(frozen=True, slots=True)
class _Told:
    """What one call of the command said."""

    code: int
    out: str
    err: str


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Iterator[Path]:
    """Stand in a folder with a manifest in it."""
    (tmp_path / "night.yaml").write_text(_NIGHT, encoding="utf-8")
    with chdir(tmp_path):
        yield tmp_path


def _call(*arguments: str) -> _Told:
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as err, pytest.raises(SystemExit) as ended:
        app(arguments, prog_name="batchrunner")
    return _Told(int(ended.value.code or 0), out.getvalue(), err.getvalue())


def _refused(code: int, *arguments: str) -> str:
    """Call, fail unless it was refused with this code, in one line, with nothing on stdout; return the line."""
    told = _call(*arguments)
    assert (told.code, told.out, told.err.count("\n")) == (code, "", 1), told
    return told.err


def _ran(folder: Path, *facts: Fact) -> list[Job]:
    """Make the state of a batch to which these facts happened; return its jobs."""
    batch = load(folder / "night.yaml", Options())
    with Ledger.open(folder / "outputs" / "night", batch.name) as ledger:
        ledger.keep(batch.jobs)
        for fact in facts:
            ledger.append(fact)
    return list(batch.jobs)


def _story(job: str, path: str) -> tuple[Fact, ...]:
    return (
        Claimed(job, 1, 1.0, "id", "p", "http://gpu:1", ""),
        Accepted(job, 1, 1.0, "id", "p", "http://gpu:1"),
        Rendered(job, 1, 9.0, (File("x.mp4"),), None, 8.0),
        Saved(job, 1, 9.0, "x.mp4", path, 5, "f" * 64),
    )


@pytest.mark.parametrize("verb", _VERBS)
def test_no_manifest(folder: Path, verb: str) -> None:
    """A manifest that is missing, a folder, no file at all or no manifest is named in a line, and nothing is made."""
    (folder / "afolder").mkdir()
    (folder / "text.yaml").write_text("just words", encoding="utf-8")
    before = sorted(folder.iterdir())
    for name in ("missing.yaml", "text.yaml", os.devnull):
        assert _refused(2, verb, name).startswith(f"{name}:1:1: ")
    wrong = "afolder:1:1: " if verb in {"run", "plan"} else "no batch in "
    assert _refused(2, verb, "afolder").startswith(wrong)
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize("verb", _KEEPING)
def test_a_batch_that_never_ran(folder: Path, verb: str) -> None:
    """Where there is no batch yet there is nothing to look after, and no folder is made for it."""
    assert _refused(2, verb, "night.yaml") == f"no batch in {folder}/outputs/night\n"
    assert not (folder / "outputs").exists()


@pytest.mark.parametrize(("server", "code"), [("http://127.0.0.1:1", 3), ("sim", 0)])
@pytest.mark.usefixtures("folder")
def test_a_server_that_cannot_be_asked(server: str, code: int) -> None:
    """`plan --ask` answers on stdout, names on stderr the server that can't be asked, and exits with 3 then."""
    told = _call("plan", "night.yaml", "--ask", "--server", server)
    assert (told.code, told.out.startswith("night  4 jobs")) == (code, True)
    assert told.err.startswith("http://127.0.0.1:1: couldn't check nodes and models: " if code else "")
    assert told.err.count("\n") == bool(code)


@pytest.mark.parametrize("verb", ["plan", "status"])
def test_looking_ahead(folder: Path, verb: str) -> None:
    """Plan and status of a batch never run are fine, and make nothing."""
    told = _call(verb, "night.yaml", "--json")
    assert (told.code, json.loads(told.out)["total"], told.err) == (0, 4, "")
    assert not (folder / "outputs").exists()


@pytest.mark.parametrize("verb", _VERBS)
def test_a_state_that_cannot_be_used(folder: Path, verb: str) -> None:
    """A state that is damaged, newer, another program's, another batch's or a folder is named, kept, and exit 5."""
    _ran(folder)
    state = folder / "outputs" / "night" / "state.sqlite3"
    sound = state.read_bytes()
    shutil.copytree(folder / "outputs" / "night", folder / "outputs" / "day")
    (folder / "day.yaml").write_text(_NIGHT.replace("name: night", "name: day"), encoding="utf-8")
    assert "the batch 'night', not of 'day'" in _refused(5, verb, "day.yaml")
    for change in ("PRAGMA user_version=99", "PRAGMA application_id=7"):
        state.write_bytes(sound)
        db = sqlite3.connect(state)
        db.execute(change)
        db.commit()
        db.close()
        kept = state.read_bytes()
        assert "outputs/night/state.sqlite3: " in _refused(5, verb, "night.yaml")
        assert state.read_bytes() == kept
    state.write_bytes(b"no database" * 100)
    assert "damaged" in _refused(5, verb, "night.yaml")
    state.unlink()
    state.mkdir()
    assert "not a plain file" in _refused(5, verb, "night.yaml")


@pytest.mark.parametrize("verb", [*_VERBS, "why"])
def test_a_state_that_cannot_be_true(folder: Path, verb: str) -> None:
    """Facts that can't all have happened are a damaged state, not a bug: exit 5 and the way out, in one line."""
    (job, *_) = _ran(folder)
    _ran(folder, Saved(job.id, 1, 1.0, "x.mp4", "x.mp4", 5, "f" * 64))
    told = _refused(5, verb, job.id if verb == "why" else "night.yaml")
    assert "contradicts itself" in told
    assert "move it away and run the same command again" in told


@pytest.mark.parametrize("verb", ["run", "retry", "verify", "cancel"])
def test_somebody_else_runs_it(folder: Path, verb: str) -> None:
    """While a batch runs, whoever would change it exits with 4 and says who holds it."""
    _ran(folder)
    with hold(folder / "outputs" / "night"):
        assert f"process {os.getpid()}" in _refused(4, verb, "night.yaml")


def test_no_place_for_a_batch(folder: Path) -> None:
    """A file where the folder of batches should be is exit 5."""
    (folder / "outputs").write_text("", encoding="ascii")
    assert "can't create this folder" in _refused(5, "run", "night.yaml")


def test_status_of_a_folder(folder: Path) -> None:
    """A folder of no batch is refused, with the batch that lies in it if there is one; a batch's folder is told of."""
    assert _refused(2, "status", ".") == f"no batch in {folder}\n"
    _ran(folder)
    assert _refused(2, "status", "outputs") == f"no batch in {folder}/outputs; did you mean outputs/night?\n"
    told = _call("status", "outputs/night")
    expected = "night  0 done, 4 left of 4\nnot running\n\nnext: batchrunner run MANIFEST\n"
    assert (told.code, told.out) == (0, expected)


def test_status_of_every_batch(folder: Path) -> None:
    """`status` without a name is a line for each batch, with the process that runs it; a damaged one hides no other."""
    assert _refused(2, "status") == f"no batch in {folder}/outputs\n"
    job, *_ = _ran(folder)
    _ran(folder, *_story(job.id, "a/s1.mp4"))
    (folder / "outputs" / "bad").mkdir()
    (folder / "outputs" / "bad" / "state.sqlite3").write_bytes(b"no database" * 100)
    told = _call("status")
    assert (told.code, told.out) == (0, "night  1 done, 3 left of 4; 1 file missing or changed; not running\n")
    assert "outputs/bad/state.sqlite3: it is damaged" in told.err
    with hold(folder / "outputs" / "night"):
        assert f"another command is using it (process {os.getpid()}" in _call("status").out
        (batch,) = json.loads(_call("status", "--json").out)["batches"]
    assert (batch["batch"], batch["total"], batch["counts"]["done"], batch["runner"]) == ("night", 4, 1, None)
    assert batch["folder"] == str(folder / "outputs" / "night")
    assert "needs a MANIFEST" in _refused(2, "status", "--watch")


def test_watch(folder: Path) -> None:
    """--watch ends by itself when every job is done, failed or left out, shows that, and is not for JSON."""
    assert "--json" in _refused(2, "status", "night.yaml", "--watch", "--json")
    jobs = [job.id for job in load(folder / "night.yaml", Options()).jobs]
    lost = (Claimed(jobs[1], 1, 1.0, "id", "p", "s", ""), Lost(jobs[1], 1, 2.0, Why.ERROR, "no \x1b[2J", final=True))
    out = (Dropped(jobs[2], 0, 1.0, "cancelled"), Dropped(jobs[3], 0, 1.0, "cancelled"))
    _ran(folder, *_story(jobs[0], "a/s1.mp4"), *lost, *out)
    told = _call("status", "night.yaml", "--watch")
    assert told.code == 0
    assert told.out.startswith("night  1 done, 1 failed of 2\n")
    assert told.out.endswith("cancelled: 2 jobs; the next run renders them\n")
    assert "\x1b" not in told.out
    assert json.loads(_call("status", "night.yaml", "--json").out)["total"] == 2


def test_a_cancelled_job_is_planned_for(folder: Path) -> None:
    """Plan counts the time of what was cancelled, for run takes it up again, and says of it what status says."""
    jobs = _ran(folder)
    assert "cancelled" not in _call("plan", "night.yaml").out
    before = json.loads(_call("plan", "night.yaml", "--json").out)["seconds"]
    _ran(folder, *(Dropped(job.id, 0, 1.0, "cancelled") for job in jobs))
    assert json.loads(_call("plan", "night.yaml", "--json").out)["seconds"] == before > 0
    told = "cancelled: 4 jobs; the next run renders them\n"
    assert told in _call("plan", "night.yaml").out
    assert told in _call("status", "night.yaml").out
    assert "cancelled: 1 job; the next run renders it\n" in _call("plan", "night.yaml", "--limit", "1").out


def test_why_by_any_name(folder: Path) -> None:
    """A job is found by its id, its prompt's, its file's name or path, its sidecar's, and by how one of them begins."""
    (job, *others) = load(folder / "night.yaml", Options()).jobs
    _ran(folder, replace(_story(job.id, "")[0], prompt="the-prompt"), *_story(job.id, "a/s1 (x).mp4")[1:])
    with Ledger.open(folder / "outputs" / "night", "night") as ledger:
        ledger.keep([job, *(replace(other, file=f"b/{place}") for place, other in enumerate(others))])
    home = folder / "outputs" / "night"
    names = [job.id, job.id[:6], "a/s1", "./a/s1", "a/s1.webm", "a/s1 (x).mp4", "s1 (x).mp4", "s1 (x).json"]
    names += ["the-prompt", "the-p", "a/s1 (", "a/"]
    paths = [str(home / "a" / "s1 (x).mp4"), "outputs/night/a/s1 (x).json", "outputs/night/a/s1.mp4"]
    told = {_call("why", name).out for name in names + paths}
    assert len(told) == 1
    assert _call("why", "night.yaml", "the-prompt").out == _call("why", "outputs/night", "the-prompt").out == told.pop()
    with chdir(home):
        assert _call("why", "a/s1 (x).mp4").code == 0


def test_why_names_the_jobs_there_are(folder: Path) -> None:
    """A name that fits no job is answered with the nearest or the first few; a vague one with those it fits."""
    jobs = _ran(folder)
    place = folder / "outputs"
    assert _refused(2, "why", "zzz") == f'no job "zzz" in {place}; jobs: a/s1, b/s1, a/s2, b/s2\n'
    assert _refused(2, "why", "night.yaml", "a/s11") == f'no job "a/s11" in {place}/night - did you mean a/s1?\n'
    told = _call("why", "s1")
    assert told.err.splitlines() == [
        '"s1" fits 2 jobs; give more of it, or the path:',
        f"  a/s1  {jobs[0].id}  in outputs/night",
        f"  b/s1  {jobs[1].id}  in outputs/night",
    ]
    with Ledger.open(folder / "outputs" / "night", "night") as ledger:
        ledger.keep([replace(jobs[0], id=f"abc{place:09}") for place in range(10)])
    assert (told.code, _call("why", "abc").err.splitlines()[-1]) == (2, "  … and 1 more")
    assert _refused(2, "why", "nowhere.yaml", "a/s1").startswith("nowhere.yaml:1:1: ")


def test_a_whole_word_comes_before_a_part_of_one(folder: Path) -> None:
    """A name that ends where a word ends means those jobs alone: `shot-3` is not `shot-30`."""
    jobs = _ran(folder)
    names = ("shot-3-s1", "shot-30-s1", "shot-3-s2", "shot-41")
    with Ledger.open(folder / "outputs" / "night", "night") as ledger:
        ledger.keep([replace(job, file=name) for job, name in zip(jobs, names, strict=True)])
    told = _call("why", "shot-3").err.splitlines()
    assert [line.split()[0] for line in told[1:]] == ["shot-3-s1", "shot-3-s2"]
    assert (_call("why", "shot-30").code, _call("why", "shot-4").code) == (0, 0)


def test_rerun(folder: Path) -> None:
    """`rerun` has that one job wait again and runs it; of one that the manifest no longer describes it says why not."""
    quick = _NIGHT.replace("name: night", "name: night\npatience: 50ms\ngrace: 50ms")
    (folder / "night.yaml").write_text(quick, encoding="utf-8")
    assert _call("run", "night.yaml").code == 3  # nobody is there; it is remembered which manifest that was
    jobs = _ran(folder)
    _ran(folder, *_story(jobs[0].id, "a/s1.mp4"), *_story(jobs[1].id, "b/s1.mp4"))
    told = _call("rerun", "a/s1.mp4")
    assert (told.code, "does not answer" in told.err) == (3, True), told.err
    counts = json.loads(_call("status", "night.yaml", "--json").out)["counts"]
    assert (counts["done"], counts["waiting"]) == (1, 3)
    (folder / "night.yaml").write_text(quick.replace("[a, b]", "[c, d]"), encoding="utf-8")
    assert _refused(2, "rerun", "b/s1.mp4").startswith('night.yaml does not describe "b/s1" any more: ')


def test_export(folder: Path) -> None:
    """`export --csv` prints a row for each saved file, of a manifest or a folder."""
    jobs = _ran(folder)
    assert "--csv" in _refused(2, "export", "night.yaml")
    _ran(folder, *_story(jobs[0].id, "a/s1.mp4"))
    told = _call("export", "night.yaml", "--csv")
    assert told == _call("export", "outputs/night", "--csv")
    header, row = told.out.splitlines()
    assert (told.code, told.err, header.split(",")[:3]) == (0, "", ["path", "job", "seed"])
    assert row.startswith(f"a/s1.mp4,{jobs[0].id},1,")


@pytest.mark.parametrize("name", ["", ".", "/", "..", "nobody", "s", "outputs/night", "/nowhere/x.mp4", "\x1b[2J"])
def test_why_nobody(folder: Path, name: str) -> None:
    """A name that means no job, or no job for sure, is told in harmless words."""
    _ran(folder)
    told = _call("why", name)
    assert (told.code, told.out, "\x1b" in told.err) == (2, "", False)


def test_why_beside_a_damaged_state(folder: Path) -> None:
    """Another batch's damaged state hides no job that can be told of; where none is found it is the reason."""
    job = load(folder / "night.yaml", Options()).jobs[0]
    _ran(folder, *_story(job.id, "a/s1.mp4"))
    (folder / "outputs" / "bad").mkdir()
    (folder / "outputs" / "bad" / "state.sqlite3").write_bytes(b"no database" * 100)
    told = _call("why", job.id)
    assert (told.code, "Now: done" in told.out, told.err.count("\n")) == (0, True, 1)
    assert "outputs/bad/state.sqlite3: it is damaged" in _refused(5, "why", "nobody")


def test_verify_says_what_is_wrong(folder: Path) -> None:
    """Each missing, cut or unreadable file is a line, then how many jobs have one, then the command that helps."""
    jobs = [job.id for job in load(folder / "night.yaml", Options()).jobs]
    assert _ran(folder)
    assert _call("verify", "night.yaml").out == "no finished jobs to check\n"
    _ran(folder, *_story(jobs[0], "gone.mp4"), *_story(jobs[1], "cut.mp4"), *_story(jobs[2], "folder.mp4"))
    (folder / "outputs" / "night" / "cut.mp4").write_bytes(b"1234")
    (folder / "outputs" / "night" / "folder.mp4").mkdir()
    told = _call("verify", "night.yaml")
    assert (told.code, told.err) == (1, "")
    assert told.out.splitlines() == [
        "gone.mp4: missing",
        "cut.mp4: 4 bytes instead of 5",
        "folder.mp4: not a readable file",
        "3 jobs checked: 3 with missing or damaged files; 1 job is not done",
        "to render them again: batchrunner verify --redo outputs/night",
    ]


def test_retry_says_what_is_tried_again(folder: Path) -> None:
    """Retry counts the failed jobs that wait again and says what to type; without any it says so."""
    jobs = _ran(folder)
    assert _call("retry", "night.yaml").err == "no failed jobs\n"
    job = jobs[0].id
    _ran(folder, Claimed(job, 1, 1.0, "id", "p", "s", ""), Lost(job, 1, 2.0, Why.ERROR, "no", final=True))
    told = _call("retry", "night.yaml")
    assert told.err == "to be tried again: 1 job; now run: batchrunner run night.yaml\n"


def test_cancel_and_the_status_after_it(folder: Path) -> None:
    """Cancel says how many jobs it took and how to continue, then that there is nothing left; status counts them."""
    _ran(folder)
    assert _call("cancel", "night.yaml").err == "cancelled: 4 jobs\nto continue: batchrunner run night.yaml\n"
    assert _call("cancel", "night.yaml").err == "nothing to cancel\n"
    for batch in ("night.yaml", "outputs/night"):
        assert (
            _call("status", batch).out
            == "night  no jobs left\nnot running\ncancelled: 4 jobs; the next run renders them\n"
        )


def test_commands_to_copy_name_the_folder(folder: Path) -> None:
    """With --out, the command that is printed for continuing has it too."""
    _ran(folder)
    (folder / "outputs").rename(folder / "my runs")
    told = _call("cancel", "night.yaml", "--out", "my runs")
    assert told.err.splitlines()[-1] == "to continue: batchrunner run night.yaml --out 'my runs'"


@pytest.mark.parametrize(
    ("picks", "message"),
    [
        ("nothing", "this is not JSON"),
        ("[]", 'no list "picks"'),
        ('{"picks": []}', "nothing is picked"),
        ('{"picks": [{"job": "../x"}]}', "12 hex digits"),
        ('{"picks": [{"job": "000000000000"}]}', "--manifest FILE"),
        ('{"picks": [{"job": "000000000000"}], "manifest": "night.yaml"}', "not a batch name"),
        ('{"batch": "../night", "picks": [{"job": "000000000000"}], "manifest": "night.yaml"}', "not a batch name"),
        ('{"batch": "gone", "picks": [{"job": "000000000000"}], "manifest": "night.yaml"}', "no batch in "),
        ('{"batch": "night", "picks": [{"job": "000000000000"}], "manifest": "night.yaml"}', "no such job"),
        ('{"batch": "night", "picks": [{"job": "JOB"}], "manifest": "missing.yaml"}', "there is no such file"),
        ('{"batch": "night", "picks": [{"job": "JOB"}], "manifest": "other.yaml"}', "not of"),
    ],
)
def test_picks_that_cannot_be_promoted(folder: Path, picks: str, message: str) -> None:
    """Picks that are no picks, of no batch or of another one are refused in a line, and no manifest is written."""
    jobs = _ran(folder)
    (folder / "other.yaml").write_text(_NIGHT.replace("name: night", "name: other"), encoding="utf-8")
    (folder / "picks.json").write_text(picks.replace("JOB", jobs[0].id), encoding="utf-8")
    assert message in _refused(2, "promote", "picks.json")
    assert {path.name for path in folder.glob("*.yaml")} == {"night.yaml", "other.yaml"}


def test_a_set_that_does_not_fit(folder: Path) -> None:
    """Promote refuses a value that the batch does not have, before it writes anything."""
    jobs = _ran(folder)
    picks = {"batch": "night", "manifest": "night.yaml", "picks": [{"job": jobs[0].id}]}
    (folder / "picks.json").write_text(json.dumps(picks), encoding="utf-8")
    told = _call("promote", "picks.json", "--set", "seizure=1080p")
    assert (told.code, "Traceback" in told.err) == (2, False)
    assert [path.name for path in folder.glob("*.yaml")] == ["night.yaml"]


def test_promote_overwrites_nothing(folder: Path) -> None:
    """A manifest of picks that is there already is kept as it is."""
    jobs = _ran(folder)
    picks = {"batch": "night", "manifest": "night.yaml", "picks": [{"job": jobs[0].id}]}
    (folder / "picks.json").write_text(json.dumps(picks), encoding="utf-8")
    assert "wrote night-picks.yaml with 1 pick;" in _call("promote", "picks.json").err
    text = (folder / "night-picks.yaml").read_bytes()
    assert "already exists" in _refused(2, "promote", "picks.json", "--set", "steps=9")
    assert (folder / "night-picks.yaml").read_bytes() == text
    assert "must lie in ." in _refused(2, "promote", "picks.json", "-o", "outputs/large.yaml")
    assert "wrote large (1).yaml with 1 pick;" in _call("promote", "picks.json", "-o", "large (1).yaml").err
    assert load(folder / "large (1).yaml", Options()).name == "large--1-"


@pytest.mark.parametrize("verb", ["status", "gallery", "export", "why"])
def test_the_name_of_a_batch(folder: Path, verb: str) -> None:
    """The name that `status` lists is no file: the batch's folder is suggested."""
    _ran(folder)
    more = {"export": ["--csv"], "why": ["3f"]}.get(verb, [])
    assert _refused(2, verb, "night", *more) == "night: there is no such file; did you mean outputs/night?\n"


def test_promote_from_the_folder(folder: Path) -> None:
    """A batch's folder is promoted from the picks that the served page kept there, of the manifest that we remember."""
    jobs = _ran(folder)
    hint = "there is no such file; batchrunner gallery outputs/night --serve writes it"
    assert f"outputs/night/picks.json: {hint}" in _refused(2, "promote", "outputs/night")
    picks = {"batch": "night", "manifest": "/etc/other.yaml", "picks": [{"job": jobs[0].id}]}
    (folder / "outputs" / "night" / "picks.json").write_text(json.dumps(picks), encoding="utf-8")
    assert "add --manifest FILE" in _refused(2, "promote", "outputs/night")
    told = _call("promote", "outputs/night", "--manifest", "night.yaml")
    assert (told.code, "wrote night-picks.yaml with 1 pick;" in told.err) == (0, True), told.err


@pytest.mark.parametrize("name", ["sdxl_api", "wan_api"])
def test_init(folder: Path, name: str) -> None:
    """A first manifest for an exported workflow is accepted by plan as it is, and no other is overwritten for it."""
    shutil.copy(_JOBS / f"{name}.json", folder)
    made = _call("init", f"{name}.json")
    assert (made.code, f"wrote {name}.yaml" in made.err) == (0, True)
    planned = _call("plan", f"{name}.yaml", "--json")
    assert (planned.code, json.loads(planned.out)["total"] > 0) == (0, True), planned.err
    text = (folder / f"{name}.yaml").read_bytes()
    _refused(2, "init", f"{name}.json")
    assert (folder / f"{name}.yaml").read_bytes() == text


def test_init_to_another_file(folder: Path) -> None:
    """`init -o FILE` writes the manifest there and the schema it refers to beside it, and loads from there."""
    (folder / "graphs").mkdir()
    shutil.copy(_JOBS / "sdxl_api.json", folder / "graphs")
    made = _call("init", "graphs/sdxl_api.json", "-o", "owl.yaml")
    assert (made.code, "wrote owl.yaml" in made.err) == (0, True)
    assert _call("plan", "owl.yaml").code == 0
    assert json.loads((folder / "manifest.schema.json").read_text("utf-8")) == json.loads(_call("schema").out)
    assert not list((folder / "graphs").glob("*.yaml"))


def test_init_of_no_workflow(folder: Path) -> None:
    """What is no workflow is refused in a line, and no manifest is written."""
    (folder / "words.json").write_text("words", encoding="utf-8")
    (folder / "list.json").write_text("[1]", encoding="utf-8")
    (folder / "editor.json").write_text('{"nodes": [], "links": [], "version": 0.4}', encoding="utf-8")
    (folder / "preview.json").write_text('{"9": {"class_type": "PreviewImage"}}', encoding="utf-8")
    for name in ("words.json", "list.json", "editor.json", "preview.json", "missing.json", "."):
        _refused(2, "init", name)
    assert [path.name for path in folder.glob("*.yaml")] == ["night.yaml"]


def test_schema() -> None:
    """Schema prints what editors check manifests with, and nothing else."""
    told = _call("schema")
    assert (told.code, told.err, json.loads(told.out)) == (0, "", manifest_schema())


def test_a_time_that_is_none(folder: Path) -> None:
    """A bad --until ends a run before anything is made; a bad `until` in a manifest is a complaint about its line."""
    for verb in ("run", "plan"):
        assert "not a time of day" in _refused(2, verb, "night.yaml", "--until", "25:00")
    (folder / "late.yaml").write_text(_NIGHT.replace("name: night", "name: late\nuntil: 25:00"), encoding="utf-8")
    assert _refused(2, "run", "late.yaml").startswith("late.yaml:3:")
    assert not (folder / "outputs").exists()


def test_options_that_are_none(folder: Path) -> None:
    """Options that mean nothing are refused with exit 2, and nothing is made."""
    for options in (
        ["--set", "steps"],
        ["--only", "=3"],
        ["--limit", "0"],
        ["--only", "nokey=1"],
        ["--server", "ftp://x"],
    ):
        told = _call("run", "night.yaml", *options)
        assert (told.code, "Traceback" in told.err) == (2, False), options
    assert "Invalid value for '--set': 'steps' is not KEY=VALUE" in _call("run", "night.yaml", "--set", "steps").err
    assert not (folder / "outputs").exists()


@pytest.mark.parametrize(
    "options", [["--dir", "night.yaml"], ["--record", "nowhere/record.jsonl"], ["--dir", "night.yaml/within"]]
)
def test_a_simulator_without_a_place(folder: Path, options: list[str]) -> None:
    """Where the simulator can't keep its files or its record, one line names the place, and the exit is 5."""
    told = _refused(5, "sim", "--port", "0", "--plain", *options)
    assert told.startswith((str(folder / options[1]), options[1]))


def test_a_link_where_the_built_in_server_keeps_its_files(folder: Path) -> None:
    """What a planted link points at is neither emptied nor used: exit 5, and no traceback."""
    (folder / "precious").mkdir()
    (folder / "precious" / "file").touch()
    (folder / "outputs" / "night").mkdir(parents=True)
    (folder / "outputs" / "night" / ".sim").symlink_to(folder / "precious")
    told = _refused(5, "run", "night.yaml", "--server", "sim")
    assert told.startswith("outputs/night/.sim: can't create this folder")
    assert [path.name for path in (folder / "precious").iterdir()] == ["file"]


@pytest.mark.parametrize("verb", ["", *_VERBS, "forget", "why", "rerun", "export", "promote", "init", "schema", "sim"])
def test_help_fits(verb: str) -> None:
    """Every verb's help fits 80 columns and ends no sentence in the middle."""
    told = _call(*filter(None, [verb]), "--help")
    assert told.code == 0
    assert max(map(len, told.out.splitlines())) <= 80
    assert "..." not in told.out.replace("[OPTIONS] COMMAND [ARGS]...", "").replace("{MANIFEST}...", "")


@pytest.mark.parametrize(
    ("verb", "text"),
    [
        ("verify", "Check the size, checksum and MP4 structure of every saved file."),
        ("gallery", "Port for --serve (0: any free one)."),
        ("sim", "Port to listen on (0: any free one)."),
        ("why", "Explain what happened to a job, step by step."),
        ("run", "Submit only between these times of day, every day"),
    ],
)
def test_help_is_plain(verb: str, text: str) -> None:
    """Help says in standard words what a verb or an option does; -h is the same as --help."""
    told = _call(verb, "-h")
    assert text in told.out
    assert told == _call(verb, "--help")


def test_completion_of_the_shell(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is completion for the shell; which one it is can't be found out where tests run without one."""
    assert "--show-completion" in _call("-h").out
    monkeypatch.setenv("_BATCHRUNNER_COMPLETE", "source_bash")
    assert "_batchrunner_completion" in _call().out


def test_the_version_is_told() -> None:
    """`--version` prints one line that a bug report can quote."""
    told = _call("--version")
    assert (told.code, told.err) == (0, "")
    assert re.fullmatch(r"batchrunner \d+\.\d+\.\d+\S*\n", told.out)


def test_the_folder_of_all_batches_from_the_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """BATCHRUNNER_OUT stands for `--out`, which wins over it."""
    monkeypatch.setenv("BATCHRUNNER_OUT", str(folder / "elsewhere"))
    assert str(folder / "elsewhere" / "night") in _refused(2, "gallery", "night.yaml")
    assert str(folder / "here" / "night") in _refused(2, "gallery", "night.yaml", "--out", "here")
