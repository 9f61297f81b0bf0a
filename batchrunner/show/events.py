"""Events: what happened, once in words for people and once in fields for programs; and the history of one job.

A text from a manifest or a server stands in an event as it came; whoever prints it makes it `printable`.
"""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from batchrunner.core.facts import (
    Accepted,
    Claimed,
    DownloadFailed,
    Dropped,
    File,
    Lost,
    Opened,
    Rendered,
    Reopened,
    Saved,
    Why,
    fact_name,
)
from batchrunner.core.lifecycle import Done, Failed, Fetching, Queued, Sending, State, Unwanted, Waiting
from batchrunner.text import PATH_LIMIT, clock, counted, duration, event_line, json_text, printable, size, stamp

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from batchrunner.core.facts import Fact
    from batchrunner.core.job import Job, Json

WORKFLOW_DIFFERS = "the workflow rendered is not the one that was sent: a node on the server may rewrite it"
"""What is said of a render that is kept all the same."""

LOSS_REASONS: Mapping[Why, str] = {
    Why.REFUSED: "the server refused the workflow",
    Why.ERROR: "a node raised an error",
    Why.INTERRUPTED: "somebody else interrupted it on the server",
    Why.FORGOTTEN: "the server does not know it any more (a restart, or a cleared queue)",
    Why.EXPIRED: "the server deleted its file before it was downloaded",
    Why.WRONG_CONTENT: "the server has no file of this job",
    Why.UNUSABLE: "its file could not be used",
    Why.WITHDRAWN: "it was cancelled on the server",
    Why.DENIED: "a proxy or firewall before the server refused this prompt",
    Why.STUCK: "it ran far longer than expected and was interrupted",
    Why.INPUT_LOST: "the server lost an input file, which is uploaded again",
    Why.INPUT_REFUSED: "an input file does not get to the server",
    Why.SERVER_GONE: "its server was given up",
}
"""Why an attempt ended without its video, in words."""


@dataclass(frozen=True, slots=True)
class RunEvent:
    """One thing that happened in a run."""

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
    level: int = logging.INFO
    error: BaseException | None = None
    """What was raised, for a traceback in the log."""


def fact_event(fact: Fact, label: str = "") -> RunEvent:
    """Return the event that a fact is; its name is the fact's kind, `label` the job's local name."""
    fields = {key: value for key, value in asdict(fact).items() if key not in {"job", "at"}}
    match fact:
        case Claimed() | Opened():
            level = logging.DEBUG
        case Lost(why=Why.WITHDRAWN):
            level = logging.INFO
        case Lost() | DownloadFailed() | Rendered(differs=True):
            level = logging.WARNING
        case Rendered() if fact.left_out:
            level = logging.WARNING
        case Saved() if fact.warning:
            level = logging.WARNING
        case _:
            level = logging.INFO
    return RunEvent(fact_name(type(fact)), fact.at, _fact_message(fact, label), fact.job, label, fields, level)


def server_event(at: float, url: str, state: str, message: str = "") -> RunEvent:
    """Return that a server is now `state` (`up`, `away`, `denied`, …) and why."""
    text = f"{url} is {state}: {message}" if message else f"{url} is {state}"
    level = logging.INFO if state == "up" else logging.WARNING
    return RunEvent("server", at, text, fields={"server": url, "state": state, "message": message}, level=level)


def started_event(at: float, folder: str) -> RunEvent:
    """Return the first event of a run: where its results go, an absolute path."""
    return RunEvent("started", at, f"the results go to {printable(folder, PATH_LIMIT)}", fields={"folder": folder})


def note_event(at: float, message: str) -> RunEvent:
    """Return something a person should know, about no job in particular."""
    return RunEvent("note", at, message, fields={"message": message}, level=logging.WARNING)


def bug_event(at: float, error: BaseException) -> RunEvent:
    """Return that an error was raised that should not be; its text may quote anything, so only its kind is named."""
    kind = type(error).__name__
    message = f"a bug in batchrunner ({kind}); the traceback is in run.log, please report it"
    return RunEvent("bug", at, message, fields={"error": kind}, level=logging.WARNING, error=error)


