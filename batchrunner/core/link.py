"""How fast the files of a server are downloaded. Times are seconds on the loop's clock, sizes are bytes.

The speed is that of all downloads of a server together, over the time in which at least one was under way. Servers that
share one line each get their share of it, and that is what is measured.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import exp, inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_REMEMBERED = 120.0
"""Seconds of downloading after which a measurement counts a third."""
_LEAST = 5.0
"""Seconds of downloading before which nothing is known."""


@dataclass(frozen=True, slots=True)
class Transfers:
    """What the shell has counted of the downloads of this run."""

    received: Mapping[str, int] = field(default_factory=dict)
    """Bytes that came from each server since the run began."""
    here: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """Of each file under way, by job and `File.key`: how many of its bytes are here."""


@dataclass(frozen=True, slots=True)
class Link:
    """The speed of downloads from one server, and whether prompts are held back because of it."""

    received: int = 0
    at: float = 0.0
    """The last measurement, or the start of the only download."""
    came_at: float = 0.0
    """When the last byte was seen to have come."""
    moved: float = 0.0
    busy: float = 0.0
    """Bytes, and the seconds they took: the older, the less they count."""
    held_since: float | None = None
    """Since when a prompt is held back without a break; None if none is."""
    freed_at: float = 0.0
    """When that ended last."""
    slow_since: float | None = None
    """Since when prompts are held back time and again; None if they are not."""

    def began(self, now: float) -> Link:
        """Begin to count time: a download began and no other is under way."""
        return replace(self, at=now)

    def measured(self, received: int, now: float, *, counts: bool) -> Link:
        """Take in that `received` bytes came so far, with a download under way since the last measurement.

        `counts`: the server answers. How long an outage lasts says nothing of the speed.
        """
        passed = now - self.at if counts else 0.0
        kept = exp(-passed / _REMEMBERED)
        weight = _REMEMBERED * (1 - kept) / passed if passed else 1.0  # what came early counts less, in one step too
        moved = self.moved * kept + (received - self.received) * weight
        busy = self.busy * kept + passed * weight
        came_at = now if received > self.received else self.came_at
        return replace(self, received=received, at=now, came_at=came_at, moved=moved, busy=busy)

    def speed(self) -> float | None:
        """Return bytes per second; None if too little came to know."""
        return self.moved / self.busy if self.busy >= _LEAST else None

    def gives_up_at(self, ttl: float) -> float:
        """Return when a prompt is no longer held back, for nothing has come since: what is there may never come."""
        return inf if self.held_since is None else max(self.held_since, self.came_at) + ttl

    def turned(self, now: float, ttl: float, *, held: bool, idle: bool) -> Link:
        """Note whether a prompt is held back, and whether no file is to be downloaded (`idle`).

        Where downloads are too slow, prompts are held back time and again. That is over when none was for half of `ttl`
        and everything is saved.
        """
        if held:
            since = now if self.slow_since is None else self.slow_since
            return self if self.held_since is not None else replace(self, held_since=now, slow_since=since)
        if self.held_since is not None:
            return replace(self, held_since=None, freed_at=now)
        is_over = self.slow_since is not None and idle and now >= self.freed_at + ttl / 2
        return replace(self, slow_since=None) if is_over else self
