"""`init`, `schema` and `sim`: a first manifest, its schema for editors, and a simulator to try it on."""

from __future__ import annotations

import json
import os
import shlex
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import anyio
import typer

from batchrunner.cli.output import say, write, write_new
from batchrunner.errors import Diagnostic, LocalError, ManifestError
from batchrunner.manifest.schema import manifest_schema
from batchrunner.manifest.tables import NAMED_BYTES, SourceError, read_text
from batchrunner.options import TOKEN_VARIABLE
from batchrunner.process import wait_for_signal
from batchrunner.sim.machine import REFERENCE_STEPS, Pace
from batchrunner.sim.media import BoxRenderer
from batchrunner.sim.server import Simulator, serve
from batchrunner.sim.video import renderer
from batchrunner.workflow.graph import WorkflowError, read_graph
from batchrunner.workflow.init import SCHEMA_FILE, first_manifest

if TYPE_CHECKING:
    from batchrunner.sim.record import SimEvent


def init(
    workflow: Annotated[
        Path, typer.Argument(metavar="WORKFLOW.json", help="Saved in ComfyUI with File > Export (API).")
    ],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="The manifest to write (WORKFLOW.yaml).")
    ] = None,
) -> None:
    """Write a first manifest for a workflow exported from ComfyUI.

    The schema that it names for editors is written beside it.
    """
    try:
        graph = read_graph(read_text(workflow, NAMED_BYTES))
        path = output or workflow.with_suffix(".yaml")
        text = first_manifest(Path(os.path.relpath(workflow, path.parent)).as_posix(), graph)
    except (SourceError, WorkflowError) as error:
        raise ManifestError([Diagnostic(str(workflow), error.line, error.column, "", str(error))]) from None
    write_new(path, text)
    schema_path = path.parent / SCHEMA_FILE
    try:
        schema_path.write_text(_schema() + "\n", encoding="utf-8")
    except OSError as error:
        raise LocalError(f"{schema_path}: {error.strerror}") from None
    say(f"wrote {path}; set its `server`, then check it: {shlex.join(('batchrunner', 'plan', str(path)))}")


def schema() -> None:
    """Print the manifest's JSON Schema, for editors."""
    write(_schema())


def _schema() -> str:
    return json.dumps(manifest_schema(), ensure_ascii=False, indent=2)


def sim(
    host: Annotated[str, typer.Option(metavar="HOST", help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="PORT", min=0, max=65535, help="Port to listen on (0: any free one).")
    ] = 8188,
    folder: Annotated[Path, typer.Option("--dir", metavar="DIR", help="Folder for its files.")] = Path("outputs/.sim"),
    seconds: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.0, help="Time to render 768x512, 25 frames, 20 steps.")
    ] = 1.5,
    ttl: Annotated[
        float, typer.Option(metavar="SECONDS", min=0.0, help="Delete each file after this time (0: never).")
    ] = 600.0,
    record: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Append every event to FILE, as JSON lines.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Refuse node classes and models that it does not have.")
    ] = False,
    plain: Annotated[bool, typer.Option("--plain", help="Write tiny placeholder files, not real videos.")] = False,
) -> None:
    """Run a simulated ComfyUI server, to try batches without a GPU.

    If BATCHRUNNER_TOKEN is set, clients must send that token.
    """
    with ExitStack() as stack:
        try:
            log = stack.enter_context(record.open("a", encoding="utf-8", buffering=1)) if record else None

            def listener(event: SimEvent) -> None:
                if log:
                    log.write(event.line() + "\n")

            simulator = Simulator(
                folder,
                pace=Pace(step=seconds / REFERENCE_STEPS),
                token=os.environ.get(TOKEN_VARIABLE) or None,
                ttl=ttl or None,
                renderer=BoxRenderer() if plain else renderer(say),
                listener=listener,
                strict=strict,
            )
        except OSError as error:
            raise LocalError(f"{error.filename or folder}: {error.strerror or error}") from None
        anyio.run(_serve, simulator, host, port)


async def _serve(simulator: Simulator, host: str, port: int) -> None:
    """Serve until SIGINT or SIGTERM. Raises LocalError if the port is taken."""
    try:
        async with serve(simulator, host, port) as url:
            say(f"simulator listens on {url} (press Ctrl-C to stop)")
            await wait_for_signal()
    except OSError as error:
        raise LocalError(f"{host}:{port}: {error.strerror or error}") from None
