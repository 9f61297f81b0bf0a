"""The way to one server: how long bytes take and what goes wrong with them. Every number comes from a seed."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random


_SMALL = 4096
"""Bytes that do not wait behind the downloads of other connections: a router serves those in turn."""


class How(StrEnum):
    """What a fault does to a stream."""

    RESET = "reset"
    """Both ends see a reset."""
    TRUNCATE = "truncate"
    """The receiver sees a clean end, the sender a reset."""
    STALL = "stall"
    """Nothing more comes for `seconds`; then everything does."""


@dataclass(frozen=True, slots=True)
class StreamFault:
    """Trouble for the next stream that carries more than `after` bytes in one go, in one direction."""

    how: How
    after: int = 0
    """Bytes since the other side last spoke: 20,000 is in the middle of a download, 0 is the next byte."""
    to_server: bool = False
    seconds: float = inf
    """How long a stall lasts."""


class Link:
    """The way to one server; times are loop times in seconds."""

    def __init__(self, rng: Random) -> None:
        self.latency = (0.0005, 0.01)
        """Seconds one way, from and to, even."""
        self.rate: float | None = None
        """Bytes per second and direction, shared by all connections; None is no limit. A few kB wait for nobody."""
        self.refuses_until = 0.0
        self.silent_until = 0.0
        """Until then nothing arrives and nobody is told: a black hole."""
        self._rng = rng
        self._free = {True: 0.0, False: 0.0}
        self._armed: list[StreamFault] = []

    def arm(self, fault: StreamFault) -> None:
        """Let `fault` strike the next stream it fits."""
        self._armed.append(fault)

    def strike(self, burst: int, size: int, *, to_server: bool) -> StreamFault | None:
        """Return the fault that strikes `size` more bytes after a burst of `burst`, and disarm it."""
        for fault in self._armed:
            if fault.to_server == to_server and fault.after < burst + size:
                self._armed.remove(fault)
                return fault
        return None

    def arrival(self, now: float, size: int, *, to_server: bool) -> float:
        """Return when `size` bytes sent now arrive."""
        start = max(now, self.silent_until)
        if self.rate is not None and size > _SMALL:
            start = max(start, self._free[to_server]) + size / self.rate
            self._free[to_server] = start
        return start + self._rng.uniform(*self.latency)
