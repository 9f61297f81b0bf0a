"""One life of the runner as the checks see it: what it was told, what it heard from each server, and since when."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.lab.faults import Fault
    from tests.lab.nights.place import Place
    from tests.lab.process import Process

POSTS_WITHIN = 75.0
"""Seconds after its start within which a new batch posts its first prompt, if any server takes it."""
_HARMLESS = frozenset(
    {
        "foreign-jobs",
        "heavy-neighbours",
        "own-ids",
        "clear-history",
        "clear-queue",
        "interrupt",
        "out-of-memory",
        "clean-up",
        "no-output",
        "reset-film",
        "stall-film",
        "truncate-film",
        "replace-film",
        "bad-socket",
        "lazy-neighbour",
        "kill",
        "lose-state",
        "power-cut",
        "clock",
    }
)
"""Faults with which a server still takes prompts."""
_FORBIDS = frozenset({"unauthorised", "refuse-token", "page-403", "firewall", "no-output"})
"""With these a run may be stopped by the server (exit 3)."""
_MISLEADS = frozenset({"page-404", "gone-for-good"})
"""With these the address of a new batch may look wrong (exit 2)."""


@dataclass(slots=True)
class Life:
    """From the start of a runner to its end. `began` and `ended` are the loop's time, all else is the runner's own."""

    process: Process
    began: float
    named: frozenset[str]
    """The servers that it was started with."""
    new: bool
    """Its ledger was empty, and no server held anything of the batch."""
    ended: float | None = None
    posted_at: float | None = None
    """When its first POST left."""
    heard: dict[str, float] = field(default_factory=dict)
    """When the last good poll of each server ended."""
    without_file: list[str] = field(default_factory=list)
    """The job of every render that brought no file."""

    def waited(self, now: float) -> float:
        """Return for how long it has posted nothing since its start; `now` is its own time."""
        return (now if self.posted_at is None else self.posted_at) - self.began

    def silence(self, server: str, now: float) -> float:
        """Return for how long a server has given no good answer to a poll of this life."""
        return now - self.heard.get(server, self.began)


def takes_prompts(place: Place, life: Life) -> bool:
    """Tell whether a server took prompts all the time from the start of a life on, as far as its faults tell."""
    until = life.began + POSTS_WITHIN
    return place.url in life.named and not any(
        at <= until and not _is_harmless(fault) and (end >= life.began or not fault.lasts)
        for at, end, fault in place.injector.windows()
    )


def may_exit(
    code: int,
    life: Life,
    places: Iterable[Place],
    *,
    patience: float,
    now: float,
    empty: bool,
    fruitless: bool,
) -> bool:
    """Tell whether a life may end with this code, given what happened in it.

    `empty`: its ledger knows no prompt. `fruitless`: three different jobs were rendered in vain, and none ever well.
    """
    if code == 2:
        return empty and _any(places, _MISLEADS, life.began)
    if code == 3:
        return fruitless or now - life.began >= patience or _any(places, _FORBIDS, life.began)
    return code != 4


def _is_harmless(fault: Fault) -> bool:
    return fault.do in _HARMLESS or fault.only in ("history", "view")


def _any(places: Iterable[Place], kinds: frozenset[str], since: float) -> bool:
    """Tell whether a fault of these kinds was active anywhere since then."""
    return any(fault.do in kinds and end >= since for place in places for _, end, fault in place.injector.windows())
