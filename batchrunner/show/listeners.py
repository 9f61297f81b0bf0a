"""Who hears of a run: `run.log`, plain lines, JSON lines, the live board; and what reports to them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol

from batchrunner.show.events import (
    RunEvent,
    bug_event,
    counts_text,
    event_json,
    fact_event,
    note_event,
    server_event,
)
from batchrunner.show.live import expected_end, server_state
from batchrunner.text import json_text, moment, redact

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from structlog.typing import FilteringBoundLogger

    from batchrunner.core.board import Board
    from batchrunner.core.facts import Fact
    from batchrunner.core.job import Job, Json
    from batchrunner.core.server import Server
    from batchrunner.show.live import BoardView
    from batchrunner.show.log import LineOutput

HEARTBEAT = 60.0
"""Seconds between two lines that say that the run goes on, where there is no live board."""


class Listener(Protocol):
    """Hears of a run; what it leaves out does nothing. Quick and synchronous: it is called in the loop."""

    def event(self, event: RunEvent) -> None:  # noqa: ARG002 - a listener may leave it out
        """Hear what happened."""
        return

    def tick(self, view: BoardView) -> None:  # noqa: ARG002 - the same
        """See the board, every second or so."""
        return

    def close(self) -> None:
        """Leave everything tidy; nothing more will come."""
        return


class Listeners:
    """All listeners of a run. One that raises is removed, which the others hear, and the batch goes on."""

    def __init__(self, listeners: Iterable[Listener], secrets: tuple[str, ...] = ()) -> None:
        """`secrets` are taken out of every event."""
        self._listeners = list(listeners)
        self._secrets = secrets

    def join(self, listener: Listener) -> None:
        """Add a listener from now on."""
        self._listeners.append(listener)

    def note(self, at: float, message: str) -> None:
        """Report something that is about no job in particular."""
        self.event(note_event(at, message))

    def event(self, event: RunEvent) -> None:
        """Report an event, without the secrets."""
        if self._secrets:
            event = replace(
                event,
                message=str(redact(event.message, self._secrets)),
                label=str(redact(event.label, self._secrets)),
                fields={key: redact(value, self._secrets) for key, value in event.fields.items()},
            )
        self._call_each(lambda listener: listener.event(event), event.at)

    def tick(self, at: float, view: Callable[[], BoardView]) -> None:
        """Show the board; a view that can't be built does not stop the run either."""
        self._call_each(lambda listener: listener.tick(view()), at)

    def close(self) -> None:
        """Close all listeners."""
        self._call_each(lambda listener: listener.close(), 0.0)
        self._listeners.clear()

    def _call_each(self, call: Callable[[Listener], None], at: float) -> None:
        for listener in tuple(self._listeners):
            if listener not in self._listeners:
                continue
            try:
                call(listener)
            except Exception as error:  # noqa: BLE001 - a display that fails, however, must not cost a video
                self._listeners.remove(listener)
                self.note(at, f"{type(listener).__name__} stopped showing anything: {type(error).__name__}")


class RunLog(Listener):
    """Writes every event, with all its fields, into `run.log`."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log

    def event(self, event: RunEvent) -> None:
        """Write the event."""
        record = {**event.fields, "at": event.at, "job": event.job}
        self._log.log(event.level, event.name, **record, exc_info=event.error)


class _Heartbeats(Listener):
    """A heartbeat every minute, so that the output never looks dead."""

    _last = 0.0

    def tick(self, view: BoardView) -> None:
        """Write a heartbeat if it is time for one."""
        if view.elapsed - self._last >= HEARTBEAT:
            self._last = view.elapsed
            fields: dict[str, Json] = {"counts": {**view.counts}, "seconds_left": view.left}
            self.event(RunEvent("heartbeat", view.at, heartbeat_text(view), fields=fields))


class TextLines(_Heartbeats):
    """A plain line per event: for a log, a pipe, or a terminal without cursor control."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log

    def event(self, event: RunEvent) -> None:
        """Write the event in words."""
        self._log.log(event.level, event.name, at=event.at, job=event.job, label=event.label, message=event.message)


class EventDocuments(_Heartbeats):
    """Every event as a document for programs (docs/json.md): `take` gets each."""

    def __init__(self, take: Callable[[dict[str, Json]], None], batch: str) -> None:
        self._take = take
        self._batch = batch

    def event(self, event: RunEvent) -> None:
        """Hand the event over."""
        self._take(event_json(self._batch, event))


class JsonLines(EventDocuments):
    """Every event as one line of JSON: what `run --json` prints."""

    def __init__(self, output: LineOutput, batch: str) -> None:
        super().__init__(lambda document: output.write(json_text(document)), batch)


def heartbeat_text(view: BoardView) -> str:
    """Return in one line what is going on."""
    return "; ".join(
        [
            counts_text(view.counts),
            *filter(None, [expected_end(view)]),
            *(f"{server.url} is {server.state}" for server in view.servers if server.state != "up"),
            *(f"{server.url} renders {server.running}" for server in view.servers if server.running),
        ]
    )


class Reporter:
    """Reports what the engine does: facts as they come, servers as they change, and the board every second or so."""

    def __init__(
        self,
        listeners: Listeners,
        jobs: Mapping[str, Job],
        wall: Callable[[], float],
        view: Callable[[Board, float], BoardView],
        *,
        every: float = 1.0,
    ) -> None:
        """`wall` is the clock for people, `view(board, now)` what to show every `every` seconds."""
        self._listeners = listeners
        self._jobs = jobs
        self._wall = wall
        self._view = view
        self._every = every
        self._states: dict[str, str] = {}
        self._next = float("-inf")

    def fact(self, fact: Fact) -> None:
        """Report a fact that changed something."""
        job = self._jobs.get(fact.job)
        self._listeners.event(fact_event(fact, job.file if job else ""))

    def bug(self, error: Exception) -> None:
        """Report an error that should not be."""
        self._listeners.event(bug_event(self._wall(), error))

    def update(self, board: Board, now: float) -> float:
        """Report which servers changed, show the board if it is time; return when to be called again at the latest.

        Checks the servers that something happened to since the last call, and all of them whenever the board is
        shown: time alone changes some.
        """
        shows = now >= self._next
        for name in board.servers if shows else board.attention.names():
            if server := board.servers.get(name):
                state, _, reason = server_state(board, server, now)
                if state != self._states.setdefault(name, "asking"):
                    self._states[name] = state
                    message = f"{reason}{self._patience(server, now)}" if state == "away" else reason
                    self._listeners.event(server_event(self._wall(), name, state, message))
        if shows:
            self._next = now + self._every
            self._listeners.tick(self._wall(), lambda: self._view(board, now))
        return self._next

    def _patience(self, server: Server, now: float) -> str:
        """Return until when a server that is away is waited for, in words."""
        ends = server.health.out_at(server.rules, holding=True)
        if not server.named or ends is None or ends <= now:
            return ""
        at = self._wall()
        return f"; it is waited for until {moment(at + ends - now, at)} (patience)"
