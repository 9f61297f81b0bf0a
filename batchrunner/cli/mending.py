"""`retry` and `verify`: settled jobs looked at again, and sent round again if somebody asks for it."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchrunner import media
from batchrunner.cli import running
from batchrunner.core.facts import Reopened
from batchrunner.core.folding import folded
from batchrunner.core.states import Done, Failed, advance
from batchrunner.disk import Folder, digest
from batchrunner.ledger import Ledger, hold
from batchrunner.manifest import load
from batchrunner.show.text import safe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batchrunner.cli.asked import Asked
    from batchrunner.core.facts import Saved
    from batchrunner.core.job import Job
    from batchrunner.core.states import State

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class _Books:
    """One batch's ledger, held, with what the manifest wants of it."""

    folder: Path
    ledger: Ledger
    jobs: list[Job]
    states: dict[str, State]

    def reopen(self, job: Job) -> None:
        """Let a settled job wait again."""
        fact = Reopened(job.id, self.states[job.id].past.highest, time.time())
        self.ledger.append(fact)
        self.states[job.id] = advance(self.states[job.id], fact)


def retry(asked: Asked) -> int:
    """Let failed jobs wait again, all or those that `--only` picks; the next run takes them."""
    with ExitStack() as stack:
        books = _open(asked, stack)
        failed = [job for job in books.jobs if isinstance(books.states.get(job.id), Failed)]
        for job in failed:
            books.reopen(job)
        then = f"; now batchrunner run {asked.manifest}" if failed else ""
        _say(f"{len(failed)} failed {'job waits' if len(failed) == 1 else 'jobs wait'} again{then}")
    return 0


def verify(asked: Asked, *, redo: bool) -> int:
    """Check every saved file; return 0 if all are as they were saved, 1 if not, or with `redo` what `run` returns.

    A damaged file is set aside under another name, never deleted.
    """
    with ExitStack() as stack:
        books = _open(asked, stack)
        wrong = [(job, says) for job in books.jobs for says in _faults(books, job)]
        for _, says in wrong[:_SHOWN]:
            _say(says)
        checked = sum(isinstance(books.states.get(job.id), Done) for job in books.jobs)
        _say(f"{checked} jobs checked, {len({job.id for job, _ in wrong})} not as they were saved")
        if wrong and redo:
            for job in {job.id: job for job, _ in wrong}.values():
                _set_aside(books, job)
                books.reopen(job)
    if wrong and redo:
        return running.run(asked)
    if wrong:
        _say(f"batchrunner verify --redo {asked.manifest} renders them again")
    return 1 if wrong else 0


def _open(asked: Asked, stack: ExitStack) -> _Books:
    """Hold a batch and fold its ledger. Raises BusyError while it runs."""
    batch = load(asked.manifest, asked.options)
    folder = asked.out / batch.name
    stack.enter_context(hold(folder))
    ledger = stack.enter_context(Ledger.open(folder, batch.name))
    jobs = [job for job in batch.jobs if batch.chosen is None or job.id in batch.chosen]
    return _Books(folder, ledger, jobs, folded(ledger.jobs(), ledger.facts()))


def _faults(books: _Books, job: Job) -> Iterator[str]:
    state = books.states.get(job.id)
    for saved in state.files if isinstance(state, Done) else ():
        if fault := _fault(books.folder, saved):
            yield f"{saved.path}: {fault}"


def _fault(folder: Path, saved: Saved) -> str:
    """Return what is wrong with a saved file, nothing if it is as it was."""
    file = Folder(folder).read(saved.path)
    if file is None:
        return "missing"
    with file:
        size, sha256 = digest(file)
        if size != saved.size:
            return f"{size} bytes, it was saved with {saved.size}"
        if sha256 != saved.sha256:
            return "its content has changed since it was saved"
        seen = media.inspect_open(file)
    return "" if seen.whole else seen.says


def _set_aside(books: _Books, job: Job) -> None:
    state = books.states[job.id]
    for saved in state.files if isinstance(state, Done) else ():
        path = books.folder / saved.path
        if _fault(books.folder, saved) and path.is_file() and not path.is_symlink():
            path.rename(path.with_name(f"{path.name}.damaged-{int(time.time())}"))


def _say(text: str) -> None:
    sys.stderr.write(safe(text, limit=1000) + "\n")
