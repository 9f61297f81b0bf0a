"""The ledger: one SQLite file per batch that holds every fact and nothing derived from one."""

from __future__ import annotations

import json
import os
import sqlite3
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Self
from urllib.parse import quote

from batchrunner.core.facts import Opened, Rendered, fact_name
from batchrunner.errors import BusyError
from batchrunner.ledger.codec import REBUILD, StateError, fact_text, job_text, read_fact, read_job, state_errors
from batchrunner.ledger.lock import STATE, create_folder, create_private, file_exists

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path
    from typing import TypeVar

    from batchrunner.core.facts import Fact
    from batchrunner.core.job import Job, Json

    T = TypeVar("T")

# -- The tables of a state file, and their queries. They raise `sqlite3.Error`; callers wrap them in `state_errors`.


VERSION = 1
APPLICATION = 0x62617463
"""`batc`: tells our file from any other SQLite database."""
_BATCH = "batch"
_TABLES = (
    "CREATE TABLE facts (seq INTEGER PRIMARY KEY, job TEXT, attempt INTEGER, kind TEXT, at REAL, body TEXT)",
    "CREATE INDEX facts_of_a_job ON facts (job)",
    "CREATE TABLE jobs (id TEXT PRIMARY KEY, seq INTEGER NOT NULL, body TEXT NOT NULL)",
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
)
_SCHEMA = (
    *_TABLES,
    f"PRAGMA application_id={APPLICATION}",
    f"PRAGMA user_version={VERSION}",
)
PLACE = "server "
"""Begins the mark of where a server with a name is."""
_OPENED = "opened"
"""The mark that holds the writer epoch: how often the file was opened for writing. Only the last to open may write."""
_APPEND = (
    "INSERT INTO facts (job, attempt, kind, at, body) SELECT ?, ?, ?, ?, ?"
    " WHERE (SELECT value FROM meta WHERE key = ?) = ?"
)
_PUT_JOB = (
    "INSERT INTO jobs VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, body = excluded.body"
    " WHERE seq <> excluded.seq OR body <> excluded.body"
)
LEARNED_AGAIN = frozenset({Rendered, Opened})
"""Facts that a power cut may take back: the next poll, and the next GET, tell them again (docs/decisions/0009)."""
_GONE = -1
"""In place of a place in the manifest's order: the manifest that was run last no longer had this job."""
_PUT_MARK = "INSERT INTO meta VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value"


def create_tables(db: sqlite3.Connection, batch: str) -> None:
    """Create the tables, in one transaction."""
    with transaction(db):
        for statement in _SCHEMA:
            db.execute(statement)
        put_mark(db, _BATCH, batch)


