"""What, of all that happens, is worth a notice. Pure: it knows no clock but that of the events.

Failed jobs are gathered until somebody asks for them, since a night that goes wrong loses many at once. The same
trouble of the same server is told once an hour: one that is up and down all night is news only once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from batchrunner.notify.notice import Kind, Notice
from batchrunner.text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchrunner.core.job import Json

_AGAIN = 3600.0
_SHOWN = 10
_NAMED = 3
_STATES = {
    "denied": (Kind.STOPPED, "a server lets us in no longer"),
    "pausing": (Kind.BREAKER, "a server is given a rest, job after job raised there"),
    "stuck": (Kind.STUCK, "a prompt runs far longer than expected"),
    "stalled": (Kind.STUCK, "a server has prompts waiting and runs none"),
}
_ENDS = {
    0: "every job is done",
    1: "finished, and some jobs failed",
    3: "stopped by the server",
    5: "stopped by this machine",
    130: "interrupted",
    143: "interrupted",
}
_STOPPED = frozenset({3, 5})


class Heard(Protocol):
    """What is read of an event; `show.events.RunEvent` is one."""

    @property
    def name(self) -> str:
        """What kind of event."""

    @property
    def at(self) -> float:
        """Wall clock, seconds since the epoch."""

    @property
    def message(self) -> str:
        """In words."""

    @property
    def job(self) -> str | None:
        """The job's id."""

    @property
    def label(self) -> str:
        """The job's local name."""

    @property
    def fields(self) -> Mapping[str, Json]:
        """For programs."""


class Sieve:
    """Hears everything about one batch, and lets through what people asked to be told."""

    def __init__(self, batch: str) -> None:
        self._batch = batch
        self.failed = 0
        """Jobs that failed and were not told yet."""
        self._jobs: list[dict[str, str]] = []
        self._ailing: dict[str, str] = {}
        self._told: dict[tuple[Kind, str], float] = {}

    def hear(self, event: Heard) -> Notice | None:
        """Take in an event; return what is to be told of it now."""
        match event.name:
            case "lost" if event.fields.get("final") is True:
                self._lost(event)
            case "server":
                return self._server(event)
            case "stuck":
                about = str(event.job or event.fields.get("server") or "")
                return self._trouble(event, Kind.STUCK, about, "no progress")
            case "finished":
                return self._finished(event)
        return None

    def failures(self, at: float) -> Notice | None:
        """Return what failed since this was asked last, None if nothing did."""
        if not self.failed:
            return None
        count, message, jobs = self._taken()
        title = f"{count} job{'s' * (count != 1)} failed"
        return Notice((Kind.FAILED,), self._batch, at, title, f"{title}: {message}", {"failed": count}, jobs)

    def broke_off(self, at: float, code: int, message: str) -> Notice:
        """Return that the run ended by an error, without its last event; `code` is its exit code."""
        return self._end(at, code, message, {"exit": code}, Kind.STOPPED)

    def _lost(self, event: Heard) -> None:
        self.failed += 1
        if len(self._jobs) < _SHOWN:
            job = {"id": event.job or "", "name": event.label or event.job or ""}
            why = {key: str(event.fields.get(key) or "") for key in ("why", "message")}
            self._jobs.append({key: printable(text, 120) for key, text in (job | why).items()})

    def _server(self, event: Heard) -> Notice | None:
        url, state = (str(event.fields.get(key) or "") for key in ("server", "state"))
        if state == "up":
            self._ailing.pop(url, None)
            return None
        self._ailing[url] = event.message
        if state not in _STATES:
            return None
        kind, title = _STATES[state]
        return self._trouble(event, kind, url, title)

    def _trouble(self, event: Heard, kind: Kind, about: str, title: str) -> Notice | None:
        last = self._told.get((kind, about))
        if last is not None and abs(event.at - last) < _AGAIN:
            return None
        self._told[kind, about] = event.at
        message = f"{event.label}: {event.message}" if event.label else event.message
        server = printable(str(event.fields.get("server") or ""), 100)
        return Notice((kind,), self._batch, event.at, title, message, {"server": server} if server else {})

    def _finished(self, event: Heard) -> Notice:
        code = event.fields.get("exit")
        told = {key: event.fields[key] for key in ("counts", "exit") if key in event.fields}
        if code not in _STOPPED:
            return self._end(event.at, code, event.message, told)
        return self._end(event.at, code, "; ".join([event.message, *self._ailing.values()]), told, Kind.STOPPED)

    def _end(self, at: float, code: Json, message: str, told: Mapping[str, Json], *first: Kind) -> Notice:
        """Return the last notice; it tells the last failed jobs too, so that they need no message of their own."""
        title = _ENDS.get(code, "stopped by an error") if isinstance(code, int) else "finished"
        if not self.failed:
            return Notice((*first, Kind.FINISHED), self._batch, at, title, message, told)
        count, names, jobs = self._taken()
        message = f"{message}; {count} failed at last: {names}"
        return Notice((*first, Kind.FINISHED, Kind.FAILED), self._batch, at, title, message, told, jobs)

    def _taken(self) -> tuple[int, str, list[dict[str, str]]]:
        """Return and forget the failed jobs: how many, the first few in words, the first ones in fields."""
        count, jobs = self.failed, self._jobs
        self.failed, self._jobs = 0, []
        named = [f"{job['name']} ({job['why']}: {printable(job['message'], 60)})" for job in jobs[:_NAMED]]
        rest = [f"and {count - len(named)} more"] if count > len(named) else []
        return count, "; ".join([*named, *rest]), jobs
