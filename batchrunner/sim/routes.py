"""The HTTP side: the proxy before the server, and each route with the statuses and bodies of a real server."""

from __future__ import annotations

import asyncio
import hmac
import posixpath
import uuid
from email.utils import formatdate
from typing import TYPE_CHECKING

from aiohttp import BodyPartReader, WSMsgType, web

from batchrunner.sim.jobs import job
from batchrunner.sim.machine import InternalServerError
from batchrunner.sim.nodes import object_info
from batchrunner.sim.record import What
from batchrunner.sim.sockets import deliver

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler, Middleware

    from batchrunner.core.job import Json
    from batchrunner.sim.server import Simulator

BODY_LIMIT = 100 * 2**20
"""The largest body that is accepted, in bytes."""
_TYPES = {
    ".mp4": "video/mp4",
    ".webm": "video/webm",
    ".webp": "image/webp",
    ".gif": "image/gif",
    ".png": "image/png",
    ".flac": "audio/flac",
    ".wav": "audio/x-wav",
    ".glb": "model/gltf-binary",
    ".txt": "text/plain",
}
_PORTION = 2**18
_CONTROL = frozenset(map(chr, [*range(9), *range(10, 32), 127]))
_PICTURES = (".png", ".webp", ".gif")
_FEATURES: dict[str, Json] = {"supports_preview_metadata": True, "max_upload_size": BODY_LIMIT}
_INTERNAL_ERROR = "500 Internal Server Error\n\nServer got itself in trouble"
_BAD_GATEWAY = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>502 Bad Gateway</body>\r\n</html>\r\n"


