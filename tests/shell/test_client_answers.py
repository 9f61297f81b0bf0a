"""Every status and shape that docs/comfyui.md names, and what the client makes of it."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from answering import Place, answering, client, raw, respond, tells
from films import graph

from batchrunner.core.actions import Cause, Ended, Failure, Poll, PollResult, Refused, Taken

if TYPE_CHECKING:
    from batchrunner.core.actions import PollEnd, PostEnd

POLL = Poll("s")
DATE = "Sun, 22 Nov 2026 05:13:15 GMT"
EMPTY = {"queue_running": [], "queue_pending": []}
JSON = "application/json; charset=utf-8"


async def _poll(place: Place, at: Poll = POLL) -> PollEnd:
    async with client(place) as comfy:
        return await comfy.poll(at)


async def _post(place: Place, body: bytes = b"{}") -> PostEnd:
    async with client(place) as comfy:
        return await comfy.submit(body)


async def _shop(request: web.Request) -> web.Response:
    """Answer as a server that finished `a`, is asked for `b/β`, and had one earlier prompt."""
    entry = {"prompt": [0, "a", {}, {}, []], "outputs": {}, "status": {"status_str": "success", "messages": []}}
    known = {"/queue": EMPTY, "/history/a": {"a": entry}, "/history": {"a": entry}}
    return web.json_response(known.get(request.path, {}), headers={"Date": DATE})


async def test_a_poll_reads_the_queue_before_the_history() -> None:
    """Queue, then each id, then the end of the history, in this order: else a finish slips between two reads."""
    async with answering(_shop) as place:
        look = await _poll(place, Poll("s", ("a", "b/β \ud800"), recent=64))
    assert isinstance(look, PollResult)
    assert [asked.path for asked in place.asked] == [
        "/queue",
        "/history/a",
        "/history/b%2F%CE%B2%20%ED%A0%80",
        "/history?max_items=64",
    ]
    assert look.history["a"] is not None
    assert look.history["a"].ended is Ended.SUCCESS
    assert look.history["b/β \ud800"] is None
    assert [entry.prompt for entry in look.recent] == ["a"]
    assert look.date == 1795324395.0


async def test_a_queue_is_the_one_of_this_poll() -> None:
    """A queue that did not change gives the same rows again; one that did, or that fails, is never the one before."""
    rows = [[1, "a", graph("night-0123456789ab-a1"), {}, []], [2, "b", {}, {}, []]]
    kept = {"queue_running": rows[:1], "queue_pending": rows[1:]}
    said: list[tuple[Any, int]] = [(kept, 200), (kept, 200), (kept, 502), (EMPTY, 200), ({}, 200), (kept, 200)]
    left = iter(said)

    async def answer(_request: web.Request) -> web.Response:
        value, status = next(left)
        return web.json_response(value, status=status)

    async with answering(answer) as place, client(place) as comfy:
        first, again, failed, empty, wrong, last = [await comfy.poll(POLL) for _ in said]
    assert isinstance(first, PollResult)
    assert [(row.prompt, row.running) for row in first.queue] == [("a", True), ("b", False)]
    assert isinstance(again, PollResult)
    assert isinstance(last, PollResult)
    assert first.queue == again.queue == last.queue
    assert isinstance(failed, Failure)
    assert isinstance(empty, PollResult)
    assert empty.queue == ()
    assert isinstance(wrong, Failure)


async def test_a_poll_never_asks_for_the_whole_history() -> None:
    """Without a number of last entries the history is asked by id only: the whole of it can be 26 MB."""
    async with answering(_shop) as place:
        await _poll(place, Poll("s", ("a",)))
    assert [asked.path for asked in place.asked] == ["/queue", "/history/a"]


@pytest.mark.parametrize("status", [200, 404, 500, 502])
async def test_without_the_queue_there_is_no_poll(status: int) -> None:
    """If the queue can't be read nothing else is asked for, and nothing is absent."""

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/queue":
            return web.Response(status=status, text="<html>", content_type="text/html")
        return await _shop(request)

    async with answering(answer) as place:
        look = await _poll(place, Poll("s", ("a",), recent=3))
    assert isinstance(look, Failure)
    assert look.cause is Cause.UNAVAILABLE
    assert [asked.path for asked in place.asked] == ["/queue"]


