"""One ComfyUI server over HTTP: polls, POSTs, files. One call is one attempt, and ends in a value."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from batchrunner.comfy import errors, large, submission, wire
from batchrunner.comfy.hint import HintSocket
from batchrunner.comfy.multipart import OVERHEAD, InputBody
from batchrunner.comfy.secret import NO_CREDENTIALS, Credentials, redacted, title
from batchrunner.core.actions import Cause, Entry, Failure, NotUploaded, PollResult, Refused, Uploaded
from batchrunner.errors import YoursError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping
    from ssl import SSLContext

    from batchrunner.core.actions import Poll, PollEnd, PostEnd, Row, Upload, UploadEnd
    from batchrunner.core.facts import File
    from batchrunner.core.job import InputFile, Json

# -- An opened file: what its headers say, and its bytes piece by piece.


_PORTION = 2**18
_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})", re.ASCII)
_ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]{0,200}"')


class View:
    """One answer of GET /view with status 200, 206, 400, 404, 412 or 416; the shape that `transfer.Stream` asks for."""

    __slots__ = ("_response", "_stall", "_where", "content_type", "date", "etag", "size", "start", "status")

    def __init__(self, response: aiohttp.ClientResponse, where: str, stall: float) -> None:
        self._response, self._where, self._stall = response, where, stall
        self.status = response.status
        etag = response.headers.get("ETag", "").strip()
        self.etag = etag if _ETAG.fullmatch(etag) else ""
        self.content_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        self.date = errors.date(response.headers.get("Date", ""))
        length = response.content_length
        ranged = _RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
        self.start, self.size = 0, -1 if length is None else length
        if self.status == 206:
            self.start, self.size = (int(ranged[1]), int(ranged[3])) if ranged else (-1, -1)

    async def read(self) -> bytes | Failure:
        """Return the next piece, at most 256 KiB; nothing at the end of the body."""
        try:
            async with asyncio.timeout(self._stall):
                return await self._response.content.read(_PORTION)
        except errors.ERRORS as error:
            return errors.of_error(self._where, error)


# -- One ComfyUI server over HTTP: polls, POSTs, files. One call is one attempt, and ends in a value, not an
# exception.
#
# Every request goes out on a connection of its own. aiohttp repeats a GET, never a POST, that died on a kept-alive
# socket (a proxy drops one after 75 s), so a POST would end as «may have been sent» for no reason; a poll every few
# seconds does not miss the handshake. Nothing is ever repeated here: trying again is decided elsewhere.


T = TypeVar("T")

MIB = 2**20
_QUEUE, _ENTRY, _RECENT, _OBJECTS = 32 * MIB, 4 * MIB, 16 * MIB, 16 * MIB
_AT_ONCE = 4 * MIB
"""The largest queue or history that is read on the event loop."""
_POSTED = 4 * MIB
"""A 400 lists every name that the server would have taken."""
_ORDERED = MIB // 16
_NO_HEAD = frozenset({405, 501})
"""How a proxy says that it passes on no HEAD."""
_MEGABYTE = 1e6
_READ = frozenset({200, 400, 422})
_VIEWED = frozenset({200, 206, 400, 404, 412, 416})
_BODY_PORTION = MIB // 4
_JSON = "application/json"
_PAGES = frozenset({"text/html", "application/xhtml+xml"})
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
    post: float = 60.0
    """A whole POST /prompt; `Rules.settle` must be longer."""
    stall: float = 30.0
    """Between two pieces of a file, either way. There is no limit on the whole: slow is not broken."""


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: Mapping[str, str]
    url: URL
    body: bytes | bytearray = b""
    cut: bool = False
    """Whether the answer is larger than was to be read."""
    page: str | None = None
    """The title of the HTML page that came, empty where it has none; None is no page."""


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a HEAD says of a stored file."""

    there: bool
    size: int | None = None
    etag: str = ""

    def is_whole(self, size: int) -> bool:
        """Whether it is there, and as long as it should be where that is told."""
        return self.there and self.size in (None, size)


