"""`plan` and `status`: what is to be done and what is done, without asking anybody."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from rich.console import Console

from batchrunner.core.facts import Rendered
from batchrunner.core.folding import folded
from batchrunner.core.forecast import Forecast
from batchrunner.core.states import Queued, Sending, State, Waiting
from batchrunner.ledger import Ledger
from batchrunner.manifest import load
from batchrunner.show.layout import put
from batchrunner.show.status import Plan, plan_json, status_json
from batchrunner.show.tables import plan_view, status_view
from batchrunner.show.text import json_text

if TYPE_CHECKING:
    from pathlib import Path

    from rich.text import Text

    from batchrunner.cli.asked import Asked
    from batchrunner.core.identity import Json
    from batchrunner.core.job import Job
    from batchrunner.ledger import Snapshot
    from batchrunner.manifest import Batch

_WORK = (Waiting, Sending, Queued)


def plan(asked: Asked) -> None:
    """Print what `run` would do. Raises ManifestError for a wrong manifest."""
    batch = load(asked.manifest, asked.options)
    snapshot = Ledger.read(asked.out / batch.name)
    states = _states(snapshot)
    jobs = [job for job in batch.jobs if batch.chosen is None or job.id in batch.chosen]
    wanted = {job.id for job in batch.jobs}
    gone = [job for name, job in (snapshot.jobs if snapshot else {}).items() if name not in wanted]
    planned = Plan(batch.name, jobs, states, gone, batch.warnings, _seconds(batch, jobs, states, snapshot))
    if asked.as_json:
        _print(plan_json(planned))
    else:
        _show(plan_view(planned))


def status(asked: Asked) -> None:
    """Print where a batch stands. Raises ManifestError where there is no such batch and no such manifest."""
    name, jobs, states = _standing(asked.manifest, asked)
    if asked.as_json:
        _print(status_json(name, jobs, states))
    else:
        _show(status_view(name, jobs, states))


def _standing(path: Path, asked: Asked) -> tuple[str, list[Job], dict[str, State]]:
    """Return a batch's name, jobs and states: a folder's by its ledger alone, a manifest's by both."""
    if path.is_dir():
        snapshot = Ledger.read(path)
        jobs = list(snapshot.jobs.values()) if snapshot else []
        return (snapshot.batch if snapshot else path.name), jobs, _states(snapshot)
    batch = load(path, asked.options)
    return batch.name, list(batch.jobs), _states(Ledger.read(asked.out / batch.name))


def _states(snapshot: Snapshot | None) -> dict[str, State]:
    return folded(snapshot.jobs, snapshot.facts) if snapshot else {}


def _seconds(batch: Batch, jobs: list[Job], states: dict[str, State], snapshot: Snapshot | None) -> float:
    """Return how long the rest will take, by what this batch's renders taught, else by the guess."""
    forecast = learnt(snapshot) if snapshot else Forecast()
    left = [job.cost for job in jobs if isinstance(states.get(job.id, Waiting()), _WORK)]
    return round(forecast.total(left, batch.servers).seconds, 1)


def learnt(snapshot: Snapshot) -> Forecast:
    """Return what a batch's own renders say about its servers."""
    forecast = Forecast()
    servers: dict[tuple[str, int], str] = {}
    for fact in snapshot.facts:
        if server := getattr(fact, "server", None):
            servers[fact.job, fact.attempt] = server
        if isinstance(fact, Rendered) and fact.seconds is not None and fact.job in snapshot.jobs:
            forecast.learn(servers.get((fact.job, fact.attempt), ""), snapshot.jobs[fact.job].cost, fact.seconds)
    return forecast


def _print(document: dict[str, Json]) -> None:
    sys.stdout.write(json_text(document) + "\n")


def _show(view: list[Text]) -> None:
    put(Console(stderr=True, highlight=False), view)
