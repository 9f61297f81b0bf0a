"""`retry` and `verify`: failed jobs tried again, finished ones checked."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from batchrunner.cli.output import answer, say
from batchrunner.cli.parameters import OWN_PROCESS, Commands, Only, Out, Outside, Place, Servers, Sets, TokenFile
from batchrunner.core.facts import Reopened, Saved
from batchrunner.core.lifecycle import Done, Failed
from batchrunner.core.suffixes import suffix
from batchrunner.download import verify as media
from batchrunner.download.folder import Folder, digest, os_error_text
from batchrunner.errors import LocalError, YoursError
from batchrunner.manifest import Options, matching
from batchrunner.options import OUT, RunOptions
from batchrunner.remembered import resume_command, verb_command
from batchrunner.run_batch import ask_consent, run_batch
from batchrunner.state import open_batch, require_batch
from batchrunner.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batchrunner.core.job import Job
    from batchrunner.state import OpenBatch, StoredBatch

_MAX_FAULTS = 20
"""Histories printed at once; more are no answer."""
_MAX_NAMED = 5


def retry(batch: Place, out: Out = OUT, only: Only = []) -> None:
    """Let the next `run` try failed jobs again."""
    with ExitStack() as stack:
        opened = open_batch(RunOptions(batch, out=out), stack)
        jobs = matching(opened.content.current, only)
        if only and not jobs:
            raise YoursError(f"no job matches {' '.join(f'--only {name}={value}' for name, value in only)}")
        failed = [job for job in jobs if isinstance(opened.states.get(job.id), Failed)]
        for job in failed:
            _reopen(opened, job.id)
    if failed:
        command = resume_command(opened.options, _reaching(opened, failed))
        say(f"to be tried again: {counted(len(failed), 'job')}; now run: {command}")
    else:
        say("no failed jobs")


def _reaching(batch: StoredBatch, jobs: list[Job]) -> Iterable[tuple[str, str]] | None:
    """Return the `--only` of a run that comes to all of `jobs`: None for that of the last run, if it does."""
    own = batch.options.manifest_options.only
    reached = {job.id for job in matching(batch.content.current, own)}
    if batch.options.limit is None and all(job.id in reached for job in jobs):
        return None
    return [("job", job.id) for job in jobs]


def verify(
    context: typer.Context,
    batch: Place,
    out: Out = OUT,
    sets: Sets = [],
    server: Servers = [],
    token_file: TokenFile = None,
    allow_commands: Commands = False,
    redo: Annotated[bool, typer.Option("--redo", help="Render missing and damaged files again.")] = False,
    allow_outside: Outside = False,
) -> int:
    """Check the size, checksum and MP4 structure of every saved file.

    With --redo, a damaged file is renamed, never deleted.
    """
    own = Options(tuple(server), tuple(sets), allow_outside=allow_outside, out=out)
    options = RunOptions(batch, own, out, token_file, allow_commands=allow_commands)
    if redo:  # everything is asked before anything is changed
        stored = require_batch(options)
        ask_consent(stored.options, stored.load(), may_restart=context.obj is OWN_PROCESS)
        options = replace(options, allow_commands=True)
    with ExitStack() as stack:
        opened = open_batch(options, stack)
        done = {job.id: opened.states.get(job.id) for job in opened.content.current}
        saved = {job: state.files for job, state in done.items() if isinstance(state, Done)}
        faults = {
            job: found
            for job, files in saved.items()
            if (found := {file.path: fault for file in files if (fault := file_fault(opened.folder, file))})
        }
        lines = [f"{path}: {fault}" for found in faults.values() for path, fault in found.items()]
        for line in lines[:_MAX_FAULTS]:
            answer(line)
        if len(lines) > _MAX_FAULTS:
            answer(f"… and {len(lines) - _MAX_FAULTS} more")
        if saved:
            result = f"{len(faults)} with missing or damaged files" if faults else "all files are intact"
            undone = len(done) - len(saved)
            rest = f"; {counted(undone, 'job')} {'is' if undone == 1 else 'are'} not done" if undone else ""
            answer(f"{counted(len(saved), 'job')} checked: {result}{rest}")
        else:
            answer("no finished jobs to check")
        if redo:
            for job, found in faults.items():
                for path in found:
                    _rename_damaged(opened.folder / path)
                _reopen(opened, job)
    if faults and redo:
        chosen = replace(opened.options.manifest_options, only=tuple(("job", job) for job in faults))
        now = replace(opened.options, manifest_options=chosen, until=None, hours=None, limit=None)
        return run_batch(now, remember=False)
    if faults:
        answer(f"to render them again: {verb_command(opened.options, opened.name, 'verify', '--redo')}")
    return 1 if faults else 0


def _reopen(batch: OpenBatch, job: str) -> None:
    """Let a done or failed job wait again."""
    batch.append(Reopened(job, batch.states[job].past.highest, time.time()))


def file_fault(folder: Path, saved: Saved) -> str:
    """Return what is wrong with a saved file, empty if it is as it was saved."""
    try:
        file = Folder(folder).read(saved.path)
        if file is None:
            return "not a readable file" if os.path.lexists(folder / saved.path) else "missing"
        with file:
            size, sha256 = digest(file)
            if size != saved.size:
                return f"{size} bytes instead of {saved.size}"
            if sha256 != saved.sha256:
                return "the content was changed (another checksum)"
            inspected = media.inspect_as(file, suffix(saved.path))
    except OSError as error:
        return f"can't be read: {os_error_text(error)}"
    return "" if inspected.whole else inspected.message


def _rename_damaged(path: Path) -> None:
    """Give a damaged file another name, so that its own is free; a folder or a link stays, the new file evades it."""
    if not path.is_file() or path.is_symlink():
        return
    names = (path.with_name(f"{path.name}.damaged-{number}") for number in count(1))
    try:
        path.rename(next(name for name in names if not name.exists()))
    except OSError as error:
        raise LocalError(f"{path}: can't be renamed: {os_error_text(error)}") from None
