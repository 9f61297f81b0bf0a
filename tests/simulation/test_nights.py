"""Whole nights in which everything goes wrong: every promise is kept, and a seed is the same night every time.

BATCHRUNNER_NIGHTS in the environment says how many seeds; a plain pytest takes six.
"""

from __future__ import annotations

import os
from collections import Counter
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from defects import put_in

from batchrunner.sim.record import What
from tests.lab import schedule
from tests.lab.clock import StuckError
from tests.lab.faults import KINDS, Fault, Where, usual
from tests.lab.nights import world
from tests.lab.nights.batch import batch_of
from tests.lab.nights.command import in_processes, main, once, traces
from tests.lab.nights.night import night, pass_night
from tests.lab.nights.plan import Axes, Host, Plan
from tests.lab.nights.shape import drawn

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.nights.invariants import Invariants
    from tests.lab.nights.world import World


@pytest.mark.parametrize("seed", range(100, 100 + int(os.environ.get("BATCHRUNNER_NIGHTS", "6"))))
def test_a_bad_night_keeps_every_promise(seed: int) -> None:
    """Killed, cut off, mistreated: every job ends done or failed with evidence, and a second run is the same."""
    outcome = once(seed, 6, twice=True)
    assert outcome.broken == ()
    assert outcome.done + outcome.failed == 6


def test_a_calm_night_renders_every_job_once(tmp_path: Path) -> None:
    """With nothing going wrong there is one life, one render a job, and no failure."""
    outcome = pass_night(tmp_path, Plan(1, 5))
    assert (outcome.done, outcome.failed, outcome.exits, outcome.renders) == (5, 0, (0,), 5)
    assert outcome.broken == ()


def test_a_runner_that_only_beats_is_stuck(tmp_path: Path) -> None:
    """A runner that does nothing but beat once a minute is called stuck, with its seed, though the beat never ends."""

    async def beats(_batch: object, _folder: object, invariants: Invariants, *_: object) -> int:
        while True:
            await invariants.loop.elapse(60)

    with put_in(((world, "program", beats),)), pytest.raises(StuckError, match="no action begun") as stuck:
        pass_night(tmp_path, Plan(7, 2))
    assert stuck.value.__notes__ == ["in the night of seed 7, 2 jobs"]


def test_an_ordinary_night_is_never_silent_for_long(tmp_path: Path) -> None:
    """A night with its server away for two hours makes progress every few minutes: far from the day that is stuck."""
    with put_in(((schedule, "SILENCE", 600.0),)):
        outcome = pass_night(tmp_path, Plan(1, 5, (Fault("refuse", at=100.0, lasts=7200.0),)))
    assert (outcome.done, outcome.broken) == (5, ())
    assert outcome.hours > 2


@pytest.mark.parametrize("do", [do for do, kind in KINDS.items() if do != "unauthorised" and not kind.added])
def test_every_fault_alone_is_survived(tmp_path: Path, do: str) -> None:
    """Each kind of fault, twice in a night of two jobs, costs no video; only a file over a limit does."""
    axes = Axes(pictures=2 * KINDS[do].uploads)
    hosts = (Host(jobs_api=KINDS[do].jobs),)
    outcome = pass_night(tmp_path, Plan(1, 2, (usual(do, 0.0), usual(do, 305.0)), axes=axes, hosts=hosts))
    assert outcome.broken == ()
    assert outcome.done == (0 if do == "refuse-uploads" else 2)


