"""The live board on a terminal: what it shows, as one frozen value folded from the engine's board, and its drawing."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from rich.cells import cell_len
from rich.console import Group
from rich.control import Control
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from batchrunner.core.eta import is_guess, overdue
from batchrunner.core.health import Condition
from batchrunner.core.holdback import is_slow
from batchrunner.core.lifecycle import Fetching
from batchrunner.core.polling import depth, job_length
from batchrunner.core.scheduler import is_surveyed
from batchrunner.show.events import counts_text, text_line
from batchrunner.text import counted, duration, fitted, moment, printable, size

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

    from batchrunner.core.board import Board
    from batchrunner.core.job import Job
    from batchrunner.core.server import Server
    from batchrunner.show.events import RunEvent

T = TypeVar("T")
SLOW_LINK = "waiting for downloads"
"""The state of a server that works and gets no new prompt before more of its files are saved."""
_FAILED_POLLS = 2
"""A server is called away after so many failed polls in a row: a single one may fail any time."""
_SHOWN_EVENTS = frozenset({"started", "saved", "server", "note", "reopened", "dropped", "finished"})
_LEAST_LINES = 12
"""Lines of the board on a low terminal; on a higher one a third of it is left to the events."""
_MOST_MESSAGES = 3
_STYLES = {"up": "green", "asking": "yellow", SLOW_LINK: "yellow"}
_BAR = 24
"""Cells of the batch's bar; a download's is half as wide."""
_NARROW = 72
"""Cells of a terminal below which bars are half as wide."""
_NAME = 12
"""Cells that a job's name keeps before details are left out."""
_URGENT = 120.0
"""Seconds until a file may be deleted from which that is shown in red."""


@dataclass(frozen=True, slots=True)
class ServerView:
    """One server, as people see it. Times in seconds."""

    url: str
    state: str
    """`up`, `asking` (not yet answered), `away`, `denied`, `stalled`, `pausing`, `stuck`, `failing uploads`,
    `waiting for downloads`."""
    since: float | None = None
    """How long it has been in trouble."""
    message: str = ""
    """Why, if it is not up."""
    running: str = ""
    """Local name of the job of ours that it renders."""
    running_for: float | None = None
    """How long it has run what it runs now, ours or not."""
    pending: int = 0
    """Prompts of ours that wait there."""
    foreign: int = 0
    """Queue entries that are not ours."""
    uploads: int = 0
    """Input files that are on their way there."""


@dataclass(frozen=True, slots=True)
class DownloadView:
    """One download."""

    file: str
    received: int
    """Bytes so far."""
    total: int = -1
    """Bytes in all; -1 if the server does not say."""


@dataclass(frozen=True, slots=True)
class BoardView:
    """A batch at one moment. Times in seconds."""

    batch: str
    at: float
    """Wall clock, seconds since the epoch."""
    elapsed: float
    """Since this run began."""
    counts: Mapping[str, int]
    """Wanted jobs in each of the six states."""
    servers: tuple[ServerView, ...] = ()
    downloads: tuple[DownloadView, ...] = ()
    deadline: float | None = None
    """Until the oldest file that is not saved yet may be deleted; negative if that time is over."""
    left: float | None = None
    """Until everything is done; None if there is no forecast."""
    guessed: bool = False
    """Whether `left` is no more than a guess: no server that is used has rendered this workflow before."""
    messages: tuple[str, ...] = ()
    """What people must know now, most urgent first."""


def board_view(board: Board, jobs: Mapping[str, Job], now: float, at: float, elapsed: float) -> BoardView:
    """Return the view of a board at `now` (the loop's clock) and `at` (the wall clock).

    Downloads and time left, of which the board knows nothing, are left empty. Costs what is open, not what is in the
    batch.
    """
    return BoardView(
        batch=board.batch,
        at=at,
        elapsed=elapsed,
        counts=board.tally(),
        servers=tuple(_server_view(board, server, jobs, now) for server in board.servers.values()),
        deadline=min(_deadlines(board, now), default=None),
        guessed=is_guess(board),
        messages=local_faults(board),
    )


def expected_end(view: BoardView) -> str:
    """Return by when everything should be done, `done about 07:31 (8 h 12 min)`; empty if there is no forecast."""
    if view.left is None:
        return ""
    guess = ", a guess" if view.guessed else ""
    return f"done about {moment(view.at + view.left, view.at)} ({duration(view.left)}{guess})"


def local_faults(board: Board) -> tuple[str, ...]:
    """Return what this machine lacks: room on its disk, connections, input files."""
    faults = (board.disk, board.sockets, board.inputs)
    return tuple(fault.message for fault in faults if fault.failed_at is not None)


