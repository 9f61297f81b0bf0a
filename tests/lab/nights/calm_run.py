"""A calm run: nothing goes wrong, but no two renders take as long, and others use the servers too.

Here is measured what a forecast is worth: it is made once, after some jobs, and compared with what came.
"""

from __future__ import annotations

import io
import time
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from yarl import URL

from batchrunner.ledger import hold
from batchrunner.manifest import load
from batchrunner.progress import Displays
from batchrunner.servers import ServerAccess
from batchrunner.show.listeners import Listeners
from batchrunner.show.log import StreamOutput
from batchrunner.sim.machine import Pace
from batchrunner.sim.server import Simulator
from tests.lab.clock import run
from tests.lab.nights.load import BackgroundLoad
from tests.lab.nights.memory import BusyLedger, MemoryNight, serving
from tests.lab.nights.report import Heard, Report

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batchrunner.core.board import Board
    from batchrunner.core.job import Job
    from batchrunner.download.transfer import Downloader
    from batchrunner.manifest import Batch
    from batchrunner.notify import Notifier
    from tests.lab.clock import VirtualLoop
    from tests.lab.process import Process

_MANIFEST = """
name: quiet
server: [{servers}]
workflow: ltx2
defaults: {{length: 121, negative: blurry}}
sweep:
  - prompt: [A cat playing piano, A dog on the moon]
    seed: {{count: {seeds}, base: {seed}}}
    size: [{sizes}]
    quality: [{qualities}]
"""
_SIZES = ("sd", "720p", "1080p")
_QUALITIES = ("fast", "high")
_SLOWEST = 0.6
"""The speed of the slowest further server; the first has 1."""
MEANWHILE = 600.0
"""Seconds from the start until something happens to the runner."""


@dataclass(frozen=True, slots=True)
class CalmRun:
    """What is to happen in one calm run."""

    seed: int
    jobs: int = 30
    servers: int = 1
    after: int = 10
    """After how many jobs at home the forecast is asked."""
    until: float | None = None
    """`--until`, in seconds from the start."""
    background: float = 1.0
    """How many prompts of others come with each of ours, at most; every night draws its own share of it."""
    people: int = 1
    """How many others there are: the more, the less evenly they come."""
    machine: Callable[[Simulator], None] | None = None
    """Given every server before it starts."""
    notifier: Callable[[Callable[[str], None]], Notifier] | None = None
    """Makes who is told elsewhere, given whom to tell that it could not."""
    meanwhile: Callable[[Process], None] | None = None
    """Given the runner's process `MEANWHILE` seconds after the start: it may suspend it, or turn its clock."""


def simulate(plan: CalmRun) -> Report:
    """Let a calm run pass in virtual time, and look back on it."""
    with TemporaryDirectory(prefix="calm-") as folder:
        return run(lambda loop: _pass(loop, plan, Path(folder)), seed=plan.seed)


async def _pass(loop: VirtualLoop, plan: CalmRun, folder: Path) -> Report:
    dice = Random(f"{plan.seed}/quiet")  # noqa: S311 - a night that repeats
    batch = _batch(folder, plan, dice)
    background = BackgroundLoad(dice.uniform(0, plan.background), plan.people, dice)
    async with AsyncExitStack() as stack:
        servers: list[Simulator] = []
        for url in batch.servers:
            speed = dice.uniform(_SLOWEST, 1) if servers else 1.0
            server = _server(loop, plan, folder / f"gpu-{len(servers)}", Pace.night(speed), background)
            await stack.enter_async_context(serving(server, URL(url).host or ""))
            servers.append(server)
        heard, began, console = Heard(loop, plan.after), loop.now, io.StringIO()
        runner = loop.spawn("runner")
        if plan.meanwhile:
            loop.call_later(MEANWHILE, plan.meanwhile, runner)
        with loop.under_way():
            code = await runner.start(_run(plan, batch, folder / "home", heard, console))
        return heard.report(plan.seed, code, began, servers, console.getvalue())


def _batch(folder: Path, plan: CalmRun, dice: Random) -> Batch:
    """Return a batch of one to four kinds of jobs, as the dice will: after ten jobs each was met."""
    qualities = dice.sample(_QUALITIES, dice.randint(1, len(_QUALITIES)))
    sizes = dice.sample(_SIZES, dice.randint(1, len(_SIZES) if len(qualities) == 1 else 2))
    path = folder / "calm.yaml"
    text = _MANIFEST.format(
        servers=", ".join(f"http://gpu-{number}:8188" for number in range(plan.servers)),
        seeds=ceil(plan.jobs / (2 * len(sizes) * len(qualities))),
        seed=plan.seed * 1000,
        sizes=", ".join(sizes),
        qualities=", ".join(qualities),
    )
    path.write_text(text, encoding="utf-8")
    batch = load(path)
    return replace(batch, chosen=frozenset(job.id for job in batch.jobs[: plan.jobs]))


def _server(loop: VirtualLoop, plan: CalmRun, folder: Path, pace: Pace, background: BackgroundLoad) -> Simulator:
    server = Simulator(
        folder, pace=pace, wall=loop.wall, seed=plan.seed, listener=lambda event: background.hear(event, server)
    )
    if plan.machine:
        plan.machine(server)
    return server


class _Run(MemoryNight):
    """One run that lends its board to whoever hears it."""

    heard: Heard

    async def build_board(self, downloader: Downloader) -> tuple[Board, Mapping[str, Job]]:
        """Return the board, and every job that the ledger or the manifest knows, by id."""
        board, jobs = await super().build_board(downloader)
        self.heard.board = board
        return board, jobs


async def _run(plan: CalmRun, batch: Batch, home: Path, heard: Heard, console: io.StringIO) -> int:
    """Do what `batchrunner run` does, from the lock to the exit code."""
    listeners = Listeners([heard])
    notifier = plan.notifier(lambda message: listeners.note(0.0, message)) if plan.notifier else None
    if notifier:
        listeners.join(notifier)
    displays = Displays(listeners, StreamOutput(console), 60.0, notifier)
    with ExitStack() as stack:
        stack.enter_context(hold(home))
        ledger = stack.enter_context(BusyLedger.open(home, batch.name))
        until = None if plan.until is None else time.time() + plan.until
        night = _Run(batch, home, ServerAccess(batch, None, {}), ledger, displays, until=until)
        night.heard = heard
        return await night.run()
