"""`<out>/.servers.json`: what servers taught about their speed, for other batches in the same folder.

Per server and workflow. It is a convenience: a file that can't be read or written costs a guess, never a video.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING

from batchrunner.core.sizes import JobSizes
from batchrunner.core.speed import LONGEST, MOST_KINDS, SHORTEST, LearnedSpeed, Line
from batchrunner.errors import LocalError
from batchrunner.files import replace_file
from batchrunner.text import json_text
from batchrunner.workflow.params import costly

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from batchrunner.core.board import Board
    from batchrunner.core.job import Json
    from batchrunner.manifest import Batch

FILE = ".servers.json"
_VERSION = 1
_LARGEST = 4 * 2**20
"""Bytes read of the file."""
_MOST_SERVERS, _MOST_WORKFLOWS = 1000, (20, 5, 1)
"""How many servers, and workflows for each, are kept: those that were used last; fewer where the file is too large."""
_LARGEST_NUMBER = 1e12
_INTERVAL = 60.0


def workflow_key(batch: Batch) -> str:
    """Return what tells a batch's workflow from others of another speed: its costly nodes, and the models they load."""
    graph = batch.graph(batch.jobs[0], "any")
    found: list[list[str]] = []
    for node in costly(batch.template):
        own = graph[node]
        inputs, kind = (own.get("inputs"), str(own.get("class_type"))) if isinstance(own, dict) else (None, "")
        texts = [value for value in inputs.values() if isinstance(value, str)] if isinstance(inputs, dict) else []
        found.append([kind, *(sorted(texts) if "Loader" in kind else ())])
    return sha256(json.dumps(sorted(found)).encode()).hexdigest()[:16]


def recall_speeds(folder: Path, batch: Batch, board: Board) -> None:
    """Have a board begin with what the batch's servers taught other batches whose folders are in `folder`.

    Before the board loads its own facts.
    """
    known, key = _read(folder), workflow_key(batch)
    for server in batch.servers:
        entry = _entry(known, server).get(key)
        if (learned := _learned(entry)) is not None:
            board.forecast.recall(server, learned)
        if sizes := _sizes(entry):
            board.sizes = JobSizes(sizes)


class SpeedFile:
    """Keeps what one run learns; `wall` is the clock, in seconds since the epoch."""

    def __init__(self, folder: Path, batch: Batch, board: Board, wall: Callable[[], float]) -> None:
        self._folder, self._key, self._board, self._wall = folder, workflow_key(batch), board, wall
        self._written, self._renders = wall(), board.forecast.renders()

    def update(self, *, last: bool = False) -> None:
        """Write the file if there is something new and the last time is a minute ago, or at the end of the run."""
        due = last or not 0 <= self._wall() - self._written < _INTERVAL
        if due and self._board.forecast.renders() != self._renders:
            self._written, self._renders = self._wall(), self._board.forecast.renders()
            self._write()

    def _write(self) -> None:
        known = _read(self._folder)  # another run may have written meanwhile
        sizes: list[Json] = [[cost, jobs, taken / jobs] for cost, (jobs, taken) in self._board.sizes.known().items()]
        for server, learned in self._board.forecast.learned().items():
            workflows = _entry(known, server)
            workflows.pop(self._key, None)
            workflows[self._key] = {
                "constant": learned.line.constant,
                "slope": learned.line.slope,
                "spread": learned.spread,
                "change": learned.change,
                "kinds": [list(kind) for kind in learned.kinds],
                "bytes": sizes[-MOST_KINDS:],
            }
            known.pop(server, None)
            known[server] = workflows
        with suppress(LocalError):
            replace_file(self._folder / FILE, _content(known))


def _content(known: Mapping[str, Json]) -> bytes:
    """Return the file's content, with so many workflows for each server that all of it is read again."""
    content = b""
    for most in _MOST_WORKFLOWS:
        kept: dict[str, Json] = {
            server: dict(list(_entry(known, server).items())[-most:]) for server in list(known)[-_MOST_SERVERS:]
        }
        content = json_text({"version": _VERSION, "servers": kept}).encode()
        if len(content) <= _LARGEST:
            break
    return content


def _read(folder: Path) -> dict[str, Json]:
    """Return what is kept of every server; nothing where the file is missing, or is not ours."""
    try:
        opened = os.open(folder / FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(opened, "rb") as file:
            found = json.loads(file.read(_LARGEST) or b"")  # None comes of a pipe in its place
    except (OSError, ValueError, RecursionError):
        return {}
    servers = found.get("servers") if isinstance(found, dict) and found.get("version") == _VERSION else None
    return servers if isinstance(servers, dict) else {}


def _entry(known: Mapping[str, Json], server: str) -> dict[str, Json]:
    found = known.get(server)
    return dict(found) if isinstance(found, dict) else {}


def _learned(value: Json) -> LearnedSpeed | None:
    """Return what was written of one server and workflow; None for anything else."""
    if not isinstance(value, dict):
        return None
    try:
        line = Line(_number(value["constant"]), _number(value["slope"]))
        change = None if value["change"] is None else _number(value["change"])
        kinds = value["kinds"]
        if not isinstance(kinds, list) or not line.constant + line.slope:
            return None
        read = tuple(_row(kind) for kind in kinds[-MOST_KINDS:])
        if not all(SHORTEST <= each <= LONGEST for _, _, each in read):
            return None
        return LearnedSpeed(line, min(1.0, _number(value["spread"])), change, read)
    except (KeyError, ValueError, TypeError):
        return None


def _sizes(value: Json) -> dict[float, tuple[int, float]]:
    """Return what was written of the jobs' files: per cost, how many jobs and the bytes of all; one job counts."""
    found = value.get("bytes") if isinstance(value, dict) else None
    try:
        read = [_row(kind) for kind in found[-MOST_KINDS:]] if isinstance(found, list) else []
    except (ValueError, TypeError):
        return {}
    return {cost: (1, each) for cost, _, each in read}


def _row(value: Json) -> tuple[float, int, float]:
    """Read what is kept of a kind: its cost, how many there were, and a figure. Raises ValueError, TypeError."""
    if not isinstance(value, list):
        raise TypeError(value)
    cost, count, figure = map(_number, value)
    return cost, max(1, int(count)), figure


def _number(value: Json) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= _LARGEST_NUMBER:
        raise ValueError(value)
    return float(value)