def test_every_shape_is_drawn() -> None:
    """Of a thousand seeds about six in ten have one server, three have two, one has three; a tenth has an old one."""
    plans = [drawn(seed, 12) for seed in range(1000)]
    servers = Counter(len(plan.hosts) for plan in plans)
    assert [round(servers[number] / 100) for number in (1, 2, 3)] == [6, 3, 1]
    assert 80 <= sum(any(host.own_ids for host in plan.hosts) for plan in plans) <= 160
    hosts = [host for plan in plans for host in plan.hosts]
    assert 0.4 < sum(host.jobs_api for host in hosts) / len(hosts) < 0.5
    assert not any(host.jobs_api and host.own_ids for host in hosts)
    assert all(plan.axes.kinds <= 32 * max(1, plan.axes.pictures) for plan in plans)
    assert 0.28 < sum(plan.axes.pictures > 0 for plan in plans) / len(plans) < 0.38
    assert {plan.axes.pictures for plan in plans} == {0, 1, 2, 3, 4}
    assert 0.05 < sum(plan.strangers for plan in plans) / len(plans) < 0.15
    assert {plan.axes.prompts for plan in plans} == {1, 2, 3, 4}
    assert 0.04 < sum(plan.axes.saves == 2 for plan in plans) / len(plans) < 0.12
    assert {(1,), (2,), (1, 2)} == {plan.axes.clips for plan in plans}
    assert drawn(7, 12) == drawn(7, 12)


def test_a_night_of_pictures(tmp_path: Path) -> None:
    """Of twelve pictures in two seeds come 24 videos, none twice, none of another's picture.

    Others' files lie under their names, ten kills, three uploads cut in the middle, an input folder emptied four times.
    """
    kills = [Fault("kill", at=700.0 * number, lasts=15.0) for number in range(1, 11)]
    emptied = [Fault("empty-inputs", at=400.0 + 1900.0 * number) for number in range(3)]
    cut = [Fault("cut-upload", at=100.0 + 2500.0 * number, size=9000) for number in range(3)]
    script = (*kills, *emptied, *cut, Fault("new-pod", at=3100.0, lasts=10.0))
    outcome = pass_night(tmp_path, Plan(1, 24, script, axes=Axes(pictures=12), strangers=True))
    assert (outcome.broken, outcome.done, outcome.exits.count(-9)) == ((), 24, 10)


def test_the_runner_has_faults_once() -> None:
    """Each server has faults of its own; those of the runner come from the first one's script alone."""
    plan = next(plan for seed in range(100) if len((plan := drawn(seed, 12)).hosts) == 3)
    assert len({host.script for host in plan.servers().values()}) == 3
    assert any(fault.kind.where is Where.RUNNER for fault in plan.script)
    assert not any(fault.kind.where is Where.RUNNER for host in plan.hosts for fault in host.script)


def test_a_batch_has_as_many_jobs_as_asked(tmp_path: Path) -> None:
    """However many prompts, sizes, qualities and clips multiply, the batch has exactly so many jobs, all different."""
    for axes in (Axes(), Axes(4, ("sd", "720p"), ("fast", "high"), (1, 2), "shuffle"), Axes(3, ("512x320",))):
        batch = batch_of(tmp_path, Plan(1, 7, axes=axes))
        assert len({job.id for job in batch.jobs}) == 7


def test_a_job_may_have_two_files(tmp_path: Path) -> None:
    """With a second save node in the workflow every job brings two files home, each once, from a bad night too."""
    plan = replace(drawn(7, 3), axes=Axes(saves=2))
    outcome = pass_night(tmp_path, plan)
    assert outcome.broken == ()
    assert outcome.failed == 0
    assert len(list((tmp_path / "outputs").rglob("*.mp4"))) == 6


def test_several_servers_share_a_batch(tmp_path: Path) -> None:
    """Three servers, one old, one an hour ahead: each renders something, each job once, and none twice."""
    hosts = (Host(), Host(own_ids=True), Host(skew=3600.0, speed=2.0))
    worlds: list[World] = []
    outcome = pass_night(tmp_path, Plan(1, 7, hosts=hosts), worlds.append)
    assert (outcome.broken, outcome.done, outcome.renders) == ((), 7, 7)
    assert (outcome.servers, outcome.old) == (3, 1)
    rendered = [len(place.sim.record.of(What.RENDERED)) for place in worlds[0].places]
    assert all(rendered)
    told = "\n".join(worlds[0].loop.trace.lines)
    assert all(f"runner-1 {name}: Rendered(" in told for name in ("gpu", "gpu-2", "gpu-3"))


