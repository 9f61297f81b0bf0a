"""One HTTP exchange with a ComfyUI, from the request to an answer of a bounded size. It ends in a value.

Every request goes out on a connection of its own. aiohttp repeats a GET, never a POST, that died on a kept-alive socket
(a proxy drops one after 75 s), so a POST would end as «may have been sent» for no reason; a poll every few seconds does
not miss the handshake. Nothing is ever repeated here: trying again is decided elsewhere.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeVar

import aiohttp
from yarl import URL

from batchrunner.comfy import errors, wire
from batchrunner.comfy.secret import Credentials, redacted, title
from batchrunner.core.actions import Failure
from batchrunner.errors import YoursError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from batchrunner.core.job import Json

T = TypeVar("T")

MIB = 2**20
SMALL = MIB // 16
"""Bytes of a short answer."""
JSON = "application/json"
PAGES = frozenset({"text/html", "application/xhtml+xml"})
_READ = frozenset({200, 400, 422})
_BODY_PORTION = MIB // 4
_START = MIB // 16
"""Bytes of a page in which its title is looked for."""


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How long one attempt may take; all times in seconds."""

    connect: float = 10.0
    call: float = 90.0
    """A whole poll or order, and the headers of a file: a server was seen silent for 65 s and healthy.

    See docs/comfyui.md §24.
    """
    job: float = 15.0
    """One prompt of ours by the jobs API: the queue and the history tell the same."""
    post: float = 60.0
    """A whole POST /prompt; `Rules.settle` must be longer."""
    stall: float = 30.0
    """Between two pieces of a file, either way. There is no limit on the whole: slow is not broken."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came: status, headers, and a body where it says more than the status."""

    status: int
    headers: Mapping[str, str]
    url: URL
    body: bytes | bytearray = b""
    cut: bool = False
    """Whether the answer is larger than was to be read."""
    page: str | None = None
    """The title of the HTML page that came, empty where it has none; None is no page."""

    @property
    def date(self) -> float | None:
        """The server's clock, seconds since the epoch."""
        return errors.date(self.headers.get("Date", ""))


class Exchange:
    """Requests to one server at `base`, with its credentials."""

    def __init__(self, base: str, http: aiohttp.ClientSession, credentials: Credentials, waits: Timeouts) -> None:
        self._base = _address(base)
        self._http = http
        self._credentials = credentials
        self.waits = waits
        self.where = f"{self._base.host}:{self._base.port}"

    async def json(
        self, path: str, read: Callable[[Json], T], cap: int, total: float | None = None
    ) -> tuple[T, float | None] | Failure:
        """GET `path` and read the JSON that comes, at most `cap` bytes; with the time on the server's clock."""
        answer = await self.call(path, cap, total=total)
        return answer if isinstance(answer, Failure) else self.read(answer, read)

    def read(self, answer: Answer, read: Callable[[Json], T]) -> tuple[T, float | None] | Failure:
        """Read a 200 of the right type; nothing is parsed before both are known."""
        failure = self.no_json(answer)
        if failure is not None:
            return failure
        try:
            return read(wire.parse(answer.body)), answer.date
        except wire.WrongShapeError as error:
            return errors.of_answer(self.where, str(error))

    def no_json(self, answer: Answer) -> Failure | None:
        """Return what is wrong with an answer that is no whole JSON of status 200."""
        if answer.status != 200 or answer.page is not None:
            return self.failure(answer)
        if content_type(answer.headers) != JSON:
            return errors.of_answer(self.where, "no JSON")
        return None

    def too_large(self, cap: int) -> Failure:
        """Return that an answer is larger than `cap` bytes."""
        return errors.of_answer(self.where, f"more than {cap // 1024} KiB")

    def failure(self, answer: Answer) -> Failure:
        """Return what a status means that is not the answer we asked for."""
        failure = errors.of_status(self.where, answer.status, answer.headers, answer.url, answer.page)
        return redacted(failure, self._credentials)

    async def call(
        self, path: str, cap: int, body: bytes | None = None, total: float | None = None
    ) -> Answer | Failure:
        """Make one exchange whose answer fits in `cap` bytes: a GET, or a POST of `body`."""
        answer = await self.exchange(path, cap, body, total)
        return self.too_large(cap) if isinstance(answer, Answer) and answer.cut else answer

    async def exchange(
        self, path: str, cap: int, body: bytes | None = None, total: float | None = None, *, part: bool = False
    ) -> Answer | Failure:
        """Make one exchange in `total` seconds, by default `Timeouts.call`.

        An answer of more than `cap` bytes is `cut`: with `part` what came is in it, else nothing.
        """
        try:
            response = await self.send(path, body, {}, self.waits.call if total is None else total)
            try:
                return await self.answer(response, cap, part=part)
            finally:
                response.close()
        except errors.ERRORS as error:
            return errors.of_error(self.where, error)

    async def answer(self, response: aiohttp.ClientResponse, cap: int, *, part: bool) -> Answer | Failure:
        """Read an answer. Where the status says it all, or a page came, its body is not."""
        answer = Answer(response.status, response.headers, response.url, page=await self.title(response))
        if response.status not in _READ or answer.page is not None:
            return answer
        if is_encoded(response.headers):
            return errors.of_answer(self.where, "compressed, though we asked for plain")
        if not part and (response.content_length or 0) > cap:
            return replace(answer, cut=True)
        body = bytearray()
        async for piece in response.content.iter_any():
            body += piece
            if len(body) > cap:
                return replace(answer, body=body if part else b"", cut=True)
        return replace(answer, body=body)

    async def title(self, response: aiohttp.ClientResponse) -> str | None:
        """Return the title of the HTML page that came, None where none did. It may be cut short, slow or broken."""
        if content_type(response.headers) not in PAGES:
            return None
        start = bytearray()
        if not is_encoded(response.headers):
            with suppress(*errors.ERRORS):
                async with asyncio.timeout(self.waits.stall):
                    async for piece in response.content.iter_any():
                        start += piece
                        if len(start) >= _START or b"</title" in start:
                            break
        return title(start[:_START], self._credentials)

    async def send(
        self,
        path: str,
        body: bytes | AsyncIterator[bytes] | None,
        headers: Mapping[str, str],
        total: float | None,
        method: str = "",
    ) -> aiohttp.ClientResponse:
        """Send a request and wait for its headers; raises what `errors.of_error` takes. The caller closes it."""
        own = {**self._credentials.headers(), "Accept-Encoding": "identity", **headers}
        if isinstance(body, bytes):
            own["Content-Type"] = JSON
        return await self._http.request(
            method or ("GET" if body is None else "POST"),
            self.url(path),
            data=body,
            headers=own,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=total, sock_connect=self.waits.connect),
            read_bufsize=_BODY_PORTION,
            ssl=self._credentials.tls or True,
        )

    def url(self, path: str) -> URL:
        """Return the URL of a path of the server."""
        return URL(str(self._base).rstrip("/") + path, encoded=True)


def _address(base: str) -> URL:
    try:
        url = URL(base)
    except ValueError:
        raise YoursError("A server's address can't be read.") from None
    if url.scheme not in ("http", "https") or not url.host or url.user or url.password or url.query_string:
        raise YoursError("A server's address is http(s)://host[:port][/path], without a password in it.")
    return url.with_fragment(None)


def content_type(headers: Mapping[str, str]) -> str:
    """Return the type of a body, without its parameters."""
    return headers.get("Content-Type", "").partition(";")[0].strip().lower()


def is_encoded(headers: Mapping[str, str]) -> bool:
    """Whether a body is compressed."""
    return headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity")
