"""`status`: where a batch stands, whether a runner lives, and what to do next."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from batchrunner.cli.output import say, show, write
from batchrunner.cli.parameters import AsJson, Out
from batchrunner.core.facts import Dropped
from batchrunner.core.lifecycle import Done, Failed, Unwanted
from batchrunner.core.server import SIM
from batchrunner.errors import YoursError
from batchrunner.ledger import holder
from batchrunner.manifest import Options, load
from batchrunner.options import OUT, RunOptions
from batchrunner.remembered import commands, resume_command, verb_command
from batchrunner.show.report import next_command
from batchrunner.show.runner import read_runner
from batchrunner.show.status import Standing, counts, status_json, status_view
from batchrunner.state import last_seen, missing_files, read_batch
from batchrunner.text import counted, json_text

if TYPE_CHECKING:
    from batchrunner.core.job import Job
    from batchrunner.core.lifecycle import State

_WATCH_INTERVAL = 2.0


def status(
    batch: Annotated[Path, typer.Argument(metavar="MANIFEST|FOLDER", help="A manifest, or a batch's folder.")],
    out: Out = OUT,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again whenever it changes.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show the progress of a batch, and whether it is running."""
    if watch and as_json:
        raise YoursError("--watch can't be combined with --json")
    if as_json:
        seen = _progress(batch, out)
        write(json_text(status_json(seen.name, seen.jobs, seen.states, seen.standing)))
        return
    console = Console(stderr=True, highlight=False)
    shown = None
    while True:
        seen = _progress(batch, out)
        now = replace(seen, standing=replace(seen.standing, now=0.0))
        if now != shown:
            if watch and console.is_terminal:
                console.clear()
            _show(seen)
            shown = now
        if not watch or all(isinstance(seen.states.get(job.id), Done | Failed | Unwanted) for job in seen.jobs):
            return
        time.sleep(_WATCH_INTERVAL)


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
        batch = load(place, Options(servers=(SIM,)))
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
    return Standing(now, held.pid, left.since, left.ends_at, left.servers, left.messages, missing=missing)


def _show(seen: _Progress) -> None:
    """Show the progress of a batch; jobs that are out of it are only counted."""
    out = [job.id for job in seen.jobs if isinstance(seen.states.get(job.id), Unwanted)]
    show(status_view(seen.name, [job for job in seen.jobs if job.id not in out], seen.states, seen.standing))
    for reason, count in Counter(seen.dropped[job] for job in out).items():
        say(f"{reason}: {counted(count, 'job')}")
