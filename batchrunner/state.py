"""A batch's state file as the verbs need it: read while another process may run the batch, or locked and open."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from math import inf
from stat import S_ISREG
from typing import TYPE_CHECKING

from batchrunner.core.lifecycle import Contradiction, Done, Failed, advance, folded
from batchrunner.errors import BatchrunnerError, YoursError
from batchrunner.ledger import REBUILD, STATE, Ledger, StateError, hold
from batchrunner.manifest import load, read_name
from batchrunner.options import OUT, RunOptions
from batchrunner.remembered import NO_MANIFEST, going_on, recalled

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from contextlib import ExitStack
    from pathlib import Path

    from batchrunner.core.facts import Fact
    from batchrunner.core.job import Job, Json
    from batchrunner.core.lifecycle import State
    from batchrunner.ledger import Snapshot
    from batchrunner.manifest import Batch

_MAX_DIGESTS = 4_096
"""Digests kept: those of prompts that are under way are asked for again and again."""


@dataclass(frozen=True, slots=True)
class StoredBatch:
    """A batch as its ledger holds it."""

    folder: Path
    content: Snapshot
    options: RunOptions
    """How it was run last, with what the command line says instead."""
    states: dict[str, State]
    """By id, of every job the ledger knows."""

    @property
    def name(self) -> str:
        """The batch."""
        return self.content.batch

    @property
    def going_on(self) -> RunOptions:
        """How it is to be run next."""
        return going_on(self.options, self.content.current, self.states)

    def load(self) -> Batch:
        """Return the batch as its manifest describes it now.

        Raises ManifestError if that is not sound, YoursError if nobody knows where it is.
        """
        if self.options.manifest == NO_MANIFEST:
            raise YoursError(f"{self.folder}: which manifest it was run with is not known here; name the manifest")
        own = self.options.manifest_options
        return load(self.options.manifest, replace(own, only=(), out=self.options.out))


@dataclass(frozen=True, slots=True)
class OpenBatch(StoredBatch):
    """A batch whose folder is locked and whose ledger is open."""

    ledger: Ledger

    def append(self, fact: Fact) -> None:
        """Commit a fact and apply it to its job."""
        self.ledger.append(fact)
        self.states[fact.job] = advance(self.states[fact.job], fact)


def open_batch(given: RunOptions, stack: ExitStack) -> OpenBatch:
    """Lock a batch until `stack` ends, and read its ledger; `given.manifest` is its manifest or its folder.

    Raises YoursError, with nothing created, if it was never run, and BusyError while it runs.
    """
    folder, name, given = _located(given)
    if not (folder / STATE).exists():
        raise no_batch(folder)
    stack.enter_context(hold(folder))
    if name is None:
        found = read_state(folder, None)
        if found is None:
            raise no_batch(folder)
        name = found.batch
        if name != folder.resolve().name:  # `run` would begin a second batch
            raise YoursError(f"{folder}: this is the folder of the batch {name!r}; call it so again")
    ledger = stack.enter_context(Ledger.open(folder, name))
    content = ledger.content()
    states = job_states(content.batch, content.jobs, content.facts)
    return OpenBatch(folder, content, recalled(content.marks, given), states, ledger)


def read_batch(given: RunOptions) -> StoredBatch | None:
    """Return the batch at `given.manifest`, a manifest or a folder, also while it runs; None if it was never run.

    Raises YoursError for a folder without a batch, ManifestError for a file that names none.
    """
    is_folder = given.manifest.is_dir()
    folder, name, given = _located(given)
    content = read_state(folder, name)
    if content is None:
        if is_folder:
            raise no_batch(folder)
        return None
    states = job_states(content.batch, content.jobs, content.facts)
    return StoredBatch(folder, content, recalled(content.marks, given), states)


def require_batch(given: RunOptions) -> StoredBatch:
    """Return the batch at `given.manifest`. Raises YoursError if it was never run."""
    found = read_batch(given)
    if found is None:
        raise no_batch(_located(given)[0])
    return found


def _located(given: RunOptions) -> tuple[Path, str | None, RunOptions]:
    """Return a batch's folder, its name if the manifest says it, and the options with manifest and folder apart."""
    if not given.manifest.is_dir():
        name = batch_name(given.manifest, given.out)
        return given.out / name, name, given
    folder = given.manifest
    parent = folder.resolve().parent
    out = OUT if parent == OUT.resolve() else parent
    return folder, None, replace(given, manifest=NO_MANIFEST, out=out)


