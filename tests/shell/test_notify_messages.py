"""Which events become a message, and what it says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from notifications import ALL, AT, COUNTS, failed, finished, server

from batchrunner.manifest.forms import EVENTS
from batchrunner.notify import EventFilter, Kind, Message
from batchrunner.show.events import RunEvent, finished_event, note_event

OUT_OF_MEMORY = {"why": "error", "message": "CUDA out of memory"}


def body(message: Message | None, on: frozenset[str] = ALL, topic: str = "") -> dict[str, Any]:
    """Return a message as its reader gets it."""
    assert message is not None
    found: dict[str, Any] = json.loads(message.body(on, topic))
    return found


def test_the_kinds_are_those_a_manifest_may_name() -> None:
    """Whatever a manifest may ask for can be told, and the other way round."""
    assert set(Kind) == set(EVENTS)


def test_the_end() -> None:
    """The end of a run tells how it ended, in words for ntfy and Slack, and in fields."""
    assert body(EventFilter("t").event(finished()), topic="cats") == {
        "version": 1,
        "event": "finished",
        "batch": "t",
        "at": "2026-01-31T07:30:05.000Z",
        "title": "t: finished, and some jobs are left",
        "message": "finished: 3 done, 1 failed, 8 left",
        "text": "t: finished, and some jobs are left - finished: 3 done, 1 failed, 8 left",
        "topic": "cats",
        "counts": COUNTS,
        "exit": 0,
    }


@pytest.mark.parametrize(
    ("code", "event", "title"),
    [
        (0, "finished", "t: finished, and some jobs are left"),
        (1, "finished", "t: finished, and some jobs failed"),
        (3, "stopped", "t: stopped by the server"),
        (5, "stopped", "t: stopped by this machine"),
        (130, "finished", "t: interrupted"),
        (70, "finished", "t: stopped by an error"),
    ],
)
def test_every_end(code: int, event: str, title: str) -> None:
    """Every exit code is told; a run that was stopped says so first, and to whoever asked for either."""
    message = EventFilter("t").event(finished(code))
    assert (body(message)["event"], body(message)["title"]) == (event, title)
    assert body(message, frozenset({"finished"}))["event"] == "finished"


def test_the_end_says_how_to_go_on() -> None:
    """The command to type next is told whole, in a field, and in the text where it fits; a long one is not."""
    told = body(EventFilter("t").event(finished_event(AT, {"done": 1, "waiting": 1}, 0, "batchrunner run a.yaml")))
    assert told["next"] == "batchrunner run a.yaml"
    assert told["message"] == "finished: 1 done, 1 left; next: batchrunner run a.yaml"
    told = body(EventFilter("t").event(finished_event(AT, {"done": 1, "waiting": 1}, 0, f"run {'x' * 400}")))
    assert (len(told["next"]), told["message"]) == (404, "finished: 1 done, 1 left")
    assert "next" not in body(EventFilter("t").event(finished_event(AT, {"waiting": 1}, 0, "x" * 2000)))
    done = body(EventFilter("t").event(finished_event(AT, {"done": 1, "waiting": 0}, 0)))
    assert ("next" in done, done["title"]) == (False, "t: every job is done")


def test_a_stop_names_unhealthy_servers() -> None:
    """Why a run was stopped stands in the message: what was last reported of each server that is not up."""
    events = EventFilter("t")
    events.event(server("away", "refused the connection"))
    assert "http://gpu-box:8188 is away: refused the connection" in body(events.event(finished(3)))["message"]
    events.event(server("up"))
    assert "gpu-box" not in body(events.event(finished(3)))["message"]


def test_failed_jobs_are_gathered() -> None:
    """Jobs that failed are told together: how many, the first few in words, the first ten in fields; and once."""
    events = EventFilter("t")
    for number in range(12):
        assert events.event(failed(f"j{number}")) is None
    told = body(events.failures(AT))
    assert (told["event"], told["title"], told["failed"]) == ("failed", "t: 12 jobs failed", 12)
    assert told["message"].startswith("12 jobs failed: cats/j0 (error: CUDA out of memory); cats/j1 (")
    assert told["message"].endswith("; and 9 more")
    assert told["jobs"] == [{"id": f"j{number}", "name": f"cats/j{number}", **OUT_OF_MEMORY} for number in range(10)]
    assert events.failures(AT) is None


def test_the_end_tells_the_last_failures_too() -> None:
    """What failed since the last message is told with the end, also to whoever asked for failures alone."""
    events = EventFilter("t")
    events.event(failed("a"))
    message = events.event(finished(1))
    assert "since the last message 1 failed: cats/a (error: CUDA out of memory)" in body(message)["message"]
    told = body(message, frozenset({"failed"}))
    assert (told["event"], told["jobs"][0]["id"]) == ("failed", "a")
    assert events.failures(AT) is None


@pytest.mark.parametrize(
    ("state", "event"), [("denied", "stopped"), ("pausing", "breaker"), ("stalled", "stuck"), ("stuck", "stuck")]
)
def test_a_server_in_trouble(state: str, event: str) -> None:
    """A server that denies access, is paused or makes no progress is told at once, with the reason."""
    told = body(EventFilter("t").event(server(state, "the reason")))
    assert (told["event"], told["server"]) == (event, "http://gpu-box:8188")
    assert told["message"] == f"http://gpu-box:8188 is {state}: the reason"


def test_a_server_up_and_down_all_night_is_told_once_an_hour() -> None:
    """The same trouble of the same server is news once an hour; another trouble at once."""
    events = EventFilter("t")
    assert events.event(server("pausing"))
    events.event(server("up"))
    assert events.event(server("pausing", at=AT + 3599)) is None
    assert events.event(server("stalled", at=AT + 3599))
    assert events.event(server("pausing", at=AT + 3601))


@pytest.mark.parametrize(
    "event",
    [
        server("up"),
        server("away"),
        server("asking"),
        note_event(AT, "x"),
        RunEvent("lost", AT, "attempt 1 is lost", "j", fields={"final": False}),
    ],
)
def test_what_is_not_told(event: RunEvent) -> None:
    """A server that is away, a note, a lost attempt that another one follows: none of them is a message."""
    events = EventFilter("t")
    assert events.event(event) is None
    assert events.failures(AT) is None


def test_a_run_that_breaks_off_is_told() -> None:
    """A run that ends by an error has no last event, and is told all the same."""
    told = body(EventFilter("t").broken_off(AT, 5, "the disk is full"))
    assert (told["event"], told["title"], told["message"]) == (
        "stopped",
        "t: stopped by this machine",
        "the disk is full",
    )


@pytest.mark.parametrize(
    "text",
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
def test_hostile_texts(text: str) -> None:
    """Whatever a server sends: one harmless line each, and at most 4,096 bytes with the jobs that fit, all counted."""
    events = EventFilter("t")
    for number in range(10):
        events.event(failed(f"{number}{text}", text))
    failures = events.failures(AT)
    assert (body(failures)["failed"], 0 < len(body(failures)["jobs"]) <= 10) == (10, True)
    for message in (failures, events.event(server("denied", text)), events.broken_off(AT, 5, text)):
        assert message is not None
        assert len(message.body(ALL)) <= 4096
        told = body(message)
        for key in ("title", "message", "text"):
            assert told[key].isprintable()
        assert "<" not in told["text"]


def test_jobs_that_do_not_fit_are_left_out() -> None:
    """Where ten jobs don't fit into a message, it lists fewer."""
    events = EventFilter("t")
    for number in range(10):
        events.event(failed(f"j{number}", "\U0001f431" * 300))
    assert 0 < len(body(events.failures(AT))["jobs"]) < 10
