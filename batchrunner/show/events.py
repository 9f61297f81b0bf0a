"""Events: what happened, once in words for people and once in fields for programs, and who is told."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from enum import IntEnum
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Protocol

from batchrunner.core.facts import (
    Accepted,
    Claimed,
    DownloadFailed,
    Dropped,
    Lost,
    Opened,
    Rendered,
    Reopened,
    Saved,
    fact_name,
)
from batchrunner.show.log import clean
from batchrunner.show.scene import Around, health, reason, scene
from batchrunner.text import duration, json_text, size, stamp, told

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from structlog.typing import FilteringBoundLogger

    from batchrunner.core.board import Board
    from batchrunner.core.facts import Fact
    from batchrunner.core.job import Job, Json
    from batchrunner.core.server import Server
    from batchrunner.show.log import Sink
    from batchrunner.show.scene import Scene

# -- Events: what happened, once in words for people and once in fields for programs.
#
# A text from a manifest or a server stands in them as it came; whoever prints it makes it `safe`, or writes JSON.


DIFFERS = "the workflow rendered is not the one that was sent: a node on the server may rewrite it"
"""What is said of a render that is kept all the same."""


class Level(IntEnum):
    """How much an event matters to somebody who watches, in the levels of a log."""

    DETAIL = 10
    NEWS = 20
    TROUBLE = 30


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened."""

    name: str
    """A constant: what kind of event."""
    at: float
    """Wall clock, seconds since the epoch."""
    message: str
    """In words."""
    job: str | None = None
    label: str = ""
    """The job's local name."""
    fields: Mapping[str, Json] = field(default_factory=dict)
    level: Level = Level.NEWS
    error: BaseException | None = None
    """What was raised, for a traceback in the log."""


def of_fact(fact: Fact, label: str = "") -> Event:
    """Return the event that a fact is; its name is the fact's kind, `label` the job's local name."""
    fields = {key: value for key, value in asdict(fact).items() if key not in {"job", "at"}}
    return Event(fact_name(type(fact)), fact.at, _words(fact, label), fact.job, label, fields, _weight(fact))


def of_server(at: float, url: str, state: str, message: str) -> Event:
    """Return that a server is now `state`: `up`, `away`, `denied`, … and why."""
    level = Level.NEWS if state == "up" else Level.TROUBLE
    return Event(
        "server",
        at,
        f"{url} is {state}: {message}" if message else f"{url} is {state}",
        None,
        "",
        _server(url, state, message),
        level,
    )


def of_note(at: float, message: str) -> Event:
    """Return something a person should know, about no job in particular."""
    return Event("note", at, message, fields={"message": message}, level=Level.TROUBLE)


def of_bug(at: float, error: BaseException) -> Event:
    """Return that something was raised that should not be; its text may quote anything, so only its kind is told."""
    kind = type(error).__name__
    message = f"a bug in batchrunner ({kind}); the traceback is in run.log, please report it"
    return Event("bug", at, message, fields={"error": kind}, level=Level.TROUBLE, error=error)


def without(event: Event, secret: str) -> Event:
    """Return the event with `secret` taken out of its texts."""
    if not secret:
        return event
    fields = {key: clean(value, secret) for key, value in event.fields.items()}
    return replace(
        event, message=str(clean(event.message, secret)), label=str(clean(event.label, secret)), fields=fields
    )


def of_finish(at: float, counts: Mapping[str, int], code: int) -> Event:
    """Return the last event of a run: how many jobs are in each state, and its exit code."""
    return Event("finished", at, f"finished: {tally(counts)}", fields={"counts": {**counts}, "exit": code})


def line(event: Event) -> str:
    """Return an event as one harmless line: `07:30:05 cats/one-s7: saved, 13.2 MB`."""
    return told(event.at, event.label or event.job or "", event.message)


def json_line(batch: str, event: Event) -> str:
    """Return an event as one line of `run --json`."""
    head: dict[str, Json] = {"event": event.name, "at": stamp(event.at), "batch": batch, "job": event.job}
    return json_text(head | {**event.fields})


def tally(counts: Mapping[str, int]) -> str:
    """Return `3 done, 1 failed, 8 left` of how many jobs are in each state."""
    done, failed = counts.get("done", 0), counts.get("failed", 0)
    left = sum(counts.values()) - done - failed
    return ", ".join([f"{done} done", *([f"{failed} failed"] if failed else []), *([f"{left} left"] if left else [])])


