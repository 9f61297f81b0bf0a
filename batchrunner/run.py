"""One run of one batch, from its parts to its exit code."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import shutil
import signal
import sys
import time
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import anyio

from batchrunner.batch import renders, sound
from batchrunner.comfy import client as comfy
from batchrunner.comfy.submission import post_body
from batchrunner.core.actions import Downloaded
from batchrunner.core.board import Board
from batchrunner.core.eta import too_late
from batchrunner.core.exit import INTERRUPTED
from batchrunner.core.facts import Saved
from batchrunner.core.job import client_id, parse_prefix, render_digest
from batchrunner.core.lifecycle import Done
from batchrunner.core.localfault import Allotment, allot
from batchrunner.core.notes import AttemptSeen, Surveyed
from batchrunner.core.server import SIM
from batchrunner.download.transfer import Downloader, final_stem
from batchrunner.engine import IMPORTED, Engine, imported, surveyed
from batchrunner.errors import LocalError, YoursError, unwrapped
from batchrunner.ledger import Ledger, hold
from batchrunner.manifest import load
from batchrunner.notify import Notifier, targets
from batchrunner.options import options_of, read_until, token
from batchrunner.preflight import check_servers, insecure_urls
from batchrunner.progress import LastWords, RunObserver, Watching, watching
from batchrunner.show.gallery.live import Gallery
from batchrunner.show.sidecar import beside, sidecar, write
from batchrunner.sim.machine import Pace
from batchrunner.sim.server import Simulator, serve
from batchrunner.sim.video import PyavRenderer
from batchrunner.workflow.graph import expected_file

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from anyio.abc import TaskStatus

    from batchrunner.comfy.secret import Secret
    from batchrunner.core.actions import Download, DownloadEnd, LocalFile, Submit
    from batchrunner.core.exit import Exit
    from batchrunner.core.job import Job, Json
    from batchrunner.core.settings import Rules
    from batchrunner.download.transfer import Source
    from batchrunner.ledger import Snapshot
    from batchrunner.manifest import Batch
    from batchrunner.options import Asked

# -- The built-in ComfyUI of `server: sim`: in this very process, on a loopback port, gone with it.


_FOLDER = ".sim"
_PACE = Pace(fixed=0.8)
"""Slow enough to watch, fast enough to try things out."""


@asynccontextmanager
async def built_in(folder: Path, rules: Rules) -> AsyncIterator[str]:
    """Run a simulator with its files under the batch's own `folder`; yield its URL.

    Raises LocalError if that can't be, NoVideoError if PyAV, with which it makes real videos, is not installed.
    """
    own = folder / _FOLDER
    renderer = PyavRenderer()
    shutil.rmtree(own, ignore_errors=True)
    try:
        own.mkdir(parents=True)
        simulator = Simulator(own, pace=_PACE, renderer=renderer, ttl=rules.ttl, strict=False)
    except OSError as error:
        raise LocalError(f"{own}: can't create this folder: {error.strerror or error}") from None
    try:
        async with serve(simulator) as url:
            yield url
    finally:
        shutil.rmtree(own, ignore_errors=True)


# -- The open files of this process: as many as its servers need, if the system lets us.


def take_handles(servers: int, downloads: int) -> Allotment:
    """Raise the soft limit of open files as far as that many servers need; return what it allows."""
    soft, hard = (_number(limit) for limit in resource.getrlimit(resource.RLIMIT_NOFILE))
    wanted = allot(servers, downloads, soft, hard)
    if wanted.limit > soft:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted.limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        except (OSError, ValueError):  # macOS has a lower limit of its own beside an infinite one
            return allot(servers, downloads, soft, soft)
    return wanted


def _number(limit: int) -> int:
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit


# -- Videos come home: one download, then the sidecar beside it.


@dataclass(frozen=True, slots=True)
class DownloadTarget:
    """Where one batch's files come home to."""

    batch: str
    folder: Path
    downloads: Downloader
    source: Callable[[str], Source]
    """The server to ask, by its URL."""
    jobs: Mapping[str, Job]
    ledger: Ledger
    graph: Callable[[Job, str], Mapping[str, Json] | None]
    """The workflow of a job as it was sent under a prefix; None for a job that is no longer in the manifest."""
    wall: Callable[[], float]
    warn: Callable[[str], None]

    async def fetch(self, action: Download, opened: Callable[[str, int, str], None]) -> DownloadEnd:
        """Bring one file home and describe it."""
        job = self.jobs[action.job]
        graph = self.graph(job, action.prefix)
        workflow = None if graph is None else dict(graph)
        renders = "" if workflow is None else render_digest(workflow)
        end = await self.downloads.fetch(action, self.source(action.server), job.file, opened, renders)
        if isinstance(end, Downloaded):
            await self._describe(job, action, end, workflow)
        return end

    async def _describe(self, job: Job, action: Download, got: Downloaded, workflow: Json) -> None:
        """Write the sidecar before the file counts as saved; failing to costs a warning, not the video."""
        saved = Saved(job.id, action.attempt, self.wall(), action.file.key, got.path, got.size, got.sha256)
        content = sidecar(self.batch, job, self.ledger.story(job.id), saved, workflow)
        path = self.folder / beside(got.path)
        try:
            await asyncio.get_running_loop().run_in_executor(None, write, path, content)
        except LocalError as error:
            self.warn(str(error))


