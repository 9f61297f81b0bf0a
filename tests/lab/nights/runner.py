"""The runner of a simulated night: the real one, with a connection in memory and somebody who watches its seams."""

from __future__ import annotations

import io
import json
from contextlib import ExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Protocol

from batchrunner.core.actions import Failure
from batchrunner.core.job import INPUTS
from batchrunner.errors import BatchrunnerError
from batchrunner.ledger import hold
from batchrunner.progress import Displays
from batchrunner.servers import ServerAccess
from batchrunner.show.listeners import Listeners
from batchrunner.show.log import StreamOutput
from tests.lab.nights.memory import BusyClient, BusyLedger, MemoryNight

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection
    from pathlib import Path

    import aiohttp

    from batchrunner.comfy.client import View
    from batchrunner.core.actions import Poll, PollEnd, PostEnd
    from batchrunner.core.facts import Fact, File
    from batchrunner.core.job import Json
    from batchrunner.ledger import Ledger
    from batchrunner.manifest import Batch
    from batchrunner.show.events import RunEvent
    from batchrunner.show.live import BoardView


class Watch(Protocol):
    """Somebody who sees what a runner does, at the moment it does it."""

    def passes(self, point: str) -> bool:
        """Pass a named point; False if the runner is dead."""

    def committed(self, fact: Fact) -> None:
        """See a fact that is in the ledger now."""

    def polled(self, server: str) -> None:
        """See that a poll of a server has ended well."""

    def submitting(self, server: str, prompt: str) -> None:
        """See that a prompt is about to be posted."""

    def withdrawing(self, server: str, prompts: Collection[str]) -> None:
        """See which prompts are about to be deleted."""

    def viewing(self, server: str, name: str) -> None:
        """See that a file is about to be asked for."""

    def bug(self, message: str) -> None:
        """Hear of an error that should not be."""


class WatchedLedger(BusyLedger):
    """A ledger that passes a point before and after every commit; the dead commit nothing."""

    watch: Watch

    def append(self, fact: Fact) -> None:
        """Write one fact."""
        if self.watch.passes("commit"):
            super().append(fact)
            self.watch.committed(fact)
            self.watch.passes("committed")

    def mark(self, key: str, value: Json) -> None:
        """Write one remark."""
        if self.watch.passes("commit"):
            super().mark(key, value)
            self.watch.passes("committed")


class WatchedClient(BusyClient):
    """A client that tells what it is about to do."""

    watch: Watch
    server: str
    """The URL it goes by in the ledger."""

    async def poll(self, action: Poll) -> PollEnd:
        """Read the queue, then the history."""
        end = await super().poll(action)
        if not isinstance(end, Failure):
            self.watch.polled(self.server)
        return end

    async def submit(self, body: bytes) -> PostEnd:
        """POST one prompt."""
        self.watch.submitting(self.server, str(json.loads(body)["prompt_id"]))
        return await super().submit(body)

    async def withdraw(self, prompts: Collection[str]) -> Failure | None:
        """Delete pending prompts."""
        self.watch.withdrawing(self.server, prompts)
        return await super().withdraw(prompts)

    @asynccontextmanager
    async def view(self, file: File, start: int = 0, etag: str = "") -> AsyncIterator[View | Failure]:
        """Open a file."""
        self.watch.viewing(self.server, file.key)
        async with super().view(file, start, etag) as opened:
            yield opened


class Bugs:
    """A listener that only hears of bugs."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch

    def event(self, event: RunEvent) -> None:
        """Tell of an error that should not be."""
        if event.error is not None:
            self._watch.bug(repr(event.error))

    def tick(self, view: BoardView) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


class SimulatedNight(MemoryNight):
    """One run whose every seam is watched."""

    watch: Watch

    def _client(self, url: str, http: aiohttp.ClientSession) -> WatchedClient:
        credentials, inputs = self.access.credentials(url), self.folder / INPUTS
        client = WatchedClient(url, http, credentials, nodes=self.batch.outputs, inputs=inputs)
        client.watch, client.server = self.watch, url
        return client


async def program(batch: Batch, folder: Path, watch: Watch, open_ledgers: list[Ledger], boot: str) -> int:
    """Do what `batchrunner run` does on a machine since `boot`, from the lock to the exit code.

    Every ledger it opens is listed.
    """
    console = StreamOutput(io.StringIO())
    displays = Displays(Listeners([Bugs(watch)]), console, 60.0)
    try:
        with ExitStack() as stack:
            stack.enter_context(hold(folder))
            ledger = stack.enter_context(WatchedLedger.open(folder, batch.name))
            ledger.watch = watch
            open_ledgers.append(ledger)
            night = SimulatedNight(batch, folder, ServerAccess(batch, None, {}), ledger, displays, boot=boot)
            night.watch = watch
            return await night.run()
    except BatchrunnerError as error:
        if error.exit_code == BatchrunnerError.exit_code:
            watch.bug(repr(error))
        return error.exit_code
