"""Which POSTs to one server were on their way for longer than anybody waits, and may meet their own repetition."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchrunner.sim.clock import VirtualLoop

_WITHIN = 60.0
"""A POST that is accepted later than this after it was sent is late."""


class Arrivals:
    """When POSTs of each prefix were sent, and when they were accepted."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._sent: defaultdict[str, list[float]] = defaultdict(list)
        self._taken: defaultdict[str, list[float]] = defaultdict(list)
        self._late: set[str] = set()

    def send(self, prefix: str) -> None:
        """Note that a POST leaves the runner."""
        self._sent[prefix].append(self._loop.now)

    def take(self, prefix: str) -> None:
        """Note that one is accepted; one of them is late if more arrive of late than were sent of late."""
        self._taken[prefix].append(self._loop.now)
        was_sent = len(self._taken[prefix]) <= len(self._sent[prefix])
        if was_sent and self._of_late(self._taken, prefix) > self._of_late(self._sent, prefix):
            self._late.add(prefix)

    def forget(self) -> None:
        """Take what is on its way for late: who sent it died, and nothing is left that knows of it."""
        for prefix in list(self._sent):
            if self._of_late(self._sent, prefix) > self._of_late(self._taken, prefix):
                self._late.add(prefix)

    def is_late(self, prefix: str) -> bool:
        """Tell whether one was ever late."""
        return prefix in self._late

    def _of_late(self, times: defaultdict[str, list[float]], prefix: str) -> int:
        since = self._loop.now - _WITHIN
        return sum(at > since for at in times[prefix])
