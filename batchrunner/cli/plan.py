"""`plan` and `status`: what is to be done and what is done, and what can be checked before the first POST."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
from rich.console import Console

from batchrunner.batch import read, standing
from batchrunner.cli.output import say, show, tell
from batchrunner.comfy import client as comfy
from batchrunner.core.facts import Rendered
from batchrunner.core.forecast import Forecast
from batchrunner.core.lifecycle import Done, Failed, Queued, Sending, State, Unwanted, Waiting
from batchrunner.errors import YoursError
from batchrunner.ledger import STATE, Ledger
from batchrunner.manifest import load
from batchrunner.options import moment, read_until, token
from batchrunner.preflight import check_servers
from batchrunner.show.status import Plan, plan_json, plan_view, status_json, status_view
from batchrunner.text import json_text

if TYPE_CHECKING:
    from pathlib import Path

    from batchrunner.comfy.secret import Secret
    from batchrunner.core.job import Job
    from batchrunner.ledger import Snapshot
    from batchrunner.manifest import Batch
    from batchrunner.options import Asked, Until

_EVERY = 2.0
_WORK = (Waiting, Sending, Queued, Unwanted)
"""What is to be rendered yet; a run takes up what was cancelled."""


def plan(asked: Asked) -> None:
    """Print what `run` would do.

    Raises ManifestError for a wrong manifest, and after all is printed YoursError if a server that was asked says that
    it can't run it: `run` would end there too.
    """
    batch = load(asked.manifest, asked.options)
    hh_mm = asked.until or batch.until
    until = read_until(hh_mm, time.time()) if hh_mm else None
    snapshot = read(asked.out / batch.name, batch.name)
    secret = token(asked.token_file, os.environ)
    missing, unknown = anyio.run(_ask, batch, secret) if asked.ask else ([], [])
    planned = _planned(batch, snapshot, [*batch.warnings, *unknown])
    if asked.as_json:
        tell(json_text(plan_json(replace(planned, warnings=[*planned.warnings, *missing]))))
    else:
        show(plan_view(_limited(planned, until)))
    if missing:
        raise YoursError("\n".join(missing))


def _limited(planned: Plan, until: Until | None) -> Plan:
    """Return a plan that says, to people only, by when everything must be home."""
    if until is None:
        return planned
    if until.missed:
        return replace(planned, warnings=[until.message, *planned.warnings])
    return replace(planned, until=until.message)


def _planned(batch: Batch, snapshot: Snapshot | None, warnings: list[str]) -> Plan:
    """Return what `run` would do, and how long that takes by what this batch's renders taught, else by the guess."""
    states = _states(snapshot)
    jobs = [job for job in batch.jobs if batch.chosen is None or job.id in batch.chosen]
    wanted = {job.id for job in batch.jobs}
    gone = [job for name, job in (snapshot.jobs if snapshot else {}).items() if name not in wanted]
    left = [job for job in jobs if isinstance(states.get(job.id, Waiting()), _WORK)]
    forecast = learnt(snapshot) if snapshot else Forecast()
    seconds = round(_seconds(batch, left, forecast), 1)
    shares = [(name, _seconds(batch, some, forecast)) for name, some in _by_preset(batch, left).items()]
    now = time.time()
    ends = moment(now + seconds, now) if seconds else ""
    return Plan(batch.name, jobs, states, gone, warnings, seconds, ends, shares=shares)


def status(asked: Asked) -> None:
    """Print where a batch stands. Raises ManifestError for a wrong manifest, YoursError for a folder of no batch."""
    name, jobs, states = _standing(asked)
    if asked.as_json:
        tell(json_text(status_json(name, jobs, states)))
    else:
        _show(name, jobs, states)


def watch(asked: Asked) -> None:
    """Print where a batch stands, again and again until it is settled or somebody has seen enough."""
    if asked.as_json:
        raise YoursError("--watch is for people: leave it out, or leave out --json")
    console = Console(stderr=True, highlight=False)
    shown = None
    while True:
        standing = _standing(asked)
        if standing != shown:
            if console.is_terminal:
                console.clear()
            _show(*standing)
            shown = standing
        _, jobs, states = standing
        if all(isinstance(states.get(job.id), Done | Failed | Unwanted) for job in jobs):
            return
        time.sleep(_EVERY)


def _show(name: str, jobs: list[Job], states: dict[str, State]) -> None:
    """Show where a batch stands; what is out of it is only counted."""
    wanted = [job for job in jobs if not isinstance(states.get(job.id), Unwanted)]
    show(status_view(name, wanted, states))
    if left_out := len(jobs) - len(wanted):
        say(f"{left_out} left out: cancelled, or no longer in the manifest")


def _standing(asked: Asked) -> tuple[str, list[Job], dict[str, State]]:
    """Return a batch's name, jobs and states: a folder's by its ledger alone, a manifest's by both."""
    if asked.manifest.is_dir():
        snapshot = _kept(asked.manifest)
        return snapshot.batch, list(snapshot.jobs.values()), _states(snapshot)
    batch = load(asked.manifest, asked.options)
    return batch.name, list(batch.jobs), _states(read(asked.out / batch.name, batch.name))


def _kept(folder: Path) -> Snapshot:
    """Return the state in a folder. Raises YoursError if there is none."""
    snapshot = Ledger.read(folder)
    if snapshot is None:
        within = sorted(path.parent for path in folder.glob(f"*/{STATE}"))
        raise YoursError(f"{folder} holds no batch itself{f'; try {within[0]}' if within else ''}")
    return snapshot


def _states(snapshot: Snapshot | None) -> dict[str, State]:
    return standing(snapshot.batch, snapshot.jobs, snapshot.facts) if snapshot else {}


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


async def _ask(batch: Batch, secret: Secret | None) -> tuple[list[str], list[str]]:
    """Ask the servers; return what they can't run, and which of them can't tell."""
    async with comfy.session() as http:
        return await check_servers(batch, lambda url: comfy.Client(url, http, secret))


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
