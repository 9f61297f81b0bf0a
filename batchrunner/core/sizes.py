"""How many bytes a job's files take: learned per kind of job, for the link and for the disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchrunner.core.lifecycle import Done, Fetching

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from batchrunner.core.lifecycle import State

KEPT_FREE = 100 * 2**20
"""Bytes of the disk that are left alone: the state file, the log and the machine itself need some."""


class JobSizes:
    """Bytes of jobs whose files are saved or announced, by their kind: jobs of equal `Job.cost`."""

    def __init__(self, known: Mapping[float, tuple[int, float]] | None = None) -> None:
        """`known` is what `known` returned, of this batch or of another."""
        self._known = dict(known or {})
        self._all = sum(jobs for jobs, _ in self._known.values()), sum(taken for _, taken in self._known.values())

    def known(self) -> dict[float, tuple[int, float]]:
        """Return how many jobs of each cost were seen, and how many bytes they took together."""
        return dict(self._known)

    def learn(self, cost: float, before: State | None, after: State) -> None:
        """Take in a job's new state: once the size of its last file is known, it counts."""
        size = size_of(after)
        if size is not None and (before is None or size_of(before) is None):
            jobs, taken = self._known.get(cost, (0, 0.0))
            self._known[cost] = jobs + 1, taken + size
            self._all = self._all[0] + 1, self._all[1] + size

    def expected(self, cost: float) -> float | None:
        """Return how many bytes a job takes: as its kind did, else as all did; None if nothing is known."""
        jobs, taken = self._known.get(cost, self._all)
        return taken / jobs if jobs else None


def size_of(state: State) -> int | None:
    """Return how many bytes a job's files have, saved or announced; None if that is not known of all of them."""
    match state:
        case Done(files=files):
            return sum(file.size for file in files)
        case Fetching(items=items):
            sizes = [item.saved.size if item.saved else item.opened.size if item.opened else -1 for item in items]
            return None if -1 in sizes else sum(sizes)
        case _:
            return None


@dataclass(frozen=True, slots=True)
class DiskShortage:
    """The disk has no room for all that is to come."""

    fit: int
    """How many of the next jobs still have room."""
    jobs: int
    needed: int
    free: int
    """Bytes, `KEPT_FREE` not counted."""


def disk_shortage(costs: Iterable[float], sizes: JobSizes, free: float) -> DiskShortage | None:
    """Return that jobs of these costs, in this order, need more than `free` bytes; None if not, or if nobody knows."""
    needed, jobs, fit = 0.0, 0, 0
    for cost in costs:
        needed, jobs = needed + (sizes.expected(cost) or 0.0), jobs + 1
        fit += needed <= free
    return DiskShortage(fit, jobs, round(needed), max(0, round(free))) if needed > free and needed else None
