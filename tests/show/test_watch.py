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
    DIFFERS,
    Audience,
    Event,
    Journal,
    JsonLines,
    Lines,
    heartbeat,
    json_line,
    line,
    of_fact,
    of_finish,
    of_server,
    tally,
)
from batchrunner.show.log import StreamSink, console_log, file_log
from batchrunner.show.scene import Scene, Stand

JOB = "a" * 12
TOKEN = "sk-very-secret"
TOLD: list[tuple[Fact, str]] = [
    (Claimed(JOB, 1, 0.0, "id", "p", "http://gpu:8188", "b"), "sending to http://gpu:8188"),
    (Accepted(JOB, 1, 0.0, "id", "p", "http://gpu:8188"), "queued on http://gpu:8188"),
    (Rendered(JOB, 1, 0.0, (File("x"),), None, 200.0), "rendered in 3 min 20 s, 1 to fetch"),
    (Rendered(JOB, 1, 0.0, (File("x"),), None), "rendered, 1 to fetch"),
    (Rendered(JOB, 1, 0.0, (File("x"),), None, differs=True), f"rendered, 1 to fetch; {DIFFERS}"),
    (Opened(JOB, 1, 0.0, "x.mp4", "e", -1, "p", "b"), "downloading x.mp4, ?"),
    (Saved(JOB, 1, 0.0, "x.mp4", "cats/one.mp4", 13_200_000, "0"), "saved, 13.2 MB"),
    (Saved(JOB, 1, 0.0, "x.mp4", "cats/one-1.mp4", 1, "0"), "saved as cats/one-1.mp4, 1 B"),
    (DownloadFailed(JOB, 1, 0.0, "x.mp4", "reset"), "the download broke off: reset"),
    (Lost(JOB, 2, 0.0, Why.ERROR, "boom\n"), "attempt 2 is lost, another follows (error): boom\\n"),
    (Lost(JOB, 2, 0.0, Why.REFUSED, "bad", final=True), "failed (refused): bad"),
    (Reopened(JOB, 1, 0.0), "waits again"),
    (Dropped(JOB, 1, 0.0, "cancelled"), "dropped: cancelled"),
]


class Clumsy:
    """An observer that fails at everything."""

    def event(self, event: Event) -> None:
        """Fail."""
        raise KeyError(event.name)

    def tick(self, scene: Scene) -> None:
        """Fail."""
        raise KeyError(scene.batch)

    def close(self) -> None:
        """Fail."""
        raise KeyError


def _scene(elapsed: float = 0.0) -> Scene:
    stands = (Stand("http://a:1", "up", running="cats/one"), Stand("http://b:2", "away", since=5.0))
    return Scene("cats", 7.0, elapsed, {"waiting": 8, "done": 3, "failed": 1}, stands, left=3900.0)


@pytest.mark.parametrize(("fact", "words"), TOLD)
def test_every_fact_is_told_in_one_line(fact: Fact, words: str) -> None:
    """Each kind of fact reads as what happened to which job."""
    assert line(of_fact(fact, "cats/one")).split(" ", 1)[1] == f"cats/one: {words}"


def test_every_kind_of_fact_is_told() -> None:
    """No kind of fact is left out of these tests."""
    assert {type(fact) for fact, _ in TOLD} == set(get_args(Fact))


def test_a_job_without_a_name_goes_by_its_id() -> None:
    """A job that nobody knows any more is told by its id."""
    assert line(of_fact(Reopened(JOB, 1, 0.0))).endswith(f" {JOB}: waits again")


def test_an_event_is_one_json_line_of_known_shape() -> None:
    """Every line of `run --json` says what, when, of which batch and job, and all the fact holds."""
    fact = Rendered(JOB, 1, 0.5, (File("x.mp4"),), 9.0, 2.0)
    assert json.loads(json_line("cats", of_fact(fact, "cats/one"))) == {
        "event": "rendered",
        "at": "1970-01-01T00:00:00.500Z",
        "batch": "cats",
        "job": JOB,
        "attempt": 1,
        "files": [{"name": "x.mp4", "subfolder": "", "kind": "output"}],
        "deadline": 9.0,
        "seconds": 2.0,
        "differs": False,
        "left_out": 0,
    }


