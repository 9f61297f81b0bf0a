"""The files beside the videos: the page, its data, posters, `report.md` and `index.csv`, kept current during a run.

Each is written whole or not at all. The page is template, style and script of this package in one file that loads
nothing from the network. What a manifest or a server wrote reaches it only through the data file, as JSON, and the DOM
only as text. The policy holds even if that should fail: styles and scripts run by their hash, what the script adds by
its trust in it.
"""

from __future__ import annotations

import math
from base64 import b64encode
from contextlib import suppress
from dataclasses import dataclass, field, replace
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from batchrunner.core.eta import is_guess, time_left
from batchrunner.core.lifecycle import Queued, Sending, Waiting
from batchrunner.errors import LocalError
from batchrunner.files import replace_file
from batchrunner.show.gallery.data import VERSION, PageStatus, gallery_data
from batchrunner.show.gallery.frames import Frames
from batchrunner.show.live import local_faults, server_state
from batchrunner.show.report import report, report_json, report_markdown
from batchrunner.show.runner import ServerState
from batchrunner.show.table import results_csv
from batchrunner.text import json_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from batchrunner.core.board import Board
    from batchrunner.core.facts import Fact
    from batchrunner.core.job import Job, Json
    from batchrunner.show.report import Report, RunContext

PAGE = "index.html"
REPORT = "report.md"
TABLE = "index.csv"
DATA = "gallery-data.js"
"""The file beside the page that holds everything it shows."""
RECEIVER = "batchrunnerGallery"
"""The function of the page that the data file calls."""
SCRIPTS = (
    *("dom", "words", "store", "marks", "table", "media", "sync", "tile", "grid", "bar", "detail", "compare"),
    *("picks", "report", "keys", "live", "main"),
)
"""In the order they are put together."""
_POLICY = (
    "default-src 'none'",
    "script-src 'sha256-{script}' 'strict-dynamic'",
    "style-src 'sha256-{style}'",
    "img-src 'self' file: data:",
    "media-src 'self' file:",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "require-trusted-types-for 'script'",
    "trusted-types batchrunner",
)
POSTER_FOLDER = ".posters"
"""Below the batch folder; safe to delete."""
_KEY_BYTES = 256
"""Of the data file, in which its key stands."""
_EVERY, _PER_JOB = 1.9, 0.002
"""Seconds between two updates of the data, about as often as an open page reads them, and more for each job: a large
batch's data take longer to write."""
_LOOK = 1.0
"""Seconds between two checks of whether a server fares otherwise."""
_SELDOM = 60.0
"""Seconds after which the data are written though nothing happened: the page tells a killed run by that."""


def page_html(batch: str) -> str:
    """Return the page of a batch; it is the same for every batch but for the name."""

    def read(name: str) -> str:
        return files("batchrunner.show.gallery").joinpath(name).read_text("utf-8")

    def digest(text: str) -> str:
        return b64encode(sha256(text.encode()).digest()).decode()

    # All scripts are in one function, so that their names are their own.
    parts = "\n".join(read(f"script/{name}.js") for name in SCRIPTS)
    script, style = f'\n(() => {{\n"use strict";\n{parts}}})();\n', read("page.css")
    environment = Environment(autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True)
    return environment.from_string(read("page.html")).render(
        batch=batch,
        policy="; ".join(_POLICY).format(script=digest(script), style=digest(style)),
        data=DATA,
        receiver=RECEIVER,
        # The only two texts that are not escaped: files of this package.
        script=Markup(script),  # noqa: S704 - ours, and held to its hash by the policy
        style=Markup(style),  # noqa: S704 - ours, and held to its hash by the policy
    )


def write_page(folder: Path, batch: str) -> Path:
    """Write the page into a batch's folder; return its path. Once is enough. LocalError if it can't be written."""
    return replace_file(folder / PAGE, page_html(batch).encode())


