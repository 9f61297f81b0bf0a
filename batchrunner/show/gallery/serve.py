"""The gallery over HTTP, for this machine only: for browsers that refuse files, and through an ssh tunnel."""

from __future__ import annotations

from contextlib import asynccontextmanager
from hmac import compare_digest
from pathlib import Path, PurePosixPath
from secrets import token_urlsafe
from typing import TYPE_CHECKING

from aiohttp import web

from batchrunner.errors import LocalError
from batchrunner.show.gallery.data import PICTURES, SOUNDS
from batchrunner.show.gallery.page import DATA, PAGE, REPORT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HOST = "127.0.0.1"
_KEY_BYTES = 16
_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
_OWN = frozenset({PAGE, DATA, REPORT})
_MEDIA = {".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi"} | PICTURES | SOUNDS
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}


@asynccontextmanager
async def serving(folder: Path, port: int = 0) -> AsyncIterator[str]:
    """Serve a batch's page and its videos on loopback; yield the URL. Port 0 takes a free one.

    The URL holds a random key, without which nothing is shown: other users of this machine can reach the port too.
    Ranges are answered, so that a player can seek. The state, the log and everything else in the folder are not
    served, nor are requests for another host's name (a page elsewhere that resolves to this machine).
    LocalError if the port is taken.
    """
    app = web.Application()
    key = token_urlsafe(_KEY_BYTES)
    app.router.add_get("/{key}/{path:.*}", _Site(folder, key).answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        where = web.TCPSite(runner, HOST, port)
        try:
            await where.start()
        except OSError as error:
            raise LocalError(f"port {port} can't be used: {error.strerror}") from error
        yield f"http://{HOST}:{runner.addresses[0][1]}/{key}/"
    finally:
        await runner.cleanup()


class _Site:
    """One folder, of which the page, its data and media files are shown."""

    def __init__(self, root: Path, key: str) -> None:
        self._root = root.resolve()
        self._key = key.encode()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer with a file; 404 for any other file or key, 421 for another host's name."""
        try:
            host = request.url.host
        except ValueError:
            raise web.HTTPBadRequest from None
        if host not in _NAMES:
            raise web.HTTPMisdirectedRequest
        if not compare_digest(request.match_info["key"].encode("utf-8", "surrogatepass"), self._key):
            raise web.HTTPNotFound
        path = self._file(request.match_info["path"] or PAGE)
        if path is None:
            raise web.HTTPNotFound
        answer = web.FileResponse(path, headers=_HEADERS)
        if path.name in _OWN:
            answer.headers["Cache-Control"] = "no-store"
        return answer

    def _file(self, asked: str) -> Path | None:
        """Return the file to show, None for anything else: links and `..` lead nowhere."""
        parts = PurePosixPath(asked).parts
        if asked not in _OWN and PurePosixPath(asked).suffix.lower() not in _MEDIA:
            return None
        if asked.startswith("/") or any(part in {"..", "."} or "\0" in part for part in parts):
            return None
        path = self._root.joinpath(*parts)
        try:
            return path if path.is_file() and path.resolve() == path else None
        except (OSError, ValueError):  # a name that no file can have
            return None
