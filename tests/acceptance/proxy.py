"""A server behind a reverse proxy that can be told to misbehave, request kind by request kind, and that counts.

Both run in a thread of their own, on real sockets: the real command is waited for while they serve.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field, replace
from socket import create_server
from typing import TYPE_CHECKING

import aiohttp
import anyio
from aiohttp import web
from anyio.from_thread import start_blocking_portal
from comfyui import free_port
from processes import until

from batchrunner.sim.machine import REFERENCE_STEPS, Pace
from batchrunner.sim.media import BoxRenderer
from batchrunner.sim.server import Simulator, serve

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path
    from socket import socket

    from anyio.abc import BlockingPortal
    from comfyui import Happening

QUEUE, ENTRY, LIST, VIEW = "queue", "history", "history-list", "view"
PROMPT, DELETE, INTERRUPT, NODES, OTHER = "prompt", "delete", "interrupt", "object_info", "other"
KINDS = (QUEUE, ENTRY, LIST, VIEW, PROMPT, DELETE, INTERRUPT, NODES, OTHER)
_PATHS = {
    "GET /queue": QUEUE,
    "GET /history": LIST,
    "GET /view": VIEW,
    "POST /prompt": PROMPT,
    "POST /queue": DELETE,
    "POST /interrupt": INTERRUPT,
    "GET /object_info": NODES,
}
_HOPS = frozenset({"Connection", "Keep-Alive", "Transfer-Encoding", "Content-Length"})
"""Headers that are about one connection only."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What the proxy answers instead of the server."""

    status: int = 0
    """0: nothing, for ever."""
    body: str = ""
    content_type: str = "text/html"
    headers: tuple[tuple[str, str], ...] = ()
    every: int = 1
    """Only one request in so many fails."""
    times: int | None = None
    """After so many it is well again; None: it stays."""
    containing: str = ""
    """Only requests with this text in their body fail."""

    def one_in(self, every: int) -> Fault:
        """Return the same for one request in `every`, counted over all that meet it."""
        return replace(self, every=every)

    def first(self, times: int) -> Fault:
        """Return the same for the next `times` requests."""
        return replace(self, times=times)

    def against(self, text: str) -> Fault:
        """Return the same for requests whose body contains `text`."""
        return replace(self, containing=text)


HANGS = Fault()


def page(status: int, title: str) -> Fault:
    """Return an HTML page with a title."""
    return Fault(status, f"<!DOCTYPE html><html><head><title>{title}</title></head><body>{title}</body></html>")


def denial(status: int) -> Fault:
    """Return 401 or 403 as an API says it."""
    return Fault(status, '{"error": "denied"}', "application/json")


def too_many(seconds: int) -> Fault:
    """Return a 429 that says when to come back."""
    return replace(page(429, "Too Many Requests"), headers=(("Retry-After", str(seconds)),))


@dataclass(frozen=True, slots=True)
class Request:
    """A request that came, and how it was answered."""

    at: float
    """When it came, on the monotonic clock."""
    kind: str
    status: int
    """Of the answer; 0 while there is none."""
    passed: bool
    """Whether the server saw it."""


@dataclass(eq=False)
class _Meeting:
    fault: Fault
    kinds: frozenset[str]
    met: int = 0
    failed: int = 0

    def strikes(self, kind: str, body: bytes) -> bool:
        """Count a request that this fault is meant for, and tell whether it fails."""
        if kind not in self.kinds or self.fault.containing.encode() not in body:
            return False
        self.met += 1
        if self.met % self.fault.every or self.failed == self.fault.times:
            return False
        self.failed += 1
        return True


