"""The tables of a state file and what is asked of them. Raises `sqlite3.Error`; the callers put it into words."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING

from batchrunner.ledger.codec import fact_text, job_text, kind, read_fact, read_job
from batchrunner.ledger.error import REBUILD, StateError

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Iterable, Iterator

    from batchrunner.core.facts import Fact
    from batchrunner.core.identity import Json
    from batchrunner.core.job import Job

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


def begin(db: sqlite3.Connection, batch: str) -> None:
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
