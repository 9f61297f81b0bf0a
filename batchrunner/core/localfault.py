"""Trouble of this machine's own: no new prompt while it lasts, exit 5 when it lasts too long."""

from __future__ import annotations

from dataclasses import dataclass

_FORGOTTEN = 120.0
"""Seconds without new trouble after which the old one is over; twice the longest pause between two tries."""


@dataclass(slots=True)
class LocalFault:
    """What those who meet it tell of one such trouble. All times in seconds on the loop's clock."""

    failed_at: float | None = None
    """When the trouble began that still lasts."""
    again_at: float = 0.0
    """When somebody met it last."""
    says: str = ""

    def failed(self, says: str, now: float) -> None:
        """Take in that somebody met it."""
        self.failed_at = now if self.failed_at is None else self.failed_at
        self.again_at, self.says = now, says

    def worked(self) -> None:
        """Take in that a try went well, or that there is nothing left to try it with."""
        self.failed_at = None

    def calms_at(self) -> float | None:
        """Return when the trouble is over if nobody meets it again."""
        return None if self.failed_at is None else self.again_at + _FORGOTTEN

    def is_out(self, grace: float) -> bool:
        """Whether it was met for `grace`: only another try can tell that it lasts."""
        return self.failed_at is not None and self.again_at - self.failed_at >= grace