def test_the_last_event_says_how_it_ended() -> None:
    """`finished` carries the counts of every state and the exit code."""
    told = json.loads(json_line("cats", of_finish(0.0, {"done": 5, "failed": 1}, 1)))
    assert (told["event"], told["counts"], told["exit"]) == ("finished", {"done": 5, "failed": 1}, 1)


def test_tallies_leave_out_what_is_not_there() -> None:
    """Failed and left are named only where there are some."""
    assert tally({"done": 3, "failed": 1, "waiting": 6, "queued": 2}) == "3 done, 1 failed, 8 left"
    assert tally({"done": 3, "failed": 0}) == "3 done"


def test_a_server_is_told_with_its_reason() -> None:
    """A server that went away says why, one that is back needs no reason."""
    assert of_server(0.0, "http://a:1", "away", "refused").message == "http://a:1 is away: refused"
    assert of_server(0.0, "http://a:1", "up", "").message == "http://a:1 is up"


def test_everybody_hears_everything_without_the_token() -> None:
    """Log, console and JSON get the same events, and none of them the token."""
    streams = [io.StringIO() for _ in range(3)]
    log, console, lines = map(StreamSink, streams)
    audience = Audience([Journal(file_log(log)), Lines(console_log(console)), JsonLines(lines, "cats")], TOKEN)
    audience.fact(DownloadFailed(JOB, 1, 0.0, "x", f"Bearer {TOKEN}"), "cats/one")
    audience.server(1.0, "http://a:1", "away", f"refused {TOKEN}")
    audience.note(2.0, "two prompts under one id")
    audience.bug(3.0, ValueError(f"quotes {TOKEN}"))
    audience.finished(4.0, {"done": 1}, 0)
    audience.close()
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
    log, console = map(StreamSink, streams)
    audience = Audience([Journal(file_log(log)), Lines(console_log(console))])
    audience.fact(TOLD[0][0], "cats/one")
    assert (len(streams[0].getvalue().splitlines()), streams[1].getvalue()) == (1, "")


def test_an_observer_that_fails_is_shown_out_and_the_others_are_told() -> None:
    """A display that raises, at whatever, ends for itself only."""
    stream = io.StringIO()
    audience = Audience([Clumsy(), JsonLines(StreamSink(stream), "cats"), Clumsy()])
    audience.note(0.0, "one")
    audience.note(0.0, "two")
    message = [json.loads(record)["message"] for record in stream.getvalue().splitlines()]
    assert message == [*["Clumsy stopped showing anything: KeyError"] * 2, "one", "two"]


def test_ticks_and_farewells_that_fail_harm_nobody() -> None:
    """Failing to draw or to leave is survived too."""
    audience = Audience([Clumsy()])
    audience.tick(0.0, _scene)
    Audience([Clumsy()]).close()
    audience.note(0.0, "nobody is left")


def test_a_log_never_polls_dead() -> None:
    """Once a minute, and no more often, a line says that the batch lives, for people and for programs."""
    people, machine = io.StringIO(), io.StringIO()
    audience = Audience([Lines(console_log(StreamSink(people))), JsonLines(StreamSink(machine), "cats")])
    for second in range(0, 181, 20):
        audience.tick(7.0, lambda elapsed=float(second): _scene(elapsed))  # type: ignore[misc]  # a default binds it
    assert len(people.getvalue().splitlines()) == 3
    told = [json.loads(record) for record in machine.getvalue().splitlines()]
    assert [(record["event"], record["counts"]["done"]) for record in told] == [("heartbeat", 3)] * 3


def test_a_sign_of_life_says_what_is_going_on() -> None:
    """Counts, time left, servers in trouble and what renders, in one line."""
    assert heartbeat(_scene()) == (
        "3 done, 1 failed, 8 left; about 1 h 5 min left; http://b:2 is away; http://a:1 renders cats/one"
    )
    assert heartbeat(Scene("cats", 0.0, 0.0, {"done": 1})) == "1 done"
