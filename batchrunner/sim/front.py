"""What stands before the routes: the proxy's bearer token, a server that is down, 500s, and the server's own clock."""

from __future__ import annotations

import asyncio
import hmac
from email.utils import formatdate
from typing import TYPE_CHECKING

from aiohttp import web

from batchrunner.sim.failures import TroubleError

if TYPE_CHECKING:
    from aiohttp.typedefs import Handler, Middleware

    from batchrunner.sim.server import Simulator

_TROUBLE = "500 Internal Server Error\n\nServer got itself in trouble"
_GATEWAY = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>502 Bad Gateway</body>\r\n</html>\r\n"


class Front:
    """The way in. With a token there is a proxy, which answers for a server that is down (PROTOCOL.md §1, 4)."""

    def __init__(self, simulator: Simulator) -> None:
        self._sim = simulator
        self._connections: set[asyncio.Transport] = set()
        self.down_until = float("-inf")
        """In the loop's time."""

    @property
    def middleware(self) -> Middleware:
        """Return the middleware to mount."""

        @web.middleware
        async def way_in(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._pass(request, handler)

        return way_in

    async def _pass(self, request: web.Request, go_on: Handler) -> web.StreamResponse:
        self._remember(request)
        if not self._welcome(request):
            return web.json_response({"error": "Unauthorized"}, status=401)
        if asyncio.get_running_loop().time() < self.down_until:
            return self._nobody_there(request)
        try:
            return await go_on(request)
        except TroubleError:
            response = web.Response(status=500, text=_TROUBLE)
            response.force_close()
            return response

    def _welcome(self, request: web.Request) -> bool:
        token = self._sim.token
        if token is None:
            return True
        shown = request.headers.get("Authorization", "")
        return hmac.compare_digest(shown.encode("utf-8", "replace"), f"Bearer {token}".encode())

    def _nobody_there(self, request: web.Request) -> web.Response:
        if self._sim.token is None and request.transport is not None:
            request.transport.abort()
        return web.Response(status=502, text=_GATEWAY, content_type="text/html")

    def _remember(self, request: web.Request) -> None:
        self._connections = {known for known in self._connections if not known.is_closing()}
        if isinstance(request.transport, asyncio.Transport):
            self._connections.add(request.transport)

    def drop_connections(self) -> None:
        """Reset every open connection, downloads included."""
        for transport in self._connections:
            transport.abort()
        self._connections.clear()

    async def stamp(self, _request: web.Request, response: web.StreamResponse) -> None:
        """Set `Date` by the server's own clock, the one that files and clean-up go by."""
        response.headers["Date"] = formatdate(self._sim.wall(), usegmt=True)
