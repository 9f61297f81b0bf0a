"""An HTML page comes from something before ComfyUI: it proves nothing about a prompt or a file, and says who it is."""

from __future__ import annotations

import html
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from answering import PATIENT, TOKEN, Place, answering, client, raw, respond, tells

from batchrunner.comfy.client import View
from batchrunner.core.actions import Cause, Failure, Poll
from batchrunner.core.facts import File

if TYPE_CHECKING:
    from batchrunner.comfy.client import Client
    from batchrunner.comfy.exchange import Timeouts

PAGE = "text/html; charset=utf-8"
CLOUDFLARE = b"<!DOCTYPE html><html><head><title>Attention Required! | Cloudflare</title></head><body>...</body></html>"
STATUSES = [200, 206, 400, 401, 403, 404, 406, 412, 416, 422, 429, 500, 502, 503]


async def _failures(comfy: Client) -> list[Failure]:
    """Make one exchange of every kind, all of which must fail."""
    async with comfy.view(File("a.mp4"), 5, '"x"') as view:
        ends = [
            await comfy.poll(Poll("s", ("a",))),
            await comfy.submit(b"{}"),
            await comfy.withdraw(["a"]),
            await comfy.interrupt("a"),
            await comfy.object_info(),
            view,
        ]
    assert all(isinstance(end, Failure) for end in ends), ends
    return [end for end in ends if isinstance(end, Failure)]


async def _page(body: bytes, *, waits: Timeouts = PATIENT) -> Failure:
    async with answering(respond(403, body, Content_Type=PAGE)) as place, client(place, waits=waits) as comfy:
        failure = await comfy.submit(b"{}")
    assert isinstance(failure, Failure)
    return failure


@pytest.mark.parametrize("content_type", [PAGE, "application/xhtml+xml", "TEXT/HTML"])
@pytest.mark.parametrize("status", STATUSES)
async def test_a_page_is_told_from_an_answer(status: int, content_type: str) -> None:
    """Whatever was asked and whatever the status, a page is a failure that says so, with the page's title."""
    async with answering(respond(status, CLOUDFLARE, Content_Type=content_type)) as place, client(place) as comfy:
        failures = await _failures(comfy)
    for failure in failures:
        assert failure.cause is (Cause.UNAUTHORIZED if status in (401, 403) else Cause.UNAVAILABLE)
        assert (failure.page, failure.status, failure.not_found) == (True, status, status == 404)
        assert failure.message.startswith("127.0.0.1:")
        assert str(status) in failure.message
        assert '"Attention Required! | Cloudflare"' in failure.message


async def test_the_words_for_a_page() -> None:
    """A person reads which host answered, with what status, and how the page calls itself."""
    assert (await _page(CLOUDFLARE)).message.endswith(' answered 403 with a page: "Attention Required! | Cloudflare"')
    assert (await _page(b"<html>No</html>")).message.endswith(" answered 403 with a page")


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refused_token_is_no_page(status: int) -> None:
    """A 401 or 403 in JSON or plain text is told from a web firewall's page: `page` is not set."""
    async with answering(tells({"error": "Unauthorized"}, status)) as place, client(place) as comfy:
        failures = await _failures(comfy)
    assert {(failure.cause, failure.page, failure.status) for failure in failures} == {
        (Cause.UNAUTHORIZED, False, status)
    }
    assert all(f"({status})" in failure.message for failure in failures)


@pytest.mark.parametrize("status", [404, 400, 412, 416])
@pytest.mark.parametrize("content_type", ["application/json", "text/plain", "application/octet-stream"])
async def test_comfyuis_own_answer_about_a_file_is_opened(status: int, content_type: str) -> None:
    """A 404 or 400 without a page is ComfyUI's word on the file, and is handed on as it is."""
    answer = respond(status, b"", Content_Type=content_type)
    async with answering(answer) as place, client(place) as comfy, comfy.view(File("a.mp4")) as view:
        assert isinstance(view, View)
        assert view.status == status


