"""`plan` and `status`: what a run would do, and where a batch stands."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import anyio
import typer
from rich.console import Console

from batchrunner import consent
from batchrunner.cli.output import say, show, write
from batchrunner.cli.parameters import (
    AsJson,
    Commands,
    Limit,
    Manifest,
    Only,
    Out,
    Outside,
    Servers,
    Sets,
    TokenFile,
    Until,
)
from batchrunner.comfy import client as comfy
from batchrunner.core.facts import Dropped, Rendered
from batchrunner.core.forecast import Forecast
from batchrunner.core.lifecycle import Done, Failed, Queued, Sending, Unwanted, Waiting
from batchrunner.errors import YoursError
from batchrunner.ledger import Ledger
from batchrunner.manifest import Options, load
from batchrunner.options import OUT, moment, read_token, read_until
from batchrunner.preflight import check_servers
from batchrunner.process import environment
from batchrunner.servers import ServerAccess
from batchrunner.show.status import Plan, plan_json, plan_view, status_json, status_view
from batchrunner.state import chosen_jobs, job_states, no_batch, read_state
from batchrunner.text import counted, json_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchrunner.core.job import Job
    from batchrunner.core.lifecycle import State
    from batchrunner.ledger import Snapshot
    from batchrunner.manifest import Batch

_WATCH_INTERVAL = 2.0
_TO_RENDER = (Waiting, Sending, Queued, Unwanted)
"""States of jobs that a run has rendered; it takes up what was cancelled."""


def plan(
    manifest: Manifest,
    server: Servers = [],
    out: Out = OUT,
    sets: Sets = [],
    only: Only = [],
    limit: Limit = None,
    until: Until = None,
    ask: Annotated[bool, typer.Option("--ask", help="Ask the servers whether they can run it.")] = False,
    allow_outside: Outside = False,
    allow_commands: Commands = False,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Show what `run` would do, and how long it would take.

    No server is contacted, except with --ask.
    """
    batch = load(manifest, Options(tuple(server), tuple(sets), tuple(only), limit, allow_outside))
    now = time.time()
    hh_mm = until or batch.until
    limited = read_until(hh_mm, now) if hh_mm else None
    snapshot = read_state(out / batch.name, batch.name)
    missing: list[str] = []
    unchecked: list[str] = []
    if ask:
        marks = snapshot.marks if snapshot else {}
        consent.obtain(tuple(consent.sending_requests(batch)), marks, allowed=allow_commands)
        access = ServerAccess(batch, read_token(token_file, environment()), environment())
        missing, unchecked = anyio.run(_ask, batch, access)
    consents = [f"asks for consent to {request}" for request in consent.requests(batch)]
    planned = _planned(batch, snapshot, [*batch.warnings, *consents, *unchecked], now)
    if as_json:
        write(json_text(plan_json(replace(planned, warnings=[*planned.warnings, *missing]))))
    else:
        # The JSON says nothing of `until`: it holds no clock time, so that it stays the same.
        if limited and limited.missed:
            planned = replace(planned, warnings=[limited.message, *planned.warnings])
        elif limited:
            planned = replace(planned, until=limited.message)
        show(plan_view(planned))
    if missing:
        raise YoursError("\n".join(missing))  # as `run` would


def _planned(batch: Batch, snapshot: Snapshot | None, warnings: list[str], now: float) -> Plan:
    """Return what `run` would do, and how long that takes by this batch's earlier renders, else by the guess."""
    states = job_states(snapshot.batch, snapshot.jobs, snapshot.facts) if snapshot else {}
    known = snapshot.jobs if snapshot else {}
    forecast = learn_speeds(snapshot) if snapshot else Forecast()

    def seconds(some: Sequence[Job]) -> float:
        return forecast.total([job.cost for job in some], batch.servers).seconds

    jobs, wanted = chosen_jobs(batch), {job.id for job in batch.jobs}
    left = [job for job in jobs if isinstance(states.get(job.id, Waiting()), _TO_RENDER)]
    whole = round(seconds(left), 1)
    return Plan(
        batch.name,
        jobs,
        states,
        gone=[job for job in known.values() if job.id not in wanted],
        warnings=warnings,
        seconds=whole,
        ends=moment(now + whole, now) if whole else "",
        shares=[(name, seconds(some)) for name, some in jobs_by_preset(batch, left).items()],
    )


