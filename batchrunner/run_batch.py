"""One run of one batch, from its parts to its exit code. The command, programs and tests build on it."""

from __future__ import annotations

import asyncio
import gc
import signal
import time
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import cache, partial
from threading import current_thread, main_thread
from typing import TYPE_CHECKING

import anyio

from batchrunner import consent
from batchrunner.build_board import build_board
from batchrunner.comfy import client as comfy
from batchrunner.comfy.submission import post_body
from batchrunner.core.eta import too_late
from batchrunner.core.exit import INTERRUPTED
from batchrunner.core.hours import Hours
from batchrunner.core.job import INPUTS, client_id, render_digest, with_stored_names
from batchrunner.core.server import SIM
from batchrunner.core.video import UNKNOWN
from batchrunner.download.folder import to_thread
from batchrunner.download.transfer import Downloader, room
from batchrunner.download_target import BatchFolder
from batchrunner.engine import Engine
from batchrunner.errors import YoursError, unwrapped
from batchrunner.hours import read_hours
from batchrunner.inputs import copy_inputs, make_frames
from batchrunner.learned_speeds import SpeedFile
from batchrunner.ledger import Ledger, hold
from batchrunner.manifest import load
from batchrunner.notify import SavedCommands, handled_mark, run_program, saved_json, shared_environment, targets
from batchrunner.options import RunOptions, read_token, read_until, token_warning
from batchrunner.preflight import check_servers
from batchrunner.process import (
    CANCEL,
    LoopClock,
    boot_id,
    check_names,
    environment,
    handle_signals,
    hide_secrets,
    kept_signals,
    raise_file_limit,
    signal_exit,
    simulator,
)
from batchrunner.progress import Displays, RunObserver, open_displays
from batchrunner.remembered import NO_MANIFEST, RECORD, recalled, record, verb_command, without_secrets
from batchrunner.servers import ServerAccess, secret_variables
from batchrunner.show.events import started_event
from batchrunner.show.status import missing_text, saved_files
from batchrunner.state import missing_files, read_state, running
from batchrunner.text import counted, listing
from batchrunner.workflow.asked import asked_video

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping
    from pathlib import Path

    from batchrunner.core.actions import Download, Submit
    from batchrunner.core.board import Board
    from batchrunner.core.job import Job, Json
    from batchrunner.core.video import Video
    from batchrunner.ledger import Snapshot
    from batchrunner.manifest import Batch
    from batchrunner.notify import Target
    from batchrunner.options import Until

_MAX_NAMED = 5
"""Jobs that are named where many could be."""


def ask_consent(options: RunOptions, batch: Batch, *, may_restart: bool) -> tuple[str, ...]:
    """Ask for everything that a run of `batch` needs consent for; return the marks to keep, as `consent.obtain` does.

    Where something does, this process may begin anew first, to keep its secrets from what it will start.
    """
    requests = consent.requests(batch)
    if not requests:
        return ()
    if may_restart:
        hide_secrets(secret_variables(batch))
    snapshot = read_state(options.out / batch.name, batch.name)
    known = {**(snapshot.marks if snapshot else {}), **dict.fromkeys(options.agreed, True)}
    may_ask = options.caller is None
    return *options.agreed, *consent.obtain(requests, known, allowed=options.allow_commands, may_ask=may_ask)


def check_options(options: RunOptions, batch: Batch) -> tuple[ServerAccess, Until | None, str, tuple[Target, ...]]:
    """Return what options and environment say of a run of `batch`: who gets what, until when, at which hours.

    Raises YoursError for what is wrong with them; nothing is created.
    """
    check_names(job.file for job in batch.jobs)
    access = ServerAccess(batch, read_token(options.token_file, environment()), environment())
    hh_mm = options.until or batch.until
    until = read_until(hh_mm, options.began or time.time()) if hh_mm else None
    hours = options.hours or batch.hours
    if hours:
        read_hours(hours)
    return access, until, hours, targets(batch.notify, environment(), access.secrets)


