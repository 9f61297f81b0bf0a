"""What the ledger promises about the facts, the jobs and the files it keeps them in."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import pytest
from hypothesis import given, strategies as st

from batchrunner.core.facts import (
    Accepted,
    Claimed,
    DownloadFailed,
    Dropped,
    Fact,
    File,
    Lost,
    Opened,
    Rendered,
    Reopened,
    Saved,
    Why,
    fact_name,
)
from batchrunner.core.job import InputFile, Job
from batchrunner.errors import LocalError
from batchrunner.ledger import LEARNED_AGAIN, Ledger, StateError
from batchrunner.ledger.codec import fact_text, read_fact
from tests.lab.fake_disk import FakeDisk

if TYPE_CHECKING:
    from collections.abc import Iterator

FACTS: tuple[Fact, ...] = (
    Claimed("a" * 12, 1, 1.5, "id", "cats-a-a1", "http://gpu:8188", "f" * 64),
    Accepted("a" * 12, 1, 2.5, "id", "cats-a-a1", "http://gpu:8188", highest=3),
    Rendered("a" * 12, 1, 3.0, (File("x_00001_.mp4"), File("y.png", "sub", "output")), deadline=603.25, seconds=None),
    Rendered("a" * 12, 1, 3.0, (), deadline=None, seconds=12.0),
    Opened("a" * 12, 1, 4.0, "x_00001_.mp4", '"etag"', -1, "x.part", "boot"),
    DownloadFailed("a" * 12, 1, 5.0, "x_00001_.mp4", "reset", whole='"etag"'),
    Saved("a" * 12, 1, 6.0, "x_00001_.mp4", "cat.mp4", 13_200_000, "0" * 64),
    Lost("b" * 12, 2, 7.0, Why.FORGOTTEN, "gone \x1b[2J \ud800 \u2028", burns=False, final=True, error="KSampler: OOM"),
    Reopened("b" * 12, 2, 8.0),
    Dropped("b" * 12, 2, 9.0, "no longer in the manifest"),
)
JOB = Job("c" * 12, "c" * 64, {"prompt": "A cat", "seed": 2**64 - 1, "cfg": 4.5, "x": None, "b": True}, "cats/one", 3e9)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """Open the ledger of a new batch."""
    with Ledger.open(tmp_path / "cats", "cats") as opened:
        yield opened


def _closed(folder: Path) -> Path:
    with Ledger.open(folder, "cats") as ledger:
        ledger.append(FACTS[0])
    return folder / "state.sqlite3"


def test_facts_come_back_equal_and_in_order(ledger: Ledger, tmp_path: Path) -> None:
    """Every kind of fact comes back as it went in, in the order it happened, after closing too."""
    for fact in FACTS:
        ledger.append(fact)
    assert tuple(ledger.facts()) == FACTS
    ledger.close()
    with Ledger.open(tmp_path / "cats", "cats") as again:
        assert tuple(again.facts()) == FACTS


def test_one_jobs_history_is_its_own_facts(ledger: Ledger) -> None:
    """A job's history is all its facts and no other's, in order, found without reading the rest."""
    for fact in FACTS:
        ledger.append(fact)
    assert ledger.history("b" * 12) == [fact for fact in FACTS if fact.job == "b" * 12]
    assert ledger.history("unknown") == []
    (plan,) = ledger._db.execute("EXPLAIN QUERY PLAN SELECT * FROM facts WHERE job = 'b' ORDER BY seq")
    assert "USING INDEX" in plan[3]


def test_every_kind_of_fact_is_among_the_examples() -> None:
    """No kind of fact is left out of these tests."""
    assert {type(fact) for fact in FACTS} == set(get_args(Fact))


@given(st.text(), st.sampled_from(Why), st.booleans(), st.floats(allow_nan=False, allow_infinity=False))
def test_whatever_a_server_says_survives(message: str, why: Why, burns: bool, at: float) -> None:  # noqa: FBT001 - given
    """Any text of a server, lone surrogates included, is kept to the character."""
    fact = Lost("a" * 12, 1, at, why, message, burns)
    assert read_fact(fact_name(type(fact)), fact.job, fact.attempt, fact.at, fact_text(fact)) == fact


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("vanished", "{}"),
        ("reopened", '{"new": 1}'),
        ("dropped", "{}"),
        ("dropped", '{"message": 1}'),
        ("dropped", "[]"),
        ("dropped", "{"),
        ("lost", '{"why": "weather", "message": ""}'),
        ("lost", '{"why": "refused", "message": "", "burns": 1}'),
        ("accepted", '{"prompt": "p", "prefix": "p", "server": "s", "highest": true}'),
        ("rendered", '{"files": [["a", "b"]], "deadline": null}'),
        ("rendered", '{"files": "a", "deadline": null}'),
        ("rendered", '{"files": {}, "deadline": null}'),
        ("rendered", '{"files": "", "deadline": null}'),
        ("rendered", '{"files": [], "deadline": "soon"}'),
    ],
)
def test_a_fact_this_version_cannot_have_written_is_refused(
    ledger: Ledger, tmp_path: Path, name: str, body: str
) -> None:
    """A misread fact could lose a video, so an unknown or damaged one stops the run in words."""
    ledger.close()
    with sqlite3.connect(tmp_path / "cats" / "state.sqlite3") as db:
        db.execute("INSERT INTO facts (job, attempt, kind, at, body) VALUES ('j', 1, ?, 0, ?)", (name, body))
    db.close()
    with Ledger.open(tmp_path / "cats", "cats") as again, pytest.raises(StateError, match=r"state.sqlite3: .*move it"):
        list(again.facts())


def test_a_fact_of_an_earlier_version_is_read() -> None:
    """What a fact says since a later version only has a default, and an older ledger that lacks it is read."""
    old = read_fact("lost", "j", 1, 0.0, '{"why": "refused", "message": "no"}')
    assert old == Lost("j", 1, 0.0, Why.REFUSED, "no")


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE facts SET attempt = 'x'",
        "UPDATE facts SET attempt = NULL",
        "UPDATE facts SET attempt = 1.5",
        "UPDATE facts SET at = 'soon'",
        "UPDATE facts SET at = NULL",
        "UPDATE facts SET job = NULL",
        "UPDATE facts SET job = x'ff'",
    ],
)
def test_a_column_that_no_fact_has_is_refused(ledger: Ledger, damage: str) -> None:
    """What stands beside a fact's JSON is not believed either: SQLite keeps anything in any column."""
    ledger.append(FACTS[0])
    ledger._db.execute(damage)
    with pytest.raises(StateError, match=r"damaged fact .*move it"):
        list(ledger.facts())


