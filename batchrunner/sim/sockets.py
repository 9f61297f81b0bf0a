"""What the server sends over `/ws` (docs/comfyui.md §20): hints; the facts are in queue and history."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from aiohttp import ClientConnectionError

if TYPE_CHECKING:
    from aiohttp import web

    from batchrunner.core.job import Json


class Sockets:
    """The open sockets by client id. When one of two under the same id closes, the other hears no more."""

    def __init__(self) -> None:
        self._open: dict[str, web.WebSocketResponse] = {}
        self._outbox: asyncio.Queue[tuple[str, dict[str, Json], Json]] = asyncio.Queue()
        self._flowing = asyncio.Event()
        self._flowing.set()

    def add(self, client_id: str, socket: web.WebSocketResponse) -> None:
        """Open a socket under this client id."""
        self._open[client_id] = socket

    def remove(self, client_id: str) -> None:
        """Forget whatever socket has this id now."""
        self._open.pop(client_id, None)

    def __len__(self) -> int:
        """Return how many clients hear messages."""
        return len(self._open)

    def send(self, event: str, message: dict[str, Json], client_id: Json = None) -> None:
        """Queue a message for one client, or for all; never waits."""
        if self._open:
            self._outbox.put_nowait((event, message, client_id))

    def hold(self) -> None:
        """Keep all messages back, as one client that reads nothing does; greetings are still sent."""
        self._flowing.clear()

    def release(self) -> None:
        """Let what was kept back come at once."""
        self._flowing.set()

    async def deliver_all(self) -> None:
        """Deliver queued messages in order, until cancelled."""
        while True:
            event, message, client_id = await self._outbox.get()
            await self._flowing.wait()
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
    """Tells how far the nodes of one prompt are."""

    def __init__(self, sockets: Sockets, prompt_id: str, client_id: Json) -> None:
        self._sockets = sockets
        self._prompt_id = prompt_id
        self._client_id = client_id
        self._nodes: dict[str, Json] = {}

    def to_client(self, event: str, message: dict[str, Json]) -> None:
        """Send to the client that posted the prompt; to nobody if it gave no id."""
        if self._client_id is not None:
            self._sockets.send(event, message, self._client_id)

    def start(self, node: str) -> None:
        """Say that a node begins."""
        self._state(node, 0.0, 1.0, "running")
        self.to_client("executing", {"node": node, "display_node": node, "prompt_id": self._prompt_id})

    def step(self, node: str, value: int, most: int) -> None:
        """Say that a sampler has made a step."""
        self._state(node, value, most, "running")
        message: dict[str, Json] = {"value": value, "max": most, "prompt_id": self._prompt_id, "node": node}
        self._sockets.send("progress", message, self._client_id)

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
        self._sockets.send("progress_state", message, self._client_id)
