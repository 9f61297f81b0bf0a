"""An opened file: what its headers say, and its bytes piece by piece."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from batchrunner.comfy import trouble

if TYPE_CHECKING:
    import aiohttp

    from batchrunner.core.results import Failure

_PORTION = 2**18
_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})", re.ASCII)
_ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]{0,200}"')


class View:
    """One answer of GET /view with status 200, 206, 400, 404, 412 or 416; the shape that `fetch.Stream` asks for."""

    __slots__ = ("_response", "_stall", "_where", "content_type", "etag", "size", "start", "status")

    def __init__(self, response: aiohttp.ClientResponse, where: str, stall: float) -> None:
        self._response, self._where, self._stall = response, where, stall
        self.status = response.status
        etag = response.headers.get("ETag", "").strip()
        self.etag = etag if _ETAG.fullmatch(etag) else ""
        self.content_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
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
        except trouble.ERRORS as error:
            return trouble.of_error(self._where, error)
