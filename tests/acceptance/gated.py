"""A server in the test's own loop: whatever it is told to hold stays as it is until it is told to let go."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from socket import create_server
from threading import Event
from typing import TYPE_CHECKING

from aiohttp import web
from comfyui import free_port

from batchrunner.sim.machine import NodeFailure, Pace
from batchrunner.sim.media import BoxRenderer
from batchrunner.sim.record import What
from batchrunner.sim.server import Simulator
from tests.lab import other_user

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from socket import socket

    from aiohttp.typedefs import Handler
    from comfyui import Happening

    from batchrunner.sim.media import Order
    from batchrunner.sim.prompts import SimPrompt

_BODY = 100_000
_FIRST = 1_000
"""Bytes of a film, and those of them that still come when it is held."""
_WHO = "somebody"


@dataclass(frozen=True, slots=True)
class Holds:
    """What is held from the beginning."""

    request: str = ""
    """The first request with this method and path; of `GET /view`, all but the beginning of the film."""
    films: int | None = None
    """From which video of ours on the encoder stops, counted from 0; None: it never does."""
    pictures: bool = False
    """Whether it stops at another user's picture."""
    sick: bool = False
    """Whether every sampler of ours runs out of memory."""


class Encoder(BoxRenderer):
    """Encodes in a thread, and stops there while it is held: the prompt runs, and goes on running."""

    def __init__(self, holds: Holds) -> None:
        super().__init__(_BODY)
        self._films = holds.films
        self._pictures = holds.pictures
        self.free = Event()

    def render(self, order: Order) -> bytes:
        """Encode one file, once it may."""
        held = self._pictures if order.form == "png" else self._films == 0
        if held:
            self.free.wait()
        elif order.form != "png" and self._films:
            self._films -= 1
        return super().render(order)


@dataclass(eq=False)
class Gated:
    """One server, and who stands at its gate."""

    holds: Holds
    simulator: Simulator
    encoder: Encoder
    shut: bool = False
    """Whether every request from now on is held."""
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the request to be held is."""
    port: int = field(default_factory=free_port)
    _free: asyncio.Event = field(default_factory=asyncio.Event)
    _door: socket | None = None
    _site: web.SockSite | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    async def listen(self, runner: web.AppRunner) -> None:
        """Listen, at the same port every time."""
        self._door = create_server(("127.0.0.1", self.port))
        self._site = web.SockSite(runner, self._door)
        await self._site.start()

    async def go_away(self) -> None:
        """Refuse connections from now on.

        A connection that was accepted in this very turn of the loop gets its transport in the next one. Were the server
        closed in between, asyncio (before 3.13) would fail an assertion there, swallow it, and leave socket and
        transport to the garbage collector, which warns. So first nobody else is let in, and then the door is closed.
        """
        assert self._site is not None, "it never listened"
        assert self._door is not None, "it never listened"
        asyncio.get_running_loop().remove_reader(self._door)
        await asyncio.sleep(0)
        await self._site.stop()

    def answer(self) -> None:
        """Let go of every request."""
        self.shut = False
        self._free.set()

    def let_go(self) -> None:
        """Let go of everything, and be well again."""
        self.answer()
        self.encoder.free.set()
        self.simulator.machine.fault = None

    async def until(self, what: What, count: int) -> None:
        """Wait until this has happened to so many prompts of ours."""
        while sum(event.peer != _WHO for event in self.simulator.record.of(what)) < count:
            await self.simulator.record.next()

    def visit(self) -> None:
        """Let another user post a prompt."""
        number = len(self.strangers(What.POSTED))
        self.simulator.submit(other_user.prompt(number), _WHO)

    def strangers(self, what: What) -> list[str]:
        """Return the other users' prompts to which this happened."""
        return [event.prompt_id for event in self.simulator.record.of(what) if event.prefix == other_user.PREFIX]

    def events(self) -> list[Happening]:
        """Return what happened so far, oldest first."""
        return [asdict(event) for event in self.simulator.record]

    @web.middleware
    async def gate(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Hold what is to be held."""
        await request.read()  # its sender may be gone by the time it is let go
        asked = f"{request.method} {request.path}"
        wanted = asked == self.holds.request and not self.reached.is_set()
        if wanted and asked == "GET /view":
            return await self._begin(request, await handler(request))
        if wanted or self.shut:
            self.reached.set()
            await self._free.wait()
        return await handler(request)

    async def _begin(self, request: web.Request, whole: web.StreamResponse) -> web.StreamResponse:
        """Send the beginning of a film, and the rest when it may go."""
        assert isinstance(whole, web.FileResponse), "there is no film to hold"
        path = self.simulator.folder / "output" / request.query["filename"]
        film, stat = path.read_bytes(), path.stat()
        part = web.StreamResponse(headers={"ETag": f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"'})
        part.content_type, part.content_length = "video/mp4", len(film)
        await part.prepare(request)
        await part.write(film[:_FIRST])
        self.reached.set()
        await self._free.wait()
        with suppress(ConnectionError):  # its reader may have left
            await part.write(film[_FIRST:])
        return part


@asynccontextmanager
async def gated(folder: Path, holds: Holds) -> AsyncIterator[tuple[Gated, web.AppRunner]]:
    """Run a server; when the block ends, everything is let go."""
    encoder = Encoder(holds)
    simulator = Simulator(folder, pace=Pace.instant(), renderer=encoder, ttl=None)
    server = Gated(holds, simulator, encoder)
    if holds.sick:
        simulator.machine.fault = lambda prompt, node: _fault(simulator, prompt, node)
    application = simulator.application()
    application.middlewares.insert(0, server.gate)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await server.listen(runner)
    await simulator.start()
    try:
        yield server, runner
    finally:
        server.let_go()
        await simulator.stop()
        await runner.cleanup()


def _fault(simulator: Simulator, prompt: SimPrompt, node: str) -> NodeFailure | None:
    inputs = prompt.workflow[node]
    kind = simulator.catalogue[str(inputs["class_type"])].kind if isinstance(inputs, dict) else ""
    ours = prompt.prefix != other_user.PREFIX
    return NodeFailure.out_of_memory() if ours and kind == "sample" else None