@pytest.mark.parametrize("content_type", [PAGE, "application/json"])
@pytest.mark.parametrize("status", [406, 429])
async def test_a_status_on_a_post_keeps_its_number_and_its_wait(status: int, content_type: str) -> None:
    """A POST that was not liked says with which status, and how long the server asks to wait."""
    answer = respond(status, b"{}", Content_Type=content_type, Retry_After="7")
    async with answering(answer) as place, client(place) as comfy:
        failure = await comfy.submit(b"{}")
    assert isinstance(failure, Failure)
    assert (failure.status, failure.retry_after) == (status, 7.0)
    assert str(status) in failure.message


@pytest.mark.parametrize(
    ("title", "shown"),
    [
        ("  Bad \n\t Gateway ", "Bad Gateway"),
        ("a &amp; b &lt;c&gt;", "a & b <c>"),
        ("\x1b[2Jred\u202e", "[2Jred"),
        ("x" * 500, "x" * 100),
        (f"token {TOKEN}!", "token ***!"),
        (f"token {html.escape(TOKEN).replace('-', '&#45;')}", "token ***"),
        ("x" * 95 + TOKEN, "x" * 95 + "***"),
        ("Grüße", "Grüße"),
    ],
)
async def test_a_title_is_one_short_line_without_the_token(title: str, shown: str) -> None:
    """A title is cleaned, redacted and then cut, so that no part of the token is left of it."""
    failure = await _page(f"<html><TITLE lang='en'>{title}</TITLE>".encode())
    assert failure.message.endswith(f'with a page: "{shown}"')


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<title>never closed",
        b"<title></title>",
        b" " * 2**16 + b"<title>too late</title>",
        b"<title" * 20_000,
        b"<title>" * 20_000,
        b"<" * 70_000,
        b"<title>\xff\xfe</titl",
    ],
)
async def test_a_page_without_a_title_is_a_page(body: bytes) -> None:
    """A page whose title is missing or stands too far behind is a page all the same, at once."""
    failure = await _page(body)
    assert failure.page
    assert "with a page" in failure.message


async def test_a_packed_page_is_not_unpacked() -> None:
    """A compressed page is a page without a title."""
    answer = respond(502, b"\x1f\x8b", Content_Type=PAGE, Content_Encoding="gzip")
    async with answering(answer) as place, client(place) as comfy:
        assert all(failure.message.endswith("with a page") for failure in await _failures(comfy))


@pytest.mark.parametrize("rest", [b"", b"<title>Login</title>"])
@pytest.mark.parametrize("hang", [True, False])
async def test_a_page_that_does_not_end_holds_up_nobody(rest: bytes, *, hang: bool) -> None:
    """The status stands where the page's body breaks off or never ends; the title counts if it came."""
    head = b"HTTP/1.1 503 No\r\nContent-Type: text/html\r\nContent-Length: 900\r\n\r\n<html>"
    waits = replace(PATIENT, stall=0.3) if hang else PATIENT
    async with raw(head + rest, hang=hang) as place, client(place, waits=waits) as comfy:
        failures = await _failures(comfy)
    assert {(failure.page, failure.status, failure.timed_out) for failure in failures} == {(True, 503, False)}
    assert all(('"Login"' in failure.message) == bool(rest) for failure in failures)


@pytest.mark.parametrize(("base", "path"), [("", "/queue"), ("comfy/", "/comfy/queue")])
async def test_a_404_names_the_path(base: str, path: str) -> None:
    """A mistyped address is told with the path that was not there, and with the page that was."""
    for answer, sent in ((respond(404), ""), (respond(404, b"<title>nginx</title>", Content_Type=PAGE), "nginx")):
        async with answering(answer) as place, client(Place(place.url + base)) as comfy:
            failure = await comfy.poll(Poll("s"))
        assert isinstance(failure, Failure)
        assert f" has no {path} (404): is the URL right?" in failure.message
        assert failure.message.endswith(f'It sent a page: "{sent}"' if sent else "right?")


async def test_a_redirect_does_not_repeat_the_token() -> None:
    """A server that puts the token into the path it sends us to does not get it into a message."""
    async with answering(respond(302, Location=f"/login/{TOKEN}")) as place, client(place) as comfy:
        failures = await _failures(comfy)
    assert all("/login/***" in failure.message for failure in failures)
