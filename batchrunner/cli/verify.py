"""`retry`, `verify` and `why`: settled jobs looked at again."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from itertools import count
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from batchrunner import run as running
from batchrunner.batch import held, standing
from batchrunner.cli.output import say, tell
from batchrunner.core.facts import Reopened, Saved
from batchrunner.core.lifecycle import Done, Failed, advance
from batchrunner.core.suffixes import suffix
from batchrunner.download import verify as media
from batchrunner.download.folder import Folder, digest, os_error_text
from batchrunner.errors import LocalError, YoursError
from batchrunner.ledger import Ledger
from batchrunner.ledger.lock import STATE
from batchrunner.show.events import job_history
from batchrunner.show.sidecar import beside

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchrunner.batch import Books
    from batchrunner.core.job import Job
    from batchrunner.ledger import Snapshot
    from batchrunner.options import Asked

# -- `retry` and `verify`: settled jobs looked at again, and sent round again if somebody asks for it.


_SHOWN = 20


def retry(asked: Asked) -> int:
    """Let failed jobs wait again, all or those that `--only` picks; the next run takes them."""
    with ExitStack() as stack:
        books = held(asked, stack)
        failed = [job for job in books.jobs if isinstance(books.states.get(job.id), Failed)]
        for job in failed:
            _reopen(books, job.id)
    if failed:
        say(f"{_jobs(len(failed))} that failed {_wait(len(failed))} again; now batchrunner run {asked.manifest}")
    else:
        say("no job has failed: nothing to try again")
    return 0


def verify(asked: Asked, *, redo: bool) -> int:
    """Check every saved file; return 0 if all are as they were saved, 1 if not, or with `redo` what `run` returns.

    A damaged file is set aside under another name, never deleted.
    """
    with ExitStack() as stack:
        books = held(asked, stack)
        saved = {job.id: state.files for job in books.jobs if isinstance(state := books.states.get(job.id), Done)}
        wrong = {job: found for job, files in saved.items() if (found := _faults(books.folder, files))}
        _tell(len(saved), wrong)
        if redo:
            for job, found in wrong.items():
                for path in found:
                    _set_aside(books.folder / path)
                _reopen(books, job)
    if wrong and redo:
        return running.run(asked)
    if wrong:
        say(f"batchrunner verify --redo {asked.manifest} renders them again")
    return 1 if wrong else 0


def _tell(checked: int, wrong: dict[str, dict[str, str]]) -> None:
    lines = [f"{path}: {fault}" for found in wrong.values() for path, fault in found.items()]
    for line in lines[:_SHOWN]:
        say(line)
    if len(lines) > _SHOWN:
        say(f"… and {len(lines) - _SHOWN} more")
    how = f"{len(wrong)} not as they were saved" if wrong else "all as they were saved"
    say(f"{_jobs(checked)} checked, {how}" if checked else "no job is done yet: nothing to check")


def _reopen(books: Books, job: str) -> None:
    """Let a settled job wait again."""
    fact = Reopened(job, books.states[job].past.highest, time.time())
    books.ledger.append(fact)
    books.states[job] = advance(books.states[job], fact)


def _faults(folder: Path, files: tuple[Saved, ...]) -> dict[str, str]:
    """Return what is wrong with a job's files, by their paths; nothing if all are as they were."""
    return {file.path: fault for file in files if (fault := _fault(folder, file))}


def _fault(folder: Path, saved: Saved) -> str:
    try:
        return _difference(folder, saved)
    except OSError as error:
        return f"it can't be read: {os_error_text(error)}"


def _difference(folder: Path, saved: Saved) -> str:
    file = Folder(folder).read(saved.path)
    if file is None:
        return "no file that we may read" if os.path.lexists(folder / saved.path) else "missing"
    with file:
        size, sha256 = digest(file)
        if size != saved.size:
            return f"{size} bytes, it was saved with {saved.size}"
        if sha256 != saved.sha256:
            return "its content has changed since it was saved"
        seen = media.inspect_as(file, suffix(saved.path))
    return "" if seen.whole else seen.message


def _set_aside(path: Path) -> None:
    """Give a damaged file another name, so that its own is free; a folder or a link stays, and the new file evades."""
    if not path.is_file() or path.is_symlink():
        return
    names = (path.with_name(f"{path.name}.damaged-{number}") for number in count(1))
    try:
        path.rename(next(name for name in names if not name.exists()))
    except OSError as error:
        raise LocalError(f"{path}: can't be set aside: {os_error_text(error)}") from None


def _jobs(number: int) -> str:
    return "1 job" if number == 1 else f"{number} jobs"


def _wait(number: int) -> str:
    return "waits" if number == 1 else "wait"


# -- `why`: one job's story, found by its id, the beginning of it, or the name or path of its file.


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
    return job_history(job, facts, standing(snapshot.batch, [job.id], facts)[job.id])
