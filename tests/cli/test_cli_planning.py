"""What `plan` learns from a batch's own renders, and how it divides the time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batchrunner.cli.planning import _by_preset, learnt
from batchrunner.core.facts import Accepted, Claimed, Fact, File, Rendered
from batchrunner.core.forecast import Forecast
from batchrunner.core.job import Job
from batchrunner.ledger import Snapshot
from batchrunner.manifest import Options, load

if TYPE_CHECKING:
    from pathlib import Path

FAST, SLOW = "http://fast:8188", "http://slow:8188"
COST = 768 * 512 * 25 * 20.0
JOBS = {f"j{place}": Job(f"j{place}", "", {}, f"cat-{place}", COST) for place in range(40)}


def _renders(server: str, first: int, seconds: float) -> list[Fact]:
    facts: list[Fact] = []
    for place in range(first, first + 20):
        job = f"j{place}"
        facts.append(Claimed(job, 1, 0.0, job, "p", server, ""))
        facts.append(Rendered(job, 1, 0.0, (File("x.mp4"),), None, seconds))
    return facts


def _seconds(forecast: Forecast, server: str) -> float:
    return forecast.total([COST], [server]).seconds


def test_each_server_teaches_its_own_speed() -> None:
    """After twenty renders of the same kind, the next one takes as long as they did, on each server."""
    snapshot = Snapshot("night", JOBS, (*_renders(FAST, 0, 10.0), *_renders(SLOW, 20, 90.0)), {})
    forecast = learnt(snapshot)
    assert _seconds(forecast, FAST) == pytest.approx(10.0, rel=0.15)
    assert _seconds(forecast, SLOW) == pytest.approx(90.0, rel=0.15)


def test_nothing_learnt_is_the_guess() -> None:
    """A batch of which nothing is rendered, or only jobs that nobody knows, is forecast by the guess."""
    adopted = Accepted("j1", 3, 0.0, "p", "p", FAST, 3)
    untimed = Rendered("j1", 3, 0.0, (File("x.mp4"),), None, None)
    stranger = Rendered("gone", 1, 0.0, (File("x.mp4"),), None, 5.0)
    forecast = learnt(Snapshot("night", JOBS, (adopted, untimed, stranger), {}))
    assert _seconds(forecast, FAST) == _seconds(Forecast(), FAST)


def test_time_by_preset(tmp_path: Path) -> None:
    """Jobs are counted by each option of a preset that the sweep varies, and by no other parameter."""
    path = tmp_path / "night.yaml"
    path.write_text(
        "{name: n, server: sim, workflow: ltx2, defaults: {size: sd}, "
        "sweep: {prompt: [a, b], seed: [1, 2, 3], quality: [fast, high], _mood: [x]}}",
        encoding="utf-8",
    )
    batch = load(path, Options())
    assert {name: len(jobs) for name, jobs in _by_preset(batch, list(batch.jobs)).items()} == {
        "quality fast": 6,
        "quality high": 6,
    }
