"""`plan` and `status` for people: short, however big the batch is."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table
from rich.text import Text

from batchrunner.core.states import Failed, Fetching, Queued, Sending
from batchrunner.show.status import NEW, counts, name_of, why
from batchrunner.show.text import duration, safe
from batchrunner.show.words import tally

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import RenderableType

    from batchrunner.core.job import Job, Scalar
    from batchrunner.core.states import State
    from batchrunner.show.status import Plan

_ROWS = 12
_VALUES = 6
_LONGEST = 40


def plan_view(plan: Plan) -> RenderableType:
    """Return what `run` would do: how many are new or done, the axes, the warnings, the first jobs."""
    found = Counter(name_of(plan.states.get(job.id)) for job in plan.jobs)
    by_state = ", ".join(f"{count} {name}" for name, count in _ordered(found))
    left = "" if plan.seconds is None else f", about {duration(plan.seconds)} to go"
    parts = [Text.assemble((safe(plan.batch), "bold"), f"  {_jobs(len(plan.jobs))}: {by_state or 'none'}{left}")]
    if plan.gone:
        parts.append(Text(f"{_jobs(len(plan.gone))} from before no longer wanted", "yellow"))
    parts += [Text(f"warning: {safe(text, 400)}", "yellow") for text in plan.warnings]
    return Group(*parts, *_section("axis", "values", _axes(plan.jobs)), *_listing(plan))


def status_view(batch: str, jobs: Sequence[Job], states: Mapping[str, State]) -> RenderableType:
    """Return where a batch stands: how many in each state, what is on its way, what failed and why."""
    known = {job.id: states[job.id] for job in jobs if job.id in states}
    found = counts(known.values())
    found["waiting"] += len(jobs) - len(known)
    title = Text.assemble((safe(batch), "bold"), f"  {tally(found)} of {len(jobs)}")
    going = [(job, state) for job in jobs if isinstance(state := known.get(job.id), Sending | Queued | Fetching)]
    failed = [(job, state) for job in jobs if isinstance(state := known.get(job.id), Failed)]
    return Group(
        title,
        *_section("on its way", "", [(job.file, f"{name_of(state)}, {state.prompt.server}") for job, state in going]),
        *_section("failed", "why", [(job.file, why(state) or "") for job, state in failed]),
    )


def axes(jobs: Iterable[Job]) -> dict[str, list[Scalar]]:
    """Return the parameters that differ between jobs, each with its values in order of appearance."""
    values: dict[str, dict[Scalar, None]] = {}
    for job in jobs:
        for key, value in job.params.items():
            values.setdefault(key, {})[value] = None
    return {key: list(seen) for key, seen in values.items() if len(seen) > 1}


def _axes(jobs: Sequence[Job]) -> list[tuple[str, str]]:
    return [(key, _some(values)) for key, values in axes(jobs).items()]


def _some(values: Sequence[Scalar]) -> str:
    shown = ", ".join(safe(str(value), _LONGEST) for value in values[:_VALUES])
    more = f", … ({len(values)} in all)" if len(values) > _VALUES else ""
    return shown + more


def _listing(plan: Plan) -> list[RenderableType]:
    rows = [(job.file, f"{name_of(plan.states.get(job.id))}  {job.id}") for job in plan.jobs[:_ROWS]]
    return _section("job", "", rows, total=len(plan.jobs))


def _section(left: str, right: str, rows: Sequence[tuple[str, str]], total: int | None = None) -> list[RenderableType]:
    """Return a headed table of at most `_ROWS` rows, of `total` in all; nothing for no rows."""
    if not rows:
        return []
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    table.add_column(Text(left), no_wrap=True, overflow="ellipsis", ratio=1)
    table.add_column(Text(right), no_wrap=True, overflow="ellipsis", ratio=2)
    for first, second in rows[:_ROWS]:
        table.add_row(Text(safe(first)), Text(safe(second, 400)))
    left_out = (total or len(rows)) - min(len(rows), _ROWS)
    return [Text(), table, *([Text(f"… and {left_out} more", "bright_black")] if left_out else [])]


def _jobs(count: int) -> str:
    return f"{count} job" if count == 1 else f"{count} jobs"


def _ordered(found: Mapping[str, int]) -> list[tuple[str, int]]:
    order = ["done", "failed", "fetching", "queued", "sending", "waiting", NEW]
    return [(name, found[name]) for name in order if found[name]]
