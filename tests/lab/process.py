"""A simulated process: what belongs together, dies together and shares a clock of its own.

Every callback of the loop carries the process it belongs to in a context variable, inherited wherever asyncio copies
a context. That makes a true SIGKILL possible in one interpreter: `kill` lets the loop drop every callback of the
process, so that no `finally`, no `except` and no `__aexit__` of it runs, and resets its connections.

A coroutine that is garbage collected would still run its `finally`. The dead are therefore kept for good: one
reference is leaked on purpose, which also holds while the interpreter shuts down. A program that kills thousands of
processes should run them in batches, each in a child of its own.
"""

from __future__ import annotations

import ctypes
from contextvars import Context, ContextVar, copy_context
from functools import partial
from signal import SIGKILL
from typing import TYPE_CHECKING, Protocol, TypeVar
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Coroutine

    from tests.lab.schedule import Schedule

T = TypeVar("T")

_OWNER: ContextVar[Process] = ContextVar("simulated process")
_GRAVES: list[object] = []
ctypes.pythonapi.Py_IncRef(ctypes.py_object(_GRAVES))


class KilledError(Exception):
    """The simulated process was killed before it ended."""


class Connected(Protocol):
    """A connection's end that the kernel closes when its process dies."""

    def sever(self) -> None:
        """Reset the connection without telling its own side."""


class Process:
    """One simulated process on a loop: start something in it, then kill it, signal it, suspend it, turn its clock.

    `dead` is True once it was killed. The wall clock of a process is `Schedule.wall()`, read from inside it.
    """

    def __init__(self, loop: Schedule, name: str) -> None:
        self.name = name
        self.dead = False
        self.slept = 0.0
        """Seconds suspended so far: its monotonic clock did not count them."""
        self.wakes = 0.0
        """Loop time at which the present suspension ends."""
        self.jumped = 0.0
        """Seconds by which its wall clock was turned."""
        self.connections: dict[Connected, None] = {}
        self._loop = loop
        self._tasks: WeakValueDictionary[int, asyncio.Task[object]] = WeakValueDictionary()
        self._born = 0
        self._on_death: list[Callable[[], None]] = []
        self._signals: dict[int, Callable[[], object]] = {}

    def start(self, main: Coroutine[object, object, T]) -> asyncio.Future[T]:
        """Run `main` in this process; the future carries its result or its error, or KilledError once it is killed."""
        task = self._loop.create_task(main, context=self.context())
        ending: asyncio.Future[T] = self._loop.create_future()
        self._on_death.append(partial(_fail, ending, KilledError()))
        task.add_done_callback(partial(_relay, ending))
        return ending

    def kill(self) -> None:
        """Kill it as SIGKILL does: nothing of it runs again, its peers see a reset, its commits and files stay."""
        if self.dead:
            return
        self.dead = True
        self._loop.trace.note(self.name, "killed")
        for connection in list(self.connections):
            connection.sever()
        _GRAVES.append((self, list(self._tasks.values()), list(self.connections)))
        for tell in self._on_death:
            tell()

    def signal(self, number: int) -> None:
        """Deliver a signal: to the function that `loop.add_signal_handler` was given in this process, else it dies."""
        answer = self._signals.get(number)
        self._loop.trace.note(self.name, "signal", number)
        if answer is None or number == SIGKILL:
            self.kill()
        else:
            answer()

    def suspend(self, seconds: float) -> None:
        """Stop it as a closed lid does: after `seconds` it goes on; its wall clock counted them, its loop did not."""
        self._loop.trace.note(self.name, "suspended", seconds)
        self.wakes = max(self.wakes, self._loop.now) + seconds
        self.slept += seconds
        self._loop.postpone(self)

    def turn_clock(self, seconds: float) -> None:
        """Jump its wall clock; its loop's clock goes on as before."""
        self._loop.trace.note(self.name, "clock", seconds)
        self.jumped += seconds

    def context(self) -> Context:
        """Return a copy of the present context that belongs to this process."""
        context = copy_context()
        context.run(_OWNER.set, self)
        return context

    def adopt(self, task: asyncio.Task[T]) -> None:
        """Remember a task; one made by the dead is buried with them."""
        self._tasks[self._born] = task
        self._born += 1
        if self.dead:
            _GRAVES.append(task)

    def living(self) -> list[asyncio.Task[object]]:
        """Return the tasks of it that still run, oldest first."""
        return [task for task in self._tasks.values() if not task.done() and not self.dead]

    def on_signal(self, number: int, answer: Callable[[], object] | None) -> bool:
        """Set or (None) remove what a signal does; True if something was set before."""
        before = self._signals.pop(number, None)
        if answer is not None:
            self._signals[number] = answer
        return before is not None


def owner_in(context: Context, default: Process) -> Process:
    """Return the process that `context` belongs to."""
    return context.get(_OWNER, default)


def owner_now(default: Process) -> Process:
    """Return the process whose code is running."""
    return _OWNER.get(default)


def _relay(ending: asyncio.Future[T], task: asyncio.Future[T]) -> None:
    """Hand the end of a task to whoever started the process."""
    if ending.done():
        return
    if task.cancelled():
        ending.cancel()
    elif (trouble := task.exception()) is not None:
        _fail(ending, trouble)
    else:
        ending.set_result(task.result())


def _fail(ending: asyncio.Future[T], trouble: BaseException) -> None:
    if not ending.done():
        ending.set_exception(trouble)
        ending.exception()  # whoever started it may not care how it ended
