"""The network in memory: who listens where, and how the ways there are.

A `Network` has one `Link` per server path, and a link is where the trouble is set: refuse, be silent, be slow, or arm
a `StreamFault` that strikes the next stream that carries enough.
"""

from __future__ import annotations

import asyncio
import errno
from contextvars import copy_context
from math import inf
from random import Random
from typing import TYPE_CHECKING

from tests.lab.connection import End
from tests.lab.link import Link

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.schedule import Schedule


class Listener(asyncio.Server):
    """A server that accepts connections in memory."""

    def __init__(self, loop: Schedule, network: Network, path: str, accept: Callable[[], asyncio.BaseProtocol]) -> None:
        super().__init__(loop, [], accept, None, 0, None)
        self.owner = loop.process
        self.context = copy_context()
        self.accept = accept
        self._network = network
        self._path = path

    def close(self) -> None:
        """Accept no more; connections stay."""
        self._network.forget(self._path, self)

    def is_serving(self) -> bool:
        """Tell whether it accepts connections."""
        return self._network.listener(self._path) is self

    async def start_serving(self) -> None:
        """Do nothing: it serves from the start."""

    async def wait_closed(self) -> None:
        """Do nothing: closing is at once."""


class Network:
    """Who listens where, and how the ways there are; a path is a name, no file."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._links: dict[str, Link] = {}
        self._listeners: dict[str, Listener] = {}

    def link(self, path: str) -> Link:
        """Return the way to the server at `path`, which need not be there yet."""
        return self._links.setdefault(path, Link(Random(f"{self._seed}/{path}")))  # noqa: S311 - a replay, no secret

    def listen(self, path: str, listener: Listener) -> None:
        """Let `listener` answer at `path`; OSError if a living one does already."""
        if self.listener(path) is not None:
            raise OSError(errno.EADDRINUSE, "somebody listens there already")
        self._listeners[path] = listener

    def listener(self, path: str) -> Listener | None:
        """Return who listens at `path`, if it lives."""
        listener = self._listeners.get(path)
        return None if listener is None or listener.owner.dead else listener

    def forget(self, path: str, listener: Listener) -> None:
        """Stop listening."""
        if self._listeners.get(path) is listener:
            del self._listeners[path]

    async def connect(self, loop: Schedule, path: str) -> End:
        """Connect to `path` and return the client's end, not yet open; ConnectionRefusedError if nobody is there."""
        link = self.link(path)
        arrives = link.arrival(loop.now, 0, to_server=True)
        if arrives == inf:
            await loop.create_future()  # for whoever waits: until their own time-out
        await asyncio.sleep(arrives - loop.now)
        listener = self.listener(path)
        if listener is None or loop.now < link.refuses_until:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "nobody listens there")
        client = End(loop, link, copy_context(), to_server=True)
        server = End(loop, link, listener.context.copy(), to_server=False)
        client.peer, server.peer = server, client
        loop.call_soon(server.open, listener.accept, context=server.context)
        return client
