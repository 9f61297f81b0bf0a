"""The runner dies at every named point of a night, and whatever the server knows then, nothing is lost.

With two servers every check takes each third point; BATCHRUNNER_CRASH_POINTS=all takes all of them.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from defects import put_in

from tests.lab.faults import Fault, Script
from tests.lab.nights import batch as night_batch
from tests.lab.nights.night import pass_night
from tests.lab.nights.plan import Axes, Host, Plan

if TYPE_CHECKING:
    from pathlib import Path

SPEED = 4.0
"""Of the servers: they still render when the runner is back, and fewer polls, which are no points, go by till then."""
EVERY_POINT = os.environ.get("BATCHRUNNER_CRASH_POINTS") == "all"
POLLS = ("GET /queue", "GET /history", "GET /object_info")
AFTERMATHS: dict[str, tuple[Script, float]] = {
    "the server goes on": ((), 20.0),
    "it was restarted": ((Fault("restart", lasts=5.0),), 20.0),
    "its history was cleared": ((Fault("clear-history"),), 400.0),
    "its queue was cleared": ((Fault("clear-queue"),), 20.0),
    "its files were cleaned up": ((), 1800.0),
}


class Reaper:
    """Counts the named points that matter, and kills at one of them."""

    def __init__(self, at: int = 0) -> None:
        self.points: list[str] = []
        self._at = at

    def __call__(self, point: str) -> bool:
        """Tell whether the runner dies here."""
        if any(poll in point for poll in POLLS):
            return False
        self.points.append(point)
        return len(self.points) == self._at


def points(folder: Path) -> list[str]:
    """Return the named points of a calm run with one job, in their order."""
    reaper = Reaper()
    assert pass_night(folder, Plan(1, 1, crash=reaper, hosts=(Host(speed=SPEED),))).broken == ()
    return reaper.points


def test_every_kind_of_point_is_there(tmp_path: Path) -> None:
    """Each commit, each send, each step of a file is a point: before, and after where there is an after."""
    told = Counter(points(tmp_path))
    for kind in ("commit", "send POST /prompt", "send GET /view", "call write", "disk fsync", "disk link"):
        assert told[kind]
    assert told["commit"] == told["committed"] >= 5


@pytest.mark.parametrize("aftermath", AFTERMATHS)
def test_death_at_any_point_loses_nothing(tmp_path: Path, aftermath: str) -> None:
    """Killed at each point in turn, the next run ends with the video, rendered again only if it was lost."""
    script, again = AFTERMATHS[aftermath]
    (tmp_path / "calm").mkdir()
    count = len(points(tmp_path / "calm"))
    for number in range(1, count + 1):
        folder = tmp_path / str(number)
        folder.mkdir()
        reaper = Reaper(number)
        plan = Plan(1, 1, crash=reaper, aftermath=script, again=again, hosts=(Host(speed=SPEED),))
        outcome = pass_night(folder, plan)
        where = f"killed at {number}, {reaper.points[number - 1]}"
        assert outcome.broken == (), where
        assert (outcome.done, outcome.failed, outcome.exits) == (1, 0, (-9, 0)), where


def test_death_at_any_point_of_an_upload(tmp_path: Path) -> None:
    """With an input file of several pieces, and a stranger's file under its name, no point is worse than any other.

    After every second death the input folder is as it was, after the others a restart has emptied it.
    """
    plan = Plan(1, 1, axes=Axes(pictures=1), strangers=True, again=20.0, hosts=(Host(speed=SPEED),))
    calm = Reaper()
    (tmp_path / "calm").mkdir()
    with put_in(((night_batch, "_BYTES", (150_000, 150_000)),)):
        assert pass_night(tmp_path / "calm", replace(plan, crash=calm)).broken == ()
        first = calm.points.index("send POST /upload/image")
        last = calm.points.index("sent POST /prompt")
        assert calm.points[first:last].count("call read") == 3
        for number in range(first + 1, last + 3):
            folder = tmp_path / str(number)
            folder.mkdir()
            reaper, emptied = Reaper(number), (Fault("new-pod", lasts=5.0),) * (number % 2)
            outcome = pass_night(folder, replace(plan, crash=reaper, aftermath=emptied))
            where = f"killed at {number}, {reaper.points[number - 1]}"
            assert (outcome.broken, outcome.exits) == ((), (-9, 0)), where
            assert (outcome.done, outcome.failed) == (1, 0), where


@pytest.mark.parametrize(
    ("hosts", "step"),
    [
        ((Host(own_ids=True, speed=SPEED),), 1),
        ((Host(speed=SPEED), Host(own_ids=True, speed=SPEED)), 1 if EVERY_POINT else 3),
    ],
)
def test_death_at_any_point_with_old_servers(tmp_path: Path, hosts: tuple[Host, ...], step: int) -> None:
    """Where a server chooses the ids, or two share two jobs, no point is worse than any other."""
    counting = Reaper()
    (tmp_path / "calm").mkdir()
    assert pass_night(tmp_path / "calm", Plan(1, len(hosts), crash=counting, hosts=hosts)).broken == ()
    for number in range(1, len(counting.points) + 1, step):
        folder = tmp_path / str(number)
        folder.mkdir()
        plan = Plan(1, len(hosts), crash=Reaper(number), again=20.0, hosts=hosts)
        outcome = pass_night(folder, plan)
        assert (outcome.broken, outcome.done) == ((), len(hosts)), f"killed at {number}, {counting.points[number - 1]}"