@pytest.mark.parametrize(
    "body",
    [
        "{}",
        "[]",
        "{",
        '{"digest": 1, "params": {}, "file": "", "cost": 0}',
        '{"digest": "", "params": {"a": []}, "file": "", "cost": 0}',
        '{"digest": "", "params": {}, "file": "", "cost": true}',
        '{"digest": "", "params": {}, "file": "", "cost": 0, "inputs": {}}',
        '{"digest": "", "params": {}, "file": "", "cost": 0, "inputs": [["a", 1]]}',
        '{"digest": "", "params": {}, "file": "", "cost": 0, "uploads": {"a": 1}}',
    ],
)
def test_a_damaged_job_is_refused(ledger: Ledger, body: str) -> None:
    """A job that can't be read stops the run in words."""
    ledger.keep([JOB])
    ledger._db.execute("UPDATE jobs SET body = ?", (body,))
    with pytest.raises(StateError, match="damaged job"):
        ledger.jobs()


def test_jobs_come_back_with_their_largest_seed(ledger: Ledger) -> None:
    """A seed of 2^64-1, every other kind of value and input files come back as they went in."""
    files = (InputFile("e" * 64, 2**40, "batchrunner-e.png"),)
    other = replace(JOB, id="f" * 12, inputs=files, uploads={"image": files[0].name})
    ledger.keep([JOB, other])
    assert ledger.jobs() == {JOB.id: JOB, other.id: other}


def test_keeping_again_reorders_and_forgets_nothing(ledger: Ledger) -> None:
    """Jobs come in the order of the manifest kept last; one it no longer names is still known, and last."""
    one, two, three = (Job(str(n) * 12, str(n) * 64, {"n": n}, f"f{n}", 0.0) for n in (1, 2, 3))
    ledger.keep([three, one])
    ledger.keep([two, one])
    content = ledger.content()
    assert list(ledger.jobs()) == list(content.jobs) == [two.id, one.id, three.id]
    assert (content.current, content.gone) == ([two, one], {three.id})
    ledger.keep([three])
    assert ledger.content().current == [three]


