"""`gallery` and `promote`: a batch's page, and a manifest of the jobs picked there."""

from __future__ import annotations

import shlex
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import anyio
import typer

from batchrunner.cli.output import say, write_new
from batchrunner.cli.parameters import Out, Outside, Place, Servers, Sets
from batchrunner.core.facts import Saved
from batchrunner.errors import YoursError
from batchrunner.manifest import Options, names_servers
from batchrunner.manifest.promote import promote as promoted_manifest, promoted_name, read_picks
from batchrunner.manifest.tables import NAMED_BYTES, SourceError, read_text
from batchrunner.options import OUT, RunOptions
from batchrunner.process import wait_for_signal
from batchrunner.remembered import UNKNOWN, recalled, run_context
from batchrunner.show.gallery import (
    PICKS,
    PageStatus,
    gallery_data,
    serving,
    write_data,
    write_page,
    write_posters,
)
from batchrunner.show.report import report, report_json
from batchrunner.state import no_batch, past_runs, read_state, require_batch
from batchrunner.text import counted


def gallery(
    batch: Place,
    out: Out = OUT,
    serve: Annotated[bool, typer.Option("--serve", help="Serve the page on this machine, for a browser.")] = False,
    port: Annotated[
        int | None,
        typer.Option(metavar="PORT", min=0, max=65535, help="Port for --serve (0: any free one)."),
    ] = None,
) -> None:
    """Rebuild the page of all results, with preview pictures."""
    stored = require_batch(RunOptions(batch, out=out))
    jobs, facts = stored.content.current, stored.content.facts
    context = replace(run_context(stored.going_on, stored.name), runs=tuple(past_runs(stored.content)))
    summary = report(stored.name, jobs, stored.states, facts, context)
    page_status = PageStatus(
        at=time.time(),
        manifest=context.manifest,
        commands=context.lasting,
        posters=write_posters(stored.folder, [fact.path for fact in facts if isinstance(fact, Saved)]),
        report=report_json(summary),
    )
    page = write_page(stored.folder, stored.name)
    write_data(stored.folder, gallery_data(stored.name, jobs, stored.states, facts, page_status))
    if serve:
        anyio.run(_serve, stored.folder, port)
    else:
        say(f"wrote {page}")


async def _serve(folder: Path, port: int | None) -> None:
    async with serving(folder, port) as url:
        say(f"gallery: {url} (press Ctrl-C to stop)")
        await wait_for_signal()


def promote(
    picks: Annotated[
        Path,
        typer.Argument(metavar="PICKS|FOLDER", help="The picks.json saved from the gallery, or a folder with one."),
    ],
    sets: Sets = [],
    server: Servers = [],
    out: Out = OUT,
    manifest: Annotated[
        Path | None, typer.Option(metavar="MANIFEST", help="The batch's manifest, if picks.json does not name it.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="The manifest to write, beside the batch's.")
    ] = None,
    allow_outside: Outside = False,
) -> None:
    """Write a manifest that renders the gallery's picks again.

    Prompts and seeds stay the same. --set size=1080p, for example, renders them larger.
    """
    stored = require_batch(RunOptions(picks, out=out)) if picks.is_dir() else None
    picks = picks / PICKS if stored else picks
    try:
        picked = read_picks(read_text(picks, NAMED_BYTES))
    except (SourceError, YoursError) as error:
        raise YoursError(f"{picks}: {error}") from None
    # Who made a folder may be anybody: which manifest it is of is known from our own runs alone.
    source = manifest or (stored.options.manifest if stored else Path(picked.manifest))
    if not source.name or source == UNKNOWN:
        raise YoursError(f"{picks} names no manifest: add --manifest FILE")
    if not picked.batch or picked.batch != Path(picked.batch).name:
        raise YoursError(f"{picks}: {picked.batch!r} is not a batch name")
    content = stored.content if stored else read_state(out / picked.batch, picked.batch)
    if content is None:
        raise no_batch(out / picked.batch)
    last = recalled(content.marks, RunOptions(source, out=out)).manifest_options
    servers = server or ([] if names_servers(source) else last.servers)
    options = Options(tuple(servers), tuple(sets), allow_outside=allow_outside or last.allow_outside, out=out)
    path = output or source.with_name(f"{promoted_name(picked.batch)}.yaml")
    if path.parent.resolve() != source.parent.resolve():
        raise YoursError(f"-o {path}: must lie in {source.parent}, where the workflow and the input files are found")
    text = promoted_manifest(picked, content.jobs, source, options, path.stem if output else "")
    write_new(path, text)
    command = shlex.join(("batchrunner", "plan", str(path)))
    say(f"wrote {path} with {counted(len(picked.picks), 'pick')}; to check it: {command}")