class Gateway:
    """What stands before the routes: a proxy's token, a server that is down, 500s, and the server's own clock.

    With a token there is a proxy, which answers 502 for a server that is down; without one connections are reset.
    """

    def __init__(self, simulator: Simulator) -> None:
        self._sim = simulator
        self._connections: dict[asyncio.Transport, None] = {}
        self.down_until = float("-inf")
        """In the loop's time."""

    @property
    def middleware(self) -> Middleware:
        """Return the middleware to mount."""

        @web.middleware
        async def pass_through(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._pass(request, handler)

        return pass_through

    async def _pass(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        self._connections = {known: None for known in self._connections if not known.is_closing()}
        if isinstance(request.transport, asyncio.Transport):
            self._connections[request.transport] = None
        if not self._is_authorized(request):
            return web.json_response({"error": "Unauthorized"}, status=401)
        if asyncio.get_running_loop().time() < self.down_until:
            if self._sim.token is None and request.transport is not None:
                request.transport.abort()
            return web.Response(status=502, text=_BAD_GATEWAY, content_type="text/html")
        try:
            return await handler(request)
        except InternalServerError:
            response = web.Response(status=500, text=_INTERNAL_ERROR)
            response.force_close()
            return response

    def _is_authorized(self, request: web.Request) -> bool:
        if self._sim.token is None:
            return True
        sent = request.headers.get("Authorization", "")
        return hmac.compare_digest(sent.encode("utf-8", "replace"), f"Bearer {self._sim.token}".encode())

    def drop_connections(self) -> None:
        """Reset every open connection, downloads included."""
        for transport in self._connections:
            transport.abort()
        self._connections.clear()

    async def stamp(self, _request: web.Request, response: web.StreamResponse) -> None:
        """Set `Date` by the server's own clock, as files and clean-up do."""
        response.headers["Date"] = formatdate(self._sim.wall(), usegmt=True)


class Routes:
    """One method per route; each is also mounted under `/api`."""

    def __init__(self, simulator: Simulator) -> None:
        self._sim = simulator

    def add_to(self, application: web.Application) -> None:
        """Mount every route, and an empty 404 for any other path."""
        router = application.router
        for root in ("", "/api"):
            router.add_get(f"{root}/prompt", self.remaining)
            router.add_post(f"{root}/prompt", self.post)
            router.add_get(f"{root}/queue", self.queue)
            router.add_post(f"{root}/queue", self.change_queue)
            router.add_get(f"{root}/history", self.history)
            router.add_post(f"{root}/history", self.change_history)
            router.add_get(f"{root}/history/{{prompt_id}}", self.entry)
            router.add_post(f"{root}/interrupt", self.interrupt)
            router.add_post(f"{root}/free", self.free)
            router.add_get(f"{root}/view", self.view)
            router.add_post(f"{root}/upload/image", self.upload)
            router.add_get(f"{root}/object_info", self.object_info)
            router.add_get(f"{root}/object_info/{{node_class}}", self.object_info)
            router.add_get(f"{root}/system_stats", self.system_stats)
            router.add_get(f"{root}/features", self.features)
            router.add_get(f"{root}/ws", self.socket)
        router.add_get("/api/jobs/{prompt_id}", self.job)
        router.add_get("/", self.page)
        router.add_get("/{nothing:.*}", self.nothing)

    async def post(self, request: web.Request) -> web.Response:
        """POST /prompt."""
        status, answer = self._sim.submit(await _json(request), request.remote or "")
        return web.json_response(answer, status=status)

    async def remaining(self, _request: web.Request) -> web.Response:
        """GET /prompt."""
        return web.json_response({"exec_info": {"queue_remaining": self._sim.prompts.remaining}})

    async def queue(self, _request: web.Request) -> web.Response:
        """GET /queue."""
        return web.json_response(text=self._sim.prompts.queue())

    async def change_queue(self, request: web.Request) -> web.Response:
        """POST /queue: clear, or delete pending prompts by id."""
        body = _object(await _json(request))
        if body.get("clear"):
            self._sim.clear_queue(request.remote or "")
        self._sim.delete(_ids(body), request.remote or "")
        return web.Response()

    async def history(self, request: web.Request) -> web.Response:
        """GET /history."""
        most = _whole(request, "max_items")
        offset = _whole(request, "offset")
        return web.json_response(self._sim.prompts.page(most, -1 if offset is None else offset))

    async def entry(self, request: web.Request) -> web.Response:
        """GET /history/{prompt_id}: `{}` for whatever has no entry, for any reason."""
        name = request.match_info["prompt_id"]
        entry = self._sim.prompts.history.get(name)
        return web.json_response({} if entry is None else {name: entry})

    async def job(self, request: web.Request) -> web.Response:
        """GET /api/jobs/{prompt_id}, where the server has it; it is not mounted anywhere else."""
        if not self._sim.jobs_api:
            return await self.nothing(request)
        found = job(self._sim.prompts, request.match_info["prompt_id"])
        answer: dict[str, Json] = {"error": "Job not found"} if found is None else found
        return web.json_response(answer, status=404 if found is None else 200)

    async def change_history(self, request: web.Request) -> web.Response:
        """POST /history: clear, or delete entries by id; files stay."""
        body = _object(await _json(request))
        if body.get("clear"):
            self._sim.forget(list(self._sim.prompts.history), request.remote or "")
        self._sim.forget(_ids(body), request.remote or "")
        return web.Response()

    async def interrupt(self, request: web.Request) -> web.Response:
        """POST /interrupt: with a prompt id only that one if it runs, without one whatever runs."""
        try:
            body: Json = await request.json()
        except ValueError:
            body = {}
        wanted = _object(body).get("prompt_id")
        self._sim.interrupt(str(wanted) if wanted else None)
        return web.Response()

    async def free(self, request: web.Request) -> web.Response:
        """POST /free: `free_memory` drops the node cache."""
        if _object(await _json(request)).get("free_memory"):
            self._sim.free_memory()
        return web.Response()

    async def view(self, request: web.Request) -> web.StreamResponse:
        """GET and HEAD /view: the file as it lies on disk, sent by aiohttp as the real server does.

        A video that is asked for as a picture is a 500; a name that no header can hold drops the connection.
        """
        query = request.rel_url.query
        if "filename" not in query:
            return web.Response(status=404)
        found = self._sim.folders.find(query["filename"], query.get("type", "output"), query.get("subfolder"))
        if isinstance(found, int):
            return web.Response(status=found)
        if ("preview" in query or "channel" in query) and found.suffix not in _PICTURES:
            raise InternalServerError
        if not _CONTROL.isdisjoint(found.name) and request.transport is not None:
            request.transport.abort()
            return web.Response(status=502)
        if request.method == "GET":
            path = self._sim.folders.relative(found)
            self._sim.record.add(What.VIEWED, *self._sim.owner(path), request.remote or "", path)
        headers = {
            "Content-Disposition": f'filename="{found.name}"',
            "Content-Type": _TYPES.get(found.suffix, "application/octet-stream"),
        }
        if self._sim.new_server:
            headers["X-Content-Type-Options"] = "nosniff"
        return web.FileResponse(found, headers=headers)

    async def upload(self, request: web.Request) -> web.Response:
        """POST /upload/image: any file, as multipart (docs/comfyui.md §22)."""
        fields, image = await _form(request)
        kind, subfolder = fields.get("type", "input"), fields.get("subfolder", "")
        if image is None:
            return web.Response(status=400)
        filename, content = image
        if not filename or kind not in ("input", "output", "temp"):
            raise InternalServerError
        overwrite = fields.get("overwrite") in ("true", "1")
        try:
            name = self._sim.folders.upload(filename, content, kind, subfolder, overwrite=overwrite)
        except (OSError, ValueError):
            raise InternalServerError from None
        if name is None:
            return web.Response(status=400)
        self._sim.record.add(What.UPLOADED, peer=request.remote or "", note=posixpath.join(subfolder, name))
        return web.json_response({"name": name, "subfolder": subfolder, "type": kind})

    async def object_info(self, request: web.Request) -> web.Response:
        """GET /object_info and /object_info/{class}: `{}` for an unknown class."""
        name = request.match_info.get("node_class")
        names = None if name is None else [name]
        return web.json_response(object_info(self._sim.catalogue, names, strict=self._sim.strict))

    async def system_stats(self, _request: web.Request) -> web.Response:
        """GET /system_stats."""
        gigabytes = 2**30
        device = {"name": "cuda:0 Simulated 40GB", "type": "cuda", "index": 0}
        memory = {"vram_total": 40 * gigabytes, "vram_free": 38 * gigabytes}
        torch = {"torch_vram_total": 0, "torch_vram_free": 0}
        system = {
            "os": "posix",
            "ram_total": 64 * gigabytes,
            "ram_free": 48 * gigabytes,
            "comfyui_version": "0.3.64",
            "python_version": "3.11",
            "pytorch_version": "2.9.0",
            "embedded_python": False,
            "argv": ["main.py"],
        }
        return web.json_response({"system": system, "devices": [device | memory | torch]})

    async def features(self, _request: web.Request) -> web.Response:
        """GET /features."""
        return web.json_response(_FEATURES)

    async def socket(self, request: web.Request) -> web.StreamResponse:
        """GET /ws?clientId=X."""
        socket = web.WebSocketResponse()
        try:
            await socket.prepare(request)
        except ConnectionResetError:  # the client is gone
            return web.Response()
        client_id = request.rel_url.query.get("clientId") or uuid.uuid4().hex
        self._sim.sockets.add(client_id, socket)
        try:
            await self._greet(socket, client_id)
            async for message in socket:
                if message.type is WSMsgType.TEXT and '"feature_flags"' in message.data:
                    await deliver(socket, "feature_flags", _FEATURES)
        finally:
            self._sim.sockets.remove(client_id)
        return socket

    async def _greet(self, socket: web.WebSocketResponse, client_id: str) -> None:
        await deliver(socket, "status", {**self._sim.status(), "sid": client_id})
        node = self._sim.node_of(client_id)
        if node is not None:
            await deliver(socket, "executing", {"node": node})

    async def page(self, _request: web.Request) -> web.Response:
        """GET /: where the real one has its editor."""
        return web.Response(text="<!DOCTYPE html><title>ComfyUI, simulated</title>", content_type="text/html")

    async def nothing(self, _request: web.Request) -> web.Response:
        """GET anything else."""
        return web.Response(status=404, content_type="application/octet-stream")


async def _form(request: web.Request) -> tuple[dict[str, str], tuple[str, bytes] | None]:
    """Return the texts of a multipart body, and the name and content of its `image`, None without one."""
    texts: dict[str, str] = {}
    image = None
    if request.content_type != "multipart/form-data":
        return texts, image
    left = BODY_LIMIT
    try:
        async for part in await request.multipart():
            if not isinstance(part, BodyPartReader):
                raise InternalServerError
            content = bytearray()
            while piece := await part.read_chunk(_PORTION):
                content += piece
                left -= len(piece)
                if left < 0:
                    raise web.HTTPRequestEntityTooLarge(BODY_LIMIT, BODY_LIMIT - left)
            if part.name == "image":
                image = part.filename or "", bytes(content)
            else:
                texts[part.name or ""] = content.decode("utf-8", "replace")
    except (ValueError, ConnectionError):  # no end, or a client that died in the middle
        raise InternalServerError from None
    return texts, image


async def _json(request: web.Request) -> Json:
    try:
        body: Json = await request.json()
    except (ValueError, LookupError, RecursionError):
        raise InternalServerError from None
    return body


def _object(body: Json) -> dict[str, Json]:
    if not isinstance(body, dict):
        raise InternalServerError
    return body


def _ids(body: dict[str, Json]) -> list[str]:
    wanted = body.get("delete", [])
    if not isinstance(wanted, list):
        raise InternalServerError
    return [name for name in wanted if isinstance(name, str)]


def _whole(request: web.Request, key: str) -> int | None:
    value = request.rel_url.query.get(key)
    try:
        return None if value is None else int(value)
    except ValueError:
        raise InternalServerError from None
