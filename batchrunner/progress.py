"""What people and programs see of a run: the displays, what the engine shows them, and the summary at the end."""

from __future__ import annotations

import io
import math
import os
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import anyio
from rich.console import Console

from batchrunner.core.eta import is_guess, progress, time_left
from batchrunner.core.facts import Saved
from batchrunner.core.lifecycle import Queued
from batchrunner.core.server import SIM
from batchrunner.core.sizes import disk_shortage
from batchrunner.errors import BatchrunnerError
from batchrunner.hours import hours_text
from batchrunner.notify import Notifier
from batchrunner.options import RunOptions
from batchrunner.remembered import NO_MANIFEST, going_on, run_context, without_secrets
from batchrunner.show.events import finished_event
from batchrunner.show.gallery import Gallery
from batchrunner.show.listeners import EventDocuments, JsonLines, Listeners, Reporter, RunLog, TextLines
from batchrunner.show.live import DownloadView, LiveBoard, board_view
from batchrunner.show.log import FileOutput, StreamOutput, console_log, file_log
from batchrunner.show.report import LONGEST_COMMAND, next_command, report_lines
from batchrunner.show.runner import RunnerFile
from batchrunner.show.status import disk_text
from batchrunner.state import past_runs
from batchrunner.text import clock, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from batchrunner.core.board import Board
    from batchrunner.core.exit import Exit
    from batchrunner.core.facts import Fact
    from batchrunner.core.job import Job
    from batchrunner.learned_speeds import SpeedFile
    from batchrunner.ledger import Snapshot
    from batchrunner.notify import Target
    from batchrunner.show.listeners import Listener
    from batchrunner.show.live import BoardView

_LOG = "run.log"
_TERMINAL_INTERVAL = 0.5
_LOG_INTERVAL = 5.0
_ETA_INTERVAL = 5.0
"""Seconds between two forecasts: one costs as much as there is left to do."""
_CANCELLED = "stopped by cancel; its jobs are rendered when the batch is run again"
_DISK_INTERVAL = 60.0
_MAX_LINE = 1000


@dataclass(frozen=True, slots=True)
class Displays:
    """Everything that shows a run, and everybody who is told of it."""

    listeners: Listeners
    """`run.log`, the live board or plain lines, JSON, notifications."""
    console: StreamOutput
    """Lines for people, below or instead of the live board."""
    interval: float
    """Seconds between two updates of the board."""
    notifier: Notifier | None = None
    gallery: Gallery | None = None
    options: RunOptions = field(default_factory=lambda: RunOptions(NO_MANIFEST))
    """How the batch is run, without secrets."""

    def warn(self, message: str) -> None:
        """Tell people something about no job in particular."""
        self.listeners.note(time.time(), message)

    async def finish(
        self, observer: RunObserver, ending: Exit, code: int, *, cancelled: bool = False, unhandled: int = 0
    ) -> None:
        """Write the report, send what is still to be sent, and print how the run ended and what to do next.

        `cancelled`: what the servers still render is removed next, and nothing of it can be downloaded.
        `unhandled`: how many saved files `on_saved` is still to handle.
        """
        board = observer.board
        tally, command = board.tally(), ""
        why, rendering = [_CANCELLED], list[str]()
        if not cancelled:
            why, rendering = ending.message.splitlines(), list(_still_rendering(observer, anyio.current_time()))
        if self.gallery:
            wanted = [observer.jobs[job] for job in board.positions]
            after = run_context(going_on(self.options, wanted, board.states), board.batch)
            self.gallery.context = replace(
                self.gallery.context,
                commands=after.commands,
                lasting=after.lasting,
                ending=(*why, *rendering),
                unhandled=unhandled,
            )
            command = next_command(tally, after.lasting)
        if self.notifier:
            # The last line of `run --json` is the end, so notifications are sent before it.
            self.notifier.event(finished_event(time.time(), tally, code, command))
            await self.notifier.drain()
        now = anyio.current_time()
        summary = report_lines(self.gallery.finish(board, observer.jobs, now)) if self.gallery else []
        self.listeners.event(finished_event(time.time(), tally, code, command, [*why, *rendering]))
        self.listeners.close()
        for line in (*why, *summary, *rendering):
            self.console.write(printable(line, limit=_MAX_LINE if not line.startswith("next: ") else LONGEST_COMMAND))


@contextmanager
def open_displays(
    options: RunOptions, content: Snapshot, recipients: Sequence[Target], secrets: tuple[str, ...]
) -> Iterator[Displays]:
    """Open every display and the log; close them when the run ends, however it ends.

    `content` is what earlier runs left; `secrets` are in none of what is shown. Raises BatchrunnerError for a bug,
    which is in the log then.
    """
    batch, began = content.batch, time.time()
    folder = options.out / batch
    shown = without_secrets(options, secrets)
    context = replace(run_context(shown, batch), runs=(*past_runs(content), (began, math.inf)))
    console = StreamOutput(io.StringIO() if options.caller else sys.stderr)
    file = FileOutput(folder / _LOG)
    log = file_log(file, secrets)
    terminal = not options.caller and sys.stderr.isatty() and os.environ.get("TERM") != "dumb"
    displays: list[Listener] = [RunLog(log), RunnerFile(folder, os.getpid(), began)]
    if options.as_json:
        displays.append(JsonLines(StreamOutput(sys.stdout), batch))
    if options.caller:
        displays.append(EventDocuments(options.caller.take, batch))
    elif terminal and not options.verbose:
        displays.append(LiveBoard(Console(stderr=True, highlight=False)))
    else:
        displays.append(TextLines(console_log(console, secrets, verbose=options.verbose)))
    listeners = Listeners(displays, secrets)
    interval = _TERMINAL_INTERVAL if terminal else _LOG_INTERVAL

    def warn(message: str) -> None:
        listeners.note(time.time(), message)

    notifier = Notifier(batch, recipients, warn)
    listeners.join(notifier)
    gallery = Gallery(folder, batch, context, time.time, warn, list(content.facts))
    try:
        yield Displays(listeners, console, interval, notifier, gallery, shown)
    except BatchrunnerError:
        raise
    except Exception as error:
        log.exception("crash", exc_info=error)
        raise BatchrunnerError(
            f"a bug in batchrunner ({type(error).__name__}); nothing is lost: run the same command again, "
            f"and please report it with {folder / _LOG}"
        ) from None
    finally:
        listeners.close()
        file.close()
        if failed := file.failure_text(str(folder / _LOG)):
            console.write(failed)


