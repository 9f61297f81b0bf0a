"""The heart of virtual time: who is called next, and when the clock jumps."""

from __future__ import annotations

import asyncio
import heapq
import threading
from contextlib import contextmanager
from contextvars import Context, copy_context
from itertools import count
from math import inf, nextafter
from random import Random
from typing import TYPE_CHECKING, TypeAlias, TypeVar, TypeVarTuple

from tests.lab.process import Process, owner_in, owner_now
from tests.lab.trace import Trace

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Iterator

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

EPOCH = 1_790_000_000.0
"""What wall clocks show when a loop starts: a night in September 2026, UTC."""
SILENCE = 24 * 3600.0
"""Seconds in which a run under way makes progress at least once.

The longest that a sound run waits is `patience` (8 h) for a server that is away, and even then it asks that server once
a minute. Only a suspension makes it silent: for two hours and a quarter at most, if a seed draws it.
"""
_STANDSTILL = 100_000


class StuckError(RuntimeError):
    """This would go on for ever: everything waits and no timer is set, or nothing but timers goes on."""


class _Step(asyncio.Handle):
    """A callback that knows its process."""

    __slots__ = ("owner", "resumes")
    owner: Process
    resumes: bool
    """A coroutine goes on."""


class _Timer(asyncio.TimerHandle):
    """A timer that knows its process."""

    __slots__ = ("local", "owner")
    owner: Process
    local: bool
    """It goes by the clock of its process, which a suspension stops."""


_Handle: TypeAlias = _Step | _Timer


