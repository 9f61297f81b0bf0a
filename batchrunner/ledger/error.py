"""What can go wrong with the state file, in words that say what to do about it."""

from __future__ import annotations

import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

from batchrunner.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class StateError(LocalError):
    """The state of this batch cannot be used."""


REBUILD = (
    "move it away and run the same command again: "
    "what is done is found again in the batch's folder and on its servers, and nothing is rendered twice"
)
_DAMAGED = f"it is damaged or no state of batchrunner; {REBUILD}"
_FULL = "the disk is full; free some space and run the same command again"
_SAYS = {
    sqlite3.SQLITE_FULL: _FULL,
    sqlite3.SQLITE_CORRUPT: _DAMAGED,
    sqlite3.SQLITE_NOTADB: _DAMAGED,
    sqlite3.SQLITE_READONLY: "it can't be written; check who owns it and its folder, and whether the disk is read-only",
    sqlite3.SQLITE_CANTOPEN: "it can't be opened; check who owns it and its folder, and the limit on open files",
    sqlite3.SQLITE_PERM: "it can't be opened; check who owns it and its folder",
    sqlite3.SQLITE_BUSY: "another program holds it open for writing; end that program and run the same command again",
    sqlite3.SQLITE_LOCKED: "another program holds it open for writing; end that program and run the same command again",
    sqlite3.SQLITE_IOERR: "the disk failed to read or write it; check the disk, then run the same command again",
}


@contextmanager
def spoken(path: Path) -> Iterator[None]:
    """Turn whatever SQLite raises within into a `StateError` that names the file, the cause and the way out."""
    try:
        yield
    except StateError as error:
        raise StateError(f"{path}: {error}") from error
    except sqlite3.Error as error:
        raise StateError(f"{path}: {_words(error)}") from error


def _words(error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return _SAYS.get(code & 0xFF, f"SQLite says: {error}; {REBUILD}")