@dataclass(slots=True)
class RunObserver:
    """Watches the engine, and shows what it does to the listeners and on the page. Times in seconds."""

    board: Board
    jobs: Mapping[str, Job]
    listeners: Listeners
    wall: Callable[[], float]
    transfers: Callable[[], Iterable[tuple[str, int, int]]]
    """What is under way: local file, bytes so far and in all, -1 if the server does not say."""
    interval: float
    """Between two updates."""
    gallery: Gallery | None = None
    hours: str = ""
    """As the person wrote them."""
    speeds: SpeedFile | None = None
    room: Callable[[], float] = lambda: math.inf
    """Returns how many bytes may still be downloaded."""
    saved: Callable[[Saved], None] | None = None
    """Called with each saved file."""
    _closed: bool = False
    _reporter: Reporter = field(init=False)
    _began: float | None = None
    _left: float | None = None
    _left_at: float = -math.inf
    _guessed: bool = False
    _disk: str = ""
    _disk_at: float = -math.inf

    def __post_init__(self) -> None:
        """Set up the reporter."""
        self._reporter = Reporter(self.listeners, self.jobs, self.wall, self._view, every=self.interval)

    def fact(self, fact: Fact) -> None:
        """Show a fact."""
        self._reporter.fact(fact)
        if self.gallery:
            self.gallery.fact(fact)
        if self.saved and isinstance(fact, Saved):
            self.saved(fact)

    def update(self, board: Board, now: float) -> float:
        """Show the board if it is time; return when to be called again."""
        self._began = now if self._began is None else self._began
        if board.is_closed() != self._closed:
            self._closed = not self._closed
            self.listeners.note(self.wall(), self._hours_text(board))
        self._check_disk(board, now)
        if self.gallery:
            self.gallery.update(board, self.jobs, now)
        if self.speeds:
            self.speeds.update()
        return self._reporter.update(board, now)

    def _check_disk(self, board: Board, now: float) -> None:
        """Tell once that the disk will be full before all is done, and again if it had room meanwhile."""
        if now - self._disk_at < _DISK_INTERVAL:
            return
        self._disk_at, before = now, self._disk
        jobs = sorted(board.unsettled & board.positions.keys(), key=board.positions.__getitem__)
        costs = (board.costs.get(job, 0.0) for job in jobs)
        shortage = disk_shortage(costs, board.sizes, self.room() + sum(board.arrived.values()))
        self._disk = disk_text(shortage) if shortage else ""
        if self._disk and not before:
            self.listeners.note(self.wall(), self._disk)

    def _hours_text(self, board: Board) -> str:
        return hours_text(self.hours, board.hours.window, self.wall()) if board.hours else ""

    def bug(self, error: Exception) -> None:
        """Show that there was an error that should not be."""
        self._reporter.bug(error)

    def until_rendered(self, url: str, job: str, now: float) -> float:
        """Return how long a prompt that `url` renders right now will still take."""
        whole = self.board.forecast.seconds(url, self.jobs[job].cost)
        return max(0.0, whole - progress(self.board, url, now))

    def _view(self, board: Board, now: float) -> BoardView:
        if now - self._left_at >= _ETA_INTERVAL or is_guess(board) != self._guessed:
            left = time_left(board, now)
            self._left, self._left_at, self._guessed = (left.seconds if left else None), now, is_guess(board)
        view = board_view(board, self.jobs, now, self.wall(), now - (now if self._began is None else self._began))
        downloads = tuple(DownloadView(*transfer) for transfer in self.transfers())
        closed = (self._hours_text(board),) if board.is_closed() else ()
        full = (self._disk,) if self._disk else ()
        return replace(view, downloads=downloads, left=self._left, messages=(*closed, *full, *view.messages))


def _still_rendering(observer: RunObserver, now: float) -> Iterator[str]:
    """After Ctrl-C, yield what the servers still render for us, and until when it can be downloaded.

    The built-in simulator ends with the run, and what it renders with it.
    """
    board = observer.board
    if board.leaving_at is None:
        return
    for url, server in board.servers.items():
        for job, state in board.open_on(url) if url != SIM else ():
            if isinstance(state, Queued) and state.prompt.id in server.queue.running:
                before = ""
                if board.rules.ttl is not None:
                    expires = observer.wall() + observer.until_rendered(url, job, now) + board.rules.ttl
                    before = f" before {clock(expires)}"
                file = observer.jobs[job].file
                yield f"{url} is still rendering {file}: run the same command again{before} to download it"
