"""`.runner.json`: what the runner of a batch knows and no fact says, for `status` while it runs.

Only the lock says whether a runner lives (`ledger.holder`): the file of one that was killed stays, and counts only as
its last sign of life.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

from batchrunner.errors import LocalError
from batchrunner.files import replace_file
from batchrunner.show.listeners import Listener
from batchrunner.text import json_text, moment

if TYPE_CHECKING:
    from pathlib import Path

    from batchrunner.core.job import Json
    from batchrunner.show.live import BoardView, ServerView

FILE = ".runner.json"
_INTERVAL = 10.0
"""Seconds between two versions of the file, unless a server changes."""
_LARGEST = 2**20
"""Bytes read of the file."""
_WORDS = {
    "asking": "has not answered yet",
    "away": "unavailable",
    "denied": "refuses the token",
    "stalled": "runs nothing",
    "pausing": "pausing",
    "stuck": "one job takes very long",
}


@dataclass(frozen=True, slots=True)
class ServerState:
    """How one server does."""

    name: str
    state: str
    """As in `ServerView`."""
    since: float | None
    """Since when it fails, in seconds since the epoch."""
    message: str

    def trouble(self, now: float) -> str:
        """Return what is wrong with it, in one line; "" if nothing is."""
        if self.state == "up":
            return ""
        since = "" if self.since is None else f" since {moment(self.since, now)}"
        return f"{self.name}: {_WORDS.get(self.state, self.state)}{since}{f': {self.message}' if self.message else ''}"


@dataclass(frozen=True, slots=True)
class RunnerState:
    """A runner at one moment. Times in seconds since the epoch."""

    pid: int
    since: float
    """When it began."""
    at: float
    """When this was true."""
    ends_at: float | None = None
    """When everything will be done; None if there is no forecast."""
    servers: tuple[ServerState, ...] = ()
    messages: tuple[str, ...] = ()
    """What this machine lacks."""
    guessed: bool = False
    """Whether `ends_at` is no more than a guess."""


def server_states(servers: tuple[ServerView, ...], at: float) -> tuple[ServerState, ...]:
    """Return servers as they are at `at` (wall clock)."""
    return tuple(
        ServerState(one.url, one.state, None if one.since is None else round(at - one.since, 1), one.message)
        for one in servers
    )


def read_runner(folder: Path) -> RunnerState | None:
    """Return what the last runner of the batch in `folder` left; None if there is nothing, or nothing of ours."""
    try:
        opened = os.open(folder / FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(opened, "rb") as file:
            found = json.loads(file.read(_LARGEST))
        servers = tuple(
            ServerState(str(one["name"]), str(one["state"]), _time(one["since"]), str(one["message"]))
            for one in found["servers"]
        )
        since, at = float(found["since"]), float(found["at"])
        messages = tuple(str(message) for message in found["messages"])
        guessed = found["guessed"] is True
        return RunnerState(int(found["pid"]), since, at, _time(found["ends_at"]), servers, messages, guessed)
    except (OSError, ValueError, TypeError, KeyError, RecursionError, OverflowError):
        return None


def _time(value: Json) -> float | None:
    return float(value) if isinstance(value, int | float) else None


class RunnerFile(Listener):
    """Keeps the file of one run. One that can't be written costs nothing: it is tried again with the next board."""

    def __init__(self, folder: Path, pid: int, since: float) -> None:
        """`since` is now, in seconds since the epoch."""
        self._folder = folder
        self._state = RunnerState(pid, since, since)
        self._write()

    def tick(self, view: BoardView) -> None:
        """Write the file if a server changed, or if the last version is old."""
        servers = server_states(view.servers, view.at)
        changed = [(one.name, one.state) for one in servers] != [(one.name, one.state) for one in self._state.servers]
        changed |= (view.messages, view.guessed) != (self._state.messages, self._state.guessed)
        if changed or not 0 <= view.at - self._state.at < _INTERVAL:
            ends_at = None if view.left is None else view.at + view.left
            self._state = replace(
                self._state,
                at=view.at,
                ends_at=ends_at,
                guessed=view.guessed,
                servers=servers,
                messages=view.messages,
            )
            self._write()

    def _write(self) -> None:
        try:
            replace_file(self._folder / FILE, json_text(asdict(self._state)).encode())
        except LocalError:
            return
