"""A server that runs out of memory on whatever it is given: how much of the night that costs."""

from __future__ import annotations

from sick import sick

from tests.lab.nights.calm_run import CalmRun, simulate

HOUR = 3600.0
PROBES = 6
"""After 1, 3, 7 and 15 minutes, then every quarter of an hour, an eighth more or less."""


def test_a_server_without_memory_gets_three_jobs_and_a_few_probes() -> None:
    """In an hour in which every job runs out of memory three jobs and six probes start, not the batch three times."""
    night = simulate(CalmRun(1, jobs=30, background=0, machine=sick(HOUR), until=HOUR))
    assert 3 < len([at for at in night.starts if at < HOUR]) <= 3 + PROBES
    assert night.starts[2] < 60 <= 52 + night.starts[2] < night.starts[3]
    pauses = [event.message for _, event in night.news if event.name == "server" and "is pausing" in event.message]
    assert len(pauses) == len(night.starts) - 2
    assert all("out of memory on job after job" in message for message in pauses)
    assert (night.exit, night.left) == (0, 30)


def test_memory_that_comes_back_closes_the_breaker() -> None:
    """Once a probe is rendered the server is up for good and gets as many prompts as ever."""
    night = simulate(CalmRun(1, jobs=8, background=0, machine=sick(600.0)))
    first = night.saved_at[0]
    assert [event for at, event in night.news if at >= first and event.name == "server"] == []
    sent = [at for at, event in night.news if event.name == "claimed"]
    assert len([at for at in sent if first - 10 <= at <= first]) == 2
    assert len(night.saved_at) == 8
    assert night.exit == 0


def test_a_sick_server_costs_no_job_where_another_is_well() -> None:
    """What one server had no memory for, the other renders; the sick one goes on being probed, no more."""
    night = simulate(CalmRun(1, jobs=10, servers=2, background=0, machine=sick(1e9)))
    assert len(night.saved_at) == 10
    assert night.exit == 0
    assert len(night.starts) - 10 <= 3 + PROBES + 4 * night.ended / HOUR