def server_state(board: Board, server: Server, now: float) -> tuple[str, float | None, str]:  # noqa: PLR0911 - a table
    """Return the word for a server's state, since when it is in trouble (the loop's clock), and why, in words."""
    health, breaker, running = server.health, server.breaker, server.queue.running
    if health.condition is Condition.UNAUTHORIZED:
        return "denied", health.refused_since, health.message
    if health.failures >= _FAILED_POLLS or health.condition is Condition.GONE:
        return "away", health.good_at, health.message
    if health.answered_at is None:
        return "asking", health.good_at, health.message
    if health.is_wedged(now, board.rules):
        return "stalled", health.stalled_since, "prompts wait there and none runs; ComfyUI may have to be restarted"
    if breaker.paused_until > now:
        rest = duration(breaker.paused_until - now)
        return "pausing", None, f"{breaker.kind} on job after job; it gets one more in {rest}"
    if overdue(board, server.name, now):
        began = min(running.values())
        return "stuck", began, f"one prompt has run for {duration(now - began)}, several times as long as expected"
    if trouble := server.inputs.trouble():
        return "failing uploads", trouble.since, trouble.message
    if is_slow(board, server):
        speed = f"{size(round(server.link.speed() or 0.0))}/s"
        return SLOW_LINK, server.link.slow_since, f"{speed}, slower than it renders"
    deep, length = depth(board, server, now), job_length(board, server.name, now)
    return "up", None, f"up to {deep} prompts at once: a job takes {length:.2g} s" if deep > server.rules.depth else ""


def _server_view(board: Board, server: Server, jobs: Mapping[str, Job], now: float) -> ServerView:
    ours = {state.prompt.id: job for job, state in board.open_on(server.name)}
    running = next((ours[prompt] for prompt in server.queue.running if prompt in ours), "")
    began = min(server.queue.running.values(), default=None)
    state, since, reason = server_state(board, server, now)
    holds_up = server.name in board.unsurveyed and not is_surveyed(board, now)
    if holds_up and board.waiting and state in ("away", "denied"):
        waits = "the first prompts wait for it, a minute at most: it may hold some of this batch"
        reason = f"{reason}; {waits}" if reason else waits
    return ServerView(
        url=server.name,
        state=state,
        since=None if since is None else now - since,
        message=reason,
        running=jobs[running].file if running in jobs else running,
        running_for=None if began is None else now - began,
        pending=sum(prompt in ours for prompt in server.queue.pending),
        foreign=server.queue.foreign,
        uploads=board.in_flight.uploads()[server.name],
    )


def _deadlines(board: Board, now: float) -> Iterator[float]:
    """Yield the seconds left of every file that is not saved yet, by the clock of its server."""
    for url, server in board.servers.items():
        for job in board.fetching_on(url):
            state = board.states[job]
            if isinstance(state, Fetching) and state.deadline is not None and server.queue.skew is not None:
                yield state.deadline - server.queue.skew - now


