"""One simulated night: servers with their faults, a runner that is killed and started again, and what is checked."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from signal import SIGINT
from typing import TYPE_CHECKING, get_args

from aiohttp import web

from batchrunner.core.facts import Fact, fact_name
from batchrunner.ledger import LEARNED_AGAIN, LOCK, STATE, StateError
from tests.lab.fake_disk import FakeDisk
from tests.lab.faults import Fault
from tests.lab.nights.batch import pictures
from tests.lab.nights.invariants import Invariants
from tests.lab.nights.place import Place
from tests.lab.nights.runner import program
from tests.lab.process import KilledError

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp.typedefs import Handler, Middleware

    from batchrunner.ledger import Ledger
    from batchrunner.manifest import Batch
    from tests.lab.clock import VirtualLoop
    from tests.lab.nights.plan import Host, Plan
    from tests.lab.process import Process

_LONGEST = 3 * 86_400.0
_MOST_LIVES = 100
_RETYPES = 10.0
"""Seconds until a runner that was stopped is started with another address."""
_WRITES = ("disk ", "call write")
_SYNCED = ", ".join(f"'{fact_name(kind)}'" for kind in get_args(Fact) if kind not in LEARNED_AGAIN)
_TAKE_BACK = (
    f"DELETE FROM facts WHERE seq > ifnull((SELECT max(seq) FROM facts WHERE kind IN ({_SYNCED})), 0)"  # noqa: S608
    " RETURNING job, attempt"
)
_ERRORS = {"disk-full": errno.ENOSPC, "disk-error": errno.EIO, "no-handles": errno.EMFILE}


@dataclass(slots=True)
class World:
    """The runner's side and the servers' side of one night; `folder` holds all, each in a folder of its own."""

    loop: VirtualLoop
    plan: Plan
    batch: Batch
    folder: Path
    home: Path = field(init=False)
    invariants: Invariants = field(init=False)
    runner: Process = field(init=False)
    ledgers: list[Ledger] = field(default_factory=list)
    servers: tuple[str, ...] = ()
    """The URLs that the next runner is started with."""
    exits: list[int] = field(default_factory=list)
    """How each life of the runner ended; -9 for a kill."""
    _pause: float = 0.0
    _jumped: float = 0.0
    _forget: bool = False
    _stopping: bool = False
    _ended: bool = True
    """No runner lives."""
    _moving: set[asyncio.Task[None]] = field(default_factory=set)
    _full_until: float = 0.0
    _disk_errors: list[int] = field(default_factory=list)
    _fake_disk: FakeDisk = field(default_factory=FakeDisk)
    _boots: int = 1
    """How often the runner's machine was started."""

    def __post_init__(self) -> None:
        """Make the folders, the servers and the checks."""
        self.home = self.folder / "outputs" / self.batch.name
        rules = self.batch.rules
        self.servers = self.batch.servers
        self.invariants = Invariants(self.loop, self.batch.name, self.home, rules.patience, rules.grace)
        self.invariants.pictures = {job.id: job.inputs[0].sha256 for job in self.batch.jobs if job.inputs}
        for number, (name, host) in enumerate(self.plan.servers().items()):
            self._build(name, host, None if number else self._happen, number)

    def _build(self, name: str, host: Host, runner: Callable[[Fault], None] | None, number: int) -> Place:
        """Build a server; `number` seeds it."""
        place = Place(
            self.loop,
            name,
            host,
            self.folder / name,
            self.invariants.served,
            runner,
            self._move,
            ttl=self.batch.rules.ttl,
            seed=self.plan.seed + number,
        )
        self.invariants.places[place.url] = place
        if self.plan.strangers:
            for file, content in pictures(self.plan).items():
                (place.sim.folder / "input" / file).write_bytes(content[:8] + content[:7:-1])
        return place

    async def live(self) -> int:
        """Let the night pass; return the last exit code."""
        for place in self.places:
            await place.open(_watched(self.invariants, place))
        self.loop.on_point = self._passed
        with self._fake_disk.installed():
            await self._lives()
        self.loop.on_point = None
        for place in self.places:
            place.close()
        return self.exits[-1]

    async def _lives(self) -> None:
        """Let one runner live after the other, until one has ended for good."""
        while self.loop.now < _LONGEST and len(self.exits) < _MOST_LIVES:
            code = await self._life()
            self.exits.append(code)
            self.invariants.check_files()
            self.invariants.died(code)
            if code in (0, 1) or self.invariants.is_hopeless():
                break
            await self.loop.elapse(self._pause or self.plan.again)
            self._pause = 0.0

    @property
    def places(self) -> list[Place]:
        """Return the servers."""
        return list(self.invariants.places.values())

    def close(self) -> None:
        """Let go of every file that the dead still hold."""
        for ledger in self.ledgers:
            ledger.close()
        for number in self._held(self.home / LOCK):
            os.close(number)

    async def _life(self) -> int:
        """Let one runner live; return how it ended."""
        self.runner = self.loop.spawn(f"runner-{len(self.exits) + 1}")
        self.runner.turn_clock(self._jumped)
        self._stopping = False
        self.invariants.born(self.runner, self.servers)
        batch = replace(self.batch, servers=self.servers)
        life = self.runner.start(program(batch, self.home, self.invariants, self.ledgers, f"boot {self._boots}"))
        self._ended = False
        with self.loop.under_way():
            await asyncio.wait([life])
        self._ended = True
        trouble = life.exception()
        if trouble is None:
            return life.result()
        if not isinstance(trouble, KilledError):
            self.invariants.bug(repr(trouble))
            self.runner.kill()
        self._bury()
        return -9

    def _bury(self) -> None:
        """Do what the system does for the dead: release their lock. Forget the state if the fault says so."""
        for number in self._held(self.home / LOCK):
            fcntl.flock(number, fcntl.LOCK_UN)
        if self._forget:
            self._forget = False
            for ledger in self.ledgers:
                ledger.close()
            self.ledgers.clear()
            for suffix in ("", "-wal", "-shm"):
                Path(f"{self.home / STATE}{suffix}").unlink(missing_ok=True)
            self.invariants.forgot()

    def _held(self, path: Path) -> list[int]:
        """Return this program's own descriptors of a file."""
        if not path.exists():
            return []
        wanted, found = path.stat(), []
        for number in map(int, os.listdir("/dev/fd")):  # noqa: PTH208 - numbers, not paths
            try:
                state = os.fstat(number)
            except OSError:
                continue
            if (state.st_dev, state.st_ino) == (wanted.st_dev, wanted.st_ino):
                found.append(number)
        return found

    # A server that moves.

    def _move(self, place: Place, fault: Fault) -> None:
        """Let a server come back at another address; it is itself that tells of it, so not from within."""
        self.loop.call_soon(self._moved, place, fault, context=self.loop.world.context())

    def _moved(self, place: Place, fault: Fault) -> None:
        host = replace(place.host, script=place.vanish())
        new = self._build(f"{place.name}-moved", host, place.runner, len(self.places))
        self._moving.add(self.loop.create_task(new.open(_watched(self.invariants, new))))
        self.loop.call_later(fault.lasts, self._tell_address, place.url, new.url)

    def _tell_address(self, old: str, new: str) -> None:
        """Let a person find out: the runner is stopped and started again with the new address."""
        self.servers = tuple(new if url == old else url for url in self.servers)
        if not self.runner.dead and not self._ended:
            self._stop(Fault("stop", lasts=_RETYPES))

    # Faults of the runner.

    def _happen(self, fault: Fault) -> None:
        if self.runner.dead:
            return
        match fault.do:
            case "kill" | "lose-state":
                self._forget = fault.do == "lose-state"
                self._pause = fault.lasts
                self.runner.kill()
            case "stop":
                self._stop(fault)
            case "power-cut":
                self._pause = fault.lasts
                self.runner.kill()
                self._cut()
            case "clock":
                turn = fault.by if len(self.exits) % 2 else -fault.by
                self._jumped += turn
                self.runner.turn_clock(turn)
            case "suspend":
                self.runner.suspend(fault.lasts)
            case "disk-full":
                self._full_until = self.loop.now + fault.lasts
            case _:
                self._disk_errors.extend([_ERRORS[fault.do]] * fault.times)

    def _cut(self) -> None:
        """Lose what was not synced, and of the state the last facts that may be: SQLite's own tests show the rest."""
        self._boots += 1
        if (state := self.home / STATE).exists():
            with closing(sqlite3.connect(state, isolation_level=None)) as db:
                self.invariants.took_back(db.execute(_TAKE_BACK).fetchall())
        files = (path for path in sorted(self.home.rglob("*")) if path.is_file())
        self._fake_disk.cut(path for path in files if not path.name.startswith((STATE, LOCK)))

    def _stop(self, fault: Fault) -> None:
        """Press Ctrl-C, once: the second would end the very program that simulates all this."""
        if not self._stopping:
            self._stopping = True
            self._pause = fault.lasts
            self.runner.signal(SIGINT)

    def _passed(self, process: Process, point: str) -> None:
        """Let the runner die, or its disk fail, at a named point."""
        if process is not self.runner:
            return
        if self.plan.crash is not None and self.plan.crash(point):
            process.kill()
            if self.plan.power:
                self._cut()
            for fault in self.plan.aftermath:
                self.places[0].happen(fault)
            return
        full = self.loop.now < self._full_until
        if point == "commit" and full:
            raise StateError(f"{self.home / STATE}: {os.strerror(errno.ENOSPC)}")
        if point.startswith(_WRITES) and (full or self._disk_errors):
            number = errno.ENOSPC if full else self._disk_errors.pop()
            raise OSError(number, os.strerror(number))


def _watched(invariants: Invariants, place: Place) -> Middleware:
    @web.middleware
    async def watch(request: web.Request, handler: Handler) -> web.StreamResponse:
        if request.method == "POST" and not request.path.endswith("/upload/image"):
            invariants.asked(place, request.path, json.loads(await request.read()))
        return await handler(request)

    return watch
