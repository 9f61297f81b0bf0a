"""The gallery over HTTP, for this machine only: for browsers that refuse files, and through an ssh tunnel."""

from __future__ import annotations

import json
import os
from contextlib import asynccontextmanager
from hmac import compare_digest
from pathlib import Path, PurePosixPath
from secrets import token_urlsafe
from typing import TYPE_CHECKING
from zlib import crc32

from aiohttp import web

from batchrunner.errors import LocalError
from batchrunner.files import replace_file
from batchrunner.show.gallery.data import PICTURES, SOUNDS
from batchrunner.show.gallery.page import DATA, PAGE, REPORT

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

HOST = "127.0.0.1"
_KEY_BYTES = 16
_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
_OWN = frozenset({PAGE, DATA, REPORT})
PICKS = "picks.json"
"""The stars and notes of the page, in the batch's folder: what `promote FOLDER` reads."""
_MOST_PICKS = 4 * 2**20
"""Bytes of it."""
_PORTS = range(8600, 9600)
"""Of which each batch has one, so that a browser finds again what it kept for the page, and a bookmark's host."""
_MEDIA = {".mp4", ".m4v", ".mov", ".webm", ".mkv", ".avi"} | PICTURES | SOUNDS
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
}


def usual_port(folder: Path) -> int:
    """Return the port on which the page of the batch in `folder` is served if it is free."""
    return _PORTS[crc32(os.fsencode(folder.resolve())) % len(_PORTS)]


@asynccontextmanager
async def serving(folder: Path, port: int | None = None) -> AsyncIterator[str]:
    """Serve a batch's page and its videos on loopback; yield the URL. Port 0 takes a free one, None the batch's own.

    The URL holds a random key, without which nothing is shown: other users of this machine can reach the port too.
    Ranges are answered, so that a player can seek. The page may write its stars to `picks.json`, and nothing else. The
    state, the log and everything else in the folder are not served, nor are requests for another host's name (a page
    elsewhere that resolves to this machine). LocalError if the port is taken.
    """
    app = web.Application(client_max_size=_MOST_PICKS)
    key = token_urlsafe(_KEY_BYTES)
    site = _Site(folder, key)
    app.router.add_put(f"/{{key}}/{PICKS}", site.keep_picks)
    app.router.add_get("/{key}/{path:.*}", site.answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await _listen(runner, [port] if port is not None else [usual_port(folder), 0])
        yield f"http://{HOST}:{runner.addresses[0][1]}/{key}/"
    finally:
        await runner.cleanup()


async def _listen(runner: web.AppRunner, ports: Sequence[int]) -> None:
    """Listen on the first of `ports` that is free. LocalError if none is."""
    for port in ports:
        try:
            await web.TCPSite(runner, HOST, port).start()
        except OSError as error:
            if port == ports[-1]:
                raise LocalError(f"port {port} can't be used: {error.strerror}") from error
        else:
            return


class _Site:
    """One folder, of which the page, its data and media files are shown, and the picks are kept."""

    def __init__(self, root: Path, key: str) -> None:
        self._root = root.resolve()
        self._key = key.encode()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer with a file; 404 for any other file or key, 421 for another host's name."""
        self._admit(request)
        if request.match_info["path"] == PICKS:
            return self._picks()
        path = self._file(request.match_info["path"] or PAGE)
        if path is None:
            raise web.HTTPNotFound
        answer = web.FileResponse(path, headers=_HEADERS)
        if path.name in _OWN:
            answer.headers["Cache-Control"] = "no-store"
        return answer

    async def keep_picks(self, request: web.Request) -> web.StreamResponse:
        """Keep the stars of our own page in the batch's folder; 403 for a page from elsewhere, 400 for no picks."""
        self._admit(request)
        if request.headers.get("Origin") != f"http://{request.host}" or request.content_type != "application/json":
            raise web.HTTPForbidden
        try:
            content = json.loads(await request.text())
        except (ValueError, RecursionError):
            raise web.HTTPBadRequest from None
        if not isinstance(content, dict) or not isinstance(content.get("picks"), list):
            raise web.HTTPBadRequest
        try:
            replace_file(self._root / PICKS, f"{json.dumps(content, indent=2)}\n".encode(), durable=True)
        except LocalError:
            raise web.HTTPInsufficientStorage from None
        return web.Response(status=204, headers=_HEADERS)

    def _picks(self) -> web.StreamResponse:
        """Return what is kept; its header tells the page that stars can be kept here."""
        headers = {**_HEADERS, "X-Picks": "kept", "Cache-Control": "no-store"}
        path = self._root / PICKS
        if path.is_symlink() or not path.is_file():
            return web.Response(status=204, headers=headers)
        return web.FileResponse(path, headers=headers)

    def _admit(self, request: web.Request) -> None:
        """Raise what answers a request for another host's name (421), or one without the key (404)."""
        try:
            host = request.url.host
        except ValueError:
            raise web.HTTPBadRequest from None
        if host not in _NAMES:
            raise web.HTTPMisdirectedRequest
        if not compare_digest(request.match_info["key"].encode("utf-8", "surrogatepass"), self._key):
            raise web.HTTPNotFound

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