@dataclass(eq=False)
class Proxy:
    """The way to one server. Everything here may be called from the test's own thread."""

    simulator: Simulator
    tls: ssl.SSLContext | None = None
    port: int = field(default_factory=free_port)
    requests: list[Request] = field(default_factory=list)
    """All that came, in the order in which they were answered."""
    rewrites: dict[str, Callable[[bytes], bytes]] = field(default_factory=dict)
    """What the server's answers are turned into, by kind."""
    renames: tuple[str, str] = ("", "")
    """A piece of a file's name as the client asks for it, and as the server knows it."""
    _meetings: list[_Meeting] = field(default_factory=list)
    _portal: BlockingPortal | None = None
    _runner: web.AppRunner | None = None
    _site: web.SockSite | None = None
    _door: socket | None = None
    _upstream: str = ""
    _http: aiohttp.ClientSession | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def fail(self, fault: Fault, *kinds: str) -> None:
        """Answer requests of these kinds, by default of all, with a fault from now on."""
        self._meetings.append(_Meeting(fault, frozenset(kinds or KINDS)))

    def mend(self) -> None:
        """Let everything pass from now on."""
        self._meetings.clear()

    def close(self) -> None:
        """Refuse connections from now on."""
        self._call(self._close)

    def open(self) -> None:
        """Take connections again, at the same port."""
        self._call(self._open)

    def restart(self) -> None:
        """Have the server forget all but its files."""
        self._call(self._restart)

    def post(self, body: dict[str, object]) -> None:
        """Queue somebody else's prompt."""
        assert self._portal is not None, "it does not run"
        status, answer = self._portal.call(self.simulator.submit, body, "somebody")
        assert status == 200, answer

    def of(self, *kinds: str) -> list[Request]:
        """Return the requests of these kinds so far."""
        return [request for request in self.requests if request.kind in kinds]

    def events(self, *what: str) -> list[Happening]:
        """Return what happened on the server so far, oldest first; of these kinds only, if any is named."""
        return [asdict(event) for event in self.simulator.record if not what or event.what in what]

    def until(self, what: str, count: int = 1) -> None:
        """Wait until this has happened `count` times on the server."""
        until(lambda: len(self.events(what)) >= count, f"no {count} x {what}")

    def until_asked(self, kind: str, count: int = 1, *, status: int | None = None) -> None:
        """Wait until so many requests of a kind were answered, with this status if one is given."""

        def came() -> bool:
            return sum(status in (None, request.status) for request in self.of(kind)) >= count

        until(came, f"no {count} x {kind} ({status})")

    # -- in its own thread

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        """Serve while the block runs."""
        application = web.Application(client_max_size=2**27)
        application.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(application, access_log=None, shutdown_timeout=0.2)
        await self._runner.setup()
        async with serve(self.simulator) as self._upstream, aiohttp.ClientSession() as self._http:
            await self._open()
            try:
                yield
            finally:
                await self._runner.cleanup()

    def _call(self, work: Callable[[], object]) -> None:
        assert self._portal is not None, "it does not run"
        self._portal.call(work)

    async def _open(self) -> None:
        assert self._runner is not None, "it does not run"
        self._door = create_server(("127.0.0.1", self.port))
        self._site = web.SockSite(self._runner, self._door, ssl_context=self.tls)
        await self._site.start()

    async def _close(self) -> None:
        """Let nobody else in, then close the door (`gated.Gated.go_away` says why)."""
        assert self._site is not None, "it never listened"
        assert self._door is not None, "it never listened"
        asyncio.get_running_loop().remove_reader(self._door)
        await asyncio.sleep(0)
        await self._site.stop()

    async def _restart(self) -> None:
        self.simulator.restart()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        kind = _PATHS.get(f"{request.method} {request.path}", OTHER)
        if request.path.startswith("/history/"):
            kind = ENTRY
        at, body = time.monotonic(), await request.read()
        struck = [meeting.fault for meeting in self._meetings if meeting.strikes(kind, body)]
        if not struck:
            response = await self._pass(request, kind, body)
            self.requests.append(Request(at, kind, response.status, passed=True))
            return response
        fault = struck[0]
        self.requests.append(Request(at, kind, fault.status, passed=False))
        if not fault.status:
            await anyio.sleep_forever()
        text, content_type = fault.body, fault.content_type
        return web.Response(status=fault.status, text=text, content_type=content_type, headers=dict(fault.headers))

    async def _pass(self, request: web.Request, kind: str, body: bytes) -> web.Response:
        assert self._http is not None, "it does not run"
        url = self._upstream + str(request.rel_url).replace(*self.renames)
        headers = {name: value for name, value in request.headers.items() if name not in {"Host", *_HOPS}}
        async with self._http.request(request.method, url, data=body, headers=headers) as answer:
            said = await answer.read()
            passed = {name: value for name, value in answer.headers.items() if name not in _HOPS}
        if kind in self.rewrites:
            said = self.rewrites[kind](said)
        return web.Response(status=answer.status, body=said, headers=passed)


@contextmanager
def proxied(folder: Path, *, seconds: float = 0.1, tls: ssl.SSLContext | None = None) -> Iterator[Proxy]:
    """Run a server with its files in `folder`, and a proxy in front of it, while the block runs.

    A video of the reference size takes `seconds`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pace = Pace(step=seconds / REFERENCE_STEPS, save=0.01)
    proxy = Proxy(Simulator(folder, pace=pace, renderer=BoxRenderer(), ttl=None), tls)
    with start_blocking_portal() as portal:
        proxy._portal = portal
        with portal.wrap_async_context_manager(proxy.serving()):
            yield proxy
