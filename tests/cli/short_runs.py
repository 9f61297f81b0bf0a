"""Short runs in virtual time: the real runner, real simulators, as many of each as a test wants."""

from __future__ import annotations

import io
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from batchrunner.ledger import Ledger
from batchrunner.progress import Displays
from batchrunner.servers import ServerAccess
from batchrunner.show.listeners import Listeners
from batchrunner.show.log import StreamOutput
from batchrunner.sim.machine import Pace
from batchrunner.sim.server import Simulator
from tests.lab.nights import memory

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from batchrunner.core.facts import Fact
    from batchrunner.manifest import Batch
    from tests.lab.clock import VirtualLoop

SERVER = "gpu"
URL_OF_SERVER = f"http://{SERVER}:8188"


class PointedLedger(Ledger):
    """A ledger whose commits are named points of the loop; the dead commit nothing."""

    loop: VirtualLoop

    def append(self, fact: Fact) -> None:
        """Write one fact."""
        if self.loop.passes("commit"):
            super().append(fact)
            self.loop.passes("committed")


@asynccontextmanager
async def serving(
    loop: VirtualLoop, folder: Path, ttl: float | None = 600.0, name: str = SERVER, *, strict: bool = True
) -> AsyncIterator[Simulator]:
    """Let a server listen in memory, and render as fast as a real one; unless `strict`, any workflow."""
    server = Simulator(folder, pace=Pace.night(), wall=loop.wall, ttl=ttl, strict=strict)
    async with memory.serving(server, name):
        yield server


async def run_once(loop: VirtualLoop, batch: Batch, home: Path) -> int:
    """Run a batch in a folder; return the exit code."""
    displays = Displays(Listeners([]), StreamOutput(io.StringIO()), 60.0)
    ledger = PointedLedger.open(home, batch.name)
    ledger.loop = loop
    try:
        return await memory.MemoryNight(batch, home, ServerAccess(batch, None, {}), ledger, displays).run()
    finally:
        ledger.close()
