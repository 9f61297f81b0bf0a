"""Every way in which a server's websocket can be bad (docs/comfyui.md §20): what answers `GET /ws` instead of it."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING, Final

from aiohttp import ClientConnectionError, web

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler

WAYS: Final = (
    *("refused", "missing", "page", "bad-request", "redirect", "silent"),  # no socket at all
    *("mute", "deaf", "cut", "flood", "garbage", "huge", "lies", "hangs-in-close"),
)
_REFUSALS: Final = {"refused": 403, "missing": 404, "page": 200, "bad-request": 400, "redirect": 302}
_CUT_AFTER = 60.0
_FLOOD, _FLOODS_EVERY = 200, 20.0
_HUGE = 5 * 2**20
_GARBAGE: Final = (
    "",
    "[",
    "[]",
    "null",
    '"queue_remaining"',
    '{"type": "status"}',
    '{"type": "status", "data": {"status": {"exec_info": {"queue_remaining": null}}}}',
    '{"type": "status", "data": {"status": {"exec_info": {"queue_remaining": -1}}}}',
    '{"type": "status", "data": {"status": {"exec_info": {"queue_remaining": 1e999}}}}',
    '{"type": "executed", "data": {"status": {"exec_info": {"queue_remaining": 0}}}}',
    '{"queue_remaining":' * 200,
    "x" * 100_000,
)


async def answer(request: web.Request, go_on: Handler, how: str, seconds: float) -> web.StreamResponse:
    """Answer a handshake in one bad way, which lasts for so many seconds; `go_on` is the server's own answer."""
    if how in _REFUSALS:
        return _refusal(how)
    if how == "silent":
        await asyncio.sleep(seconds)
        return web.Response(status=504)
    if how == "cut":
        asyncio.get_running_loop().call_later(min(_CUT_AFTER, seconds), _abort, request)
        return await go_on(request)
    socket = web.WebSocketResponse()
    with suppress(ClientConnectionError, ConnectionError, TimeoutError):
        await socket.prepare(request)
        async with asyncio.timeout(seconds):
            await _misbehave(request, socket, how)
    _abort(request)
    return socket


async def _misbehave(request: web.Request, socket: web.WebSocketResponse, how: str) -> None:
    """Be an open socket of one bad kind, until it is closed or for ever."""
    if how != "mute":
        await socket.send_str(status(0))
    if how == "hangs-in-close" and request.transport is not None:
        request.transport.write(b"\x88\x00")  # a close frame, after which nothing more comes and nothing ends
    if how == "huge":
        await socket.send_bytes(bytes(_HUGE))
    if how == "garbage":
        for text in _GARBAGE:
            await socket.send_str(text)
        await socket.send_bytes(b"\x00\x00\x00\x01\x00\x00\x00\x01\xff\xd8\xff")
    if how in ("hangs-in-close", "huge"):
        await asyncio.Event().wait()
    reading = asyncio.ensure_future(_answer_pings(socket))
    while how in ("flood", "lies") and not reading.done():
        for number in range(_FLOOD if how == "flood" else 2):
            await socket.send_str(status(number % 2))
        await asyncio.wait([reading], timeout=_FLOODS_EVERY)
    await reading


async def _answer_pings(socket: web.WebSocketResponse) -> None:
    """Read until the client has closed."""
    async for _ in socket:
        pass


def status(remaining: int) -> str:
    """Return a `status` as the server writes it."""
    return json.dumps({"type": "status", "data": {"status": {"exec_info": {"queue_remaining": remaining}}}})


def _refusal(how: str) -> web.Response:
    headers = {"Location": "http://elsewhere:8188/ws"} if how == "redirect" else {}
    page = how == "page"
    text, kind = ("<html><title>Please sign in</title></html>", "text/html") if page else ("", "text/plain")
    return web.Response(status=_REFUSALS[how], text=text, content_type=kind, headers=headers)


def _abort(request: web.Request) -> None:
    if isinstance(request.transport, asyncio.Transport):
        request.transport.abort()
