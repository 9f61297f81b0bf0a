"""The ledger: one SQLite file per batch that holds every fact and nothing derived from one.

Plain `sqlite3` in the loop's own thread: a commit takes under half a millisecond, a job needs eight, and a cancelled
await would be an unknown outcome inside our own program (RELIABILITY.md c). Synchronous FULL: what `append` returned
from survives a power cut.

The lock keeps a second runner away, where files can be locked: on some network file systems `flock` does nothing, and
a person can delete the lock file. So the file itself says who may write, and that is asked with every fact.
"""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING, Self

from batchrunner.errors import BusyError
from batchrunner.ledger import tables
from batchrunner.ledger.error import REBUILD, StateError, spoken
from batchrunner.ledger.place import STATE, is_there, prepare, touch
from batchrunner.ledger.snapshot import connect, content, owner, snapshot

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from batchrunner.core.facts import Fact
    from batchrunner.core.identity import Json
    from batchrunner.core.job import Job
    from batchrunner.ledger.snapshot import Snapshot


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
            written = tables.put_fact(self._db, fact, self._turn)
        if not written:
            raise BusyError(f"{self._path}: another runner took this batch over, though we held its lock")

    def facts(self) -> Iterator[Fact]:
        """Yield every fact, oldest first. Read it to its end before the next `append`."""
        with spoken(self._path):
            yield from tables.facts(self._db)

    def story(self, job: str) -> list[Fact]:
        """Return one job's facts, oldest first."""
        with spoken(self._path):
            return tables.story(self._db, job)

    def keep(self, jobs: Iterable[Job]) -> None:
        """Write down the expanded jobs in their order, in one transaction; those kept before and not named stay."""
        with spoken(self._path), tables.transaction(self._db):
            tables.put_jobs(self._db, jobs)

    def jobs(self) -> dict[str, Job]:
        """Return every job ever kept by its id, in the order it was last kept in."""
        with spoken(self._path):
            return tables.jobs(self._db)

    def mark(self, key: str, value: Json) -> None:
        """Remember one thing about the batch as a whole, durably; a later value replaces an earlier one."""
        with spoken(self._path):
            tables.put_mark(self._db, key, value)

    def marks(self) -> dict[str, Json]:
        """Return all that `mark` remembers, and `batch`, the batch's name."""
        with spoken(self._path):
            return tables.marks(self._db)

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
            tables.begin(db, begin)
        return db, tables.take_over(db)
    except sqlite3.Error:
        db.close()
        raise
