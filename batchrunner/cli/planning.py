"""`plan` and `status`: what is to be done and what is done, without asking anybody."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

import anyio
from rich.console import Console

from batchrunner.cli.preflight import ask_nodes
from batchrunner.cli.token import token
from batchrunner.comfy import client as comfy
from batchrunner.core.facts import Rendered
from batchrunner.core.folding import folded
from batchrunner.core.forecast import Forecast
from batchrunner.core.states import Done, Failed, Queued, Sending, State, Waiting
from batchrunner.ledger import Ledger
from batchrunner.manifest import load
from batchrunner.show.layout import put
from batchrunner.show.status import Plan, plan_json, status_json
from batchrunner.show.tables import plan_view, status_view
from batchrunner.show.text import clock, json_text

if TYPE_CHECKING:
    from pathlib import Path

    from rich.text import Text

    from batchrunner.cli.asked import Asked
    from batchrunner.comfy.secret import Secret
    from batchrunner.core.identity import Json
    from batchrunner.core.job import Job
    from batchrunner.ledger import Snapshot
    from batchrunner.manifest import Batch

_EVERY = 2.0
_WORK = (Waiting, Sending, Queued)


def plan(asked: Asked) -> None:
    """Print what `run` would do. Raises ManifestError for a wrong manifest."""
    batch = load(asked.manifest, asked.options)
    snapshot = Ledger.read(asked.out / batch.name)
    states = _states(snapshot)
    jobs = [job for job in batch.jobs if batch.chosen is None or job.id in batch.chosen]
    wanted = {job.id for job in batch.jobs}
    gone = [job for name, job in (snapshot.jobs if snapshot else {}).items() if name not in wanted]
    left = [job for job in jobs if isinstance(states.get(job.id, Waiting()), _WORK)]
    forecast = learnt(snapshot) if snapshot else Forecast()
    seconds = round(_seconds(batch, left, forecast), 1)
    shares = [(name, _seconds(batch, some, forecast)) for name, some in _by_preset(batch, left).items()]
    warnings = [*batch.warnings, *(anyio.run(_ask, batch, token(asked.token_file, os.environ)) if asked.ask else ())]
    ends = clock(time.time() + seconds) if seconds else ""
    planned = Plan(batch.name, jobs, states, gone, warnings, seconds, ends, shares)
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


def watch(asked: Asked) -> None:
    """Print where a batch stands, again and again until it is settled or somebody has seen enough."""
    console = Console(stderr=True, highlight=False)
    shown: list[Text] = []
    while True:
        name, jobs, states = _standing(asked.manifest, asked)
        view = status_view(name, jobs, states)
        if view != shown:
            if console.is_terminal:
                console.clear()
            put(console, view)
            shown = view
        if all(isinstance(states.get(job.id), Done | Failed) for job in jobs):
            return
        time.sleep(_EVERY)


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


def _seconds(batch: Batch, left: list[Job], forecast: Forecast) -> float:
    """Return how long jobs will take, by what this batch's renders taught, else by the guess."""
    return forecast.total([job.cost for job in left], batch.servers).seconds


def _by_preset(batch: Batch, left: list[Job]) -> dict[str, list[Job]]:
    """Return the jobs of each preset's option, `quality fast`, where there is more than one option."""
    found: dict[str, dict[str, list[Job]]] = {}
    for job in left:
        for key, value in job.params.items():
            if key not in batch.template.params and not key.startswith("_"):
                found.setdefault(key, {}).setdefault(f"{key} {value}", []).append(job)
    return {name: some for options in found.values() if len(options) > 1 for name, some in options.items()}


async def _ask(batch: Batch, secret: Secret | None) -> list[str]:
    """Ask the servers what they can't run; those that are not there yet are passed over."""
    async with comfy.session() as http:
        return [line for lines in await ask_nodes(batch, lambda url: comfy.Client(url, http, secret)) for line in lines]


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
