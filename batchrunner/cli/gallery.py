"""`gallery` and `promote`: the page of a batch rebuilt and served, and its picks as a manifest of their own."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from batchrunner.batch import ran, standing
from batchrunner.cli.output import say
from batchrunner.core.facts import Saved
from batchrunner.errors import LocalError, YoursError
from batchrunner.manifest import load
from batchrunner.manifest.promote import promote, promoted_name, read_picks
from batchrunner.manifest.tables import NAMED_BYTES, SourceError, read_text
from batchrunner.options import options_of
from batchrunner.show.gallery import (
    PageStatus,
    gallery_data,
    posters,
    serving,
    write_data,
    write_page,
    write_poster,
)
from batchrunner.show.report import RunContext, report, report_json

if TYPE_CHECKING:
    from batchrunner.options import Asked


def show(asked: Asked, *, serve: bool, port: int) -> None:
    """Rebuild a batch's page from its state file, with posters where PyAV is installed; serve it on request.

    Raises YoursError for a batch that was never run.
    """
    batch = load(asked.manifest, asked.options)
    folder = asked.out / batch.name
    snapshot = ran(folder, batch.name)
    states = standing(batch.name, snapshot.jobs, snapshot.facts)
    paths = [fact.path for fact in snapshot.facts if isinstance(fact, Saved)]
    for path in paths:
        write_poster(folder, path)
    told = report_json(
        report(batch.name, batch.jobs, states, snapshot.facts, RunContext(str(asked.manifest), str(folder)))
    )
    seen = PageStatus(
        at=time.time(),
        manifest=str(asked.manifest),
        options=options_of(asked),
        posters=posters(folder, paths),
        report=told,
    )
    page = write_page(folder, batch.name)
    write_data(folder, gallery_data(batch.name, batch.jobs, states, snapshot.facts, seen))
    if serve:
        anyio.run(_serve, folder, port)
    else:
        say(f"wrote {page}")


async def _serve(folder: Path, port: int) -> None:
    async with serving(folder, port) as url:
        say(f"the gallery is at {url}; Ctrl-C ends it")
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async for _ in signals:
                return


# -- `promote`: what was starred in the gallery becomes a manifest of its own.


def promote_picks(picks_file: Path, asked: Asked) -> None:
    """Write a manifest that renders the picks again, with `--set` changed, beside the batch's own.

    `asked.manifest` is that manifest, or an empty path to take the one the gallery knew. Raises YoursError if a file
    is missing or wrong, or the new manifest is there already.
    """
    try:
        picks = read_picks(read_text(picks_file, NAMED_BYTES))
    except (SourceError, YoursError) as error:
        raise YoursError(f"{picks_file}: {error}") from None
    source = asked.manifest if asked.manifest.name else Path(picks.manifest)
    if not source.name:
        raise YoursError("the picks don't say which manifest they are of: add --manifest FILE")
    if not picks.batch or picks.batch != Path(picks.batch).name:
        raise YoursError(f"{picks_file}: {picks.batch!r} is no batch's name")
    jobs = ran(asked.out / picks.batch, picks.batch).jobs
    text = promote(picks, jobs, source, asked.options)
    path = source.with_name(f"{promoted_name(picks.batch)}.yaml")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise YoursError(f"{path} is there already: move it away, or edit it") from None
    except OSError as error:
        raise LocalError(f"{path}: {error.strerror}") from None
    count = len(picks.picks)
    say(f"wrote {path}: {count} {'pick' if count == 1 else 'picks'}; now batchrunner plan {path}")
