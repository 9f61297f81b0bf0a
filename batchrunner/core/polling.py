"""When a server is polled again: soon while something is about to be known, seldom while nothing is."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

from batchrunner.core.eta import remaining
from batchrunner.core.lifecycle import Sending
from batchrunner.core.server import FASTEST_POLL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchrunner.core.board import Board
    from batchrunner.core.server import Server

_SLOWEST_LOOK = 10.0
_LOOKS_PER_TTL = 6


def next_poll(board: Board, server: Server, now: float) -> float:
    """Return when to poll again after a good poll: in 1 to 10 s, and at least six times per `ttl`, or every `poll`."""
    rules = server.rules
    if rules.poll is not None:
        return now + rules.poll
    slowest = min(_SLOWEST_LOOK, (rules.ttl or inf) / _LOOKS_PER_TTL)
    return now + min(slowest, max(FASTEST_POLL, _pause(board, server, now)))


def _pause(board: Board, server: Server, now: float) -> float:
    """Return how long nothing is expected to be missed."""
    if not board.load_on(server.name):
        return _SLOWEST_LOOK
    doubts = [_patience(since, until, now) for since, until in _doubts(board, server)]
    if doubts:
        return min(doubts)
    ends_in = remaining(board, server.name, now)
    if ends_in is not None:
        return abs(ends_in) / 3
    return (now - min(server.queue.running.values(), default=now)) / 10


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
