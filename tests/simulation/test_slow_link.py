"""Nights on a line that is slower than the GPU, in virtual time: the real runner, the simulator, a link with a rate."""

from __future__ import annotations

import io
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from batchrunner.core.facts import Claimed, Fact, Lost, Rendered, Saved
from batchrunner.ledger import hold
from batchrunner.manifest import load
from batchrunner.progress import Displays
from batchrunner.servers import ServerAccess
from batchrunner.show.listeners import Listeners
from batchrunner.show.log import StreamOutput
from batchrunner.sim.machine import REFERENCE_STEPS, Pace
from batchrunner.sim.media import BoxRenderer
from batchrunner.sim.server import Simulator
from tests.lab.clock import run
from tests.lab.link import How, StreamFault
from tests.lab.nights.memory import BusyLedger, MemoryNight, serving

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from batchrunner.show.events import RunEvent
    from batchrunner.show.live import BoardView
    from tests.lab.clock import VirtualLoop

SIZE, RENDER, TTL = 3_000_000, 60.0, 600.0
MANIFEST = """
name: night
server: [{servers}]
workflow: ltx2
ttl: {ttl}
sweep: {{prompt: [a cat], seed: {{count: {jobs}}}}}
"""


@dataclass
class Night:
    """What a night is like, and what came of it. Times in seconds since the run began."""

    links: Sequence[float] = (0.8,)
    """How fast the line to each server is: 1 brings a file home in the time of a render."""
    jobs: int = 40
    ttl: str = "10m"
    """As the manifest has it; clean-up always comes after ten minutes."""
    breaks_every: float = 0.0
    """Seconds between two moments at which every open download is reset."""
    becomes: tuple[float, float] | None = None
    """From so many seconds on, so much is the speed of every line."""
    facts: list[tuple[float, Fact]] = field(default_factory=list)
    events: list[tuple[float, RunEvent]] = field(default_factory=list)
    code: int = -1
    ended: float = 0.0

    def of(self, kind: type[Fact]) -> list[float]:
        """Return when facts of a kind came."""
        return [at for at, fact in self.facts if isinstance(fact, kind)]

    def states(self, server: str) -> list[str]:
        """Return the states that were told of a server."""
        found = [event.fields for _, event in self.events if event.name == "server"]
        return [str(fields["state"]) for fields in found if fields["server"] == f"http://{server}:8188"]


class _Ledger(BusyLedger):
    night: Night
    loop: VirtualLoop

    def append(self, fact: Fact) -> None:
        super().append(fact)
        self.night.facts.append((self.loop.now, fact))


class _Heard:
    def __init__(self, night: Night, loop: VirtualLoop) -> None:
        self._night, self._loop = night, loop

    def event(self, event: RunEvent) -> None:
        self._night.events.append((self._loop.now, event))

    def tick(self, view: BoardView) -> None:
        pass

    def close(self) -> None:
        pass


def passed(folder: Path, night: Night) -> Night:
    """Let a night pass."""

    async def main(loop: VirtualLoop) -> None:
        names = [f"gpu-{number}" for number in range(1, len(night.links) + 1)]
        path = folder / "night.yaml"
        servers = ", ".join(f"http://{name}:8188" for name in names)
        path.write_text(MANIFEST.format(servers=servers, ttl=night.ttl, jobs=night.jobs), "utf-8")
        batch = load(path)
        steps = int(str(batch.jobs[0].params["steps"]))
        pace = Pace(step=0.0, fixed=RENDER, noise=0.0, longest=None)
        assert steps <= REFERENCE_STEPS * 10
        async with AsyncExitStack() as stack:
            for name, speed in zip(names, night.links, strict=True):
                server = Simulator(folder / name, pace=pace, ttl=TTL, wall=loop.wall, renderer=BoxRenderer(SIZE))
                await stack.enter_async_context(serving(server, name))
                _set_speed(loop, name, speed)
                if night.becomes:
                    at, later = night.becomes
                    loop.call_later(at, _set_speed, loop, name, later)
                if night.breaks_every:
                    for count in range(1, 100):
                        loop.call_later(count * night.breaks_every, _reset, loop, name)
            began = loop.now
            runner = loop.spawn("runner")
            with loop.under_way():
                night.code = await runner.start(_run(loop, folder / "home", batch, night))
            night.ended = loop.now - began

    run(main, seed=1)
    return night


def _set_speed(loop: VirtualLoop, name: str, speed: float) -> None:
    loop.network.link(name).rate = SIZE / RENDER * speed


def _reset(loop: VirtualLoop, name: str) -> None:
    for _ in range(64):
        loop.network.link(name).arm(StreamFault(How.RESET, after=20_000))


async def _run(loop: VirtualLoop, home: Path, batch, night: Night) -> int:
    listeners = Listeners([_Heard(night, loop)])
    displays = Displays(listeners, StreamOutput(io.StringIO()), 5.0)
    with ExitStack() as stack:
        stack.enter_context(hold(home))
        ledger = stack.enter_context(_Ledger.open(home, batch.name))
        ledger.night, ledger.loop = night, loop
        return await MemoryNight(batch, home, ServerAccess(batch, None, {}), ledger, displays).run()


def test_x(tmp_path: Path) -> None:
    import time
    for kw in ({}, {"ttl": "none"}, {"links": (1.0,)}, {"links": (1.6,)}):
        t = time.time()
        night = passed(tmp_path / str(kw).replace("/", "")[:20], Night(**kw)) if (tmp_path / str(kw)[:20]).mkdir() is None else None
        s = night.of(Saved)
        r = night.of(Rendered)
        ages = {}
        opened = [(at, f) for at, f in night.facts]
        ren = {f.job: at for at, f in night.facts if isinstance(f, Rendered)}
        print(kw, night.code, len(s), "ended", round(night.ended), "bytes/link", round(40 * RENDER / (kw.get("links", (0.8,))[0])), "lost", len(night.of(Lost)), "claims", len(night.of(Claimed)))
        print("  maxage", round(max(at - ren[f.job] for at, f in night.facts if isinstance(f, Saved))), night.states("gpu-1"), "real", round(time.time() - t, 2))
