"""What is told to whom, and that telling can't harm the batch."""

from __future__ import annotations

import io
import json
from typing import get_args

import pytest

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
from batchrunner.show.events import (
    WORKFLOW_DIFFERS,
    RunEvent,
    bug_event,
    counts_text,
    fact_event,
    finished_event,
    json_line,
    server_event,
    text_line,
)
from batchrunner.show.listeners import JsonLines, Listeners, RunLog, TextLines, heartbeat_text
from batchrunner.show.live import BoardView, ServerView
from batchrunner.show.log import StreamOutput, console_log, file_log
from batchrunner.text import moment

JOB = "a" * 12
TOKEN = "sk-very-secret"
TOLD: list[tuple[Fact, str]] = [
    (Claimed(JOB, 1, 0.0, "id", "p", "http://gpu:8188", "b"), "sending to http://gpu:8188"),
    (Accepted(JOB, 1, 0.0, "id", "p", "http://gpu:8188"), "queued on http://gpu:8188"),
    (Rendered(JOB, 1, 0.0, (File("x"),), None, 200.0), "rendered in 3 min 20 s, 1 file to download"),
    (Rendered(JOB, 1, 0.0, (File("x"),), None), "rendered, 1 file to download"),
    (Rendered(JOB, 1, 0.0, (File("x"),), None, differs=True), f"rendered, 1 file to download; {WORKFLOW_DIFFERS}"),
    (Opened(JOB, 1, 0.0, "x.mp4", "e", -1, "p", "b"), "downloading x.mp4, ?"),
    (Saved(JOB, 1, 0.0, "x.mp4", "cats/one.mp4", 13_200_000, "0"), "saved, 13.2 MB"),
    (Saved(JOB, 1, 0.0, "x.mp4", "cats/one-1.mp4", 1, "0"), "saved as cats/one-1.mp4, 1 byte"),
    (Saved(JOB, 1, 0.0, "x.mp4", "cats/one.mp4", 1, "0", "no sound"), "saved, 1 byte; warning: no sound"),
    (DownloadFailed(JOB, 1, 0.0, "x.mp4", "reset"), "download interrupted: reset"),
    (Lost(JOB, 2, 0.0, Why.ERROR, "boom\n"), "attempt 2 failed, another follows (error): boom"),
    (Lost(JOB, 2, 0.0, Why.WITHDRAWN, "cancelled", burns=False), "cancelled"),
    (Lost(JOB, 2, 0.0, Why.REFUSED, "bad", final=True), "failed (refused): bad"),
    (Reopened(JOB, 1, 0.0), "waiting again"),
    (Dropped(JOB, 1, 0.0, "cancelled"), "removed from the batch: cancelled"),
]


class Clumsy:
    """A listener that fails at everything."""

    def event(self, event: RunEvent) -> None:
        """Fail."""
        raise KeyError(event.name)

    def tick(self, view: BoardView) -> None:
        """Fail."""
        raise KeyError(view.batch)

    def close(self) -> None:
        """Fail."""
        raise KeyError


def _view(elapsed: float = 0.0) -> BoardView:
    servers = (ServerView("http://a:1", "up", running="cats/one"), ServerView("http://b:2", "away", since=5.0))
    return BoardView("cats", 7.0, elapsed, {"waiting": 8, "done": 3, "failed": 1}, servers, left=3900.0)


@pytest.mark.parametrize(("fact", "words"), TOLD)
def test_every_fact_is_told_in_one_line(fact: Fact, words: str) -> None:
    """Each kind of fact reads as what happened to which job."""
    assert text_line(fact_event(fact, "cats/one")).split(" ", 1)[1] == f"cats/one: {words}"


def test_every_kind_of_fact_is_told() -> None:
    """No kind of fact is left out of these tests."""
    assert {type(fact) for fact, _ in TOLD} == set(get_args(Fact))


def test_a_job_without_a_name_goes_by_its_id() -> None:
    """A job that nobody knows any more is told by its id."""
    assert text_line(fact_event(Reopened(JOB, 1, 0.0))).endswith(f" {JOB}: waiting again")


def test_an_event_is_one_json_line_of_known_shape() -> None:
    """Every line of `run --json` says what, when, of which batch and job, and what a program can use of it."""
    fact = Rendered(JOB, 1, 0.5, (File("x.mp4", "cats"),), 9.0, 2.00049)
    assert json.loads(json_line("cats", fact_event(fact, "cats/one"))) == {
        "version": 1,
        "event": "rendered",
        "at": "1970-01-01T00:00:00.500Z",
        "batch": "cats",
        "job": JOB,
        "name": "cats/one",
        "attempt": 1,
        "files": ["cats/x.mp4"],
        "seconds": 2.0,
        "differs": False,
        "left_out": 0,
    }