# -- Ctrl-C once: finish what is rendered and go. Twice: out at once. The state is valid either way.


def wanted() -> list[signal.Signals]:
    """Return the signals to listen to; a hang-up that is ignored already (nohup) stays ignored."""
    signals = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    return signals


async def listen(
    leave: Callable[[signal.Signals], None],
    out: Callable[[], None],
    *,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Call `leave` on the first signal; on the second call `out` to tidy the terminal, and end the process."""
    first = True
    with anyio.open_signal_receiver(*wanted()) as signals:
        task_status.started()
        async for number in signals:
            if not first:
                out()
                os._exit(128 + number)
            first = False
            leave(signal.Signals(number))


# -- The board as a run begins with it: what the ledger remembers, what the manifest wants, what lies at home.


_BUILT_IN_POLL = 0.2


async def board_of(
    batch: Batch, ledger: Ledger, downloads: Downloader, now: float, content: Snapshot | None = None
) -> Board:
    """Return the board of `batch`; its jobs are in the ledger from now on. `content` is what it held, if it was read.

    Raises StateError if they can't be kept, or if what the ledger holds can't be true.
    """
    board = Board(batch.name, _rules(batch), batch.servers, now)
    board.first_file = expected_file(batch.template.graph)
    board.outputs = batch.outputs
    board.renders = renders(batch)
    board.costs = {job.id: job.cost for job in batch.jobs}
    content = content or ledger.content()
    with sound(batch.name):
        board.load(content.jobs, content.facts, now)
    if list(content.jobs.values()) != list(batch.jobs):
        ledger.keep(batch.jobs)
    board.want([job.id for job in batch.jobs], batch.chosen, now)
    for name in list(board.servers):
        if surveyed(content.marks, name):
            board.apply(Surveyed(name))
    board.imported = imported(content.marks)
    await _find_at_home(board, downloads, batch)
    if board.imported and board.local_files:
        board.imported = False
        ledger.mark(IMPORTED, value=False)
    return board


async def _find_at_home(board: Board, downloads: Downloader, batch: Batch) -> None:
    """Find the files on our own disk that the ledger does not know, by the prefix they carry or their sidecar names.

    A new ledger looks at every file. One that has settled in may still be older than what lies there, as a backup is:
    it looks under the names of what it believes is not home, for attempts that it has not heard of. An attempt of which
    not every save node has a file here is left for its server to tell, else for another attempt. A file that carries
    our prefix and another workflow than its job's is somebody else's; its attempt number is not used.
    """
    missing = [job for job in batch.jobs if not isinstance(board.states[job.id], Done)]
    if board.imported and not missing:
        return
    least = {job.id: _least(batch, job) for job in batch.jobs}
    names = {final_stem(job.file, index) for job in missing for index in range(least[job.id])}
    stems = names if board.imported else None
    found: dict[str, dict[str, LocalFile]] = {}
    for home in await asyncio.get_running_loop().run_in_executor(None, downloads.scan, board.batch, stems):
        if _is_own(board, home):
            found.setdefault(home.prefix, {})[home.sha256] = home
    for prefix, local_files in found.items():
        match = parse_prefix(board.batch, prefix)
        if match is None or len(local_files) < least.get(match[0], len(local_files) + 1):
            continue
        if not (board.imported and _has_heard(board, *match)):
            board.local_files[match[0]] = (match[1], tuple(local_files.values()))


def _is_own(board: Board, home: LocalFile) -> bool:
    """Whether a file renders its job as far as that can be told; if not, its attempt is noted as seen."""
    job, attempt = parse_prefix(board.batch, home.prefix) or ("", 0)
    if not home.digest or board.is_own(job, home.digest):
        return True
    board.apply(AttemptSeen(job, max(board.seen.get(job, 0), attempt)))
    return False


def _least(batch: Batch, job: Job) -> int:
    """Return how many files a render of a job has at least: one of each node that keeps what it saves."""
    kept = batch.template.keeps(job.params)
    return max(1, sum(batch.outputs is None or node in batch.outputs for node in kept))


def _has_heard(board: Board, job: str, attempt: int) -> bool:
    return job not in board.states or attempt <= board.states[job].past.highest


def _rules(batch: Batch) -> Rules:
    """Return the manifest's rules; the built-in server renders in seconds, so it is looked at often."""
    often = batch.rules.poll is None and batch.servers == (SIM,)
    return replace(batch.rules, poll=_BUILT_IN_POLL) if often else batch.rules


# -- `run`: the parts are built here, the engine runs, and the ending is told.


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
    recipients = targets(batch.notify, os.environ, secret.reveal() if secret else "")
    folder = asked.out / batch.name
    with ExitStack() as stack:
        stack.enter_context(hold(folder))
        ledger = stack.enter_context(Ledger.open(folder, batch.name))
        watchers = stack.enter_context(watching(asked, batch.name, folder, secret))
        notifier = Notifier(batch.name, recipients, lambda message: watchers.audience.note(time.time(), message))
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
            lambda message: warn(time.time(), message),
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

            for warning in (*self.batch.warnings, *insecure_urls(self.batch.servers, self.secret)):
                self._warn(warning)
            return await self._drive(client)

    async def _drive(self, client: Callable[[str], comfy.Client]) -> int:
        """Go through the night with an ear for signals, from the first question to the last word."""
        code: int | None = None
        with unwrapped():
            async with anyio.create_task_group() as task_group:
                self._leave = task_group.cancel_scope.cancel
                await task_group.start(listen, self._signalled, self.watchers.audience.close)
                code = await self._night(client)
                task_group.cancel_scope.cancel()
        return 128 + self._signal if code is None else code

    async def _night(self, client: Callable[[str], comfy.Client]) -> int:
        downloads = Downloader(self.folder, self.boot)
        content = self.content or self.ledger.content()
        board = await board_of(self.batch, self.ledger, downloads, self.clock.now(), content)
        jobs = {**content.jobs, **{job.id: job for job in self.batch.jobs}}
        await self._preflight(board, client)
        self._limit(board, jobs)
        last = self.last or LastWords(self.watchers)
        run_observer = RunObserver(
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
            run_observer,
            comfy=client,
            body=self._body(jobs),
            boot=self.boot,
        )
        ending = await self._until_over(engine)
        with suppress(OSError):
            downloads.sweep()
        code = 128 + self._signal if ending.exit == INTERRUPTED else ending.exit
        await last.say(board, run_observer, ending, code)
        return code

    def _shelf(
        self, downloads: Downloader, client: Callable[[str], comfy.Client], jobs: Mapping[str, Job]
    ) -> DownloadTarget:
        wanted = {job.id for job in self.batch.jobs}

        def graph(job: Job, prefix: str) -> Mapping[str, Json] | None:
            return self.batch.graph(job, prefix) if job.id in wanted else None

        return DownloadTarget(
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
        for message in warnings:
            self._warn(message)
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

    def _warn(self, message: str) -> None:
        self.watchers.audience.note(self.clock.wall(), message)