@pytest.mark.parametrize("do", ["drop-reply", "late-post", "clear-history", "restart", "kill", "lose-state", "stop"])
def test_an_old_server_costs_no_video(tmp_path: Path, do: str) -> None:
    """Where the server chooses the ids, prompts are found again by their prefix, and none is posted twice."""
    message = KINDS[do].message
    script = tuple(Fault(do, at=at, lasts=message.get("for", 0.0), by=message.get("by", 0.0)) for at in (1.0, 305.0))
    outcome = pass_night(tmp_path, Plan(1, 2, script, hosts=(Host(own_ids=True),)))
    assert (outcome.broken, outcome.done) == ((), 2)


@pytest.mark.parametrize("hosts", [(Host(),), (Host(), Host(own_ids=True))])
def test_a_post_may_outlive_its_ledger(tmp_path: Path, hosts: tuple[Host, ...]) -> None:
    """A POST under way when the state is lost meets its repetition: nobody can know, and it counts as a duplicate."""
    script = (Fault("late-post", by=30.0), Fault("lose-state", at=2.0, lasts=1.0))
    outcome = pass_night(tmp_path, Plan(1, 2 * len(hosts), script, hosts=hosts))
    assert (outcome.broken, outcome.done, outcome.duplicates) == ((), 2 * len(hosts), 1)


@pytest.mark.parametrize("at", [0.0, 100.0])
def test_a_token_that_is_refused_for_a_while(tmp_path: Path, at: float) -> None:
    """A run whose token is refused ends with 3, at the start or in mid-batch; once it is right, the next finishes."""
    outcome = pass_night(tmp_path, Plan(1, 2, (Fault("unauthorised", at=at, lasts=900.0),)))
    assert outcome.broken == ()
    assert (outcome.done, outcome.exits[0], outcome.exits[-1], set(outcome.exits)) == (2, 3, 0, {0, 3})


def test_the_command_tells_what_came_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    """`--seeds 3 --trace` replays one night and tells its faults, its facts and its end."""
    assert main(["--seeds", "3", "--jobs", "2", "--trace"]) == 0
    told = capsys.readouterr().out
    assert "Claimed(job=" in told
    assert "The end: 2 done, 0 failed" in told


def test_the_command_sums_up_the_nights(capsys: pytest.CaptureFixture[str]) -> None:
    """The summary counts nights by their servers, and shows by one hash that same seeds were the same nights."""
    assert main(["--seeds", "3:5", "--jobs", "1", "--workers", "1"]) == 0
    hosts = Counter(len(drawn(seed, 1).hosts) for seed in (3, 4))
    counted = ", ".join(f"{number} in {hosts[number]} nights" for number in sorted(hosts))
    told = capsys.readouterr().out
    assert f"servers: {counted}; " in told
    nights = [night(4, 1), night(3, 1)]
    assert f"traces: {traces(nights)}\n" in told
    assert traces(nights) == traces(reversed(nights)) != traces(nights[:1])


def test_a_broken_promise_is_seen() -> None:
    """A night is judged by what happened, not by what the runner says: an outcome with a fault is no success."""
    outcome = night(3, 1)
    assert outcome.broken == ()
    assert outcome.with_broken("P14 another night").broken != ()


def test_processes_are_replaced_and_lose_no_seed() -> None:
    """More seeds than the processes run before they are replaced come back, each once."""
    assert sorted(in_processes(abs, range(45), 1)) == list(range(45))


def test_a_killed_process_is_told() -> None:
    """A process that ends in the middle of a night ends the command with an error, instead of being waited for."""
    with pytest.raises(BrokenProcessPool):
        list(in_processes(os._exit, range(2), 1))
