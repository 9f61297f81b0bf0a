"""What happened on a simulated server, in order: the evidence that tests ask."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from aiohttp import ClientConnectionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from aiohttp import web

    from batchrunner.core.job import Json


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
    VIEWED = "viewed"
    """A file that exists was asked for with GET; note: its path."""
    SWEPT = "swept"
    """A file was cleaned up; note: its path."""
    RESTARTED = "restarted"
    WEDGED = "wedged"
    """The thread that executes prompts died (PROTOCOL.md §1, 9); note: why."""


@dataclass(frozen=True, slots=True)
class Event:
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

    def __init__(self, wall: Callable[[], float], also: Callable[[Event], None] | None = None) -> None:
        self._wall = wall
        self.also = also
        self._events: list[Event] = []
        self._waiting: list[asyncio.Future[None]] = []

    def add(self, what: What, prompt_id: str = "", prefix: str = "", peer: str = "", note: str = "") -> None:
        """Note that something happened now."""
        event = Event(self._wall(), what, prompt_id, prefix, peer, note)
        self._events.append(event)
        if self.also is not None:
            self.also(event)
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
        self._waiting.clear()

    def of(self, *what: What) -> list[Event]:
        """Return the events of these kinds, oldest first."""
        return [event for event in self._events if event.what in what]

    async def next(self) -> None:
        """Wait until something more happens."""
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        await waiting

    async def until(self, what: What, count: int = 1) -> Event:
        """Wait until this has happened `count` times, if it has not yet; return that event."""
        while len(self.of(what)) < count:
            await self.next()
        return self.of(what)[count - 1]

    def renders(self) -> Counter[str]:
        """Return how often each picture was rendered, by its sampler's signature: a 2 is work done twice."""
        return Counter(event.note for event in self.of(What.RENDERED))

    def __iter__(self) -> Iterator[Event]:
        return iter(tuple(self._events))

    def __len__(self) -> int:
        return len(self._events)


def lines_to(path: Path) -> Callable[[Event], None]:
    """Return a listener that appends each event to `path` as a line of JSON, so that it outlives the simulator."""

    def append(event: Event) -> None:
        with path.open("a", encoding="utf-8") as file:
            file.write(event.line() + "\n")

    return append


# -- What a server tells over `/ws` (PROTOCOL.md §5): a hint for whoever listens, never the truth.


class Sockets:
    """The open sockets by client id. A second one under the same id goes deaf when the first closes, as there."""

    def __init__(self) -> None:
        self._open: dict[str, web.WebSocketResponse] = {}
        self._outbox: asyncio.Queue[tuple[str, dict[str, Json], Json]] = asyncio.Queue()

    def add(self, client_id: str, socket: web.WebSocketResponse) -> None:
        """Take a socket in."""
        self._open[client_id] = socket

    def remove(self, client_id: str) -> None:
        """Forget whatever socket has this id now."""
        self._open.pop(client_id, None)

    def tell(self, event: str, message: dict[str, Json], client_id: Json = None) -> None:
        """Send a message to one client, or to all; never waits."""
        if self._open:
            self._outbox.put_nowait((event, message, client_id))

    async def pump(self) -> None:
        """Deliver messages in order, for ever."""
        while True:
            event, message, client_id = await self._outbox.get()
            for name, socket in tuple(self._open.items()):
                if client_id is None or name == client_id:
                    await deliver(socket, event, message)

    async def close(self) -> None:
        """Close every socket."""
        for socket in tuple(self._open.values()):
            await socket.close()
        self._open.clear()


async def deliver(socket: web.WebSocketResponse, event: str, message: dict[str, Json]) -> None:
    """Send one message; a client that is gone misses it."""
    try:
        await socket.send_json({"type": event, "data": message})
    except (ClientConnectionError, ConnectionError):
        return


class Progress:
    """How far the nodes of one prompt are, told step by step."""

    def __init__(self, sockets: Sockets, prompt_id: str, client_id: Json) -> None:
        self._sockets = sockets
        self._prompt_id = prompt_id
        self._client_id = client_id
        self._nodes: dict[str, Json] = {}

    def to_client(self, event: str, message: dict[str, Json]) -> None:
        """Tell the client that posted the prompt; without a client id nobody hears it."""
        if self._client_id is not None:
            self._sockets.tell(event, message, self._client_id)

    def start(self, node: str) -> None:
        """Say that a node begins."""
        self._state(node, 0.0, 1.0, "running")
        self.to_client("executing", {"node": node, "display_node": node, "prompt_id": self._prompt_id})

    def step(self, node: str, value: int, most: int) -> None:
        """Say that a sampler has made a step."""
        self._state(node, value, most, "running")
        message: dict[str, Json] = {"value": value, "max": most, "prompt_id": self._prompt_id, "node": node}
        self._sockets.tell("progress", message, self._client_id)

    def finish(self, node: str) -> None:
        """Say that a node is done."""
        self._state(node, 1.0, 1.0, "finished")

    def _state(self, node: str, value: float, most: float, state: str) -> None:
        self._nodes[node] = {
            "value": value,
            "max": most,
            "state": state,
            "node_id": node,
            "prompt_id": self._prompt_id,
            "display_node_id": node,
            "parent_node_id": None,
            "real_node_id": node,
        }
        message: dict[str, Json] = {"prompt_id": self._prompt_id, "nodes": dict(self._nodes)}
        self._sockets.tell("progress_state", message, self._client_id)