def batch_of(db: sqlite3.Connection) -> str | None:
    """Return the name of the batch whose state this is, None if the file is still empty.

    StateError if another program or a newer version wrote it, or if it names no batch.
    """
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
    if {text for (text,) in db.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")} != set(_TABLES):
        # A view, a trigger or a generated column in their place could say or do anything, or never end.
        raise StateError(f"its tables are not those of a state; {REBUILD}")
    batch = marks(db).get(_BATCH)
    if not isinstance(batch, str):
        raise StateError(f"it does not name its batch; {REBUILD}")
    return batch


def begin_epoch(db: sqlite3.Connection) -> str:
    """Become the only writer; return the writer epoch to append with. An earlier writer's next fact is refused."""
    with transaction(db):
        before = db.execute("SELECT value FROM meta WHERE key = ?", (_OPENED,)).fetchone()
        epoch = int(before[0]) + 1 if before and str(before[0]).isdecimal() else 1
        put_mark(db, _OPENED, epoch)
    return str(epoch)


def put_fact(db: sqlite3.Connection, fact: Fact, epoch: str) -> bool:
    """Append one fact, a transaction of its own; False, and nothing done, if a later writer epoch has begun."""
    row = (fact.job, fact.attempt, fact_name(type(fact)), fact.at, fact_text(fact), _OPENED, epoch)
    return db.execute(_APPEND, row).rowcount == 1


def put_mark(db: sqlite3.Connection, key: str, value: Json) -> None:
    """Write one mark, in place of its earlier value."""
    db.execute(_PUT_MARK, (key, json.dumps(value)))


def facts(db: sqlite3.Connection, job: str | None = None) -> Iterator[Fact]:
    """Yield every fact, or those of one job, oldest first."""
    where, values = ("", ()) if job is None else ("WHERE job = ?", (job,))
    for row in db.execute(f"SELECT kind, job, attempt, at, body FROM facts {where} ORDER BY seq", values):  # noqa: S608 - constants
        yield read_fact(*row)


def jobs(db: sqlite3.Connection) -> dict[str, Job]:
    """Return every job by its id, in the manifest's order; those that it no longer has come last."""
    rows = db.execute("SELECT id, body FROM jobs ORDER BY seq < 0, seq, id")
    return {name: read_job(name, body) for name, body in rows}


def gone(db: sqlite3.Connection) -> frozenset[str]:
    """Return the ids of the jobs that the manifest no longer had when it was run last."""
    return frozenset(name for (name,) in db.execute("SELECT id FROM jobs WHERE seq < 0"))


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


@contextmanager
def _unsynced(db: sqlite3.Connection) -> Iterator[None]:
    """Commit without a sync: the next transaction that is synced includes what was done within."""
    db.execute("PRAGMA synchronous=NORMAL")
    try:
        yield
    finally:
        db.execute("PRAGMA synchronous=FULL")


def _pragma(db: sqlite3.Connection, name: str) -> int:
    (value,) = db.execute(f"PRAGMA {name}").fetchone()
    return int(value)


# -- Reading a state without changing it: for `status`, during a run or after it.
#
# SQLite creates files even for a read-only connection to a WAL database (3.40), so how to open it depends on which
# files exist: without a WAL nobody writes, and the file can be read as immutable; with one, its index is only read.


_TRIES = 3
"""A run that begins or ends at this moment creates or removes files while we read; the next try finds them complete."""
_ROUND, _MAX_ROUNDS = 1_000_000, 2_000
"""Steps of SQLite's machine between two checks, and checks until a connection is refused more: a batch of 100,000 jobs
needs a few dozen to be read; a damaged file could have SQLite go round for ever."""
_BUSY_TIMEOUT = 5.0
"""Seconds to wait while another process repairs the index after a crash."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A batch's state as it was at one moment."""

    batch: str
    jobs: Mapping[str, Job]
    """By id, in the manifest's order; those that it no longer has come last."""
    facts: tuple[Fact, ...]
    """Oldest first."""
    marks: Mapping[str, Json]
    gone: frozenset[str] = frozenset()
    """Ids of the jobs that the manifest no longer had when it was run last."""

    @property
    def current(self) -> list[Job]:
        """The jobs that the manifest had when it was run last, in its order."""
        return [job for job in self.jobs.values() if job.id not in self.gone]


def connect(path: Path, query: str) -> sqlite3.Connection:
    """Open the database with SQLite's URI parameters `query`, each statement a transaction of its own."""
    address = f"file:{quote(os.fsencode(path.absolute()))}?{query}"
    db = sqlite3.connect(address, uri=True, isolation_level=None, timeout=_BUSY_TIMEOUT)
    rounds = count(1)
    db.set_progress_handler(lambda: next(rounds) > _MAX_ROUNDS, _ROUND)
    return db


def content(db: sqlite3.Connection) -> Snapshot | None:
    """Return all an open database holds, None if it is still empty."""
    batch = batch_of(db)
    if batch is None:
        return None
    return Snapshot(batch, jobs(db), tuple(facts(db)), marks(db), gone(db))


def _read(path: Path, query: Callable[[sqlite3.Connection], T]) -> T:
    """Return what `query` finds in the file at one moment. StateError or `sqlite3.Error` if it can't be read."""
    for _ in range(_TRIES - 1):
        with suppress(sqlite3.DatabaseError):
            return _read_once(path, query)
    return _read_once(path, query)


def _read_once(path: Path, query: Callable[[sqlite3.Connection], T]) -> T:
    with closing(connect(path, _mode(path))) as db:
        db.execute("BEGIN")
        return query(db)


def _mode(path: Path) -> str:
    """Return SQLite's URI parameters that create no file."""
    if not path.with_name(f"{path.name}-wal").exists():
        return "immutable=1"
    if not path.with_name(f"{path.name}-shm").exists():
        return "mode=ro"
    return "mode=ro&readonly_shm=1"


# -- The ledger, open for writing.
#
# Plain `sqlite3` in the loop's own thread: a commit takes under half a millisecond and a job needs eight, while after a
# cancelled await we would not know whether a fact was written. Synchronous FULL: after `append` returned, the fact
# survives a power cut.
#
# The lock is not enough to keep a second runner away: on some network file systems `flock` does nothing, and a person
# can delete the lock file. So the file holds a writer epoch, and every append checks it.


class Ledger:
    """The state of one batch, open for writing. Build it with `Ledger.open`, under `hold`; use it from one thread."""

    def __init__(self, path: Path, db: sqlite3.Connection, epoch: str) -> None:
        self._path = path
        self._db = db
        self._epoch = epoch

    @classmethod
    def open(cls, folder: Path, batch: str) -> Self:
        """Open the state in `folder`, or begin one; the folder is created where it is missing.

        LocalError or StateError, each with the file untouched, if it is another batch's, damaged, a link, of a newer
        version or another program; or if the disk is full or read-only.
        """
        create_folder(folder)
        path = folder / STATE
        create_private(path)
        with state_errors(path):
            found = _read(path, batch_of)
            if found not in {None, batch}:
                raise StateError(f"this is the state of the batch {found!r}, not of {batch!r}; nothing was changed")
            return cls(path, *_open(path, None if found else batch))

    @staticmethod
    def read(folder: Path) -> Snapshot | None:
        """Return the state in `folder`, None if there is none; works during a run and in a read-only folder.

        Creates no file, except for SQLite's index beside a WAL that came without one (a restored backup).
        StateError if the state can't be read.
        """
        path = folder / STATE
        if not file_exists(path):
            return None
        with state_errors(path):
            return _read(path, content)

    def content(self) -> Snapshot:
        """Return everything the state holds. Takes seconds for a large batch, so call it once."""
        with state_errors(self._path):
            found = content(self._db)
        if found is None:
            raise StateError(f"{self._path}: it does not name its batch; {REBUILD}")
        return found

    def append(self, fact: Fact) -> None:
        """Write one fact, in one transaction; from then on it outlives a kill of this process.

        It outlives a power cut too, with all that came before it; one of `LEARNED_AGAIN` only once another kind does.

        StateError if it can't be written, BusyError if another runner has opened the state since: then nothing was
        written, and the run must stop.
        """
        unsynced = _unsynced(self._db) if type(fact) in LEARNED_AGAIN else nullcontext()
        with state_errors(self._path), unsynced:
            written = put_fact(self._db, fact, self._epoch)
        if not written:
            raise BusyError(f"{self._path}: another runner took over this batch although we hold its lock")

    def facts(self) -> Iterator[Fact]:
        """Yield every fact, oldest first. Read it to its end before the next `append`."""
        with state_errors(self._path):
            yield from facts(self._db)

    def history(self, job: str) -> list[Fact]:
        """Return one job's facts, oldest first."""
        with state_errors(self._path):
            return list(facts(self._db, job))

    def keep(self, jobs: Iterable[Job]) -> None:
        """Store the manifest's jobs in their order, in one transaction; jobs that it no longer has stay, as `gone`."""
        with state_errors(self._path), transaction(self._db):
            before = {name for (name,) in self._db.execute("SELECT id FROM jobs WHERE seq >= 0")}
            for place, job in enumerate(jobs):
                self._db.execute(_PUT_JOB, (job.id, place, job_text(job)))
                before.discard(job.id)
            self._db.executemany("UPDATE jobs SET seq = ? WHERE id = ?", ((_GONE, name) for name in before))

    def jobs(self) -> dict[str, Job]:
        """Return every job ever stored, by its id, in the order of the manifest that last had it."""
        with state_errors(self._path):
            return jobs(self._db)

    def mark(self, key: str, value: Json) -> None:
        """Store a value about the batch as a whole under `key`, durably, in place of its earlier value."""
        with state_errors(self._path):
            put_mark(self._db, key, value)

    def marks(self) -> dict[str, Json]:
        """Return every value that `mark` stored by its key, and the batch's name under `batch`."""
        with state_errors(self._path):
            return marks(self._db)

    def close(self) -> None:
        """Close the file; unless another process reads it, SQLite merges its WAL into it."""
        with state_errors(self._path):
            self._db.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _open(path: Path, new: str | None) -> tuple[sqlite3.Connection, str]:
    """Return the open database and its new writer epoch; create the tables of the batch `new` if it is given."""
    db = connect(path, "mode=rw")
    try:
        db.execute("PRAGMA journal_mode=WAL")
        db.execute("PRAGMA synchronous=FULL")
        db.execute("PRAGMA temp_store=MEMORY")
        if new is not None:
            create_tables(db, new)
        return db, begin_epoch(db)
    except sqlite3.Error:
        db.close()
        raise
