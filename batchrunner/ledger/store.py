"""The ledger: one SQLite file per batch that holds every fact and nothing derived from one."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

from batchrunner.errors import BusyError
from batchrunner.ledger.codec import REBUILD, StateError, fact_text, job_text, kind, read_fact, read_job, spoken
from batchrunner.ledger.lock import STATE, is_there, prepare, touch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path
    from typing import TypeVar

    from batchrunner.core.facts import Fact
    from batchrunner.core.job import Job, Json

    T = TypeVar("T")

# -- The tables of a state file and what is asked of them. Raises `sqlite3.Error`; the callers put it into words.


VERSION = 1
APPLICATION = 0x62617463
"""`batc`: tells our file from any other SQLite database."""
_BATCH = "batch"
_SCHEMA = (
    "CREATE TABLE facts (seq INTEGER PRIMARY KEY, job TEXT, attempt INTEGER, kind TEXT, at REAL, body TEXT)",
    "CREATE INDEX facts_of_a_job ON facts (job)",
    "CREATE TABLE jobs (id TEXT PRIMARY KEY, seq INTEGER NOT NULL, body TEXT NOT NULL)",
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
    f"PRAGMA application_id={APPLICATION}",
    f"PRAGMA user_version={VERSION}",
)
_OPENED = "opened"
"""The mark that counts how often the file was opened to be written; whoever opened it last may write."""
_APPEND = (
    "INSERT INTO facts (job, attempt, kind, at, body) SELECT ?, ?, ?, ?, ?"
    " WHERE (SELECT value FROM meta WHERE key = ?) = ?"
)
_KEEP = (
    "INSERT INTO jobs VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, body = excluded.body"
    " WHERE seq <> excluded.seq OR body <> excluded.body"
)
_MARK = "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"


def create_tables(db: sqlite3.Connection, batch: str) -> None:
    """Lay the tables down, in one transaction."""
    with transaction(db):
        for statement in _SCHEMA:
            db.execute(statement)
        put_mark(db, _BATCH, batch)


def belongs_to(db: sqlite3.Connection) -> str | None:
    """Return the batch whose state this is, None if it is still empty; StateError if it is not ours to read."""
    version, application = _pragma(db, "user_version"), _pragma(db, "application_id")
    if application != APPLICATION:
        if db.execute("SELECT count(*) FROM sqlite_master").fetchone() == (0,) and version == 0:
            return None
        raise StateError(f"this is the database of another program; {REBUILD}")
    if version > VERSION:
        raise StateError(
            f"a newer batchrunner wrote it (state version {version}, this one knows {VERSION}): "
            "install that version; nothing was changed"
        )
    batch = marks(db).get(_BATCH)
    if not isinstance(batch, str):
        raise StateError(f"it does not say whose state it is; {REBUILD}")
    return batch


def take_over(db: sqlite3.Connection) -> str:
    """Become the one who may append; return what to show for it. Who was it before finds out at its next fact."""
    with transaction(db):
        before = db.execute("SELECT value FROM meta WHERE key = ?", (_OPENED,)).fetchone()
        turn = int(before[0]) + 1 if before and str(before[0]).isdecimal() else 1
        put_mark(db, _OPENED, turn)
    return str(turn)


def put_fact(db: sqlite3.Connection, fact: Fact, turn: str) -> bool:
    """Append one fact, a transaction of its own; False, and nothing done, if somebody took over since `turn`."""
    row = (fact.job, fact.attempt, kind(fact), fact.at, fact_text(fact), _OPENED, turn)
    return db.execute(_APPEND, row).rowcount == 1


def put_jobs(db: sqlite3.Connection, jobs: Iterable[Job]) -> None:
    """Write jobs down in their order; what is the same already costs no write."""
    db.executemany(_KEEP, ((job.id, place, job_text(job)) for place, job in enumerate(jobs)))


def put_mark(db: sqlite3.Connection, key: str, value: Json) -> None:
    """Write one mark; a later value replaces an earlier one."""
    db.execute(_MARK, (key, json.dumps(value)))


def facts(db: sqlite3.Connection) -> Iterator[Fact]:
    """Yield every fact, oldest first."""
    for job, attempt, name, at, body in db.execute("SELECT job, attempt, kind, at, body FROM facts ORDER BY seq"):
        yield read_fact(name, job, attempt, at, body)


def story(db: sqlite3.Connection, job: str) -> list[Fact]:
    """Return one job's facts, oldest first."""
    query = "SELECT job, attempt, kind, at, body FROM facts WHERE job = ? ORDER BY seq"
    return [read_fact(name, job, attempt, at, body) for job, attempt, name, at, body in db.execute(query, (job,))]


def jobs(db: sqlite3.Connection) -> dict[str, Job]:
    """Return every job by its id, in order."""
    return {name: read_job(name, body) for name, body in db.execute("SELECT id, body FROM jobs ORDER BY seq, id")}


