"""`hours`: the times of day in which prompts may be submitted.

Which moments they mean, in a zone with summer time, is for the shell to find out (`batchrunner/hours.py`); here it is
seconds. Outside the hours a run submits nothing, downloads what is rendered, and waits; nothing is submitted that
can't be downloaded before they end. The rendering machine may be off meanwhile: `patience` with a server that holds
nothing of ours begins anew when they begin.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


@dataclass(frozen=True, slots=True)
class Window:
    """One time in which prompts may be submitted, in seconds since the epoch."""

    opens: float
    closes: float

    @property
    def length(self) -> float:
        """In seconds."""
        return self.closes - self.opens


class Hours:
    """The hours of a run, as of the last tick. `windows` returns the window that is open at a moment, else the next."""

    def __init__(self, windows: Callable[[float], Window]) -> None:
        self._windows = windows
        self._asked_at = inf
        self.window = Window(inf, -inf)
        self.opens, self.closes = -inf, inf
        """The window on the loop's clock, which stands still while this machine sleeps."""
        self.closed = False
        """Whether nothing may be submitted now."""

    def tick(self, now: float, wall: float) -> bool:
        """Bring it up to date; return whether the hours have just begun. `wall` is the wall clock at `now`.

        The window is asked for anew where it is over, and where the wall clock was turned back.
        """
        if not self._asked_at <= wall < self.window.closes:
            self.window, self._asked_at = self._windows(wall), wall
        before, self.closed = self.closed, wall < self.window.opens
        self.opens, self.closes = self.window.opens - wall + now, self.window.closes - wall + now
        return before and not self.closed
