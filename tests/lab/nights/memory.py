"""The real runner and the servers of a simulation with nothing between them but memory."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from functools import cache
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web
from yarl import URL

from batchrunner.comfy import client as comfy
from batchrunner.core.job import INPUTS
from batchrunner.ledger import Ledger
from batchrunner.run import Run
from tests.lab.schedule import Schedule

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection

    from batchrunner.comfy.client import View
    from batchrunner.core.actions import Failure, Poll, PollEnd, PostEnd, Upload, UploadEnd
    from batchrunner.core.facts import Fact, File
    from batchrunner.sim.server import Simulator


class BusyClient(comfy.Client):
    """A client whose every action is progress of the run, as it begins."""

    async def poll(self, action: Poll) -> PollEnd:
        """Read the queue, then the history."""
        _progress()
        return await super().poll(action)

    async def submit(self, body: bytes) -> PostEnd:
        """POST one prompt."""
        _progress()
        return await super().submit(body)

    async def upload(self, action: Upload) -> UploadEnd:
        """Bring one input file there."""
        _progress()
        return await super().upload(action)

    async def withdraw(self, prompts: Collection[str]) -> Failure | None:
        """Delete pending prompts."""
        _progress()
        return await super().withdraw(prompts)

    @asynccontextmanager
    async def view(self, file: File, start: int = 0, etag: str = "") -> AsyncIterator[View | Failure]:
        """Open a file."""
        _progress()
        async with super().view(file, start, etag) as opened:
            yield opened


class BusyLedger(Ledger):
    """A ledger whose every fact is progress of the run; a mark is none."""

    def append(self, fact: Fact) -> None:
        """Write one fact."""
        super().append(fact)
        _progress()


def _progress() -> None:
    loop = asyncio.get_running_loop()
    if not isinstance(loop, Schedule):
        raise TypeError("a run in memory needs a loop in virtual time")
    loop.progress()


class MemoryNight(Run):
    """One run whose every server `http://NAME:PORT` is the one that listens at NAME in memory."""

    async def connect(self, stack: AsyncExitStack) -> Callable[[str], comfy.Client]:
        """Return what gives the client of a server by its URL."""

        @cache
        def client(url: str) -> comfy.Client:
            session = comfy.session(aiohttp.UnixConnector(URL(url).host or "", force_close=True, limit=0))
            stack.push_async_callback(session.close)
            return self._client(url, session)

        for url in self.batch.servers:  # one that only the ledger names follows when it is needed
            client(url)
        return client

    def _client(self, url: str, http: aiohttp.ClientSession) -> BusyClient:
        inputs = self.folder / INPUTS
        return BusyClient(url, http, self.access.credentials(url), nodes=self.batch.outputs, inputs=inputs)


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