def _server(url: str, state: str, message: str) -> dict[str, Json]:
    return {"server": url, "state": state, "message": message}


def _weight(fact: Fact) -> Level:
    match fact:
        case Claimed() | Opened():
            return Level.DETAIL
        case Lost() | DownloadFailed() | Rendered(differs=True):
            return Level.TROUBLE
        case Rendered() if fact.left_out:
            return Level.TROUBLE
        case _:
            return Level.NEWS


def _words(fact: Fact, label: str) -> str:  # noqa: PLR0911 - a table, a row a kind
    match fact:
        case Claimed():
            return f"sending to {fact.server}"
        case Accepted():
            return f"queued on {fact.server}"
        case Rendered():
            took = "" if fact.seconds is None else f" in {duration(fact.seconds)}"
            differs = f"; {DIFFERS}" if fact.differs else ""
            more = f"; {fact.left_out} more stay on the server" if fact.left_out else ""
            return f"rendered{took}, {len(fact.files)} to fetch{more}{differs}"
        case Opened():
            return f"downloading {fact.file}, {size(fact.size)}"
        case Saved():
            name = "" if PurePosixPath(fact.path).with_suffix("") == PurePosixPath(label) else f" as {fact.path}"
            return f"saved{name}, {size(fact.size)}"
        case DownloadFailed():
            return f"the download broke off: {fact.message}"
        case Lost():
            verdict = "failed" if fact.final else f"attempt {fact.attempt} is lost, another follows"
            return f"{verdict} ({fact.why}): {fact.message}"
        case Reopened():
            return "waits again"
        case Dropped():
            return f"dropped: {fact.message}"


# -- Who watches a batch, and the audience that keeps watching from harming it.


HEARTBEAT = 60.0
"""Seconds between two signs of life where there is no live board."""


class Observer(Protocol):
    """Somebody who watches. Quick and synchronous: it is called in the loop."""

    def event(self, event: Event) -> None:
        """Hear what happened."""

    def tick(self, scene: Scene) -> None:
        """See how things stand, every second or so."""

    def close(self) -> None:
        """Leave everything tidy; nothing more will come."""


class Audience:
    """All who watch a batch. One who fails is shown out, the others are told, and the batch does not notice."""

    def __init__(self, observers: Iterable[Observer], secret: str = "") -> None:
        self._observers = list(observers)
        self._secret = secret

    def join(self, observer: Observer) -> None:
        """Let one more watch from now on."""
        self._observers.append(observer)

    def fact(self, fact: Fact, label: str = "") -> None:
        """Tell of a fact that changed something; `label` is the job's local name."""
        self.event(of_fact(fact, label))

    def server(self, at: float, url: str, state: str, message: str = "") -> None:
        """Tell that a server is now `state` (`up`, `away`, `denied`, …); `at` is the wall clock."""
        self.event(of_server(at, url, state, message))

    def note(self, at: float, message: str) -> None:
        """Tell something that is about no job in particular."""
        self.event(of_note(at, message))

    def bug(self, at: float, error: BaseException) -> None:
        """Tell of an error that should not be."""
        self.event(of_bug(at, error))

    def finished(self, at: float, counts: Mapping[str, int], code: int) -> None:
        """Tell how it all ended: wanted jobs per state, and the exit code."""
        self.event(of_finish(at, counts, code))

    def event(self, event: Event) -> None:
        """Tell of an event, without the secret."""
        told = without(event, self._secret)
        self._each(lambda observer: observer.event(told), event.at)

    def tick(self, at: float, scene: Callable[[], Scene]) -> None:
        """Show how things stand; a scene that can't be built is nobody's harm either."""
        self._each(lambda observer: observer.tick(scene()), at)

    def close(self) -> None:
        """Let everybody leave."""
        self._each(lambda observer: observer.close(), 0.0)
        self._observers.clear()

    def _each(self, call: Callable[[Observer], None], at: float) -> None:
        for observer in tuple(self._observers):
            if observer not in self._observers:
                continue
            try:
                call(observer)
            except Exception as error:  # noqa: BLE001 - a display that fails, however, must not cost a video
                self._observers.remove(observer)
                self.note(at, f"{type(observer).__name__} stopped showing anything: {type(error).__name__}")


