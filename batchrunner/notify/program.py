"""A program that is handed a notice: the user's own, or the small one of ours that speaks to apprise.

It runs without a shell and in a group of its own, so that it can be ended with everything it started.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from batchrunner.notify import services
from batchrunner.notify.webhook import Miss
from batchrunner.text import printable

if TYPE_CHECKING:
    from asyncio.subprocess import Process
    from collections.abc import Mapping, Sequence

_REAPED_WITHIN = 1.0


class Command:
    """The user's own command: a program, looked up in PATH, and its arguments."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._command = command
        self._environment = environment
        self.name = printable(Path(command[0]).name, 60)

    def __repr__(self) -> str:
        return f"Command({self.name})"

    async def deliver(self, body: bytes, limit: float) -> Miss | None:
        """Run it once with the notice on its input; a second time might do half of it twice."""
        ended = await fed(self._command, body, self._environment, limit)
        if isinstance(ended, Miss) or not ended:
            return ended or None
        return Miss(f"was ended by signal {-ended}" if ended < 0 else f"ended with exit {ended}", again=False)


class Apprise:
    """A URL of apprise's, for the many services it knows; in a program of its own, for apprise can't be stopped."""

    name = "apprise"

    def __init__(self, url: str, environment: Mapping[str, str]) -> None:
        self._url = url
        self._environment = environment

    def __repr__(self) -> str:
        return "Apprise()"

    async def deliver(self, body: bytes, limit: float) -> Miss | None:
        """Have apprise tell it once. The URL goes by the input: other users may read a command line."""
        command = (sys.executable, "-P", services.__file__)
        said = json.dumps({"url": self._url, "notice": json.loads(body)}).encode()
        ended = await fed(command, said, self._environment, limit)
        if isinstance(ended, Miss) or not ended:
            return ended or None
        return Miss(services.SAYS.get(ended, "ended in an error"), again=ended == services.UNDELIVERED)


async def fed(command: Sequence[str], body: bytes, environment: Mapping[str, str], limit: float) -> int | Miss:
    """Run a program with `body` on its input, no longer than `limit` seconds; return its exit code."""
    none = asyncio.subprocess.DEVNULL
    try:
        child = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=none,
            stderr=none,
            env=environment,
            start_new_session=True,
        )
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "its arguments can't be passed on"
        return Miss(f"can't be started: {why}", again=False)
    try:
        async with asyncio.timeout(limit):
            await child.communicate(body)
            return await child.wait()
    except TimeoutError:
        return Miss(f"did not end within {limit:g} s and was killed", again=False)
    finally:
        await _ended(child)


async def _ended(child: Process) -> None:
    """Kill the program and what it started, unless it has ended by itself."""
    if child.returncode is not None:
        return
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    if child.stdin is not None:
        child.stdin.close()
    with suppress(TimeoutError):
        async with asyncio.timeout(_REAPED_WITHIN):
            await child.wait()
