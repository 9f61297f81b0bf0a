"""The network in memory fails in every way the real one does."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
import pytest
from aiohttp import web

from tests.lab.clock import VirtualLoop, run
from tests.lab.link import How, Link, StreamFault

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

FILM = bytes(range(256)) * 1000
"""256,000 bytes."""


class Place:
    """A server with one film, the way to it, and a client."""

    def __init__(self, loop: VirtualLoop, session: aiohttp.ClientSession) -> None:
        self.loop = loop
        self.link: Link = loop.network.link("server")
        self.posts: list[float] = []
        self._session = session

    async def film(self, read: float | None = None) -> bytes:
        """Download the film."""
        timeout = aiohttp.ClientTimeout(total=None, sock_read=read, sock_connect=read)
        async with self._session.get("/film", timeout=timeout) as answer:
            return await answer.read()

    async def post(self, total: float | None = None) -> None:
        """Post something."""
        await self._session.post("/post", data=b"x" * 100, timeout=aiohttp.ClientTimeout(total=total))

    async def _film(self, _request: web.Request) -> web.Response:
        return web.Response(body=FILM)

    async def _post(self, request: web.Request) -> web.Response:
        await request.read()
        self.posts.append(self.loop.now)
        return web.Response()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Serve."""
        app = web.Application()
        app.add_routes([web.get("/film", self._film), web.post("/post", self._post)])
        runner = web.AppRunner(app, shutdown_timeout=1.0)
        await runner.setup()
        await web.UnixSite(runner, "server").start()
        yield
        await runner.cleanup()


def at_place(test: Callable[[Place], Awaitable[None]]) -> None:
    """Run `test` at a place of its own."""

    async def main(loop: VirtualLoop) -> None:
        connector = aiohttp.UnixConnector("server")
        async with aiohttp.ClientSession("http://server", connector=connector) as session:
            place = Place(loop, session)
            async with place.open():
                await test(place)

    run(main, seed=1)


def test_a_film_comes_whole_and_quickly() -> None:
    """Without trouble every byte arrives, within the latency of a few segments."""

    async def test(place: Place) -> None:
        assert await place.film() == FILM
        assert place.loop.now < 1

    at_place(test)


def test_a_slow_line_takes_its_time() -> None:
    """256,000 bytes at 1,000 a second take 256 seconds, and the server is held back meanwhile."""

    async def test(place: Place) -> None:
        place.link.rate = 1000
        assert await place.film() == FILM
        assert 256 <= place.loop.now < 258

    at_place(test)


def test_a_slow_line_is_shared() -> None:
    """Two requests on one line take twice as long together."""

    async def test(place: Place) -> None:
        place.link.rate = 1000
        async with aiohttp.ClientSession("http://server", connector=aiohttp.UnixConnector("server")) as other:
            first = place.loop.create_task(place.film())
            async with other.get("/film", timeout=aiohttp.ClientTimeout(total=None)) as answer:
                assert await answer.read() == FILM
            assert await first == FILM
        assert 512 <= place.loop.now < 515

    at_place(test)


def test_latency_is_paid_each_way() -> None:
    """With 10 s each way, connecting takes 10 s and an exchange 20."""

    async def test(place: Place) -> None:
        place.link.latency = (10, 10)
        await place.post()
        assert place.posts == [pytest.approx(20, abs=0.1)]
        assert place.loop.now == pytest.approx(30, abs=0.1)

    at_place(test)


def test_a_server_that_refuses_is_no_connection() -> None:
    """Refused while it lasts, and not a byte was sent; afterwards all is well."""

    async def test(place: Place) -> None:
        place.link.refuses_until = 100
        with pytest.raises(aiohttp.ClientConnectorError):
            await place.post()
        await place.loop.elapse(100)
        await place.post()
        assert len(place.posts) == 1

    at_place(test)


def test_a_black_hole_answers_nothing_until_it_ends() -> None:
    """Bytes sent into silence arrive when it ends, though their sender gave up long ago."""

    async def test(place: Place) -> None:
        await place.post()
        place.link.silent_until = 300
        with pytest.raises(TimeoutError):
            await place.post(total=60)
        assert place.loop.now < 62
        await place.loop.elapse(300)
        assert [int(at) for at in place.posts] == [0, 300]

    at_place(test)


def test_an_endless_black_hole_is_endless() -> None:
    """A connection into it times out, and nothing ever arrives."""

    async def test(place: Place) -> None:
        place.link.silent_until = float("inf")
        with pytest.raises(TimeoutError):
            await place.post(total=60)
        await place.loop.elapse(3600)
        assert place.posts == []

    at_place(test)


def test_a_reset_in_the_body_is_an_error() -> None:
    """A connection reset after 100,000 bytes breaks the download, once."""

    async def test(place: Place) -> None:
        place.link.arm(StreamFault(How.RESET, after=100_000))
        with pytest.raises(aiohttp.ClientError):
            await place.film()
        assert await place.film() == FILM

    at_place(test)


def test_a_truncated_body_is_an_error() -> None:
    """A body that ends early with a clean close is not taken for whole."""

    async def test(place: Place) -> None:
        place.link.arm(StreamFault(How.TRUNCATE, after=100_000))
        with pytest.raises(aiohttp.ClientPayloadError):
            await place.film()

    at_place(test)


def test_a_stall_ends_when_it_ends() -> None:
    """A body that stalls for ten minutes is whole after ten minutes, for those who wait."""

    async def test(place: Place) -> None:
        place.link.arm(StreamFault(How.STALL, after=100_000, seconds=600))
        assert await place.film() == FILM
        assert 600 <= place.loop.now < 602

    at_place(test)


def test_a_stall_for_ever_needs_an_inactivity_timeout() -> None:
    """Nothing more comes and nobody says so: only the reader's own time-out ends it."""

    async def test(place: Place) -> None:
        place.link.arm(StreamFault(How.STALL, after=100_000))
        with pytest.raises(TimeoutError):
            await place.film(read=30)
        assert 30 <= place.loop.now < 32

    at_place(test)


def test_a_request_can_arrive_long_after_its_sender_gave_up() -> None:
    """One segment held up for 300 s: the POST is executed once more, after the client has timed out."""

    async def test(place: Place) -> None:
        place.link.arm(StreamFault(How.STALL, to_server=True, seconds=300))
        with pytest.raises(TimeoutError):
            await place.post(total=60)
        await place.post()
        assert len(place.posts) == 1
        await place.loop.elapse(300)
        assert [int(at) for at in place.posts] == [60, 300]

    at_place(test)


def test_an_answer_can_be_lost_though_the_request_was_served() -> None:
    """A reset on the way back: the server did it, the client can't know."""

    async def test(place: Place) -> None:
        place.link.arm(StreamFault(How.RESET))
        with pytest.raises(aiohttp.ClientError):
            await place.post()
        assert len(place.posts) == 1

    at_place(test)
