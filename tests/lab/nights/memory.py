"""The real runner and the servers of a simulation with nothing between them but memory."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web
from yarl import URL

from batchrunner.cli.running import Night
from batchrunner.comfy import client as comfy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from batchrunner.sim.server import Simulator


class MemoryNight(Night):
    """One run whose every server `http://NAME:PORT` is the one that listens at NAME in memory."""

    async def run(self) -> int:
        """Build, run, tell; return the exit code."""
        clients: dict[str, comfy.Client] = {}
        async with AsyncExitStack() as stack:
            if self.last and self.last.notifier:
                await stack.enter_async_context(self.last.notifier.running())
            for url in self.batch.servers:
                connector = aiohttp.UnixConnector(URL(url).host or "", force_close=True, limit=0)
                clients[url] = self._client(url, await stack.enter_async_context(comfy.session(connector)))
            return await self._drive(clients.__getitem__)

    def _client(self, url: str, http: aiohttp.ClientSession) -> comfy.Client:
        return comfy.Client(url, http, self.secret, nodes=self.batch.outputs)


@asynccontextmanager
async def serving(server: Simulator, name: str) -> AsyncIterator[None]:
    """Let a server listen at `name` in memory, and render."""
    runner = web.AppRunner(server.application(), access_log=None)
    await runner.setup()
    await web.UnixSite(runner, name).start()
    await server.start()
    try:
        yield
    finally:
        await server.stop()
        await runner.cleanup()
