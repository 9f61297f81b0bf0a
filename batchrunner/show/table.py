"""`index.csv`: a row for each saved file, for spreadsheets and scripts."""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING

from batchrunner.core.facts import Accepted, Claimed, Rendered
from batchrunner.show.status import saved_files
from batchrunner.text import stamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from batchrunner.core.facts import Fact, Saved
    from batchrunner.core.job import Job, Scalar
    from batchrunner.core.lifecycle import State

_FIRST = ("path", "job", "seed")
_LAST = ("bytes", "sha256", "server", "attempt", "submitted", "rendered", "saved", "render_seconds")
_FORMULA = re.compile(r"[=+\-@\t\r]")


def results_csv(jobs: Sequence[Job], states: Mapping[str, State], facts: Iterable[Fact]) -> str:
    """Return CSV with a header and a row for each saved file of `jobs`, in their order.

    `facts` are the batch's, oldest first. Paths are relative to the batch folder, times RFC 3339 in UTC; a parameter
    whose name is one of the other columns' gets `param.` before it. A text that a spreadsheet would take for a formula
    gets `'` before it. What this batch did not see happen is empty.
    """
    done = [(job, saved) for job in jobs if job.id in states for saved in saved_files(states[job.id])]
    params = list(dict.fromkeys(name for job, _ in done for name in job.params if name != "seed"))
    wanted = {(job.id, saved.attempt) for job, saved in done}
    times: dict[tuple[str, int], dict[str, Scalar]] = {key: {} for key in wanted}
    for fact in facts:
        if (fact.job, fact.attempt) in wanted:
            times[fact.job, fact.attempt].update(_seen(fact))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*_FIRST, *map(_column, params), *_LAST])
    for job, saved in done:
        own = {**_of(job, saved), **times[job.id, saved.attempt]}
        values = [*(own.get(name) for name in _FIRST), *(job.params.get(name) for name in params)]
        writer.writerow(map(_cell, [*values, *(own.get(name) for name in _LAST)]))
    return text.getvalue()


def _column(param: str) -> str:
    return f"param.{param}" if param in _FIRST + _LAST else param


def _of(job: Job, saved: Saved) -> Mapping[str, Scalar]:
    return {
        "path": saved.path,
        "job": job.id,
        "seed": job.params.get("seed"),
        "bytes": saved.size,
        "sha256": saved.sha256,
        "attempt": saved.attempt,
        "saved": stamp(saved.at),
    }


def _seen(fact: Fact) -> Iterator[tuple[str, Scalar]]:
    match fact:
        case Claimed():
            yield from (("server", fact.server), ("submitted", stamp(fact.at)))
        case Accepted():
            yield "server", fact.server
        case Rendered():
            seconds = None if fact.seconds is None else round(fact.seconds, 3)
            yield from (("rendered", stamp(fact.at)), ("render_seconds", seconds))


def _cell(value: Scalar) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        return "" if value is None else str(value)
    text = value.encode("utf-8", "backslashreplace").decode()
    return f"'{text}" if _FORMULA.match(text) else text