def test_keeping_what_is_kept_writes_nothing(ledger: Ledger) -> None:
    """Starting the same batch again leaves its jobs unwritten."""
    ledger.keep([JOB])
    before = ledger._db.total_changes
    ledger.keep([JOB])
    assert ledger._db.total_changes == before


def test_keeping_is_all_or_nothing(ledger: Ledger) -> None:
    """A failure among the jobs leaves those before as they were, and the ledger usable."""

    def broken() -> Iterator[Job]:
        yield JOB
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        ledger.keep(broken())
    assert ledger.jobs() == {}
    ledger.append(FACTS[0])


def test_marks_are_replaced_by_later_ones(ledger: Ledger) -> None:
    """A mark keeps its last value; the batch's name is one from the start."""
    ledger.mark("surveyed", ["http://a:1"])
    ledger.mark("surveyed", ["http://a:1", "\ud800"])
    assert ledger.marks() == {"batch": "cats", "surveyed": ["http://a:1", "\ud800"]}


def test_a_commit_is_synchronous(ledger: Ledger) -> None:
    """What was acknowledged survives a power cut: a sync per commit, but for what is learned again; no other file."""
    commits: list[tuple[str, int]] = []

    def note(statement: str) -> None:
        if statement.startswith("INSERT"):
            commits.append((statement.split("'")[3], ledger._db.execute("PRAGMA synchronous").fetchone()[0]))

    ledger._db.set_trace_callback(note)
    for fact in FACTS:
        ledger.append(fact)
    ledger._db.set_trace_callback(None)
    full, normal = 2, 1
    assert commits == [(fact_name(kind), normal if kind in LEARNED_AGAIN else full) for kind in map(type, FACTS)]
    assert ledger._db.execute("PRAGMA synchronous").fetchone() == (full,)
    assert ledger._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert ledger._db.execute("PRAGMA temp_store").fetchone() == (2,)


def test_a_new_state_outlives_a_power_cut(tmp_path: Path) -> None:
    """The folder of a new batch and the file in it are there for good before the first fact is; nothing stays open."""
    fake_disk, before = FakeDisk(), len(list(Path("/dev/fd").iterdir()))
    with fake_disk.installed(), Ledger.open(tmp_path / "cats", "cats"):
        assert fake_disk.has(tmp_path)
        assert fake_disk.has(tmp_path / "cats")
    assert len(list(Path("/dev/fd").iterdir())) == before


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_the_state_is_private(tmp_path: Path, umask: int) -> None:
    """No other user reads the prompts, whatever the umask."""
    before = os.umask(umask)
    try:
        with Ledger.open(tmp_path / "cats", "cats") as ledger:
            ledger.append(FACTS[0])
            modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "cats").iterdir()}
    finally:
        os.umask(before)
    assert modes == {"state.sqlite3": 0o600, "state.sqlite3-wal": 0o600, "state.sqlite3-shm": 0o600}


def test_a_newer_state_is_refused_untouched(tmp_path: Path) -> None:
    """A state of a later version is left to the byte as it is."""
    path = _closed(tmp_path)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version=2")
    db.close()
    before = path.read_bytes()
    with pytest.raises(StateError, match="a newer batchrunner wrote it"):
        Ledger.open(tmp_path, "cats")
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == [path.name]


def test_another_batch_is_refused_untouched(tmp_path: Path) -> None:
    """The state of one batch is never continued as another."""
    path = _closed(tmp_path)
    before = path.read_bytes()
    with pytest.raises(StateError, match="state of the batch 'cats', not of 'dogs'"):
        Ledger.open(tmp_path, "dogs")
    assert path.read_bytes() == before


@pytest.mark.parametrize("content", [b"name: cats\n" * 500, b"SQLite format 3\x00" + b"\x07" * 5000])
def test_what_is_no_database_is_refused_untouched(tmp_path: Path, content: bytes) -> None:
    """A damaged state is kept, and the message tells how to go on without it."""
    path = tmp_path / "state.sqlite3"
    path.write_bytes(content)
    with pytest.raises(StateError, match="move it away and run the same command again"):
        Ledger.open(tmp_path, "cats")
    assert path.read_bytes() == content


