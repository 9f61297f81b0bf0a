"""Where a batch stands, as JSON: the contract of `plan --json` and `status --json`.

The same jobs and states give the same bytes: nothing here knows what time it is.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.text import Text

from batchrunner.core.lifecycle import STATE_NAMES, Done, Failed, Fetching, Queued, Sending, Unwanted, Waiting
from batchrunner.show.events import tally
from batchrunner.show.live import column, padded
from batchrunner.text import duration, safe

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from batchrunner.core.facts import Saved
    from batchrunner.core.job import Job, Json, Scalar
    from batchrunner.core.lifecycle import State

NEW = "new"


def name_of(state: State | None) -> str:
    """Return the word for a state: one of the six, or `new` where there is none; out of the batch, it would wait."""
    return NEW if state is None else STATE_NAMES.get(type(state), STATE_NAMES[Waiting])


def counts(states: Iterable[State]) -> dict[str, int]:
    """Return how many jobs are in each of the six states."""
    found = dict.fromkeys(STATE_NAMES.values(), 0)
    for state in states:
        found[name_of(state)] += 1
    return found


def status_json(batch: str, jobs: Sequence[Job], states: Mapping[str, State]) -> dict[str, Json]:
    """Return the document of `status --json`. A job without a state waits; one out of the batch is left out."""
    known = [(job, states.get(job.id, Waiting())) for job in jobs]
    wanted = [(job, state) for job, state in known if not isinstance(state, Unwanted)]
    return {
        "batch": batch,
        "total": len(wanted),
        "counts": {**counts(state for _, state in wanted)},
        "jobs": [_standing(job, state) for job, state in wanted],
    }


@dataclass(frozen=True, slots=True)
class Plan:
    """What `run` would do."""

    batch: str
    jobs: Sequence[Job]
    """In run order."""
    states: Mapping[str, State] = field(default_factory=dict)
    """By job, of those known from before."""
    gone: Sequence[Job] = ()
    """Known from before, and no longer wanted by the manifest."""
    warnings: Sequence[str] = ()
    seconds: float | None = None
    """How long the rest will take; None if nobody can tell."""
    ends: str = ""
    """When that is over, if it starts now: a time of day, with the date unless that is today."""
    until: str = ""
    """By when everything must be home, in a line; empty for all the time in the world."""
    shares: Sequence[tuple[str, float]] = ()
    """How long each preset's jobs take, in seconds; no clock time is in the JSON, so that it stays the same."""


def plan_json(plan: Plan) -> dict[str, Json]:
    """Return the document of `plan --json`."""
    return {
        "batch": plan.batch,
        "total": len(plan.jobs),
        "jobs": [_planned(job, plan.states.get(job.id)) for job in plan.jobs],
        "warnings": [*plan.warnings],
        "seconds": plan.seconds,
    }


def why(state: State) -> str | None:
    """Return why a job failed, in the server's own words; None unless it did."""
    return f"{state.why}: {state.message}" if isinstance(state, Failed) else None


def _planned(job: Job, state: State | None) -> Json:
    return {"id": job.id, "params": {**job.params}, "file": job.file, "state": name_of(state)}


def _standing(job: Job, state: State) -> Json:
    return {
        "id": job.id,
        "state": name_of(state),
        "attempts": state.past.highest,
        "params": {**job.params},
        "files": [{"path": file.path, "bytes": file.size, "sha256": file.sha256} for file in _files(state)],
        "why": why(state),
    }


def _files(state: State) -> tuple[Saved, ...]:
    match state:
        case Done(files=files):
            return files
        case Fetching(items=items):
            return tuple(item.saved for item in items if item.saved)
        case _:
            return ()


# -- `plan` and `status` for people: short, however big the batch is. Print the lines with `layout.put`.


_ROWS = 12
_VALUES = 6
_VALUE = 40
_NAME = 72
_TEXT = 400
_ORDER = ("done", "failed", "fetching", "queued", "sending", "waiting", NEW)


def plan_view(plan: Plan) -> list[Text]:
    """Return what `run` would do: how many are new or done, the axes, the warnings, the first jobs."""
    found = Counter(name_of(plan.states.get(job.id)) for job in plan.jobs)
    by_state = ", ".join(f"{found[name]} {name}" for name in _ORDER if found[name])
    left = "" if plan.seconds is None else f", about {duration(plan.seconds)} to go{_ends(plan)}"
    lines = [Text.assemble((safe(plan.batch), "bold"), f"  {_jobs(len(plan.jobs))}: {by_state or 'none'}{left}")]
    if plan.until:
        lines.append(Text(plan.until))
    if plan.gone:
        lines.append(Text(f"{_jobs(len(plan.gone))} from before no longer wanted", "yellow"))
    lines += [Text(f"warning: {safe(text, _TEXT)}", "yellow") for text in plan.warnings]
    rows = [(f"{name_of(plan.states.get(job.id)):8}  {job.id}", job.file) for job in plan.jobs[:_ROWS]]
    shares = [(name, duration(seconds)) for name, seconds in plan.shares]
    values = [(key, _some(seen)) for key, seen in axes(plan.jobs).items()]
    return [*lines, *_section("axis", values), *_section("time", shares), *_section("job", rows, len(plan.jobs))]


def _ends(plan: Plan) -> str:
    return f", until {plan.ends} if it starts now" if plan.ends else ""


def status_view(batch: str, jobs: Sequence[Job], states: Mapping[str, State]) -> list[Text]:
    """Return where a batch stands: how many in each state, what is on its way, what failed and why."""
    known = {job.id: states[job.id] for job in jobs if job.id in states}
    found = counts(known.values())
    found["waiting"] += len(jobs) - len(known)
    title = Text.assemble((safe(batch), "bold"), f"  {tally(found)} of {len(jobs)}")
    going = [(job, state) for job in jobs if isinstance(state := known.get(job.id), Sending | Queued | Fetching)]
    failed = [(job, state) for job in jobs if isinstance(state := known.get(job.id), Failed)]
    return [
        title,
        *_section("on its way", [(job.file, f"{name_of(state):8}  {state.prompt.server}") for job, state in going]),
        *_section("failed", [(job.file, why(state) or "") for job, state in failed]),
    ]


def axes(jobs: Iterable[Job]) -> dict[str, list[Scalar]]:
    """Return the parameters that differ between jobs, each with its values in order of appearance."""
    values: dict[str, dict[Scalar, None]] = {}
    for job in jobs:
        for key, value in job.params.items():
            values.setdefault(key, {})[value] = None
    return {key: list(seen) for key, seen in values.items() if len(seen) > 1}


def _some(values: Sequence[Scalar]) -> str:
    shown = ", ".join(safe(str(value), _VALUE) for value in values[:_VALUES])
    return f"{shown}, … ({len(values)} in all)" if len(values) > _VALUES else shown


def _section(title: str, rows: Sequence[tuple[str, str]], total: int | None = None) -> list[Text]:
    """Return at most `_ROWS` rows, of `total` in all, under a title; nothing for no rows."""
    shown = [(safe(left), safe(right, _TEXT)) for left, right in rows[:_ROWS]]
    if not shown:
        return []
    wide = column((left for left, _ in shown), _NAME)
    lines = [Text.assemble("  ", padded(left, wide), "  ", right) for left, right in shown]
    left_out = (total or len(rows)) - len(shown)
    more = [Text(f"  … and {left_out} more", "bright_black")] if left_out else []
    return [Text(), Text(title, "bold"), *lines, *more]


def _jobs(count: int) -> str:
    return f"{count} job" if count == 1 else f"{count} jobs"
