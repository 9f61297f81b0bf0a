"""A queue by urgency in which what is no longer wanted is forgotten when it comes up, not searched for."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class PriorityQueue(Generic[T]):
    """Items with a number each, smallest first. Adding and taking cost O(log n).

    An item stands in it once: added again, it keeps the smaller of its two numbers.
    """

    def __init__(self) -> None:
        # The running number keeps equal urgencies in the order they came and items out of comparisons.
        self._heap: list[tuple[float, int, T]] = []
        self._turn = 0
        self._inside: dict[T, tuple[float, int]] = {}

    def add(self, when: float, item: T) -> None:
        """Put `item` in, unless it stands there already as early as this."""
        known = self._inside.get(item)
        if known is None or when < known[0]:
            self._turn += 1
            self._inside[item] = when, self._turn
            heappush(self._heap, (when, self._turn, item))

    def first(self, limit: int, wanted: Callable[[T], bool]) -> list[T]:
        """Return the first `limit` wanted items, which stay; forget the unwanted ones met on the way."""
        kept: list[tuple[float, int, T]] = []
        while self._heap and len(kept) < limit:
            entry = heappop(self._heap)
            if self._is_stale(entry):
                continue
            if wanted(entry[2]):
                kept.append(entry)
            else:
                del self._inside[entry[2]]
        for entry in kept:
            heappush(self._heap, entry)
        return [item for _, _, item in kept]

    def due(self, now: float) -> list[T]:
        """Take out and return every item whose number is at most `now`."""
        taken: list[T] = []
        while self._heap and self._heap[0][0] <= now:
            entry = heappop(self._heap)
            if not self._is_stale(entry):
                del self._inside[entry[2]]
                taken.append(entry[2])
        return taken

    def next_at(self) -> float | None:
        """Return the smallest number, None if empty."""
        while self._heap and self._is_stale(self._heap[0]):
            heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def _is_stale(self, entry: tuple[float, int, T]) -> bool:
        """Whether an entry is what was left behind when its item moved forward."""
        return self._inside.get(entry[2]) != entry[:2]