def test_a_truncated_state_is_refused(tmp_path: Path) -> None:
    """A state that lost its end is not taken for a shorter night."""
    with Ledger.open(tmp_path, "cats") as ledger:
        for _ in range(200):
            ledger.append(FACTS[0])
    path = tmp_path / "state.sqlite3"
    os.truncate(path, 8192)
    with pytest.raises(StateError, match="move it away"), Ledger.open(tmp_path, "cats") as again:
        list(again.facts())


def test_another_programs_database_is_refused(tmp_path: Path) -> None:
    """A database of another program is never written into."""
    with sqlite3.connect(tmp_path / "state.sqlite3") as db:
        db.execute("CREATE TABLE theirs (x)")
    db.close()
    with pytest.raises(StateError, match="another program"):
        Ledger.open(tmp_path, "cats")


@pytest.mark.parametrize("sql", ["DELETE FROM meta", "UPDATE meta SET value = '{'"])
def test_a_state_that_does_not_say_whose_it_is_is_refused(tmp_path: Path, sql: str) -> None:
    """A state without its batch's name is not guessed at."""
    path = _closed(tmp_path)
    with sqlite3.connect(path) as db:
        db.execute(sql)
    db.close()
    with pytest.raises(StateError, match="move it away"):
        Ledger.open(tmp_path, "cats")


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    """A link in the state's place is refused, and what it points to stays as it was."""
    victim = tmp_path / "victim"
    victim.write_bytes(b"")
    (tmp_path / "state.sqlite3").symlink_to(victim)
    with pytest.raises(LocalError, match="not a plain file"):
        Ledger.open(tmp_path, "cats")
    with pytest.raises(LocalError, match="not a plain file"):
        Ledger.read(tmp_path)
    assert victim.read_bytes() == b""


def test_a_planted_wal_link_is_not_followed(tmp_path: Path) -> None:
    """A link in the WAL's place never makes SQLite write where it points to."""
    _closed(tmp_path)
    (tmp_path / "state.sqlite3-wal").symlink_to(tmp_path / "victim")
    with pytest.raises(StateError):
        Ledger.open(tmp_path, "cats")
    assert not (tmp_path / "victim").exists()


def test_a_folder_that_cannot_be_made_is_a_local_error(tmp_path: Path) -> None:
    """A file where the folder should be is named, without a traceback."""
    (tmp_path / "cats").write_text("")
    with pytest.raises(LocalError, match="can't create this folder"):
        Ledger.open(tmp_path / "cats", "cats")


def test_a_full_state_says_so_and_keeps_what_it_has(ledger: Ledger) -> None:
    """With no room left an append fails in words; what is there stays, and room makes it work again."""
    ledger.append(FACTS[0])
    (pages,) = ledger._db.execute("PRAGMA page_count").fetchone()
    ledger._db.execute(f"PRAGMA max_page_count={pages}")
    big = Lost("a" * 12, 1, 0.0, Why.ERROR, "x" * 100_000)
    with pytest.raises(StateError, match="the disk is full; free some space"):
        ledger.append(big)
    with pytest.raises(StateError, match="the disk is full"):
        ledger.keep([Job("d" * 12, "", {"prompt": "x" * 100_000}, "f", 0.0)])
    assert list(ledger.facts()) == [FACTS[0]]
    ledger._db.execute("PRAGMA max_page_count=1000000")
    ledger.append(big)
    assert list(ledger.facts()) == [FACTS[0], big]


def test_a_closed_ledger_fails_in_words(ledger: Ledger) -> None:
    """Whatever SQLite raises comes out as the one error of the state."""
    ledger.close()
    with pytest.raises(StateError, match="SQLite reports"):
        ledger.append(FACTS[0])


def test_a_state_that_cannot_be_written_says_who_to_ask(ledger: Ledger) -> None:
    """A read-only state fails with a hint at owner and disk."""
    ledger._db.execute("PRAGMA query_only=1")
    with pytest.raises(StateError, match="check who owns it"):
        ledger.append(FACTS[0])
