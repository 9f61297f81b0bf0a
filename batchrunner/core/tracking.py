"""The live record of one open prompt: what is known of it beyond its facts, from its claim until it is over."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Absence:
    """A prompt of ours in neither queue nor history, poll after poll."""

    count: int
    since: float
    """Start of the first poll that missed it."""


class Guess(Enum):
    """Whether the file that a missing prompt should have made, under its predictable name, was tried."""

    UNTRIED = auto()
    DUE = auto()
    FAILED = auto()
    """It is not there."""


@dataclass(frozen=True, slots=True)
class Tracked:
    """One open prompt. All times are seconds on the loop's clock."""

    sent_at: float | None = None
    """End of its last POST attempt; None if another run sent it."""
    absence: Absence | None = None
    seen_running: bool = False
    """Seen running, or taken when nothing was in front of it."""
    guess: Guess = Guess.UNTRIED
    guessed: int = 0
    """How many of its possible names were tried."""
    resend: bool = False
    """The same POST is due again: it never arrived."""
    withdrawn: bool = False
    """Deleted from the queue because we are leaving."""
    number: float | None = None
    """Its number in the queue, if its only POST was answered: then it is there once, and runs in this order."""
    interrupted_at: float | None = None
    """When its server was told to interrupt it, because it ran far too long."""
    not_found: Mapping[str, float] = field(default_factory=dict)
    """When a GET did not find a file: proof that it is gone only once a later poll was good."""
    denied: Mapping[str, float] = field(default_factory=dict)
    """When the download of a file was first refused: if polls are not, it is the file's failure."""

    def missed(self, began: float) -> Absence:
        """Return its absence with one more good poll counted, which began at `began`."""
        return Absence(self.absence.count + 1, self.absence.since) if self.absence else Absence(1, began)

    def found(self) -> Tracked:
        """Forget what we were unsure of: the prompt was found, is posted again, or is over."""
        return replace(self, absence=None, guess=Guess.UNTRIED, guessed=0, resend=False)
