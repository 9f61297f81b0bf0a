"""What waits for its turn: jobs by priority, jobs that rest, and servers with something due."""

from __future__ import annotations

from heapq import heappop, heappush
from typing import TYPE_CHECKING, Generic, TypeAlias, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

# -- A queue by urgency in which what is no longer wanted is forgotten when it comes up, not searched for.


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


# -- Who waits how long before the next try: a job after an execution error, a file after a broken download.


CooldownKey: TypeAlias = "tuple[str, str]"
"""A job and one of its files; the job itself if the file is empty."""


class Cooldowns:
    """The rests of a run. They end by themselves: nothing has to be taken back when the reason is gone."""

    def __init__(self) -> None:
        self._until: dict[CooldownKey, float] = {}
        self._agenda: PriorityQueue[CooldownKey] = PriorityQueue()

    def rest(self, job: str, file: str, until: float) -> None:
        """Let a job, or one file of it, rest."""
        self._until[job, file] = until
        self._agenda.add(until, (job, file))

    def is_over(self, job: str, file: str, now: float) -> bool:
        """Whether a job, or one file of it, may go on."""
        return self._until.get((job, file), now) <= now

    def over(self, now: float) -> list[str]:
        """Take out and return the jobs that have rested long enough, or a file of which has."""
        rested = self._agenda.due(now)
        for sleeper in rested:
            if self._until[sleeper] <= now:
                del self._until[sleeper]
            else:
                self._agenda.add(self._until[sleeper], sleeper)
        return [job for job, file in rested if self.is_over(job, file, now)]

    def next_at(self) -> float | None:
        """Return when the first rest ends, None if nobody rests."""
        return self._agenda.next_at()


# -- Which servers a turn has to visit: those that something happened to, and those whose time has come.
#
# With a thousand servers nothing may cost what all of them cost. Whatever changes a server touches it; the turn visits
# the touched ones, and files each away until the next moment at which time alone can make a difference.


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
