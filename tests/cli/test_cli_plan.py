"""What `plan` learns from a batch's own renders, and how it divides the time."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from batchrunner.cli.app import app
from batchrunner.cli.plan import end_of, jobs_by_preset, known_board, planned_jobs
from batchrunner.core.facts import Accepted, Claimed, Fact, File, Rendered, Saved
from batchrunner.core.forecast import Forecast
from batchrunner.core.hours import Window
from batchrunner.ledger import Snapshot
from batchrunner.manifest import Options, load
from batchrunner.show.status import plan_view

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from batchrunner.core.job import Job
    from batchrunner.manifest import Batch

FAST, SLOW = "http://fast:8188", "http://slow:8188"
_MANIFEST = """
name: night
server: [http://fast:8188, http://slow:8188]
workflow: ltx2
defaults: {size: sd, length: 25, quality: fast}
sweep: {prompt: [cat, dog], seed: {count: 30}}
"""


def _batch(folder: Path) -> Batch:
    path = folder / "night.yaml"
    path.write_text(_MANIFEST, encoding="utf-8")
    return load(path, Options())


def _renders(jobs: Sequence[Job], server: str, seconds: float) -> list[Fact]:
    facts: list[Fact] = []
    for job in jobs:
        facts.append(Claimed(job.id, 1, 0.0, job.id, "p", server, ""))
        facts.append(Rendered(job.id, 1, 0.0, (File("x.mp4"),), None, seconds))
    return facts


def _state(batch: Batch, facts: Sequence[Fact]) -> Snapshot:
    return Snapshot("night", {job.id: job for job in batch.jobs}, tuple(facts), {})


def test_each_server_teaches_its_own_speed(tmp_path: Path) -> None:
    """After twenty renders of the same kind, the next one takes as long as they did, on each server."""
    batch = _batch(tmp_path)
    facts = [*_renders(batch.jobs[:20], FAST, 10.0), *_renders(batch.jobs[20:40], SLOW, 90.0)]
    forecast = known_board(batch, _state(batch, facts), tmp_path, 0.0).forecast
    assert forecast.seconds(FAST, batch.jobs[0].cost) == pytest.approx(10.0, rel=0.15)
    assert forecast.seconds(SLOW, batch.jobs[0].cost) == pytest.approx(90.0, rel=0.15)


def test_plan_says_when_the_disk_will_be_full(tmp_path: Path) -> None:
    """By the bytes of the videos that are saved, and never before one is; what is done needs no more room."""
    batch = _batch(tmp_path)
    facts = _renders(batch.jobs[:2], FAST, 10.0)
    assert planned_jobs(batch, _state(batch, facts), [], 0.0, None, tmp_path).warnings == []
    small = [Saved(job.id, 1, 0.0, "x.mp4", "x.mp4", 5, "0" * 64) for job in batch.jobs[:2]]
    assert planned_jobs(batch, _state(batch, [*facts, *small]), [], 0.0, None, tmp_path).warnings == []
    large = [replace(fact, size=10**17) for fact in small]
    (warning,) = planned_jobs(batch, _state(batch, [*facts, *large]), [], 0.0, None, tmp_path).warnings
    needs = r"they need about 5\.8 EB, [\d.]+ .?B are left \(100 MiB are kept free\)"
    assert re.fullmatch(f"the disk will be full after about 0 of 58 videos: {needs}", warning)


def test_without_renders_it_is_the_guess(tmp_path: Path) -> None:
    """A batch of which nothing is rendered, or nobody knows how long it took, is forecast by the guess, as it says."""
    batch = _batch(tmp_path)
    job = batch.jobs[0].id
    adopted = Accepted(job, 3, 0.0, "p", "p", FAST, 3)
    untimed = Rendered(job, 3, 0.0, (File("x.mp4"),), None, None)
    planned = planned_jobs(batch, _state(batch, [adopted, untimed]), [], 0.0, None, tmp_path)
    assert planned.seconds == pytest.approx(Forecast().total([batch.jobs[0].cost] * 59, [FAST, SLOW]).seconds, abs=0.1)
    assert planned.unknown == [FAST, SLOW]
    shown = "\n".join(str(line) for line in plan_view(planned))
    assert f"the time is a guess: no experience with this workflow yet on {FAST}, {SLOW}" in shown


def test_plan_says_what_grouping_saves(tmp_path: Path) -> None:
    """Once it is learned what another prompt costs on a server, `plan` says so, and what `order: auto` makes of it."""
    batch = _batch(tmp_path)
    cats = [job for job in batch.jobs if job.params["prompt"] == "cat"]
    dogs = [job for job in batch.jobs if job.params["prompt"] == "dog"]
    facts = [
        *_renders(cats[:1], FAST, 100.0),
        *_renders(cats[1:3], FAST, 100.0),
        *_renders(dogs[:1], FAST, 150.0),
        *_renders(dogs[1:2], FAST, 100.0),
    ]
    planned = planned_jobs(batch, _state(batch, facts), [], 0.0, None, tmp_path)
    begins = "order: jobs come in pairs of a prompt at first, to learn what another prompt or model costs"
    assert planned.grouping == [
        begins,
        f"order: on {FAST} another prompt or model costs 50 % of a job: grouping jobs saves about 32 % of the time",
    ]
    assert planned_jobs(batch, None, [], 0.0, None, tmp_path).grouping == [begins]
    assert planned.unknown == [SLOW]


def test_time_by_preset(tmp_path: Path) -> None:
    """Jobs are counted by each option of a preset that the sweep varies, and by no other parameter."""
    path = tmp_path / "night.yaml"
    path.write_text(
        "{name: n, server: sim, workflow: ltx2, defaults: {size: sd}, "
        "sweep: {prompt: [a, b], seed: [1, 2, 3], quality: [fast, high], _mood: [x]}}",
        encoding="utf-8",
    )
    batch = load(path, Options())
    assert {name: len(jobs) for name, jobs in jobs_by_preset(batch, list(batch.jobs)).items()} == {
        "quality fast": 6,
        "quality high": 6,
    }


_LIMITED = "{name: n, server: sim, workflow: ltx2, sweep: {prompt: a, seed: 1}"


def _plan(path: Path, capsys: pytest.CaptureFixture[str], *options: str) -> tuple[str, str]:
    with pytest.raises(SystemExit) as ended:
        app(["plan", str(path), "--out", str(path.parent / "outputs"), *options], prog_name="batchrunner")
    assert not ended.value.code
    return capsys.readouterr()


def test_until_when(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`plan` says by when all must be home, by the option or the manifest, with the date if it is not today."""
    now = datetime.now().astimezone()
    soon, before = (f"{now + timedelta(hours=hours):%H:%M}" for hours in (2, -2))
    path = tmp_path / "night.yaml"
    path.write_text(f"{_LIMITED}, until: '{soon}'}}", encoding="utf-8")
    told = _plan(path, capsys)[0]
    assert re.search(rf"^until (\w+ \d+ \w+ )?{soon} \(in (1 h 59 min|2 h)\)$", told, re.MULTILINE), told
    told = _plan(path, capsys, "--until", before)[0]
    assert re.search(rf"^until (\w+ \d+ \w+ )?{before} \(in 2[12] h", told, re.MULTILINE), told


def test_a_time_that_has_just_passed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`plan` warns of a time that was a few minutes ago, and says which day it means."""
    path = tmp_path / "night.yaml"
    path.write_text(f"{_LIMITED}}}", encoding="utf-8")
    before = f"{datetime.now().astimezone() - timedelta(minutes=5):%H:%M}"
    told = _plan(path, capsys, "--until", before)[0]
    assert re.search(rf"^warning: {before} was [56] minutes ago: this means (today|tomorrow), ", told, re.MULTILINE)


def test_no_clock_time_in_the_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`plan --json` is the same document with a time to be home by and without one."""
    path = tmp_path / "night.yaml"
    path.write_text(f"{_LIMITED}}}", encoding="utf-8")
    told = _plan(path, capsys, "--json")[0]
    for minutes in (-5, 120):
        then = f"{datetime.now().astimezone() + timedelta(minutes=minutes):%H:%M}"
        assert _plan(path, capsys, "--json", "--until", then) == (told, "")


def test_what_a_limit_of_time_leaves_out_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`plan` names what would not be done by `until`, and its time is that of the rest."""
    path = tmp_path / "night.yaml"
    path.write_text("{name: n, server: 'http://gpu', workflow: ltx2, sweep: {prompt: a, seed: {count: 30}}}", "utf-8")
    whole = _plan(path, capsys)[0]
    soon = _plan(path, capsys, "--until", "+2h")[0]
    late = re.search(r"^will not be finished in time: (\d+) jobs: ", soon, re.MULTILINE)
    assert late is not None, soon
    assert 0 < int(late[1]) < 30
    assert whole.splitlines()[0] != soon.splitlines()[0]
    assert "about 1 h" in soon.splitlines()[0]


def test_hours_are_planned_with(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`plan` says until when nothing is submitted, and when a batch ends that renders in those hours only."""
    path = tmp_path / "night.yaml"
    path.write_text(f"{_LIMITED}}}", encoding="utf-8")
    now = datetime.now().astimezone()
    begin, end = (f"{now + timedelta(hours=later):%H:%M}" for later in (3, 5))
    lines = _plan(path, capsys, "--hours", f"{begin}-{end}")[0].splitlines()
    assert re.search(rf"1 new, about 9 s to go, until (\w+ \d+ \w+ )?{begin} if it starts now$", lines[0]), lines
    assert re.match(rf"nothing is submitted until (\w+ \d+ \w+ )?{begin} \(in (2 h 59 min|3 h)\): the hours", lines[1])


def test_rendering_goes_on_in_the_next_hours() -> None:
    """What does not fit into one night ends in a later one; without hours it goes on without a break."""

    def nights(at: float) -> Window:
        night = at // 100 * 100
        return Window(night, night + 10) if at < night + 10 else Window(night + 100, night + 110)

    assert [end_of(seconds, nights, 50.0) for seconds in (5.0, 10.0, 25.0)] == [105.0, 110.0, 305.0]
    assert end_of(25.0, nights, 4.0) == 209.0
    assert end_of(25.0, None, 4.0) == 29.0
    assert end_of(1e9, nights, 0.0) > 1e9 - 10_000
