"""What happened on a simulated server, in order: tests read it as evidence."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class What(StrEnum):
    """The kinds of things that happen."""

    POSTED = "posted"
    """A prompt was accepted; note: its number."""
    REFUSED = "refused"
    """A prompt was answered with 400; note: the error's type."""
    STARTED = "started"
    CACHED = "cached"
    """A save node was answered from the cache: nothing was written; note: the old file."""
    ENCODED = "encoded"
    """A text encoder ran; note: the node's signature."""
    RENDERED = "rendered"
    """A sampler ran to its end; note: the node's signature, equal for equal pictures."""
    SAVED = "saved"
    """A file was written whole; note: its path below the output folder."""
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    """Ended in execution_error; note: the exception's type."""
    INTERRUPTED = "interrupted"
    DELETED = "deleted"
    """A pending prompt was deleted."""
    FORGOTTEN = "forgotten"
    """A history entry was deleted, by a request or because there were too many."""
    LOADED = "loaded"
    """A loader read an input file; note: the sha256 (hex) of what it read."""
    VIEWED = "viewed"
    """A file that exists was asked for with GET; note: its path."""
    UPLOADED = "uploaded"
    """A file was uploaded, or was there already; note: its path below the folder."""
    SWEPT = "swept"
    """A file was cleaned up; note: its path."""
    RESTARTED = "restarted"
    WEDGED = "wedged"
    """The thread that executes prompts died (docs/comfyui.md §4); note: why."""


@dataclass(frozen=True, slots=True)
class SimEvent:
    """One thing that happened. `at` is wall time in seconds; unknown texts are empty."""

    at: float
    what: What
    prompt_id: str = ""
    prefix: str = ""
    """The filename prefix of the prompt's first save node."""
    peer: str = ""
    """The address that asked, where somebody did."""
    note: str = ""

    def line(self) -> str:
        """Return the event as one line of JSON."""
        return json.dumps(asdict(self))


class Record:
    """The events so far, oldest first. `also` is called with each new one, and may be replaced at any time."""

    def __init__(self, wall: Callable[[], float], also: Callable[[SimEvent], None] | None = None) -> None:
        self._wall = wall
        self.also = also
        self._events: list[SimEvent] = []
        self._waiting: list[asyncio.Future[None]] = []

    def add(self, what: What, prompt_id: str = "", prefix: str = "", peer: str = "", note: str = "") -> None:
        """Note that something happened now."""
        event = SimEvent(self._wall(), what, prompt_id, prefix, peer, note)
        self._events.append(event)
        if self.also is not None:
            self.also(event)
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
        self._waiting.clear()

    def of(self, *what: What) -> list[SimEvent]:
        """Return the events of these kinds, oldest first."""
        return [event for event in self._events if event.what in what]

    async def next(self) -> None:
        """Wait until something more happens."""
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        await waiting

    async def until(self, what: What, count: int = 1) -> SimEvent:
        """Wait until this has happened `count` times, if it has not yet; return that event."""
        while len(self.of(what)) < count:
            await self.next()
        return self.of(what)[count - 1]

    def renders(self) -> Counter[str]:
        """Return how often each picture was rendered, by its sampler's signature: a 2 is work done twice."""
        return Counter(event.note for event in self.of(What.RENDERED))

    def __iter__(self) -> Iterator[SimEvent]:
        return iter(tuple(self._events))

    def __len__(self) -> int:
        return len(self._events)


def lines_to(path: Path) -> Callable[[SimEvent], None]:
    """Return a listener that appends each event to `path` as a line of JSON, so that it outlives the simulator."""

    def append(event: SimEvent) -> None:
        with path.open("a", encoding="utf-8") as file:
            file.write(event.line() + "\n")

    return append
