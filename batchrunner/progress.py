"""What is seen of a run: who watches it, what the board shows, and its last lines."""

from __future__ import annotations

import math
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import anyio
from rich.console import Console

from batchrunner.core.eta import progress, time_left
from batchrunner.core.lifecycle import Queued
from batchrunner.errors import BatchrunnerError
from batchrunner.show.events import finished_event
from batchrunner.show.listeners import JsonLines, Listeners, Reporter, RunLog, TextLines
from batchrunner.show.live import DownloadView, LiveBoard, board_view
from batchrunner.show.log import FileOutput, StreamOutput, console_log, file_log
from batchrunner.show.report import report_lines
from batchrunner.text import clock, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from structlog.typing import FilteringBoundLogger

    from batchrunner.comfy.secret import Secret
    from batchrunner.core.board import Board
    from batchrunner.core.exit import Exit
    from batchrunner.core.facts import Fact
    from batchrunner.core.job import Job
    from batchrunner.notify import Notifier
    from batchrunner.options import Asked
    from batchrunner.show.gallery import Gallery
    from batchrunner.show.listeners import Listener
    from batchrunner.show.live import BoardView

# -- Who watches a run: `run.log` always, a live board on a terminal, plain lines elsewhere, JSON if asked for.


_LOG = "run.log"
_BEAT_ON_TERMINAL = 0.5
_BEAT_IN_LOG = 5.0


@dataclass(frozen=True, slots=True)
class Watching:
    """The audience of one run, and what the run writes to itself."""

    audience: Listeners
    log: FilteringBoundLogger
    """`run.log`, for what is no event."""
    console: StreamOutput
    """Lines for people, below or instead of the live board."""
    beat: float
    """Seconds between two views of the board."""


@contextmanager
def watching(asked: Asked, batch: str, folder: Path, secret: Secret | None) -> Iterator[Watching]:
    """Open every display and the log; close them when the run ends, however it ends. Raises LocalError."""
    hidden = secret.reveal() if secret else ""
    lines = StreamOutput(sys.stderr)
    file = FileOutput(folder / _LOG)
    log = file_log(file, hidden)
    live = sys.stderr.isatty()
    observers: list[Listener] = [RunLog(log)]
    if asked.as_json:
        observers.append(JsonLines(StreamOutput(sys.stdout), batch))
    if live and not asked.verbose:
        observers.append(LiveBoard(Console(stderr=True, highlight=False)))
    else:
        observers.append(TextLines(console_log(lines, hidden, verbose=asked.verbose)))
    audience = Listeners(observers, hidden)
    try:
        yield Watching(audience, log, lines, _BEAT_ON_TERMINAL if live else _BEAT_IN_LOG)
    except BatchrunnerError:
        raise
    except Exception as error:
        log.exception("crash", exc_info=error)
        raise BatchrunnerError(
            f"a bug in batchrunner ({type(error).__name__}): the state is sound, run it again; "
            f"please report it with {folder / _LOG}"
        ) from None
    finally:
        audience.close()
        file.close()
        if failed := file.failure_text(str(folder / _LOG)):
            lines.write(failed)


# -- What the board view shows and the board does not know: downloads in bytes, and how long it will take.


_FORECAST_EVERY = 5.0


@dataclass(slots=True)
class RunObserver:
    """Watches one run, and has it reported. Times in seconds."""

    board: Board
    jobs: Mapping[str, Job]
    audience: Listeners
    wall: Callable[[], float]
    transfers: Callable[[], Mapping[str, tuple[int, int]]]
    """Per local file: bytes so far and in all, -1 if the server does not say."""
    beat: float
    """Between two views of the board."""
    gallery: Gallery | None = None
    _reporter: Reporter = field(init=False)
    _began: float | None = None
    _left: float | None = None
    _left_at: float = -math.inf

    def __post_init__(self) -> None:
        """Set up the reporter."""
        self._reporter = Reporter(self.audience, self.jobs, self.wall, self._view, every=self.beat)

    def fact(self, fact: Fact) -> None:
        """Tell of a fact."""
        self._reporter.fact(fact)
        if self.gallery:
            self.gallery.fact(fact)

    def pulse(self, board: Board, now: float) -> float:
        """Show the board if it is time; return when to be shown it again."""
        self._began = now if self._began is None else self._began
        if self.gallery:
            self.gallery.update(board, self.jobs, now)
        return self._reporter.update(board, now)

    def bug(self, error: Exception) -> None:
        """Tell of an error that should not be."""
        self._reporter.bug(error)

    def until_rendered(self, url: str, job: str, now: float) -> float:
        """Return how long a prompt that `url` renders right now will still take."""
        whole = self.board.forecast.seconds(url, self.jobs[job].cost)
        return max(0.0, whole - progress(self.board, url, now))

    def _view(self, board: Board, now: float) -> BoardView:
        view = board_view(board, self.jobs, now, self.wall(), now - (now if self._began is None else self._began))
        downloads = tuple(DownloadView(file, got, total) for file, (got, total) in self.transfers().items())
        return replace(view, downloads=downloads, left=self._time_left(board, now))

    def _time_left(self, board: Board, now: float) -> float | None:
        """Return how long until all is rendered; counted anew every few seconds, for it costs what is left."""
        if now - self._left_at >= _FORECAST_EVERY:
            self._left_at = now
            left = time_left(board, now)
            self._left = left.seconds if left else None
        return self._left


# -- The last words of a run: what is done, what failed and why, and what to do next.


@dataclass(frozen=True, slots=True)
class LastWords:
    """Everybody who is told that a run is over."""

    watchers: Watching
    notifier: Notifier | None = None
    gallery: Gallery | None = None

    async def say(self, board: Board, run_observer: RunObserver, ending: Exit, code: int) -> None:
        """Write the report, tell everybody that the run is over, and people in a few lines what that means."""
        if self.notifier:
            # The last line of `run --json` is the end: whoever is told by other ways is told before it.
            self.notifier.event(finished_event(time.time(), board.tally(), code))
            await self.notifier.drain()
        told = self._report(board, run_observer)
        self.watchers.audience.event(finished_event(time.time(), board.tally(), code))
        self.watchers.audience.close()
        for line in (*ending.message.splitlines(), *told, *_staying(board, run_observer)):
            self.watchers.console.write(printable(line, limit=1000))

    def _report(self, board: Board, run_observer: RunObserver) -> list[str]:
        if self.gallery is None:
            return []
        looked_back = self.gallery.finish(board, run_observer.jobs, anyio.current_time())
        return report_lines(looked_back)


def _staying(board: Board, run_observer: RunObserver) -> Iterator[str]:
    """Say what still renders for us, and until when its video will be there."""
    if board.leaving_at is None:
        return
    now = anyio.current_time()
    for url, server in board.servers.items():
        for job, state in board.open_on(url):
            if isinstance(state, Queued) and state.prompt.id in server.queue.running:
                until = _until(board, run_observer, run_observer.until_rendered(url, job, now))
                yield f"{url} goes on rendering {run_observer.jobs[job].file}: run the same command again{until}"


def _until(board: Board, run_observer: RunObserver, rendering: float) -> str:
    if board.rules.ttl is None:
        return " and it is brought home"
    return f" before {clock(run_observer.wall() + rendering + board.rules.ttl)} and it is brought home"
