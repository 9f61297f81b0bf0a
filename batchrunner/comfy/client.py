"""One ComfyUI server over HTTP: looks, POSTs, files. One call is one attempt, and ends in a value, not an exception.

Every request goes out on a connection of its own. aiohttp repeats a GET, never a POST, that died on a kept-alive
socket (a proxy drops one after 75 s), so a POST would end as «may have been sent» for no reason; a poll every few
seconds does not miss the handshake. Nothing is ever repeated here: trying again is decided elsewhere.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from batchrunner.comfy import hush, submission, trouble, wire
from batchrunner.comfy.view import View
from batchrunner.core.results import Entry, Failure, PollResult, Refused
from batchrunner.errors import YoursError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping
    from ssl import SSLContext

    from batchrunner.comfy.secret import Secret
    from batchrunner.core.actions import Poll
    from batchrunner.core.facts import File
    from batchrunner.core.identity import Json
    from batchrunner.core.results import PollEnd, PostEnd

T = TypeVar("T")

MIB = 2**20
_QUEUE, _ENTRY, _RECENT, _OBJECTS = 16 * MIB, 4 * MIB, 16 * MIB, 16 * MIB
_POSTED = 4 * MIB
"""A 400 lists every name that the server would have taken."""
_ORDERED = MIB // 16
_READ = frozenset({200, 400, 422})
_VIEWED = frozenset({200, 206, 400, 404, 412, 416})
_PORTION = MIB // 4
_JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Waits:
    """How long one attempt may take; all times in seconds."""

    connect: float = 10.0
    call: float = 90.0
    """A whole look or order, and the headers of a file: a server was seen silent for 65 s and healthy (§6)."""
    post: float = 60.0
    """A whole POST /prompt; `Rules.settle` must be longer."""
    stall: float = 30.0
    """Between two pieces of a file. There is no limit on the whole: a slow transfer is not a broken one."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    url: URL
    body: bytes


def session(connector: aiohttp.BaseConnector | None = None, tls: SSLContext | None = None) -> aiohttp.ClientSession:
    """Return a session that keeps nothing and tells nobody: no proxy from the environment, no netrc, no cookies.

    A connector of your own must have `force_close=True` and `limit=0`, else YoursError: a GET may never queue behind
    a slow transfer.
    """
    if connector is None:
        connector = aiohttp.TCPConnector(limit=0, force_close=True, ssl=tls or True)
    if not connector.force_close or connector.limit:
        raise YoursError("A connector needs force_close=True and limit=0.")
    return aiohttp.ClientSession(
        connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False, auto_decompress=False
    )


