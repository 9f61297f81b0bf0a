"""A ComfyUI on a real port to which the faults of a script happen: `python -m tests.lab.faulty --port 8188 ...`."""

from __future__ import annotations

import argparse
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from batchrunner.errors import YoursError
from batchrunner.sim.machine import REFERENCE_STEPS, Pace
from batchrunner.sim.media import BoxRenderer
from batchrunner.sim.server import Simulator, serve
from tests.lab.faults import Where, parse
from tests.lab.injector import FaultInjector

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.lab.faults import Script


def read_script(path: Path) -> Script:
    """Read the faults of a file.

    Raises YoursError if it can't be read, or names what can only happen in simulated nights.
    """
    try:
        script = parse(path.read_text(encoding="utf-8"), str(path))
    except OSError as error:
        raise YoursError(f"{path}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise YoursError(f"{path}: this is not UTF-8") from None
    for number, fault in enumerate(script, 1):
        whom = {Where.RUNNER: "a runner", Where.ADDRESS: "a server's address"}.get(fault.kind.where)
        if whom:
            raise YoursError(f"{path}: fault {number}: {fault.do} happens to {whom}, in simulated nights only")
    return script


def main(words: Sequence[str]) -> int:
    """Serve until SIGINT or SIGTERM; 2 if the script is refused."""
    parser = argparse.ArgumentParser("python -m tests.lab.faulty", description="A ComfyUI on which things go wrong.")
    parser.add_argument("script", type=Path, help="a list of faults, YAML or JSON")
    parser.add_argument("--port", type=int, default=8188)
    parser.add_argument("--dir", type=Path, default=Path("simulator"), help="where the server keeps its files")
    parser.add_argument("--seconds", type=float, default=1.5, help="time for a video of the reference size")
    parser.add_argument("--record", type=Path, help="append what happens to this file, a line of JSON each")
    asked = parser.parse_args(words)
    try:
        script = read_script(asked.script)
    except YoursError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    anyio.run(_serve, asked, script)
    return 0


async def _serve(asked: argparse.Namespace, script: Script) -> None:
    with ExitStack() as stack:
        record = stack.enter_context(asked.record.open("a", encoding="utf-8", buffering=1)) if asked.record else None
        simulator = Simulator(
            asked.dir,
            pace=Pace(step=asked.seconds / REFERENCE_STEPS),
            renderer=BoxRenderer(),
            listener=(lambda event: record.write(event.line() + "\n")) if record else None,
        )
        injector = FaultInjector(simulator, script)
        async with (
            serve(simulator, port=asked.port, application=injector.application()) as url,
            anyio.create_task_group() as group,
        ):
            group.start_soon(injector.run)
            sys.stdout.write(f"listens on {url}\n")
            sys.stdout.flush()
            with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
                async for _ in signals:
                    break
            group.cancel_scope.cancel()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