def write_data(folder: Path, content: Mapping[str, Json]) -> Path:
    """Write what the page shows; an open page finds it by itself. LocalError if it can't be written.

    Costs about a millisecond for ten cells: let a second pass between two calls, and ten for a big batch.
    """
    return replace_file(folder / DATA, data_script(content).encode())


def is_current(folder: Path, batch: str, key: str) -> bool:
    """Tell whether a batch's folder has the page of this version, data with this key, a report and a table."""
    try:
        with (folder / DATA).open("rb") as file:
            found = f'"key":"{key}"'.encode() in file.read(_KEY_BYTES)
        return (
            found
            and all((folder / name).is_file() for name in (REPORT, TABLE))
            and (folder / PAGE).read_bytes() == page_html(batch).encode()
        )
    except OSError:
        return False


def data_script(content: Mapping[str, Json]) -> str:
    """Return the data file's text: one call, in ASCII, with nothing in it that could end a script element."""
    return f"window.{RECEIVER}?.({json_text(content, page=True)});\n"


@dataclass(slots=True)
class Gallery:
    """Keeps the page of one run current. A page that can't be written is reported once, and costs nothing else."""

    folder: Path
    batch: str
    context: RunContext
    wall: Callable[[], float]
    warn: Callable[[str], None]
    facts: list[Fact] = field(default_factory=list)
    """All of the batch, oldest first."""
    _resumed: bool = field(init=False)
    """Whether the forecast is about the rest of a batch: it must not be compared with the time of the whole."""
    _next: float = -math.inf
    _look: float = -math.inf
    _due: float = -math.inf
    _table_due: float = -math.inf
    _troubled: Mapping[str, str] = field(default_factory=dict)
    _changed: bool = True
    _page_written: bool = False
    _failed: bool = False

    def __post_init__(self) -> None:
        """Note whether anything happened before."""
        self._resumed = bool(self.facts)

    def fact(self, fact: Fact) -> None:
        """Take in what happened."""
        self.facts.append(fact)
        self._changed = True

    def update(self, board: Board, jobs: Mapping[str, Job], now: float) -> None:
        """Write the page's data if something happened and the last time is long enough ago; now and then in any case.

        When all is settled, `finish` is near.
        """
        if now < self._next or board.is_settled() or not (self._changed or self._is_due(board, now)):
            return
        if self.context.expected is None and not self._resumed:
            left = time_left(board, now)
            self.context = replace(self.context, expected=left.seconds if left else None, guessed=is_guess(board))
        self._next = now + _EVERY + _PER_JOB * len(board.positions)
        self._due = now + max(_SELDOM, self._next - now)
        self._changed, self._troubled = False, _troubled(board, now)
        self._write(board, jobs, now, None)

    def _is_due(self, board: Board, now: float) -> bool:
        """Whether a server fares otherwise than the page says, or a sign of life is due; looked at once a second."""
        if now < self._look:
            return False
        self._look = now + _LOOK
        return now >= self._due or _troubled(board, now) != self._troubled

    def finish(self, board: Board, jobs: Mapping[str, Job], now: float) -> Report:
        """Write `report.md`, and the page's data for the last time, with the report; return it.

        Where all was settled before and nothing happened, both are there already.
        """
        wanted = [jobs[job] for job in board.positions]
        made = report(self.batch, wanted, board.states, self.facts, self.context)
        key = self._key(wanted) if board.is_settled() else ""
        if not key or not is_current(self.folder, self.batch, key):
            try:
                replace_file(self.folder / REPORT, report_markdown(made).encode("utf-8", "replace"))
            except LocalError as error:
                self.warn(str(error))
            self._write(board, jobs, now, report_json(made), key)
        return made

    def _write(self, board: Board, jobs: Mapping[str, Job], now: float, report: Json, key: str = "") -> None:
        if self._failed:
            return
        wanted = [jobs[job] for job in board.positions]
        if report is None:
            status = self._page_status(board, jobs, now)
        else:  # nothing more will come by itself: no forecast holds
            status = PageStatus(self.wall(), report=report, key=key)
        status = replace(status, manifest=self.context.manifest, commands=self.context.lasting)
        try:
            if not self._page_written:
                write_page(self.folder, self.batch)
                self._page_written = True
            write_data(self.folder, gallery_data(self.batch, wanted, board.states, self.facts, status))
            if report is not None or now >= self._table_due:  # nobody watches a table
                self._table_due = now + _SELDOM
                replace_file(self.folder / TABLE, results_csv(wanted, board.states, self.facts).encode())
        except LocalError as error:
            self._failed = True
            self.warn(f"couldn't update the gallery: {error}")

    def _key(self, jobs: Sequence[Job]) -> str:
        """Return a digest of all that the last page of a settled batch is made of."""
        last = self.facts[-1] if self.facts else None
        parts = (VERSION, self.batch, self.context.manifest, self.context.lasting, len(self.facts), last)
        digest = sha256(repr(parts).encode())
        for job in jobs:
            digest.update(f"{job.id} {job.file} {job.params}\n".encode("utf-8", "surrogatepass"))
        return digest.hexdigest()

    def _page_status(self, board: Board, jobs: Mapping[str, Job], now: float) -> PageStatus:
        at, left = self.wall(), time_left(board, now)
        servers = [url for url, server in board.servers.items() if server.named]
        fastest: dict[float, float] = {}
        seconds: dict[str, float] = {}
        for job, state in board.states.items():
            if job in board.positions and isinstance(state, Waiting | Sending | Queued):
                cost = jobs[job].cost
                if cost not in fastest:
                    fastest[cost] = min(board.forecast.seconds(url, cost) for url in servers)
                seconds[job] = fastest[cost]
        # When each is rendered if the servers go on as they do, one job after the other in run order.
        ready: dict[str, float] = {}
        passed = 0.0
        for job in sorted(seconds, key=lambda job: (isinstance(board.states[job], Waiting), board.positions[job])):
            passed += seconds[job] / max(1, len(servers))
            ready[job] = at + passed
        running = {prompt for server in board.servers.values() for prompt in server.queue.running}
        return PageStatus(
            at=at,
            rendering=[job for url in board.servers for job, state in board.open_on(url) if state.prompt.id in running],
            seconds=seconds,
            ready=ready,
            left=left.seconds if left else None,
            until=(at + left.low, at + left.high) if left else None,
            live=True,
            next_at=at + self._due - now,
            trouble=tuple(_trouble(board, now, at)),
        )


