"""The life of a job: seven states, nine facts, one table.

Only facts change a job, and only `advance` applies them. It knows no clock and no server: what it is given is what
the ledger holds, so that resuming a batch is a fold of its facts. Three rules keep the table small:

* A fact of an abandoned attempt is late news: it changes nothing, whatever it says. (But of a job that nobody has, a
  poll may find any attempt alive: that is adoption.)
* A fact heard twice changes nothing.
* A fact that can't be true is a `Contradiction`: loud, and the state stays as it was.

Attempts are counted when they are claimed, not when they end, so that a job that takes the whole machine down with
it is not tried for ever. An attempt that was lost through nobody's fault is given back. Attempt *numbers* only grow:
a number is part of a prompt's id and of its file prefix, and neither may ever mean two things.

Whether a loss is final is decided when it is noted (`attempts.lose`) and kept in the fact: changing `attempts` in a
manifest must not rewrite what happened.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from batchrunner.core.facts import (
    Accepted,
    Claimed,
    DownloadFailed,
    Dropped,
    Fact,
    File,
    Lost,
    Opened,
    Rendered,
    Reopened,
    Saved,
    Why,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping


class Contradiction(Exception):  # noqa: N818 - it is named for what it is, not for being an error
    """A fact arrived that the state of its job says can't happen."""


@dataclass(frozen=True, slots=True)
class AttemptHistory:
    """What a job carries from attempt to attempt."""

    highest: int = 0
    """The highest attempt number ever used; the next is one more."""
    spent: int = 0
    """Attempts that count, since the last Reopened."""
    error: str = ""
    """The last execution error that had a signature."""
    given_up: int = 0
    """The last attempt that was given up with its server, which may still have rendered it; 0 if none."""
    stuck_on: str = ""
    """The server on which an attempt got stuck; empty if none did."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One attempt on a server."""

    attempt: int
    id: str
    prefix: str
    server: str
    claimed: bool
    """Posted by this ledger, not adopted: only then it counts."""


@dataclass(frozen=True, slots=True)
class Item:
    """One file that is being downloaded."""

    file: File
    opened: Opened | None = None
    saved: Saved | None = None
    broken: int = 0
    """Download attempts that ended without it."""
    whole: str = ""
    """The ETag under which it came whole and was no video; the same twice is proof."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Nobody has it; it may be claimed."""

    past: AttemptHistory = AttemptHistory()


@dataclass(frozen=True, slots=True)
class Sending:
    """Claimed: the server may have it."""

    past: AttemptHistory
    prompt: Prompt


@dataclass(frozen=True, slots=True)
class Queued:
    """The server has it, pending or running."""

    past: AttemptHistory
    prompt: Prompt