def session(connector: aiohttp.BaseConnector | None = None, tls: SSLContext | None = None) -> aiohttp.ClientSession:
    """Return a session that keeps nothing and tells nobody: no proxy from the environment, no netrc, no cookies.

    A connector of your own must have `force_close=True` and `limit=0`, else YoursError: a GET may never queue behind
    a slow transfer.
    """
    if connector is None:
        # The system's resolver: aiodns, where it is installed, does not tell an unknown name from a silent resolver.
        resolver = aiohttp.ThreadedResolver()
        connector = aiohttp.TCPConnector(limit=0, force_close=True, ssl=tls or True, resolver=resolver)
    if not connector.force_close or connector.limit:
        raise YoursError("A connector needs force_close=True and limit=0.")
    no_redirects = aiohttp.TraceConfig()
    no_redirects.on_request_redirect.append(_refuse_redirect)
    return aiohttp.ClientSession(
        connector=connector,
        cookie_jar=aiohttp.DummyCookieJar(),
        trust_env=False,
        auto_decompress=False,
        trace_configs=[no_redirects],
    )


async def _refuse_redirect(_session: object, _context: object, redirect: aiohttp.TraceRequestRedirectParams) -> None:
    """Follow no redirect: `ws_connect` would, with every header of ours, to whatever host it names."""
    redirect.response.close()
    raise aiohttp.ClientError("redirects are not followed")


