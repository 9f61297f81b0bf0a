"""One job's story, from its facts, in words that can be read at breakfast."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

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
    Why,
)
from batchrunner.core.lifecycle import Done, Failed, Fetching, Queued, Sending, State, Unwanted, Waiting
from batchrunner.show.events import DIFFERS
from batchrunner.text import UNKNOWN, clock, duration, safe, size

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batchrunner.core.facts import Fact
    from batchrunner.core.job import Job

_LOSSES = {
    Why.REFUSED: "the server refused the workflow",
    Why.ERROR: "a node raised an error",
    Why.INTERRUPTED: "somebody interrupted it on the server",
    Why.FORGOTTEN: "the server knew nothing of it any more",
    Why.EXPIRED: "the file was gone before it was home",
    Why.WRONG_CONTENT: "what was there was not ours",
    Why.UNUSABLE: "the file could not be used",
    Why.WITHDRAWN: "we took it back",
    Why.DENIED: "something before the server refused this prompt",
    Why.STUCK: "it ran far longer than it should and was interrupted",
    Why.SERVER_GONE: "its server was given up",
}


def story(job: Job, facts: Sequence[Fact], state: State) -> list[str]:
    """Return the story line by line: who it is, what happened when, with the evidence, and how it stands."""
    lines = [f"{safe(job.file)} (job {job.id})"]
    days = [_day(fact.at) for fact in facts]
    for before, fact, today in zip((None, *facts), facts, days, strict=False):
        if len(set(days)) > 1 and (before is None or _day(before.at) != today):
            lines.append(f"{today}:")
        lines += [f"{clock(fact.at)}  {text}" for text in _told(fact, before)]
    return [*lines, f"Now: {_now(state)}"]


def _day(at: float) -> str:
    """Return the date of `at` (seconds since the epoch) here, `2026-01-31`."""
    try:
        return f"{datetime.fromtimestamp(at, UTC).astimezone():%Y-%m-%d}"
    except (ValueError, OverflowError, OSError):
        return UNKNOWN


def _told(fact: Fact, before: Fact | None) -> Iterator[str]:  # noqa: C901 - a table: a case a kind of fact
    match fact:
        case Claimed():
            yield f"Attempt {fact.attempt} goes to {safe(fact.server)} as prompt {fact.prompt}."
        case Accepted() if isinstance(before, Claimed) and before.attempt == fact.attempt:
            yield f"The server queues it{_after(before, fact)}."
        case Accepted():
            yield f"Attempt {fact.attempt} is found on {safe(fact.server)} and taken over."
        case Rendered():
            yield f"A look finds it rendered: {', '.join(safe(file.key) for file in fact.files)}.{_took(fact)}"
            if fact.differs:
                yield f"Warning: {DIFFERS}."
        case Opened():
            yield f"The download of {safe(fact.file)} begins, {size(fact.size)}."
        case DownloadFailed():
            yield f"The download breaks off: {safe(fact.message)}."
        case Saved():
            yield f"It is home: {safe(fact.path)}, {size(fact.size)}, sha256 {fact.sha256[:16]}…"
        case Lost():
            evidence = f" Evidence: {safe(fact.message, 400)}." if fact.message else ""
            yield f"Attempt {fact.attempt} is lost: {_LOSSES[fact.why]}.{evidence}"
            yield _consequence(fact)
        case Reopened():
            yield "Somebody wants it again: it waits, with all its attempts."
        case Dropped():
            yield f"It is left out: {safe(fact.message)}."


def _after(before: Fact, fact: Fact) -> str:
    """Say how long an answer took, if that was long: then the POST itself got none, and a look found the prompt."""
    waited = fact.at - before.at
    return f" ({duration(waited)} later: a look found it there)" if waited >= 1.0 else ""


def _took(fact: Rendered) -> str:
    if fact.seconds is None:
        return ""
    return f" The server took {duration(fact.seconds) if fact.seconds >= 0.5 else 'less than a second'}."


def _consequence(fact: Lost) -> str:
    if fact.final:
        return "That is final: no further attempt can help, or none is left."
    return "It waits for another attempt." if fact.burns else "It waits for another; this one does not count."


def _now(state: State) -> str:  # noqa: PLR0911 - a table: a return a state
    match state:
        case Waiting():
            return "it waits for its turn."
        case Sending(prompt=prompt):
            return f"attempt {prompt.attempt} was sent to {safe(prompt.server)}; whether it arrived is not known yet."
        case Queued(prompt=prompt):
            return f"attempt {prompt.attempt} is on {safe(prompt.server)}, waiting or running."
        case Fetching(items=items):
            left = sum(item.saved is None for item in items)
            return f"it is rendered; {left} of {len(items)} files are still to come home."
        case Done(files=files):
            return f"done, {', '.join(safe(file.path) for file in files)}."
        case Failed(why=why, message=message):
            return f"failed: {why}: {safe(message, 400)}. `batchrunner retry` lets it wait again."
        case Unwanted():
            return "it is not part of the batch any more."
