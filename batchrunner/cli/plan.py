"""`plan`: what a run would do, and how long that takes."""

from __future__ import annotations

import time
from dataclasses import replace
from math import inf
from typing import TYPE_CHECKING, Annotated

import anyio
import typer

from batchrunner import consent
from batchrunner.cli.output import say, show, write
from batchrunner.cli.parameters import (
    AsJson,
    Commands,
    Hours,
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
from batchrunner.core.board import Board
from batchrunner.core.eta import too_late
from batchrunner.core.facts import CANCELLED, Dropped
from batchrunner.core.hours import Hours as HoursOfRun, Window
from batchrunner.core.lifecycle import Done, Failed, Queued, Sending, Unwanted, Waiting
from batchrunner.core.order import saving
from batchrunner.core.server import SIM
from batchrunner.core.sizes import disk_shortage
from batchrunner.core.startup import startup_facts
from batchrunner.download.transfer import room
from batchrunner.errors import TheirsError, YoursError
from batchrunner.hours import hours_text, read_hours
from batchrunner.learned_speeds import recall_speeds
from batchrunner.manifest import Options, load
from batchrunner.options import OUT, read_token, read_until, token_warning
from batchrunner.preflight import check_servers
from batchrunner.process import environment
from batchrunner.servers import ServerAccess
from batchrunner.show.status import Plan, disk_text, plan_json, plan_view
from batchrunner.state import chosen_ids, contradiction_is_damage, job_states, read_state
from batchrunner.text import json_text, moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from batchrunner.core.forecast import Forecast
    from batchrunner.core.job import Job
    from batchrunner.ledger import Snapshot
    from batchrunner.manifest import Batch
    from batchrunner.options import Until as UntilMoment

_MAX_WINDOWS = 1000
"""Days after which a forecast is none."""
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
    hours: Hours = None,
    ask: Annotated[bool, typer.Option("--ask", help="Ask the servers whether they can run it.")] = False,
    allow_outside: Outside = False,
    allow_commands: Commands = False,
    token_file: TokenFile = None,
    as_json: AsJson = False,
) -> None:
    """Show what `run` would do, and how long it would take.

    No server is contacted, except with --ask.
    """
    batch = load(manifest, Options(tuple(server), tuple(sets), tuple(only), allow_outside, out))
    now = time.time()
    hh_mm = until or batch.until
    limited = read_until(hh_mm, now) if hh_mm else None
    windows = read_hours(hours or batch.hours) if hours or batch.hours else None
    snapshot = read_state(out / batch.name, batch.name)
    missing: list[str] = []
    unchecked: list[str] = []
    if ask:
        marks = snapshot.marks if snapshot else {}
        consent.obtain(tuple(consent.sending_requests(batch)), marks, allowed=allow_commands)
        access = ServerAccess(batch, read_token(token_file, environment()), environment())
        if warning := token_warning(token_file):
            say(warning)
        missing, unchecked = anyio.run(_ask, batch, access)
    consents = [f"asks for consent to {request}" for request in consent.requests(batch)]
    planned = planned_jobs(batch, snapshot, [*batch.warnings, *consents], now, limit, out)
    if as_json:
        write(json_text(plan_json(replace(planned, warnings=[*planned.warnings, *unchecked, *missing]))))
    else:
        # The JSON says nothing of `until` and `hours`: it holds no clock time, so that it stays the same.
        if limited or windows:
            planned = _in_time(planned, batch, known_board(batch, snapshot, out, now), limited, windows, now)
        if windows:
            lines = [planned.until, hours_text(hours or batch.hours, windows(now), now)]
            planned = replace(planned, until="\n".join(filter(None, lines)))
        show(plan_view(planned))
    if missing:
        raise YoursError("\n".join([*missing, *unchecked]))  # as `run` would
    if unchecked:
        raise TheirsError("\n".join(unchecked))