def test_the_last_event_says_how_it_ended() -> None:
    """`finished` carries the counts of every state and the exit code."""
    told = json.loads(json_line("cats", finished_event(0.0, {"done": 5, "failed": 1}, 1)))
    assert (told["event"], told["counts"], told["exit"]) == ("finished", {"done": 5, "failed": 1}, 1)


def test_tallies_leave_out_what_is_not_there() -> None:
    """Failed and left are named only where there are some."""
    assert counts_text({"done": 3, "failed": 1, "waiting": 6, "queued": 2}) == "3 done, 1 failed, 8 left"
    assert counts_text({"done": 3, "failed": 0}) == "3 done"


def test_a_server_is_told_with_its_reason() -> None:
    """A server that went away says why, one that is back needs no reason."""
    assert server_event(0.0, "http://a:1", "away", "refused").message == "http://a:1 is away: refused"
    assert server_event(0.0, "http://a:1", "up", "").message == "http://a:1 is up"


def test_everybody_hears_everything_without_the_token() -> None:
    """Log, console and JSON get the same events, and none of them the token."""
    streams = [io.StringIO() for _ in range(3)]
    log, console, lines = map(StreamOutput, streams)
    listeners = Listeners([RunLog(file_log(log)), TextLines(console_log(console)), JsonLines(lines, "cats")], (TOKEN,))
    listeners.event(fact_event(DownloadFailed(JOB, 1, 0.0, "x", f"Bearer {TOKEN}"), "cats/one"))
    listeners.event(server_event(1.0, "http://a:1", "away", f"refused {TOKEN}"))
    listeners.note(2.0, "two prompts under one id")
    listeners.event(bug_event(3.0, ValueError(f"quotes {TOKEN}")))
    listeners.event(finished_event(4.0, {"done": 1}, 0))
    listeners.close()
    told, shown, machine = (stream.getvalue() for stream in streams)
    names = ["download_failed", "server", "note", "bug", "finished"]
    assert [json.loads(record)["event"] for record in told.splitlines()] == names
    assert [json.loads(record)["event"] for record in machine.splitlines()] == names
    assert len(shown.splitlines()) == len(names)
    assert TOKEN not in shown + machine
    assert "ValueError" in json.loads(told.splitlines()[3])["exception"]


def test_details_are_for_the_log() -> None:
    """A console without -v leaves out what only matters when something is wrong; the log never does."""
    streams = [io.StringIO() for _ in range(2)]
    log, console = map(StreamOutput, streams)
    listeners = Listeners([RunLog(file_log(log)), TextLines(console_log(console))])
    listeners.event(fact_event(TOLD[0][0], "cats/one"))
    assert (len(streams[0].getvalue().splitlines()), streams[1].getvalue()) == (1, "")


def test_a_listener_that_fails_is_removed_and_the_others_are_told() -> None:
    """A display that raises, at whatever, ends for itself only."""
    stream = io.StringIO()
    listeners = Listeners([Clumsy(), JsonLines(StreamOutput(stream), "cats"), Clumsy()])
    listeners.note(0.0, "one")
    listeners.note(0.0, "two")
    message = [json.loads(record)["message"] for record in stream.getvalue().splitlines()]
    assert message == [*["Clumsy stopped showing anything: KeyError"] * 2, "one", "two"]


def test_ticks_and_farewells_that_fail_harm_nobody() -> None:
    """Failing to draw or to leave is survived too."""
    listeners = Listeners([Clumsy()])
    listeners.tick(0.0, _view)
    Listeners([Clumsy()]).close()
    listeners.note(0.0, "nobody is left")


def test_a_log_never_looks_dead() -> None:
    """Once a minute, and no more often, a line says that the batch lives, for people and for programs."""
    people, machine = io.StringIO(), io.StringIO()
    listeners = Listeners([TextLines(console_log(StreamOutput(people))), JsonLines(StreamOutput(machine), "cats")])
    for second in range(0, 181, 20):
        listeners.tick(7.0, lambda elapsed=float(second): _view(elapsed))  # type: ignore[misc]  # a default binds it
    assert len(people.getvalue().splitlines()) == 3
    told = [json.loads(record) for record in machine.getvalue().splitlines()]
    assert [(record["event"], record["counts"]["done"]) for record in told] == [("heartbeat", 3)] * 3


def test_a_sign_of_life_says_what_is_going_on() -> None:
    """Counts, time left, servers in trouble and what renders, in one line."""
    assert heartbeat_text(_view()) == (
        f"3 done, 1 failed, 8 left; done about {moment(_view().at + 3900.0, _view().at)} (1 h 5 min); "
        "http://b:2 is away; http://a:1 renders cats/one"
    )
    assert heartbeat_text(BoardView("cats", 0.0, 0.0, {"done": 1})) == "1 done"
