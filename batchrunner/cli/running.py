"""`run`: the parts are built here, the engine runs, and the ending is told."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import time
from contextlib import AsyncExitStack, ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from batchrunner.cli.boarding import board_of
from batchrunner.cli.builtin import built_in
from batchrunner.cli.ending import LastWords
from batchrunner.cli.gallery import Gallery, options_of
from batchrunner.cli.handles import take_handles
from batchrunner.cli.onlooker import Onlooker
from batchrunner.cli.preflight import check_servers, open_roads
from batchrunner.cli.shelf import Shelf
from batchrunner.cli.signals import listen
from batchrunner.cli.token import token
from batchrunner.cli.until import read_until
from batchrunner.cli.watching import Watching, watching
from batchrunner.comfy import client as comfy
from batchrunner.comfy.submission import post_body
from batchrunner.core.eta import too_late
from batchrunner.core.exit import INTERRUPTED
from batchrunner.core.identity import client_id
from batchrunner.core.server import SIM
from batchrunner.download.transfer import Downloader
from batchrunner.engine import Engine
from batchrunner.errors import YoursError, unwrapped
from batchrunner.ledger import Ledger, hold
from batchrunner.manifest import load
from batchrunner.notify import Notifier, targets

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batchrunner.cli.asked import Asked
    from batchrunner.comfy.secret import Secret
    from batchrunner.core.actions import Submit
    from batchrunner.core.board import Board
    from batchrunner.core.exit import Exit
    from batchrunner.core.identity import Json
    from batchrunner.core.job import Job
    from batchrunner.ledger import Snapshot
    from batchrunner.manifest import Batch

_NAMED = 5
"""Jobs that are named where many could be."""
_BOOT = Path("/proc/sys/kernel/random/boot_id")


class LoopClock:
    """The event loop's clock, and the wall's."""

    def now(self) -> float:
        """Seconds on the loop's clock."""
        return asyncio.get_running_loop().time()

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
    hh_mm = asked.until or batch.until
    until = read_until(hh_mm, time.time()) if hh_mm else None
    addressees = targets(batch.notify, os.environ, secret.reveal() if secret else "")
    folder = asked.out / batch.name
    with ExitStack() as stack:
        stack.enter_context(hold(folder))
        ledger = stack.enter_context(Ledger.open(folder, batch.name))
        watchers = stack.enter_context(watching(asked, batch.name, folder, secret))
        notifier = Notifier(batch.name, addressees, lambda says: watchers.audience.note(time.time(), says))
        watchers.audience.join(notifier)
        warn = watchers.audience.note
        content = ledger.content()
        gc.freeze()  # what a large batch's ledger holds stays for the whole run: nobody need walk it for garbage
        gallery = Gallery(
            folder,
            batch.name,
            str(asked.manifest),
            options_of(asked),
            time.time,
            lambda says: warn(time.time(), says),
            list(content.facts),
        )
        last = LastWords(watchers, notifier, gallery)
        if until:
            warn(time.time(), until.message)
        handles = take_handles(len(batch.servers), batch.rules.downloads)
        if handles.warning:
            warn(time.time(), handles.warning)
        batch = replace(batch, rules=replace(batch.rules, downloads=handles.downloads))
        ends = until.at if until else None
        return anyio.run(Night(batch, folder, secret, ledger, watchers, ends, last, content).run)