class LiveBoard:
    """Shows the board on a terminal, and events above it; leaves the terminal as it found it.

    Drawn only when the engine ticks: no thread of its own, and nothing that moves by itself.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._size = console.size
        self._live = Live(
            console=console,
            auto_refresh=False,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )

    def event(self, event: RunEvent) -> None:
        """Print an event above the board, unless the board shows the same."""
        if event.name in _SHOWN_EVENTS or event.level >= logging.WARNING:
            style = "yellow" if event.level >= logging.WARNING else ""
            self._console.print(Text(text_line(event, self._console.width), style), soft_wrap=True)

    def tick(self, view: BoardView) -> None:
        """Draw the board; on a terminal of another size than before from a clean page."""
        if not self._live.is_started:
            self._live.start()
        if self._console.size != self._size:
            self._size = self._console.size
            self._console.control(Control.clear(), Control.home())
        self._live.update(BoardScreen(view), refresh=True)

    def close(self) -> None:
        """Take the board away and give the cursor back."""
        self._live.stop()


class BoardScreen:
    """A view that is laid out when it is drawn, for the terminal's size at that moment: a line a row, none wrapped."""

    def __init__(self, view: BoardView) -> None:
        self._view = view

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        height = console.size.height
        yield Group(*_rows(self._view, options.max_width, min(height - 2, max(_LEAST_LINES, height * 2 // 3))))


def _rows(view: BoardView, width: int, height: int) -> Iterator[RenderableType]:
    """Yield the board's lines, at most `height` (but never fewer than 8): what does not fit is counted."""
    messages = view.messages[:_MOST_MESSAGES]
    room = max(2, height - 2 - len(messages) - (view.deadline is not None))
    servers = _first(view.servers, room - min(len(view.downloads), max(1, room - len(view.servers))))
    shown_lines = len(servers) + (len(servers) < len(view.servers))
    downloads = _first(view.downloads, room - shown_lines)

    total = sum(view.counts.values())
    left = f", {expected}" if (expected := expected_end(view)) else ""
    title = _grid(None, None, width)
    title.add_row(
        _cell(printable(view.batch, 64), "bold"),
        _bar(view.counts.get("done", 0), total, min(_BAR, width // 4), "green"),
        _cell(f"{counts_text(view.counts)} of {total}"),
    )
    yield title
    yield _cell(f"running for {duration(view.elapsed)}{left}", "bright_black")

    table = _grid(width // 3, None)
    hosts = [f"  {printable(server.url.removeprefix('http://').removeprefix('https://'))}" for server in servers]
    room = width - 2 - min(width // 3, max(map(cell_len, hosts), default=0))
    for host, server in zip(hosts, servers, strict=True):
        style = _STYLES.get(server.state, "bold red")
        table.add_row(_cell(host, style), _cell(_doing(server, room)))
    yield from _with_rest(table, len(servers), len(view.servers), "servers")

    table = _grid(None, None, width)
    sizes = [
        f"{size(item.received)} of {size(item.total)}" if item.total >= 0 else size(item.received) for item in downloads
    ]
    cells = _BAR // 2 if width >= _NARROW else _BAR // 4
    room = width - len("  ↓ ") - 2 - cells - 2 - max(map(len, sizes), default=0)
    for item, sizes_text in zip(downloads, sizes, strict=True):
        bar = _bar(item.received, item.total, cells, "cyan")
        table.add_row(_cell(f"  ↓ {fitted(item.file, room)}"), bar, _cell(sizes_text))
    yield from _with_rest(table, len(downloads), len(view.downloads), "downloads")

    if view.deadline is not None:
        when = "at any moment" if view.deadline < 0 else f"in {duration(view.deadline)}"
        style = "bold red" if view.deadline < _URGENT else ""
        yield _cell(f"  the oldest file on a server may be deleted {when}", style)
    yield from (_cell(f"! {printable(text)}", "bold yellow") for text in messages)


def _doing(server: ServerView, room: int) -> str:
    """Return what a server does, in `room` cells if possible: a name loses its middle, then the last details go."""
    if server.state not in ("up", SLOW_LINK):
        since = "" if server.since is None else f" for {duration(server.since)}"
        return f"{server.state}{since}{f': {printable(server.message)}' if server.message else ''}"
    job = server.running or ("" if server.running_for is None else "another user's job")
    details = [
        *([] if server.running_for is None else [f" for {duration(server.running_for)}"]),
        *([f", {server.pending} waiting"] if server.pending else []),
        *([f", {server.foreign} of other users"] if server.foreign else []),
        *([f", {counted(server.uploads, 'upload')} under way"] if server.uploads else []),
        *([f"; {server.state}: {printable(server.message)}"] if server.state == SLOW_LINK else []),
    ]
    if not job:
        return f"idle{''.join(details)}"
    while len(details) > 1 and cell_len("renders " + "".join(details)) + min(_NAME, cell_len(printable(job))) > room:
        details.pop()
    rest = "".join(details)
    return f"renders {fitted(job, room - len('renders ') - len(rest))}{rest}"


def _grid(*widths: int | None) -> Table:
    """Return a table without lines: columns of at most these widths, which are kept; those without one shrink."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    for width in widths:
        grid.add_column(max_width=width, no_wrap=width is not None, overflow="ellipsis")
    return grid


def _cell(text: str, style: str = "") -> Text:
    """Return one line that is cut with an ellipsis where it does not fit; brackets in it are no markup."""
    return Text(text, style, no_wrap=True, overflow="ellipsis")


def _bar(done: int, total: int, width: int, style: str) -> ProgressBar:
    known = total > 0
    return ProgressBar(total if known else 1, done if known else 0, width, complete_style=style, finished_style=style)


def _first(found: Sequence[T], limit: int) -> Sequence[T]:
    """Return what is shown in at most `limit` lines, the last of which counts what is not shown."""
    return found if len(found) <= limit else found[: max(0, limit - 1)]


def _with_rest(table: Table, shown: int, total: int, what: str) -> Iterator[RenderableType]:
    if shown:
        yield table
    if total > shown:
        yield _cell(f"  … and {total - shown} more {what}", "bright_black")
