"""`GET /view`: files as they lie on disk, by aiohttp's FileResponse, as the real server does it (PROTOCOL.md §4)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aiohttp import web

from batchrunner.sim.failures import TroubleError
from batchrunner.sim.record import What

if TYPE_CHECKING:
    from pathlib import Path

    from batchrunner.sim.server import Simulator

_TYPES = {
    ".mp4": "video/mp4",
    ".webm": "video/webm",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".png": "image/png",
    ".flac": "audio/flac",
    ".txt": "text/plain",
}
_CONTROL = frozenset(map(chr, [*range(9), *range(10, 32), 127]))
_PICTURES = (".png", ".webp", ".gif")


def view(simulator: Simulator, request: web.Request) -> web.StreamResponse:
    """Answer one request for a file. Raises TroubleError where ComfyUI tries to open a video as a picture.

    A name that no header can hold drops the connection (PROTOCOL.md §1, 12).
    """
    query = request.rel_url.query
    if "filename" not in query:
        return web.Response(status=404)
    found = simulator.folders.asked(query["filename"], query.get("type", "output"), query.get("subfolder"))
    if isinstance(found, int):
        return web.Response(status=found)
    if ("preview" in query or "channel" in query) and found.suffix not in _PICTURES:
        raise TroubleError
    if not _CONTROL.isdisjoint(found.name) and request.transport is not None:
        request.transport.abort()
        return web.Response(status=502)
    if request.method == "GET":
        _note(simulator, request, found)
    headers = {
        "Content-Disposition": f'filename="{found.name}"',
        "Content-Type": _TYPES.get(found.suffix, "application/octet-stream"),
    }
    if simulator.new_server:
        headers["X-Content-Type-Options"] = "nosniff"
    return web.FileResponse(found, headers=headers)


def _note(simulator: Simulator, request: web.Request, path: Path) -> None:
    note = simulator.folders.relative(path)
    prompt_id, prefix = simulator.owner(note)
    simulator.record.add(What.VIEWED, prompt_id, prefix, request.remote or "", note)
