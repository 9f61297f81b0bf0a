"""Events: what happened, once in words for people and once in fields for programs.

A text from a manifest or a server stands in them as it came; whoever prints it makes it `safe`, or writes JSON.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from enum import IntEnum
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from batchrunner.core.facts import (
    Accepted,
    Broke,
    Claimed,
    Dropped,
    Lost,
    Opened,
    Rendered,
    Reopened,
    Saved,
)
from batchrunner.show.redact import clean
from batchrunner.show.text import duration, json_text, size, stamp, told

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchrunner.core.facts import Fact
    from batchrunner.core.identity import Json


DIFFERS = "the workflow rendered is not the one that was sent: a node on the server may rewrite it"
"""What is said of a render that is kept all the same."""


class Weight(IntEnum):
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
    says: str
    """In words."""
    job: str | None = None
    label: str = ""
    """The job's local name."""
    fields: Mapping[str, Json] = field(default_factory=dict)
    weight: Weight = Weight.NEWS
    error: BaseException | None = None
    """What was raised, for a traceback in the log."""


def of_fact(fact: Fact, label: str = "") -> Event:
    """Return the event that a fact is; its name is the fact's kind, `label` the job's local name."""
    fields = {key: value for key, value in asdict(fact).items() if key not in {"job", "at"}}
    return Event(type(fact).__name__.lower(), fact.at, _words(fact, label), fact.job, label, fields, _weight(fact))


def of_server(at: float, url: str, state: str, says: str) -> Event:
    """Return that a server is now `state`: `up`, `away`, `denied`, … and why."""
    weight = Weight.NEWS if state == "up" else Weight.TROUBLE
    return Event(
        "server",
        at,
        f"{url} is {state}: {says}" if says else f"{url} is {state}",
        None,
        "",
        _server(url, state, says),
        weight,
    )


def of_note(at: float, says: str) -> Event:
    """Return something a person should know, about no job in particular."""
    return Event("note", at, says, fields={"says": says}, weight=Weight.TROUBLE)


def of_bug(at: float, error: BaseException) -> Event:
    """Return that something was raised that should not be; its text may quote anything, so only its kind is told."""
    kind = type(error).__name__
    says = f"a bug in batchrunner ({kind}); the traceback is in run.log, please report it"
    return Event("bug", at, says, fields={"error": kind}, weight=Weight.TROUBLE, error=error)


def without(event: Event, secret: str) -> Event:
    """Return the event with `secret` taken out of its texts."""
    if not secret:
        return event
    fields = {key: clean(value, secret) for key, value in event.fields.items()}
    return replace(event, says=str(clean(event.says, secret)), label=str(clean(event.label, secret)), fields=fields)


def of_finish(at: float, counts: Mapping[str, int], code: int) -> Event:
    """Return the last event of a run: how many jobs are in each state, and its exit code."""
    return Event("finished", at, f"finished: {tally(counts)}", fields={"counts": {**counts}, "exit": code})


def line(event: Event) -> str:
    """Return an event as one harmless line: `07:30:05 cats/one-s7: saved, 13.2 MB`."""
    return told(event.at, event.label or event.job or "", event.says)


def json_line(batch: str, event: Event) -> str:
    """Return an event as one line of `run --json`."""
    head: dict[str, Json] = {"event": event.name, "at": stamp(event.at), "batch": batch, "job": event.job}
    return json_text(head | {**event.fields})


def tally(counts: Mapping[str, int]) -> str:
    """Return `3 done, 1 failed, 8 left` of how many jobs are in each state."""
    done, failed = counts.get("done", 0), counts.get("failed", 0)
    left = sum(counts.values()) - done - failed
    return ", ".join([f"{done} done", *([f"{failed} failed"] if failed else []), *([f"{left} left"] if left else [])])


def _server(url: str, state: str, says: str) -> dict[str, Json]:
    return {"server": url, "state": state, "says": says}


def _weight(fact: Fact) -> Weight:
    match fact:
        case Claimed() | Opened():
            return Weight.DETAIL
        case Lost() | Broke() | Rendered(differs=True):
            return Weight.TROUBLE
        case _:
            return Weight.NEWS


def _words(fact: Fact, label: str) -> str:  # noqa: PLR0911 - a table, a row a kind
    match fact:
        case Claimed():
            return f"sending to {fact.server}"
        case Accepted():
            return f"queued on {fact.server}"
        case Rendered():
            took = "" if fact.seconds is None else f" in {duration(fact.seconds)}"
            differs = f"; {DIFFERS}" if fact.differs else ""
            return f"rendered{took}, {len(fact.files)} to fetch{differs}"
        case Opened():
            return f"downloading {fact.file}, {size(fact.size)}"
        case Saved():
            name = "" if PurePosixPath(fact.path).with_suffix("") == PurePosixPath(label) else f" as {fact.path}"
            return f"saved{name}, {size(fact.size)}"
        case Broke():
            return f"the download broke off: {fact.says}"
        case Lost():
            verdict = "failed" if fact.final else f"attempt {fact.attempt} is lost, another follows"
            return f"{verdict} ({fact.why}): {fact.says}"
        case Reopened():
            return "waits again"
        case Dropped():
            return f"dropped: {fact.says}"
