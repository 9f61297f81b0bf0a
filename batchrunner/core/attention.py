"""Which servers a turn has to visit: those that something happened to, and those whose time has come.

With a thousand servers nothing may cost what all of them cost. Whatever changes a server touches it; the turn visits
the touched ones, and files each away until the next moment at which time alone can make a difference.
"""

from __future__ import annotations

from heapq import heappop, heappush


class Attention:
    """Servers by name. Touching costs O(1), filing away O(log n)."""

    def __init__(self) -> None:
        self._touched: dict[str, None] = {}
        self._heap: list[tuple[float, str]] = []
        self._due: dict[str, float] = {}

    def touch(self, name: str) -> None:
        """Have a server visited in the next turn."""
        self._touched[name] = None

    def file_away(self, name: str, due: float | None) -> None:
        """Visit a server again when it is touched, at `due` at the latest."""
        self._touched.pop(name, None)
        if due is None:
            self._due.pop(name, None)
        elif self._due.get(name) != due:
            self._due[name] = due
            heappush(self._heap, (due, name))

    def call_up(self, now: float) -> None:
        """Touch every server whose time has come."""
        while (due := self.next_at()) is not None and due <= now:
            _, name = heappop(self._heap)
            del self._due[name]
            self.touch(name)

    def names(self) -> list[str]:
        """Return the servers to visit, in the order in which they were touched."""
        return list(self._touched)

    def next_at(self) -> float | None:
        """Return when the next server is due that is not touched."""
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None