def jobs_by_preset(batch: Batch, jobs: Sequence[Job]) -> dict[str, list[Job]]:
    """Return the jobs of each preset's option, `quality fast`, where there is more than one option."""
    found: dict[str, dict[str, list[Job]]] = {}
    for job in jobs:
        for key, value in job.params.items():
            if key not in batch.template.params and not key.startswith("_"):
                found.setdefault(key, {}).setdefault(f"{key} {value}", []).append(job)
    return {name: some for options in found.values() if len(options) > 1 for name, some in options.items()}


def learn_speeds(snapshot: Snapshot) -> Forecast:
    """Return the forecast that a batch's own renders give for its servers."""
    forecast = Forecast()
    servers: dict[tuple[str, int], str] = {}
    for fact in snapshot.facts:
        if server := getattr(fact, "server", None):
            servers[fact.job, fact.attempt] = server
        if isinstance(fact, Rendered) and fact.seconds is not None and fact.job in snapshot.jobs:
            forecast.learn(servers.get((fact.job, fact.attempt), ""), snapshot.jobs[fact.job].cost, fact.seconds)
    return forecast


async def _ask(batch: Batch, access: ServerAccess) -> tuple[list[str], list[str]]:
    """Return what the servers lack, and which of them could not be checked."""
    async with comfy.session() as http:
        return await check_servers(batch, lambda name: comfy.Client(access.url(name), http, access.credentials(name)))


def status(
    batch: Annotated[Path, typer.Argument(metavar="MANIFEST|FOLDER", help="A manifest, or a batch's folder.")],
    out: Out = OUT,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again whenever it changes.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the progress of a batch, running or not."""
    if watch and as_json:
        raise YoursError("--watch can't be combined with --json")
    if as_json:
        write(json_text(status_json(*_progress(batch, out)[:3])))
        return
    console = Console(stderr=True, highlight=False)
    shown = None
    while True:
        now = _progress(batch, out)
        if now != shown:
            if watch and console.is_terminal:
                console.clear()
            _show_status(*now)
            shown = now
        _, jobs, states, *_ = now
        if not watch or all(isinstance(states.get(job.id), Done | Failed | Unwanted) for job in jobs):
            return
        time.sleep(_WATCH_INTERVAL)


def _progress(batch: Path, out: Path) -> tuple[str, list[Job], dict[str, State], dict[str, str], dict[str, float]]:
    """Return a batch's name, jobs, states, why jobs are out of it, and how long each busy server renders one.

    Of a folder by its state, of a manifest by both.

    Raises ManifestError for a wrong manifest, YoursError for a folder without a batch.
    """
    if batch.is_dir():
        snapshot = Ledger.read(batch)
        if snapshot is None:
            raise no_batch(batch)
        name, jobs = snapshot.batch, list(snapshot.jobs.values())
    else:
        loaded = load(batch, Options())
        name, jobs = loaded.name, list(loaded.jobs)
        snapshot = read_state(out / name, name)
        if snapshot is None:
            return name, jobs, {}, {}, {}
    dropped = {fact.job: fact.message for fact in snapshot.facts if isinstance(fact, Dropped)}
    states = job_states(snapshot.batch, snapshot.jobs, snapshot.facts)
    busy = {state.prompt.server for state in states.values() if isinstance(state, Sending | Queued)}
    forecast = learn_speeds(snapshot)
    return name, jobs, states, dropped, {server: forecast.typical(server) for server in sorted(busy)}


def _show_status(
    name: str, jobs: list[Job], states: dict[str, State], dropped: dict[str, str], seconds: dict[str, float]
) -> None:
    """Show the progress of a batch; jobs that are out of it are only counted."""
    out = [job.id for job in jobs if isinstance(states.get(job.id), Unwanted)]
    if len(out) < len(jobs):
        show(status_view(name, [job for job in jobs if job.id not in out], states, seconds))
    for reason, count in Counter(dropped[job] for job in out).items():
        say(f"{reason}: {counted(count, 'job')}")
