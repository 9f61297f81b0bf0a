"""A simulator to which the faults of a script happen, in real time or in virtual time."""

from __future__ import annotations

import asyncio
from copy import deepcopy
from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING

from batchrunner.errors import YoursError
from batchrunner.sim.machine import InternalServerError, NodeFailure
from batchrunner.sim.record import SimEvent, What
from tests.lab import other_user
from tests.lab.broken import Way
from tests.lab.faults import Fault, Where

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Mapping

    from aiohttp import web

    from batchrunner.sim.prompts import SimPrompt
    from batchrunner.sim.server import Simulator
    from tests.lab.faults import Script
    from tests.lab.link import Link

_WEDGED = "a mishap"  # in the trace of every seed: another text would change all their hashes
_LISTENS_EVERY = 1.0
"""Seconds between two looks of a hanging prompt for an interrupt."""


@dataclass(slots=True)
class Hung:
    """A prompt that hangs; all times are the loop's."""

    prompt: str
    prefix: str
    began: float
    deaf: bool
    """It hears no interrupt."""
    ended: float | None = None


class FaultInjector:
    """Mount `application()` instead of the simulator's own, and run `run()` as long as it serves.

    `link` is the way to it in virtual time: refusals and silence then happen there, below HTTP. A script that holds
    faults of the runner or of an address is a YoursError, unless `runner` and `moved` take them.
    """

    def __init__(
        self,
        simulator: Simulator,
        script: Script,
        *,
        link: Link | None = None,
        runner: Callable[[Fault], None] | None = None,
        moved: Callable[[Fault], None] | None = None,
    ) -> None:
        _refuse(script, Where.RUNNER, "a runner, not to a server", runner)
        _refuse(script, Where.ADDRESS, "a server's address", moved)
        self.happened: list[tuple[float, Fault]] = []
        """What happened so far, and when in the loop's time."""
        self._sim = simulator
        self._link = link
        self._runner = runner
        self._moved = moved
        self._way = Way(simulator, self._count)
        self._timed = sorted((fault for fault in script if not fault.after), key=lambda fault: fault.at)
        self._counted = [fault for fault in script if fault.after]
        self._usual_ttl = simulator.ttl
        self._requests = 0
        self._out_of_memory = 0
        self._other_users = 0
        self._neighbours = 0
        self._hangs: list[Fault] = []
        self.hung: list[Hung] = []
        """Every prompt that ever hung here."""
        self._without_file: list[tuple[float, Fault]] = []
        self._also = simulator.record.also
        self._later: set[asyncio.Task[None]] = set()
        self._deeds: Mapping[str, Callable[[Fault], None]] = {
            "restart": lambda fault: simulator.restart(fault.lasts),
            "clear-history": lambda _: simulator.forget(list(simulator.prompts.history)),
            "clear-queue": lambda _: simulator.clear_queue(),
            "interrupt": lambda _: simulator.interrupt(),
            "wedge": self._wedge,
            "out-of-memory": self._exhaust,
            "clean-up": self._hurry,
            "foreign-jobs": self._post_other_users,
            "own-ids": self._choose_ids,
            "heavy-neighbours": self._add_neighbours,
            "no-output": self._bring_nothing,
            "hang": self._begin_to_hang,
            "gone-for-good": self._go,
            "lazy-neighbour": self._silence_sockets,
            "empty-inputs": lambda _: simulator.lose_inputs(),
            "new-pod": self._begin_anew,
        }
        simulator.machine.fault = self._fault
        simulator.record.also = self._hear

    def application(self) -> web.Application:
        """Return the simulator's application with the faults before it."""
        application = self._sim.application()
        application.middlewares.insert(0, self._way.middleware)
        return application

    @property
    def blocked(self) -> set[str]:
        """The ids of the prompts that a firewall kept out."""
        return self._way.blocked

    def windows(self) -> Iterator[tuple[float, float, Fault]]:
        """Yield from when to when each fault was active so far, in the loop's time; one of a moment has no length."""
        for at, fault in self.happened:
            for_good = fault.do == "gone-for-good" or (fault.do == "firewall" and not fault.lasts)
            yield at, inf if for_good else at + fault.lasts, fault

    def rest(self, elapsed: float) -> Script:
        """Return the timed faults that are still to come, `elapsed` seconds after the start."""
        return tuple(replace(fault, at=fault.at - elapsed) for fault in self._timed if fault.at > elapsed)

    async def run(self) -> None:
        """Let the timed faults happen, then wait for the rest; cancel it to end."""
        start = asyncio.get_running_loop().time()
        try:
            for fault in self._timed:
                await asyncio.sleep(max(0.0, start + fault.at - asyncio.get_running_loop().time()))
                self.happen(fault)
            await asyncio.Event().wait()
        finally:
            for later in self._later:
                later.cancel()

    def happen(self, fault: Fault) -> None:
        """Let one fault happen now."""
        self.happened.append((asyncio.get_running_loop().time(), fault))
        where = fault.kind.where
        if where is Where.RUNNER and self._runner is not None:
            self._runner(fault)
        elif where is Where.ADDRESS and self._moved is not None:
            self._moved(fault)
        elif where is Where.SERVER:
            self._deeds[fault.do](fault)
        elif self._link is not None and fault.do in ("refuse", "silence"):
            self._break_link(self._link, fault)
        else:
            self._way.strike(fault)

    def _count(self) -> None:
        self._requests += 1
        for fault in [fault for fault in self._counted if fault.after <= self._requests]:
            self._counted.remove(fault)
            self.happen(fault)

    def _break_link(self, link: Link, fault: Fault) -> None:
        until = asyncio.get_running_loop().time() + fault.lasts
        if fault.do == "refuse":
            link.refuses_until = max(link.refuses_until, until)
        else:
            link.silent_until = max(link.silent_until, until)

    def _begin_anew(self, fault: Fault) -> None:
        self._sim.restart(fault.lasts)
        self._sim.lose_inputs()

    def _wedge(self, fault: Fault) -> None:
        self._sim.wedge(_WEDGED)
        self._after(fault.lasts, self._sim.restart)

    def _exhaust(self, fault: Fault) -> None:
        self._out_of_memory += fault.times

    def _fault(self, prompt: SimPrompt, node: str) -> NodeFailure | None:
        """Run out of memory in the next samplers."""
        if not self._out_of_memory or not self._samples(prompt, node):
            return None
        self._out_of_memory -= 1
        return NodeFailure.out_of_memory()

    def _samples(self, prompt: SimPrompt, node: str) -> bool:
        inputs = prompt.workflow[node]
        name = inputs.get("class_type") if isinstance(inputs, dict) else None
        return self._sim.catalogue[str(name)].kind == "sample"

    def _hurry(self, fault: Fault) -> None:
        """Let files live shorter for a while."""
        self._sim.ttl = min(fault.by, self._usual_ttl or inf)
        self._after(fault.lasts, self._take_time)

    def _take_time(self) -> None:
        self._sim.ttl = self._usual_ttl

    def _post_other_users(self, fault: Fault) -> None:
        for _ in range(fault.times):
            self._other_users += 1
            try:
                self._sim.submit(other_user.prompt(self._other_users), other_user.PREFIX)
            except InternalServerError:  # the other user's, not ours
                continue

    def _choose_ids(self, _fault: Fault) -> None:
        self._sim.own_ids = True

    def _add_neighbours(self, fault: Fault) -> None:
        """Let others have large workflows here: two of three are finished, the third waits in the queue."""
        for _ in range(fault.times):
            self._neighbours += 1
            number = 1_000_000 + self._neighbours
            if self._neighbours % 3:
                other_user.finish(self._sim, number)
                continue
            try:
                self._sim.submit(other_user.heavy_prompt(number), other_user.PREFIX)
            except InternalServerError:  # the other user's, not ours
                continue

    def _bring_nothing(self, fault: Fault) -> None:
        self._without_file.append((asyncio.get_running_loop().time() + fault.lasts, fault))

    def _hear(self, event: SimEvent) -> None:
        """Take the files away from a prompt that has just succeeded, if there are to be none."""
        now = asyncio.get_running_loop().time() if self._without_file else 0.0
        self._without_file = [(until, fault) for until, fault in self._without_file if until > now]
        if self._without_file and event.what is What.SUCCEEDED:
            self._spoil(event.prompt_id, self._without_file[-1][1].how)
        if self._also is not None:
            self._also(event)

    def _spoil(self, prompt: str, how: str) -> None:
        entry = self._sim.prompts.history[prompt]
        outputs = deepcopy(entry["outputs"])
        shown = outputs.values() if isinstance(outputs, dict) else ()
        listed = [value for node in shown if isinstance(node, dict) for value in node.values()]
        for file in (file for files in listed if isinstance(files, list) for file in files if isinstance(file, dict)):
            if how == "forbidden":
                self._way.forbidden.add(str(file["filename"]))
                continue
            path = self._sim.folder / "output" / str(file["subfolder"]) / str(file["filename"])
            path.unlink(missing_ok=True)
            file["type"] = "temp"
        entry["outputs"] = {} if how == "empty" else outputs

    def _silence_sockets(self, fault: Fault) -> None:
        """Let no message reach any socket; afterwards all come at once."""
        self._sim.sockets.hold()
        self._after(fault.lasts, self._sim.sockets.release)

    def _begin_to_hang(self, fault: Fault) -> None:
        self._hangs += [fault] * fault.times
        self._sim.machine.hold = self._hold

    async def _hold(self, prompt: SimPrompt, node: str) -> None:
        """Let a sampler hang: until its prompt is interrupted, or the server is restarted by somebody."""
        if not self._hangs or not self._samples(prompt, node):
            return
        fault, loop = self._hangs.pop(0), asyncio.get_running_loop()
        hung = Hung(prompt.id, prompt.prefix, loop.time(), fault.how == "deaf")
        self.hung.append(hung)
        self._after(fault.lasts, lambda: self._end_hanging(hung))
        try:
            while hung.deaf or not self._sim.machine.interrupted:  # noqa: ASYNC110 - the simulator has but this flag
                await asyncio.sleep(_LISTENS_EVERY)
        finally:
            hung.ended = loop.time()

    def _end_hanging(self, hung: Hung) -> None:
        if hung.ended is None:
            self._sim.restart()

    def _go(self, fault: Fault) -> None:
        """Leave the address for good: refused below HTTP where that is possible, or a proxy's page for everything."""
        if fault.how == "page":
            self._way.strike(Fault("page-404", lasts=inf))
        elif self._link is not None:
            self._link.refuses_until = inf
        else:
            self._way.strike(Fault("refuse", lasts=inf))
        self._sim.drop_connections()

    def _after(self, seconds: float, deed: Callable[[], None]) -> None:
        later = asyncio.get_running_loop().create_task(_later(seconds, deed))
        self._later.add(later)
        later.add_done_callback(self._later.discard)


def _refuse(script: Script, where: Where, whom: str, taker: Callable[[Fault], None] | None) -> None:
    """Refuse a script with a fault that nobody here takes."""
    strange = [fault.do for fault in script if fault.kind.where is where]
    if strange and taker is None:
        raise YoursError(f"{strange[0]}: this happens to {whom}; it exists in simulated nights")


def _later(seconds: float, deed: Callable[[], None]) -> Coroutine[object, object, None]:
    async def wait() -> None:
        await asyncio.sleep(seconds)
        deed()

    return wait()
