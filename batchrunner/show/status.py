"""Where a batch stands, as JSON: the contract of `plan --json` and `status --json`.

The same jobs and states give the same bytes: nothing here knows what time it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batchrunner.core.lifecycle import Done, Failed, Fetching, Queued, Sending, Unwanted, Waiting

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from batchrunner.core.facts import Saved
    from batchrunner.core.identity import Json
    from batchrunner.core.job import Job
    from batchrunner.core.lifecycle import State

NAMES: Mapping[type[State], str] = {
    Waiting: "waiting",
    Sending: "sending",
    Queued: "queued",
    Fetching: "fetching",
    Done: "done",
    Failed: "failed",
}
NEW = "new"


def name_of(state: State | None) -> str:
    """Return the word for a state: one of the six, or `new` where there is none; out of the batch, it would wait."""
    return NEW if state is None else NAMES.get(type(state), NAMES[Waiting])


def counts(states: Iterable[State]) -> dict[str, int]:
    """Return how many jobs are in each of the six states."""
    found = dict.fromkeys(NAMES.values(), 0)
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
    return f"{state.why}: {state.says}" if isinstance(state, Failed) else None


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