def finished_event(
    at: float, counts: Mapping[str, int], code: int, command: str = "", lines: Sequence[str] = ()
) -> RunEvent:
    """Return the last event of a run: how many jobs are in each state, and its exit code.

    `command` goes on with it, if there is something to go on with; `lines` say in words how it ended.
    """
    fields: dict[str, Json] = {"counts": {**counts}, "exit": code, "next": command or None, "message": [*lines]}
    return RunEvent("finished", at, f"finished: {counts_text(counts)}", fields=fields)


def text_line(event: RunEvent, width: int | None = None) -> str:
    """Return an event as one printable line: `07:30:05 cats/one-s7: saved, 13.2 MB`.

    The name is cut so that the line fits into `width` cells, as far as that is possible.
    """
    return event_line(event.at, event.label or event.job or "", event.message, width)


EVENT_FIELDS: Mapping[str, tuple[str, ...]] = {
    "started": ("folder",),
    "claimed": ("attempt", "prompt", "server"),
    "accepted": ("attempt", "prompt", "server"),
    "rendered": ("attempt", "files", "seconds", "differs", "left_out"),
    "opened": ("attempt", "file", "size"),
    "saved": ("attempt", "file", "path", "size", "sha256", "warning"),
    "download_failed": ("attempt", "file", "message"),
    "lost": ("attempt", "why", "message", "burns", "final"),
    "reopened": ("attempt",),
    "dropped": ("attempt", "message"),
    "server": ("server", "state", "message"),
    "note": ("message",),
    "bug": ("error",),
    "heartbeat": ("counts", "seconds_left"),
    "finished": ("counts", "exit", "next", "message"),
}
"""What programs are told of each kind of event (docs/json.md); `run.log` has everything."""
_PUBLIC_NAMES = {"prompt": "prompt_id", "size": "bytes", "burns": "counts_as_attempt"}


def event_json(batch: str, event: RunEvent) -> dict[str, Json]:
    """Return an event as programs are told of it."""
    head: dict[str, Json] = {
        "version": 1,
        "event": event.name,
        "at": stamp(event.at),
        "batch": batch,
        "job": event.job,
        "name": event.label or None,
    }
    shown = {name: event.fields.get(name) for name in EVENT_FIELDS[event.name]}
    return head | {_PUBLIC_NAMES.get(name, name): _public(value) for name, value in shown.items()}


def _public(value: Json) -> Json:
    """Return a value without needless digits; a file of a server as one path."""
    match value:
        case float():
            return round(value, 3)
        case list() | tuple():
            return [_public(item) for item in value]
        case {"name": str(name), "subfolder": str(subfolder), "kind": _}:
            return File(name, subfolder).key
    return value


def json_line(batch: str, event: RunEvent) -> str:
    """Return an event as one line of `run --json`."""
    return json_text(event_json(batch, event))


def counts_text(counts: Mapping[str, int]) -> str:
    """Return `3 done, 1 failed, 8 left` of how many jobs are in each state."""
    done, failed = counts.get("done", 0), counts.get("failed", 0)
    left = sum(counts.values()) - done - failed
    return ", ".join([f"{done} done", *([f"{failed} failed"] if failed else []), *([f"{left} left"] if left else [])])


def _fact_message(fact: Fact, label: str) -> str:  # noqa: C901, PLR0911 - a table: a row a kind
    match fact:
        case Claimed():
            return f"sending to {fact.server}"
        case Accepted():
            return f"queued on {fact.server}"
        case Rendered():
            took = "" if fact.seconds is None else f" in {duration(fact.seconds)}"
            differs = f"; {WORKFLOW_DIFFERS}" if fact.differs else ""
            more = f"; {fact.left_out} more stay on the server" if fact.left_out else ""
            return f"rendered{took}, {counted(len(fact.files), 'file')} to download{more}{differs}"
        case Opened():
            return f"downloading {fact.file}, {size(fact.size)}"
        case Saved():
            name = "" if PurePosixPath(fact.path).with_suffix("") == PurePosixPath(label) else f" as {fact.path}"
            return f"saved{name}, {size(fact.size)}{f'; warning: {fact.warning}' if fact.warning else ''}"
        case DownloadFailed():
            return f"download interrupted: {fact.message}"
        case Lost(final=True):
            return f"failed ({fact.why}): {fact.message}"
        case Lost(why=Why.WITHDRAWN):
            return fact.message
        case Lost():
            return f"attempt {fact.attempt} failed, another follows ({fact.why}): {fact.message}"
        case Reopened():
            return "waiting again"
        case Dropped():
            return f"removed from the batch: {fact.message}"


