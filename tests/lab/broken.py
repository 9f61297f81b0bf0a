"""Answers as they go wrong on the way: a middleware that stands before a simulator's own."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Final
from zlib import crc32

from aiohttp import web

from tests.lab import bad_sockets

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aiohttp.typedefs import Handler, Middleware

    from batchrunner.sim.server import Simulator
    from tests.lab.faults import Fault

_POSTS: Final = ("drop-reply", "bad-gateway", "gateway-timeout", "late-post", "lost-post")
_UPLOADS: Final = ("lost-upload", "drop-upload", "cut-upload", "hang-upload")
_ALL_UPLOADS: Final = frozenset({"refuse-uploads", "page-uploads", "slow-uploads"})
_FILMS: Final = ("reset-film", "stall-film", "truncate-film", "replace-film")
_PAGES: Final = {"page-404": (404,), "page-403": (403,), "page-5xx": (500, 502, 503, 520)}
_TITLES: Final = {403: "Access denied", 404: "Not Found", 500: "Internal Server Error", 503: "Service Unavailable"}
BLOCKED: Final = "Request blocked"
"""The title of the page that a firewall answers with."""
_REFUSALS: Final = {
    "firewall": (403, BLOCKED),
    "flaky": (502, "Bad Gateway"),
    "login-page": (200, "Please sign in"),
    "page-uploads": (403, "Access denied"),
    "refuse-uploads": (413, "Request Entity Too Large"),
    "unavailable": (503, "Service Unavailable"),
}


@dataclass(slots=True)
class _Armed:
    """A fault that strikes single requests, and how many more."""

    fault: Fault
    left: int


class Way:
    """The way to one simulator. `strike` puts a fault on it; `served` is called with each request that comes by."""

    def __init__(self, simulator: Simulator, served: Callable[[], None]) -> None:
        self._sim = simulator
        self._served = served
        self._armed: list[_Armed] = []
        self._spells: list[tuple[float, Fault]] = []
        self._doubted = 0
        """Requests that a flaky proxy has thought about."""
        self._pages = 0
        self.forbidden: set[str] = set()
        """Names of files that are never handed out: /view answers with a 403 page."""
        self.blocked: set[str] = set()
        """Ids of the prompts that a firewall kept out."""
        self._sockets: list[asyncio.Transport] = []

    def strike(self, fault: Fault) -> None:
        """Let `fault` happen from now on: to the next requests it fits, or to all for a while."""
        if fault.do in (*_POSTS, *_UPLOADS, *_FILMS):
            self._armed.append(_Armed(fault, fault.times))
        else:
            for_good = fault.do == "firewall" and not fault.lasts
            self._spells.append((inf if for_good else _now() + fault.lasts, fault))
        if fault.do == "bad-socket":
            for transport in self._sockets:
                transport.abort()
            self._sockets.clear()

    @property
    def middleware(self) -> Middleware:
        """Return the middleware to mount before all others."""

        @web.middleware
        async def way(request: web.Request, handler: Handler) -> web.StreamResponse:
            self._served()
            if _is_socket(request) and isinstance(request.transport, asyncio.Transport):
                self._sockets = [one for one in self._sockets if not one.is_closing()] + [request.transport]
            return await self._spelled(request, handler)

        return way

    async def _spelled(self, request: web.Request, go_on: Handler) -> web.StreamResponse:
        """Answer as the spells have it that lie on every request."""
        self._spells = [(until, fault) for until, fault in self._spells if until > _now()]
        for until, fault in tuple(self._spells):
            if not await self._concerns(request, fault):
                continue
            if fault.do in ("silence", "slow", "slow-uploads"):
                if not _is_upload(request):
                    await request.read()
                await asyncio.sleep(until - _now() if fault.do == "silence" else fault.by)
            elif fault.do == "flaky" and fault.how == "taken" and _is_prompt(request):
                await go_on(request)
                return _page(502, "Bad Gateway")
            elif fault.do == "bad-socket":
                return await bad_sockets.answer(request, go_on, fault.how, until - _now())
            elif fault.do in _PAGES:
                status = _PAGES[fault.do][self._pages % len(_PAGES[fault.do])]
                self._pages += 1
                return _page(status, _TITLES.get(status, "Bad Gateway"))
            else:
                return _refusal(request, fault, until - _now())
        return await self._single(request, go_on)

    async def _concerns(self, request: web.Request, fault: Fault) -> bool:
        """Tell whether a spell lies on this request: most lie on all, a flaky proxy's on a share drawn by a hash."""
        if fault.do == "flaky":
            self._doubted += 1
            return crc32(f"{self._sim.seed}/{self._doubted}".encode()) / 2**32 < fault.share
        if fault.do == "bad-socket":
            return _is_socket(request)
        if fault.do == "firewall":
            body = await request.read() if _is_prompt(request) else b""
            written = (fault.text, json.dumps(fault.text)[1:-1])
            if not any(text.encode() in body for text in written):
                return False
            self.blocked.add(str(json.loads(body).get("prompt_id", "")))
            return True
        if fault.do == "no-jobs":
            return "/api/jobs" in request.path
        return _is_upload(request) if fault.do in _ALL_UPLOADS else _is_about(request, fault.only)

    async def _single(self, request: web.Request, go_on: Handler) -> web.StreamResponse:
        """Answer as a fault has it that waits for just such a request."""
        if request.path.endswith("/view") and request.rel_url.query.get("filename") in self.forbidden:
            return _page(403, _TITLES[403])
        if _is_prompt(request):
            armed = self._next(_POSTS)
            return await (_post(request, go_on, armed) if armed else go_on(request))
        if _is_upload(request):
            armed = self._next(_UPLOADS)
            return await (_upload(request, go_on, armed) if armed else go_on(request))
        if request.method == "GET" and request.path.endswith("/view") and "Range" not in request.headers:
            response = await go_on(request)
            armed = self._next(_FILMS) if isinstance(response, web.FileResponse) else None
            return await self._film(request, armed) if armed else response
        return await go_on(request)

    def _next(self, kinds: tuple[str, ...]) -> Fault | None:
        for armed in self._armed:
            if armed.fault.do in kinds:
                armed.left -= 1
                self._armed = [other for other in self._armed if other.left > 0]
                return armed.fault
        return None

    async def _film(self, request: web.Request, fault: Fault) -> web.StreamResponse:
        """Send the beginning of a film under the length of all of it, and then something worse."""
        query = request.rel_url.query
        path = self._sim.folders.find(query["filename"], query.get("type", "output"), query.get("subfolder"))
        if isinstance(path, int):
            return web.Response(status=path)
        content, state = path.read_bytes(), path.stat()
        response = web.StreamResponse(headers={"ETag": f'"{state.st_mtime_ns:x}-{state.st_size:x}"'})
        response.content_type, response.content_length = "video/mp4", len(content)
        response.last_modified = state.st_mtime
        await response.prepare(request)
        await response.write(content[: fault.size])
        if fault.do == "stall-film":
            await asyncio.sleep(fault.by)
            with suppress(ConnectionError):  # its reader may have given up
                await response.write(content[fault.size :])
            return response
        if fault.do == "replace-film":
            self._replace(path, content)
        _break_off(request, reset=fault.do != "truncate-film")
        return response

    def _replace(self, path: Path, content: bytes) -> None:
        """Put another attempt's film in place of this one: as long, newer, with another prefix inside."""
        _, prefix = self._sim.owner(self._sim.folders.relative(path))
        ours = prefix.encode()
        path.write_bytes(content.replace(ours, b"x" * len(ours)) if ours else content)
        stamp = int(self._sim.wall() * 1e9)
        os.utime(path, ns=(stamp, stamp))


