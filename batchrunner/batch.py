"""A batch's state as the verbs need it: read beside a run, or held and open."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from batchrunner.core.lifecycle import Contradiction, folded
from batchrunner.errors import YoursError
from batchrunner.ledger import REBUILD, STATE, Ledger, StateError, hold
from batchrunner.manifest import load

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import ExitStack
    from pathlib import Path

    from batchrunner.core.facts import Fact
    from batchrunner.core.job import Job
    from batchrunner.core.lifecycle import State
    from batchrunner.ledger import Snapshot
    from batchrunner.manifest import Batch
    from batchrunner.options import Asked

_NEVER = "{} holds no batch: run it first"
_RENDERS = 4_096
"""Digests kept: those of prompts that are under way are asked for again and again."""


@dataclass(frozen=True, slots=True)
class Books:
    """One batch's ledger, held by us, with what the manifest wants of it."""

    batch: str
    folder: Path
    ledger: Ledger
    servers: tuple[str, ...]
    """Of the manifest."""
    jobs: list[Job]
    """What `--only` picks of the manifest's jobs, or all of them."""
    states: dict[str, State]
    """Of every job the ledger knows."""
    renders: Callable[[str], str]
    """See `renders`."""


def read(folder: Path, batch: str) -> Snapshot | None:
    """Return the state of `batch` in `folder`, None if it was never run. Raises StateError if it is another's."""
    snapshot = Ledger.read(folder)
    if snapshot is not None and snapshot.batch != batch:
        raise StateError(f"{folder}: this is the state of the batch {snapshot.batch!r}, not of {batch!r}")
    return snapshot


def ran(folder: Path, batch: str) -> Snapshot:
    """Return the state of `batch` in `folder`. Raises YoursError if it was never run."""
    snapshot = read(folder, batch)
    if snapshot is None:
        raise YoursError(_NEVER.format(folder))
    return snapshot


def renders(batch: Batch) -> Callable[[str], str]:
    """Return what tells the `render_digest` of a job by its id, "" if the manifest has no such job.

    Nothing is worked out before it is asked for.
    """
    jobs: dict[str, Job] = {}

    @lru_cache(maxsize=_RENDERS)
    def digest(job: str) -> str:
        if not jobs:
            jobs.update((each.id, each) for each in batch.jobs)
        return batch.renders(jobs[job]) if job in jobs else ""

    return digest


@contextmanager
def sound(batch: str) -> Iterator[None]:
    """Turn facts of `batch` that can't all be true, though each by itself can, into a StateError."""
    try:
        yield
    except Contradiction:
        raise StateError(f"the state of {batch} contradicts itself: it is damaged; {REBUILD}") from None


def standing(batch: str, jobs: Iterable[str], facts: Iterable[Fact]) -> dict[str, State]:
    """Return the state of every job of `batch` after `facts`. Raises StateError if they can't all be true."""
    with sound(batch):
        return folded(jobs, facts)


def held(asked: Asked, stack: ExitStack) -> Books:
    """Hold a batch until `stack` ends, and fold its ledger.

    Raises YoursError, with nothing created, if it was never run, and BusyError while it runs.
    """
    batch = load(asked.manifest, asked.options)
    folder = asked.out / batch.name
    if not (folder / STATE).exists():
        raise YoursError(_NEVER.format(folder))
    stack.enter_context(hold(folder))
    ledger = stack.enter_context(Ledger.open(folder, batch.name))
    jobs = [job for job in batch.jobs if batch.chosen is None or job.id in batch.chosen]
    states = standing(batch.name, ledger.jobs(), ledger.facts())
    return Books(batch.name, folder, ledger, batch.servers, jobs, states, renders(batch))
