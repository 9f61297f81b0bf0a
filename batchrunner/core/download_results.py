"""What follows from the end of a download.

A failure says nothing about the job: it is the server's, the token's or our own disk's, and the next poll tells which.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from batchrunner.core.actions import Cause, Downloaded, Failure, NotFound
from batchrunner.core.attempts import Attempt, accept, attempt_of, lose
from batchrunner.core.facts import DownloadFailed, Rendered, Saved, Why
from batchrunner.core.lifecycle import Fetching, Queued
from batchrunner.core.notes import (
    LocalFailed,
    LocalWorked,
    Outcome,
    PollAt,
    Resource,
    Track,
    TransferFailed,
    TransferWorked,
)
from batchrunner.core.tracking import Guess

if TYPE_CHECKING:
    from batchrunner.core.actions import Download, DownloadEnd, Rejected
    from batchrunner.core.board import Board
    from batchrunner.core.facts import Fact
    from batchrunner.core.notes import Moment, Note
    from batchrunner.core.tracking import Tracked


def interpret_download(board: Board, action: Download, end: DownloadEnd, moment: Moment) -> Outcome:
    """Return what follows from a download that has ended; nothing if its attempt is over."""
    attempt = attempt_of(board, action, moment.at)
    if attempt is None:
        return Outcome()
    record = board.tracked[action.job]
    if isinstance(end, Failure):
        return _failed(board, action, attempt, end, moment)
    kept = {key: at for key, at in record.denied.items() if key != action.file.key}
    record = replace(record, denied=kept)
    notes: list[Note]
    facts: list[Fact]
    if isinstance(end, Downloaded):
        notes = [TransferWorked(action.server), LocalWorked(Resource.DISK)]
        facts, record = _home(action, attempt, end, record)
    elif action.probe:
        # The 404 of a guess is no transfer that worked: a server that fails every POST must be given up.
        notes, facts = [PollAt(action.server, moment.now)], []
        if record.guess is not Guess.UNTRIED:
            record = _guessed(record, len(board.first_files))
    elif isinstance(end, NotFound):
        # Only together with a good poll after it is a 404 proof: `poll_results` takes the loss from here.
        notes, facts = [PollAt(action.server, moment.now)], []
        record = replace(record, not_found={**record.not_found, action.file.key: moment.now})
    else:
        notes = [TransferWorked(action.server)]
        facts = [_rejected(action, attempt, end)]
    return Outcome(tuple(facts), (*notes, Track(action.job, record)))


def _home(action: Download, attempt: Attempt, got: Downloaded, record: Tracked) -> tuple[list[Fact], Tracked]:
    """Note a saved file; a guessed one proves that its prompt was rendered."""
    job, at = attempt.job, attempt.at
    saved = Saved(job, action.attempt, at, action.file.key, got.path, got.size, got.sha256, got.warning)
    if not action.probe:
        return [saved], record
    record = record.found()
    if isinstance(attempt.state, Fetching):
        return ([saved] if action.file in (item.file for item in attempt.state.items) else []), record
    rendered = Rendered(job, action.attempt, at, (action.file,), None)
    if isinstance(attempt.state, Queued):
        return [rendered, saved], record
    return [accept(job, attempt.state.prompt, attempt.state.prompt.id, at), rendered, saved], record


def _guessed(record: Tracked, names: int) -> Tracked:
    """Note that a file is not there under a guessed name: the next one is due, of `names`, or none is left."""
    if record.guessed + 1 < names:
        return replace(record, guessed=record.guessed + 1)
    return replace(record, guess=Guess.FAILED)


def _rejected(action: Download, attempt: Attempt, end: Rejected) -> Fact:
    """Return what it means that a file came whole and is not what it should be, or will never come."""
    if end.never:
        return replace(lose(attempt, Why.UNUSABLE, end.message), final=True)
    if end.foreign:
        return lose(attempt, Why.WRONG_CONTENT, end.message)
    if end.etag and _whole_before(attempt, action.file.key) == end.etag:
        return lose(attempt, Why.UNUSABLE, f"{end.message}; twice the same")
    return DownloadFailed(attempt.job, action.attempt, attempt.at, action.file.key, end.message, whole=end.etag)


def _failed(board: Board, action: Download, attempt: Attempt, failure: Failure, moment: Moment) -> Outcome:
    """Note that a download broke. Whether the server is unavailable is for the next poll to say; it comes at once."""
    server, record, key = board.servers[action.server], board.tracked[action.job], action.file.key
    notes: list[Note]
    if failure.cause is Cause.LOCAL:
        resource = Resource.SOCKETS if failure.handles else Resource.DISK
        notes = [LocalFailed(resource, failure.message, moment.now)]
    else:
        notes = [TransferFailed(action.server, moment.now), PollAt(action.server, min(server.poll_at, moment.now))]
    if action.probe:
        # Where /view is refused though polls are good, no guess can ever be tried.
        hopeless = failure.cause is Cause.UNAUTHORIZED and server.health.is_up()
        notes.append(Track(action.job, replace(record, guess=Guess.FAILED if hopeless else Guess.UNTRIED)))
        return Outcome(notes=tuple(notes))
    if failure.cause is Cause.UNAUTHORIZED:
        first = record.denied.get(key)
        if first is not None and server.health.is_up() and server.health.good_at > first:
            # A poll since then was not refused: it is the file's failure.
            message = f"{failure.message}, though the queue answers"
            return Outcome((lose(attempt, Why.UNUSABLE, message),), tuple(notes))
        notes.append(Track(action.job, replace(record, denied={key: moment.now, **record.denied})))
    return Outcome((DownloadFailed(attempt.job, action.attempt, attempt.at, key, failure.message),), tuple(notes))


def _whole_before(attempt: Attempt, key: str) -> str:
    items = attempt.state.items if isinstance(attempt.state, Fetching) else ()
    return next((item.whole for item in items if item.file.key == key), "")