def _troubled(board: Board, now: float) -> dict[str, str]:
    """Return the state of every server that is not up, by its name."""
    states = {name: server_state(board, server, now)[0] for name, server in board.servers.items()}
    return {name: state for name, state in states.items() if state not in {"up", "asking"}}


def _trouble(board: Board, now: float, at: float) -> Iterator[str]:
    """Yield what is wrong with this machine and with the servers; `at` is the wall clock."""
    yield from local_faults(board)
    for name in _troubled(board, now):
        state, since, message = server_state(board, board.servers[name], now)
        yield ServerState(name, state, None if since is None else at - now + since, message).trouble(at)


def write_posters(folder: Path, paths: Iterable[str]) -> dict[str, str]:
    """Make a picture of each saved file that has none yet; return the path of a file -> the path of its poster.

    Both are below the batch folder. A file is left out where there can be none: no PyAV, no video, no room, a link in
    the place of the posters' folder. Blocks; a poster is never worth an error.
    """
    names = {path: sha256(path.encode("utf-8", "surrogatepass")).hexdigest()[:24] for path in paths}
    found = {path: f"{POSTER_FOLDER}/{name}.jpg" for path, name in names.items()}
    if not (folder / POSTER_FOLDER).is_symlink():
        with Frames() as frames:
            for path, poster in found.items():
                if not (folder / poster).is_file() and (picture := frames.poster(folder / path)):
                    with suppress(OSError, LocalError):
                        (folder / POSTER_FOLDER).mkdir(exist_ok=True)
                        replace_file(folder / poster, picture)
    return {path: poster for path, poster in found.items() if (folder / poster).is_file()}