@dataclass(frozen=True, slots=True)
class Fetching:
    """Rendered; its files are to be downloaded."""

    past: AttemptHistory
    prompt: Prompt
    items: tuple[Item, ...]
    deadline: float | None
    """Server's clock, seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Done:
    """Every file is saved."""

    past: AttemptHistory
    prompt: Prompt
    files: tuple[Saved, ...]


@dataclass(frozen=True, slots=True)
class Failed:
    """It will not be rendered, and this is why."""

    past: AttemptHistory
    why: Why
    message: str


@dataclass(frozen=True, slots=True)
class Unwanted:
    """Out of the batch: cancelled, or no longer in the manifest."""

    past: AttemptHistory


State: TypeAlias = Waiting | Sending | Queued | Fetching | Done | Failed | Unwanted
Open: TypeAlias = Sending | Queued | Fetching
STATE_NAMES: Mapping[type[State], str] = {
    kind: kind.__name__.lower() for kind in (Waiting, Sending, Queued, Fetching, Done, Failed)
}
"""What people and programs call the six states of a wanted job, in this order: `waiting`, `sending`, …"""


def advance(state: State, fact: Fact) -> State:  # noqa: C901, PLR0911 - it is a table: a case a row
    """Return the state that follows; the whole life of a job is this table.

    Raises Contradiction if `fact` can't be true of a job in `state`.
    """
    match state, fact:
        case ((Waiting() | Done() | Failed() | Unwanted()), Reopened()):
            return Waiting(AttemptHistory(state.past.highest))
        case ((Waiting() | Failed() | Unwanted()), Dropped()):
            return Unwanted(state.past)
        case Waiting(), Claimed() if fact.attempt > state.past.highest:
            return Sending(_claimed(state.past, fact), _prompt(fact, claimed=True))
        case Waiting(), Accepted():
            return Queued(_seen(state.past, fact), _prompt(fact, claimed=False))
        case _ if _is_late(state, fact):
            return state
        case ((Sending() | Queued() | Fetching()), _) if fact.attempt > state.prompt.attempt:
            raise Contradiction(f"{fact} of an attempt nobody claimed, of a job in {state}")
        case Sending(), Accepted():
            return Queued(_seen(state.past, fact), replace(state.prompt, id=fact.prompt))
        case ((Sending() | Queued()), Rendered()) if fact.files:
            return Fetching(state.past, state.prompt, tuple(map(Item, fact.files)), fact.deadline)
        case ((Queued() | Fetching()), Accepted()):
            return state
        case Fetching(), Rendered():
            return state
        case Fetching(), (Opened() | Saved() | DownloadFailed()):
            return _brought(state, fact)
        case ((Sending() | Queued() | Fetching()), Lost()):
            return _lost(state, fact)
    raise Contradiction(f"{fact} of a job in {state}")


def _is_late(state: State, fact: Fact) -> bool:
    """Whether `fact` is news of an attempt that is no longer the one that counts."""
    if isinstance(fact, Claimed | Reopened | Dropped):
        return False
    if isinstance(state, Sending | Queued | Fetching):
        return fact.attempt < state.prompt.attempt
    return fact.attempt <= state.past.highest


def _claimed(past: AttemptHistory, fact: Claimed) -> AttemptHistory:
    return replace(past, highest=fact.attempt, spent=past.spent + 1)


def _seen(past: AttemptHistory, fact: Accepted) -> AttemptHistory:
    return replace(past, highest=max(past.highest, fact.highest, fact.attempt))


def _prompt(fact: Claimed | Accepted, *, claimed: bool) -> Prompt:
    return Prompt(fact.attempt, fact.prompt, fact.prefix, fact.server, claimed)


def _brought(state: Fetching, fact: Opened | Saved | DownloadFailed) -> Fetching | Done:
    """Apply the news of one download to its file."""
    if fact.file not in {item.file.key for item in state.items}:
        raise Contradiction(f"{fact} of no file in {state}")
    items = tuple(_item(item, fact) if item.file.key == fact.file else item for item in state.items)
    saved = tuple(item.saved for item in items if item.saved)
    if len(saved) == len(items):
        return Done(state.past, state.prompt, saved)
    return replace(state, items=items)


def _item(item: Item, fact: Opened | Saved | DownloadFailed) -> Item:
    if item.saved:
        return item
    if isinstance(fact, Opened):
        return replace(item, opened=fact)
    if isinstance(fact, Saved):
        return replace(item, saved=fact)
    return replace(item, broken=item.broken + 1, whole=fact.whole or item.whole)


def _lost(state: Open, fact: Lost) -> Waiting | Failed:
    """Give back what nobody is to blame for; the fact itself says whether another attempt may help."""
    past = state.past
    given_back = state.prompt.claimed and not fact.burns
    past = replace(past, spent=past.spent - given_back, error=fact.error or past.error)
    if fact.why is Why.SERVER_GONE:
        past = replace(past, given_up=state.prompt.attempt)
    elif past.given_up == state.prompt.attempt:
        past = replace(past, given_up=0)  # it was found again, and is over now
    if fact.why is Why.STUCK:
        past = replace(past, stuck_on=state.prompt.server)
    return Failed(past, fact.why, fact.message) if fact.final else Waiting(past)


# -- States from facts alone: what resuming, `status` and every report are made of.


def folded(jobs: Iterable[str], facts: Iterable[Fact]) -> dict[str, State]:
    """Return the state of every job after `facts`, in their order; raises Contradiction if they can't be true."""
    states: dict[str, State] = dict.fromkeys(jobs, Waiting())
    for fact in facts:
        states[fact.job] = advance(states.get(fact.job, Waiting()), fact)
    return states