def boot_id() -> str:
    """Return what names this boot of the machine; one of its own for each process where the system has none."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return f"process {os.getpid()} of {time.time()}"


@dataclass(slots=True)
class Night:
    """One run of one batch, from its parts to its exit code."""

    batch: Batch
    folder: Path
    secret: Secret | None
    ledger: Ledger
    watchers: Watching
    until: float | None = None
    """When everything must be home, in seconds since the epoch; None for all the time in the world."""
    last: LastWords | None = None
    """Who keeps the page and who is told elsewhere; by itself, a run is only watched."""
    content: Snapshot | None = None
    """What the ledger held when it was opened, if it was read."""
    clock: LoopClock = field(default_factory=LoopClock)
    boot: str = field(default_factory=boot_id)
    """Names the boot of this machine."""
    _clients: dict[str, comfy.Client] = field(default_factory=dict)
    _signal: signal.Signals = signal.SIGINT
    _leave: Callable[[], None] = field(init=False)
    """What the first signal does at this moment."""

    async def run(self) -> int:
        """Build, run, tell; return the exit code."""
        async with AsyncExitStack() as stack:
            if self.last and self.last.notifier:
                await stack.enter_async_context(self.last.notifier.running())
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
        """Go through the night with an ear for signals, from the first question to the last word."""
        code: int | None = None
        with unwrapped():
            async with anyio.create_task_group() as crew:
                self._leave = crew.cancel_scope.cancel
                await crew.start(listen, self._signalled, self.watchers.audience.close)
                code = await self._night(client)
                crew.cancel_scope.cancel()
        return 128 + self._signal if code is None else code

    async def _night(self, client: Callable[[str], comfy.Client]) -> int:
        downloads = Downloader(self.folder, self.boot)
        content = self.content or self.ledger.content()
        board = await board_of(self.batch, self.ledger, downloads, self.clock.now(), content)
        jobs = {**content.jobs, **{job.id: job for job in self.batch.jobs}}
        await self._preflight(board, client)
        self._limit(board, jobs)
        last = self.last or LastWords(self.watchers)
        onlooker = Onlooker(
            board,
            jobs,
            self.watchers.audience,
            self.clock.wall,
            lambda: downloads.transfers,
            self.watchers.beat,
            last.gallery,
        )
        engine = Engine(
            board,
            self.ledger,
            self._shelf(downloads, client, jobs),
            self.clock,
            onlooker,
            comfy=client,
            body=self._body(jobs),
            boot=self.boot,
        )
        ending = await self._until_over(engine)
        with suppress(OSError):
            downloads.sweep()
        code = 128 + self._signal if ending.exit == INTERRUPTED else ending.exit
        await last.say(board, onlooker, ending, code)
        return code

    def _shelf(self, downloads: Downloader, client: Callable[[str], comfy.Client], jobs: Mapping[str, Job]) -> Shelf:
        wanted = {job.id for job in self.batch.jobs}

        def graph(job: Job, prefix: str) -> Mapping[str, Json] | None:
            return self.batch.graph(job, prefix) if job.id in wanted else None

        return Shelf(
            self.batch.name, self.folder, downloads, client, jobs, self.ledger, graph, self.clock.wall, self._warn
        )

    def _body(self, jobs: Mapping[str, Job]) -> Callable[[Submit], bytes]:
        sender = client_id(self.batch.name)

        def body(action: Submit) -> bytes:
            return post_body(self.batch.graph(jobs[action.job], action.prefix), action.prompt, sender)

        return body

    async def _preflight(self, board: Board, client: Callable[[str], comfy.Client]) -> None:
        """Have the servers' own lists of nodes checked, unless prompts of ours are out there: those come first.

        Raises YoursError if a server can't run what is left, or if the batch never ran and all that answers at its
        addresses is for a person to mend: a proxy may answer so while its server is down. Nothing was sent then.
        """
        if not board.waiting or len(board.waiting) < len(board.unsettled):
            return
        first = not any(state.past.highest for state in board.states.values())
        stopping, warnings = await check_servers(self.batch, client, first=first)
        for says in warnings:
            self._warn(says)
        if stopping:
            raise YoursError("\n".join(stopping))

    def _limit(self, board: Board, jobs: Mapping[str, Job]) -> None:
        """Set the time by which all must be home, and say beforehand what will not fit."""
        if self.until is None:
            return
        now = self.clock.now()
        board.until_wall = self.until
        board.tick(now, self.clock.wall())
        late = list(too_late(board, now))
        if late:
            named = ", ".join(jobs[job].file for job in late[:_NAMED])
            more = f" and {len(late) - _NAMED} more" if len(late) > _NAMED else ""
            self._warn(f"{len(late)} of {len(board.waiting)} jobs will not be home in time: {named}{more}")

    async def _until_over(self, engine: Engine) -> Exit:
        def leave() -> None:
            self._warn("stopping: what is rendered comes home first; once more to stop at once")
            engine.leave()

        def over() -> None:
            self._warn("the run is over, and this is told first; once more to stop at once")

        self._leave = leave
        ending = await engine.run()
        self._leave = over
        return ending

    def _signalled(self, number: signal.Signals) -> None:
        self._signal = number
        self._leave()

    def _warn(self, says: str) -> None:
        self.watchers.audience.note(self.clock.wall(), says)