def planned_jobs(
    batch: Batch, snapshot: Snapshot | None, warnings: list[str], now: float, limit: int | None, out: Path
) -> Plan:
    """Return what `run` would do, and how long that takes by earlier renders in `out`, else by the guess."""
    states = job_states(snapshot.batch, snapshot.jobs, snapshot.facts) if snapshot else {}
    known = snapshot.jobs if snapshot else {}
    board = known_board(batch, snapshot, out, now)
    forecast = board.forecast

    def seconds(some: Sequence[Job]) -> float:
        return forecast.total([job.cost for job in some], batch.servers).seconds

    dropped = {fact.job: fact.message for fact in (snapshot.facts if snapshot else ()) if isinstance(fact, Dropped)}
    chosen, wanted = chosen_ids(batch, states, limit), {job.id for job in batch.jobs}
    jobs = [job for job in batch.jobs if chosen is None or job.id in chosen]
    left = [job for job in jobs if isinstance(states.get(job.id, Waiting()), _TO_RENDER)]
    coming = [job.cost for job in jobs if not isinstance(states.get(job.id), Done | Failed)]
    shortage = disk_shortage(coming, board.sizes, room(out / batch.name))
    whole = round(seconds(left), 1)
    return Plan(
        batch.name,
        jobs,
        states,
        gone=[job for job in known.values() if job.id not in wanted],
        cancelled=sum(isinstance(states.get(job.id), Unwanted) and dropped[job.id] == CANCELLED for job in jobs),
        warnings=[*warnings, *([disk_text(shortage)] if shortage else [])],
        seconds=whole,
        ends=moment(now + whole, now) if whole else "",
        shares=[(name, seconds(some)) for name, some in jobs_by_preset(batch, left).items()],
        unknown=[name for name in batch.servers if left and name != SIM and not forecast.has_experience(name)],
        grouping=list(_grouping(batch, forecast)) if left else [],
    )


def _grouping(batch: Batch, forecast: Forecast) -> Iterator[str]:
    """Yield what a change of the costly inputs is known to cost, and what `order: auto` saves by that."""
    if batch.groups.auto and not all(forecast.change(name).weight for name in batch.servers):
        yield "order: jobs come in pairs of a prompt at first, to learn what another prompt or model costs"
    for name in batch.servers:
        change = forecast.change(name)
        saved = saving(batch.groups, change)
        if saved is not None:
            saves = f"grouping jobs saves about {100 * saved:.0f} % of the time"
            costs = f"another prompt or model costs {100 * change.seconds / change.job:.0f} % of a job"
            yield f"order: on {name} {costs}: {saves if saved > 0 else 'jobs need not be grouped'}"


def _in_time(
    planned: Plan,
    batch: Batch,
    board: Board,
    until: UntilMoment | None,
    windows: Callable[[float], Window] | None,
    now: float,
) -> Plan:
    """Return a plan without what a run that begins now would not submit, because of `until` or outside `windows`."""
    board.want([job.id for job in batch.jobs], frozenset(job.id for job in planned.jobs), now)
    for fact in startup_facts(board, now):
        if (state := board.follow(fact)) is not None:
            board.put(fact.job, state, now, fact)
    board.until_wall = until.at if until else None
    board.hours = HoursOfRun(windows) if windows else None
    board.tick(now, now)
    late = set(too_late(board, now))
    costs = [board.costs[job.id] for job in planned.jobs if job.id in board.unsettled - late]
    seconds = board.forecast.total(costs, batch.servers).seconds
    if until and until.missed:
        planned = replace(planned, warnings=[until.message, *planned.warnings])
    return replace(
        planned,
        until=until.message if until and not until.missed else "",
        late=[job for job in planned.jobs if job.id in late],
        seconds=seconds,
        ends=moment(end_of(seconds, windows, now), now) if seconds else "",
    )


def end_of(seconds: float, windows: Callable[[float], Window] | None, now: float) -> float:
    """Return when so many seconds of rendering are over that begin now, and go on in `windows` only."""
    for _ in range(_MAX_WINDOWS):
        window = windows(now) if windows else Window(now, inf)
        begin = max(now, window.opens)
        if seconds <= window.closes - begin:
            return begin + seconds
        seconds, now = seconds - (window.closes - begin), window.closes
    return now + seconds


def jobs_by_preset(batch: Batch, jobs: Sequence[Job]) -> dict[str, list[Job]]:
    """Return the jobs of each preset's option, `quality fast`, where there is more than one option."""
    found: dict[str, dict[str, list[Job]]] = {}
    for job in jobs:
        for key, value in job.params.items():
            if key not in batch.template.params and not key.startswith("_"):
                found.setdefault(key, {}).setdefault(f"{key} {value}", []).append(job)
    return {name: some for options in found.values() if len(options) > 1 for name, some in options.items()}


def known_board(batch: Batch, snapshot: Snapshot | None, out: Path, now: float) -> Board:
    """Return the board as a run would begin with it: what the state says, and what servers taught batches in `out`."""
    board = Board(batch.name, batch.rules, batch.servers, now, batch.server_rules())
    known = snapshot.jobs if snapshot else {}
    board.costs = {job.id: job.cost for job in (*known.values(), *batch.jobs)}
    board.groups = batch.groups
    recall_speeds(out, batch, board)
    with contradiction_is_damage(batch.name):
        board.load(known, snapshot.facts if snapshot else (), now)
    return board


async def _ask(batch: Batch, access: ServerAccess) -> tuple[list[str], list[str]]:
    """Return what the servers lack, and which of them could not be checked."""
    async with comfy.session() as http:
        return await check_servers(batch, lambda name: comfy.Client(access.url(name), http, access.credentials(name)))
