"""Of what people are told, and in which words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from notices import ALL, AT, COUNTS, failed, finished, server

from batchrunner.manifest.forms import EVENTS
from batchrunner.notify.notice import Kind, Notice
from batchrunner.notify.sieve import Sieve
from batchrunner.show.events import RunEvent, note_event

OUT_OF_MEMORY = {"why": "error", "message": "CUDA out of memory"}


def body(notice: Notice | None, on: frozenset[str] = ALL, topic: str = "") -> dict[str, Any]:
    """Return a notice as its reader gets it."""
    assert notice is not None
    found: dict[str, Any] = json.loads(notice.body(on, topic))
    return found


def test_the_kinds_are_those_a_manifest_may_name() -> None:
    """Whatever a manifest may ask for can be told, and the other way round."""
    assert set(Kind) == set(EVENTS)


def test_the_end() -> None:
    """The end of a run tells how it ended, in words for ntfy and Slack, and in fields."""
    assert body(Sieve("t").hear(finished()), topic="cats") == {
        "event": "finished",
        "batch": "t",
        "at": "2026-01-31T07:30:05.000Z",
        "title": "t: every job is done",
        "message": "finished: 3 done, 1 failed, 8 left",
        "text": "t: every job is done - finished: 3 done, 1 failed, 8 left",
        "topic": "cats",
        "counts": COUNTS,
        "exit": 0,
    }


@pytest.mark.parametrize(
    ("code", "event", "title"),
    [
        (0, "finished", "t: every job is done"),
        (1, "finished", "t: finished, and some jobs failed"),
        (3, "stopped", "t: stopped by the server"),
        (5, "stopped", "t: stopped by this machine"),
        (130, "finished", "t: interrupted"),
        (70, "finished", "t: stopped by an error"),
    ],
)
def test_every_end(code: int, event: str, title: str) -> None:
    """Every exit code is told; a run that was stopped says so first, and to whoever asked for either."""
    notice = Sieve("t").hear(finished(code))
    assert (body(notice)["event"], body(notice)["title"]) == (event, title)
    assert body(notice, frozenset({"finished"}))["event"] == "finished"


def test_a_stop_names_the_servers_that_ail() -> None:
    """Why a run was stopped stands in the message: what the servers in trouble said last."""
    sieve = Sieve("t")
    sieve.hear(server("away", "refused the connection"))
    assert "http://gpu-box:8188 is away: refused the connection" in body(sieve.hear(finished(3)))["message"]
    sieve.hear(server("up"))
    assert "gpu-box" not in body(sieve.hear(finished(3)))["message"]


def test_failed_jobs_are_gathered() -> None:
    """Jobs that failed are told together: how many, the first few in words, the first ten in fields; and once."""
    sieve = Sieve("t")
    for number in range(12):
        assert sieve.hear(failed(f"j{number}")) is None
    told = body(sieve.failures(AT))
    assert (told["event"], told["title"], told["failed"]) == ("failed", "t: 12 jobs failed", 12)
    assert told["message"].startswith("12 jobs failed: cats/j0 (error: CUDA out of memory); cats/j1 (")
    assert told["message"].endswith("; and 9 more")
    assert told["jobs"] == [{"id": f"j{number}", "name": f"cats/j{number}", **OUT_OF_MEMORY} for number in range(10)]
    assert sieve.failures(AT) is None


def test_a_lost_attempt_is_no_failed_job() -> None:
    """An attempt after which another follows wakes nobody."""
    sieve = Sieve("t")
    sieve.hear(RunEvent("lost", AT, "attempt 1 is lost", "j", fields={"final": False}))
    assert sieve.failures(AT) is None


def test_the_end_tells_the_last_failures_too() -> None:
    """What failed since the last message is told with the end, also to whoever asked for failures alone."""
    sieve = Sieve("t")
    sieve.hear(failed("a"))
    notice = sieve.hear(finished(1))
    assert "1 failed at last: cats/a (error: CUDA out of memory)" in body(notice)["message"]
    told = body(notice, frozenset({"failed"}))
    assert (told["event"], told["jobs"][0]["id"]) == ("failed", "a")
    assert sieve.failures(AT) is None


@pytest.mark.parametrize(("state", "event"), [("denied", "stopped"), ("pausing", "breaker"), ("stalled", "stuck")])
def test_a_server_in_trouble(state: str, event: str) -> None:
    """A server that refuses us, is given a rest or stands still is told with its own words."""
    told = body(Sieve("t").hear(server(state, "said so")))
    assert (told["event"], told["server"]) == (event, "http://gpu-box:8188")
    assert told["message"] == f"http://gpu-box:8188 is {state}: said so"


def test_a_server_up_and_down_all_night_is_told_once_an_hour() -> None:
    """The same trouble of the same server is news once an hour; another trouble at once."""
    sieve = Sieve("t")
    assert sieve.hear(server("pausing"))
    sieve.hear(server("up"))
    assert sieve.hear(server("pausing", at=AT + 3599)) is None
    assert sieve.hear(server("stalled", at=AT + 3599))
    assert sieve.hear(server("pausing", at=AT + 3601))


def test_a_stuck_job() -> None:
    """An event named `stuck` is told under the job's name."""
    told = body(Sieve("t").hear(RunEvent("stuck", AT, "no progress for 20 min", "j", "cats/one")))
    assert (told["event"], told["message"]) == ("stuck", "cats/one: no progress for 20 min")


@pytest.mark.parametrize("event", [server("up"), server("away"), server("asking"), note_event(AT, "x"), failed("a")])
def test_what_wakes_nobody(event: RunEvent) -> None:
    """A server away, a note, a single failed job: nothing of that is a message of its own at once."""
    assert Sieve("t").hear(event) is None


def test_a_run_that_breaks_off_is_told() -> None:
    """A run that ends by an error has no last event, and is told all the same."""
    told = body(Sieve("t").broke_off(AT, 5, "the disk is full"))
    assert (told["event"], told["title"], told["message"]) == (
        "stopped",
        "t: stopped by this machine",
        "the disk is full",
    )


@pytest.mark.parametrize(
    "message",
    [
        "\x1b[31m\n\r\x00\x9b",
        "<!channel> & <http://x|y>",
        "\u202e\u2028",
        "\ud800",
        "\U0001f431" * 999,
        "&" * 999,
        "\\" * 999,
    ],
)
def test_hostile_words(message: str) -> None:
    """Whatever a server says: one line each, nothing that anybody would obey, at most 4,096 bytes."""
    sieve = Sieve("t")
    for number in range(10):
        sieve.hear(failed(f"{number}{message}", message))
    for notice in (sieve.failures(AT), sieve.hear(server("denied", message)), sieve.broke_off(AT, 5, message)):
        assert notice is not None
        assert len(notice.body(ALL)) <= 4096
        told = body(notice)
        for key in ("title", "message", "text"):
            assert told[key].isprintable()
        assert "<" not in told["text"]


def test_what_does_not_fit_is_left_out() -> None:
    """Where ten jobs don't fit, fewer are listed; how many failed is told all the same."""
    sieve = Sieve("t")
    for number in range(10):
        sieve.hear(failed(f"j{number}", "\U0001f431" * 300))
    told = body(sieve.failures(AT))
    assert 0 < len(told["jobs"]) < 10
    assert told["failed"] == 10
