"""`run`: start or continue a batch."""

from __future__ import annotations

from typing import Annotated

import typer

from batchrunner.cli.parameters import (
    OWN_PROCESS,
    AsJson,
    Commands,
    Hours,
    Limit,
    Manifest,
    Only,
    Out,
    Outside,
    Servers,
    Sets,
    TokenFile,
    Until,
)
from batchrunner.manifest import Options
from batchrunner.options import OUT, RunOptions
from batchrunner.run_batch import run_batch


def run(
    context: typer.Context,
    manifest: Manifest,
    server: Servers = [],
    out: Out = OUT,
    sets: Sets = [],
    only: Only = [],
    limit: Limit = None,
    until: Until = None,
    hours: Hours = None,
    allow_outside: Outside = False,
    allow_commands: Commands = False,
    token_file: TokenFile = None,
    as_json: AsJson = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="Print every detail, as plain lines.")] = False,
) -> int:
    """Start a batch, or continue it, until every job is done or failed."""
    options = Options(tuple(server), tuple(sets), tuple(only), allow_outside, out)
    return run_batch(
        RunOptions(manifest, options, out, token_file, until, hours, as_json, verbose, allow_commands, limit),
        may_restart=context.obj is OWN_PROCESS,
    )
