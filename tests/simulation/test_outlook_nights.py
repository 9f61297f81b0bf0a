"""Nights in which nothing goes wrong but the time: the forecast holds, and so does `--until`.

BATCHRUNNER_NIGHTS in the environment says how many nights each; `python -m tests.lab.nights.foresight` measures more.
"""

from __future__ import annotations

import os
from random import Random

import pytest

from tests.lab.nights.calm_run import CalmRun, simulate
from tests.lab.nights.foresight import main

NIGHTS = int(os.environ.get("BATCHRUNNER_NIGHTS", "2"))


@pytest.mark.parametrize("servers", [1, 2])
def test_the_end_is_known_after_a_few_jobs(servers: int) -> None:
    """With 10 % noise and other users in the queue the end is forecast within 5 %, and its band holds it."""
    nights = [simulate(CalmRun(seed, 16 * servers, servers, after=8 * servers)) for seed in range(NIGHTS)]
    assert sum(abs(night.off) <= 0.05 for night in nights) >= 0.95 * NIGHTS
    assert sum(night.held for night in nights) >= 0.9 * NIGHTS
    assert sum(night.width for night in nights) <= 0.05 * NIGHTS


@pytest.mark.parametrize("seed", range(100, 100 + 2 * NIGHTS))
def test_until_is_kept_and_used(seed: int) -> None:
    """Nothing comes home later than a band after the limit, no GPU idles where a job would fit, the rest is told."""
    dice = Random(seed)  # noqa: S311 - a night that repeats
    until = dice.uniform(2000, 4000)
    night = simulate(CalmRun(seed, servers=dice.choice((1, 2)), until=until))
    assert max(night.saved_at) <= until + night.band
    assert all(until - since <= night.shortest for since in night.idle_since)
    assert night.exit == 0
    assert night.left > 0
    assert f"{night.left} jobs are left for the next run" in night.message


def test_the_command_says_what_forecasts_are_worth(capsys: pytest.CaptureFixture[str]) -> None:
    """`foresight` tells how many forecasts were near, how many bands held, and how wide they were."""
    assert main(["--seeds", "3", "--jobs", "4", "--after", "2", "--workers", "1"]) == 0
    told = capsys.readouterr().out
    assert told.startswith("1 night of ")
    assert "within 5 % of the night" in told
    assert "band held the truth" in told


@pytest.mark.parametrize(("jobs", "more"), [(5, ""), (8, " and 3 more")])
def test_the_start_names_five_jobs_that_come_too_late_and_counts_the_rest(jobs: int, more: str) -> None:
    """A run in which nothing can be home in time says how many jobs are late, names the first five, submits none."""
    night = simulate(CalmRun(1, jobs=jobs, background=0, until=100.0))
    (warning,) = [event.message for _, event in night.news if "will not be finished in time" in event.message]
    told, named = warning.split(": ")
    assert told == f"{jobs} of {jobs} jobs will not be finished in time"
    assert len(named.removesuffix(more).split(", ")) == 5
    assert named.endswith(more)
    assert (" more" in named) is bool(more)
    assert (night.exit, night.left, night.starts) == (0, jobs, ())
