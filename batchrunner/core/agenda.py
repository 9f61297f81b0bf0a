"""A queue by urgency in which what is no longer wanted is forgotten when it comes up, not searched for."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

T = TypeVar("T")


class Agenda(Generic[T]):
    """Items with a number each, smallest first; an item stands in it once. Adding and taking cost O(log n)."""

    def __init__(self, entries: Iterable[tuple[float, T]] = ()) -> None:
        # The running number keeps equal urgencies in the order they came and items out of comparisons.
        self._heap = [(when, turn, item) for turn, (when, item) in enumerate(entries)]
        self._turn = len(self._heap)
        self._inside = {item for _, _, item in self._heap}
        heapify(self._heap)

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, when: float, item: T) -> None:
        """Put `item` in, unless it stands there already."""
        if item not in self._inside:
            self._inside.add(item)
            self._turn += 1
            heappush(self._heap, (when, self._turn, item))

    def first(self, limit: int, wanted: Callable[[T], bool]) -> list[T]:
        """Return the first `limit` wanted items, which stay; forget the unwanted ones met on the way."""
        kept: list[tuple[float, int, T]] = []
        while self._heap and len(kept) < limit:
            entry = heappop(self._heap)
            if wanted(entry[2]):
                kept.append(entry)
            else:
                self._inside.discard(entry[2])
        for entry in kept:
            heappush(self._heap, entry)
        return [item for _, _, item in kept]

    def due(self, now: float) -> Iterator[T]:
        """Take out and yield every item whose number is at most `now`."""
        while self._heap and self._heap[0][0] <= now:
            item = heappop(self._heap)[2]
            self._inside.discard(item)
            yield item

    def next_at(self) -> float | None:
        """Return the smallest number, None if empty."""
        return self._heap[0][0] if self._heap else None
