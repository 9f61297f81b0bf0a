"""What follows from the end of a download.

A failure says nothing about the job: it is the server's, the token's or our own disk's, and the next poll tells which.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from batchrunner.core.attempts import Attempt, accept, attempt_of, lose
from batchrunner.core.facts import Broke, Rendered, Saved, Why
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
from batchrunner.core.polls import give_up
from batchrunner.core.results import Cause, Downloaded, Failure, NotFound
from batchrunner.core.tracking import Guess

if TYPE_CHECKING:
    from batchrunner.core.actions import Download
    from batchrunner.core.board import Board
    from batchrunner.core.facts import Fact
    from batchrunner.core.notes import Moment, Note
    from batchrunner.core.results import DownloadEnd, Rejected
    from batchrunner.core.tracking import Tracked

_NO_ETAG = "no etag"


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
    notes: list[Note] = [TransferWorked(action.server)]
    facts: list[Fact]
    if isinstance(end, Downloaded):
        notes.append(LocalWorked(Resource.DISK))
        facts, record = _home(action, attempt, end, record)
    elif action.probe:
        facts, record = _not_there(board, attempt, record)
    else:
        facts = [_unfit(board, action, attempt, end)]
    return Outcome(tuple(facts), (*notes, Track(action.job, record)))


def _home(action: Download, attempt: Attempt, got: Downloaded, record: Tracked) -> tuple[list[Fact], Tracked]:
    """Note a file that is home; a guessed one proves that its prompt was rendered."""
    job, at = attempt.job, attempt.at
    saved = Saved(job, action.attempt, at, action.file.key, got.path, got.size, got.sha256)
    if not action.probe:
        return [saved], record
    record = record.found()
    if isinstance(attempt.state, Fetching):
        return ([saved] if action.file in (item.file for item in attempt.state.items) else []), record
    rendered = Rendered(job, action.attempt, at, (action.file,), None)
    if isinstance(attempt.state, Queued):
        return [rendered, saved], record
    return [accept(job, attempt.state.prompt, attempt.state.prompt.id, at), rendered, saved], record


def _not_there(board: Board, attempt: Attempt, record: Tracked) -> tuple[list[Fact], Tracked]:
    """Note that the guessed file is not there: unless a poll found its prompt meanwhile, that is gone."""
    if record.guess is Guess.UNTRIED:
        return [], record
    server = board.servers[attempt.state.prompt.server]
    return give_up(server, attempt, replace(record, guess=Guess.FAILED))


def _unfit(board: Board, action: Download, attempt: Attempt, end: NotFound | Rejected) -> Fact:
    """Return what it means that the file is not there, or not what it should be."""
    if isinstance(end, NotFound):
        if attempt.state.prompt.id in board.inherited:
            return lose(attempt, Why.FORGOTTEN, "the built-in ComfyUI ended with its run", burns=False)
        return lose(attempt, Why.EXPIRED, "404: clean-up deleted the file before it was home")
    if end.never:
        return lose(attempt, Why.UNUSABLE, end.says)
    if end.foreign:
        return lose(attempt, Why.FOREIGN, end.says)
    etag = end.etag or _NO_ETAG
    if _whole_before(attempt, action.file.key) == etag:
        return lose(attempt, Why.UNUSABLE, f"{end.says}; twice the same")
    return Broke(attempt.job, action.attempt, attempt.at, action.file.key, end.says, whole=etag)


def _failed(board: Board, action: Download, attempt: Attempt, failure: Failure, moment: Moment) -> Outcome:
    """Note that a download broke. Whether the server is unavailable is for the next poll to say; it comes at once."""
    server, record, key = board.servers[action.server], board.tracked[action.job], action.file.key
    notes: list[Note]
    if failure.cause is Cause.LOCAL:
        notes = [LocalFailed(Resource.DISK, failure.says, moment.now)]
    else:
        notes = [TransferFailed(action.server, moment.now), PollAt(action.server, min(server.poll_at, moment.now))]
    if action.probe:
        notes.append(Track(action.job, replace(record, guess=Guess.UNTRIED)))
        return Outcome(notes=tuple(notes))
    if failure.cause is Cause.UNAUTHORIZED:
        first = record.denied.get(key)
        if first is not None and server.health.is_up() and server.health.good_at > first:
            # A poll since then was not refused: it is the file's trouble.
            says = f"{failure.says}, though the queue answers"
            return Outcome((lose(attempt, Why.UNUSABLE, says),), tuple(notes))
        notes.append(Track(action.job, replace(record, denied={key: moment.now, **record.denied})))
    return Outcome((Broke(attempt.job, action.attempt, attempt.at, key, failure.says),), tuple(notes))


def _whole_before(attempt: Attempt, key: str) -> str:
    items = attempt.state.items if isinstance(attempt.state, Fetching) else ()
    return next((item.whole for item in items if item.file.key == key), "")