@pytest.mark.parametrize(
    ("status", "cause", "word"),
    [
        (401, Cause.UNAUTHORIZED, "401"),
        (403, Cause.UNAUTHORIZED, "403"),
        (404, Cause.UNAVAILABLE, "(404): is the URL right"),
        (429, Cause.UNAVAILABLE, "fewer requests"),
        (204, Cause.UNAVAILABLE, "204"),
        (400, Cause.UNAVAILABLE, "400"),
        (418, Cause.UNAVAILABLE, "418"),
        (500, Cause.UNAVAILABLE, "500"),
        (502, Cause.UNAVAILABLE, "502"),
        (504, Cause.UNAVAILABLE, "504"),
    ],
)
async def test_every_status_has_one_meaning_for_a_poll(status: int, cause: Cause, word: str) -> None:
    """401 and 403 are a matter of the token; everything else that is no 200 means the server is away."""
    async with answering(respond(status, b"{}", Content_Type=JSON)) as place:
        trouble = await _poll(place)
        async with client(place) as comfy:
            ordered = await comfy.withdraw(["a"])
            stopped = await comfy.interrupt("a")
    for each in (trouble, ordered, stopped):
        assert isinstance(each, Failure)
        assert (each.cause, each.sent, each.status, each.page) == (cause, True, status, False)
        assert word in each.message


@pytest.mark.parametrize("status", [404, 405, 408, 429, 500, 502, 503, 504])
async def test_a_post_that_failed_there_may_have_arrived(status: int) -> None:
    """A 500 was seen with the prompt already queued, a 504 with the prompt run: only a poll can tell."""
    async with answering(respond(status, b"<html>", Content_Type="text/html")) as place:
        end = await _post(place)
    assert isinstance(end, Failure)
    assert (end.cause, end.sent) == (Cause.UNAVAILABLE, True)
    assert len(place.asked) == 1


@pytest.mark.parametrize(
    ("status", "content_type", "word"),
    [
        (400, JSON, "without a reason"),
        (422, JSON, "without a reason"),
        (413, JSON, "large"),
        (413, "text/html", "large"),
    ],
)
async def test_a_refusal_may_have_no_reason(status: int, content_type: str, word: str) -> None:
    """A 400 or 422 that can't be read, and a 413 from anyone, is a refusal of this workflow, in words of ours."""
    async with answering(respond(status, b"<html>" + b"x" * 100, Content_Type=content_type)) as place:
        end = await _post(place)
    assert isinstance(end, Refused)
    assert word in end.message


async def test_a_long_refusal_is_read_to_its_end() -> None:
    """A server lists every model it has in its complaint; the reason is read all the same."""
    listed = {"input_config": [["x" * 50] * 8_000]}
    error = {
        "message": "Value not in list",
        "details": "ckpt_name",
        "extra_info": {"input_name": "ckpt_name", **listed},
    }
    body = {"error": {}, "node_errors": {"1": {"class_type": "Load", "errors": [error], "dependent_outputs": []}}}
    async with answering(tells(body, 400)) as place:
        end = await _post(place)
    assert isinstance(end, Refused)
    assert end.message == "Load #1: ckpt_name: Value not in list (ckpt_name)"


async def test_a_post_is_taken() -> None:
    """A 200 with an id is a prompt in the queue; the body arrives as it is, as JSON, with the token."""
    async with answering(tells({"prompt_id": "x", "number": 4, "node_errors": {}})) as place:
        end = await _post(place, b'{"prompt": {}}')
    assert end == Taken("x", 4.0)
    (asked,) = place.asked
    assert (asked.method, asked.path, asked.body) == ("POST", "/prompt", b'{"prompt": {}}')
    assert asked.headers["Content-Type"] == "application/json"
    assert asked.headers["Authorization"] == "Bearer tok-5f3a-secret"
    assert asked.headers["Accept-Encoding"] == "identity"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [(JSON, b"[]"), (JSON, b"{"), ("text/plain", b"{}"), (JSON, b"")],
)
async def test_an_answer_of_another_shape_says_nothing(content_type: str, body: bytes) -> None:
    """Plain text with 200, or JSON of another shape, is no queue and no taken prompt."""
    async with answering(respond(200, body, Content_Type=content_type)) as place:
        look, end = await _poll(place), await _post(place)
    for each in (look, end):
        assert isinstance(each, Failure)
        assert (each.cause, each.sent) == (Cause.UNAVAILABLE, True)
        assert "wrong shape" in each.message


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("7", 7.0),
        ("0", 0.0),
        ("-5", 0.0),
        ("9" * 400, 600.0),
        ("Sun, 22 Nov 2026 05:14:15 GMT", 60.0),
        ("Sun, 22 Nov 2026 05:00:00 GMT", 0.0),
        ("Sun, 22 Nov 2099 05:00:00 GMT", 600.0),
        ("soon", None),
        ("", None),
        ("1.5", None),
        ("²", None),
        ("Sun, 99 Nov 2026 99:00:00 GMT", None),
    ],
)
async def test_retry_after_is_obeyed_within_reason(header: str, seconds: float | None) -> None:
    """Seconds or a date by the server's own clock, 0 to 600; garbage is no wish."""
    async with answering(respond(429, Date=DATE, Retry_After=header)) as place:
        trouble = await _poll(place)
    assert isinstance(trouble, Failure)
    assert trouble.retry_after == seconds


