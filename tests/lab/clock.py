"""Virtual time: an asyncio loop on which eight hours pass as fast as the code can run, the same for the same seed.

How it works. The loop has no selector, no sockets and no threads, so the only thing that can happen is a callback; when
none is ready, the clock jumps to the next timer, and when there is no timer either, nothing will ever happen again and
`StuckError` is raised. Timers that only repeat, as heartbeats do, would hide that: while a run is `under_way`, it must
also make `progress` within `SILENCE`. Unmodified aiohttp runs on this loop (`web.UnixSite`, `aiohttp.UnixConnector`):
unix connections are joined in memory, through `Network`. So do anyio's task groups and cancel scopes, and aiofiles:
`run_in_executor` calls in the loop's thread, before or after a short virtual delay. anyio's own file and thread helpers
do not: they need real threads.

What is random is drawn from the seed: latencies, thread delays and, if asked for, the order in which coroutines that
are ready go on (plain callbacks keep the order asyncio promises). A trace, a running hash over every arrival, call
and fault, shows whether two runs were the same. It holds sizes and times but no content, because keys of web sockets
and form boundaries come from the system. anyio keeps its coroutines in a set, so the order in which it cancels them
depends on addresses: a seed replays on the same code and the same Python.

Three hooks. `Process` kills, signals, suspends, and turns the wall clock of, a part of the program. `Network` breaks
connections. `on_point` is called at named points, where a test may kill the process or raise an OSError: `send` and
`sent` around every write to a connection (`send POST /prompt` where a request begins), `call NAME` and `called NAME`
around every function given to a thread, `disk link` and the like before the disk changes (see `disk`).
The dead may compute on to their next await, but what they do no longer counts.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import closing, contextmanager
from contextvars import Context, copy_context
from functools import partial
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

from aiohttp import connector

from tests.lab.network import Listener, Network
from tests.lab.schedule import EPOCH, SILENCE, Schedule, StuckError

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from concurrent.futures import Executor
    from os import PathLike
    from typing import IO

__all__ = ["EPOCH", "SILENCE", "StuckError", "VirtualLoop", "run"]

T = TypeVar("T")
Ts = TypeVarTuple("Ts")
P = TypeVar("P", bound=asyncio.BaseProtocol)
_THREAD_DELAY = 0.002


class VirtualLoop(Schedule):
    """An event loop in virtual time with a network, threads and signals to match."""

    def __init__(self, seed: int, *, network: Network | None = None, shuffle: bool = True) -> None:
        super().__init__(seed, shuffle=shuffle)
        self.network = network or Network(seed)

    async def create_unix_server(
        self, protocol_factory: Callable[[], asyncio.BaseProtocol], path: str | PathLike[str] | None = None, **_: object
    ) -> Listener:
        """Listen in memory at `path`, which is a name, no file."""
        listener = Listener(self, self.network, str(path), protocol_factory)
        self.network.listen(str(path), listener)
        return listener

    async def create_unix_connection(
        self, protocol_factory: Callable[[], P], path: str | None = None, **_: object
    ) -> tuple[asyncio.Transport, P]:
        """Connect in memory to who listens at `path`."""
        end = await self.network.connect(self, str(path))
        protocol = protocol_factory()
        end.open(lambda: protocol)
        return end, protocol

    async def sendfile(
        self,
        transport: asyncio.WriteTransport,
        file: IO[bytes],
        offset: int = 0,
        count: int | None = None,
        *,
        fallback: bool = True,
    ) -> int:
        """Refuse, which makes aiohttp read and write instead."""
        raise NotImplementedError

    def run_in_executor(
        self,
        executor: Executor | None,  # noqa: ARG002 - asyncio's signature; there are no threads to choose
        func: Callable[[*Ts], T],
        *args: *Ts,
    ) -> asyncio.Task[T]:
        """Call `func` in this thread, before or after a short virtual delay."""
        return self.create_task(self._call(func, *args))

    async def _call(self, func: Callable[[*Ts], T], *args: *Ts) -> T:
        """Call now and answer later, or call later: whoever is cancelled or killed meanwhile can't know which."""
        delay = self._dice.uniform(0.0, _THREAD_DELAY)
        if self._dice.random() < 0.5:
            await asyncio.sleep(delay)
            return await self._call_now(func, *args)
        result = await self._call_now(func, *args)
        await asyncio.sleep(delay)
        return result

    async def _call_now(self, func: Callable[[*Ts], T], *args: *Ts) -> T:
        name = name_of(func)
        self.trace.note(self.process.name, "call", name)
        if not self.passes(f"call {name}"):
            await self.create_future()
        result = func(*args)
        self.passes(f"called {name}")
        return result

    def add_signal_handler(self, sig: int, callback: Callable[[*Ts], object], *args: *Ts) -> None:
        """Let `Process.signal` call back in the process that asks."""
        self.process.on_signal(sig, partial(self.call_soon, callback, *args, context=copy_context()))

    def remove_signal_handler(self, sig: int) -> bool:
        """Let the signal kill again."""
        return self.process.on_signal(sig, None)


def run(
    main: Callable[[VirtualLoop], Coroutine[object, object, T]],
    *,
    seed: int,
    network: Network | None = None,
    shuffle: bool = True,
) -> T:
    """Run `main(loop)` in virtual time and return its result; StuckError if it would wait for ever."""
    loop = VirtualLoop(seed, network=network, shuffle=shuffle)
    with _borrowed(loop, seed), closing(loop):
        try:
            return loop.run_until_complete(main(loop))
        finally:
            loop.finish()


def name_of(func: Callable[..., object]) -> str:
    """Return the name of what a thread is given, below partials and copied contexts: `write`, `fsync`."""
    while isinstance(func, partial):
        carries = isinstance(getattr(func.func, "__self__", None), Context)
        func = func.args[0] if carries else func.func
    return getattr(func, "__name__", type(func).__name__)


@contextmanager
def _borrowed(loop: VirtualLoop, seed: int) -> Iterator[None]:
    """Until the loop ends, seed the global dice; let `time.time` and aiohttp's connection pool read virtual time.

    All three would make two runs of one seed differ: stamps end up in files, and the pool draws the order of waiters
    and ages by time.monotonic().
    """
    pool, system, dice = vars(connector), vars(time), random.getstate()
    monotonic, wall = pool["monotonic"], system["time"]
    pool["monotonic"], system["time"] = loop.time, loop.wall
    random.seed(seed)
    try:
        yield
    finally:
        pool["monotonic"], system["time"] = monotonic, wall
        random.setstate(dice)
