"""A notice: one thing a person should be woken for, or find in the morning; in words, and in fields for programs.

It leaves this machine, so every text in it is one short line with nothing in it that a terminal or a page would obey.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from enum import StrEnum
from html import escape
from typing import TYPE_CHECKING

from batchrunner.text import printable, stamp

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from batchrunner.core.job import Json

_TITLE, _MESSAGE = 120, 300
_LARGEST = 4096
"""Bytes of a body: ntfy refuses JSON of more than twice that, and hands a longer message on as a file."""


class Kind(StrEnum):
    """What people can ask to be told of."""

    FINISHED = "finished"
    """The run is over, however it ended."""
    FAILED = "failed"
    """Jobs failed for good."""
    STOPPED = "stopped"
    """A server lets us in no longer, or the run stopped before its end."""
    BREAKER = "breaker"
    """A server is given a rest: job after job raised there."""
    STUCK = "stuck"
    """A server, or a job on it, makes no progress."""


@dataclass(frozen=True, slots=True)
class Notice:
    """What to tell; texts may be as strangers wrote them, `body` makes them harmless."""

    kinds: tuple[Kind, ...]
    """All that it is, the most telling first: told to whoever asked for any of them."""
    batch: str
    at: float
    """Wall clock, seconds since the epoch."""
    title: str
    message: str
    fields: Mapping[str, Json] = field(default_factory=dict)
    """`counts` and `exit`, or `server`."""
    jobs: Sequence[Mapping[str, str]] = ()
    """The failed jobs, or the first few of them: `id`, `name`, `why`, `says`."""

    def kind(self, on: Collection[str]) -> Kind | None:
        """Return as what this is told to somebody who asked for `on`; None if not at all."""
        return next((kind for kind in self.kinds if kind in on), None)

    def body(self, on: Collection[str], topic: str = "") -> bytes:
        """Return it as JSON of at most 4,096 bytes: for ntfy (`topic`), Slack (`text`), anybody."""
        title = printable(f"{self.batch}: {self.title}", _TITLE)
        message = printable(self.message, _MESSAGE)
        said: dict[str, Json] = {
            "event": self.kind(on) or self.kinds[0],
            "batch": self.batch,
            "at": stamp(self.at),
            "title": title,
            "message": message,
            "text": escape(f"{title} - {message}", quote=False),
            **({"topic": topic} if topic else {}),
            **self.fields,
        }
        for shown in range(len(self.jobs), 0, -1):
            whole = _encoded({**said, "jobs": [{**job} for job in self.jobs[:shown]]})
            if len(whole) <= _LARGEST:
                return whole
        return _encoded(said)


def _encoded(said: Mapping[str, Json]) -> bytes:
    return json.dumps(said, ensure_ascii=False).encode("utf-8")
