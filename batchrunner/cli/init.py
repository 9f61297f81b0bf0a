"""`init`, `schema` and `sim`: what helps to write a manifest and to try it."""

from __future__ import annotations

import json
import os
import signal
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from batchrunner.cli.output import say, tell
from batchrunner.errors import Complaint, LocalError, ManifestError, YoursError
from batchrunner.manifest.schema import manifest_schema
from batchrunner.manifest.tables import NAMED_BYTES, SourceError, read_text
from batchrunner.options import VARIABLE
from batchrunner.sim.machine import REFERENCE_STEPS, Pace
from batchrunner.sim.media import BoxRenderer
from batchrunner.sim.server import Simulator, serve
from batchrunner.sim.video import PyavRenderer
from batchrunner.workflow.graph import WorkflowError, read_graph
from batchrunner.workflow.init import first_manifest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batchrunner.sim.record import Event

# -- `init` and `schema`: files that help to write a manifest.


def init(workflow: Path) -> None:
    """Write a first manifest beside an exported workflow; an existing one is never overwritten.

    Raises ManifestError if the workflow can't be read, YoursError if the manifest is there already.
    """
    try:
        graph = read_graph(read_text(workflow, NAMED_BYTES))
    except (SourceError, WorkflowError) as error:
        raise ManifestError([Complaint(str(workflow), error.line, error.column, "", str(error))]) from None
    path = workflow.with_suffix(".yaml")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(first_manifest(workflow.name, graph))
    except FileExistsError:
        raise YoursError(f"{path} is there already: move it away, or edit it") from None
    except OSError as error:
        raise LocalError(f"{path}: {error.strerror}") from None
    say(f"wrote {path}: set its server, then try batchrunner plan {path}")


def schema() -> None:
    """Print the manifest's JSON Schema."""
    tell(json.dumps(manifest_schema(), ensure_ascii=False, indent=2))


# -- `sim`: the built-in ComfyUI on a port, until it is stopped.


@dataclass(frozen=True, slots=True)
class Wish:
    """What kind of server is wanted."""

    host: str
    port: int
    folder: Path
    seconds: float
    ttl: float | None
    record: Path | None
    plain: bool
    strict: bool


def sim(wish: Wish) -> None:
    """Serve until SIGINT or SIGTERM.

    Raises LocalError if the port is taken, a folder can't be used or PyAV is missing.
    """
    anyio.run(_serve, wish)


async def _serve(wish: Wish) -> None:
    with ExitStack() as stack:
        simulator = _machine(stack, wish)
        try:
            async with serve(simulator, wish.host, wish.port) as url:
                say(f"the built-in ComfyUI listens on {url}; Ctrl-C stops it")
                await _stopped()
        except OSError as error:
            raise LocalError(f"{wish.host}:{wish.port}: {error.strerror or error}") from None


def _machine(stack: ExitStack, wish: Wish) -> Simulator:
    try:
        return Simulator(
            wish.folder,
            pace=Pace(step=wish.seconds / REFERENCE_STEPS),
            token=os.environ.get(VARIABLE) or None,
            ttl=wish.ttl,
            renderer=BoxRenderer() if wish.plain else PyavRenderer(),
            listener=_recorder(stack, wish.record),
            strict=wish.strict,
        )
    except OSError as error:
        raise LocalError(f"{error.filename or wish.folder}: {error.strerror or error}") from None


async def _stopped() -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            return


def _recorder(stack: ExitStack, path: Path | None) -> Callable[[Event], None] | None:
    if path is None:
        return None
    file = stack.enter_context(path.open("a", encoding="utf-8", buffering=1))

    def record(event: Event) -> None:
        file.write(event.line() + "\n")

    return record