def run_batch(
    options: RunOptions, *, may_restart: bool = False, remember: bool = True, jobs: frozenset[str] | None = None
) -> int:
    """Run a manifest's batch to its end, or resume it; return the exit code.

    `may_restart`: this process is the command's own, and may begin anew to keep its secrets from other programs.
    `remember`: the batch remembers from now on that it was run so.
    `jobs`: run only these, in place of those that the options choose.
    Raises BatchrunnerError for everything a person can correct; nothing is sent or created if the manifest or the
    command line is wrong.
    """
    chosen = options.manifest_options.only if jobs is None else ()
    batch = load(options.manifest, replace(options.manifest_options, only=chosen, out=options.out))
    if jobs is not None:
        batch = replace(batch, chosen=jobs)
    folder = options.out / batch.name
    agreed = ask_consent(options, batch, may_restart=may_restart)
    access, until, hours, recipients = check_options(options, batch)
    with ExitStack() as stack:
        stack.enter_context(kept_signals())
        stack.enter_context(hold(folder))
        ledger = stack.enter_context(Ledger.open(folder, batch.name))
        for request in agreed:
            ledger.mark(request, value=True)
        content = ledger.content()
        access.remember(content.marks)
        for place, url in access.places().items():
            if content.marks.get(place) != url:
                ledger.mark(place, value=url)
        gc.freeze()  # what a large batch's ledger holds stays for the whole run: nobody need walk it for garbage
        stack.callback(gc.unfreeze)
        stack.enter_context(running(ledger, content, time.time))
        displays = stack.enter_context(open_displays(options, content, recipients, access.secrets))
        if until:
            displays.warn(until.message)
        files = raise_file_limit(len(batch.servers), batch.rules.downloads)
        for warning in filter(None, (files.warning, token_warning(options.token_file))):
            displays.warn(warning)
        batch = replace(batch, rules=replace(batch.rules, downloads=files.downloads))
        run = Run(
            batch,
            folder,
            access,
            ledger,
            displays,
            content=content,
            until=until.at if until else None,
            hours=hours,
            limit=options.limit,
            speeds=options.out,
            record=record(without_secrets(options, access.secrets)) if remember else None,
            started=options.caller.started if options.caller else None,
        )
        return anyio.run(run.run)


