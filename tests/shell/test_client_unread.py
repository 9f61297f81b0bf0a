"""A queue that was read counts, whatever becomes of the history: a poll is read in part."""

from __future__ import annotations

import asyncio
import itertools
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from answering import Place, answering, client

from batchrunner.comfy.exchange import Timeouts
from batchrunner.core.actions import Cause, Ended, Failure, Poll, PollResult, Row

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from batchrunner.core.job import Json

    Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]

QUEUE: Json = {"queue_running": [[1, "r", {}, {}, []]], "queue_pending": []}
POLL = Poll("s", ("a", "b", "c"), recent=3)
WAITS = Timeouts(connect=2.0, call=0.2, post=2.0, stall=0.05)


def _entry(prompt: str) -> Json:
    return {prompt: {"prompt": [0, prompt, {}, {}, []], "outputs": {}, "status": {"status_str": "success"}}}


def _server(broken: dict[str, Answer]) -> Answer:
    """Return a server that finished `a`, `b` and `c`, with other answers at some paths."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path in broken:
            return await broken[request.path](request)
        if request.path == "/queue":
            return web.json_response(QUEUE)
        return web.json_response(_entry(request.path.rpartition("/")[2]))

    return answer


async def _poll(place: Place, poll: Poll = POLL) -> PollResult:
    async with client(place, waits=WAITS) as comfy:
        look = await comfy.poll(poll)
    assert isinstance(look, PollResult)
    assert look.queue == (Row("r", 1.0, running=True),)
    return look


def _status(status: int, content_type: str = "application/json") -> Answer:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text="{", content_type=content_type)

    return answer


async def _silent(_: web.Request) -> web.Response:
    await asyncio.sleep(1.0)
    return web.Response()


async def _dropped(request: web.Request) -> web.Response:
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


QUICK_FAILURES = [
    pytest.param(_status(500), id="500"),
    pytest.param(_status(502, "text/html"), id="a page"),
    pytest.param(_status(401), id="401"),
    pytest.param(_status(404), id="404"),
    pytest.param(_status(200), id="no JSON"),
    pytest.param(_status(200, "text/html"), id="a page with 200"),
    pytest.param(_dropped, id="a broken connection"),
]


@pytest.mark.parametrize("failing", QUICK_FAILURES)
async def test_an_entry_that_can_not_be_read_is_unknown(failing: Answer) -> None:
    """One entry that fails is neither there nor absent; the others are read, and the list is not asked for."""
    async with answering(_server({"/history/a": failing})) as place:
        look = await _poll(place)
    assert {prompt: entry and entry.ended for prompt, entry in look.history.items()} == {
        "b": Ended.SUCCESS,
        "c": Ended.SUCCESS,
    }
    assert isinstance(look.unread, Failure)
    assert look.recent == ()
    # aiohttp repeats a GET whose connection broke, once.
    assert list(dict.fromkeys(asked.path for asked in place.asked)) == [
        "/queue",
        *(f"/history/{each}" for each in "abc"),
    ]


async def test_the_first_failure_is_told() -> None:
    """Of several failures the first is the one that a person hears of."""
    async with answering(_server({"/history/a": _status(500), "/history/b": _status(503)})) as place:
        look = await _poll(place)
    assert set(look.history) == {"c"}
    assert look.unread is not None
    assert look.unread.status == 500


async def test_silence_ends_the_asking() -> None:
    """After the first entry that does not come in time no other is waited for; what came before it counts."""
    async with answering(_server({"/history/b": _silent})) as place:
        look = await _poll(place)
    assert set(look.history) == {"a"}
    assert look.unread is not None
    assert (look.unread.timed_out, look.unread.sent) == (True, True)
    assert [asked.path for asked in place.asked] == ["/queue", "/history/a", "/history/b"]


async def test_a_refused_connection_ends_the_asking() -> None:
    """A server that stops after its queue was read refuses once, and is not asked for the other entries."""
    asked: list[str] = []
    closing: list[asyncio.Server] = []

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            asked.append((await reader.readuntil(b"\r\n\r\n")).decode().split(" ")[1])
            closing[0].close()
            body = b'{"queue_running": [[1, "r", {}, {}, []]], "queue_pending": []}'
            head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
            writer.write(head % len(body) + body)
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    closing.append(server)
    look = await _poll(Place(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"))
    assert (asked, dict(look.history)) == (["/queue"], {})
    assert look.unread is not None
    assert (look.unread.cause, look.unread.sent) == (Cause.UNAVAILABLE, False)


@pytest.mark.parametrize("failing", [each for each in QUICK_FAILURES if each.id != "404"])
async def test_a_list_that_can_not_be_read_is_told(failing: Answer) -> None:
    """The entries asked for by id count although the list of the last ones failed."""
    async with answering(_server({"/history": failing})) as place:
        look = await _poll(place)
    assert set(look.history) == {"a", "b", "c"}
    assert isinstance(look.unread, Failure)
    assert look.recent == ()


@pytest.mark.parametrize("content_type", ["text/plain", "text/html", "application/json"])
async def test_a_server_with_the_documents_addresses_only(content_type: str) -> None:
    """The list of the last entries is a convenience: a server without it is read in full."""
    async with answering(_server({"/history": _status(404, content_type)})) as place:
        look = await _poll(place)
    assert set(look.history) == {"a", "b", "c"}
    assert (look.recent, look.unread) == ((), None)


async def test_no_id_is_unread_for_ever() -> None:
    """Behind a proxy whose every third request goes to a dead server, two polls read every id."""
    count = itertools.count(1)

    async def answer(request: web.Request) -> web.StreamResponse:
        return await (_status(502) if next(count) % 3 == 2 else _server({}))(request)

    poll = Poll("s", ("a", "b"))
    async with answering(answer) as place, client(place, waits=WAITS) as comfy:
        polls = [await comfy.poll(poll) for _ in range(2)]
    assert [set(one.history) for one in polls if isinstance(one, PollResult)] == [{"b"}, {"a"}]
