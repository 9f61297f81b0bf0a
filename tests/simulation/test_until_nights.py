"""Nights with `--until` on a machine that sleeps, or whose clock is turned: they end by the clock on the wall.

BATCHRUNNER_NIGHTS in the environment says how many nights each.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.lab.nights.calm_run import MEANWHILE, CalmRun, simulate

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.process import Process

NIGHTS = int(os.environ.get("BATCHRUNNER_NIGHTS", "2"))
_HOUR = 3600.0


def _sleep(runner: Process) -> None:
    runner.suspend(2 * _HOUR)


def _forward(runner: Process) -> None:
    runner.turn_clock(_HOUR)


def _back(runner: Process) -> None:
    runner.turn_clock(-_HOUR)


@pytest.mark.parametrize("seed", range(300, 300 + NIGHTS))
@pytest.mark.parametrize(
    ("meanwhile", "ends"),
    [
        pytest.param(_sleep, 3 * _HOUR, id="it sleeps for two hours"),
        pytest.param(_forward, 2 * _HOUR, id="its clock is set forward"),
        pytest.param(_back, 4 * _HOUR, id="its clock is set back"),
    ],
)
def test_the_night_ends_when_the_wall_clock_says_so(
    seed: int, meanwhile: Callable[[Process], None], ends: float
) -> None:
    """Asked for three hours, a run uses the time until its wall clock shows the end, and none after it."""
    night = simulate(CalmRun(seed, jobs=300, until=3 * _HOUR, meanwhile=meanwhile))
    assert max(night.saved_at) <= ends + night.band
    assert all(ends - since <= night.shortest for since in night.idle_since)
    assert night.exit == 0
    assert night.left > 0
    assert f"{night.left} jobs are left for the next run" in night.message


@pytest.mark.parametrize("seed", range(300, 300 + NIGHTS))
@pytest.mark.parametrize(
    ("meanwhile", "back"),
    [
        pytest.param(_sleep, MEANWHILE + 2 * _HOUR, id="it sleeps for two hours"),
        pytest.param(_forward, MEANWHILE, id="its clock is set forward"),
    ],
)
def test_an_end_that_was_slept_through_or_jumped_over(
    seed: int, meanwhile: Callable[[Process], None], back: float
) -> None:
    """Where the end has passed in one leap nothing more is submitted, and what is out there comes home."""
    night = simulate(CalmRun(seed, jobs=300, until=0.9 * _HOUR, background=0, meanwhile=meanwhile))
    under_way = [at for at in night.starts if at <= back]
    assert len(night.starts) <= len(under_way) + 1
    assert night.ended <= back + 0.5 * _HOUR
    assert (night.exit, night.left > 0) == (0, True)