@dataclass(slots=True)
class Run:
    """One run of a batch whose folder is locked and whose ledger is open. It may be run once."""

    batch: Batch
    folder: Path
    access: ServerAccess
    ledger: Ledger
    displays: Displays
    _: KW_ONLY
    content: Snapshot | None = None
    """What the ledger holds, if it was read already."""
    until: float | None = None
    """When everything must be downloaded, in seconds since the epoch; None for no limit."""
    hours: str = ""
    """When prompts may be submitted, `22:00-07:00`; empty for always."""
    limit: int | None = None
    """How many jobs that are still to do."""
    speeds: Path | None = None
    """The folder that holds what servers taught other batches; None to neither read nor keep it."""
    started: Callable[[Callable[[], object]], None] | None = None
    """Told how to stop the run, from any thread."""
    record: Json = None
    """What is to be remembered of this run (`remembered.record`), if anything."""
    clock: LoopClock = field(default_factory=LoopClock)
    boot: str = field(default_factory=boot_id)
    """The id of this boot of the machine."""
    _signal: signal.Signals = signal.SIGINT
    _stop: Callable[[], None] = field(init=False)
    """What `stop` does at this moment."""

    async def run(self) -> int:
        """Run the batch; return the exit code, for a signal `signal_exit`."""
        async with AsyncExitStack() as stack:
            if self.displays.notifier:
                await stack.enter_async_context(self.displays.notifier.running())
            client = await self.connect(stack)
            for warning in (*self.batch.warnings, *self.access.insecure()):
                self.displays.warn(warning)
            code: int | None = None
            with unwrapped():
                async with anyio.create_task_group() as task_group:
                    self._stop = task_group.cancel_scope.cancel
                    if current_thread() is main_thread():
                        await task_group.start(handle_signals, self.stop, self.displays.listeners.close)
                    if self.started:
                        loop = asyncio.get_running_loop()
                        self.started(partial(loop.call_soon_threadsafe, self.stop, signal.SIGINT))
                    code = await self._run(client)
                    task_group.cancel_scope.cancel()
            return signal_exit(self._signal) if code is None else code

    def stop(self, number: signal.Signals) -> None:
        """Submit nothing new, download what is rendered, and end with `signal_exit(number)`. Only while `run` runs."""
        self._signal = number
        self._stop()

    async def connect(self, stack: AsyncExitStack) -> Callable[[str], comfy.Client]:
        """Return what gives the client of a server by its name; what that opens is closed with `stack`."""
        http = await stack.enter_async_context(comfy.session())
        addresses: dict[str, str] = {}
        if SIM in self.batch.servers:
            addresses[SIM] = await stack.enter_async_context(
                simulator(self.folder, self.batch.rules.ttl, self.displays.warn)
            )

        @cache
        def client(name: str) -> comfy.Client:
            if self.access.secrets and not self.access.is_named(name):
                self.displays.warn(
                    f"{name} is in the state of an earlier run and not in the manifest: it is asked without the token; "
                    "--server names it again"
                )
            url = addresses.get(name) or self.access.url(name)
            inputs = self.folder / INPUTS
            return comfy.Client(url, http, self.access.credentials(name), nodes=self.batch.outputs, inputs=inputs)

        return client

    async def build_board(self, downloader: Downloader) -> tuple[Board, Mapping[str, Job]]:
        """Return the board, and every job that the ledger or the manifest knows, by id."""
        content = self.content = self.content or self.ledger.content()
        board = await build_board(
            self.batch, self.ledger, content, downloader, self.clock.now(), limit=self.limit, speeds=self.speeds
        )
        return board, {**content.jobs, **{job.id: job for job in self.batch.jobs}}

    async def _run(self, client: Callable[[str], comfy.Client]) -> int:
        self.batch = await to_thread(make_frames, self.folder, self.batch)
        params = {job.id: job.params for job in self.batch.jobs}

        def asked(action: Download) -> Video:
            known = action.job in params
            return asked_video(self.batch.template, params[action.job], action.file.node) if known else UNKNOWN

        downloader = Downloader(self.folder, self.boot, warn=self.displays.warn)
        downloader.asked = asked
        board, jobs = await self.build_board(downloader)
        await self._preflight(board, client)
        self._remember()
        await copy_inputs(self.folder, replace(self.batch, chosen=frozenset(board.chosen)), board.states)
        self._find_missing(board)
        listeners, warn, wall = self.displays.listeners, self.displays.warn, self.clock.wall
        listeners.event(started_event(wall(), str(self.folder.absolute())))
        self._set_until(board, jobs)
        unknown = [name for name in self.batch.servers if name != SIM and not board.forecast.has_experience(name)]
        if self.speeds and unknown and board.waiting:
            warn(f"no experience with {listing(unknown, _MAX_NAMED, 100)} and this workflow yet: times are a guess")
        observer = RunObserver(
            board,
            jobs,
            listeners,
            wall,
            downloader.transfers.values,
            self.displays.interval,
            self.displays.gallery,
            self.hours,
            SpeedFile(self.speeds, self.batch, board, wall) if self.speeds else None,
            partial(room, self.folder),
        )
        current = {job.id for job in self.batch.jobs}
        sender = client_id(self.batch.name)

        def graph(job: Job, prefix: str) -> Json:
            return self.batch.graph(job, prefix) if job.id in current else None

        def body(action: Submit) -> bytes:
            workflow = self.batch.graph(jobs[action.job], action.prefix)
            return post_body(with_stored_names(workflow, action.inputs), action.prompt, sender)

        def renders(action: Download) -> str:
            workflow = graph(jobs[action.job], action.prefix)
            return render_digest(workflow) if workflow else ""

        downloader.renders = renders
        parts = (self.batch.name, self.folder, downloader, client, jobs, self.ledger, graph, wall, warn)
        target = BatchFolder(*parts, self.batch.labels)
        engine = Engine(
            board,
            self.ledger,
            target,
            self.clock,
            observer,
            comfy=client,
            body=body,
            boot=self.boot,
            redact=self.access.redact,
            transfers=downloader.seen,
        )

        def finish_downloads() -> None:
            warn("Finishing downloads. Press Ctrl-C again to quit now.")
            engine.leave()

        self._stop = finish_downloads
        async with self._saved_commands(board, jobs, observer) as saved_commands:
            ending = await engine.run()
            self._stop = lambda: warn("Sending notifications. Press Ctrl-C again to quit now.")
        if observer.speeds:
            observer.speeds.update(last=True)
        with suppress(OSError):
            downloader.sweep()
        stopped = ending.exit == INTERRUPTED
        code = signal_exit(self._signal) if stopped else ending.exit
        await self.displays.finish(
            observer,
            ending,
            code,
            cancelled=stopped and self._signal == CANCEL,
            unhandled=saved_commands.left if saved_commands else 0,
        )
        return code

    @asynccontextmanager
    async def _saved_commands(
        self, board: Board, jobs: Mapping[str, Job], observer: RunObserver
    ) -> AsyncIterator[SavedCommands | None]:
        """Run `on_saved`, if there is one, for every file that is saved, and those it has not handled yet."""
        if not self.batch.on_saved:
            yield None
            return
        shared = shared_environment(environment(), self.access.secrets)
        folder = str(self.folder.absolute())
        commands = SavedCommands(
            lambda saved: saved_json(self.batch.name, folder, jobs[saved.job], saved),
            lambda body, limit: run_program(self.batch.on_saved, shared, body, limit),
            lambda mark: self.ledger.mark(mark, value=True),
            self.displays.warn,
        )
        marks = self.ledger.marks()
        for job in board.positions:
            for saved in saved_files(board.states[job]):
                if handled_mark(saved) not in marks:
                    commands.put(saved)
        observer.saved = commands.put
        async with commands.running():
            yield commands

    async def _preflight(self, board: Board, client: Callable[[str], comfy.Client]) -> None:
        """Check whether the servers can run the batch, unless prompts of ours are out there: those come first.

        Raises YoursError, with nothing sent, if a server can't run what is left, or if the batch never ran and all
        that answers at its addresses is for a person to correct: a proxy may answer so while its server is down.
        """
        if not board.waiting or len(board.waiting) < len(board.unsettled):
            return
        first = not any(state.past.highest for state in board.states.values())
        stopping, warnings = await check_servers(self.batch, client, first=first)
        for message in warnings:
            self.displays.warn(message)
        if stopping:
            raise YoursError("\n".join(stopping))

    def _remember(self) -> None:
        """Keep the manifest's jobs, and how the batch is run: only now, for what is refused leaves it as it was."""
        content = self.content or self.ledger.content()
        if content.current != list(self.batch.jobs):
            self.ledger.keep(self.batch.jobs)
            self._tell_other_sets(content)
        if self.record is not None and content.marks.get(RECORD) != self.record:
            self.ledger.mark(RECORD, self.record)

    def _tell_other_sets(self, content: Snapshot) -> None:
        """Warn of jobs that leave the batch because this run has other `--set` values than the last one."""
        last = recalled(content.marks, RunOptions(NO_MANIFEST)).manifest_options.sets
        gone = {job.id for job in content.current} - {job.id for job in self.batch.jobs}
        if gone and last != self.displays.options.manifest_options.sets:
            had = " ".join(f"--set {name}={value}" for name, value in last) or "no --set"
            self.displays.warn(f"{counted(len(gone), 'job')} of the last run left the batch: it had {had}")

    def _find_missing(self, board: Board) -> None:
        """Warn of saved files that are not in the folder any more: a person may have deleted them, or a disk."""
        board.missing_files = tuple(missing_files(self.folder, (board.states[job] for job in board.positions)))
        if board.missing_files:
            command = verb_command(self.displays.options, self.batch.name, "verify", "--redo")
            self.displays.warn(f"{missing_text(board.missing_files)}; to render them again: {command}")

    def _set_until(self, board: Board, jobs: Mapping[str, Job]) -> None:
        """Set the hours, and the time by which everything must be downloaded; warn of jobs that will not be."""
        if self.hours:
            board.hours = Hours(read_hours(self.hours))
        if self.until is None:
            return
        now = self.clock.now()
        board.until_wall = self.until
        board.tick(now, self.clock.wall())
        late = list(too_late(board, now))
        if late:
            named = ", ".join(jobs[job].file for job in late[:_MAX_NAMED])
            more = f" and {len(late) - _MAX_NAMED} more" if len(late) > _MAX_NAMED else ""
            self.displays.warn(f"{len(late)} of {len(board.waiting)} jobs will not be finished in time: {named}{more}")
