"""Rows from another batch in the same output folder: one for each of its finished jobs, or for each that was picked."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import TYPE_CHECKING

from batchrunner.core.facts import Accepted, Claimed
from batchrunner.core.lifecycle import Contradiction, Done, folded
from batchrunner.errors import LocalError, YoursError
from batchrunner.ledger import PLACE, STATE, Ledger
from batchrunner.manifest.diagnostics import join
from batchrunner.manifest.media import PlacedText
from batchrunner.manifest.picks import read_picks
from batchrunner.manifest.tables import NAMED_BYTES, SourceError, read_text
from batchrunner.text import counted, did_you_mean, listing, quote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from batchrunner.core.job import Job
    from batchrunner.ledger import Snapshot
    from batchrunner.manifest.forms import FromBatch
    from batchrunner.manifest.names import Names, Point, Value
    from batchrunner.manifest.yamltree import Location, MappingNode

FILE = "_file"
"""The own variable that holds a job's first file."""


@dataclass(frozen=True, slots=True)
class _Source:
    """One job, as a row."""

    job: Job
    file: str
    """Its first file, relative to its batch's folder."""
    future: bool = False
    """It is still to be rendered."""


class _UnusableError(Exception):
    """The batch, or its picks, cannot be used; the message says why, `key` where that is named."""

    def __init__(self, message: str, key: str = "batch") -> None:
        super().__init__(message)
        self.key = key


@dataclass(frozen=True, slots=True)
class EarlierBatches:
    """The other batches of an output folder."""

    own: str
    """The batch that reads them."""
    out: Path | None
    """The output folder; None if it is not known."""
    pending: Mapping[str, Sequence[Job]] = field(default_factory=dict)
    """The jobs of batches that run before this one and have not ended: their rows are checked for their shape."""
    read: dict[str, frozenset[str]] = field(default_factory=dict)
    """Those that rows were taken from so far, and the URLs of the servers that had their prompts."""

    def points(
        self, form: FromBatch, tree: MappingNode, path: str, names: Names
    ) -> tuple[Sequence[Point], frozenset[str]]:
        """Return what each row sets, and every name that one sets; nothing after recording what is wrong."""
        at = tree.entries["batch"].tree.location
        try:
            rows = self._rows(form, names, at, path)
        except _UnusableError as error:
            names.diagnostics.add(tree.entries[error.key].tree.location, join(path, error.key), str(error))
            return [], frozenset()
        own = dict.fromkeys(name if name.startswith("_") else f"_{name}" for row in rows for name in row.job.params)
        own[FILE] = None
        if not all(names.declare(name, at, join(path, "batch")) for name in own):
            return [], frozenset()
        root, frame = self._folder(form.batch).resolve(), None if form.frame is None else str(form.frame)
        return [_point(row, frame, root, (at, join(path, "batch")), names) for row in rows], frozenset(own)

    def _rows(self, form: FromBatch, names: Names, at: Location, path: str) -> list[_Source]:
        if form.batch == self.own:
            raise _UnusableError("a batch can't take its rows from itself")
        if form.frame is not None and find_spec("av") is None:
            raise _UnusableError("a frame needs PyAV: pip install 'batchrunner[video]'", "frame")
        known = self._known(form.batch, picked=form.picks is not None)
        if form.picks is not None:
            known = self._picked(form.batch, form.picks, known)
        left_out = sum(row is None for row in known.values())
        rows = [row for row in known.values() if row]
        if not rows:
            raise _UnusableError(f"no job of {quote(form.batch)} is finished{' among the picks' if form.picks else ''}")
        if left_out and form.picks is not None:
            said = f"{counted(left_out, 'pick')} left out: not finished"
            names.diagnostics.warn(at, join(path, "picks"), said)
        return rows

    def _folder(self, batch: str) -> Path:
        if self.out is None:
            raise _UnusableError("in which folder the batch lies is not known")
        return self.out / batch

    def _known(self, batch: str, *, picked: bool) -> dict[str, _Source | None]:
        """Return every job of a batch, None for one that is not finished and not under way.

        Those that its own manifest has no more are left out, unless they may be `picked`.
        """
        folder = self._folder(batch)
        try:
            snapshot = Ledger.read(folder)
            states = folded(snapshot.jobs, snapshot.facts) if snapshot else {}
        except LocalError as error:
            raise _UnusableError(str(error)) from None
        except Contradiction:
            raise _UnusableError(f"the state of {batch} is damaged: it contradicts itself") from None
        waited = self.pending.get(batch)
        if waited is None and (snapshot is None or snapshot.batch != batch):
            near = did_you_mean(batch, sorted(path.parent.name for path in folder.parent.glob(f"*/{STATE}")))
            raise _UnusableError(f"no batch in {folder.absolute()}: run it first{near}")
        self.read[batch] = _servers(snapshot) if snapshot else frozenset()
        found: dict[str, _Source | None] = {}
        jobs = list(waited or ())
        if snapshot and (picked or waited is None):
            jobs += list(snapshot.jobs.values()) if picked else snapshot.current
        for job in jobs:
            state = states.get(job.id)
            if isinstance(state, Done):
                found[job.id] = _Source(job, state.files[0].path)
            else:
                found[job.id] = None if waited is None else _Source(job, f"{job.file}.mp4", future=True)
        return found

    def _picked(self, batch: str, picks: str, known: Mapping[str, _Source | None]) -> dict[str, _Source | None]:
        """Return the picked jobs, in the order of the picks."""
        folder = self._folder(batch).resolve()
        file = (folder / picks).resolve()
        if not picks.isprintable() or not file.is_relative_to(folder):
            raise _UnusableError(f"{quote(picks)}: leads outside the folder of {quote(batch)}", "picks")
        if batch in self.pending and not file.exists():
            return dict(known)  # nobody can have picked yet
        try:
            found = read_picks(read_text(file, NAMED_BYTES))
        except (SourceError, YoursError) as error:
            raise _UnusableError(f"{quote(picks)} in the folder of {quote(batch)}: {error}", "picks") from None
        if found.batch not in {"", batch}:
            raise _UnusableError(f"{quote(picks)}: these are picks of the batch {quote(found.batch)}", "picks")
        unknown = [pick.job for pick in found.picks if pick.job not in known]
        if unknown:
            raise _UnusableError(f"{listing(unknown)}: no such job in the batch {quote(batch)}", "picks")
        return {pick.job: known[pick.job] for pick in found.picks}


def _servers(snapshot: Snapshot) -> frozenset[str]:
    """Return the URLs of the servers that have had prompts of a batch."""
    names = {fact.server for fact in snapshot.facts if isinstance(fact, Claimed | Accepted)}
    return frozenset(str(snapshot.marks.get(f"{PLACE}{name}", name)) for name in names)


def _point(row: _Source, frame: str | None, root: Path, placed: tuple[Location, str], names: Names) -> Point:
    """Return what a row sets: texts as they were rendered, in which nothing is filled in any more."""
    plain = {f"_{name}": value for name, value in row.job.params.items() if not name.startswith("_")}
    own = {name: value for name, value in row.job.params.items() if name.startswith("_")}
    values: dict[str, Value] = {**plain, **own}
    if names.media.params:
        texts = {name: PlacedText(value, *placed) for name, value in values.items() if isinstance(value, str)}
        values |= texts
    values[FILE] = PlacedText(row.file, *placed, root, frame, future=row.future)
    return values
