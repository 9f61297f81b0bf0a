"""How long it will still take, what can still be saved in time, and which render takes too long."""

from __future__ import annotations

from dataclasses import dataclass
from heapq import heapify, heappop, heappush
from math import inf
from typing import TYPE_CHECKING, cast

from batchrunner.core.forecast import Estimate, Held

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from batchrunner.core.board import Board
    from batchrunner.core.lifecycle import Fetching

_TOLD_TIMES, _TOLD_AT_LEAST = 3.0, 600.0
_STUCK_RENDERS, _STUCK_AT_LEAST = 3, 45 * 60.0
_TRIED = 16
"""How many servers that are too slow for a job, but not for the shortest one, are tried before it counts as late."""
DOWNLOAD_TIME = 20.0
"""Seconds to leave for the download of a finished file, the poll that sees it included."""


@dataclass(frozen=True, slots=True)
class Running:
    """The prompt of ours that a server renders right now. Times in seconds."""

    job: str
    ran: float
    """Since a poll first saw it run."""
    expected: float
    """How long it should take in all."""
    at_most: float
    """The upper end of that forecast."""
    known: bool
    """Whether a job of its kind was rendered before: a guess is no reason to poll less."""


def running(board: Board, name: str, now: float) -> Running | None:
    """Return what a server renders for us, as far as the last poll saw it."""
    since = board.servers[name].queue.running
    for job, state in board.open_on(name):
        if state.prompt.id in since:
            cost, forecast = board.costs.get(job, 0.0), board.forecast
            expected, at_most = forecast.seconds(name, cost), forecast.at_most(name, cost)
            return Running(job, now - since[state.prompt.id], expected, at_most, forecast.knows(cost))
    return None


def progress(board: Board, name: str, now: float) -> float:
    """Return how long the prompt of ours that a server renders right now has run, no longer than it should take."""
    one = running(board, name, now)
    return min(one.ran, one.expected) if one else 0.0


def overdue(board: Board, name: str, now: float) -> str | None:
    """Return the job that a server has rendered for three times as long as it should at most take, if there is one.

    Never one in its first ten minutes: models are loaded, drives wake up. It is told; `stuck_job` says when something
    is done about it.
    """
    if now - min(board.servers[name].queue.running.values(), default=now) <= _TOLD_AT_LEAST:
        return None  # whatever runs there is young: that is asked of every server, again and again
    one = running(board, name, now)
    return one.job if one and one.ran > max(_TOLD_AT_LEAST, _TOLD_TIMES * one.at_most) else None


def stuck_job(board: Board, name: str, now: float) -> str | None:
    """Return the job that a server renders without an end: it is to be interrupted.

    So long means `Rules.stuck` times the upper end of a forecast from at least three renders of its kind there, never
    under 45 minutes. Without a forecast, or with `stuck: off`, it means `patience`, never under 45 minutes either:
    whoever waits ten minutes for a server that is away did not mean to cut a long render short.
    """
    one, rules = running(board, name, now), board.rules
    if one is None:
        return None
    if one.ran >= max(_STUCK_AT_LEAST, rules.patience):
        return one.job
    if rules.stuck is None or board.forecast.renders_of(name, board.costs.get(one.job, 0.0)) < _STUCK_RENDERS:
        return None
    return one.job if one.ran > max(_STUCK_AT_LEAST, rules.stuck * one.at_most) else None


# -- what is left


def time_left(board: Board, now: float) -> Estimate | None:
    """Return how long until everything this run may submit is rendered; None if no server is waited for.

    Costs what is left in the batch, not what one fact costs: ask every few seconds, not after every fact.
    """
    servers = [name for name, server in board.servers.items() if server.named and not board.is_out(server, now)]
    if not servers:
        return None
    waiting = sorted(board.waiting, key=board.positions.__getitem__)
    held = {name: _held(board, name, now) for name in servers}
    rendered = board.forecast.total([board.costs.get(job, 0.0) for job in waiting], servers, held)
    downloaded = _all_downloads(board, servers, waiting)
    more = max(0.0, downloaded - rendered.seconds)
    return Estimate(rendered.seconds + more, rendered.low + more, rendered.high + more)


def _all_downloads(board: Board, servers: Sequence[str], waiting: Iterable[str]) -> float:
    """Return how long the servers' lines take for everything together; 0 unless all their speeds are known."""
    speeds = [board.servers[name].link.speed() for name in servers]
    if not all(speeds):
        return 0.0
    jobs = [*waiting, *(job for name in servers for job, _ in board.open_on(name))]
    left = sum(under_way(board, name)[0] for name in servers) + sum(bytes_of(board, job) for job in jobs)
    return left / sum(speed for speed in speeds if speed)


def is_guess(board: Board) -> bool:
    """Whether `time_left` is no more than a guess: no server of the batch has rendered this workflow before."""
    return not any(board.forecast.has_experience(name) for name in _named(board))


