"""`forget`: what a server held waits again, and nothing else changes."""

from __future__ import annotations

import json
from contextlib import chdir
from typing import TYPE_CHECKING

import pytest

from batchrunner.cli.app import app
from batchrunner.core.facts import Accepted, Claimed, Fact, File, Lost, Opened, Rendered, Saved, Why
from batchrunner.core.lifecycle import AttemptHistory, Done, Fetching, Queued, Waiting, folded
from batchrunner.core.server import OUR_DISK
from batchrunner.ledger import Ledger, hold
from batchrunner.manifest import Options, load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batchrunner.core.lifecycle import State

A, B = "http://gpu-1:8188", "http://gpu-2:8188"
_NIGHT = """
name: night
server: [{servers}]
workflow: ltx2
sweep: {{prompt: a cat, seed: {{count: 7}}}}
"""


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Iterator[Path]:
    """Stand in a folder with a manifest in it."""
    _write(tmp_path, A, B)
    with chdir(tmp_path):
        yield tmp_path


@pytest.fixture(name="jobs")
def _jobs(folder: Path) -> list[str]:
    """Make the state of a batch of seven jobs, one in every state that a server has to do with; return their ids."""
    batch = load(folder / "night.yaml", Options())
    ids = [job.id for job in batch.jobs]
    facts = [
        Claimed(ids[0], 1, 1.0, "p0", "x0", A, ""),
        *_queued(ids[1], A),
        *_rendered(ids[2], A),
        Opened(ids[2], 1, 1.0, "x.mp4", "e", 5, "x.part", "boot"),
        *_rendered(ids[3], A),
        Saved(ids[3], 1, 1.0, "x.mp4", "x.mp4", 5, "f" * 64),
        *_queued(ids[4], B),
        Accepted(ids[5], 1, 1.0, "x5", "x5", OUR_DISK),
    ]
    with Ledger.open(folder / "outputs" / "night", batch.name) as ledger:
        ledger.keep(batch.jobs)
        for fact in facts:
            ledger.append(fact)
    return ids


def _write(folder: Path, *servers: str) -> None:
    (folder / "night.yaml").write_text(_NIGHT.format(servers=", ".join(servers)), encoding="utf-8")


def _queued(job: str, server: str) -> list[Fact]:
    return [Claimed(job, 1, 1.0, "p", "x", server, ""), Accepted(job, 1, 1.0, "p", "x", server)]


def _rendered(job: str, server: str) -> list[Fact]:
    return [*_queued(job, server), Rendered(job, 1, 9.0, (File("x.mp4"),), None, 8.0)]


def _forget(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        app(["forget", "night.yaml", *arguments], prog_name="batchrunner")
    told = capsys.readouterr()
    assert "Traceback" not in told.err
    return int(ended.value.code or 0), told.out, told.err


def _kept(folder: Path) -> tuple[list[Fact], dict[str, State]]:
    snapshot = Ledger.read(folder / "outputs" / "night")
    assert snapshot is not None
    return list(snapshot.facts), folded(snapshot.jobs, snapshot.facts)


def test_what_a_server_held_waits_again(folder: Path, jobs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Claimed, queued and rendered jobs of that server wait again, none of their attempts spent; no other changes."""
    before = _kept(folder)
    code, out, err = _forget(capsys, A)
    assert (code, out) == (0, "")
    assert err == f"released from {A}: 3 jobs; to render elsewhere: batchrunner run night.yaml --server {B}\n"
    facts, states = _kept(folder)
    assert [states[job] for job in jobs[:3]] == [Waiting(AttemptHistory(highest=1, spent=0, given_up=1))] * 3
    assert {job: states[job] for job in jobs[3:]} == {job: before[1][job] for job in jobs[3:]}
    assert isinstance(states[jobs[3]], Done)
    assert isinstance(states[jobs[4]], Queued)
    new = facts[len(before[0]) :]
    assert [(fact.job, fact.attempt) for fact in new] == [(job, 1) for job in jobs[:3]]
    for fact in new:
        assert isinstance(fact, Lost)
        assert (fact.why, fact.burns, fact.final) == (Why.SERVER_GONE, False, False)
        assert fact.message == "the server was given up with `forget`"


def test_the_json_names_what_is_free(folder: Path, jobs: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """With --json there is one document, in which the server goes by its own name, and nothing else is said."""
    code, out, err = _forget(capsys, "HTTP://GPU-1:8188/", "--json")
    assert (code, err, out.count("\n")) == (0, "", 1)
    assert json.loads(out) == {"version": 1, "batch": "night", "server": A, "freed": jobs[:3]}
    assert not any(isinstance(state, Fetching) for state in _kept(folder)[1].values())


@pytest.mark.parametrize(
    ("servers", "forgotten", "message"),
    [
        ([A, B], B, f"released from {B}: 1 job; to render elsewhere: batchrunner run night.yaml --server {A}\n"),
        ([B], A, "elsewhere: batchrunner run night.yaml\n"),
        ([A], A, "elsewhere: batchrunner run night.yaml --server URL (of another server)\n"),
        ([A, "http://c", B], A, f"elsewhere: batchrunner run night.yaml --server http://c --server {B}\n"),
    ],
)
@pytest.mark.usefixtures("jobs")
def test_the_command_to_go_on(
    folder: Path, servers: list[str], forgotten: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What is to be typed next leaves the forgotten server out, whatever the manifest says by now."""
    _write(folder, *servers)
    code, _, err = _forget(capsys, forgotten)
    assert (code, err.endswith(message)) == (0, True), err


@pytest.mark.parametrize(
    ("server", "message"),
    [
        (
            "http://gpu-3:8188",
            f"http://gpu-3:8188 holds no jobs of this batch; servers that hold jobs: {A} (3 jobs), {B} (1 job)",
        ),
        ("sim", f"sim holds no jobs of this batch; servers that hold jobs: {A} (3 jobs), {B} (1 job)"),
        ("gpu-1:8188", "did you mean http://gpu-1:8188?; servers that hold jobs:"),
        (OUR_DISK, f'must be sim, or begin with http:// or https://, not "{OUR_DISK}"'),
        ("http://me:secret@gpu-1:8188", "must hold no user name, password or token"),
    ],
)
@pytest.mark.usefixtures("jobs")
def test_a_server_that_holds_nothing(
    folder: Path, server: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A server that holds nothing, or is none, is refused in a line that names those that do; nothing changes."""
    before = _kept(folder)
    code, out, err = _forget(capsys, server, "--json")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert f"{A} (3 jobs), {B} (1 job)" in err
    assert "secret" not in err
    assert _kept(folder) == before


@pytest.mark.usefixtures("jobs")
def test_twice(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A server that was forgotten holds nothing any more; when all are, that is said."""
    assert [_forget(capsys, server)[0] for server in (A, B)] == [0, 0]
    before = _kept(folder)
    code, _, err = _forget(capsys, A)
    assert (code, err) == (2, f"{A} holds no jobs of this batch; servers that hold jobs: none\n")
    assert _kept(folder) == before


@pytest.mark.usefixtures("jobs")
def test_while_it_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A batch that another runner holds is left alone: exit 4."""
    before = _kept(folder)
    with hold(folder / "outputs" / "night"):
        code, _, err = _forget(capsys, A)
    assert (code, err.count("\n")) == (4, 1)
    assert _kept(folder) == before


def test_a_batch_that_never_ran(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where there is no batch yet there is nothing to forget, and no folder is made for it."""
    code, _, err = _forget(capsys, A)
    assert (code, err) == (2, f"no batch in {folder}/outputs/night\n")
    assert not (folder / "outputs").exists()
