"""The built-in ComfyUI in a process of its own: it may be killed, and started again where it was."""

from __future__ import annotations

import json
import random
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Self

from processes import Running, until

if TYPE_CHECKING:
    from pathlib import Path

_UNCHOSEN = (10_000, 32_000)
"""Ports that neither Linux (from 32768 on) nor macOS (from 49152 on) ever chooses."""
_DICE = random.SystemRandom()
"""Several workers draw at the same time, and hypothesis seeds the global dice of each alike."""
Happening = dict[str, Any]
"""A line of the server's own record: at, what, prompt_id, prefix, peer, note."""


class Server:
    """A server with its files and its record below `folder`; it listens when the block begins."""

    def __init__(self, folder: Path, *, seconds: float = 0.2, ttl: float = 0.0, token: str = "") -> None:
        self._folder = folder
        self._seconds = seconds
        self._options = ("--ttl", str(ttl), "--plain")
        self._token = token
        self._running: Running | None = None
        self.port = free_port()
        self.record = folder / "record.jsonl"

    @property
    def url(self) -> str:
        """Where it listens, now or later."""
        return f"http://127.0.0.1:{self.port}"

    def start(self, token: str | None = None, seconds: float | None = None) -> None:
        """Start it, or start it again with all in its memory forgotten; `token` and `seconds` replace what was set."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._token = self._token if token is None else token
        self._seconds = self._seconds if seconds is None else seconds
        where = ("--port", str(self.port), "--dir", str(self._folder / "files"), "--record", str(self.record))
        pace = ("--seconds", str(self._seconds))
        self._running = Running(self._folder, "sim", "--strict", *where, *pace, *self._options, token=self._token)
        self._running.hear("listens on")

    def kill(self) -> str:
        """Kill it with SIGKILL; return what it had said."""
        return self._running.kill().err if self._running else ""

    @property
    def process(self) -> Running:
        """The process that listens now."""
        assert self._running is not None, "it was never started"
        return self._running

    def events(self, *what: str) -> list[Happening]:
        """Return what happened so far, oldest first; of these kinds only, if any is named."""
        if not self.record.exists():
            return []
        lines = self.record.read_text(encoding="utf-8").splitlines(keepends=True)
        events = [json.loads(line) for line in lines if line.endswith("\n")]
        return [event for event in events if not what or event["what"] in what]

    def until(self, what: str, count: int = 1) -> list[Happening]:
        """Wait until this has happened `count` times and return all of its kind."""
        return until(lambda: found if len(found := self.events(what)) >= count else None, f"no {count} x {what}")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


class Doorbell:
    """An address where nobody answers and every visit is noticed."""

    def __init__(self) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(0)
        self.url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def rang(self) -> bool:
        """Tell whether anybody came."""
        try:
            self._listening.accept()[0].close()
        except BlockingIOError:
            return False
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listening.close()


def free_port() -> int:
    """Return a port on which nobody listens, and which the system gives to nobody who does not ask for it.

    Ports that the system chooses itself would not do: while a server is down to be started again, a connection of any
    other process on this machine may come to leave from its port.
    """
    while True:
        port = _DICE.randrange(*_UNCHOSEN)
        with suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