class Schedule(asyncio.BaseEventLoop):
    """An event loop that skips the waiting; `now` is its time in seconds, from 0."""

    _stopping: bool
    _thread_id: int | None

    def __init__(self, seed: int, *, shuffle: bool) -> None:
        super().__init__()
        self.now = 0.0
        self.steps = 0
        self.trace = Trace(lambda: self.now)
        self.on_point: Callable[[Process, str], None] | None = None
        self.world = Process(self, "world")
        """Who everything belongs to that was started in no other process."""
        self._processes = [self.world]
        self._dice = Random(f"{seed}/loop")  # noqa: S311 - a replay, no secret
        self._shuffle = shuffle
        self._turn: list[_Handle] = []
        self._timers: list[tuple[float, int, _Handle]] = []
        self._sequence = count()
        self._still = 0
        self._progress_at: float | None = None
        """When the run under way last made progress; None: no run is under way."""

    # What a simulation asks for.

    def spawn(self, name: str) -> Process:
        """Return a new process, in which nothing runs yet."""
        self._processes.append(Process(self, name))
        return self._processes[-1]

    @property
    def process(self) -> Process:
        """The process whose code is running."""
        return owner_now(self.world)

    def wall(self) -> float:
        """Return the wall clock of the process that asks: seconds since the epoch."""
        return EPOCH + self.now + self.process.jumped

    async def elapse(self, seconds: float) -> None:
        """Let virtual time pass."""
        await asyncio.sleep(seconds)

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Until the block ends, a run is under way: StuckError if it makes no progress for as long as `SILENCE`."""
        self._progress_at = self.now
        try:
            yield
        finally:
            self._progress_at = None

    def progress(self) -> None:
        """Note that the run under way commits a fact or begins an action: no heartbeat, nothing that only repeats."""
        if self._progress_at is not None:
            self._progress_at = self.now

    def passes(self, point: str) -> bool:
        """Pass a named point; False if the process that runs is dead, since now or before."""
        process = self.process
        if self.on_point is not None and not process.dead:
            self.on_point(process, point)
        return not process.dead

    def at(self, due: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context) -> _Timer:
        """Call back at `due` on this loop's clock, whatever the clock of the process shows."""
        timer = _Timer(due, callback, args, self, context)
        timer.owner, timer.local = owner_in(context, self.world), False
        heapq.heappush(self._timers, (due, next(self._sequence), timer))
        return timer

    def postpone(self, process: Process) -> None:
        """Put off the timers of `process`, after it was suspended for longer."""
        for place, (_, number, timer) in enumerate(self._timers):
            if timer.owner is process and isinstance(timer, _Timer) and timer.local:
                self._timers[place] = (_due(timer.when(), process.slept), number, timer)
        heapq.heapify(self._timers)

    def finish(self) -> None:
        """Cancel what still lives, oldest first, and let it end; the dead stay as they are."""
        self._still, self._progress_at = 0, None
        while living := [task for process in self._processes for task in process.living()]:
            for task in living:
                task.cancel()
            self.run_until_complete(asyncio.gather(*living, return_exceptions=True))
        if not any(process.dead for process in self._processes):
            self.run_until_complete(self.shutdown_asyncgens())

    # What asyncio asks for.

    def time(self) -> float:
        """Return the monotonic clock of the process that asks, in seconds."""
        return self.now - self.process.slept

    def call_soon(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Call back in the next turn."""
        if self.is_closed():
            raise RuntimeError("the loop is closed")
        context = copy_context() if context is None else context
        step = _Step(callback, args, self, context)
        step.owner = owner_in(context, self.world)
        step.resumes = isinstance(getattr(callback, "__self__", None), asyncio.Task)
        self._turn.append(step)
        return step

    def call_soon_threadsafe(
        self, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        """Call back in the next turn; there are no other threads here, and one that calls is told so."""
        if self.is_running() and threading.get_ident() != self._thread_id:
            raise RuntimeError("no threads in virtual time: use loop.run_in_executor")
        return self.call_soon(callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call back at `when` on the clock of the process."""
        context = copy_context() if context is None else context
        timer = _Timer(when, callback, args, self, context)
        timer.owner, timer.local = owner_in(context, self.world), True
        heapq.heappush(self._timers, (_due(when, timer.owner.slept), next(self._sequence), timer))
        return timer

    def call_later(
        self, delay: float, callback: Callable[[*Ts], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Call back after `delay` seconds."""
        context = copy_context() if context is None else context
        when = self.now - owner_in(context, self.world).slept + delay
        return self.call_at(when, callback, *args, context=context)

    def create_task(
        self,
        coro: Generator[object, None, T] | Coroutine[object, object, T],
        *,
        name: object = None,
        context: Context | None = None,
    ) -> asyncio.Task[T]:
        """Start a coroutine in the process of its context."""
        owner = self.process if context is None else owner_in(context, self.world)
        made = super().create_task(coro, name=name, context=context)
        owner.adopt(made)
        return made

    def _run_once(self) -> None:
        """Take one turn: everything that is ready, after the next timer if nothing is."""
        if not self._turn and not self._stopping:
            self._jump()
        self._collect()
        turn, self._turn = self._turn, []
        if self._shuffle and len(turn) > 1:
            self._mix(turn)
        for step in turn:
            if step.cancelled() or step.owner.dead:
                continue
            if step.owner.wakes > self.now:
                self._hold(step)
                continue
            self.steps += 1
            step._run()

    def _jump(self) -> None:
        """Move the clock to the next timer that still means something."""
        while self._timers and (self._timers[0][2].cancelled() or self._timers[0][2].owner.dead):
            heapq.heappop(self._timers)
        if not self._timers:
            raise StuckError("everything waits and no timer is set")
        if self._progress_at is not None and self._timers[0][0] > self._progress_at + SILENCE:
            raise StuckError(
                f"since {self._progress_at:.3f} s no fact was committed and no action begun, for "
                f"{SILENCE / 3600:.0f} hours, though timers go on"
            )
        if self._timers[0][0] > self.now:
            self.now = self._timers[0][0]
            self._still = 0

    def _collect(self) -> None:
        """Make every timer that is due ready."""
        while self._timers and self._timers[0][0] <= self.now:
            self._turn.append(heapq.heappop(self._timers)[2])
        self._still += 1
        if self._still > _STANDSTILL:
            raise StuckError(f"the clock stands at {self.now} s: something goes on without ever waiting")

    def _mix(self, turn: list[_Handle]) -> None:
        """Let coroutines that are ready go on in another order."""
        places = [place for place, step in enumerate(turn) if isinstance(step, _Step) and step.resumes]
        steps = [turn[place] for place in places]
        self._dice.shuffle(steps)
        for place, step in zip(places, steps, strict=True):
            turn[place] = step

    def _hold(self, step: _Handle) -> None:
        """Keep a callback until its process wakes."""
        heapq.heappush(self._timers, (step.owner.wakes, next(self._sequence), step))


def _due(when: float, slept: float) -> float:
    """Return the loop time at which a clock that stood still for `slept` seconds shows `when`, and not a bit less."""
    due = when + slept
    while due - slept < when:
        due = nextafter(due, inf)
    return due
