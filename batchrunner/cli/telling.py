"""`why`: one job's story, found by its id, the beginning of it, or the name or path of its file."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from batchrunner.cli.books import standing
from batchrunner.cli.speaking import say, tell
from batchrunner.core.facts import Saved
from batchrunner.errors import LocalError, YoursError
from batchrunner.ledger import Ledger
from batchrunner.ledger.place import STATE
from batchrunner.show.sidecar import beside
from batchrunner.show.story import story

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchrunner.core.job import Job
    from batchrunner.ledger import Snapshot

_MOST = 9
"""Stories told at once; more are no answer."""


def why(name: str, out: Path) -> None:
    """Print the story of every job that `name` means, in the batch it is a path into, else in those below `out`.

    Raises YoursError if there is none or more than a few, LocalError if there is none and a state can't be read.
    """
    folder = next((above for above in Path(name).parents if (above / STATE).exists()), None)
    wanted = Path(name).relative_to(folder or "").as_posix() if folder or not Path(name).is_absolute() else name
    found: list[list[str]] = []
    trouble: list[LocalError] = []
    for place in [folder] if folder else _folders(out):
        try:
            if snapshot := Ledger.read(place):
                found += [_story(snapshot, job) for job in _meant(wanted, snapshot)]
        except LocalError as error:
            trouble.append(error)
    if not found and trouble:
        raise trouble[0]
    if not found:
        raise YoursError(f"no job in {folder or out} is called {name}; batchrunner status --json lists their ids")
    if len(found) > _MOST:
        raise YoursError(f"{name} may mean any of {len(found)} jobs: say more of it")
    for passed in trouble:
        say(str(passed))
    tell("\n\n".join("\n".join(lines) for lines in found))


def _folders(out: Path) -> list[Path]:
    """Return the folders of the batches below a folder, or itself if it is one's."""
    return [out] if (out / STATE).exists() else sorted(path.parent for path in out.glob(f"*/{STATE}"))


def _meant(name: str, snapshot: Snapshot) -> list[Job]:
    """Return the jobs that a name means: by id or by file, else by a file that is not there, with any extension."""
    names = {job.id: set(_names(job.file)) for job in snapshot.jobs.values()}
    for fact in snapshot.facts:
        if isinstance(fact, Saved) and fact.job in names:
            names[fact.job].update(*map(_names, (fact.path, beside(fact.path))))
    jobs = snapshot.jobs.values()
    found = [job for job in jobs if name in names[job.id] or job.id.startswith(name)]
    stem = name.rpartition(".")[0]
    return found or [job for job in jobs if stem in names[job.id]]


def _names(path: str) -> Iterator[str]:
    yield path
    yield PurePosixPath(path).name


def _story(snapshot: Snapshot, job: Job) -> list[str]:
    facts = [fact for fact in snapshot.facts if fact.job == job.id]
    return story(job, facts, standing(snapshot.batch, [job.id], facts)[job.id])
