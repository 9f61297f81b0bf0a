"""`run`: the parts are built here, the engine runs, and the ending is told."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from batchrunner.cli.builtin import built_in
from batchrunner.cli.ending import tell
from batchrunner.cli.onlooker import Onlooker
from batchrunner.cli.preflight import ask_nodes, open_roads
from batchrunner.cli.shelf import Shelf
from batchrunner.cli.signals import listen
from batchrunner.cli.token import token
from batchrunner.cli.watching import Watching, watching
from batchrunner.comfy import client as comfy
from batchrunner.comfy.submission import post_body
from batchrunner.core.board import Board
from batchrunner.core.identity import client_id, parse_prefix
from batchrunner.core.server import SIM
from batchrunner.core.states import Waiting
from batchrunner.engine import Engine, settled_in, surveyed
from batchrunner.errors import YoursError, unwrapped
from batchrunner.fetch import Downloads
from batchrunner.ledger import Ledger, hold
from batchrunner.manifest import load
from batchrunner.workflow.suffix import expected_suffix

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batchrunner.cli.asked import Asked
    from batchrunner.comfy.secret import Secret
    from batchrunner.core.actions import Submit
    from batchrunner.core.conclude import Ending
    from batchrunner.core.identity import Json
    from batchrunner.core.job import Job
    from batchrunner.core.rules import Rules
    from batchrunner.manifest import Batch

_BUILT_IN_POLL = 0.2
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class LoopClock:
    """The event loop's clock, and the wall's."""

    def now(self) -> float:
        """Seconds on the loop's clock."""
        return anyio.current_time()

    def wall(self) -> float:
        """Seconds since the epoch."""
        return time.time()


def run(asked: Asked) -> int:
    """Run a manifest's batch to its end, or resume it; return the exit code.

    Raises BatchrunnerError for everything a person can mend; nothing is sent or created if the manifest or the
    command line is wrong.
    """
    batch = load(asked.manifest, asked.options)
    secret = token(asked.token_file, os.environ)
    folder = asked.out / batch.name
    with ExitStack() as stack:
        stack.enter_context(hold(folder))
        ledger = stack.enter_context(Ledger.open(folder, batch.name))
        watchers = stack.enter_context(watching(asked, batch.name, folder, secret))
        return anyio.run(Night(batch, folder, secret, ledger, watchers).run)


@dataclass(slots=True)
class Night:
    """One run of one batch, from its parts to its exit code."""

    batch: Batch
    folder: Path
    secret: Secret | None
    ledger: Ledger
    watchers: Watching
    clock: LoopClock = field(default_factory=LoopClock)
    _clients: dict[str, comfy.Client] = field(default_factory=dict)
    _signal: signal.Signals = signal.SIGINT

    async def run(self) -> int:
        """Build, run, tell; return the exit code."""
        async with AsyncExitStack() as stack:
            http = await stack.enter_async_context(comfy.session())
            addresses = {}
            if SIM in self.batch.servers:
                addresses[SIM] = await stack.enter_async_context(built_in(self.folder, self.batch.rules))

            def client(url: str) -> comfy.Client:
                if url not in self._clients:
                    base = addresses.get(url, url)
                    self._clients[url] = comfy.Client(base, http, self.secret, nodes=self.batch.outputs)
                return self._clients[url]

            for warning in (*self.batch.warnings, *open_roads(self.batch.servers, self.secret)):
                self._warn(warning)
            return await self._drive(client)

    async def _drive(self, client: Callable[[str], comfy.Client]) -> int:
        jobs = self.ledger.jobs() | {job.id: job for job in self.batch.jobs}
        downloads = Downloads(self.folder, boot_id())
        board = await self._board(downloads)
        await self._preflight(board, client)
        shelf = Shelf(
            self.batch.name, self.folder, downloads, client, jobs, self.ledger, self._graph, time.time, self._warn
        )
        watchers = self.watchers
        onlooker = Onlooker(board, jobs, watchers.audience, self.clock.wall, lambda: downloads.transfers, watchers.beat)
        engine = Engine(
            board, self.ledger, shelf, self.clock, onlooker, comfy=client, body=self._body(jobs), boot=boot_id()
        )
        ending = await self._until_over(engine)
        with suppress(OSError):
            downloads.sweep()
        code = 128 + self._signal if board.leaving_at is not None else ending.exit
        tell(watchers, board, onlooker, ending, code)
        return code

    async def _board(self, downloads: Downloads) -> Board:
        """Return the board as the ledger left it, with what the manifest wants now."""
        now = self.clock.now()
        board = Board(self.batch.name, self._rules(), self.batch.servers, now)
        board.suffix = expected_suffix(self.batch.template.graph, self.batch.outputs)
        board.outputs = self.batch.outputs
        board.costs = {job.id: job.cost for job in self.batch.jobs}
        facts = tuple(self.ledger.facts())
        board.load(self.ledger.jobs(), facts, now)
        self.ledger.keep(self.batch.jobs)
        board.want([job.id for job in self.batch.jobs], self.batch.chosen, now)
        for url, server in board.servers.items():
            server.surveyed = surveyed(self.ledger.marks(), url)
        board.settled_in = settled_in(self.ledger.marks())
        if not board.settled_in:
            for home in await asyncio.get_running_loop().run_in_executor(None, downloads.scan, self.batch.name):
                if match := parse_prefix(self.batch.name, home.prefix):
                    board.homes[match[0]] = (match[1], home)
        return board

    async def _preflight(self, board: Board, client: Callable[[str], comfy.Client]) -> None:
        """Have the servers' own lists of nodes checked, unless prompts of ours are out there: those come first.

        Raises YoursError if a server can't run what is left; nothing was sent then.
        """
        left = [job for job in self.batch.jobs if isinstance(board.states[job.id], Waiting) and job.id in board.chosen]
        if not left or len(left) < len(board.unsettled):
            return
        missing, unknown = await ask_nodes(self.batch, left, client)
        for says in unknown:
            self._warn(says)
        if missing:
            raise YoursError("\n".join(missing))

    def _rules(self) -> Rules:
        """Return the manifest's rules; the built-in server renders in seconds, so it is looked at often."""
        rules = self.batch.rules
        often = rules.poll is None and self.batch.servers == (SIM,)
        return replace(rules, poll=_BUILT_IN_POLL) if often else rules

    async def _until_over(self, engine: Engine) -> Ending:
        def leave(number: signal.Signals) -> None:
            self._signal = number
            says = "stopping: what is rendered comes home first; once more to stop at once"
            self.watchers.audience.note(time.time(), says)
            engine.leave()

        with unwrapped():
            async with anyio.create_task_group() as crew:
                await crew.start(listen, leave, self.watchers.audience.close)
                ending = await engine.run()
                crew.cancel_scope.cancel()
        return ending

    def _body(self, jobs: Mapping[str, Job]) -> Callable[[Submit], bytes]:
        sender = client_id(self.batch.name)

        def body(action: Submit) -> bytes:
            return post_body(self.batch.graph(jobs[action.job], action.prefix), action.prompt, sender)

        return body

    def _graph(self, job: Job, prefix: str) -> Mapping[str, Json] | None:
        wanted = {job.id for job in self.batch.jobs}
        return self.batch.graph(job, prefix) if job.id in wanted else None

    def _warn(self, says: str) -> None:
        self.watchers.audience.note(time.time(), says)


def boot_id() -> str:
    """Return what names this boot of the machine; one of its own for each process where the system has none."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return f"process {os.getpid()} of {time.time()}"
