"""The socket that gives hints, in virtual time: what it tells, when it ends, what it sends."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from itertools import pairwise
from math import inf
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web

from batchrunner.comfy import client as comfy
from batchrunner.comfy.secret import Credentials, Secret
from batchrunner.core.actions import Taken
from tests.lab import bad_sockets
from tests.lab.bad_sockets import status
from tests.lab.clock import VirtualLoop, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

TOKEN = "correct-horse-battery"
Socket = web.WebSocketResponse


class Bench:
    """A server whose socket does what it is told, and a client that listens."""

    def __init__(self, loop: VirtualLoop, serve: Callable[[Socket], Awaitable[None]], how: str) -> None:
        self.loop = loop
        self.serve = serve
        self.how = how
        self.requests: list[web.Request] = []
        self.sockets: list[Socket] = []
        self.heard: list[tuple[float, bool, int]] = []
        """When, and whether it was the greeting, and a drop."""
        self.session = comfy.session(aiohttp.UnixConnector("server", force_close=True, limit=0))
        self.client = comfy.Client("http://server", self.session, Credentials.bearer(Secret(TOKEN)))

    async def socket(self, request: web.Request) -> web.StreamResponse:
        """Answer GET /ws, in a bad way if there is one."""
        self.requests.append(request)
        if self.how:
            return await bad_sockets.answer(request, self.socket, self.how, 3600.0)
        socket = Socket()
        await socket.prepare(request)
        self.sockets.append(socket)
        await self.serve(socket)
        async for _ in socket:
            pass
        return socket

    async def post(self, _request: web.Request) -> web.Response:
        """Answer POST /prompt."""
        return web.json_response({"prompt_id": "x", "number": 1, "node_errors": {}})

    async def listen(self) -> float:
        """Listen until the socket ends; return how long that took."""
        began = self.loop.time()
        await self.client.listen(lambda greeting, dropped: self.heard.append((self.loop.time(), greeting, dropped)))
        return self.loop.time() - began


@asynccontextmanager
async def bench(
    loop: VirtualLoop, serve: Callable[[Socket], Awaitable[None]] | None = None, *, how: str = ""
) -> AsyncIterator[Bench]:
    """Serve in memory; `how`: in one bad way."""
    here = Bench(loop, serve or greet, how)
    application = web.Application()
    application.router.add_get("/ws", here.socket)
    application.router.add_post("/prompt", here.post)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.UnixSite(runner, "server").start()
    try:
        async with here.session:
            yield here
    finally:
        await runner.cleanup()


async def greet(socket: Socket) -> None:
    """Greet whoever connects."""
    await socket.send_str(status(0))


def say(*counts: int, every: float = 0.0) -> Callable[[Socket], Awaitable[None]]:
    """Return what sends one `status` after the other, and closes."""

    async def serve(socket: Socket) -> None:
        for count in counts:
            await socket.send_str(status(count))
            await asyncio.sleep(every)
        await asyncio.sleep(1.0)
        await socket.close()

    return serve


@pytest.mark.parametrize(
    ("counts", "heard"),
    [
        ((0,), []),
        ((3, 3), [(False, 0)]),
        ((3, 4, 5), [(False, 0)]),
        ((3, 2, 2), [(False, 1)]),
        ((5, 2, 2), [(False, 3)]),
        ((0, 1, 1, 0), [(False, 0), (False, 1)]),
    ],
)
def test_what_is_told(counts: tuple[int, ...], heard: list[tuple[bool, int]]) -> None:
    """The second `status` is told, and each that shows fewer prompts than the one before, and how many fewer."""

    async def main(loop: VirtualLoop) -> None:
        async with bench(loop, say(*counts, every=0.2)) as here:
            await here.listen()
            assert [(greeting, dropped) for _, greeting, dropped in here.heard] == heard

    run(main, seed=1)


def test_hints_come_at_most_every_50_ms() -> None:
    """Of a thousand drops in a second one in 50 ms is told, the first at once and the last in the end."""

    async def main(loop: VirtualLoop) -> None:
        async with bench(loop, say(*[1, 0] * 1000, every=0.0005)) as here:
            await here.listen()
            times = [at for at, _, _ in here.heard]
            assert 18 <= len(times) <= 23
            assert min(later - earlier for earlier, later in pairwise(times)) >= 0.05 - 1e-9
            assert sum(dropped for _, _, dropped in here.heard) == 1000

    run(main, seed=1)


def test_what_ended_between_two_connections_is_told_by_the_greeting() -> None:
    """A socket that is opened again remembers how many prompts there were."""

    async def main(loop: VirtualLoop) -> None:
        async with bench(loop, say(2)) as here:
            await here.listen()
            here.serve = say(1)
            await here.listen()
            assert [(greeting, dropped) for _, greeting, dropped in here.heard] == [(True, 1)]

    run(main, seed=1)


def test_every_connection_has_an_id_of_its_own_and_shows_the_token_to_nobody_else() -> None:
    """The token is a header, there is no Origin, and no two connections have the same id (docs/comfyui.md §20)."""

    async def main(loop: VirtualLoop) -> None:
        async with bench(loop, say(0)) as here:
            await here.listen()
            await here.listen()
            ids = {request.query["clientId"] for request in here.requests}
            assert (len(ids), {len(one) for one in ids}) == (2, {32})
            for request in here.requests:
                assert request.headers["Authorization"] == f"Bearer {TOKEN}"
                assert "Origin" not in request.headers
                assert TOKEN not in str(request.url)

    run(main, seed=1)


@pytest.mark.parametrize("how", ["redirect", "refused", "missing", "page", "bad-request"])
def test_a_refusal_ends_the_attempt(how: str) -> None:
    """One request, no exception; a redirect is not followed, wherever it leads."""

    async def main(loop: VirtualLoop) -> None:
        async with bench(loop, how=how) as here:
            assert await here.listen() < 1.0
            assert (len(here.requests), here.heard) == (1, [])

    run(main, seed=1)


@pytest.mark.parametrize(("how", "longest"), [("silent", 10.1), ("mute", 11.1), ("huge", 2.0), ("hangs-in-close", 2.0)])
def test_an_attempt_that_leads_nowhere_ends(how: str, longest: float) -> None:
    """Without a first `status` in 10 s, with a message of 5 MiB, or half closed: the attempt is over."""

    async def main(loop: VirtualLoop) -> None:
        async with bench(loop, how=how) as here:
            assert await here.listen() <= longest
            assert here.heard == []

    run(main, seed=1)


def test_what_is_no_status_is_dropped() -> None:
    """Messages of the wrong shape, other messages and pictures tell nothing and end nothing."""

    async def main(loop: VirtualLoop) -> None:
        async with bench(loop, how="garbage") as here:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(here.listen(), 600.0)
            assert here.heard == []

    run(main, seed=1)


@pytest.mark.parametrize(("echo", "ends"), [(None, True), (1.5, False), (-0.005, False)])
def test_our_own_post_must_be_heard(echo: float | None, ends: bool) -> None:  # noqa: FBT001 - a table
    """A POST that is taken brings a `status` within 2 s, before its answer or after it, or the socket is deaf."""

    async def main(loop: VirtualLoop) -> None:
        async with bench(loop) as here:
            listening = loop.create_task(here.listen())
            await asyncio.sleep(5.0)

            async def tell() -> None:
                if echo is not None:
                    await asyncio.sleep(max(0.0, echo))
                    await here.sockets[0].send_str(status(1))

            posting = loop.create_task(here.client.submit(json.dumps({"prompt": {}}).encode()))
            await tell()
            assert isinstance(await posting, Taken)
            await asyncio.sleep(4.0)
            assert listening.done() is ends
            listening.cancel()

    run(main, seed=1)


def test_a_connection_that_died_is_noticed() -> None:
    """Where nothing comes any more, not even an answer to a ping, the socket ends within 31 s."""

    async def main(loop: VirtualLoop) -> None:
        async with bench(loop) as here:
            listening = loop.create_task(here.listen())
            await asyncio.sleep(100.0)
            assert not listening.done()
            loop.network.link("server").silent_until = inf
            await asyncio.sleep(32.0)
            assert listening.done()
            loop.network.link("server").silent_until = 0.0

    run(main, seed=1)


def test_the_end_of_a_run_waits_for_no_socket() -> None:
    """A listener that is cancelled ends in a second, whatever the server makes of it."""

    async def main(loop: VirtualLoop) -> None:
        async with bench(loop) as here:
            listening = loop.create_task(here.listen())
            await asyncio.sleep(5.0)
            loop.network.link("server").silent_until = inf
            began = loop.time()
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            assert loop.time() - began <= 1.0 + 1e-6
            loop.network.link("server").silent_until = 0.0

    run(main, seed=1)
