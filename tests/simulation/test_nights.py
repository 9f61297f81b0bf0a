"""Whole nights in which everything goes wrong: every promise is kept, and a seed is the same night every time.

BATCHRUNNER_NIGHTS in the environment says how many seeds; a plain pytest takes six.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from batchrunner.nights.command import main, once
from batchrunner.nights.night import night, pass_night
from batchrunner.nights.world import Plan
from batchrunner.sim.mishaps import KINDS, Mishap

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("seed", range(100, 100 + int(os.environ.get("BATCHRUNNER_NIGHTS", "6"))))
def test_a_bad_night_keeps_every_promise(seed: int) -> None:
    """Killed, cut off, mistreated: every job ends done or failed with evidence, and a second run is the same."""
    outcome = once(seed, 6, twice=True)
    assert outcome.broken == ()
    assert outcome.done + outcome.failed == 6


def test_a_quiet_night_renders_every_job_once(tmp_path: Path) -> None:
    """With nothing going wrong there is one life, one render a job, and no failure."""
    outcome = pass_night(tmp_path, Plan(1, 5))
    assert (outcome.done, outcome.failed, outcome.exits, outcome.renders) == (5, 0, (0,), 5)
    assert outcome.broken == ()


@pytest.mark.parametrize("do", [do for do, kind in KINDS.items() if do not in ("unauthorised", "own-ids")])
def test_every_mishap_alone_is_survived(tmp_path: Path, do: str) -> None:
    """Each kind of mishap, twice in a night of two jobs, costs no video."""
    values = KINDS[do].says
    script = tuple(
        Mishap(
            do,
            at=at,
            lasts=values.get("for", 0.0),
            times=int(values.get("times", 1)),
            size=int(values.get("bytes", 0)),
            by=values.get("by", 0.0),
        )
        for at in (1.0, 305.0)
    )
    outcome = pass_night(tmp_path, Plan(1, 2, script))
    assert outcome.broken == ()
    assert outcome.done == 2


@pytest.mark.parametrize("at", [0.0, 100.0])
def test_a_token_that_is_refused_for_a_while(tmp_path: Path, at: float) -> None:
    """A run whose token is refused ends with 3, at the start or in mid-batch; once it is right, the next finishes."""
    outcome = pass_night(tmp_path, Plan(1, 2, (Mishap("unauthorised", at=at, lasts=900.0),)))
    assert outcome.broken == ()
    assert (outcome.done, outcome.exits[0], outcome.exits[-1], set(outcome.exits)) == (2, 3, 0, {0, 3})


def test_the_command_tells_what_came_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    """`--seeds 3 --story` replays one night and tells its mishaps, its facts and its end."""
    assert main(["--seeds", "3", "--jobs", "2", "--story"]) == 0
    told = capsys.readouterr().out
    assert "Claimed(job=" in told
    assert "The end: 2 done, 0 failed" in told


def test_a_broken_promise_is_seen() -> None:
    """A night is judged by what happened, not by what the runner says: an outcome with a fault is no success."""
    outcome = night(3, 1)
    assert outcome.broken == ()
    assert outcome.with_broken("P14 another night").broken != ()