def _now() -> float:
    return asyncio.get_running_loop().time()


def _is_prompt(request: web.Request) -> bool:
    """Tell whether a prompt is posted."""
    return request.method == "POST" and request.path.endswith("/prompt")


def _is_socket(request: web.Request) -> bool:
    """Tell whether the websocket is asked for."""
    return request.path.endswith("/ws")


def _is_upload(request: web.Request) -> bool:
    """Tell whether an input file is uploaded."""
    return request.method == "POST" and request.path.endswith("/upload/image")


def _is_about(request: web.Request, only: str) -> bool:
    """Tell whether a request is of the kind that a fault happens to."""
    match only:
        case "view":
            return request.path.endswith("/view")
        case "post":
            return _is_prompt(request)
        case "history":
            return "/history" in request.path
        case _:
            return True


def _refusal(request: web.Request, fault: Fault, left: float) -> web.Response:
    """Answer in the server's place."""
    match fault.do:
        case "refuse":
            _break_off(request, reset=True)
            return web.Response(status=502)
        case "unauthorised" | "refuse-token":
            status = fault.status or 401
            return web.json_response({"error": "Forbidden" if status == 403 else "Unauthorized"}, status=status)
        case "refuse-uploads" if fault.how == "text":
            return web.Response(status=413, text="Maximum request body size 1 exceeded.")
        case "no-jobs":
            return _no_job(fault.how)
        case "too-many":
            return web.Response(status=429, text="slower, please", headers={"Retry-After": str(int(left) + 1)})
        case _:
            return _page(*_REFUSALS[fault.do])


async def _post(request: web.Request, go_on: Handler, fault: Fault) -> web.StreamResponse:
    """POST a prompt, or not, and answer something else."""
    await request.read()  # its sender may be gone by the time it is needed
    if fault.do == "lost-post":
        return _page(502, "Bad Gateway")
    if fault.do == "late-post":
        await asyncio.sleep(fault.by)
        return await go_on(request)
    response = await go_on(request)
    if fault.do == "drop-reply":
        _break_off(request, reset=True)
        return response
    if fault.do == "bad-gateway":
        return _page(502, "Bad Gateway")
    await asyncio.sleep(fault.by)
    return _page(504, "Gateway Time-out")


async def _upload(request: web.Request, go_on: Handler, fault: Fault) -> web.StreamResponse:
    """Take an upload, or a part of it, or nothing, and answer something else."""
    if fault.do == "lost-upload":
        with suppress(ConnectionError):  # its sender may have died
            await request.read()
        return _page(502, "Bad Gateway")
    response: web.StreamResponse = web.Response(status=502)
    if fault.do == "drop-upload":
        response = await go_on(request)
    elif fault.do == "hang-upload":
        await asyncio.sleep(fault.by)
    else:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            await request.content.readexactly(fault.size)
    _break_off(request, reset=True)
    return response


def _no_job(how: str) -> web.Response:
    """Answer a request for a job otherwise than with that job."""
    match how:
        case "error":
            return web.Response(status=500, text="500 Internal Server Error")
        case "page":
            return _page(404, _TITLES[404])
        case "json":
            return web.json_response({"detail": "Not Found"}, status=404)
        case _:
            return web.json_response({"jobs": [], "pagination": {"total": 0}})


def _break_off(request: web.Request, *, reset: bool) -> None:
    if isinstance(request.transport, asyncio.Transport):
        (request.transport.abort if reset else request.transport.close)()


def _page(status: int, title: str) -> web.Response:
    page = f"<html><head><title>{title}</title></head><body><h1>{title}</h1></body></html>"
    return web.Response(status=status, text=page, content_type="text/html")
