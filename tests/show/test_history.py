"""The history of one job in words, as `why` prints it."""

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
from batchrunner.show.events import WORKFLOW_DIFFERS, job_history
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


def _history(*facts: Fact) -> list[str]:
    return job_history(JOB, facts, folded([JOB.id], facts)[JOB.id])


def _home(attempt: int, at: float) -> list[Fact]:
    name = f"night-a{attempt}_00001_.mp4"
    return [
        Opened(JOB.id, attempt, AT + at, name, "etag", 1000, ".part", "boot"),
        Saved(JOB.id, attempt, AT + at, name, "cats/one.mp4", 1000, "0123456789abcdef" * 4),
    ]


def test_lost_expired_and_saved_at_last() -> None:
    """A job that a restart lost, that expired, and that was rendered again reads in order, with its evidence."""
    told = _history(
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
        "Attempt 1 is sent to http://gpu:8188 as prompt id1.",
        "The server queued it.",
        "Attempt 1 ended without a video: the server does not know it any more (a restart, or a",
        "Another attempt follows; this one does not count.",
        "Attempt 2 is sent to",
        "The server queued it.",
        "The server finished rendering in 5 min: night-a2_00001_.mp4.",
        "Attempt 2 ended without a video: the server deleted its file before it was downloaded. Details: 404 on /view.",
        "Another attempt follows.",
        "Attempt 3 is sent to",
        "The server queued it.",
        "The server finished rendering in 1 s: night-a3_00001_.mp4.",
        "The download was interrupted: the connection was reset.",
        "The download of night-a3_00001_.mp4 begins, 1.0 kB.",
        "Saved as cats/one.mp4, 1.0 kB, sha256 0123456789abcdef",
        "Now: done, cats/one.mp4.",
    ]
    assert len(told) == len(begins)
    for line, begin in zip(told, begins, strict=True):
        assert begin in line
    assert told[1].startswith(clock(AT))
    assert told[-2].startswith(clock(AT + 2302))


def test_a_failure_says_what_helps() -> None:
    """A job that failed ends with why, in the server's own words, and with the verb that makes it wait again."""
    message = "SaveVideo #15 raised OSError: [Errno 28] No space left on device"
    told = _history(*_claimed(1, 0.0), Lost(JOB.id, 1, AT, Why.ERROR, message, final=True))
    assert "No further attempt" in told[-2]
    assert told[-1].startswith(f"Now: failed: error: {message}")
    assert "`retry` makes it wait again" in told[-1]


def test_sent_and_found_later() -> None:
    """A POST without an answer whose prompt a poll found a minute later says so; so does an adopted one."""
    late = _history(_claimed(1, 0.0)[0], _claimed(1, 65.0)[1])
    assert "(1 min 5 s later: a poll found it there)" in late[2]
    adopted = _history(Accepted(JOB.id, 4, AT, "id4", "night-a4", GPU, 4))
    assert "Attempt 4 was found on http://gpu:8188 and is continued." in adopted[1]
    assert adopted[-1] == "Now: attempt 4 is on http://gpu:8188, waiting or running."


def test_a_workflow_that_the_server_rewrote() -> None:
    """What was rendered though it is not what was sent says so, and goes on."""
    told = _history(*_claimed(1, 0.0), replace(_rendered(1, 300.0), differs=True), *_home(1, 301.0))
    assert told[4].endswith(f"Warning: {WORKFLOW_DIFFERS}.")
    assert told[-1] == "Now: done, cats/one.mp4."


def test_a_video_that_is_not_what_was_asked_for() -> None:
    """How it differs is told with its download."""
    *rest, saved = _home(1, 301.0)
    assert isinstance(saved, Saved)
    told = _history(*_claimed(1, 0.0), _rendered(1, 300.0), *rest, replace(saved, warning="no sound"))
    assert told[-2].endswith("Warning: no sound.")


def test_every_state_has_an_end() -> None:
    """Wherever a job stands, the last line says it."""
    claimed = _claimed(1, 0.0)
    assert _history()[-1] == "Now: waiting for its turn."
    assert "no answer yet" in _history(claimed[0])[-1]
    assert "1 of 1 file still to download" in _history(*claimed, _rendered(1, 9.0, None))[-1]
    dropped = Dropped(JOB.id, 0, AT, "cancelled")
    assert _history(dropped)[-1] == "Now: not part of the batch any more."
    assert _history(dropped, Reopened(JOB.id, 0, AT))[-1] == "Now: waiting for its turn."


def test_days_are_named_where_there_are_several() -> None:
    """The history of one day has times only; one that goes on later names each day before its first time."""
    week = 7 * 86400.0
    told = _history(*_claimed(1, 0.0), Lost(JOB.id, 1, AT + week, Why.INTERRUPTED, "", burns=False))
    days = [line for line in told if line.endswith(":") and line[:4].isdigit()]
    assert (len(days), told[1], told[4]) == (2, days[0], days[1])
    assert not any(line.endswith(":") for line in _history(*_claimed(1, 0.0)))


def test_what_strangers_say_stays_text() -> None:
    """Nothing a server or a manifest says can act on a terminal, or make a second line."""
    told = _history(*_claimed(1, 0.0), Lost(JOB.id, 1, AT, Why.ERROR, "\x1b[2Jboo\nNow: done.", final=True))
    assert not any(char in line for line in told for char in "\x1b\n")
