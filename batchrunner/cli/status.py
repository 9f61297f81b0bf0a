"""`status`: where a batch stands, whether a runner lives, and what to do next."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from batchrunner.cli.output import answer, say, show, write
from batchrunner.cli.parameters import AsJson, Out
from batchrunner.core.facts import CANCELLED, Dropped
from batchrunner.core.lifecycle import Done, Failed, Unwanted
from batchrunner.core.server import SIM
from batchrunner.errors import LocalError, YoursError
from batchrunner.find_job import batch_folders
from batchrunner.ledger import holder
from batchrunner.manifest import Options, load
from batchrunner.options import OUT, RunOptions
from batchrunner.remembered import commands, resume_command, verb_command
from batchrunner.show.report import next_command
from batchrunner.show.runner import read_runner
from batchrunner.show.status import Standing, batch_json, batch_line, cancelled_text, counts, status_json, status_view
from batchrunner.state import last_seen, missing_files, no_batch, read_batch
from batchrunner.text import counted, json_text

if TYPE_CHECKING:
    from batchrunner.core.job import Job, Json
    from batchrunner.core.lifecycle import State

_WATCH_INTERVAL = 2.0


def status(
    batch: Annotated[
        Path | None,
        typer.Argument(metavar="MANIFEST|FOLDER", help="A manifest, or a batch's folder; all batches without it."),
    ] = None,
    out: Out = OUT,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again whenever it changes.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the progress of a batch, and whether it is running."""
    if watch and (as_json or batch is None):
        raise YoursError(f"--watch can't be combined with --json{'' if batch else ', and needs a MANIFEST or FOLDER'}")
    if batch is None:
        _list_batches(out, as_json=as_json)
        return
    if as_json:
        seen = _progress(batch, out)
        write(json_text(status_json(seen.name, seen.jobs, seen.states, seen.standing)))
        return
    shown = None
    while True:
        seen = _progress(batch, out)
        now = replace(seen, standing=replace(seen.standing, now=0.0))
        if now != shown:
            _show(seen, clear=watch)
            shown = now
        if not watch or all(isinstance(seen.states.get(job.id), Done | Failed | Unwanted) for job in seen.jobs):
            return
        time.sleep(_WATCH_INTERVAL)


def _list_batches(out: Path, *, as_json: bool) -> None:
    """Show a line for each batch in `out`; what can't be read is told, and hides no other."""
    documents: list[Json] = []
    folders = batch_folders(out)
    if not folders:
        raise no_batch(out)
    for folder in folders:
        try:
            seen = _progress(folder, out)
        except LocalError as error:
            say(str(error))
            continue
        documents.append(batch_json(seen.name, str(folder.absolute()), seen.jobs, seen.states, seen.standing))
        if not as_json:
            answer(batch_line(seen.name, seen.jobs, seen.states, seen.standing))
    if as_json:
        write(json_text({"version": 1, "batches": documents}))


@dataclass(frozen=True, slots=True)
class _Progress:
    """A batch at one moment."""

    name: str
    jobs: list[Job]
    states: dict[str, State]
    standing: Standing
    dropped: dict[str, str] = field(default_factory=dict)
    """Why jobs are out of it."""


def _progress(place: Path, out: Path) -> _Progress:
    """Return how far a batch is, by what its ledger holds; of one that was never run, what its manifest says.

    Raises ManifestError for a wrong manifest, YoursError for a folder without a batch.
    """
    options = RunOptions(place, out=out)
    stored = read_batch(options)
    if stored is None or not (stored.content.jobs or place.is_dir()):
        # No server is asked, so none need be named.
        batch = load(place, Options(servers=(SIM,), out=out))
        standing = _standing(out / batch.name, None, ())
        return _Progress(batch.name, list(batch.jobs), {}, replace(standing, command=resume_command(options)))
    jobs = stored.content.current
    dropped = {fact.job: fact.message for fact in stored.content.facts if isinstance(fact, Dropped)}
    missing = missing_files(stored.folder, (stored.states[job.id] for job in jobs))
    standing = _standing(stored.folder, last_seen(stored.content), tuple(missing))
    if standing.pid is None and not standing.held:
        found = counts(stored.states[job.id] for job in jobs if not isinstance(stored.states[job.id], Unwanted))
        offered = commands(stored.going_on, stored.name)
        redo = verb_command(stored.options, stored.name, "verify", "--redo") if missing else ""
        standing = replace(standing, command=next_command(found, offered) or redo)
    return _Progress(stored.name, jobs, stored.states, standing, dropped)


def _standing(folder: Path, last: float | None, missing: tuple[str, ...]) -> Standing:
    """Return whether a runner lives, by the lock, and what it knows; `last` is when the last one is known to have."""
    now, held, left = time.time(), holder(folder), read_runner(folder)
    if held is None:
        seen = [at for at in (last, left.at if left else None) if at is not None]
        return Standing(now, since=max(seen, default=None), missing=missing)
    if left is None or left.pid != held.pid:
        another = f"another command is using it (process {held.pid} on {held.host})"
        return Standing(now, held=another, missing=missing)
    living = Standing(now, held.pid, left.since, left.ends_at, left.servers, left.messages, missing=missing)
    return replace(living, guessed=left.guessed)


def _show(seen: _Progress, *, clear: bool) -> None:
    """Show the progress of a batch; jobs that are out of it are only counted."""
    out = [job.id for job in seen.jobs if isinstance(seen.states.get(job.id), Unwanted)]
    show(
        status_view(seen.name, [job for job in seen.jobs if job.id not in out], seen.states, seen.standing), clear=clear
    )
    for reason, count in Counter(seen.dropped[job] for job in out).items():
        answer(cancelled_text(count) if reason == CANCELLED else f"{reason}: {counted(count, 'job')}")
