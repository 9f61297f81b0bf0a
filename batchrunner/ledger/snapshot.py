"""A state as it is at one moment, read without touching it: for `status` while a run is on, or after it.

SQLite creates files even for a read-only connection to a WAL database (3.40), so how to open depends on what lies
there: without a WAL the file is at rest and can be read as immutable; with one, its index is only read, not repaired.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import quote

from batchrunner.ledger import tables

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from typing import TypeVar

    from batchrunner.core.facts import Fact
    from batchrunner.core.identity import Json
    from batchrunner.core.job import Job

    T = TypeVar("T")

_TRIES = 3
"""A run that begins or ends at this moment moves the files under us; the next try meets them settled."""
_PATIENCE = 5.0
"""Seconds to wait for whoever repairs the index after a crash."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A batch's state as it was at one moment."""

    batch: str
    jobs: Mapping[str, Job]
    """By id, in the manifest's order."""
    facts: tuple[Fact, ...]
    """Oldest first."""
    marks: Mapping[str, Json]


def connect(path: Path, query: str) -> sqlite3.Connection:
    """Open the database with SQLite's URI parameters `query`, each statement a transaction of its own."""
    address = f"file:{quote(os.fsencode(path.absolute()))}?{query}"
    return sqlite3.connect(address, uri=True, isolation_level=None, timeout=_PATIENCE)


def owner(path: Path) -> str | None:
    """Return the batch whose state this is, None if the file is still empty; StateError if it is not ours to use."""
    return _looked(path, tables.belongs_to)


def snapshot(path: Path) -> Snapshot | None:
    """Return all the file holds, None if it is still empty. StateError or `sqlite3.Error` if it can't be read."""
    return _looked(path, content)


def content(db: sqlite3.Connection) -> Snapshot | None:
    """Return all an open database holds, None if it is still empty."""
    batch = tables.belongs_to(db)
    if batch is None:
        return None
    return Snapshot(batch, tables.jobs(db), tuple(tables.facts(db)), tables.marks(db))


def _looked(path: Path, ask: Callable[[sqlite3.Connection], T]) -> T:
    for _ in range(_TRIES - 1):
        with suppress(sqlite3.DatabaseError):
            return _look(path, ask)
    return _look(path, ask)


def _look(path: Path, ask: Callable[[sqlite3.Connection], T]) -> T:
    with closing(connect(path, _query(path))) as db:
        db.execute("BEGIN")
        return ask(db)


def _query(path: Path) -> str:
    if not path.with_name(f"{path.name}-wal").exists():
        return "immutable=1"
    if not path.with_name(f"{path.name}-shm").exists():
        return "mode=ro"
    return "mode=ro&readonly_shm=1"
