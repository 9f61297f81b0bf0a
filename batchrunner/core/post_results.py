"""What follows from the answer to a POST, and from the answer to a deletion of pending prompts.

A failure says nothing about the job: the claim is kept, and the next good poll tells whether the POST arrived.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from batchrunner.core.actions import Cause, Failure, Refused, Taken
from batchrunner.core.attempts import Attempt, accept, attempt_of, lose, refusal
from batchrunner.core.facts import Why
from batchrunner.core.health import BREAKER_JOBS, PROBE_PAUSE
from batchrunner.core.notes import (
    Interrupted,
    Leave,
    Leaving,
    MustNotRender,
    Outcome,
    PollAt,
    PostAnswered,
    PostRefused,
    PostsWait,
    PostTaken,
    Removed,
    Track,
    TransferFailed,
    TransferWorked,
)
from batchrunner.core.poll_results import failed
from batchrunner.core.settings import backoff
from batchrunner.core.tracking import Tracked

if TYPE_CHECKING:
    from batchrunner.core.actions import Interrupt, PostEnd, Submit, Withdraw
    from batchrunner.core.board import Board
    from batchrunner.core.notes import Moment, Note

_NOT_ACCEPTABLE, TOO_MANY = 406, 429
_OF_ALL_PROMPTS = frozenset({401, 404, 408, 429})
"""Refusals that are not about what a prompt says."""


def interpret_post(board: Board, action: Submit, end: PostEnd, moment: Moment) -> Outcome:
    """Return what follows from a POST that has ended; no fact if nobody knows whether it arrived."""
    attempt = attempt_of(board, action, moment.at)
    record = replace(board.tracked.get(action.job, Tracked()), sent_at=moment.now)
    match end:
        case Failure() if attempt and is_denied(end) and board.servers[action.server].health.is_up():
            return _denied(board, attempt, end, moment.now)
        case Failure():
            return _failed(board, action, end, record, moment)
        case Refused() if attempt:
            worked = (Track(action.job, record), TransferWorked(action.server))
            if board.misses_input(action.job, *(error.message for error in end.node_errors)):
                return Outcome((lose(attempt, Why.INPUT_LOST, end.message),), worked)
            return Outcome((lose(attempt, Why.REFUSED, end.message),), (*worked, PostAnswered(end.message)))
        case Taken() if attempt:
            record = record if action.again else replace(record, number=end.number)
            return _taken(board, attempt, end, record, moment)
    return Outcome()


def interpret_interrupt(board: Board, action: Interrupt, failure: Failure | None, moment: Moment) -> Outcome:
    """Return what follows once a prompt of ours was to be interrupted by id; the next poll tells whether it was."""
    if failure is not None:
        return Outcome(notes=failed(board, action.server, failure, moment.now))
    notes: list[Note] = [Interrupted(action.server, action.prompt), PollAt(action.server, moment.now)]
    for job, state in board.open_on(action.server):
        if state.prompt.id == action.prompt:
            notes.append(Track(job, replace(board.tracked[job], interrupted_at=moment.now)))
    return Outcome(notes=tuple(notes))


def interpret_withdrawal(board: Board, action: Withdraw, failure: Failure | None, moment: Moment) -> Outcome:
    """Return what follows once pending prompts of ours were deleted by id, or could not be."""
    if failure is not None:
        return Outcome(notes=failed(board, action.server, failure, moment.now))
    deleted = frozenset(action.prompts)
    notes: list[Note] = [Removed(action.server, deleted)]
    if deleted & board.servers[action.server].unwanted:
        notes.append(PollAt(action.server, moment.now))
    if board.servers[action.server].leaving is Leaving.TAKING:
        for job, state in board.open_on(action.server):
            if state.prompt.id in deleted:
                notes.append(Track(job, replace(board.tracked[job], withdrawn=True)))
        notes += [Leave(action.server, Leaving.CONFIRMING), PollAt(action.server, moment.now)]
    return Outcome(notes=tuple(notes))


def _taken(board: Board, attempt: Attempt, taken: Taken, record: Tracked, moment: Moment) -> Outcome:
    """Note what the server queued; if it left our output out, that is a refusal, and its prompt is taken back."""
    server, job = attempt.state.prompt.server, attempt.job
    accepted = accept(job, attempt.state.prompt, taken.prompt, attempt.at)
    posted = PostTaken(server, taken.number, moment.began, moment.now)
    message = refusal(taken.node_errors, board.outputs)
    if message:
        notes = (Track(job, record), posted, MustNotRender(server, frozenset({taken.prompt})))
        if board.misses_input(job, *(error.message for error in taken.node_errors)):
            return Outcome((accepted, lose(attempt, Why.INPUT_LOST, message)), notes)
        return Outcome((accepted, lose(attempt, Why.REFUSED, message)), (*notes, PostAnswered(message)))
    if not board.servers[server].queue.foreign and board.open_on(server)[0][0] == job:
        # Nothing is in front of it: it runs at once, and may end the server before a poll sees it.
        record = replace(record, seen_running=True)
    return Outcome((accepted,), (Track(job, record), posted, PostAnswered("")))


def _failed(board: Board, action: Submit, failure: Failure, record: Tracked, moment: Moment) -> Outcome:
    """Keep the claim. If nothing can have left us, nothing has to settle: the next good poll decides."""
    server, name, now = board.servers[action.server], action.server, moment.now
    refused = failure.cause is Cause.UNAUTHORIZED
    if refused or not failure.sent or failure.status == TOO_MANY:
        record = replace(record, sent_at=server.health.good_at - board.rules.settle)
    notes: list[Note] = [Track(action.job, record), TransferFailed(name, now)]
    if failure.status == TOO_MANY:
        pause = backoff(f"{name}/{action.job}", 1, PROBE_PAUSE, PROBE_PAUSE)
        return Outcome(notes=(*notes, PostsWait(name, now + (failure.retry_after or pause))))
    if refused:
        return Outcome(notes=(*notes, PostRefused(name, failure, now)))
    return Outcome(notes=(*notes, *failed(board, name, failure, now)))


def is_denied(failure: Failure) -> bool:
    """Whether something before the server refuses this prompt: a web firewall that dislikes its text, for one."""
    status = failure.status or 0
    return status == _NOT_ACCEPTABLE or (failure.page and 400 <= status < 500 and status not in _OF_ALL_PROMPTS)


def _denied(board: Board, attempt: Attempt, failure: Failure, now: float) -> Outcome:
    """Lose an attempt that was refused while polls are good: the second time it is the job's failure.

    Nothing was rendered, so it costs no attempt. Three different jobs alike are the server's failure: it rests, one job
    tries, and no job fails of it.
    """
    server = board.servers[attempt.state.prompt.server]
    breaker = server.breaker
    alike = breaker.jobs | {attempt.job} if breaker.kind == Why.DENIED else frozenset({attempt.job})
    everybodys = breaker.trips > 0 or len(alike) >= BREAKER_JOBS
    lost = lose(attempt, Why.DENIED, failure.message, error="" if everybodys else f"denied: {failure.status}")
    return Outcome((lost,), (TransferFailed(server.name, now),))
