"""One ComfyUI server over HTTP: polls, POSTs, files. One call is one attempt, and ends in a value, not an exception."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

import aiohttp

from batchrunner.comfy import errors, submission, wire
from batchrunner.comfy.exchange import JSON, MIB, SMALL, Answer, Exchange, Timeouts, content_type, is_encoded
from batchrunner.comfy.hint import HintSocket
from batchrunner.comfy.multipart import OVERHEAD
from batchrunner.comfy.poll import Polls
from batchrunner.comfy.secret import NO_CREDENTIALS, Credentials, redacted
from batchrunner.comfy.upload import Uploads
from batchrunner.core.actions import Failure, Refused
from batchrunner.errors import YoursError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection, Mapping
    from ssl import SSLContext

    from batchrunner.core.actions import Poll, PollEnd, PostEnd, Upload, UploadEnd
    from batchrunner.core.facts import File
    from batchrunner.core.job import Json

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


# -- One ComfyUI server.


_OBJECTS = 16 * MIB
_POSTED = 4 * MIB
"""A 400 lists every name that the server would have taken."""
_VIEWED = frozenset({200, 206, 400, 404, 412, 416})


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
        self._http = Exchange(base, http, credentials, waits or Timeouts())
        self._credentials = credentials
        self._polls = Polls(self._http, nodes)
        self._uploads = Uploads(self._http, inputs)
        self._socket = HintSocket(self._http.url("/ws"), http, credentials)

    async def poll(self, action: Poll) -> PollEnd:
        """Find out what became of our prompts, as `Polls.poll` does."""
        return redacted(await self._polls.poll(action), self._credentials)

    async def upload(self, action: Upload) -> UploadEnd:
        """Bring an input file there, as `Uploads.upload` does."""
        return redacted(await self._uploads.upload(action), self._credentials)

    async def submit(self, body: bytes) -> PostEnd:
        """POST one prompt, once. A Failure with `sent` says nothing about whether the server has it."""
        began = asyncio.get_running_loop().time()
        answer = await self._http.call("/prompt", _POSTED, body, self._http.waits.post)
        if isinstance(answer, Failure):
            return answer
        if answer.status == 413:
            return Refused("the workflow is too large for the server or a proxy before it (413)")
        if answer.status in (400, 422) and answer.page is None:
            return redacted(_refusal(answer, body), self._credentials)
        read = self._http.read(answer, partial(submission.taken, body=body))
        if isinstance(read, Failure):
            return read
        self._socket.posted(began)
        return redacted(read[0], self._credentials)

    async def largest_upload(self) -> float | None:
        """Return how many bytes a file may have, None where the server does not say: an old one, or a proxy."""
        answer = await self._http.json("/features", submission.largest, SMALL)
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

    async def listen(self, heard: Callable[[bool, int], None]) -> None:
        """Open the server's websocket, and call `heard(greeting, dropped)` as `HintSocket.listen` does."""
        await self._socket.listen(heard)

    async def object_info(self) -> Json | Failure:
        """Return what every node of the server takes, as it says it."""
        answer = await self._http.json("/object_info", _object, _OBJECTS)
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
            async with asyncio.timeout(self._http.waits.call):
                return await self._http.send(path, None, headers, None)
        except errors.ERRORS as error:
            return errors.of_error(self._http.where, error)

    async def _view(self, response: aiohttp.ClientResponse) -> View | Failure:
        """Return the opened file. A page proves nothing about it, whatever its status: it is a proxy's."""
        page = await self._http.title(response)
        if page is not None or response.status not in _VIEWED:
            return self._http.failure(Answer(response.status, response.headers, response.url, page=page))
        if response.status in (200, 206) and is_encoded(response.headers):
            return errors.of_answer(self._http.where, "a compressed file")
        return View(response, self._http.where, self._http.waits.stall)

    async def _order(self, path: str, said: Json) -> Failure | None:
        answer = await self._http.call(path, SMALL, wire.dump(said))
        if isinstance(answer, Failure):
            return answer
        return None if answer.status == 200 and answer.page is None else self._http.failure(answer)


def _object(value: Json) -> Json:
    return wire.fields(value, "object_info")


def _refusal(answer: Answer, body: bytes) -> Refused:
    if content_type(answer.headers) != JSON:
        return Refused(f"the workflow was refused ({answer.status}) without a reason")
    try:
        return submission.refused(wire.parse(answer.body), body)
    except wire.WrongShapeError:
        return Refused(f"the workflow was refused ({answer.status}) without a reason")
