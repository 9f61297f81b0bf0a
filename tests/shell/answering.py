"""Servers on the loopback that say what a test wants said, and remember what they were asked."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web
from aiohttp.test_utils import TestServer

from batchrunner.comfy.client import Client, session
from batchrunner.comfy.exchange import Timeouts
from batchrunner.comfy.secret import Credentials, Secret

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

    from batchrunner.core.job import Json

TOKEN = "tok-5f3a-secret"
PATIENT = Timeouts(connect=30.0, call=30.0, post=30.0, stall=30.0)
"""On a machine that does much else, whatever answers does so within this."""


@dataclass(frozen=True)
class Asked:
    """One request as it arrived."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass
class Place:
    """Where a server listens, and what it was asked."""

    url: str
    asked: list[Asked] = field(default_factory=list)


@asynccontextmanager
async def answering(answer: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> AsyncIterator[Place]:
    """Serve every address with `answer`."""
    place = Place("")

    async def remember(request: web.Request) -> web.StreamResponse:
        place.asked.append(Asked(request.method, request.path_qs, dict(request.headers), await request.read()))
        return await answer(request)

    application = web.Application(client_max_size=2**28)
    application.router.add_route("*", "/{any:.*}", remember)
    async with TestServer(application) as server:
        place.url = str(server.make_url("/"))
        yield place


@asynccontextmanager
async def raw(*pieces: bytes, hang: bool = False) -> AsyncIterator[Place]:
    """Serve each connection with the same bytes, whatever it says, then close it or (`hang`) fall silent."""
    place, ended = Place(""), asyncio.Event()

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            head = await reader.readuntil(b"\r\n\r\n")
            place.asked.append(Asked(*head.decode().split(" ")[:2], {}, head))
            for piece in pieces:
                writer.write(piece)
                await writer.drain()
            if hang:
                await ended.wait()
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    place.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    try:
        yield place
    finally:
        ended.set()
        server.close()
        await server.wait_closed()


@asynccontextmanager
async def client(place: Place, *, token: str | None = TOKEN, waits: Timeouts = PATIENT) -> AsyncIterator[Client]:
    """Yield a client for one place."""
    async with session() as http:
        yield Client(place.url, http, Credentials.bearer(Secret(token) if token else None), waits=waits)


def respond(status: int, body: bytes = b"", **headers: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Return an answer that is always the same; header names are given with `_` for `-`."""

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(
            status=status, body=body, headers={name.replace("_", "-"): value for name, value in headers.items()}
        )

    return answer


def tells(value: Json, status: int = 200) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Return the same in JSON."""

    async def answer(_request: web.Request) -> web.Response:
        return web.json_response(value, status=status)

    return answer
