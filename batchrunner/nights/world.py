"""One simulated night: a server with its mishaps, a runner that is killed and started again, and a witness."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from signal import SIGINT
from typing import TYPE_CHECKING

from aiohttp import web

from batchrunner.ledger.error import StateError
from batchrunner.ledger.place import LOCK, STATE
from batchrunner.nights.runner import program
from batchrunner.nights.witness import Witness
from batchrunner.sim.misfortune import Misfortune
from batchrunner.sim.pace import Pace
from batchrunner.sim.process import KilledError
from batchrunner.sim.server import Simulator

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.typedefs import Handler, Middleware

    from batchrunner.ledger import Ledger
    from batchrunner.manifest import Batch
    from batchrunner.sim.clock import VirtualLoop
    from batchrunner.sim.mishaps import Mishap, Script
    from batchrunner.sim.process import Process

SERVER = "gpu"
_LONGEST = 3 * 86_400.0
_MOST_LIVES = 100
_WRITES = ("disk ", "call write", "call flush", "call fsync", "call open")
_ERRORS = {"disk-full": errno.ENOSPC, "disk-error": errno.EIO, "no-handles": errno.EMFILE}


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to happen in one night."""

    seed: int
    jobs: int = 12
    script: Script = ()
    crash: Callable[[str], bool] | None = None
    """Asked at every named point of the runner: shall it die here?"""
    aftermath: Script = ()
    """What happens to the server right after such a death."""
    again: float = 600.0
    """After how many seconds somebody starts a runner again that died so, or gave up."""


@dataclass(slots=True)
class World:
    """The runner's side and the server's side of one night; `folder` holds both, each in a folder of its own."""

    loop: VirtualLoop
    plan: Plan
    batch: Batch
    folder: Path
    home: Path = field(init=False)
    witness: Witness = field(init=False)
    runner: Process = field(init=False)
    _server: Process = field(init=False)
    _mishaps: asyncio.Task[None] = field(init=False)
    ledgers: list[Ledger] = field(default_factory=list)
    exits: list[int] = field(default_factory=list)
    """How each life of the runner ended; -9 for a kill."""
    _pause: float = 0.0
    _jumped: float = 0.0
    _forget: bool = False
    _stopping: bool = False
    _full_until: float = 0.0
    _faults: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Make the folders, the server and the witness."""
        self._server = self.loop.spawn("server")
        self.home = self.folder / "outputs" / self.batch.name
        self.witness = Witness(self.loop, self.batch.name, self.home)
        self.witness.sim = Simulator(
            self.folder / SERVER,
            pace=Pace.night(),
            ttl=self.batch.rules.ttl,
            wall=self.loop.wall,
            listener=self.witness.served,
            seed=self.plan.seed,
        )

    async def live(self) -> int:
        """Let the night pass; return the last exit code."""
        await self._server.start(self._serve())
        self.loop.on_point = self._passed
        while self.loop.now < _LONGEST and len(self.exits) < _MOST_LIVES:
            code = await self._life()
            self.exits.append(code)
            self.witness.look_at_files()
            if code in (0, 1) or self.witness.is_hopeless():
                break
            if code in (2, 4):
                self.witness.tell(f"P5 a runner ended with {code}")
            await self.loop.elapse(self._pause or self.plan.again)
            self._pause = 0.0
        self.loop.on_point = None
        self._server.kill()
        return self.exits[-1]

    def close(self) -> None:
        """Let go of every file that the dead still hold."""
        for ledger in self.ledgers:
            ledger.close()
        for number in self._held(self.home / LOCK):
            os.close(number)

    async def _serve(self) -> None:
        simulator, link = self.witness.sim, self.loop.network.link(SERVER)
        misfortune = Misfortune(simulator, self.plan.script, link=link, runner=self._happen)
        self.witness.misfortune = misfortune
        application = misfortune.application()
        application.middlewares.insert(0, _watched(self.witness))
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        await web.UnixSite(runner, SERVER).start()
        await simulator.start()
        self._mishaps = self.loop.create_task(misfortune.run())

    async def _life(self) -> int:
        """Let one runner live; return how it ended."""
        self.runner = self.loop.spawn(f"runner-{len(self.exits) + 1}")
        self.runner.turn_clock(self._jumped)
        self._stopping = False
        life = self.runner.start(program(self.batch, self.home, self.witness, self.ledgers))
        await asyncio.wait([life])
        trouble = life.exception()
        if trouble is None:
            return life.result()
        if not isinstance(trouble, KilledError):
            self.witness.bug(repr(trouble))
            self.runner.kill()
        self._bury()
        return -9

    def _bury(self) -> None:
        """Do what the system does for the dead: release their lock. Forget the state if the mishap says so."""
        for number in self._held(self.home / LOCK):
            fcntl.flock(number, fcntl.LOCK_UN)
        if self._forget:
            self._forget = False
            for ledger in self.ledgers:
                ledger.close()
            self.ledgers.clear()
            for suffix in ("", "-wal", "-shm"):
                Path(f"{self.home / STATE}{suffix}").unlink(missing_ok=True)

    def _held(self, path: Path) -> list[int]:
        """Return this program's own descriptors of a file."""
        if not path.exists():
            return []
        wanted, found = path.stat(), []
        for number in range(3, 4096):
            try:
                state = os.fstat(number)
            except OSError:
                continue
            if (state.st_dev, state.st_ino) == (wanted.st_dev, wanted.st_ino):
                found.append(number)
        return found

    # Mishaps of the runner.

    def _happen(self, mishap: Mishap) -> None:
        if self.runner.dead:
            return
        match mishap.do:
            case "kill" | "lose-state":
                self._forget = mishap.do == "lose-state"
                self._pause = mishap.lasts
                self.runner.kill()
            case "stop":
                self._stop(mishap)
            case "clock":
                turn = mishap.by if len(self.exits) % 2 else -mishap.by
                self._jumped += turn
                self.runner.turn_clock(turn)
            case "suspend":
                self.runner.suspend(mishap.lasts)
            case "disk-full":
                self._full_until = self.loop.now + mishap.lasts
            case _:
                self._faults.extend([_ERRORS[mishap.do]] * mishap.times)

    def _stop(self, mishap: Mishap) -> None:
        """Press Ctrl-C, once: the second would end the very program that simulates all this."""
        if not self._stopping:
            self._stopping = True
            self._pause = mishap.lasts
            self.runner.signal(SIGINT)

    def _passed(self, process: Process, point: str) -> None:
        """Let the runner die, or its disk fail, at a named point."""
        if process is not self.runner:
            return
        if self.plan.crash is not None and self.plan.crash(point):
            process.kill()
            for mishap in self.plan.aftermath:
                self.loop.call_soon(self.witness.misfortune.happen, mishap, context=self._server.context())
            return
        full = self.loop.now < self._full_until
        if point == "commit" and full:
            raise StateError(f"{self.home / STATE}: {os.strerror(errno.ENOSPC)}")
        if point.startswith(_WRITES) and (full or self._faults):
            number = errno.ENOSPC if full else self._faults.pop()
            raise OSError(number, os.strerror(number))


def _watched(witness: Witness) -> Middleware:
    @web.middleware
    async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method == "POST":
            witness.asked(request.path, json.loads(await request.read()))
        return await handler(request)

    return watch