async def test_orders_name_what_they_are_about() -> None:
    """Deleting and stopping always carry ids: others use this server too. Nothing to delete is no request."""
    async with answering(respond(200)) as place, client(place) as comfy:
        assert await comfy.withdraw(["a", "b"]) is None
        assert await comfy.withdraw([]) is None
        assert await comfy.interrupt("c") is None
        with pytest.raises(ValueError, match="id"):
            await comfy.interrupt("")
    sent = [(asked.method, asked.path, json.loads(asked.body)) for asked in place.asked]
    assert sent == [("POST", "/queue", {"delete": ["a", "b"]}), ("POST", "/interrupt", {"prompt_id": "c"})]


async def test_a_status_that_says_it_all_needs_no_body() -> None:
    """The page of a proxy is not read, not even where it never ends or is compressed: its status is what is told."""
    for header in ("Content-Length: 1000000", "Content-Encoding: gzip\r\nContent-Length: 1"):
        async with raw(f"HTTP/1.1 502 Bad Gateway\r\n{header}\r\n\r\n".encode(), hang=True) as place:
            look = await _poll(place)
        assert isinstance(look, Failure)
        assert look.message.endswith(" answered 502")


@pytest.mark.parametrize("value", [{"KSampler": {}}, [], 5])
async def test_object_info_is_an_object(value: Any) -> None:
    """What the nodes take comes as it is, if it is an object at all."""
    async with answering(tells(value)) as place, client(place) as comfy:
        answer = await comfy.object_info()
    assert answer == value if isinstance(value, dict) else isinstance(answer, Failure)


async def test_a_server_below_a_path_is_asked_there() -> None:
    """A base URL with a path keeps it, with or without a slash at its end."""
    async with answering(tells(EMPTY)) as place:
        for end in ("comfy", "comfy/"):
            await _poll(Place(place.url + end))
    assert [asked.path for asked in place.asked] == ["/comfy/queue", "/comfy/queue"]


@pytest.mark.parametrize(("cap", "path"), [(32 * 2**20, "/queue"), (4 * 2**20, "/history/a")])
async def test_a_flood_is_not_read(cap: int, path: str) -> None:
    """An answer larger than any true one is given up, with or without a length in front."""
    for chunked in (False, True):

        async def flood(request: web.Request, *, chunked: bool = chunked) -> web.StreamResponse:
            if request.path != path:
                return web.json_response(EMPTY)
            response = web.StreamResponse(headers={"Content-Type": JSON})
            if chunked:
                response.enable_chunked_encoding()
            else:
                response.content_length = 2**30
            await response.prepare(request)
            for _ in range(cap // 2**20 + 8):
                await response.write(b" " * 2**20)
            return response

        async with answering(flood) as place:
            look = await _poll(place, Poll("s", ("a",)))
        failure = look.unread if isinstance(look, PollResult) else look
        assert isinstance(look, PollResult) == (path != "/queue")
        assert failure is not None
        assert f"more than {cap // 1024} KiB" in failure.message


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "identity, gzip"])
async def test_a_bomb_is_not_unpacked(encoding: str) -> None:
    """We ask for plain bytes; anything packed is refused unread."""
    body = gzip.compress(b" " * 2**22)
    async with answering(respond(200, body, Content_Type=JSON, Content_Encoding=encoding)) as place:
        look, end = await _poll(place), await _post(place)
    for each in (look, end):
        assert isinstance(each, Failure)
        assert "compressed" in each.message


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 2000 what\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: abc\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 90\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n{}\r\n",
        b"HTTP/1.1 200 OK\r\nX-Long: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(50_000)) + b"\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: http://[broken\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX: \xff\xfe\x00\r\n\r\n{}",
    ],
)
async def test_broken_http_is_a_server_away(answer: bytes) -> None:
    """Whatever is not proper HTTP ends as a value that says the server is away, for reads and for a POST."""
    async with raw(answer) as place:
        for each in (await _poll(place), await _post(place)):
            assert isinstance(each, Failure)
            assert (each.cause, each.sent) == (Cause.UNAVAILABLE, True)
    assert len([asked for asked in place.asked if asked.method == "POST"]) == 1
