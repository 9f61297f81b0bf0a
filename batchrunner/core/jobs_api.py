"""When a poll asks for prompts of ours one by one, by `GET /api/jobs/{id}`, and not for the queue and the history.

One answer tells how a prompt ended, with its files, and holds nobody else's workflow (docs/comfyui.md §21). It says
little more than that: what others have there, a restart, a prompt that is missing or there twice show only where queue
and history are read. So they are read at first, in any doubt, and every 30 s.

Which servers have the route is learned by asking. Where one has not, and a hint has told that the prompt of ours that
runs has ended, `GET /history/{id}` alone tells as much of it. All times are seconds on the loop's clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from batchrunner.core.health import Condition
from batchrunner.core.lifecycle import Queued
from batchrunner.core.settings import backoff

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchrunner.core.actions import Poll, PollResult
    from batchrunner.core.board import Board
    from batchrunner.core.lifecycle import Sending
    from batchrunner.core.server import Server

WHOLE_EVERY = 30.0
"""Seconds between two polls that read queue and history, at most."""
_MOST = 8
"""Prompts of ours above which one request for the queue is less than one for each."""
_FIRST_PAUSE, _LONGEST_PAUSE = 60.0, 3600.0
_NO_ROUTE = frozenset({404, 405})


@dataclass(frozen=True, slots=True)
class JobsRoute:
    """Whether one server has the route, as far as is known. It is tried until it fails."""

    failures: int = 0
    """In a row."""
    again_at: float = -inf
    """It is not asked for before then."""

    def polled(self, server: str, result: PollResult, now: float) -> JobsRoute:
        """Take in a good poll.

        A 404 for a prompt that the server does have, or a 405, means that it has no such route; it is not tried again
        until the server was away. A 404 for one that it does not have either says nothing. Anything else may pass: a
        page of a proxy, a 500 because of somebody's prompt, no answer: it is tried again after a pause that doubles.
        """
        if result.own:
            return JobsRoute() if result.by_jobs else self
        failure = result.jobs
        if failure is None or (failure.not_found and not failure.page and None in result.history.values()):
            return self
        if failure.status in _NO_ROUTE and not failure.page:
            return JobsRoute(again_at=inf)
        failures = self.failures + 1
        return JobsRoute(failures, now + backoff(f"{server}/jobs", failures, _FIRST_PAUSE, _LONGEST_PAUSE))


def own_prompts(board: Board, server: Server, held: Sequence[tuple[str, Sending | Queued]], now: float) -> list[str]:
    """Return the ids to ask for one by one, in the order in which they run; none where the queue is to be read.

    `held`: all that is open there. One of ours must run, as far as is known: while others' prompts run, the queue tells
    how long they take.
    """
    asked = has_route(server, now) or _are_ends_told(server)
    known = asked and now < server.queue.whole_at + WHOLE_EVERY and server.surveyed
    calm = server.health.condition is Condition.ANSWERING and not server.health.unread and board.leaving_at is None
    if not known or not calm or server.unwanted or server.to_remove or not 0 < len(held) <= _MOST:
        return []
    numbers = {}
    for job, state in held:
        record = board.tracked[job]
        certain = isinstance(state, Queued) and record.absence is None and record.interrupted_at is None
        if not certain or record.number is None:
            return []
        numbers[state.prompt.id] = record.number
    ids = sorted(numbers, key=numbers.__getitem__)
    return ids if ids[0] in server.queue.running else []


def has_route(server: Server, now: float) -> bool:
    """Whether a server is to be asked by `GET /api/jobs/{id}`: it has the route, or it is to be tried again."""
    return server.jobs.again_at <= now


def _are_ends_told(server: Server) -> bool:
    """Whether hints told of ends that can only be those of prompts of ours."""
    return bool(server.hint.live and server.hint.drops and not server.queue.foreign)


def ends(server: Server, ids: Sequence[str]) -> int:
    """Return after how many ends the others need not be asked for: as many as hints told of, else all.

    Where nobody else's prompts were, the next one of ours runs then.
    """
    return min(len(server.hint.drops), len(ids)) if _are_ends_told(server) else len(ids)


def asked_for(poll: Poll, result: PollResult) -> tuple[str, ...]:
    """Return all prompts of ours there, in the order in which they run, if only they were asked for."""
    return poll.ids if result.own else ()
