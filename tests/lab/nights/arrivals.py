"""Which POSTs to one server were on their way for longer than anybody waits, and may meet their own repetition."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.lab.clock import VirtualLoop

_WITHIN = 60.0
"""A POST that is accepted later than this after it was sent is late."""
_AT_MOST = 600.0
"""No POST is on its way for longer: what was not accepted by then never will be."""


class Arrivals:
    """When POSTs of each prefix were sent, and when they were accepted."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._sent: defaultdict[str, list[float]] = defaultdict(list)
        self._taken: defaultdict[str, list[float]] = defaultdict(list)
        self._late: set[str] = set()
        self._strays: set[str] = set()

    def send(self, prefix: str) -> None:
        """Note that a POST leaves the runner."""
        self._sent[prefix].append(self._loop.now)

    def take(self, prefix: str) -> None:
        """Note that one is accepted; one of them is late if more arrive of late than were sent of late."""
        self._taken[prefix].append(self._loop.now)
        was_sent = len(self._taken[prefix]) <= len(self._sent[prefix])
        if was_sent and self._missing(prefix, _WITHIN) < 0:
            self._late.add(prefix)

    def forget(self) -> None:
        """Note that nothing is left that knows of what is on its way: its sender died, and the ledger is lost."""
        self._strays.update(prefix for prefix in list(self._sent) if self._missing(prefix, _AT_MOST) > 0)

    def is_stray(self, prefix: str) -> bool:
        """Tell whether one outlived everybody who knew of it."""
        return prefix in self._strays

    def is_late(self, prefix: str) -> bool:
        """Tell whether one was ever late."""
        return prefix in self._late or prefix in self._strays

    def _missing(self, prefix: str, seconds: float) -> int:
        """Return how many more were sent than accepted in the last seconds."""
        since = self._loop.now - seconds
        return sum(at > since for at in self._sent[prefix]) - sum(at > since for at in self._taken[prefix])
