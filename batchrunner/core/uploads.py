"""Which input files are uploaded now, and what becomes of jobs whose files no server takes.

A job is posted to a server only once that is known to have all its input files. They are brought to the server that
would get the job next, one job more than it has room for, so that it need not wait. Few are on their way at once: a
large file must not slow down polls and downloads.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from batchrunner.core.actions import Upload
from batchrunner.core.attempts import Attempt, lose
from batchrunner.core.facts import Claimed, Why
from batchrunner.core.job import file_prefix, prompt_id
from batchrunner.core.lifecycle import Prompt, Sending, Waiting
from batchrunner.core.notes import Outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchrunner.core.board import Board
    from batchrunner.core.server import Server

AHEAD = 1
"""Jobs beyond a server's room whose input files are brought there already."""
_PER_SERVER, _IN_ALL = 2, 8


class UploadPlan:
    """The uploads to start in one turn; `actions` are those wanted so far, within the bounds."""

    def __init__(self, board: Board, now: float) -> None:
        self._board = board
        self._now = now
        self._under_way = board.in_flight.uploads()
        self.actions: list[Upload] = []

    def may_go(self, job: str, name: str) -> bool:
        """Whether the input files of a job may be brought to a server now, or are there."""
        return self._board.servers[name].inputs.may_get(self._board.input_files.get(job, ()), self._now)

    def names(self, job: str, name: str) -> tuple[tuple[str, str], ...] | None:
        """Return what a server calls the input files of a job: (ours, the server's); None if one is to be uploaded."""
        return self._board.servers[name].inputs.names(self._board.input_files.get(job, ()), self._now)

    def is_near(self, job: str, name: str) -> bool:
        """Whether a server has the input files of a job, or will soon have them."""
        known, in_flight = self._board.servers[name].inputs.stored, self._board.in_flight
        files = self._board.input_files.get(job, ())
        return all(file.name in known or in_flight.is_uploading(name, file.name) for file in files)

    def want(self, job: str, name: str, *, confirmed: bool) -> None:
        """Have what a job needs brought to a server; if `confirmed`, also looked for what was there some time ago."""
        inputs = self._board.servers[name].inputs
        for file in self._board.input_files.get(job, ()):
            known = inputs.stored.get(file.name)
            there = inputs.names((file,), self._now) is not None if confirmed else known is not None
            full = self._under_way[name] >= _PER_SERVER or self._under_way.total() >= _IN_ALL
            action = Upload(name, file, known.name, known.etag) if known else Upload(name, file)
            planned = action in self.actions or self._board.in_flight.is_uploading(name, file.name)
            if not (there or full or planned) and inputs.may_get((file,), self._now):
                self.actions.append(action)
                self._under_way[name] += 1


def fail_refused_jobs(board: Board, now: float, at: float) -> Iterator[Outcome]:
    """Yield the end of every waiting job whose input files no server takes; `at` is the wall clock, for facts.

    One server that is waited for and did not refuse them is enough to go on waiting. A prompt that is to be posted
    once more where its files were refused meanwhile is taken back: it may go elsewhere.
    """
    if not board.refused_files or board.leaving_at is not None:
        return
    for job in [job for file in board.refused_files for job in board.jobs_with(file) if job in board.unsettled]:
        state, files = board.states[job], board.input_files[job]
        if isinstance(state, Sending) and board.tracked[job].resend:
            server = board.servers[state.prompt.server]
            if message := server.inputs.refusal(files):
                lost = lose(Attempt(job, state, at, server.rules), Why.INPUT_REFUSED, message, burns=False)
                yield Outcome((replace(lost, final=False),))
        elif isinstance(state, Waiting):
            named = [server for server in board.servers.values() if server.named and not board.is_out(server, now)]
            messages = [server.inputs.refusal(files) for server in named]
            if messages and all(messages):
                yield _refused(board, job, named[0], messages[0], at)


def _refused(board: Board, job: str, server: Server, message: str, at: float) -> Outcome:
    """Fail a job for a POST that was never made: no file of it gets to any server."""
    attempt = board.next_attempt(job)
    prompt, prefix = prompt_id(board.batch, job, attempt), file_prefix(board.batch, job, attempt)
    claim = Claimed(job, attempt, at, prompt, prefix, server.name, "")
    state = Sending(board.states[job].past, Prompt(attempt, prompt, prefix, server.name, claimed=True))
    return Outcome((claim, lose(Attempt(job, state, at, server.rules), Why.INPUT_REFUSED, message)))
