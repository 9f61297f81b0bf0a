"""What a server's word about one attempt means for its job: the facts that follow from a history entry or a refusal.

Whether a loss is final is decided here, once, and written into the fact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchrunner.core.actions import Ended
from batchrunner.core.facts import Accepted, Lost, Rendered, Why
from batchrunner.core.health import BurnedLoss
from batchrunner.core.lifecycle import Fetching, Queued, Sending
from batchrunner.core.suffixes import VIDEOS, suffix

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from batchrunner.core.actions import Download, Entry, NodeError, Submit
    from batchrunner.core.board import Board
    from batchrunner.core.facts import File
    from batchrunner.core.lifecycle import Open, Prompt
    from batchrunner.core.settings import Rules

_FREE = frozenset({Why.INTERRUPTED, Why.WITHDRAWN, Why.DENIED, Why.INPUT_LOST, Why.SERVER_GONE})
_HOPELESS = frozenset({Why.REFUSED, Why.INPUT_REFUSED})
"""Losses after which no further attempt can help; nothing was rendered."""
MOST_FILES = 1_000
"""Files of one prompt that are downloaded: a prompt with more is a mistake, or an attack on the disk."""
_MAY_PASS = frozenset({Why.FORGOTTEN, Why.STUCK, Why.DENIED})
"""Losses that waiting, or a restart, may put an end to."""
_OUT_OF_MEMORY = "OutOfMemory"
_NOT_FOUND = "FileNotFoundError"


@dataclass(frozen=True, slots=True)
class Attempt:
    """One attempt, and what is needed to say how it ended."""

    job: str
    state: Open
    at: float
    """Wall clock, for the fact."""
    rules: Rules
    nodes: Sequence[str] = ()
    """The ids of the workflow's nodes, in its order."""


def attempt_of(board: Board, action: Submit | Download, at: float) -> Attempt | None:
    """Return the attempt that `action` was for, None if it is over; `at` is the wall clock, for facts."""
    state = board.states[action.job]
    if not isinstance(state, Sending | Queued | Fetching) or state.prompt.attempt != action.attempt:
        return None
    return Attempt(action.job, state, at, board.rules_of(action.server))


def lose(case: Attempt, why: Why, message: str, *, burns: bool | None = None, error: str = "") -> Lost:
    """Return the loss of this attempt, final if no further attempt can help or none is left.

    `burns` is True unless somebody else is to blame; `error` is the signature of an execution error, and the same
    one twice running is final: it is not the weather, it is the workflow.
    """
    past = case.state.past
    burns = why not in _FREE if burns is None else burns
    repeated = bool(error) and error == past.error
    spent = burns and past.spent >= case.rules.attempts
    final = why in _HOPELESS or repeated or spent
    return Lost(case.job, case.state.prompt.attempt, case.at, why, message, burns=burns, final=final, error=error)


def accept(job: str, prompt: Prompt, prompt_id: str, at: float) -> Accepted:
    """Return that the server has this attempt, under the id it goes by there."""
    return Accepted(job, prompt.attempt, at, prompt_id, prompt.prefix, prompt.server)


def classify(
    case: Attempt, entry: Entry, date: float | None, *, excused: bool = False, input_lost: bool = False
) -> Rendered | Lost:
    """Return what a history entry says of its job (docs/comfyui.md §6: by its last message, not its status).

    `date` is the server's clock at the poll, for entries that carry no time of their own. `excused`: an error is the
    server's and costs the job nothing. `input_lost`: nor does this one (`misses_input`).
    """
    if entry.ended is Ended.SUCCESS:
        return _success(case, entry, date)
    if entry.ended is Ended.INTERRUPTED:
        return lose(case, Why.INTERRUPTED, "interrupted on the server, not by this batch")
    message = f"{entry.node or 'a node'} raised {entry.exception or 'an error'}: {entry.message}"
    if input_lost:
        return lose(case, Why.INPUT_LOST, message)
    error = "" if is_memory(entry) or excused else f"{entry.node}: {entry.exception}"
    return lose(case, Why.ERROR, message, error=error, burns=not excused)


def misses_input(board: Board, job: str, entry: Entry) -> bool:
    """Whether a node did not find an input file of ours, which was deleted while its prompt waited.

    The node need not be the loader: one that takes a video opens the file itself (docs/comfyui.md §22).
    """
    return _NOT_FOUND in entry.exception and board.misses_input(job, entry.message)


def is_memory(entry: Entry) -> bool:
    """Whether the graphics card ran out of memory: that may pass (docs/comfyui.md §18)."""
    return _OUT_OF_MEMORY in entry.exception


def burned_loss(lost: Lost) -> BurnedLoss | None:
    """Return what a loss says of its server: that it rendered in vain, and how; None if it says nothing."""
    if lost.why is Why.ERROR:
        # A node's class may hold a colon; what it raised does not.
        node, _, raised = lost.message.partition(" raised ")
        what = raised.partition(":")[0]
        memory = _OUT_OF_MEMORY in what
        kind = "out of memory" if memory else f"{node} raised {what}"
        return BurnedLoss(lost.job, kind, lost.message, may_pass=memory)
    if lost.why is Why.DENIED or (lost.burns and lost.why not in _HOPELESS):
        return BurnedLoss(lost.job, lost.why.value, lost.message, may_pass=lost.why in _MAY_PASS)
    return None


def refusal(node_errors: tuple[NodeError, ...], wanted: frozenset[str] | None) -> str:
    """Return why a 200 with node errors is a refusal of ours, or "" if only outputs that nobody wants were left out."""
    for error in node_errors:
        if wanted is None or not error.outputs or not wanted.isdisjoint(error.outputs):
            return f"{error.node}, input {error.input or '?'}: {error.message}"
    return ""


def _success(case: Attempt, entry: Entry, date: float | None) -> Rendered | Lost:
    ours = dict.fromkeys(file for file in entry.files if _is_ours(file, case.state.prompt))
    files = tuple(_in_order(ours, case.nodes))
    if not files:
        return lose(case, Why.WRONG_CONTENT, _without_files(entry))
    finished = entry.finished if entry.finished is not None else date
    deadline = None if case.rules.ttl is None or finished is None else finished + case.rules.ttl
    left_out = max(0, len(files) - MOST_FILES)
    files = files[:MOST_FILES]
    return Rendered(case.job, case.state.prompt.attempt, case.at, files, deadline, _seconds(entry), left_out=left_out)


def _in_order(files: Iterable[File], nodes: Sequence[str]) -> list[File]:
    """Return videos first, then by the workflow's nodes: servers list outputs as they please (docs/comfyui.md §11)."""
    places = {node: place for place, node in enumerate(nodes)}
    return sorted(files, key=lambda file: (suffix(file.name) not in VIDEOS, places.get(file.node, len(nodes))))


def _without_files(entry: Entry) -> str:
    """Say what a success left us with, if no file of ours."""
    if not entry.files:
        return "rendered, but its saving nodes left no file of type output to download"
    named = ", ".join(file.key for file in entry.files[:3])
    return f"rendered, but with files of another prompt: {named}"


def _seconds(entry: Entry) -> float | None:
    """Return how long it rendered; None if nobody says, or if all but the saving came out of the server's cache."""
    if entry.began is None or entry.finished is None or entry.from_cache:
        return None
    return max(0.0, entry.finished - entry.began)


def _is_ours(file: File, prompt: Prompt) -> bool:
    """Tell by the prefix: it is unique per attempt; the tenth begins like the first, but goes on with a digit."""
    rest = file.name.removeprefix(prompt.prefix)
    return rest != file.name and not rest[:1].isdigit()