def job_history(job: Job, facts: Sequence[Fact], state: State) -> list[str]:
    """Return a job's history in printable lines: its name, what happened when, with the details, and its state now.

    `facts` are all of the job, oldest first.
    """
    lines = [f"{printable(job.file)} (job {job.id})"]
    days = [clock(fact.at, "%Y-%m-%d") for fact in facts]
    for previous, yesterday, fact, today in zip((None, *facts), ("", *days), facts, days, strict=False):
        if len(set(days)) > 1 and today != yesterday:
            lines.append(f"{today}:")
        lines += [f"{clock(fact.at)}  {text}" for text in _fact_history(fact, previous)]
    return [*lines, f"Now: {_state_now(state)}"]


def _fact_history(fact: Fact, previous: Fact | None) -> Iterator[str]:  # noqa: C901, PLR0912 - a table: a case a kind
    match fact:
        case Claimed():
            yield f"Attempt {fact.attempt} is sent to {printable(fact.server)} as prompt {fact.prompt}."
        case Accepted() if isinstance(previous, Claimed) and previous.attempt == fact.attempt:
            # That late the POST itself got no answer, and a poll found the prompt.
            waited = fact.at - previous.at
            late = f" ({duration(waited)} later: a poll found it there)" if waited >= 1.0 else ""
            yield f"The server queued it{late}."
        case Accepted():
            yield f"Attempt {fact.attempt} was found on {printable(fact.server)} and is continued."
        case Rendered():
            took = "" if fact.seconds is None else f" in {duration(max(1.0, fact.seconds))}"
            yield f"The server finished rendering{took}: {', '.join(printable(file.key) for file in fact.files)}."
            if fact.differs:
                yield f"Warning: {WORKFLOW_DIFFERS}."
        case Opened():
            yield f"The download of {printable(fact.file)} begins, {size(fact.size)}."
        case DownloadFailed():
            yield f"The download was interrupted: {printable(fact.message)}."
        case Saved():
            yield f"Saved as {printable(fact.path)}, {size(fact.size)}, sha256 {fact.sha256[:16]}…"
            if fact.warning:
                yield f"Warning: {printable(fact.warning)}."
        case Lost():
            details = f" Details: {printable(fact.message, 400)}." if fact.message else ""
            yield f"Attempt {fact.attempt} ended without a video: {LOSS_REASONS[fact.why]}.{details}"
            if fact.final:
                yield "No further attempt is made."
            else:
                yield "Another attempt follows." if fact.burns else "Another attempt follows; this one does not count."
        case Reopened():
            yield "It is wanted again and waits, with all its attempts."
        case Dropped():
            yield f"It was removed from the batch: {printable(fact.message)}."


def _state_now(state: State) -> str:  # noqa: PLR0911 - a table: a return a state
    match state:
        case Waiting():
            return "waiting for its turn."
        case Sending(prompt=prompt):
            return f"attempt {prompt.attempt} was sent to {printable(prompt.server)}; no answer yet."
        case Queued(prompt=prompt):
            return f"attempt {prompt.attempt} is on {printable(prompt.server)}, waiting or running."
        case Fetching(items=items):
            left = sum(item.saved is None for item in items)
            return f"rendered; {left} of {counted(len(items), 'file')} still to download."
        case Done(files=files):
            return f"done, {', '.join(printable(file.path) for file in files)}."
        case Failed(why=why, message=message):
            return f"failed: {why}: {printable(message, 400)}. `retry` makes it wait again."
        case Unwanted():
            return "not part of the batch any more."