class Journal:
    """Everything that happens, into `run.log`."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log

    def event(self, event: Event) -> None:
        """Write the event with all its fields."""
        record = {**event.fields, "at": event.at, "job": event.job}
        self._log.log(event.level, event.name, **record, exc_info=event.error)

    def tick(self, scene: Scene) -> None:
        """Nothing: how things stand follows from what happened."""

    def close(self) -> None:
        """Nothing to tidy."""


class Lines:
    """A plain line per event, and a sign of life every minute: for a log, a pipe, a terminal that is none."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log
        self._shown = 0.0

    def event(self, event: Event) -> None:
        """Write the event in words."""
        self._log.log(event.level, event.name, at=event.at, job=event.job, label=event.label, message=event.message)

    def tick(self, scene: Scene) -> None:
        """Write a sign of life if it is time for one."""
        if scene.elapsed - self._shown >= HEARTBEAT:
            self._shown = scene.elapsed
            self._log.info("heartbeat", at=scene.at, message=heartbeat(scene))

    def close(self) -> None:
        """Nothing to tidy."""


class JsonLines:
    """Every event as one line of JSON: what `run --json` prints."""

    def __init__(self, sink: Sink, batch: str) -> None:
        self._sink = sink
        self._batch = batch
        self._shown = 0.0

    def event(self, event: Event) -> None:
        """Write the event with all its fields."""
        self._sink.write(json_line(self._batch, event))

    def tick(self, scene: Scene) -> None:
        """Write a sign of life if it is time for one."""
        if scene.elapsed - self._shown >= HEARTBEAT:
            self._shown = scene.elapsed
            fields: dict[str, Json] = {"counts": {**scene.counts}, "seconds_left": scene.left}
            self.event(Event("heartbeat", scene.at, "", fields=fields, level=Level.DETAIL))

    def close(self) -> None:
        """Nothing to tidy."""


def heartbeat(scene: Scene) -> str:
    """Return in one line that, and what, is going on."""
    runs = [f"{stand.url} renders {stand.running}" for stand in scene.servers if stand.running]
    ails = [f"{stand.url} is {stand.state}" for stand in scene.servers if stand.state != "up"]
    left = [] if scene.left is None else [f"about {duration(scene.left)} left"]
    return "; ".join([tally(scene.counts), *left, *ails, *runs])


# -- The narrator: what the engine does, told to the audience.


EVERY = 1.0
"""Seconds between two looks at the board, for a live one; for a heartbeat a minute, more will do."""


class Narrator:
    """Watches the engine: tells facts as they come, servers as they change, and the whole scene every second."""

    def __init__(
        self,
        audience: Audience,
        jobs: Mapping[str, Job],
        wall: Callable[[], float],
        around: Callable[[Board, float], Around],
        *,
        every: float = EVERY,
    ) -> None:
        """`wall` is the clock for people, `around(board, now)` what the scene shows and the board does not know."""
        self._every = every
        self._audience = audience
        self._jobs = jobs
        self._wall = wall
        self._around = around
        self._health: dict[str, str] = {}
        self._next = float("-inf")

    def fact(self, fact: Fact) -> None:
        """Tell of a fact that changed something."""
        job = self._jobs.get(fact.job)
        self._audience.fact(fact, job.file if job else "")

    def pulse(self, board: Board, now: float) -> float:
        """Tell which servers changed, show the scene if it is time; return when to be shown the board again.

        Looks at the servers that something happened to since the last turn, and at all of them with every scene: time
        alone changes some.
        """
        shows = now >= self._next
        for name in board.servers if shows else board.attention.names():
            if name in board.servers:
                self._tell(board, board.servers[name], now)
        if shows:
            self._next = now + self._every
            self._audience.tick(self._wall(), lambda: self._scene(board, now))
        return self._next

    def _tell(self, board: Board, server: Server, now: float) -> None:
        """Tell of a server whose state changed."""
        state, _ = health(board, server, now)
        if state != self._health.setdefault(server.name, "asking"):
            self._health[server.name] = state
            self._audience.server(self._wall(), server.name, state, reason(server, state, now))

    def bug(self, error: Exception) -> None:
        """Tell of an error that should not be."""
        self._audience.bug(self._wall(), error)

    def _scene(self, board: Board, now: float) -> Scene:
        return scene(board, self._jobs, now, self._around(board, now))
