"""What follows from the end of an upload.

A failure says nothing about the job, and little about the server: whether that is unavailable is for the next poll to
say, which comes at once. What stays is the narrowest owner: this file on this server.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchrunner.core.actions import Cause, Failure, NotUploaded
from batchrunner.core.notes import (
    InputStored,
    LocalFailed,
    LocalWorked,
    Outcome,
    PollAt,
    PostRefused,
    PostsWait,
    Resource,
    TransferFailed,
    UploadFailed,
    UploadRefused,
)
from batchrunner.core.post_results import TOO_MANY, is_denied

if TYPE_CHECKING:
    from batchrunner.core.actions import Upload, UploadEnd
    from batchrunner.core.board import Board
    from batchrunner.core.notes import Moment, Note


def interpret_upload(board: Board, action: Upload, end: UploadEnd, moment: Moment) -> Outcome:
    """Return what follows from an upload that has ended: never a fact."""
    name, file = action.server, action.file.name
    if isinstance(end, Failure):
        return Outcome(notes=_failed(board, action, end, moment.now))
    if isinstance(end, NotUploaded):
        return Outcome(notes=(UploadRefused(name, file, end.message),))
    # No transfer that worked: a server that fails every POST must be given up, whatever it stores.
    return Outcome(notes=(InputStored(name, file, end.name, end.etag, moment.now), LocalWorked(Resource.INPUTS)))


def _failed(board: Board, action: Upload, failure: Failure, now: float) -> tuple[Note, ...]:
    server, file = board.servers[action.server], action.file.name
    rest = UploadFailed(server.name, file, failure, now)
    if failure.cause is Cause.LOCAL:
        resource = Resource.SOCKETS if failure.handles else Resource.INPUTS
        return rest, LocalFailed(resource, failure.message, now)
    denied = is_denied(failure)
    if server.inputs.is_hopeless(file, now, denied=denied):
        return (UploadRefused(server.name, file, f"its input file {file} does not get there: {failure.message}"),)
    if failure.cause is Cause.UNAUTHORIZED and not denied:
        return rest, PostRefused(server.name, failure, now)
    if failure.status == TOO_MANY:
        return rest, PostsWait(server.name, now + (failure.retry_after or 1.0))
    return rest, TransferFailed(server.name, now, upload=True), PollAt(server.name, min(server.poll_at, now))
