"""`why`: one job's story, found by its id, the beginning of it, or the name of its file."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from batchrunner.core.folding import folded
from batchrunner.errors import YoursError
from batchrunner.ledger import Ledger
from batchrunner.show.story import story

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batchrunner.core.job import Job
    from batchrunner.ledger import Snapshot

_STATE = "state.sqlite3"


def why(name: str, out: Path) -> None:
    """Print the story of every job in the batches below `out` that `name` means. Raises YoursError if there is none."""
    found = [(snapshot, job) for snapshot in _batches(out) for job in _meant(name, snapshot)]
    if not found:
        raise YoursError(f"no batch in {out} has a job called {name}; batchrunner status --json lists their ids")
    for number, (snapshot, job) in enumerate(found):
        facts = [fact for fact in snapshot.facts if fact.job == job.id]
        lines = story(job, facts, folded([job.id], facts)[job.id])
        sys.stdout.write(("\n" if number else "") + "\n".join(lines) + "\n")


def _batches(out: Path) -> Iterator[Snapshot]:
    """Yield the batches below a folder, or the one whose folder it is."""
    folders = [out] if (out / _STATE).exists() else sorted(path.parent for path in out.glob(f"*/{_STATE}"))
    for folder in folders:
        if snapshot := Ledger.read(folder):
            yield snapshot


def _meant(name: str, snapshot: Snapshot) -> Iterator[Job]:
    stem = name.removeprefix("./").rsplit(".", 1)[0] if name.endswith((".mp4", ".json", ".png")) else name
    for job in snapshot.jobs.values():
        if job.id.startswith(name) or job.file in (name, stem) or stem.endswith(f"/{snapshot.batch}/{job.file}"):
            yield job