class Client:
    """One server at `base` (scheme, host, port, perhaps a path). `nodes`: only files of these node ids count."""

    def __init__(
        self,
        base: str,
        http: aiohttp.ClientSession,
        token: Secret | None = None,
        *,
        waits: Waits | None = None,
        nodes: Collection[str] | None = None,
    ) -> None:
        self._base = _address(base)
        self._http = http
        self._token = token
        self._waits = waits or Waits()
        self._nodes = nodes
        self.where = f"{self._base.host}:{self._base.port}"

    async def poll(self, action: Poll) -> PollEnd:
        """Read the queue, then the history of each id, then its end: that order, else a finish slips between.

        An id that the queue shows is not asked for again: it lives, whatever an earlier run of it left behind.
        """
        answer = await self._json("GET", "/queue", wire.queue, _QUEUE)
        if isinstance(answer, Failure):
            return answer
        rows, date = answer
        history: dict[str, Entry | None] = {}
        alive = {row.prompt for row in rows}
        for prompt in (prompt for prompt in action.ids if prompt not in alive):
            entry = await self._json("GET", f"/history/{_quoted(prompt)}", _one(prompt, self._nodes), _ENTRY)
            if isinstance(entry, Failure):
                return entry
            found, date = entry
            history[prompt] = found and hush.entry(found, self._token)
        if not action.recent:
            return PollResult(rows, history, date=date)
        last = await self._json("GET", f"/history?max_items={action.recent}", self._recent, _RECENT)
        return last if isinstance(last, Failure) else PollResult(rows, history, last[0], last[1])

    async def submit(self, body: bytes) -> PostEnd:
        """POST one prompt, once. A Trouble with `sent` says nothing about whether the server has it."""
        answer = await self._call("POST", "/prompt", _POSTED, body, self._waits.post)
        if isinstance(answer, Failure):
            return answer
        if answer.status == 413:
            return Refused("the workflow is too large for the server or a proxy before it (413)")
        if answer.status in (400, 422):
            return hush.refused(_refusal(answer), self._token)
        read = self._read(answer, submission.taken)
        return read if isinstance(read, Failure) else hush.taken(read[0], self._token)

    async def withdraw(self, prompts: Collection[str]) -> Failure | None:
        """Delete pending prompts by id; the running one and unknown ids are left alone."""
        return await self._order("/queue", {"delete": list(prompts)}) if prompts else None

    async def interrupt(self, prompt: str) -> Failure | None:
        """Stop `prompt` if it is running. Without an id the server would stop a stranger's (PROTOCOL.md §1, 10)."""
        if not prompt:
            raise ValueError("an interrupt needs a prompt id")
        return await self._order("/interrupt", {"prompt_id": prompt})

    async def object_info(self) -> Json | Failure:
        """Return what every node of the server takes, as it says it."""
        answer = await self._json("GET", "/object_info", _object, _OBJECTS)
        return answer if isinstance(answer, Failure) else answer[0]

    @asynccontextmanager
    async def view(self, file: File, start: int = 0, etag: str = "") -> AsyncIterator[View | Failure]:
        """Open a file, from byte `start` of the one with `etag`; `If-Range` would splice two files (§1, 14)."""
        query = {"filename": file.name, "type": file.kind, "subfolder": file.subfolder}
        headers = {"Range": f"bytes={start}-", "If-Match": etag} if start else {}
        path = f"/view?{urlencode(query, errors='surrogatepass')}"
        response = await self._opened(path, headers)
        if isinstance(response, Failure):
            yield response
            return
        try:
            yield self._view(response)
        finally:
            response.close()

    async def _opened(self, path: str, headers: Mapping[str, str]) -> aiohttp.ClientResponse | Failure:
        """Wait for the headers of a file. Apart, so that no error of aiohttp is the context of a caller's."""
        try:
            async with asyncio.timeout(self._waits.call):
                return await self._send("GET", path, None, headers, None)
        except trouble.ERRORS as error:
            return trouble.of_error(self.where, error)

    def _recent(self, value: Json) -> tuple[Entry, ...]:
        return tuple(hush.entry(entry, self._token) for entry in wire.recent(value, self._nodes))

    def _view(self, response: aiohttp.ClientResponse) -> View | Failure:
        if response.status not in _VIEWED:
            return trouble.of_status(self.where, response.status, response.headers, response.url)
        if response.status in (200, 206) and _encoded(response.headers):
            return trouble.of_answer(self.where, "a compressed file")
        return View(response, self.where, self._waits.stall)

    async def _order(self, path: str, said: Json) -> Failure | None:
        answer = await self._call("POST", path, _ORDERED, wire.dump(said), self._waits.call)
        if isinstance(answer, Failure):
            return answer
        return None if answer.status == 200 else self._status(answer)

    async def _json(
        self, method: str, path: str, read: Callable[[Json], T], cap: int
    ) -> tuple[T, float | None] | Failure:
        answer = await self._call(method, path, cap, None, self._waits.call)
        return answer if isinstance(answer, Failure) else self._read(answer, read)

    def _read(self, answer: _Answer, read: Callable[[Json], T]) -> tuple[T, float | None] | Failure:
        """Read a 200 of the right type; nothing is parsed before both are known."""
        if answer.status != 200:
            return self._status(answer)
        if _type(answer.headers) != _JSON:
            return trouble.of_answer(self.where, "no JSON but a page")
        try:
            return read(wire.parse(answer.body)), trouble.date(answer.headers.get("Date", ""))
        except wire.WrongShapeError as error:
            return trouble.of_answer(self.where, str(error))

    def _status(self, answer: _Answer) -> Failure:
        return trouble.of_status(self.where, answer.status, answer.headers, answer.url)

    async def _call(self, method: str, path: str, cap: int, body: bytes | None, total: float) -> _Answer | Failure:
        """Make one exchange whose answer fits in `cap` bytes. Where the status says it all, the body is not read."""
        try:
            response = await self._send(method, path, body, {}, total)
            try:
                return await self._answer(response, cap)
            finally:
                response.close()
        except trouble.ERRORS as error:
            return trouble.of_error(self.where, error)

    async def _answer(self, response: aiohttp.ClientResponse, cap: int) -> _Answer | Failure:
        if response.status not in _READ:
            return _Answer(response.status, response.headers, response.url, b"")
        if _encoded(response.headers):
            return trouble.of_answer(self.where, "compressed, though we asked for plain")
        said = await _capped(response, cap)
        if said is None:
            return trouble.of_answer(self.where, f"more than {cap // 1024} KiB")
        return _Answer(response.status, response.headers, response.url, said)

    async def _send(
        self, method: str, path: str, body: bytes | None, headers: Mapping[str, str], total: float | None
    ) -> aiohttp.ClientResponse:
        own = {"Accept-Encoding": "identity", **headers}
        if body is not None:
            own["Content-Type"] = _JSON
        if self._token is not None:
            own["Authorization"] = self._token.bearer()
        return await self._http.request(
            method,
            self._url(path),
            data=body,
            headers=own,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=total, sock_connect=self._waits.connect),
            read_bufsize=_PORTION,
        )

    def _url(self, path: str) -> URL:
        return URL(str(self._base).rstrip("/") + path, encoded=True)


def _address(base: str) -> URL:
    try:
        url = URL(base)
    except ValueError:
        raise YoursError("A server's address can't be read.") from None
    if url.scheme not in ("http", "https") or not url.host or url.user or url.password or url.query_string:
        raise YoursError("A server's address is http(s)://host[:port][/path], without a password in it.")
    return url.with_fragment(None)


def _quoted(prompt: str) -> str:
    return quote(prompt, safe="", errors="surrogatepass")


def _one(prompt: str, nodes: Collection[str] | None) -> Callable[[Json], Entry | None]:
    return lambda value: wire.history(value, prompt, nodes)


def _object(value: Json) -> Json:
    return wire.fields(value, "object_info")


def _type(headers: Mapping[str, str]) -> str:
    return headers.get("Content-Type", "").partition(";")[0].strip().lower()


def _encoded(headers: Mapping[str, str]) -> bool:
    return headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity")


def _refusal(answer: _Answer) -> Refused:
    if _type(answer.headers) != _JSON:
        return Refused(f"the workflow was refused ({answer.status}) without a reason")
    try:
        return submission.refused(wire.parse(answer.body))
    except wire.WrongShapeError:
        return Refused(f"the workflow was refused ({answer.status}) without a reason")


async def _capped(response: aiohttp.ClientResponse, cap: int) -> bytes | None:
    """Return the body, or None where it is larger than `cap`."""
    whole = bytearray()
    async for piece in response.content.iter_any():
        whole += piece
        if len(whole) > cap:
            return None
    return bytes(whole)
