"""One server of a simulated night with all that is its own: its folder, its way, its clock, its faults, its memory."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass, replace
from typing import TYPE_CHECKING

from aiohttp import web

from batchrunner.sim.machine import Pace
from batchrunner.sim.prompts import Prompts
from batchrunner.sim.record import What
from batchrunner.sim.server import Simulator
from tests.lab.clock import EPOCH
from tests.lab.injector import FaultInjector
from tests.lab.nights.arrivals import Arrivals
from tests.lab.nights.plan import url_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from aiohttp.typedefs import Middleware

    from batchrunner.sim.prompts import SimPrompt
    from batchrunner.sim.record import SimEvent
    from tests.lab.clock import VirtualLoop
    from tests.lab.faults import Fault, Script
    from tests.lab.nights.plan import Host

_LAST = 64
"""How many of the last history entries are searched for a prompt whose id an old server chose."""


@dataclass(eq=False)
class Place:
    """A server in `folder`, as `host` has it, which listens at `name` in memory."""

    loop: VirtualLoop
    name: str
    host: Host
    folder: Path
    listener: Callable[[Place, SimEvent], None]
    """Called with everything that happens there."""
    runner: Callable[[Fault], None] | None = None
    """Takes the faults that happen to the runner; YoursError if there are any and it is None."""
    moved: Callable[[Place, Fault], None] | None = None
    """Takes those that happen to its address."""
    _: KW_ONLY
    ttl: float | None
    seed: int

    def __post_init__(self) -> None:
        """Put it together; nobody can reach it yet."""
        self.url = url_of(self.name)
        self.arrivals = Arrivals(self.loop)
        self.prefixes: dict[str, str] = {}
        """The prefix of every prompt it ever accepted, by the id it goes by there."""
        self._process = self.loop.spawn(self.name)
        self._process.turn_clock(self.host.skew)
        self.sim = Simulator(
            self.folder,
            pace=replace(Pace.night(self.host.speed), encode=self.host.encode),
            ttl=self.ttl,
            wall=self.loop.wall,
            listener=self._hear,
            seed=self.seed,
            own_ids=self.host.own_ids,
            jobs_api=self.host.jobs_api,
        )
        link = self.loop.network.link(self.name)
        moved = self.moved
        self.injector = FaultInjector(
            self.sim,
            self.host.script,
            link=link,
            runner=self.runner,
            moved=(lambda fault: moved(self, fault)) if moved else None,
        )
        self.opened_at = self.loop.now
        self.gone_at: float | None = None
        """Since when nobody listens here any more."""

    async def open(self, watch: Middleware) -> None:
        """Serve, and let the faults begin."""
        self.opened_at = self.loop.now
        await self._process.start(self._serve(watch))

    def happen(self, fault: Fault) -> None:
        """Let one fault happen now."""
        self.loop.call_soon(self.injector.happen, fault, context=self._process.context())

    def close(self) -> None:
        """End it."""
        self._process.kill()

    def vanish(self) -> Script:
        """End it as a pod ends: nobody listens any more, all is forgotten. Return the faults that were to come."""
        self._process.kill()
        self.gone_at, self.sim.prompts = self.loop.now, Prompts()
        return self.injector.rest(self.loop.now - self.opened_at)

    # What it knows.

    @property
    def happened(self) -> set[str]:
        """Return the kinds of faults so far."""
        return {fault.do for _, fault in self.injector.happened}

    def queued(self) -> Iterator[SimPrompt]:
        """Yield what is pending and what runs."""
        yield from self.sim.prompts.pending
        if self.sim.prompts.running is not None:
            yield self.sim.prompts.running

    def knows(self, event: SimEvent) -> bool:
        """Tell whether its queue or history has a prompt with this id, or one with this prefix where it is found."""
        last = list(self.sim.prompts.history)[-_LAST:]
        found = {self.prefixes.get(prompt, "") for prompt in last} | {prompt.prefix for prompt in self.queued()}
        ids = {prompt.id for prompt in self.queued()} | self.sim.prompts.history.keys()
        return event.prompt_id in ids or event.prefix in found

    def has_hung(self, prefix: str) -> bool:
        """Tell whether a prompt with this prefix ever hung here."""
        return any(hung.prefix == prefix for hung in self.injector.hung)

    def started(self, prompt: str) -> float | None:
        """Return when a prompt began to run, in the loop's time; None if it never did."""
        began = [event.at for event in self.sim.record.of(What.STARTED) if event.prompt_id == prompt]
        return began[-1] - EPOCH - self.host.skew if began else None

    def remembered(self) -> set[str]:
        """Return the prefixes that its queue or history holds."""
        history = {self.prefixes[prompt] for prompt in self.sim.prompts.history if prompt in self.prefixes}
        return {prompt.prefix for prompt in self.queued()} | history

    def held(self) -> set[str]:
        """Return the prefixes of prompts that wait, run, or have a file there that is in the history."""
        return {prompt.prefix for prompt in self.queued()} | set(filter(self.has_file, self.remembered()))

    def has_file(self, prefix: str) -> bool:
        """Tell whether the file that a prompt with this prefix writes lies there."""
        return (self.sim.folder / "output" / f"{prefix}_00001_.mp4").exists()

    def endings(self, prefix: str) -> set[What]:
        """Return everything that ever happened to prompts with this prefix."""
        return {event.what for event in self.sim.record if event.prefix == prefix}

    def _hear(self, event: SimEvent) -> None:
        self.listener(self, event)
        if event.what is What.POSTED:
            self.prefixes[event.prompt_id] = event.prefix

    async def _serve(self, watch: Middleware) -> None:
        application = self.injector.application()
        application.middlewares.insert(0, watch)
        site = web.AppRunner(application, access_log=None)
        await site.setup()
        await web.UnixSite(site, self.name).start()
        await self.sim.start()
        self._faults = self.loop.create_task(self.injector.run())
