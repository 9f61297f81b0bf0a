"""The page beside the videos, kept current while its batch runs."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING

from batchrunner.core.eta import time_left
from batchrunner.core.lifecycle import Queued, Sending, Waiting
from batchrunner.errors import LocalError
from batchrunner.show.gallery.data import VERSION, PageStatus, gallery_data
from batchrunner.show.gallery.page import stands, write_data, write_page, write_report
from batchrunner.show.report import Around, as_json, markdown, report

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from batchrunner.core.board import Board
    from batchrunner.core.facts import Fact
    from batchrunner.core.job import Job, Json
    from batchrunner.show.report import Report

_EVERY, _PER_JOB = 1.0, 0.002
"""Seconds between two updates of the page, and more for each job: a large batch's data take longer to write."""


@dataclass(slots=True)
class Gallery:
    """Keeps the page of one run current. A page that can't be written is told of once, and costs nothing else."""

    folder: Path
    batch: str
    manifest: str
    options: tuple[str, ...]
    """Words that belong to every command the page offers for copying: `--out`, `elsewhere`."""
    wall: Callable[[], float]
    warn: Callable[[str], None]
    facts: list[Fact] = field(default_factory=list)
    """All of the batch, oldest first."""
    expected: float | None = None
    """How long it was to take, as far as anybody could tell at its very beginning; in seconds."""
    _resumed: bool = field(init=False)
    """Whether it is about the rest of a batch: what is expected of that is not to be held against the whole."""
    _next: float = -math.inf
    _fresh: bool = True
    _stands: bool = False
    _broken: bool = False

    def __post_init__(self) -> None:
        """Look whether anything happened before."""
        self._resumed = bool(self.facts)

    def fact(self, fact: Fact) -> None:
        """Take in what happened."""
        self.facts.append(fact)
        self._fresh = True

    def pulse(self, board: Board, jobs: Mapping[str, Job], now: float) -> None:
        """Write the page's data if something happened and the last time is long enough ago.

        When all is settled, `end` is near.
        """
        if self._fresh and now >= self._next and not board.is_settled():
            if self.expected is None and not self._resumed:
                left = time_left(board, now)
                self.expected = left.seconds if left else None
            self._next = now + _EVERY + _PER_JOB * len(board.positions)
            self._fresh = False
            self._write(board, jobs, now, None)

    def end(self, board: Board, jobs: Mapping[str, Job], now: float) -> Report:
        """Write `report.md`, and the page's data for the last time, with the report; return it.

        Where all was settled before and nothing happened, both stand already.
        """
        wanted = [jobs[job] for job in board.positions]
        around = Around(self.manifest, str(self.folder), self.expected)
        told = report(self.batch, wanted, board.states, self.facts, around)
        key = _key(self, wanted) if board.is_settled() else ""
        if key and stands(self.folder, self.batch, key):
            return told
        try:
            write_report(self.folder, markdown(told))
        except LocalError as error:
            self.warn(str(error))
        self._write(board, jobs, now, as_json(told), key)
        return told

    def _write(self, board: Board, jobs: Mapping[str, Job], now: float, told: Json, key: str = "") -> None:
        if self._broken:
            return
        wanted = [jobs[job] for job in board.positions]
        seen = replace(_page_status(self, board, jobs, now, told), key=key)
        try:
            if not self._stands:
                write_page(self.folder, self.batch)
                self._stands = True
            write_data(self.folder, gallery_data(self.batch, wanted, board.states, self.facts, seen))
        except LocalError as error:
            self._broken = True
            self.warn(f"the gallery stays as it is: {error}")


def _key(gallery: Gallery, jobs: Sequence[Job]) -> str:
    """Return what names the last page of a batch whose jobs are all settled: all that it is made of, in short."""
    last = gallery.facts[-1] if gallery.facts else None
    words = (VERSION, gallery.batch, gallery.manifest, gallery.options, len(gallery.facts), last)
    digest = sha256(repr(words).encode())
    for job in jobs:
        digest.update(f"{job.id} {job.file} {job.params}\n".encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def _page_status(gallery: Gallery, board: Board, jobs: Mapping[str, Job], now: float, told: Json) -> PageStatus:
    at, left = gallery.wall(), time_left(board, now)
    servers = [url for url, server in board.servers.items() if server.named]
    quickest: dict[float, float] = {}
    seconds: dict[str, float] = {}
    for job, state in board.states.items():
        if job in board.positions and isinstance(state, Waiting | Sending | Queued):
            cost = jobs[job].cost
            if cost not in quickest:
                quickest[cost] = min(board.forecast.seconds(url, cost) for url in servers)
            seconds[job] = quickest[cost]
    running = {prompt for server in board.servers.values() for prompt in server.queue.running}
    return PageStatus(
        at=at,
        live=told is None,
        rendering=[job for url in board.servers for job, state in board.open_on(url) if state.prompt.id in running],
        seconds=seconds,
        ready=_ready(board, seconds, len(servers), at),
        left=left.seconds if left else None,
        until=(at + left.low, at + left.high) if left else None,
        manifest=gallery.manifest,
        options=gallery.options,
        report=told,
    )


def _ready(board: Board, seconds: Mapping[str, float], servers: int, at: float) -> dict[str, float]:
    """Return when each job will be rendered, if the servers go on as they do, one after the other in run order."""
    ready: dict[str, float] = {}
    passed = 0.0
    for job in sorted(seconds, key=lambda job: (isinstance(board.states[job], Waiting), board.positions[job])):
        passed += seconds[job] / max(1, servers)
        ready[job] = at + passed
    return ready
