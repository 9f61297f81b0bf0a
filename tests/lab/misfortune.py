"""A simulator to which the mishaps of a script happen, in real time or in virtual time."""

from __future__ import annotations

import asyncio
from math import inf
from typing import TYPE_CHECKING

from batchrunner.errors import YoursError
from batchrunner.sim.failures import NodeFailure, TroubleError
from tests.lab import stranger
from tests.lab.broken import Way
from tests.lab.mishaps import Where

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from aiohttp import web

    from batchrunner.sim.prompts import Prompt
    from batchrunner.sim.server import Simulator
    from tests.lab.link import Link
    from tests.lab.mishaps import Mishap, Script


class Misfortune:
    """Mount `application()` instead of the simulator's own, and run `run()` as long as it serves.

    `link` is the way to it in virtual time: refusals and silence then happen there, below HTTP. A script that holds
    mishaps of the runner is a YoursError, unless `runner` takes them.
    """

    def __init__(
        self,
        simulator: Simulator,
        script: Script,
        *,
        link: Link | None = None,
        runner: Callable[[Mishap], None] | None = None,
    ) -> None:
        strange = [mishap.do for mishap in script if mishap.kind.where is Where.RUNNER]
        if strange and runner is None:
            raise YoursError(f"{strange[0]}: this happens to a runner, not to a server; it exists in simulated nights")
        self.happened: list[tuple[float, Mishap]] = []
        """What happened so far, and when in the loop's time."""
        self._sim = simulator
        self._link = link
        self._runner = runner
        self._way = Way(simulator, self._count)
        self._timed = sorted((mishap for mishap in script if not mishap.after), key=lambda mishap: mishap.at)
        self._counted = [mishap for mishap in script if mishap.after]
        self._usual_ttl = simulator.ttl
        self._requests = 0
        self._out_of_memory = 0
        self._strangers = 0
        self._later: set[asyncio.Task[None]] = set()
        self._deeds: Mapping[str, Callable[[Mishap], None]] = {
            "restart": lambda mishap: simulator.restart(mishap.lasts),
            "clear-history": lambda _: simulator.forget(list(simulator.prompts.history)),
            "clear-queue": lambda _: simulator.clear_queue(),
            "interrupt": lambda _: simulator.interrupt(),
            "wedge": self._wedge,
            "out-of-memory": self._exhaust,
            "clean-up": self._hurry,
            "foreign-jobs": self._post_strangers,
            "own-ids": self._choose_ids,
        }
        simulator.machine.fault = self._fault

    def application(self) -> web.Application:
        """Return the simulator's application with the mishaps before it."""
        application = self._sim.application()
        application.middlewares.insert(0, self._way.middleware)
        return application

    async def run(self) -> None:
        """Let the timed mishaps happen, then wait for the rest; cancel it to end."""
        start = asyncio.get_running_loop().time()
        try:
            for mishap in self._timed:
                await asyncio.sleep(max(0.0, start + mishap.at - asyncio.get_running_loop().time()))
                self.happen(mishap)
            await asyncio.Event().wait()
        finally:
            for later in self._later:
                later.cancel()

    def happen(self, mishap: Mishap) -> None:
        """Let one mishap happen now."""
        self.happened.append((asyncio.get_running_loop().time(), mishap))
        where = mishap.kind.where
        if where is Where.RUNNER and self._runner is not None:
            self._runner(mishap)
        elif where is Where.SERVER:
            self._deeds[mishap.do](mishap)
        elif self._link is not None and mishap.do in ("refuse", "silence"):
            self._break_link(self._link, mishap)
        else:
            self._way.strike(mishap)

    def _count(self) -> None:
        self._requests += 1
        for mishap in [mishap for mishap in self._counted if mishap.after <= self._requests]:
            self._counted.remove(mishap)
            self.happen(mishap)

    def _break_link(self, link: Link, mishap: Mishap) -> None:
        until = asyncio.get_running_loop().time() + mishap.lasts
        if mishap.do == "refuse":
            link.refuses_until = max(link.refuses_until, until)
        else:
            link.silent_until = max(link.silent_until, until)

    def _wedge(self, mishap: Mishap) -> None:
        self._sim.wedge("a mishap")
        self._after(mishap.lasts, self._sim.restart)

    def _exhaust(self, mishap: Mishap) -> None:
        self._out_of_memory += mishap.times

    def _fault(self, prompt: Prompt, node: str) -> NodeFailure | None:
        """Run out of memory in the next samplers."""
        inputs = prompt.workflow[node]
        name = inputs.get("class_type") if isinstance(inputs, dict) else None
        if not self._out_of_memory or self._sim.catalogue[str(name)].kind != "sample":
            return None
        self._out_of_memory -= 1
        return NodeFailure.out_of_memory()

    def _hurry(self, mishap: Mishap) -> None:
        """Let files live shorter for a while."""
        self._sim.ttl = min(mishap.by, self._usual_ttl or inf)
        self._after(mishap.lasts, self._take_time)

    def _take_time(self) -> None:
        self._sim.ttl = self._usual_ttl

    def _post_strangers(self, mishap: Mishap) -> None:
        for _ in range(mishap.times):
            self._strangers += 1
            try:
                self._sim.submit(stranger.prompt(self._strangers), stranger.PREFIX)
            except TroubleError:  # the stranger's, not ours
                continue

    def _choose_ids(self, _mishap: Mishap) -> None:
        self._sim.own_ids = True

    def _after(self, seconds: float, deed: Callable[[], None]) -> None:
        later = asyncio.get_running_loop().create_task(_later(seconds, deed))
        self._later.add(later)
        later.add_done_callback(self._later.discard)


def _later(seconds: float, deed: Callable[[], None]) -> Coroutine[object, object, None]:
    async def wait() -> None:
        await asyncio.sleep(seconds)
        deed()

    return wait()
