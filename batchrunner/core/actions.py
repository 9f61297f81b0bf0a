"""Actions: what should be started now. One action is one attempt and ends in at most one final fact."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from batchrunner.core.facts import File, Opened


@dataclass(frozen=True, slots=True)
class Poll:
    """Read one server's queue, then the history of `ids`, then (if `recent`) its last entries."""

    server: str
    ids: tuple[str, ...] = ()
    recent: int = 0


@dataclass(frozen=True, slots=True)
class Submit:
    """POST one attempt."""

    job: str
    attempt: int
    prompt: str
    prefix: str
    server: str
    again: bool = False
    """Same id, same body as before: its claim is written already."""


@dataclass(frozen=True, slots=True)
class Download:
    """Bring one file home, or prove that it can't be."""

    job: str
    attempt: int
    prefix: str
    server: str
    file: File
    opened: Opened | None = None
    """Where an earlier attempt got to."""
    probe: bool = False
    """The name is a guess: only a whole file that carries our prefix counts."""
    index: int = 0
    """Which of the prompt's files this is, from 0: part of the local name where there are several."""


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Delete pending prompts of ours by id."""

    server: str
    prompts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Stop a running prompt of ours, by id."""

    server: str
    prompt: str


Action: TypeAlias = Poll | Submit | Download | Withdraw | Interrupt
