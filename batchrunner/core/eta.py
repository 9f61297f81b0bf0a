"""How long it will still take, and what can still be home in time."""

from __future__ import annotations

from heapq import heapify, heapreplace
from math import inf
from typing import TYPE_CHECKING

from batchrunner.core.forecast import Held

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchrunner.core.board import Board
    from batchrunner.core.forecast import Estimate

_TOLD_TIMES, _TOLD_AT_LEAST = 3.0, 600.0
_STUCK_RENDERS, _STUCK_AT_LEAST = 3, 45 * 60.0
HOMEWARD = 20.0
"""Seconds to leave for the way home of a finished file, the poll that sees it included."""


def time_left(board: Board, now: float) -> Estimate | None:
    """Return how long until everything this run may submit is rendered; None if no server is waited for.

    Costs what is left in the batch, not what one fact costs: ask every few seconds, not after every fact.
    """
    servers = [name for name, server in board.servers.items() if server.named and not board.is_out(server, now)]
    if not servers:
        return None
    waiting = sorted(board.waiting, key=board.positions.__getitem__)
    held = {name: _held(board, name, now) for name in servers}
    return board.forecast.total([board.costs.get(job, 0.0) for job in waiting], servers, held)


def _held(board: Board, name: str, now: float) -> Held:
    """Return what a server is busy with; one that is given a rest is busy with that."""
    server = board.servers[name]
    rest = max(0.0, server.breaker.paused_until - now)
    costs = tuple(board.costs.get(job, 0.0) for job, _ in board.open_on(name))
    return Held(rest + backlog(board, name, now), costs, progress(board, name, now), _waited(board, name, now))


def _waited(board: Board, name: str, now: float) -> float:
    """Return how long the next prompt of ours has waited for others', and will."""
    server, left = board.servers[name], _others(board, name, now)
    for job, state in board.open_on(name):
        since = server.ready_since(board.tracked.get(job))
        began = server.queue.running.get(state.prompt.id, now)
        return left if since is None else left + max(0.0, began - since)
    return left


def _others(board: Board, name: str, now: float) -> float:
    """Return how long a server is busy with what others have there, as far as the last poll saw it."""
    server = board.servers[name]
    return server.queue.others.left(server.queue.foreign, board.forecast.typical(name), now)


def _rendered(board: Board, name: str, now: float) -> tuple[str, float, float] | None:
    """Return the job of ours that a server renders right now, its cost, and for how long it was seen running."""
    running = board.servers[name].queue.running
    found = ((job, running.get(state.prompt.id)) for job, state in board.open_on(name))
    return next(((job, board.costs.get(job, 0.0), now - since) for job, since in found if since is not None), None)


def progress(board: Board, name: str, now: float) -> float:
    """Return how long the prompt of ours that a server renders right now has run, no longer than it should take."""
    rendered = _rendered(board, name, now)
    if rendered is None:
        return 0.0
    _, cost, ran = rendered
    return min(ran, board.forecast.seconds(name, cost))


def remaining(board: Board, name: str, now: float) -> float | None:
    """Return how long the prompt of ours that a server renders should still take, negative if it takes longer.

    None if there is none, or its kind was never rendered before: a guess is no reason to poll less.
    """
    rendered = _rendered(board, name, now)
    if rendered is None or not board.forecast.knows(rendered[1]):
        return None
    _, cost, ran = rendered
    return board.forecast.seconds(name, cost) - ran


def late_in(board: Board, name: str, now: float) -> float | None:
    """Return in how long that prompt takes longer than it should at most, negative if it does; None as above."""
    rendered = _rendered(board, name, now)
    if rendered is None or not board.forecast.knows(rendered[1]):
        return None
    _, cost, ran = rendered
    return board.forecast.at_most(name, cost) - ran


def overdue(board: Board, name: str, now: float) -> str | None:
    """Return the job that a server has rendered for three times as long as it should at most take, if there is one.

    Never one in its first ten minutes: models are loaded, drives wake up. It is told; `stuck_job` says when something
    is done about it.
    """
    running = board.servers[name].queue.running.values()
    if now - min(running, default=now) <= _TOLD_AT_LEAST:
        return None
    rendered = _rendered(board, name, now)
    if rendered is None or rendered[2] <= _TOLD_AT_LEAST:
        return None
    job, cost, ran = rendered
    return job if ran > _TOLD_TIMES * board.forecast.at_most(name, cost) else None


def stuck_job(board: Board, name: str, now: float) -> str | None:
    """Return the job that a server renders without an end: it is to be interrupted.

    So long means `Rules.stuck` times the upper end of a forecast from at least three renders of its kind there, never
    under 45 minutes. Without a forecast, or with `stuck: off`, it means `patience`, never under 45 minutes either:
    whoever waits ten minutes for a server that is away did not mean to cut a long render short.
    """
    rendered = _rendered(board, name, now)
    if rendered is None:
        return None
    job, cost, ran = rendered
    rules = board.rules
    if ran >= max(_STUCK_AT_LEAST, rules.patience):
        return job
    if rules.stuck is None or board.forecast.renders_of(name, cost) < _STUCK_RENDERS:
        return None
    return job if ran > max(_STUCK_AT_LEAST, rules.stuck * board.forecast.at_most(name, cost)) else None


def backlog(board: Board, name: str, now: float) -> float:
    """Return how long a server is busy with what it holds, of ours and of others as far as the last poll saw it."""
    held = sum(board.forecast.seconds(name, board.costs.get(job, 0.0)) for job, _ in board.open_on(name))
    return max(0.0, held - progress(board, name, now)) + _others(board, name, now)


def ends_at(board: Board) -> float | None:
    """Return when everything submitted now must be home: at `until`, or when `hours` end; None for never."""
    closes = None if board.hours is None else board.hours.closes
    return min((at for at in (board.until, closes) if at is not None), default=None)


def fits(board: Board, name: str, job: str, now: float) -> bool:
    """Whether a job, given to a server now, is home before that, by the band's upper end."""
    end = ends_at(board)
    if end is None:
        return True
    cost = board.costs.get(job, 0.0)
    return now + backlog(board, name, now) + board.forecast.at_most(name, cost) + HOMEWARD <= end


def is_hopeless(board: Board, now: float) -> bool:
    """Whether nothing that waits could be home in time, even if nobody else used the servers.

    By `until`, beginning when `hours` begin; and within the hours of any one day.
    """
    hours, left = board.hours, inf
    if board.until is not None:
        begin = now if hours is None else max(now, hours.opens)
        left = board.until - begin
    if hours is not None:
        left = min(left, hours.window.length)
    named = [name for name, server in board.servers.items() if server.named]
    costs = {board.costs.get(job, 0.0) for job in board.waiting}
    return all(board.forecast.at_most(name, cost) + HOMEWARD > left for cost in costs for name in named)


def too_late(board: Board, now: float) -> Iterator[str]:
    """Yield, in run order, the jobs that will not fit before the run is to end, as far as anybody can tell."""
    if board.until is None:
        return
    named = [name for name, server in board.servers.items() if server.named]
    begin = now if board.hours is None else max(now, board.hours.opens)
    turns = [(begin + backlog(board, name, now), place, name) for place, name in enumerate(named)]
    heapify(turns)
    for job in sorted(board.waiting, key=board.positions.__getitem__):
        free, place, name = turns[0]
        cost = board.costs.get(job, 0.0)
        if free + board.forecast.at_most(name, cost) + HOMEWARD > board.until:
            yield job
        else:
            ends = free + board.forecast.seconds(name, cost) * (1 + board.forecast.share(name))
            heapreplace(turns, (ends, place, name))
