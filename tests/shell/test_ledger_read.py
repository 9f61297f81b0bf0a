"""What `status` may count on when it reads a state from outside."""

from __future__ import annotations

import sqlite3
from typing import TYPE_CHECKING

import pytest

from batchrunner.core.facts import Reopened
from batchrunner.core.job import Job
from batchrunner.errors import LocalError
from batchrunner.ledger import STATE, Ledger, StateError

if TYPE_CHECKING:
    from pathlib import Path

JOB = Job("c" * 12, "c" * 64, {"seed": 2**64 - 1}, "one", 0.0)
FACT = Reopened("c" * 12, 1, 2.0)


def _listing(folder: Path) -> dict[str, tuple[int, int]]:
    return {item.name: (item.stat().st_size, item.stat().st_mtime_ns) for item in folder.iterdir()}


def _seen(folder: Path) -> None:
    snapshot = Ledger.read(folder)
    assert snapshot is not None
    assert (snapshot.batch, dict(snapshot.jobs), snapshot.facts) == ("cats", {JOB.id: JOB}, (FACT,))
    assert snapshot.marks == {"batch": "cats", "k": 1}


def _write(ledger: Ledger) -> None:
    ledger.keep([JOB])
    ledger.append(FACT)
    ledger.mark("k", 1)


def test_a_batch_never_run_has_no_state(tmp_path: Path) -> None:
    """No folder, an empty one and a state not yet begun all read as nothing, and nothing is created."""
    assert Ledger.read(tmp_path / "none") is None
    assert Ledger.read(tmp_path) is None
    assert _listing(tmp_path) == {}
    (tmp_path / "state.sqlite3").touch()
    assert Ledger.read(tmp_path) is None
    assert list(_listing(tmp_path)) == ["state.sqlite3"]


def test_what_stays_unreadable_is_told(tmp_path: Path) -> None:
    """What cannot be read at the third try either is said, never taken for a batch that was not yet run."""
    (tmp_path / "state.sqlite3").write_bytes(b"no database" * 100)
    with pytest.raises(StateError, match="damaged or not a state file"):
        Ledger.read(tmp_path)


def test_reading_at_rest_changes_nothing(tmp_path: Path) -> None:
    """A state nobody runs is read whole, and no file is created or changed."""
    with Ledger.open(tmp_path, "cats") as ledger:
        _write(ledger)
    before = _listing(tmp_path)
    _seen(tmp_path)
    assert _listing(tmp_path) == before


def test_reading_during_a_run_sees_the_last_commit(tmp_path: Path) -> None:
    """What a running batch has committed is seen at once, and its writer is not disturbed."""
    with Ledger.open(tmp_path, "cats") as ledger:
        _write(ledger)
        _seen(tmp_path)
        ledger.append(FACT)
        snapshot = Ledger.read(tmp_path)
        assert snapshot is not None
        assert snapshot.facts == (FACT, FACT)


def test_reading_after_a_crash_sees_every_commit(tmp_path: Path) -> None:
    """What a killed run left in its WAL is seen, and no file is created."""
    crashed = _crashed(tmp_path)
    before = set(_listing(crashed))
    _seen(crashed)
    assert set(_listing(crashed)) == before


def test_reading_a_backup_without_the_index_sees_every_commit(tmp_path: Path) -> None:
    """A restored backup that left SQLite's index behind still reads whole."""
    crashed = _crashed(tmp_path)
    (crashed / "state.sqlite3-shm").unlink()
    _seen(crashed)


def test_a_newer_or_damaged_state_is_refused(tmp_path: Path) -> None:
    """Reading what can't be understood says so instead of showing half of it."""
    Ledger.open(tmp_path, "cats").close()
    with sqlite3.connect(tmp_path / "state.sqlite3") as db:
        db.execute("PRAGMA user_version=9")
    db.close()
    with pytest.raises(StateError, match="newer batchrunner"):
        Ledger.read(tmp_path)
    (tmp_path / "state.sqlite3").write_text("nonsense" * 100)
    with pytest.raises(StateError, match="damaged"):
        Ledger.read(tmp_path)


def test_a_name_no_file_can_have_is_a_local_error(tmp_path: Path) -> None:
    """A folder that can't even be looked at is an error in words."""
    with pytest.raises(LocalError, match="can't be read"):
        Ledger.read(tmp_path / ("x" * 300))


def _crashed(tmp_path: Path) -> Path:
    """Copy the files of an open ledger, as a kill would have left them."""
    crashed = tmp_path / "crashed"
    crashed.mkdir()
    with Ledger.open(tmp_path / "live", "cats") as ledger:
        _write(ledger)
        for item in (tmp_path / "live").iterdir():
            (crashed / item.name).write_bytes(item.read_bytes())
    return crashed


@pytest.mark.parametrize(
    "planted",
    [
        (
            "CREATE VIEW facts AS WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n)"
            " SELECT x AS seq, 'lost' AS kind, 'j' AS job, 1 AS attempt, 0.0 AS at, '{}' AS body FROM n"
        ),
        "CREATE TABLE facts (seq, job, attempt, kind, at, body TEXT AS (hex(zeroblob(1000000000))))",
        (
            "CREATE TABLE facts (seq INTEGER PRIMARY KEY, job TEXT, attempt INTEGER, kind TEXT, at REAL, body TEXT);"
            " CREATE TRIGGER more AFTER INSERT ON facts BEGIN DELETE FROM jobs; END"
        ),
    ],
)
def test_a_planted_state_is_refused_at_once(tmp_path: Path, planted: str) -> None:
    """A view, a computed column or a trigger where a table must be is refused before anything is read from it."""
    with Ledger.open(tmp_path, "cats") as ledger:
        ledger.keep([JOB])
    with sqlite3.connect(tmp_path / STATE) as db:
        db.executescript(f"DROP TABLE facts; {planted};")
    for read in (Ledger.read, lambda folder: Ledger.open(folder, "cats")):
        with pytest.raises(StateError, match="its tables are not those of a state"):
            read(tmp_path)
