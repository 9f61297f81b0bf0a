"""`gallery` and `promote`: a batch's page, and a manifest of the jobs picked there."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import anyio
import typer

from batchrunner.cli.output import say, write_new
from batchrunner.cli.parameters import KeyValue, Out, Outside, Place, Servers, Sets, key_value
from batchrunner.core.facts import Saved
from batchrunner.errors import YoursError
from batchrunner.files import replace_file
from batchrunner.ledger import holder
from batchrunner.manifest import Options, names_servers
from batchrunner.manifest.picks import Picks, read_picks
from batchrunner.manifest.promote import promote as promoted_manifest, promoted_name
from batchrunner.manifest.second_pass import SecondPass, second_pass
from batchrunner.manifest.tables import NAMED_BYTES, SourceError, read_text
from batchrunner.options import OUT, RunOptions
from batchrunner.process import wait_for_signal
from batchrunner.program import command_line
from batchrunner.remembered import NO_MANIFEST, out_words, recalled, run_context
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

if TYPE_CHECKING:
    from batchrunner.ledger import Snapshot

_SOON = 120.0
"""Seconds in which a living run writes the page again."""


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
    # A living run writes the data again, within a minute where the batch is not a large one.
    runs = holder(stored.folder) is not None
    page_status = PageStatus(
        at=time.time(),
        live=runs,
        next_at=time.time() + _SOON if runs else None,
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
    workflow: Annotated[
        Path | None, typer.Option(metavar="WORKFLOW.json", help="Send the picked files through this workflow.")
    ] = None,
    inputs: Annotated[
        list[KeyValue],
        typer.Option(
            "--input", metavar="P=NODE.INPUT", parser=key_value, help="Where a value goes in --workflow; repeatable."
        ),
    ] = [],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="The manifest to write, beside the batch's.")
    ] = None,
    allow_outside: Outside = False,
) -> None:
    """Write a manifest that renders the gallery's picks again.

    Prompts and seeds stay the same. --set size=1080p, for example, renders them larger. With --workflow their files go
    through another workflow instead: --workflow upscale.json --input video=10.file.
    """
    found = _picked_batch(picks, out, manifest, required=workflow is None)
    source, last = found.source, found.run.manifest_options
    servers = server or ([] if source and names_servers(source) else last.servers)
    outside = allow_outside or last.allow_outside
    options = Options(tuple(servers), tuple(sets), allow_outside=outside, out=found.folder.parent)
    if workflow is None:
        path, text = _rendered_again(found, output, options)
    else:
        path, text = _sent_through(found, workflow, inputs, output, options)
    write_new(path, text)
    done = counted(len(found.picked.picks), "pick") if found.file else "the finished jobs"
    say(f"wrote {path} with {done}; to check it: {command_line('plan', str(path), *out_words(found.run))}")


@dataclass(frozen=True, slots=True)
class _PickedBatch:
    """A batch, and what is picked of it."""

    picked: Picks
    folder: Path
    file: Path | None
    """The picks; None for all finished jobs."""
    content: Snapshot
    run: RunOptions
    """How the batch was run last."""

    @property
    def source(self) -> Path | None:
        """The batch's manifest, if it is known."""
        return None if self.run.manifest == NO_MANIFEST else self.run.manifest


def _picked_batch(picks: Path, out: Path, manifest: Path | None, *, required: bool) -> _PickedBatch:
    """Return the batch that `picks`, a file or a folder, belongs to. Raises YoursError.

    `required`: there must be picks and a manifest.
    """
    picked, folder, file = _picked(picks, out, required=required)
    # Who made a folder may be anybody: which manifest it is of is known from our own runs alone.
    named = manifest or (Path(picked.manifest) if picked.manifest and not picks.is_dir() else NO_MANIFEST)
    no_manifest = YoursError(f"{picks} names no manifest: add --manifest FILE")
    if not (picked.batch or picked.manifest or manifest):
        raise no_manifest
    if not picked.batch or picked.batch != Path(picked.batch).name:
        raise YoursError(f"{picks}: {picked.batch!r} is not a batch name")
    content = read_state(folder, picked.batch)
    if content is None:
        raise no_batch(folder)
    run = recalled(content.marks, RunOptions(named, out=folder.parent))
    if required and run.manifest == NO_MANIFEST:
        raise no_manifest
    return _PickedBatch(picked, folder, file, content, run)


def _rendered_again(found: _PickedBatch, output: Path | None, options: Options) -> tuple[Path, str]:
    """Return path and text of a manifest that renders the picks again. Raises YoursError."""
    source = found.run.manifest
    path = output or source.with_name(f"{promoted_name(found.picked.batch)}.yaml")
    if path.parent.resolve() != source.parent.resolve():
        near = source.parent
        raise YoursError(f"-o {path}: must lie in {near}, where the workflow and the input files are found")
    return path, promoted_manifest(found.picked, found.content.jobs, source, options, path.stem if output else "")


def _sent_through(
    found: _PickedBatch, workflow: Path, inputs: list[KeyValue], output: Path | None, options: Options
) -> tuple[Path, str]:
    """Return path and text of a manifest that sends the picks through `workflow`; the picks are copied beside them.

    Raises YoursError.
    """
    batch, jobs = found.picked.batch, found.content.jobs.values()
    path = output or workflow.with_name(f"{batch}-{workflow.stem}.yaml")
    within = _within(found.file, found.folder, path) if found.file else ""
    copied = found.file is not None and not (found.folder / within).exists()
    if copied:  # the copy is made last: what is picked is not looked up yet
        options = replace(options, pending={batch: tuple(jobs)})
    wanted = SecondPass(batch, within, workflow, inputs, {name for job in jobs for name in job.params})
    text = second_pass(wanted, path, found.source, options)
    if found.file and copied:
        replace_file(found.folder / within, found.file.read_bytes())
    return path, text


def _picked(picks: Path, out: Path, *, required: bool) -> tuple[Picks, Path, Path | None]:
    """Return what is picked, the batch's folder, and the file; of a folder without picks no file."""
    is_folder = picks.is_dir()
    file = picks / PICKS if is_folder else picks
    if is_folder and not file.exists():
        if not required:
            return Picks(picks.resolve().name, ()), picks, None
        serve = command_line("gallery", str(picks), "--serve")
        raise YoursError(f"{file}: there is no such file; {serve} writes it when you star a result")
    try:
        found = read_picks(read_text(file, NAMED_BYTES))
    except (SourceError, YoursError) as error:
        raise YoursError(f"{file}: {error}") from None
    return found, picks if is_folder else out / found.batch, file


def _within(picks: Path, folder: Path, target: Path) -> str:
    """Return where picks lie in their batch's folder, or are to be copied to."""
    file, root = picks.resolve(), folder.resolve()
    return str(file.relative_to(root)) if file.is_relative_to(root) else f"{target.stem}.picks.json"
