"""Adoption: what a server holds of this batch that the ledger does not know.

The ledger may be fresh (its file was lost, another machine, another folder) or older than what happened since. What
carries our prefix and renders what its job renders is ours, whoever sent it. Another workflow under our prefix
(somebody opened our video in ComfyUI, changed the text and queued it) is left alone; its attempt number is not used.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeGuard

from batchrunner.core.actions import Ended, Entry, Row
from batchrunner.core.attempts import Attempt, classify, lose, misses_input
from batchrunner.core.facts import Accepted, Why
from batchrunner.core.job import parse_prefix, prompt_id
from batchrunner.core.lifecycle import Fetching, Prompt, Queued, Sending, Waiting
from batchrunner.core.notes import AttemptSeen, Remove

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchrunner.core.actions import PollResult
    from batchrunner.core.board import Board
    from batchrunner.core.facts import Fact
    from batchrunner.core.lifecycle import State
    from batchrunner.core.notes import Moment, Note
    from batchrunner.core.server import Server


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A prompt of ours on a server that the ledger does not know."""

    attempt: int
    prompt: str
    prefix: str
    found: Row | Entry

    def worth(self) -> tuple[bool, int, int]:
        """Rank what lives or is rendered by attempt, then by how much is paid for; what failed comes last.

        A later attempt exists only because every earlier one was lost, whatever the history still says of it.
        """
        if isinstance(self.found, Row):
            return True, self.attempt, 1 + self.found.running
        return self.found.ended is Ended.SUCCESS, self.attempt, 3


def adopt(board: Board, server: Server, result: PollResult, moment: Moment) -> tuple[list[Fact], list[Note]]:
    """Return the adoption of everything of ours that the ledger does not know, one prompt a job."""
    facts: list[Fact] = []
    notes: list[Note] = []
    for job, carrying in sorted(_candidates(board, result).items()):
        highest = max(board.seen.get(job, 0), *(one.attempt for one in carrying))
        notes.append(AttemptSeen(job, highest))
        state = board.states.get(job)
        if state is None:
            continue
        found = [one for one in carrying if board.is_own(job, one.found.digest)]
        best = max(_eligible(board, job, found), key=_Candidate.worth, default=None)
        if best and _is_superseded(state, best):
            message = f"attempt {best.attempt} of it was found, so this one had been given up"
            facts.append(lose(Attempt(job, state, moment.at, server.rules), Why.FORGOTTEN, message, burns=False))
        elif best and not isinstance(state, Waiting):
            best = None
        if best:
            facts += _take_in(board, server, result, _Finding(job, highest, best, moment.at))
        notes += _duplicates(board, server, job, found, best)
    return facts, notes


def _is_superseded(state: State, best: _Candidate) -> TypeGuard[Queued | Fetching]:
    """Whether what was adopted, from another server for one, is older than what this one holds."""
    if not isinstance(state, Queued | Fetching) or state.prompt.claimed:
        return False
    return best.worth()[0] and best.attempt > state.prompt.attempt


def _candidates(board: Board, result: PollResult) -> dict[str, list[_Candidate]]:
    found: dict[str, list[_Candidate]] = {}
    both: list[Row | Entry] = [*result.queue, *result.recent]
    for one in both:
        for prefix in dict.fromkeys(one.prefixes):
            if match := parse_prefix(board.batch, prefix):
                job, attempt = match
                found.setdefault(job, []).append(_Candidate(attempt, one.prompt, prefix, one))
    return found


def _eligible(board: Board, job: str, found: list[_Candidate]) -> Iterator[_Candidate]:
    """Yield what may be adopted: what lives, and what ended without this ledger having heard of it.

    What was rendered after all on a server that was given up is taken over too, as long as nobody else has begun it.
    A job whose video is saved already needs none but the history of that attempt, which may know of more files.
    """
    local = board.local_files[job][0] if job in board.local_files else None
    state = board.states[job]
    for one in found:
        if local is not None:
            eligible = isinstance(one.found, Entry) and one.attempt == local
        elif isinstance(one.found, Entry) and isinstance(state, Waiting) and one.attempt == state.past.given_up:
            eligible = one.found.ended is Ended.SUCCESS
        else:
            eligible = isinstance(one.found, Row) or one.attempt > state.past.highest
        if eligible:
            yield one


@dataclass(frozen=True, slots=True)
class _Finding:
    """The prompt of a job that is taken over."""

    job: str
    highest: int
    """The highest attempt number of the job seen anywhere."""
    candidate: _Candidate
    at: float
    """Wall clock, for facts."""


def _take_in(board: Board, server: Server, result: PollResult, one: _Finding) -> Iterator[Fact]:
    found = one.candidate
    yield Accepted(one.job, found.attempt, one.at, found.prompt, found.prefix, server.name, one.highest)
    if isinstance(found.found, Entry):
        history = board.states[one.job].past
        history = replace(history, highest=max(history.highest, one.highest))
        prompt = Prompt(found.attempt, found.prompt, found.prefix, server.name, claimed=False)
        attempt = Attempt(one.job, Queued(history, prompt), one.at, server.rules, board.nodes)
        entry, lost = found.found, misses_input(board, one.job, found.found)
        yield classify(attempt, entry, result.date, input_lost=lost)


def _duplicates(
    board: Board, server: Server, job: str, found: list[_Candidate], adopted: _Candidate | None
) -> Iterator[Note]:
    """Yield the deletion of pending prompts of ours whose job another prompt or a saved file already serves.

    Its id tells that it is ours: a prefix alone may be somebody else's copy of our workflow.
    """
    state = board.states[job]
    for one in found:
        ours = one.prompt == prompt_id(board.batch, job, one.attempt)
        if not ours or not isinstance(one.found, Row) or one.found.running or one is adopted:
            continue
        serves = isinstance(state, Sending | Queued) and one.prefix == state.prompt.prefix
        if not serves and one.prompt not in server.removed:
            yield Remove(server.name, frozenset({one.prompt}))
