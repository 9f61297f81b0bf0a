"""Real processes: started, listened to, signalled, and never waited for without a limit."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from dataclasses import dataclass
from threading import Condition, Event, Thread
from typing import IO, TYPE_CHECKING, Self, TypeVar

if TYPE_CHECKING:
    import signal
    from collections.abc import Callable, Collection, Iterable, Sequence
    from pathlib import Path

T = TypeVar("T")

LIMIT = 120.0
"""Seconds that anything here may take; what takes longer hangs."""
_BETWEEN = 0.01
COMMAND = (sys.executable, "-m", "batchrunner")
TOKEN = "BATCHRUNNER_TOKEN"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a process ended and all it said."""

    code: int
    out: str
    err: str


class Running:
    """A process, listened to from its start; leaving the block kills it if it still runs."""

    def __init__(
        self, folder: Path, *arguments: str, command: Sequence[str] = COMMAND, token: str = "", umask: int = -1
    ) -> None:
        environment = {name: value for name, value in os.environ.items() if name != TOKEN}
        if token:
            environment[TOKEN] = token
        self._process = subprocess.Popen(
            [*command, *arguments],
            cwd=folder,
            env=environment,
            umask=umask,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self.pid = self._process.pid
        self._news = Condition()
        self._out: list[str] = []
        self._err: list[str] = []
        self._open = 2
        self._ears = [
            Thread(target=self._listen, args=(stream, heard), daemon=True)
            for stream, heard in ((self._process.stdout, self._out), (self._process.stderr, self._err))
        ]
        for ear in self._ears:
            ear.start()

    def hear(self, text: str) -> str:
        """Wait until a line with `text` comes and return it."""
        with self._news:
            self._news.wait_for(lambda: self._line(text) or not self._open, LIMIT)
            line = self._line(text)
        assert line is not None, f"{text!r} was not said, but: {self._err}"
        return line

    def lasts(self, seconds: float) -> bool:
        """Tell whether it still runs after so many seconds."""
        try:
            self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return True
        return False

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def kill(self) -> Ended:
        """Kill it with SIGKILL, at whatever it is."""
        self._process.kill()
        return self.end()

    def end(self) -> Ended:
        """Wait until it has ended by itself."""
        try:
            code = self._process.wait(LIMIT)
        except subprocess.TimeoutExpired:
            self._process.kill()
            code = self._process.wait()
            self._hang_up()
            raise AssertionError(f"still running after {LIMIT} s: {self._err}") from None
        self._hang_up()
        return Ended(code, "".join(self._out), "".join(self._err))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()

    def _listen(self, stream: IO[str], heard: list[str]) -> None:
        for line in stream:
            with self._news:
                heard.append(line)
                self._news.notify_all()
        with self._news:
            self._open -= 1
            self._news.notify_all()

    def _line(self, text: str) -> str | None:
        return next((line for line in [*self._err, *self._out] if text in line), None)

    def _hang_up(self) -> None:
        for ear in self._ears:
            ear.join(LIMIT)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()


def ended(folder: Path, *arguments: str, command: Sequence[str] = COMMAND, token: str = "", umask: int = -1) -> Ended:
    """Run the command to its end."""
    with Running(folder, *arguments, command=command, token=token, umask=umask) as running:
        return running.end()


def until(found: Callable[[], T | None], message: str) -> T:
    """Look until something is found, and return it."""
    pause = Event()
    for _ in range(int(LIMIT / _BETWEEN)):
        if result := found():
            return result
        pause.wait(_BETWEEN)
    raise AssertionError(f"in {LIMIT} s: {message}")


def telling(cases: Iterable[T], most: Collection[T]) -> list[T]:
    """Return the cases that every check takes: the `most` telling ones; all with BATCHRUNNER_ACCEPTANCE=all."""
    everything = os.environ.get("BATCHRUNNER_ACCEPTANCE") == "all"
    return [case for case in cases if everything or case in most]


def chances(seed: int) -> random.Random:
    """Return chances that repeat."""
    return random.Random(seed)  # noqa: S311 - moments to kill at, not secrets
