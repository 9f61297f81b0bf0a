"""Nights on a line that is slower than the GPU, in virtual time: the real runner, the simulator, a link with a rate."""

from __future__ import annotations

import io
import re
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batchrunner.core.facts import Claimed, Fact, Lost, Saved
from batchrunner.ledger import hold
from batchrunner.manifest import load
from batchrunner.progress import Displays
from batchrunner.servers import ServerAccess
from batchrunner.show.listeners import Listener, Listeners
from batchrunner.show.log import StreamOutput
from batchrunner.sim.machine import Pace
from batchrunner.sim.media import BoxRenderer
from batchrunner.sim.server import Simulator
from tests.lab.clock import run
from tests.lab.link import How, StreamFault
from tests.lab.nights.memory import BusyLedger, MemoryNight, serving

if TYPE_CHECKING:
    from pathlib import Path

    from batchrunner.manifest import Batch
    from batchrunner.show.events import RunEvent
    from tests.lab.clock import VirtualLoop

NAME, SIZE, RENDER, SPEED, TTL = "gpu-1", 3_000_000, 60.0, 0.8, 600.0
"""The server; bytes of a video, seconds of a render; its line: 1 brings a video home in the time of a render."""
MANIFEST = """
name: night
server: http://gpu-1:8188
workflow: ltx2
ttl: {ttl}
sweep: {{prompt: [a cat], seed: {{count: {jobs}}}}}
"""
EVERY, RESETS = 150.0, 18
"""Seconds between two resets of a download in its middle."""


@dataclass
class Night:
    """What a night is like, and what came of it. Times in seconds since the run began."""

    jobs: int = 40
    ttl: str = "10m"
    """As the manifest has it; clean-up always comes after ten minutes."""
    facts: list[tuple[float, Fact]] = field(default_factory=list)
    told: list[tuple[str, str]] = field(default_factory=list)
    """The states of the server, and in which words people were told."""
    code: int = -1
    ended: float = 0.0

    def of(self, kind: type[Fact]) -> list[float]:
        """Return when facts of a kind came."""
        return [at for at, fact in self.facts if isinstance(fact, kind)]


class _Ledger(BusyLedger):
    night: Night
    loop: VirtualLoop

    def append(self, fact: Fact) -> None:
        super().append(fact)
        self.night.facts.append((self.loop.now, fact))


class _Heard(Listener):
    def __init__(self, night: Night) -> None:
        self._night = night

    def event(self, event: RunEvent) -> None:
        if event.name == "server":
            self._night.told.append((str(event.fields["state"]), event.message))


def passed(folder: Path, night: Night) -> Night:
    """Let a night pass."""

    async def main(loop: VirtualLoop) -> None:
        path = folder / "night.yaml"
        path.write_text(MANIFEST.format(ttl=night.ttl, jobs=night.jobs), "utf-8")
        pace = Pace(step=0.0, fixed=RENDER, noise=0.0, longest=None)
        server = Simulator(folder / NAME, pace=pace, ttl=TTL, wall=loop.wall, renderer=BoxRenderer(SIZE))
        async with serving(server, NAME):
            link = loop.network.link(NAME)
            link.rate = SPEED * SIZE / RENDER
            for number in range(1, RESETS + 1):
                loop.call_later(EVERY * number, link.arm, StreamFault(How.RESET, after=SIZE // 2))
            began, runner = loop.now, loop.spawn("runner")
            with loop.under_way():
                night.code = await runner.start(_run(loop, folder / "home", load(path), night))
            night.ended = loop.now - began

    run(main, seed=1)
    return night


async def _run(loop: VirtualLoop, home: Path, batch: Batch, night: Night) -> int:
    listeners = Listeners([_Heard(night)])
    displays = Displays(listeners, StreamOutput(io.StringIO()), 60.0)
    with ExitStack() as stack:
        stack.enter_context(hold(home))
        ledger = stack.enter_context(_Ledger.open(home, batch.name))
        ledger.night, ledger.loop = night, loop
        return await MemoryNight(batch, home, ServerAccess(batch, None, {}), ledger, displays).run()


def test_no_file_expires_on_a_line_slower_than_the_gpu(tmp_path: Path) -> None:
    """At 0.8 of the needed speed nothing is deleted before it is saved, and the batch takes as long as its bytes do.

    Every few minutes a download breaks off, and goes on where it was. That the server waits for downloads is said when
    it begins and when it ends.
    """
    night = passed(tmp_path, Night())
    assert (night.code, len(night.of(Saved)), len(night.of(Claimed)), night.of(Lost)) == (0, 40, 40, [])
    assert night.ended <= RENDER + 1.03 * 40 * RENDER / 0.8
    assert [state for state, _ in night.told] == ["up", "waiting for downloads", "up"]
    where = "http://gpu-1:8188"
    said = rf"{where} is waiting for downloads: (39|40)\.\d kB/s, slower than it renders"
    assert re.fullmatch(said, night.told[1][1])


def test_without_the_limit_the_same_line_loses_files(tmp_path: Path) -> None:
    """Were nothing held back, as with `ttl: none`, downloads would break off whose files are deleted by then."""
    night = passed(tmp_path, Night(ttl="none"))
    assert len(night.of(Lost)) >= 2
