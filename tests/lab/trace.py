"""The trace of a simulated run: a running hash, so that two runs can be compared, and its lines where asked for."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Trace:
    """Everything that happened, hashed as it happens; `lines` fills only after `keep`."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.lines: list[str] = []
        self._now = now
        self._hash = sha256()
        self._keeps = False

    def keep(self) -> None:
        """Collect the lines too, for a transcript."""
        self._keeps = True

    def note(self, who: str, *what: object) -> None:
        """Add one event; `what` must read the same in every run."""
        line = f"{self._now():.9f} {who} {' '.join(map(str, what))}"
        self._hash.update(line.encode() + b"\n")
        if self._keeps:
            self.lines.append(line)

    def digest(self) -> str:
        """Return the sha256 (hex) of everything so far."""
        return self._hash.hexdigest()
