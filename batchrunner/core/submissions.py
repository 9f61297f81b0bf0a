"""What follows from the answer to a POST, and from the answer to a deletion of pending prompts.

A failure says nothing about the job: the claim is kept, and the next good poll tells whether the POST arrived.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from batchrunner.core.attempts import Attempt, accept, attempt_of, lose, refusal
from batchrunner.core.facts import Why
from batchrunner.core.notes import (
    Leave,
    Leaving,
    Outcome,
    PollAt,
    PostAnswered,
    PostRefused,
    PostTaken,
    Remove,
    Removed,
    Track,
    TransferFailed,
    TransferWorked,
)
from batchrunner.core.polls import failed
from batchrunner.core.results import Cause, Failure, Refused, Taken
from batchrunner.core.tracking import Tracked

if TYPE_CHECKING:
    from batchrunner.core.actions import Submit, Withdraw
    from batchrunner.core.board import Board
    from batchrunner.core.notes import Moment, Note
    from batchrunner.core.results import PostEnd


def interpret_post(board: Board, action: Submit, end: PostEnd, moment: Moment) -> Outcome:
    """Return what follows from a POST that has ended; no fact if nobody knows whether it arrived."""
    attempt = attempt_of(board, action, moment.at)
    record = replace(board.tracked.get(action.job, Tracked()), sent_at=moment.now)
    match end:
        case Failure():
            return _failed(board, action, end, record, moment)
        case Refused() if attempt:
            notes = (Track(action.job, record), TransferWorked(action.server), PostAnswered(end.says))
            return Outcome((lose(attempt, Why.REFUSED, end.says),), notes)
        case Taken() if attempt:
            return _taken(board, attempt, end, record, moment)
    return Outcome()


def interpret_withdrawal(board: Board, action: Withdraw, failure: Failure | None, moment: Moment) -> Outcome:
    """Return what follows once pending prompts of ours were deleted by id, or could not be."""
    if failure is not None:
        return Outcome(notes=failed(board, action.server, failure, moment.now))
    deleted = frozenset(action.prompts)
    notes: list[Note] = [Removed(action.server, deleted)]
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
    says = refusal(taken.complaints, board.outputs)
    if says:
        notes = (Track(job, record), posted, PostAnswered(says), Remove(server, frozenset({taken.prompt})))
        return Outcome((accepted, lose(attempt, Why.REFUSED, says)), notes)
    if not board.servers[server].queue.foreign and board.open_on(server)[0][0] == job:
        # Nothing is in front of it: it runs at once, and may end the server before a poll sees it.
        record = replace(record, seen_running=True)
    return Outcome((accepted,), (Track(job, record), posted, PostAnswered("")))


def _failed(board: Board, action: Submit, failure: Failure, record: Tracked, moment: Moment) -> Outcome:
    """Keep the claim. If nothing can have left us, nothing has to settle: the next good poll decides."""
    server = board.servers[action.server]
    refused = failure.cause is Cause.UNAUTHORIZED
    if refused or not failure.sent:
        record = replace(record, sent_at=server.health.good_at - board.rules.settle)
    notes: list[Note] = [Track(action.job, record), TransferFailed(action.server, moment.now)]
    if refused:
        notes.append(PostRefused(action.server, failure, moment.began, moment.now))
    else:
        notes += failed(board, action.server, failure, moment.now)
    return Outcome(notes=tuple(notes))
