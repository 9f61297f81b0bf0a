"""`run`: start or continue a batch, or several."""

from __future__ import annotations

from typing import Annotated

import typer

from batchrunner.cli.parameters import (
    OWN_PROCESS,
    AsJson,
    Commands,
    Hours,
    Limit,
    Manifests,
    Only,
    Out,
    Outside,
    Servers,
    Sets,
    TokenFile,
    Until,
)
from batchrunner.errors import YoursError
from batchrunner.manifest import Options
from batchrunner.options import OUT, RunOptions
from batchrunner.passes import run_passes


def run(
    context: typer.Context,
    manifests: Manifests,
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
    """Start a batch, or continue it, until every job is done or failed. Several run one after another."""
    options = Options(tuple(server), tuple(sets), tuple(only), allow_outside, out)
    if len(manifests) > 1 and (sets or only or limit):
        raise YoursError("--set, --only and --limit are for a single manifest")
    more = (out, token_file, until, hours, as_json, verbose, allow_commands, limit)
    several = [RunOptions(manifest, options, *more) for manifest in manifests]
    return run_passes(several, may_restart=context.obj is OWN_PROCESS)