def _held(board: Board, name: str, now: float) -> Held:
    """Return what a server is busy with; one that is given a rest is busy with that."""
    server, held = board.servers[name], board.open_on(name)
    waited = _others(board, name, now)
    if held:  # the next prompt of ours has waited for others', and will
        job, state = held[0]
        since = server.ready_since(board.tracked.get(job))
        waited += 0.0 if since is None else max(0.0, server.queue.running.get(state.prompt.id, now) - since)
    costs = tuple(board.costs.get(job, 0.0) for job, _ in held)
    rest = max(0.0, server.breaker.paused_until - now)
    return Held(rest + backlog(board, name, now), costs, progress(board, name, now), waited)


def _others(board: Board, name: str, now: float) -> float:
    """Return how long a server is busy with what others have there, as far as the last poll saw it."""
    queue = board.servers[name].queue
    return queue.others.left(queue.foreign, board.forecast.typical(name), now)


def backlog(board: Board, name: str, now: float) -> float:
    """Return how long a server is busy with what it holds, of ours and of others as far as the last poll saw it."""
    held = sum(board.forecast.seconds(name, board.costs.get(job, 0.0)) for job, _ in board.open_on(name))
    return max(0.0, held - progress(board, name, now)) + _others(board, name, now)


# -- the way of the files


def bytes_of(board: Board, job: str) -> float:
    """Return how many bytes a job's files are expected to have; 0 if nobody knows."""
    return board.sizes.expected(board.costs.get(job, 0.0)) or 0.0


def under_way(board: Board, name: str) -> tuple[float, float]:
    """Return how many bytes of a server's rendered files are still to come, and how many those files have in all."""
    left = whole = 0.0
    for job in board.fetching_on(name):
        items = cast("Fetching", board.states[job]).items
        for item in items:
            if item.saved is None:
                known = item.opened and item.opened.size >= 0
                size = item.opened.size if item.opened and known else bytes_of(board, job) / len(items)
                left += max(0.0, size - board.arrived.get((job, item.file.key), 0))
                whole += size
    return left, whole


# -- what is saved in time


def ends_at(board: Board) -> float | None:
    """Return when everything submitted now must be saved: at `until`, or when `hours` end; None for never."""
    closes = None if board.hours is None else board.hours.closes
    return min((at for at in (board.until, closes) if at is not None), default=None)


def fits(board: Board, name: str, job: str, now: float) -> bool:
    """Whether a job, given to a server now, is saved before that, by the band's upper end.

    A line that was so slow that no `hours` are long enough for the file is tried again when it is idle: else nothing
    would be rendered, nor the line measured, ever again.
    """
    end = ends_at(board)
    if end is None:
        return True
    rendered = backlog(board, name, now) + _at_most(board, name, board.costs.get(job, 0.0))
    speed = board.servers[name].link.speed()
    if not speed:
        return now + rendered <= end
    size, held = bytes_of(board, job), sum(bytes_of(board, other) for other, _ in board.open_on(name))
    before = under_way(board, name)[0] + held
    if board.until is None and board.hours and not before and size / speed > board.hours.window.length:
        return now + rendered <= end
    downloaded = (before + size) / speed + DOWNLOAD_TIME
    return now + max(rendered + size / speed, downloaded) <= end


def is_hopeless(board: Board, now: float) -> bool:
    """Whether nothing that waits could be saved in time, even if nobody else used the servers.

    By `until`, beginning when `hours` begin; and within the hours of any one day.
    """
    hours, left = board.hours, inf
    if board.until is not None:
        left = board.until - (now if hours is None else max(now, hours.opens))
    if hours is not None:
        left = min(left, hours.window.length)
    costs = {board.costs.get(job, 0.0) for job in board.waiting}
    return all(_at_most(board, name, cost) > left for cost in costs for name in _named(board))


def too_late(board: Board, now: float) -> Iterator[str]:
    """Yield, in run order, the jobs that will not fit before the run is to end, as far as anybody can tell."""
    if board.until is None:
        return
    begin = now if board.hours is None else max(now, board.hours.opens)
    turns = [(begin + backlog(board, name, now), place, name) for place, name in enumerate(_named(board))]
    heapify(turns)
    waiting = sorted(board.waiting, key=board.positions.__getitem__)
    shortest = min((board.costs.get(job, 0.0) for job in waiting), default=0.0)
    for job in waiting:
        cost, tried = board.costs.get(job, 0.0), list[tuple[float, int, str]]()
        while turns and len(tried) < _TRIED:
            free, place, name = heappop(turns)
            if free + _at_most(board, name, cost) <= board.until:
                ends = free + board.forecast.seconds(name, cost) * (1 + board.forecast.share(name))
                tried.append((ends, place, name))
                break
            if free + _at_most(board, name, shortest) <= board.until:
                tried.append((free, place, name))
        else:
            yield job
        for turn in tried:
            heappush(turns, turn)


def _at_most(board: Board, name: str, cost: float) -> float:
    return board.forecast.at_most(name, cost) + DOWNLOAD_TIME


def _named(board: Board) -> list[str]:
    return [name for name, server in board.servers.items() if server.named]