def marks(db: sqlite3.Connection) -> dict[str, Json]:
    """Return every mark. StateError if one is damaged."""
    try:
        rows = db.execute("SELECT key, value FROM meta WHERE key <> ? ORDER BY key", (_OPENED,))
        return {key: json.loads(value) for key, value in rows}
    except ValueError as error:
        raise StateError(f"it holds a damaged mark; {REBUILD}") from error


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Commit what is done within, or none of it."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def _pragma(db: sqlite3.Connection, name: str) -> int:
    (value,) = db.execute(f"PRAGMA {name}").fetchone()
    return int(value)


# -- A state as it is at one moment, read without touching it: for `status` while a run is on, or after it.
#
# SQLite creates files even for a read-only connection to a WAL database (3.40), so how to open depends on what lies
# there: without a WAL the file is at rest and can be read as immutable; with one, its index is only read, not repaired.


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
    return _looked(path, belongs_to)


def snapshot(path: Path) -> Snapshot | None:
    """Return all the file holds, None if it is still empty. StateError or `sqlite3.Error` if it can't be read."""
    return _looked(path, content)


def content(db: sqlite3.Connection) -> Snapshot | None:
    """Return all an open database holds, None if it is still empty."""
    batch = belongs_to(db)
    if batch is None:
        return None
    return Snapshot(batch, jobs(db), tuple(facts(db)), marks(db))


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


# -- The ledger: one SQLite file per batch that holds every fact and nothing derived from one.
#
# Plain `sqlite3` in the loop's own thread: a commit takes under half a millisecond, a job needs eight, and a cancelled
# await would be an unknown outcome inside our own program (RELIABILITY.md c). Synchronous FULL: what `append` returned
# from survives a power cut.
#
# The lock keeps a second runner away, where files can be locked: on some network file systems `flock` does nothing, and
# a person can delete the lock file. So the file itself says who may write, and that is asked with every fact.


class Ledger:
    """The open state of one batch; build it with `Ledger.open`, under `hold`. One writer, one thread."""

    def __init__(self, path: Path, db: sqlite3.Connection, turn: str) -> None:
        self._path = path
        self._db = db
        self._turn = turn

    @classmethod
    def open(cls, folder: Path, batch: str) -> Self:
        """Open the state in `folder`, or begin one; the folder is created where it is missing.

        LocalError or StateError, each with the file untouched: it is newer than this version, another batch's,
        damaged, no state at all, or a link; or the disk is full or read-only.
        """
        prepare(folder)
        path = folder / STATE
        touch(path)
        with spoken(path):
            found = owner(path)
            if found not in {None, batch}:
                raise StateError(f"this is the state of the batch {found!r}, not of {batch!r}; nothing was changed")
            return cls(path, *_opened(path, None if found else batch))

    @staticmethod
    def read(folder: Path) -> Snapshot | None:
        """Return the state in `folder`, also while a run is on or the folder is read-only; None if none ever was.

        Creates no file, but for SQLite's own index beside a WAL that came without one (a restored backup).
        StateError if the state can't be read.
        """
        path = folder / STATE
        if not is_there(path):
            return None
        with spoken(path):
            return snapshot(path)

    def content(self) -> Snapshot:
        """Return all the state holds; in a large batch reading it costs seconds, so once is enough."""
        with spoken(self._path):
            found = content(self._db)
        if found is None:
            raise StateError(f"{self._path}: it does not say whose state it is; {REBUILD}")
        return found

    def append(self, fact: Fact) -> None:
        """Write one fact durably, in one transaction; if that failed, stop: the fact is not there.

        StateError if it can't be written, BusyError if another runner opened the state since we did.
        """
        with spoken(self._path):
            written = put_fact(self._db, fact, self._turn)
        if not written:
            raise BusyError(f"{self._path}: another runner took this batch over, though we held its lock")

    def facts(self) -> Iterator[Fact]:
        """Yield every fact, oldest first. Read it to its end before the next `append`."""
        with spoken(self._path):
            yield from facts(self._db)

    def story(self, job: str) -> list[Fact]:
        """Return one job's facts, oldest first."""
        with spoken(self._path):
            return story(self._db, job)

    def keep(self, jobs: Iterable[Job]) -> None:
        """Write down the expanded jobs in their order, in one transaction; those kept before and not named stay."""
        with spoken(self._path), transaction(self._db):
            put_jobs(self._db, jobs)

    def jobs(self) -> dict[str, Job]:
        """Return every job ever kept by its id, in the order it was last kept in."""
        with spoken(self._path):
            return jobs(self._db)

    def mark(self, key: str, value: Json) -> None:
        """Remember one thing about the batch as a whole, durably; a later value replaces an earlier one."""
        with spoken(self._path):
            put_mark(self._db, key, value)

    def marks(self) -> dict[str, Json]:
        """Return all that `mark` remembers, and `batch`, the batch's name."""
        with spoken(self._path):
            return marks(self._db)

    def close(self) -> None:
        """Close the file; SQLite folds its WAL back in where nobody else reads it."""
        with spoken(self._path):
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _opened(path: Path, begin: str | None) -> tuple[sqlite3.Connection, str]:
    """Return the open database, with what its tables show us to be its writer by."""
    db = connect(path, "mode=rw")
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("PRAGMA temp_store=MEMORY")
        if begin is not None:
            create_tables(db, begin)
        return db, take_over(db)
    except sqlite3.Error:
        db.close()
        raise
