"""A server's websocket, of which one thing is used: that fewer prompts remain in its queue (docs/comfyui.md §20).

One call is one connection, from the handshake to its end, whatever ends it. Everything that comes is read, for one
client that does not read silences the sockets of all; what is no short `status` is dropped unparsed.
"""

from __future__ import annotations

import asyncio
import uuid
from contextlib import suppress
from typing import TYPE_CHECKING

import aiohttp

from batchrunner.comfy import errors, wire

if TYPE_CHECKING:
    from collections.abc import Callable

    from yarl import URL

    from batchrunner.comfy.secret import Credentials

HEARTBEAT = 20.0
"""Seconds between two pings; nginx closes a connection on which nothing happens for 60 s."""
OPENING = 10.0
"""Seconds until the first `status`, the handshake included."""
ECHO = 2.0
"""Seconds after a POST of ours within which a `status` tells of it, or the socket is deaf."""
_CLOSING = 1.0
_LARGEST = 2**22
"""Bytes of the largest message; a longer one ends the connection."""
_LONGEST_STATUS = 4096
_MARK = b"queue_remaining"
_GAP = 0.05
"""Seconds between two hints: those in between are told together."""


class HintSocket:
    """The socket of the server at `url`, which is that of its `/ws` without a query."""

    def __init__(self, url: URL, http: aiohttp.ClientSession, credentials: Credentials) -> None:
        self._url = url
        self._http = http
        self._credentials = credentials
        self._remaining: int | None = None
        """As of the last `status`, of this connection or one before."""
        self._heard_at = 0.0
        self._limit: asyncio.Timeout | None = None
        """When this connection is given up unless a `status` comes."""

    def posted(self, began: float) -> None:
        """Expect a `status`, because the server took a POST of ours that began at `began` on the loop's clock."""
        if self._limit is not None and self._limit.when() is None and self._heard_at < began:
            self._limit.reschedule(asyncio.get_running_loop().time() + ECHO)

    async def listen(self, heard: Callable[[bool, int], None]) -> None:
        """Connect under an id of its own, and listen until the connection ends.

        `heard(greeting, dropped)` is called for the second `status`, which proves that the socket is not deaf, and for
        those with fewer prompts than the one before, `dropped` fewer since the last call: at most every 50 ms. The
        first one greets whoever connects. An id that is used twice goes deaf (docs/comfyui.md §20).
        """
        hints = _Hints(heard)
        try:
            with suppress(*errors.ERRORS):
                connected = self._http.ws_connect(
                    self._url.with_query(clientId=uuid.uuid4().hex),
                    headers={**self._credentials.headers(), "Accept-Encoding": "identity"},
                    heartbeat=HEARTBEAT,
                    max_msg_size=_LARGEST,
                    decode_text=False,
                    timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSING),
                    ssl=self._credentials.tls or True,
                )
                async with asyncio.timeout(OPENING) as self._limit, connected as socket:
                    async for message in socket:
                        if message.type is aiohttp.WSMsgType.TEXT:
                            self._take(message.data, hints)
        finally:
            self._limit = None
            hints.cancel()

    def _take(self, message: bytes, hints: _Hints) -> None:
        """Read a message that may be a `status`."""
        if len(message) > _LONGEST_STATUS or _MARK not in message:
            return
        try:
            remaining = wire.remaining(wire.parse(message))
        except wire.WrongShapeError:
            return
        dropped = 0 if self._remaining is None else max(0, self._remaining - remaining)
        self._remaining, self._heard_at = remaining, asyncio.get_running_loop().time()
        if self._limit is not None:
            self._limit.reschedule(None)
        hints.take(dropped)


class _Hints:
    """What one connection tells: its second `status`, and drops, those within 50 ms together."""

    def __init__(self, heard: Callable[[bool, int], None]) -> None:
        self._heard = heard
        self._count = 0
        self._pause: asyncio.TimerHandle | None = None
        """Runs for 50 ms after a drop was told."""
        self._dropped = 0
        """How many prompts ended meanwhile."""

    def take(self, dropped: int) -> None:
        """Take in a `status`."""
        self._count += 1
        if dropped and self._pause is not None:
            self._dropped += dropped
        elif dropped or self._count == 2:
            self._tell(dropped)

    def cancel(self) -> None:
        """Tell nothing more."""
        if self._pause is not None:
            self._pause.cancel()

    def _tell(self, dropped: int) -> None:
        self._heard(self._count == 1, dropped)
        if dropped:
            self._pause = asyncio.get_running_loop().call_later(_GAP, self._go_on)

    def _go_on(self) -> None:
        self._pause = None
        dropped, self._dropped = self._dropped, 0
        if dropped:
            self._tell(dropped)
