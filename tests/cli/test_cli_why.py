"""`why`: a job's story in words."""

from __future__ import annotations

from dataclasses import replace

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
)
from batchrunner.core.job import Job
from batchrunner.core.lifecycle import folded
from batchrunner.show.events import DIFFERS
from batchrunner.show.history import story
from batchrunner.text import clock

GPU = "http://gpu:8188"
JOB = Job("a" * 12, "", {}, "cats/one", 1.0)
AT = 1_700_000_000.0


def _claimed(attempt: int, at: float) -> list[Fact]:
    ident = f"id{attempt}"
    return [
        Claimed(JOB.id, attempt, AT + at, ident, f"night-a{attempt}", GPU, ""),
        Accepted(JOB.id, attempt, AT + at, ident, f"night-a{attempt}", GPU),
    ]


def _rendered(attempt: int, at: float, seconds: float | None = 300.0) -> Rendered:
    return Rendered(JOB.id, attempt, AT + at, (File(f"night-a{attempt}_00001_.mp4"),), None, seconds)


def _story(*facts: Fact) -> list[str]:
    return story(JOB, facts, folded([JOB.id], facts)[JOB.id])


def _home(attempt: int, at: float) -> list[Fact]:
    name = f"night-a{attempt}_00001_.mp4"
    return [
        Opened(JOB.id, attempt, AT + at, name, "etag", 1000, ".part", "boot"),
        Saved(JOB.id, attempt, AT + at, name, "cats/one.mp4", 1000, "0123456789abcdef" * 4),
    ]


def test_lost_expired_and_home_at_last() -> None:
    """A job that a restart lost, that expired, and that was rendered again reads in order, with its evidence."""
    told = _story(
        *_claimed(1, 0.0),
        Lost(JOB.id, 1, AT + 90, Why.FORGOTTEN, "absent three times over", burns=False),
        *_claimed(2, 90.0),
        _rendered(2, 2000.0),
        Lost(JOB.id, 2, AT + 2000, Why.EXPIRED, "404 on /view"),
        *_claimed(3, 2000.0),
        _rendered(3, 2300.0, 0.2),
        DownloadFailed(JOB.id, 3, AT + 2301, "night-a3_00001_.mp4", "the connection was reset"),
        *_home(3, 2302.0),
    )
    begins = [
        "cats/one (job aaaaaaaaaaaa)",
        "Attempt 1 goes to http://gpu:8188 as prompt id1.",
        "The server queues it.",
        "Attempt 1 is lost: the server knew nothing of it any more. Evidence: absent three times over.",
        "It waits for another; this one does not count.",
        "Attempt 2 goes to",
        "The server queues it.",
        "A look finds it rendered: night-a2_00001_.mp4. The server took 5 min.",
        "Attempt 2 is lost: the file was gone before it was home. Evidence: 404 on /view.",
        "It waits for another attempt.",
        "Attempt 3 goes to",
        "The server queues it.",
        "A look finds it rendered: night-a3_00001_.mp4. The server took less than a second.",
        "The download breaks off: the connection was reset.",
        "The download of night-a3_00001_.mp4 begins, 1.0 kB.",
        "It is home: cats/one.mp4, 1.0 kB, sha256 0123456789abcdef",
        "Now: done, cats/one.mp4.",
    ]
    assert len(told) == len(begins)
    for line, begin in zip(told, begins, strict=True):
        assert begin in line
    assert told[1].startswith(clock(AT))
    assert told[-2].startswith(clock(AT + 2302))


def test_a_failure_says_what_helps() -> None:
    """A job that failed ends with why, in the server's own words, and with the verb that lets it wait again."""
    message = "SaveVideo #15 raised OSError: [Errno 28] No space left on device"
    told = _story(*_claimed(1, 0.0), Lost(JOB.id, 1, AT, Why.ERROR, message, final=True))
    assert "That is final" in told[-2]
    assert told[-1].startswith(f"Now: failed: error: {message}")
    assert "batchrunner retry" in told[-1]


def test_sent_and_found_later() -> None:
    """A POST without an answer whose prompt a look found a minute later says so; so does an adopted one."""
    late = _story(_claimed(1, 0.0)[0], _claimed(1, 65.0)[1])
    assert "(1 min 5 s later: a look found it there)" in late[2]
    adopted = _story(Accepted(JOB.id, 4, AT, "id4", "night-a4", GPU, 4))
    assert "Attempt 4 is found on http://gpu:8188 and taken over." in adopted[1]
    assert adopted[-1] == "Now: attempt 4 is on http://gpu:8188, waiting or running."


def test_a_workflow_that_the_server_rewrote() -> None:
    """What was rendered though it is not what was sent says so, and goes on."""
    told = _story(*_claimed(1, 0.0), replace(_rendered(1, 300.0), differs=True), *_home(1, 301.0))
    assert told[4].endswith(f"Warning: {DIFFERS}.")
    assert told[-1] == "Now: done, cats/one.mp4."


def test_every_state_has_an_end() -> None:
    """Wherever a job stands, the last line says it."""
    claimed = _claimed(1, 0.0)
    assert _story()[-1] == "Now: it waits for its turn."
    assert "whether it arrived is not known yet" in _story(claimed[0])[-1]
    assert "1 of 1 files are still to come home" in _story(*claimed, _rendered(1, 9.0, None))[-1]
    dropped = Dropped(JOB.id, 0, AT, "cancelled")
    assert _story(dropped)[-1] == "Now: it is not part of the batch any more."
    assert _story(dropped, Reopened(JOB.id, 0, AT))[-1] == "Now: it waits for its turn."


def test_days_are_named_where_there_are_several() -> None:
    """A story of one day has times only; one that goes on later names each day before its first time."""
    week = 7 * 86400.0
    told = _story(*_claimed(1, 0.0), Lost(JOB.id, 1, AT + week, Why.INTERRUPTED, "", burns=False))
    days = [line for line in told if line.endswith(":") and line[:4].isdigit()]
    assert (len(days), told[1], told[4]) == (2, days[0], days[1])
    assert not any(line.endswith(":") for line in _story(*_claimed(1, 0.0)))


def test_what_strangers_say_stays_text() -> None:
    """Nothing a server or a manifest says can act on a terminal, or make a second line."""
    told = _story(*_claimed(1, 0.0), Lost(JOB.id, 1, AT, Why.ERROR, "\x1b[2Jboo\nNow: done.", final=True))
    assert not any(char in line for line in told for char in "\x1b\n")
