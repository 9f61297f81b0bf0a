"""Answers that never end, or that grow when they are read: over real sockets, at full speed, into every call."""

from __future__ import annotations

import asyncio
import gzip
from collections import Counter
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from films import PREFIX

from batchrunner.comfy import wire
from batchrunner.comfy.client import Client, session
from batchrunner.comfy.exchange import Timeouts
from batchrunner.core.actions import Cause, Download, Failure, Poll, PollResult, Rejected
from batchrunner.core.facts import File
from batchrunner.download.transfer import Downloader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
    from pathlib import Path

_MIB = 2**20
_GIB = 2**30
_LARGEST = 8 * _MIB
_WAITS = Timeouts(connect=2.0, call=0.5, post=0.5, stall=0.5)
_JSON = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
_FILM = b"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\n"
_CHUNK = b"10000\r\n%s\r\n" % (b" " * 2**16)


@dataclass(frozen=True, slots=True)
class Flood:
    """A beginning, and what follows it: `times` times over, or for ever."""

    begins: bytes
    goes_on: bytes
    times: int | None = None
    ends: bytes = b""

    def pieces(self) -> Iterator[bytes]:
        """Yield all of it, in pieces of about 64 KiB."""
        yield self.begins
        several = max(1, 2**16 // len(self.goes_on))
        whole, left = divmod(self.times, several) if self.times is not None else (None, 0)
        while whole is None or whole:
            yield self.goes_on * several
            whole = None if whole is None else whole - 1
        yield self.goes_on * left + self.ends


def _grows(item: bytes, size: int | None = None) -> Flood:
    """Return a queue of as many items as are just let through, or of `size` bytes."""
    begins, ends = b'{"queue_running": [], "queue_pending": [', b"0]}"
    times = (wire.MAX_MEMORY - 10_000) // wire.estimated_memory(item) if size is None else size // len(item)
    times = min(times, (32 * _MIB - 100) // len(item))
    length = len(begins) + len(item) * times + len(ends)
    return Flood(b"%sContent-Length: %d\r\n\r\n%s" % (_JSON, length, begins), item, times, ends)


def _all(head: bytes) -> dict[str, Flood]:
    """Return what no call is interested in, by name."""
    chunked = head + b"Transfer-Encoding: chunked\r\n\r\n"
    bomb = gzip.compress(bytes(64 * _MIB), 9)
    return {
        "1 GiB": Flood(b"%sContent-Length: %d\r\n\r\n" % (head, _GIB), bytes(2**16), _GIB // 2**16),
        "chunks without end": Flood(chunked, _CHUNK),
        "a body without end": Flood(head + b"\r\n", bytes(2**16)),
        "a bomb": Flood(b"%sContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % (head, len(bomb)), bomb, 1),
        "a bomb in plain": Flood(b"%sContent-Length: %d\r\n\r\n" % (head, len(bomb)), bomb, 1),
        "headers without end": Flood(head, b"X: " + b"y" * 60 + b"\r\n"),
        "a header without end": Flood(head + b"X: ", b"y" * 2**16),
        "a chunk's name without end": Flood(chunked + b"2;", b"y" * 2**16),
        "trailers without end": Flood(chunked + b"2\r\n{}\r\n0\r\n", b"X: y\r\n"),
        "100s without end": Flood(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
    }


_GROWING = {
    "arrays": b"[],",
    "objects": b"{},",
    "objects of one key": b'{"":0},',
    "arrays of arrays": b"[" * 900 + b"]" * 900 + b",",
    "objects of objects": b'{"":' * 900 + b"0" + b"}" * 900 + b",",
    "wide texts": b'"\xf0\x9f\x90\xb1",',
    "long wide texts": b'"%s\xf0\x9f\x90\xb1",' % (b"a" * 4_000),
    "escaped wide texts": b'"%s\\ud83d\\udc31",' % (b"a" * 4_000),
    "numbers": b"1.5,",
    "long numbers": b"9" * 4_000 + b",",
}


async def floods(folder: Path) -> Counter[str]:
    """Let every flood meet every call; return how they ended, by name. Raises SystemExit if one ends otherwise."""
    found: Counter[str] = Counter()
    calls = _calls(folder)
    for request, call in calls.items():
        head = _FILM if "/view" in request else _JSON
        said = _all(head)
        if request in ("GET /queue", "GET /object_info"):
            said |= {f"{name}, just let through": _grows(item) for name, item in _GROWING.items()}
            said |= {f"32 MiB of {name}": _grows(item, 32 * _MIB - 100) for name, item in _GROWING.items()}
        for name, flood in said.items():
            found[await _met(flood, f"{name} in answer to {request}", request, call)] += 1
    return found


async def _met(flood: Flood, what: str, request: str, call: Callable[[Client], Awaitable[object]]) -> str:
    """Let one flood meet one call; return the name of how that ended, and keep nothing else of it."""
    async with _flooding(flood, request) as url, session() as http:
        end = await call(Client(url, http, waits=_WAITS))
    told = request == "GET /object_info" and isinstance(end, dict)
    unread = "/history" in request and isinstance(end, PollResult) and not end.history.get("a") and not end.recent
    if isinstance(end, Rejected) or (isinstance(end, Failure) and end.cause is Cause.UNAVAILABLE) or told or unread:
        return "told" if told else type(end).__name__.lower()
    raise SystemExit(f"{what} ended as {end!r:.500}")


@asynccontextmanager
async def _flooding(flood: Flood, request: str) -> AsyncIterator[str]:
    """Answer one kind of request with a flood, and every other one well."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            head = await reader.readuntil(b"\r\n\r\n")
            bad = head.decode("latin-1").startswith(request)
            good = (
                _JSON + b'\r\n{"queue_running": [], "queue_pending": []}' if b" /queue" in head else _JSON + b"\r\n{}"
            )
            for piece in flood.pieces() if bad else [good]:
                writer.write(piece)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        await server.wait_closed()


def _calls(folder: Path) -> dict[str, Callable[[Client], Awaitable[object]]]:
    fetch = Download("0123456789ab", 1, PREFIX, "s", File(f"{PREFIX}_00001_.mp4"))
    downloads = Downloader(folder, "boot", largest=_LARGEST)
    look = Poll("s", ("a",), 100)
    return {
        "GET /queue": lambda client: client.poll(look),
        "GET /history/": lambda client: client.poll(look),
        "GET /history?": lambda client: client.poll(look),
        "POST /prompt": lambda client: client.submit(b"{}"),
        "GET /view": lambda client: downloads.fetch(fetch, client, "night/cat", lambda *_: None),
        "GET /object_info": lambda client: client.object_info(),
    }
