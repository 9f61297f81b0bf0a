"""`sim`: the built-in ComfyUI on a port, until it is stopped."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from batchrunner.cli.speaking import say
from batchrunner.cli.token import VARIABLE
from batchrunner.errors import LocalError
from batchrunner.sim.boxes import BoxRenderer
from batchrunner.sim.pace import REFERENCE_STEPS, Pace
from batchrunner.sim.server import Simulator, serve
from batchrunner.sim.video import PyavRenderer

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batchrunner.sim.record import Event


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