def batch_name(manifest: Path, out: Path) -> str:
    """Return the name of the batch that a manifest describes.

    Raises ManifestError for a wrong manifest, YoursError for one that is none, but the name of a batch in `out`.
    """
    if not manifest.exists() and (out / manifest / STATE).exists():
        raise YoursError(f"{manifest}: there is no such file; did you mean {out / manifest}?")
    return read_name(manifest)


def read_state(folder: Path, batch: str | None) -> Snapshot | None:
    """Return the state in `folder`, None if no batch was run there. Raises StateError if it is not that of `batch`."""
    snapshot = Ledger.read(folder)
    if snapshot is not None and batch not in {None, snapshot.batch}:
        raise StateError(f"{folder}: this is the state of the batch {snapshot.batch!r}, not of {batch!r}")
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


def chosen_ids(batch: Batch, states: Mapping[str, State], limit: int | None) -> frozenset[str] | None:
    """Return the ids that `--only` and `--limit` choose: of a limit so many that are still to do; None for all."""
    if limit is None:
        return batch.chosen
    jobs = (job.id for job in batch.jobs if batch.chosen is None or job.id in batch.chosen)
    return frozenset(islice((job for job in jobs if not isinstance(states.get(job), Done | Failed)), limit))


def missing_files(folder: Path, states: Iterable[State]) -> list[str]:
    """Return the paths of saved files that are not in the folder any more, or have another size. Reads none of them."""
    files = (file for state in states if isinstance(state, Done) for file in state.files)
    return [file.path for file in files if _size(folder / file.path) != file.size]


def _size(path: Path) -> int:
    try:
        found = path.lstat()
    except (OSError, ValueError):
        return -1
    return found.st_size if S_ISREG(found.st_mode) else -1


# -- When runners ran: kept as marks, so that a report counts no time between two runs.

_RUNS = "runs"


def past_runs(content: Snapshot) -> list[tuple[float, float]]:
    """Return from when to when runners ran, in seconds since the epoch; a killed one until its last fact.

    Those in which nothing happened are left out, all but the last.
    """
    times = sorted(fact.at for fact in content.facts)
    found: list[tuple[float, float]] = []
    spans = content.marks.get(_RUNS)
    rows = [row for row in spans if isinstance(row, list) and len(row) == 2] if isinstance(spans, list) else []
    runs = [(began, ended) for began, ended in rows if isinstance(began, int | float)]
    for (began, until), (following, _) in zip(runs, [*runs[1:], (inf, inf)], strict=False):
        first, last = bisect_left(times, began), bisect_left(times, following) - 1
        ended = until if isinstance(until, int | float) else max(began, times[last] if last >= 0 else began)
        if following == inf or first < bisect_right(times, ended):
            found.append((began, ended))
    return found


def last_seen(content: Snapshot) -> float | None:
    """Return until when the last runner is known to have run; None if none did."""
    return max((ended for _, ended in past_runs(content)), default=None)


@contextmanager
def running(ledger: Ledger, content: Snapshot, now: Callable[[], float]) -> Iterator[None]:
    """Keep from when to when this runner ran. One that is killed leaves only when it began."""
    before: list[Json] = [[began, ended] for began, ended in past_runs(content)]
    began = now()
    ledger.mark(_RUNS, [*before, [began, None]])
    try:
        yield
    finally:
        with suppress(BatchrunnerError):  # another one may be on its way, and says more
            ledger.mark(_RUNS, [*before, [began, now()]])


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
