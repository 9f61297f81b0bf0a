"""What a run settles before it asks anybody: jobs that came, jobs that went, and a memory that is gone for sure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchrunner.core.attempts import Attempt, lose
from batchrunner.core.facts import Accepted, Dropped, File, Rendered, Reopened, Saved, Why
from batchrunner.core.lifecycle import Fetching, Queued, Sending, Unwanted, Waiting
from batchrunner.core.server import OUR_DISK, SIM

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchrunner.core.board import Board
    from batchrunner.core.facts import Fact
    from batchrunner.core.lifecycle import Open


def startup_facts(board: Board, at: float) -> Iterator[Fact]:
    """Yield the facts that follow from the manifest alone, and from the end of the built-in ComfyUI's last run."""
    for job, state in list(board.states.items()):
        if isinstance(state, Unwanted) and job in board.positions:
            yield Reopened(job, state.past.highest, at)
        if isinstance(state, Waiting) and job not in board.positions:
            yield Dropped(job, state.past.highest, at, "no longer in the manifest")
    for job, held in board.open_on(SIM):
        case = Attempt(job, held, at, board.rules)
        yield lose(case, Why.WITHDRAWN, "the built-in ComfyUI ended with its run; it is rendered again")
    for job, taken in _cut_short(board):
        case = Attempt(job, taken, at, board.rules)
        yield lose(case, Why.FORGOTTEN, "the run ended while its file was taken in from our own disk", burns=False)


def _cut_short(board: Board) -> list[tuple[str, Open]]:
    """Return the jobs whose file on this disk was being taken in when the last run ended; it will be found once more.

    Three facts tell of such a file, and a kill may come between them.
    """
    held: list[tuple[str, Open]] = list(board.open_on(OUR_DISK))
    found = ((job, board.states[job]) for job in board.fetching_on(OUR_DISK))
    return held + [(job, state) for job, state in found if isinstance(state, Fetching)]


def import_local_files(board: Board, at: float) -> Iterator[Fact]:
    """Yield the adoption of every file found on this disk whose job no server can tell us about.

    They are taken in only after every server was surveyed: a server's history knows all the files of a prompt, our
    disk only those that made it. What is open is over if a later attempt is saved: it was given up for that one.
    """
    for job, (attempt, local_files) in sorted(board.local_files.items()):
        state = board.states.get(job)
        if job not in board.positions or not isinstance(state, Waiting | Sending | Queued | Fetching):
            continue
        if not isinstance(state, Waiting):
            if state.prompt.attempt >= attempt:
                continue
            message = f"attempt {attempt} of it is saved, so this one had been given up"
            yield lose(Attempt(job, state, at, board.rules), Why.FORGOTTEN, message, burns=False)
        highest = max(attempt, board.seen.get(job, 0))
        prefix = local_files[0].prefix
        yield Accepted(job, attempt, at, prefix, prefix, OUR_DISK, highest)
        yield Rendered(job, attempt, at, tuple(File(file.path) for file in local_files), None)
        for file in local_files:
            yield Saved(job, attempt, at, File(file.path).key, file.path, file.size, file.sha256)
