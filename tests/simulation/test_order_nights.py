"""`order: auto` against a server that keeps the last prompt's results: what it costs beside the better fixed order."""

from __future__ import annotations

import io
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

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

_MANIFEST = """
name: encoder
server: http://gpu
workflow: ltx2
order: {order}
ttl: none
defaults: {{size: sd, length: 121, quality: fast, negative: blurry}}
sweep: {{prompt: [cat, rain on a roof, paper boat, night train], seed: {{count: {seeds}}}}}
"""
_JOB = 60.0
SEEDS = 10


@dataclass(frozen=True, slots=True)
class Night:
    """How one went."""

    seconds: float
    """From the start of the first render to the end of the last."""
    prompts: str
    """The first letter of each rendered prompt, in order."""


def night(folder: Path, order: str, share: float) -> Night:
    """Let 4 prompts x 10 seeds be rendered with an encoder that takes `share` of what the rest of a job takes."""
    folder.mkdir(parents=True)
    (folder / "m.yaml").write_text(_MANIFEST.format(order=order, seeds=SEEDS), encoding="utf-8")
    batch = load(folder / "m.yaml")
    pace = Pace(step=_JOB / 20, exponent=0.0, encode=share * _JOB, save=0.0, noise=0.0, longest=None)

    async def pass_night(loop: VirtualLoop) -> Night:
        server = Simulator(folder / "server", pace=pace, wall=loop.wall)
        displays = Displays(Listeners([]), StreamOutput(io.StringIO()), 60.0)
        async with AsyncExitStack() as stack:
            stack.enter_context(hold(folder / "home"))
            ledger = stack.enter_context(BusyLedger.open(folder / "home", batch.name))
            await stack.enter_async_context(serving(server, "gpu"))
            runner = loop.spawn("runner")
            whole = MemoryNight(batch, folder / "home", ServerAccess(batch, None, {}), ledger, displays)
            with loop.under_way():
                assert await runner.start(whole.run()) == 0
        prompts = {job.id: str(job.params["prompt"])[0] for job in batch.jobs}
        times = [event.at for event in server.record.of(What.STARTED, What.SUCCEEDED)]
        order = "".join(prompts[event.prefix.split("-")[1]] for event in server.record.of(What.RENDERED))
        return Night(max(times) - min(times), order)

    return run(pass_night, seed=0)


def test_a_costly_change_is_avoided(tmp_path: Path) -> None:
    """With an encoder that works for half a job, `auto` takes at most 3 % more than `grouped`."""
    auto, grouped = (night(tmp_path / order, order, 1.0).seconds for order in ("auto", "grouped"))
    assert auto <= 1.03 * grouped


def test_a_cheap_change_leaves_breadth(tmp_path: Path) -> None:
    """With an encoder of 1 % of a job, breadth's order follows on the first pairs, but for a pair now and then."""
    prompts = night(tmp_path / "auto", "auto", 0.01).prompts
    assert prompts.startswith("ccrr")
    for number in range(8, len(prompts)):
        counts = [prompts[:number].count(prompt) for prompt in "crpn"]
        assert max(counts) - min(counts) <= 2, prompts
