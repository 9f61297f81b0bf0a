"""How an input file is brought to a ComfyUI, and seen to be there whole (docs/comfyui.md §22)."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from batchrunner.comfy import errors, submission
from batchrunner.comfy.exchange import PAGES, SMALL, Answer, content_type
from batchrunner.comfy.multipart import InputBody
from batchrunner.core.actions import Failure, NotUploaded, Uploaded

if TYPE_CHECKING:
    from pathlib import Path

    from batchrunner.comfy.exchange import Exchange
    from batchrunner.core.actions import Upload, UploadEnd
    from batchrunner.core.job import InputFile

_NO_HEAD = frozenset({405, 501})
"""How a proxy says that it passes on no HEAD."""
_MEGABYTE = 1e6


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a HEAD says of a stored file."""

    there: bool
    size: int | None = None
    etag: str = ""

    def is_whole(self, size: int) -> bool:
        """Whether it is there, and as long as it should be where that is told."""
        return self.there and self.size in (None, size)


class Uploads:
    """Uploads to one server, of files in the folder `inputs`."""

    def __init__(self, http: Exchange, inputs: Path) -> None:
        self._http = http
        self._inputs = inputs

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
        if isinstance(answer, Answer) and answer.status == 413:
            return self._too_much(action.file, answer)
        read = answer if isinstance(answer, Failure) else self._http.read(answer, submission.stored)
        return read if isinstance(read, Failure) else await self._confirmed(action.file, read[0])

    async def _confirmed(self, file: InputFile, stored: str) -> UploadEnd:
        """Return that a file was uploaded as `stored`, if it lies there whole."""
        seen = await self._head(stored)
        if isinstance(seen, Failure):
            return seen
        if not seen.is_whole(file.size):
            return errors.of_answer(self._http.where, f"it took {file.name}, and does not have it whole")
        return Uploaded(stored, seen.etag)

    async def _head(self, stored: str) -> _Seen | Failure:
        """Ask for a stored input file's length and ETag. A server that answers no HEAD is believed to have it."""
        subfolder, _, name = stored.rpartition("/")
        query = urlencode({"filename": name, "type": "input", "subfolder": subfolder}, errors="surrogatepass")
        try:
            response = await self._http.send(f"/view?{query}", None, {}, self._http.waits.call, method="HEAD")
        except errors.ERRORS as error:
            return errors.of_error(self._http.where, error)
        response.close()
        page = "" if content_type(response.headers) in PAGES else None
        if page is None and response.status in (200, 404):
            return _Seen(response.status == 200, response.content_length, response.headers.get("ETag", ""))
        if response.status in _NO_HEAD:
            return _Seen(there=True)
        return self._http.failure(Answer(response.status, response.headers, response.url, page=page))

    async def _post_file(self, body: InputBody) -> Answer | Failure:
        """POST an input file; only a pause of `Timeouts.stall` ends it, or `Timeouts.call` for the answer."""
        try:
            async with asyncio.timeout(self._http.waits.connect + self._http.waits.stall) as limit:

                def progress(*, over: bool) -> None:
                    pause = self._http.waits.call if over else self._http.waits.stall
                    with suppress(RuntimeError):  # it has just ended
                        limit.reschedule(asyncio.get_running_loop().time() + pause)

                response = await self._http.send("/upload/image", body.pieces(progress), body.headers, None)
                try:
                    return await self._http.answer(response, SMALL, part=False)
                finally:
                    response.close()
        except errors.ERRORS as error:
            return body.failure or errors.of_error(self._http.where, error)

    def _too_much(self, file: InputFile, answer: Answer) -> NotUploaded:
        """Say who takes no file of this size: a proxy's answer is a page, ComfyUI's is plain text."""
        size = f"no file of {file.size / _MEGABYTE:.1f} MB ({file.name})"
        if answer.page is not None:
            who = f"the proxy before {self._http.where} takes {size}"
            return NotUploaded(f"{who}: raise its limit there (nginx: client_max_body_size)")
        if content_type(answer.headers) == "text/plain":
            return NotUploaded(f"{self._http.where} takes {size}: start its ComfyUI with a larger --max-upload-size")
        return NotUploaded(f"{self._http.where}, or a proxy before it, takes {size}: raise the limit there")
