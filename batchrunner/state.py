"""A batch's state file as the verbs need it: read while another process may run the batch, or locked and open."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from batchrunner.core.lifecycle import Contradiction, advance, folded
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
    from batchrunner.options import RunOptions

_MAX_DIGESTS = 4_096
"""Digests kept: those of prompts that are under way are asked for again and again."""


@dataclass(frozen=True, slots=True)
class OpenBatch:
    """A batch whose folder is locked and whose ledger is open."""

    batch: Batch
    """As the manifest describes it now."""
    folder: Path
    ledger: Ledger
    states: dict[str, State]
    """By id, of every job the ledger knows."""

    def append(self, fact: Fact) -> None:
        """Commit a fact and apply it to its job."""
        self.ledger.append(fact)
        self.states[fact.job] = advance(self.states[fact.job], fact)


def open_batch(options: RunOptions, stack: ExitStack) -> OpenBatch:
    """Lock a batch until `stack` ends, and read its ledger.

    Raises YoursError, with nothing created, if it was never run, and BusyError while it runs.
    """
    batch = load(options.manifest, options.manifest_options)
    folder = options.out / batch.name
    if not (folder / STATE).exists():
        raise no_batch(folder)
    stack.enter_context(hold(folder))
    ledger = stack.enter_context(Ledger.open(folder, batch.name))
    return OpenBatch(batch, folder, ledger, job_states(batch.name, ledger.jobs(), ledger.facts()))


def read_state(folder: Path, batch: str) -> Snapshot | None:
    """Return the state of `batch` in `folder`, None if it was never run. Raises StateError if it is another's."""
    snapshot = Ledger.read(folder)
    if snapshot is not None and snapshot.batch != batch:
        raise StateError(f"{folder}: this is the state of the batch {snapshot.batch!r}, not of {batch!r}")
    return snapshot


def require_state(folder: Path, batch: str) -> Snapshot:
    """Return the state of `batch` in `folder`. Raises YoursError if it was never run."""
    snapshot = read_state(folder, batch)
    if snapshot is None:
        raise no_batch(folder)
    return snapshot


def no_batch(folder: Path) -> YoursError:
    """Return the error of a folder without a batch, with the batches that lie in it, if any."""
    within = sorted(path.parent for path in folder.glob(f"*/{STATE}"))
    return YoursError(f"no batch in {folder.absolute()}{f'; did you mean {within[0]}?' if within else ''}")


def job_states(batch: str, jobs: Iterable[str], facts: Iterable[Fact]) -> dict[str, State]:
    """Return the state of every job of `batch` after `facts`. Raises StateError if they can't all be true."""
    with contradiction_is_damage(batch):
        return folded(jobs, facts)


@contextmanager
def contradiction_is_damage(batch: str) -> Iterator[None]:
    """Turn facts of `batch` that can't all be true, though each by itself can, into a StateError."""
    try:
        yield
    except Contradiction:
        raise StateError(f"the state of {batch} is damaged: it contradicts itself; {REBUILD}") from None


def chosen_jobs(batch: Batch) -> list[Job]:
    """Return the jobs that `--only` and `--limit` pick, in run order; all without them."""
    return [job for job in batch.jobs if batch.chosen is None or job.id in batch.chosen]


def render_digests(batch: Batch) -> Callable[[str], str]:
    """Return a function from a job's id to its `render_digest`, "" if the manifest has no such job.

    Nothing is computed before it is asked for.
    """
    jobs: dict[str, Job] = {}

    @lru_cache(maxsize=_MAX_DIGESTS)
    def digest(job: str) -> str:
        if not jobs:
            jobs.update((each.id, each) for each in batch.jobs)
        return batch.renders(jobs[job]) if job in jobs else ""

    return digest