class Client:
    """One server at `base` (scheme, host, port, perhaps a path). `nodes`: only files of these node ids count.

    `credentials` go with every request; `inputs` is the folder from which input files are uploaded.
    """

    def __init__(  # noqa: PLR0913 - all that a server is
        self,
        base: str,
        http: aiohttp.ClientSession,
        credentials: Credentials = NO_CREDENTIALS,
        *,
        waits: Timeouts | None = None,
        nodes: Collection[str] | None = None,
        inputs: Path = Path(),
    ) -> None:
        self._base = _address(base)
        self._http = http
        self._credentials = credentials
        self._waits = waits or Timeouts()
        self._nodes = nodes
        self._inputs = inputs
        self.where = f"{self._base.host}:{self._base.port}"
        self._unread = 0
        """Polls so far that could not read an id."""
        self._socket = HintSocket(self._url("/ws"), http, credentials)
        self._last_queue: tuple[bytes, tuple[Row, ...]] = (b"", ())
        """The sha256 of the last queue that was read, and its rows."""

    async def poll(self, action: Poll) -> PollEnd:
        """Read the queue, then the history of each id, then its end: that order, else a finish slips between.

        An id that the queue shows is not asked for again: it lives, whatever an earlier run of it left behind. A
        history that can't be read is `unread`, and the queue counts all the same. After a quick failure the other ids
        are asked for; after the first time-out, or where no connection is made, nothing more is. The next poll begins
        with another id then: a proxy that passes every third request to a dead server must not hide the same id for
        ever, nor an entry that is never answered all behind it.
        """
        seen = await self._queue()
        if isinstance(seen, Failure):
            return seen
        history: dict[str, Entry | None] = {}
        date, failed = seen.date, None
        alive = {row.prompt for row in seen.queue}
        ids = [prompt for prompt in action.ids if prompt not in alive]
        first = self._unread % len(ids) if ids else 0
        for prompt in (*ids[first:], *ids[:first]):
            entry = await self._json(f"/history/{_quoted(prompt)}", _one(prompt, self._nodes), _ENTRY)
            if isinstance(entry, Failure):
                failed = failed or entry
                if entry.timed_out or not entry.sent or entry.cause is Cause.LOCAL:
                    break
                continue
            found, date = entry
            if found is not None or seen.unread is None:
                history[prompt] = found
        self._unread += failed is not None
        recent: tuple[Entry, ...] = ()
        if action.recent and failed is None:
            last = await self._recent(action.recent)
            recent, failed = ((), last) if isinstance(last, Failure) else (last, None)
        result = PollResult(seen.queue, history, recent, date, seen.unread or failed)
        return redacted(result, self._credentials)

    async def submit(self, body: bytes) -> PostEnd:
        """POST one prompt, once. A Failure with `sent` says nothing about whether the server has it."""
        began = asyncio.get_running_loop().time()
        answer = await self._call("/prompt", _POSTED, body, self._waits.post)
        if isinstance(answer, Failure):
            return answer
        if answer.status == 413:
            return Refused("the workflow is too large for the server or a proxy before it (413)")
        if answer.status in (400, 422) and answer.page is None:
            return redacted(_refusal(answer, body), self._credentials)
        read = self._read(answer, partial(submission.taken, body=body))
        if isinstance(read, Failure):
            return read
        self._socket.posted(began)
        return redacted(read[0], self._credentials)

    async def upload(self, action: Upload) -> UploadEnd:
        """Bring an input file there, whole and under the name that the server tells; `overwrite` is never sent.

        What lies there under the name and ETag of an earlier upload is left alone. Else the bytes are sent: the server
        stores nothing if it has the same under that name, and takes another name if it has others (docs/comfyui.md
        §22). The file counts only once a HEAD has found it with its length.
        """
        if action.stored:
            seen = await self._head(action.stored)
            if isinstance(seen, Failure) or (seen.is_whole(action.file.size) and seen.etag == action.etag):
                return seen if isinstance(seen, Failure) else Uploaded(action.stored, action.etag)
        answer = await self._post_file(InputBody(self._inputs / action.file.name, action.file))
        if isinstance(answer, _Answer) and answer.status == 413:
            return self._too_much(action.file, answer)
        read = answer if isinstance(answer, Failure) else self._read(answer, submission.stored)
        return read if isinstance(read, Failure) else await self._confirmed(action.file, read[0])

    async def largest_upload(self) -> float | None:
        """Return how many bytes a file may have, None where the server does not say: an old one, or a proxy."""
        answer = await self._json("/features", submission.largest, _ORDERED)
        most = None if isinstance(answer, Failure) else answer[0]
        return None if most is None else most - OVERHEAD

    async def withdraw(self, prompts: Collection[str]) -> Failure | None:
        """Delete pending prompts by id; the running one and unknown ids are left alone."""
        return await self._order("/queue", {"delete": list(prompts)}) if prompts else None

    async def interrupt(self, prompt: str) -> Failure | None:
        """Stop `prompt` if it is running. Without an id the server would stop somebody else's (docs/comfyui.md §9)."""
        if not prompt:
            raise ValueError("an interrupt needs a prompt id")
        return await self._order("/interrupt", {"prompt_id": prompt})

    async def listen(self, heard: Callable[[bool, bool], None]) -> None:
        """Open the server's websocket, and call `heard(greeting, dropped)` as `HintSocket.listen` does."""
        await self._socket.listen(heard)

    async def object_info(self) -> Json | Failure:
        """Return what every node of the server takes, as it says it."""
        answer = await self._json("/object_info", _object, _OBJECTS)
        return answer if isinstance(answer, Failure) else redacted(answer[0], self._credentials)

    @asynccontextmanager
    async def view(self, file: File, start: int = 0, etag: str = "") -> AsyncIterator[View | Failure]:
        """Open a file, from byte `start` of the one with `etag`; `If-Range` would splice two files.

        See docs/comfyui.md §14.
        """
        query = {"filename": file.name, "type": file.kind, "subfolder": file.subfolder}
        headers = {"Range": f"bytes={start}-", "If-Match": etag} if start else {}
        path = f"/view?{urlencode(query, errors='surrogatepass')}"
        response = await self._opened(path, headers)
        if isinstance(response, Failure):
            yield response
            return
        try:
            yield await self._view(response)
        finally:
            response.close()

    async def _opened(self, path: str, headers: Mapping[str, str]) -> aiohttp.ClientResponse | Failure:
        """Wait for the headers of a file. Apart, so that no error of aiohttp is the context of a caller's."""
        try:
            async with asyncio.timeout(self._waits.call):
                return await self._send(path, None, headers, None)
        except errors.ERRORS as error:
            return errors.of_error(self.where, error)

    async def _confirmed(self, file: InputFile, stored: str) -> UploadEnd:
        """Return that a file was uploaded as `stored`, if it lies there whole."""
        seen = await self._head(stored)
        if isinstance(seen, Failure):
            return seen
        if not seen.is_whole(file.size):
            return errors.of_answer(self.where, f"it took {file.name}, and does not have it whole")
        return redacted(Uploaded(stored, seen.etag), self._credentials)

    async def _head(self, stored: str) -> _Seen | Failure:
        """Ask for a stored input file's length and ETag. A server that answers no HEAD is believed to have it."""
        subfolder, _, name = stored.rpartition("/")
        query = urlencode({"filename": name, "type": "input", "subfolder": subfolder}, errors="surrogatepass")
        try:
            response = await self._send(f"/view?{query}", None, {}, self._waits.call, method="HEAD")
        except errors.ERRORS as error:
            return errors.of_error(self.where, error)
        response.close()
        page = "" if _type(response.headers) in _PAGES else None
        if page is None and response.status in (200, 404):
            return _Seen(response.status == 200, response.content_length, response.headers.get("ETag", ""))
        if response.status in _NO_HEAD:
            return _Seen(there=True)
        return self._status(_Answer(response.status, response.headers, response.url, page=page))

    async def _post_file(self, body: InputBody) -> _Answer | Failure:
        """POST an input file; only a pause of `Timeouts.stall` ends it, or `Timeouts.call` for the answer."""
        try:
            async with asyncio.timeout(self._waits.connect + self._waits.stall) as limit:

                def progress(*, over: bool) -> None:
                    pause = self._waits.call if over else self._waits.stall
                    with suppress(RuntimeError):  # it has just ended
                        limit.reschedule(asyncio.get_running_loop().time() + pause)

                response = await self._send("/upload/image", body.pieces(progress), body.headers, None)
                try:
                    return await self._answer(response, _ORDERED, part=False)
                finally:
                    response.close()
        except errors.ERRORS as error:
            return body.failure or errors.of_error(self.where, error)

    def _too_much(self, file: InputFile, answer: _Answer) -> NotUploaded:
        """Say who takes no file of this size: a proxy's answer is a page, ComfyUI's is plain text."""
        size = f"no file of {file.size / _MEGABYTE:.1f} MB ({file.name})"
        if answer.page is not None:
            who = f"the proxy before {self.where} takes {size}"
            return NotUploaded(f"{who}: raise its limit there (nginx: client_max_body_size)")
        if _type(answer.headers) == "text/plain":
            return NotUploaded(f"{self.where} takes {size}: start its ComfyUI with a larger --max-upload-size")
        return NotUploaded(f"{self.where}, or a proxy before it, takes {size}: raise the limit there")

    async def _queue(self) -> PollResult | Failure:
        """Read the queue. Of one that is larger than the cap the rows that came count, and the rest is `unread`."""
        answer = await self._exchange("/queue", _QUEUE, part=True)
        if isinstance(answer, Failure):
            return answer
        unread = self._too_large(_QUEUE) if answer.cut else None
        read = partial(self._once, lambda body: wire.queue(wire.parse(body)))
        rows = await self._rows(answer, read, partial(self._once, partial(large.queue, cut=answer.cut)))
        if isinstance(rows, Failure):
            return unread or rows
        return PollResult(rows, {}, date=_date(answer), unread=unread)

    async def _recent(self, items: int) -> tuple[Entry, ...] | Failure:
        """Return the last entries of the history, fewer than asked for where so many are larger than the cap.

        There are none where a single entry is, or where the server has no such list: it is a convenience.
        """
        while items:
            answer = await self._exchange(f"/history?max_items={items}", _RECENT)
            if isinstance(answer, Failure):
                return answer
            if answer.status == 404:
                return ()
            if not answer.cut:
                scan = partial(large.recent, nodes=self._nodes)
                return await self._rows(answer, lambda body: wire.recent(wire.parse(body), self._nodes), scan)
            items //= 2
        return ()

    def _once(self, read: Callable[[bytes | bytearray], tuple[Row, ...]], body: bytes | bytearray) -> tuple[Row, ...]:
        """Read a queue, unless it is the last one again: most polls bring the very same while a video renders."""
        digest = sha256(body).digest()
        if digest != self._last_queue[0]:
            self._last_queue = (digest, read(body))
        return self._last_queue[1]

    async def _rows(
        self,
        answer: _Answer,
        read: Callable[[bytes | bytearray], T],
        scan: Callable[[bytes | bytearray], T],
    ) -> T | Failure:
        """Read a queue or a history: at once if it is small, else row by row in a thread."""
        failure = self._no_json(answer)
        if failure is not None:
            return failure
        try:
            if len(answer.body) <= _AT_ONCE:
                with suppress(wire.TooLargeError):
                    return read(answer.body)
            return await asyncio.get_running_loop().run_in_executor(None, scan, answer.body)
        except wire.WrongShapeError as error:
            return errors.of_answer(self.where, str(error))

    async def _view(self, response: aiohttp.ClientResponse) -> View | Failure:
        """Return the opened file. A page proves nothing about it, whatever its status: it is a proxy's."""
        page = await self._title(response)
        if page is not None or response.status not in _VIEWED:
            return self._status(_Answer(response.status, response.headers, response.url, page=page))
        if response.status in (200, 206) and _encoded(response.headers):
            return errors.of_answer(self.where, "a compressed file")
        return View(response, self.where, self._waits.stall)

    async def _order(self, path: str, said: Json) -> Failure | None:
        answer = await self._call(path, _ORDERED, wire.dump(said))
        if isinstance(answer, Failure):
            return answer
        return None if answer.status == 200 and answer.page is None else self._status(answer)

    async def _json(self, path: str, read: Callable[[Json], T], cap: int) -> tuple[T, float | None] | Failure:
        answer = await self._call(path, cap)
        return answer if isinstance(answer, Failure) else self._read(answer, read)

    def _read(self, answer: _Answer, read: Callable[[Json], T]) -> tuple[T, float | None] | Failure:
        """Read a 200 of the right type; nothing is parsed before both are known."""
        failure = self._no_json(answer)
        if failure is not None:
            return failure
        try:
            return read(wire.parse(answer.body)), _date(answer)
        except wire.WrongShapeError as error:
            return errors.of_answer(self.where, str(error))

    def _no_json(self, answer: _Answer) -> Failure | None:
        """Return what is wrong with an answer that is no whole JSON of status 200."""
        if answer.status != 200 or answer.page is not None:
            return self._status(answer)
        if _type(answer.headers) != _JSON:
            return errors.of_answer(self.where, "no JSON")
        return None

    def _too_large(self, cap: int) -> Failure:
        return errors.of_answer(self.where, f"more than {cap // 1024} KiB")

    def _status(self, answer: _Answer) -> Failure:
        failure = errors.of_status(self.where, answer.status, answer.headers, answer.url, answer.page)
        return redacted(failure, self._credentials)

    async def _call(
        self, path: str, cap: int, body: bytes | None = None, total: float | None = None
    ) -> _Answer | Failure:
        """Make one exchange whose answer fits in `cap` bytes: a GET, or a POST of `body`."""
        answer = await self._exchange(path, cap, body, total)
        return self._too_large(cap) if isinstance(answer, _Answer) and answer.cut else answer

    async def _exchange(
        self, path: str, cap: int, body: bytes | None = None, total: float | None = None, *, part: bool = False
    ) -> _Answer | Failure:
        """Make one exchange in `total` seconds, by default `Waits.call`.

        An answer of more than `cap` bytes is `cut`: with `part` what came is in it, else nothing.
        """
        try:
            response = await self._send(path, body, {}, self._waits.call if total is None else total)
            try:
                return await self._answer(response, cap, part=part)
            finally:
                response.close()
        except errors.ERRORS as error:
            return errors.of_error(self.where, error)

    async def _answer(self, response: aiohttp.ClientResponse, cap: int, *, part: bool) -> _Answer | Failure:
        """Read an answer. Where the status says it all, or a page came, its body is not."""
        answer = _Answer(response.status, response.headers, response.url, page=await self._title(response))
        if response.status not in _READ or answer.page is not None:
            return answer
        if _encoded(response.headers):
            return errors.of_answer(self.where, "compressed, though we asked for plain")
        if not part and (response.content_length or 0) > cap:
            return replace(answer, cut=True)
        body = bytearray()
        async for piece in response.content.iter_any():
            body += piece
            if len(body) > cap:
                return replace(answer, body=body if part else b"", cut=True)
        return replace(answer, body=body)

    async def _title(self, response: aiohttp.ClientResponse) -> str | None:
        """Return the title of the HTML page that came, None where none did. It may be cut short, slow or broken."""
        if _type(response.headers) not in _PAGES:
            return None
        start = bytearray()
        if not _encoded(response.headers):
            with suppress(*errors.ERRORS):
                async with asyncio.timeout(self._waits.stall):
                    async for piece in response.content.iter_any():
                        start += piece
                        if len(start) >= _START or b"</title" in start:
                            break
        return title(start[:_START], self._credentials)

    async def _send(
        self,
        path: str,
        body: bytes | AsyncIterator[bytes] | None,
        headers: Mapping[str, str],
        total: float | None,
        method: str = "",
    ) -> aiohttp.ClientResponse:
        own = {**self._credentials.headers(), "Accept-Encoding": "identity", **headers}
        if isinstance(body, bytes):
            own["Content-Type"] = _JSON
        return await self._http.request(
            method or ("GET" if body is None else "POST"),
            self._url(path),
            data=body,
            headers=own,
            allow_redirects=False,
            timeout=aiohttp.ClientTimeout(total=total, sock_connect=self._waits.connect),
            read_bufsize=_BODY_PORTION,
            ssl=self._credentials.tls or True,
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


def _date(answer: _Answer) -> float | None:
    return errors.date(answer.headers.get("Date", ""))


def _encoded(headers: Mapping[str, str]) -> bool:
    return headers.get("Content-Encoding", "identity").strip().lower() not in ("", "identity")


def _refusal(answer: _Answer, body: bytes) -> Refused:
    if _type(answer.headers) != _JSON:
        return Refused(f"the workflow was refused ({answer.status}) without a reason")
    try:
        return submission.refused(wire.parse(answer.body), body)
    except wire.WrongShapeError:
        return Refused(f"the workflow was refused ({answer.status}) without a reason")
