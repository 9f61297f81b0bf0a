"""One job of all batches, found by whatever a person calls it: a file, an id, or how one of these begins."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from batchrunner.core.facts import Accepted, Claimed, Saved
from batchrunner.errors import LocalError, YoursError
from batchrunner.ledger import STATE, Ledger
from batchrunner.show.sidecar import beside
from batchrunner.state import batch_name, no_batch
from batchrunner.text import did_you_mean, listing, printable, quote

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchrunner.core.facts import Fact
    from batchrunner.core.job import Job
    from batchrunner.ledger import Snapshot

_MAX_CANDIDATES = 9
"""Jobs shown where a name fits several."""
_MAX_NAMED = 5


@dataclass(frozen=True, slots=True)
class FoundJob:
    """A job, and the batch it belongs to."""

    folder: Path
    snapshot: Snapshot
    job: Job

    @property
    def facts(self) -> list[Fact]:
        """Everything that happened to it, oldest first."""
        return [fact for fact in self.snapshot.facts if fact.job == self.job.id]


def batch_folder(batch: Path, out: Path) -> Path:
    """Return the folder of a batch that is given by its manifest or its folder.

    Raises ManifestError for a wrong manifest, YoursError for a folder without a batch.
    """
    folder = batch if batch.is_dir() else out / batch_name(batch, out)
    if not (folder / STATE).exists():
        raise no_batch(folder)
    return folder


def batch_folders(out: Path) -> list[Path]:
    """Return the folders of all batches in `out`, by name; `out` itself if it is one."""
    return [out] if (out / STATE).exists() else sorted(path.parent for path in out.glob(f"*/{STATE}"))


def find_job(name: str, batch: Path | None, out: Path) -> tuple[FoundJob, list[LocalError]]:
    """Return the job that `name` means, and the errors of the batches that could not be read.

    `name` is a job id, a prompt id, the path or name of a file or its sidecar, or how one of these begins; a path into
    a batch's folder means that batch. `batch`, a manifest or a folder, says where to look; else it is everywhere in
    `out`. Raises YoursError, with the candidates, if it means none or several.
    """
    inside = next((above for above in Path(name).parents if (above / STATE).exists()), None) if batch is None else None
    wanted = Path(name).relative_to(inside or "").as_posix() if inside or not Path(name).is_absolute() else name
    folders = [batch_folder(batch, out)] if batch else [inside] if inside else batch_folders(out)
    errors: list[LocalError] = []
    known: list[tuple[FoundJob, set[str]]] = []
    for folder in folders:
        try:
            if snapshot := Ledger.read(folder):
                names = _names(snapshot)
                known += [(FoundJob(folder, snapshot, job), names[job.id]) for job in snapshot.jobs.values()]
        except LocalError as error:
            errors.append(error)
    found = _meant(wanted, known)
    if len(found) == 1:
        return found[0], errors
    if found:
        lines = [f"  {printable(each.job.file)}  {each.job.id}  in {each.folder}" for each in found[:_MAX_CANDIDATES]]
        more = len(found) - len(lines)
        lines += [f"  … and {more} more"] if more else []
        raise YoursError("\n".join([f"{quote(name)} fits {len(found)} jobs; give more of it, or the path:", *lines]))
    if errors:
        raise errors[0]
    files = [each.job.file for each, _ in known]
    hint = did_you_mean(wanted, files) or f"; jobs: {listing(files, _MAX_NAMED)}"
    place = folders[0] if batch or inside else out
    raise YoursError(f"no job {quote(wanted)} in {place.absolute()}{hint}")


def _meant(name: str, known: list[tuple[FoundJob, set[str]]]) -> list[FoundJob]:
    """Return the jobs that have `name` whole, else under another extension, else those with a name that begins so.

    `shot-3` means `shot-3-upscaled` before `shot-30`.
    """
    stem = name.rpartition(".")[0] or name
    begun = [
        (job, {each.removeprefix(name)[:1] for each in names if each.startswith(name)})
        for job, names in known
        if name not in ("", ".")
    ]
    return (
        [job for job, names in known if name in names]
        or [job for job, names in known if stem in names]
        or [job for job, following in begun if any(not char.isalnum() for char in following)]
        or [job for job, following in begun if following]
    )


def _names(snapshot: Snapshot) -> Mapping[str, set[str]]:
    """Return everything that each job is called, by its id."""
    names = {job.id: {job.id, *_both_names(job.file)} for job in snapshot.jobs.values()}
    for fact in snapshot.facts:
        if fact.job not in names:
            continue
        if isinstance(fact, Saved):
            names[fact.job] |= _both_names(fact.path) | _both_names(beside(fact.path))
        elif isinstance(fact, Claimed | Accepted):
            names[fact.job].add(fact.prompt)
    return names


def _both_names(path: str) -> set[str]:
    """Return a file's path and its name."""
    return {path, PurePosixPath(path).name}
