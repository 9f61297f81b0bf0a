"""When a server is polled again: soon while something is about to be known, seldom while nothing is."""

from __future__ import annotations

from math import ceil, inf
from typing import TYPE_CHECKING

from batchrunner.core.eta import running
from batchrunner.core.hint import HINT_PAUSE
from batchrunner.core.jobs_api import WHOLE_EVERY
from batchrunner.core.lifecycle import Sending
from batchrunner.core.server import FASTEST_POLL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchrunner.core.board import Board
    from batchrunner.core.server import Server

_SLOWEST = 10.0
_POLLS_PER_TTL = 6
_POLLS_PER_JOB = 8
"""Of a job so short that this is more often than once a second."""
_FASTEST_SHORT = 0.1


def next_poll(board: Board, server: Server, now: float) -> float:
    """Return when to poll again after a good poll.

    With a live socket as soon as it says so, else in 1 to 30 s. Without one in 1 to 10 s, or eight times per job where
    ours are known to take less than 8 s, at least 0.1 s. At least six times per `ttl`; or every `poll`.
    """
    rules = server.rules
    if server.hint.drops:
        return server.hinted_poll(now)  # something ended while this poll was under way
    if rules.poll is not None:
        return now + rules.poll
    heard = server.hint.live and (server.is_heard() or not board.load_on(server.name))
    slowest = server.queue.whole_at + WHOLE_EVERY - now if heard else _SLOWEST
    slowest = min(slowest, (rules.ttl or inf) / _POLLS_PER_TTL)
    return now + min(slowest, _pause(board, server, now, heard=heard))


def depth(board: Board, server: Server, now: float) -> int:
    """Return how many prompts of ours a server should hold: `depth`, and more of jobs so short that it would run dry.

    What waits there lasts for two polls, or two hints, up to `max_depth`.
    """
    rules = server.rules
    length = job_length(board, server.name, now)
    if not length:
        return rules.depth
    pause = HINT_PAUSE if server.hint.live else rules.poll or _short_pause(length) or FASTEST_POLL
    return max(rules.depth, min(rules.max_depth, 1 + ceil(2 * pause / length)))


def job_length(board: Board, name: str, now: float) -> float | None:
    """Return how long the shortest of our prompts there renders, or the next job; None if its kind is not known."""
    jobs = [job for job, _ in board.open_on(name)] or board.next_jobs(1, now)
    costs = {board.costs.get(job, 0.0) for job in jobs}
    return min((board.forecast.seconds(name, cost) for cost in costs if board.forecast.knows(cost)), default=None)


def _short_pause(length: float) -> float | None:
    """Return the time between two polls for jobs of this length; None if they are not short."""
    pause = length / _POLLS_PER_JOB
    return max(_FASTEST_SHORT, pause) if pause < FASTEST_POLL else None


def _pause(board: Board, server: Server, now: float, *, heard: bool) -> float:
    """Return how long nothing is expected to be missed."""
    if not board.load_on(server.name):
        return WHOLE_EVERY
    doubts = [_patience(since, until, now) for since, until in _doubts(board, server)]
    if doubts:
        return max(FASTEST_POLL, min(doubts))
    one = running(board, server.name, now)
    if heard:
        late = one.at_most - one.ran if one and one.known else None
        return inf if late is None else max(FASTEST_POLL, late, -late / 3)
    length = job_length(board, server.name, now)
    if length is not None and (short := _short_pause(length)):
        return short
    if one and one.known:
        return max(FASTEST_POLL, abs(one.expected - one.ran) / 3)
    return max(FASTEST_POLL, (now - min(server.queue.running.values(), default=now)) / 10)


def _patience(since: float, until: float, now: float) -> float:
    """Return how long a doubt can wait: the longer it lasts the longer, but not beyond the moment that decides it."""
    return min((now - since) / 5, max(0.0, until - now))


def _doubts(board: Board, server: Server) -> Iterator[tuple[float, float]]:
    """Yield since when, and until when, a prompt of ours may be there or not: missing, or its POST without answer."""
    for job, state in board.open_on(server.name):
        record = board.tracked[job]
        since = server.health.answered_at if record.sent_at is None else record.sent_at
        if isinstance(state, Sending) and not board.in_flight.is_posting(job) and since is not None:
            yield since, since + server.rules.settle
        elif record.absence is not None:
            since = record.absence.since
            yield since, since + server.rules.grace
