"""What one batch learned of a server is worth to another: its end is known before its first job."""

from __future__ import annotations

import io
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import pytest

from batchrunner.core.board import Board
from batchrunner.learned_speeds import recall_speeds
from batchrunner.ledger import hold
from batchrunner.manifest import load
from batchrunner.progress import Displays
from batchrunner.servers import ServerAccess
from batchrunner.show.listeners import Listeners
from batchrunner.show.log import StreamOutput
from batchrunner.sim.machine import Pace
from batchrunner.sim.record import What
from batchrunner.sim.server import Simulator
from tests.lab.clock import VirtualLoop, run
from tests.lab.nights.memory import BusyLedger, MemoryNight, serving

if TYPE_CHECKING:
    from pathlib import Path

    from batchrunner.manifest import Batch

_MANIFEST = """
name: {name}
server: http://gpu
workflow: ltx2
ttl: none
defaults: {{length: 121, negative: blurry}}
sweep: {{prompt: [{prompts}], seed: {{count: 1}}, size: [sd, 720p], quality: [fast, high]}}
"""


def _batch(folder: Path, name: str, prompts: str) -> Batch:
    path = folder / f"{name}.yaml"
    path.write_text(_MANIFEST.format(name=name, prompts=prompts), encoding="utf-8")
    return load(path)


def test_a_second_batch_is_forecast_before_its_first_job(tmp_path: Path) -> None:
    """On a server that renders three times as fast as the guess, the second batch is forecast within 10 %."""
    first, second = _batch(tmp_path, "first", "a cat, a dog"), _batch(tmp_path, "second", "rain, snow")

    async def nights(loop: VirtualLoop) -> tuple[float, float]:
        server = Simulator(tmp_path / "server", pace=Pace.night(3.0), wall=loop.wall)
        took, told = [], []
        async with serving(server, "gpu"):
            for batch in (first, second):
                board, began = Board(batch.name, batch.rules, batch.servers, 0.0), loop.now
                recall_speeds(tmp_path, batch, board)
                told.append(board.forecast.total([job.cost for job in batch.jobs], batch.servers).seconds)
                home = tmp_path / batch.name
                async with AsyncExitStack() as stack:
                    stack.enter_context(hold(home))
                    ledger = stack.enter_context(BusyLedger.open(home, batch.name))
                    displays = Displays(Listeners([]), StreamOutput(io.StringIO()), 60.0)
                    night = MemoryNight(batch, home, ServerAccess(batch, None, {}), ledger, displays, speeds=tmp_path)
                    runner = loop.spawn(batch.name)
                    with loop.under_way():
                        assert await runner.start(night.run()) == 0
                took.append(
                    max(event.at for event in server.record.of(What.SUCCEEDED)) - loop.wall() + loop.now - began
                )
        return told[0] / took[0], told[1] / took[1]

    unknown, known = run(nights, seed=0)
    assert abs(unknown - 1) > 0.3
    assert known == pytest.approx(1.0, abs=0.1)
