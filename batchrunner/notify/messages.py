"""Which events are worth a message to people, and what it says.

Pure: the only clock is the events' own. A message leaves this machine, so each of its texts is one short line without
anything that a terminal or a page would obey.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from html import escape
from typing import TYPE_CHECKING

from batchrunner.text import counted, printable, stamp

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from batchrunner.core.job import Json
    from batchrunner.show.events import RunEvent


class Kind(StrEnum):
    """What a manifest can ask to be told of, with `notify: {on: …}`: the words of `manifest.forms.Event`."""

    FINISHED = "finished"
    """The run is over, however it ended."""
    FAILED = "failed"
    """Jobs failed for good."""
    STOPPED = "stopped"
    """A server denies access, or the run stopped before its end."""
    BREAKER = "breaker"
    """A server is paused because job after job raised an error there."""
    STUCK = "stuck"
    """A server, or a job on it, makes no progress."""


_MAX_BODY = 4096
"""Bytes: ntfy refuses JSON of more than twice that, and turns a longer message into an attached file."""


@dataclass(frozen=True, slots=True)
class Message:
    """One thing to tell. The texts may be as a server wrote them; `body` makes them harmless."""

    kinds: tuple[Kind, ...]
    """Everything it is, the most telling first; it goes to whoever asked for any of them."""
    batch: str
    at: float
    """Wall clock, seconds since the epoch."""
    title: str
    text: str
    fields: Mapping[str, Json] = field(default_factory=dict)
    """`counts`, `exit` and `next` (the command to go on), or `server`, or `failed`."""
    jobs: Sequence[Mapping[str, str]] = ()
    """The first few failed jobs: `id`, `name`, `why`, `message`."""

    def kind(self, on: Collection[str]) -> Kind | None:
        """Return as which kind somebody who asked for `on` is told; None if not at all."""
        return next((kind for kind in self.kinds if kind in on), None)

    def body(self, on: Collection[str], topic: str = "") -> bytes:
        """Return JSON of at most 4,096 bytes that ntfy (`topic`), Slack (`text`) and programs read."""
        title, text = printable(f"{self.batch}: {self.title}", 120), printable(self.text, _MAX_TEXT)
        content: dict[str, Json] = {
            "version": 1,
            "event": self.kind(on) or self.kinds[0],
            "batch": self.batch,
            "at": stamp(self.at),
            "title": title,
            "message": text,
            "text": escape(f"{title} - {text}", quote=False),
            **({"topic": topic} if topic else {}),
            **self.fields,
        }
        jobs: list[Json] = [{**job} for job in self.jobs]
        while True:
            shown = {**content, "jobs": jobs} if jobs else content
            body = json.dumps(shown, ensure_ascii=False).encode("utf-8")
            if len(body) <= _MAX_BODY or not jobs:
                return body
            jobs.pop()


_MAX_TEXT = 300
_MAX_COMMAND = 1000
"""Characters; a command that is cut runs something else, so a longer one is left out."""
_REPEAT = 3600.0
"""Seconds before the same failure of the same server is told again: some servers go up and down all night."""
_LISTED, _NAMED = 10, 3
"""How many failed jobs a message lists in its fields, and names in its text."""
_SERVER_STATES = {
    "denied": (Kind.STOPPED, "a server denies access"),
    "pausing": (Kind.BREAKER, "a server is paused after repeated errors"),
    "stuck": (Kind.STUCK, "a job runs far longer than expected"),
    "stalled": (Kind.STUCK, "a server has jobs waiting and runs none"),
}
_ENDS = {
    0: "every job is done",
    1: "finished, and some jobs failed",
    3: "stopped by the server",
    5: "stopped by this machine",
    130: "interrupted",
    143: "interrupted",
}


def _whole(command: Json) -> str:
    """Return a command that can be told as it is, else nothing."""
    is_short = isinstance(command, str) and len(command) <= _MAX_COMMAND and command.isprintable()
    return str(command) if is_short else ""


class EventFilter:
    """Receives every event of one batch, and returns a message for those that people asked to be told of."""

    def __init__(self, batch: str) -> None:
        self._batch = batch
        self.failed = 0
        """Jobs that failed and stood in no message yet."""
        self._jobs: list[dict[str, str]] = []
        self._unhealthy: dict[str, str] = {}
        self._sent: dict[tuple[Kind, str], float] = {}

    def event(self, event: RunEvent) -> Message | None:
        """Return the message that an event calls for at once; failed jobs are collected for `failures`."""
        match event.name:
            case "lost" if event.fields.get("final") is True:
                self._add_failed(event)
            case "server":
                return self._server(event)
            case "finished":
                fields = {key: event.fields[key] for key in ("counts", "exit") if key in event.fields}
                code = event.fields.get("exit")
                stopped = code in {3, 5}
                text = "; ".join([event.message, *(self._unhealthy.values() if stopped else ())])
                if command := _whole(event.fields.get("next")):
                    fields["next"] = command
                    text += f"; next: {command}" if len(text) + len(command) < _MAX_TEXT - 10 else ""
                return self._end(event.at, code, text, fields, stopped=stopped)
        return None

    def failures(self, at: float) -> Message | None:
        """Return one message for all jobs that failed since the last one, None if none did."""
        if not self.failed:
            return None
        title = f"{counted(self.failed, 'job')} failed"
        fields = {"failed": self.failed}
        named, jobs = self._take_failed()
        return Message((Kind.FAILED,), self._batch, at, title, f"{title}: {named}", fields, jobs)

    def broken_off(self, at: float, code: int, reason: str) -> Message:
        """Return the message of a run that an error ended before its last event; `code` is its exit code."""
        return self._end(at, code, reason, {"exit": code}, stopped=True)

    def _server(self, event: RunEvent) -> Message | None:
        url, state = (str(event.fields.get(key) or "") for key in ("server", "state"))
        if state == "up":
            self._unhealthy.pop(url, None)
            return None
        self._unhealthy[url] = event.message
        if state not in _SERVER_STATES:
            return None
        kind, title = _SERVER_STATES[state]
        last = self._sent.get((kind, url))
        if last is not None and abs(event.at - last) < _REPEAT:
            return None
        self._sent[kind, url] = event.at
        return Message((kind,), self._batch, event.at, title, event.message, {"server": printable(url, 100)})

    def _add_failed(self, event: RunEvent) -> None:
        self.failed += 1
        if len(self._jobs) < _LISTED:
            job = {"id": event.job or "", "name": event.label or event.job or ""}
            job |= {key: str(event.fields.get(key) or "") for key in ("why", "message")}
            self._jobs.append({key: printable(text, 120) for key, text in job.items()})

    def _end(self, at: float, code: Json, text: str, fields: Mapping[str, Json], *, stopped: bool) -> Message:
        """Return the last message. It includes the last failed jobs, which then need no message of their own."""
        title = _ENDS.get(code, "stopped by an error") if isinstance(code, int) else "finished"
        counts = fields.get("counts")
        if code == 0 and isinstance(counts, dict) and any(counts[state] for state in counts if state != "done"):
            title = "finished, and some jobs are left"
        kinds, jobs = ((Kind.STOPPED,) if stopped else ()) + (Kind.FINISHED,), list[dict[str, str]]()
        if count := self.failed:
            named, jobs = self._take_failed()
            kinds, text = (*kinds, Kind.FAILED), f"{text}; since the last message {count} failed: {named}"
        return Message(kinds, self._batch, at, title, text, fields, jobs)

    def _take_failed(self) -> tuple[str, list[dict[str, str]]]:
        """Return and forget the failed jobs: the first three in words, the first ten as fields."""
        jobs, more = self._jobs, self.failed - _NAMED
        named = [f"{job['name']} ({job['why']}: {printable(job['message'], 60)})" for job in jobs[:_NAMED]]
        self.failed, self._jobs = 0, []
        return "; ".join([*named, *([f"and {more} more"] if more > 0 else [])]), jobs
