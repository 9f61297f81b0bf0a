"""`why` and `rerun`: one job, by whatever name, explained or rendered again; `export`: all results as a table."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from batchrunner.cli.output import say, write
from batchrunner.cli.parameters import OWN_PROCESS, AsJson, Commands, Out, TokenFile
from batchrunner.core.facts import Reopened
from batchrunner.core.lifecycle import Fetching, Queued, Sending
from batchrunner.errors import YoursError
from batchrunner.find_job import find_job
from batchrunner.options import OUT, RunOptions
from batchrunner.run_batch import ask_consent, run_batch
from batchrunner.show.events import job_history
from batchrunner.show.table import results_csv
from batchrunner.state import job_states, open_batch, require_batch
from batchrunner.text import quote


def why(
    batch: Annotated[str, typer.Argument(metavar="MANIFEST|FOLDER", help="The batch; left out, all of them.")],
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


def rerun(
    context: typer.Context,
    job: Annotated[
        str, typer.Argument(metavar="FILE|JOB", help="A file, a job's id, a prompt's id, or how one of these begins.")
    ],
    out: Out = OUT,
    token_file: TokenFile = None,
    allow_commands: Commands = False,
    as_json: AsJson = False,
) -> int:
    """Render one result again, exactly.

    Workflow, parameters and seed are the same. The file that is there keeps its name; the new one gets another.
    """
    found, errors = find_job(job, None, out)
    for damage in errors:
        say(str(damage))
    given = RunOptions(found.folder, out=out, token_file=token_file, as_json=as_json, allow_commands=allow_commands)
    stored = require_batch(given)
    batch = stored.load()
    if found.job.id not in {each.id for each in batch.jobs}:
        raise YoursError(
            f"{stored.options.manifest} does not describe {quote(found.job.file)} any more: with another prompt, "
            "parameter or workflow it is another job"
        )
    ask_consent(stored.options, batch, may_restart=context.obj is OWN_PROCESS)
    with ExitStack() as stack:
        opened = open_batch(replace(given, allow_commands=True), stack)
        state = opened.states[found.job.id]
        if not isinstance(state, Sending | Queued | Fetching):  # else it is rendered again already
            opened.append(Reopened(found.job.id, state.past.highest, time.time()))
    return run_batch(opened.options, remember=False, jobs=frozenset({found.job.id}))


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
    stored = require_batch(RunOptions(batch, out=out))
    content = stored.content
    write(results_csv(list(content.jobs.values()), stored.states, content.facts).removesuffix("\n"))
