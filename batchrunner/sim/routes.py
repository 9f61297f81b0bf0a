"""The HTTP surface, each route also under `/api`, with a real server's statuses and bodies (PROTOCOL.md §2 to §5)."""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING

from aiohttp import WSMsgType, web

from batchrunner.sim.catalogue import object_info
from batchrunner.sim.failures import TroubleError
from batchrunner.sim.progress import deliver
from batchrunner.sim.view import view

if TYPE_CHECKING:
    from batchrunner.core.identity import Json
    from batchrunner.sim.server import Simulator

_FEATURES: dict[str, Json] = {"supports_preview_metadata": True, "max_upload_size": 100 * 2**20}


class Routes:
    """One method per route."""

    def __init__(self, simulator: Simulator) -> None:
        self._sim = simulator

    def add_to(self, application: web.Application) -> None:
        """Mount everything, and an empty 404 for whatever else is asked for."""
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
            router.add_get(f"{root}/object_info", self.object_info)
            router.add_get(f"{root}/object_info/{{node_class}}", self.object_info)
            router.add_get(f"{root}/system_stats", self.system_stats)
            router.add_get(f"{root}/features", self.features)
            router.add_get(f"{root}/ws", self.socket)
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
        """GET /view."""
        return view(self._sim, request)

    async def object_info(self, request: web.Request) -> web.Response:
        """GET /object_info and /object_info/{class}: `{}` for an unknown class."""
        name = request.match_info.get("node_class")
        return web.json_response(object_info(self._sim.catalogue, None if name is None else [name]))

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

    async def socket(self, request: web.Request) -> web.WebSocketResponse:
        """GET /ws?clientId=X."""
        socket = web.WebSocketResponse()
        await socket.prepare(request)
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


async def _json(request: web.Request) -> Json:
    try:
        body: Json = await request.json()
    except (ValueError, LookupError, RecursionError):
        raise TroubleError from None
    return body


def _object(body: Json) -> dict[str, Json]:
    if not isinstance(body, dict):
        raise TroubleError
    return body


def _ids(body: dict[str, Json]) -> list[str]:
    wanted = body.get("delete", [])
    if not isinstance(wanted, list):
        raise TroubleError
    return [name for name in wanted if isinstance(name, str)]


def _whole(request: web.Request, key: str) -> int | None:
    value = request.rel_url.query.get(key)
    try:
        return None if value is None else int(value)
    except ValueError:
        raise TroubleError from None
