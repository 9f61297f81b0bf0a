"""`why` and `rerun`: one job, by whatever name, explained or rendered again; `export`: all results as a table."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from batchrunner.cli.output import say, write
from batchrunner.cli.parameters import Out
from batchrunner.errors import YoursError
from batchrunner.find_job import batch_folder, find_job
from batchrunner.ledger import Ledger
from batchrunner.options import OUT
from batchrunner.show.events import job_history
from batchrunner.show.table import results_csv
from batchrunner.state import job_states, no_batch


def why(
    batch: Annotated[str, typer.Argument(metavar="[MANIFEST|FOLDER]", help="The batch; all of them without it.")],
    job: Annotated[
        str | None,
        typer.Argument(metavar="JOB", help="Its file's name, its id, its prompt's id, or how one of these begins."),
    ] = None,
    out: Out = OUT,
) -> None:
    """Explain what happened to a job, step by step."""
    found, errors = find_job(job or batch, Path(batch) if job else None, out)
    for damage in errors:
        say(str(damage))
    facts = found.facts
    state = job_states(found.snapshot.batch, [found.job.id], facts)[found.job.id]
    write("\n".join(job_history(found.job, facts, state)))


def export(
    batch: Annotated[Path, typer.Argument(metavar="MANIFEST|FOLDER", help="A manifest, or a batch's folder.")],
    out: Out = OUT,
    csv: Annotated[bool, typer.Option("--csv", help="As comma-separated values, the only format so far.")] = False,
) -> None:
    """Print all results as a table.

    It has a row for each saved file: path, parameters, seed, sha256, times.
    """
    if not csv:
        raise YoursError("choose a format: --csv")
    folder = batch_folder(batch, out)
    snapshot = Ledger.read(folder)
    if snapshot is None:
        raise no_batch(folder)
    states = job_states(snapshot.batch, snapshot.jobs, snapshot.facts)
    write(results_csv(list(snapshot.jobs.values()), states, snapshot.facts).removesuffix("\n"))
