"""Where a batch stands and what `run` would do: as JSON for programs, and as lines for people.

The JSON is the contract of `plan --json` and `status --json`: the same jobs and states give the same bytes, for nothing
here knows what time it is. The lines are short, however big the batch is; print them with `print_lines`.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

from batchrunner.core.lifecycle import STATE_NAMES, Done, Failed, Fetching, Queued, Sending, State, Unwanted, Waiting
from batchrunner.core.sizes import KEPT_FREE
from batchrunner.show.events import counts_text
from batchrunner.text import counted, duration, listing, moment, printable, size, stamp

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from rich.console import Console

    from batchrunner.core.facts import Saved
    from batchrunner.core.job import Job, Json, Scalar
    from batchrunner.core.sizes import DiskShortage
    from batchrunner.show.runner import ServerState

NEW = "new"
_ORDER = ("done", "failed", "fetching", "queued", "sending", "waiting", NEW)
_NEXT = "next: "
_INDENT = 4
"""Cells before what goes on in the next line."""
_MOST_ROWS = 12
_MOST_VALUES = 6
_NAME_CELLS = range(8, 72)
"""How wide a column of names may be."""
_LONGEST_TEXT = 400
_LONGEST_PROMPT = 60
_LONGEST_COMMAND = 8000
_MOST_LATE = 5


def state_name(state: State | None) -> str:
    """Return the word for a state: one of the six, or `new` where there is none; out of the batch, it would wait."""
    return NEW if state is None else STATE_NAMES.get(type(state), STATE_NAMES[Waiting])


def counts(states: Iterable[State]) -> dict[str, int]:
    """Return how many jobs are in each of the six states."""
    found = Counter(map(state_name, states))
    return {name: found[name] for name in STATE_NAMES.values()}


def failure(state: State) -> str | None:
    """Return why a job failed, in the server's own words; None unless it did."""
    return f"{state.why}: {state.message}" if isinstance(state, Failed) else None


def saved_files(state: State) -> tuple[Saved, ...]:
    """Return the files of a job that are saved already."""
    match state:
        case Done(files=files):
            return files
        case Fetching(items=items):
            return tuple(item.saved for item in items if item.saved)
        case _:
            return ()


def wanted_jobs(jobs: Iterable[Job], states: Mapping[str, State]) -> list[tuple[Job, State]]:
    """Return the jobs of a batch with their states. One without a state waits; one out of the batch is left out."""
    known = ((job, states.get(job.id, Waiting())) for job in jobs)
    return [(job, state) for job, state in known if not isinstance(state, Unwanted)]


@dataclass(frozen=True, slots=True)
class Standing:
    """What is known of a batch beside its jobs, for `status`. Times in seconds since the epoch."""

    now: float = 0.0
    pid: int | None = None
    """The process that runs it; None if none does."""
    since: float | None = None
    """When that one began; where none runs, until when one did."""
    ends_at: float | None = None
    """When everything will be done, if a runner lives and says so."""
    servers: tuple[ServerState, ...] = ()
    """As the living runner sees them."""
    messages: tuple[str, ...] = ()
    """What it lacks on its own machine."""
    guessed: bool = False
    """Whether `ends_at` is no more than a guess."""
    held: str = ""
    """Another command that holds the batch."""
    missing: tuple[str, ...] = ()
    """Paths of saved files that are not in the folder any more, or have another size."""
    command: str = ""
    """What to type next; empty while a runner lives, and if all is done."""


def status_json(batch: str, jobs: Sequence[Job], states: Mapping[str, State], standing: Standing) -> dict[str, Json]:
    """Return the document of `status --json`."""
    wanted = wanted_jobs(jobs, states)
    runner: Json = None
    if standing.pid is not None:
        runner = {"pid": standing.pid, "since": _stamp(standing.since)}
    return {
        "version": 1,
        "batch": batch,
        "total": len(wanted),
        "counts": {**counts(state for _, state in wanted)},
        "runner": runner,
        "ends_at": _stamp(standing.ends_at),
        "servers": [
            {"name": one.name, "state": one.state, "since": _stamp(one.since), "message": one.message}
            for one in standing.servers
        ],
        "missing": [*standing.missing],
        "jobs": [
            {
                "id": job.id,
                "state": state_name(state),
                "attempts": state.past.highest,
                "params": {**job.params},
                "files": [{"path": one.path, "bytes": one.size, "sha256": one.sha256} for one in saved_files(state)],
                "why": failure(state),
            }
            for job, state in wanted
        ],
    }


def batch_json(
    batch: str, folder: str, jobs: Sequence[Job], states: Mapping[str, State], standing: Standing
) -> dict[str, Json]:
    """Return what `status --json` says of one batch of several: `folder` is an absolute path."""
    whole = status_json(batch, jobs, states, standing)
    kept = {key: whole[key] for key in ("batch", "total", "counts", "runner", "ends_at", "missing")}
    return {**kept, "folder": folder}


def batch_line(batch: str, jobs: Sequence[Job], states: Mapping[str, State], standing: Standing) -> str:
    """Return how far a batch is, and whether it runs, in a line."""
    wanted = wanted_jobs(jobs, states)
    stands = f"{counts_text(counts(state for _, state in wanted))} of {len(wanted)}" if wanted else "no jobs left"
    missing = f"; {counted(len(standing.missing), 'file')} missing or changed" if standing.missing else ""
    return f"{printable(batch)}  {stands}{missing}; {_runs(standing)}"


def _stamp(at: float | None) -> str | None:
    return None if at is None else stamp(at)


@dataclass(frozen=True, slots=True)
class Plan:
    """What `run` would do."""

    batch: str
    jobs: Sequence[Job]
    """In run order."""
    states: Mapping[str, State] = field(default_factory=dict)
    """By job, of those known from before."""
    gone: Sequence[Job] = ()
    """Known from before, and not in the manifest any more."""
    cancelled: int = 0
    """Jobs that were cancelled, and that this run takes up again."""
    warnings: Sequence[str] = ()
    seconds: float | None = None
    """How long the rest will take; None if there is no forecast."""
    ends: str = ""
    """When that is over, if it starts now: a time of day, with the date unless that is today."""
    until: str = ""
    """A line that says by when everything must be done; empty without a limit."""
    late: Sequence[Job] = ()
    """Those that would not be done by then, and are not submitted."""
    unknown: Sequence[str] = ()
    """Servers of which nothing is known yet but a guess."""
    grouping: Sequence[str] = ()
    """What is known of the order that pays, a line per server."""
    shares: Sequence[tuple[str, float]] = ()
    """How long each preset's jobs take, in seconds; no clock time is in the JSON, so that it stays the same."""


def plan_json(plan: Plan) -> dict[str, Json]:
    """Return the document of `plan --json`."""
    return {
        "version": 1,
        "batch": plan.batch,
        "total": len(plan.jobs),
        "jobs": [
            {
                "id": job.id,
                "params": {**job.params},
                "file": job.file,
                "state": state_name(plan.states.get(job.id)),
            }
            for job in plan.jobs
        ],
        "warnings": [*plan.warnings],
        "seconds": plan.seconds,
    }


def plan_view(plan: Plan) -> list[Text]:
    """Return what `run` would do: how many are new or done, the axes, the warnings, the first jobs."""
    found = Counter(state_name(plan.states.get(job.id)) for job in plan.jobs)
    by_state = ", ".join(f"{found[name]} {name}" for name in _ORDER if found[name]) or "none"
    title = (printable(plan.batch), "bold")
    lines = [Text.assemble(title, f"  {counted(len(plan.jobs), 'job')}: {by_state}{_time_left(plan)}")]
    if plan.until:
        lines.append(Text(plan.until))
    if plan.late:
        named = listing((job.file for job in plan.late), _MOST_LATE, 100)
        lines.append(Text(f"will not be finished in time: {counted(len(plan.late), 'job')}: {named}", "yellow"))
    if plan.cancelled:
        lines.append(Text(cancelled_text(plan.cancelled)))
    if plan.gone:
        some = f"{counted(len(plan.gone), 'earlier job')} {'is' if len(plan.gone) == 1 else 'are'}"
        lines.append(Text(f"{some} not in this manifest any more (saved files are kept)", "yellow"))
    lines += [Text(f"warning: {printable(text, _LONGEST_TEXT)}", "yellow") for text in plan.warnings]
    if plan.unknown:
        named = listing(plan.unknown, _MOST_LATE, 100)
        lines.append(Text(f"the time is a guess: no experience with this workflow yet on {printable(named)}"))
    lines += [Text(printable(text)) for text in plan.grouping[:_MOST_ROWS]]
    if len(plan.grouping) > _MOST_ROWS:
        lines.append(Text(f"order: {counted(len(plan.grouping) - _MOST_ROWS, 'server')} more"))
    told = telling(plan.jobs)
    first = sorted(plan.jobs, key=lambda job: _ORDER[::-1].index(state_name(plan.states.get(job.id))))[:_MOST_ROWS]
    rows = [(f"{state_name(plan.states.get(job.id)):8}  {job.id}", _in_words(job, told)) for job in first]
    shares = [(name, duration(seconds)) for name, seconds in plan.shares]
    values = [(key, _some(seen)) for key, seen in axes(plan.jobs).items()]
    return [*lines, *_section("axis", values), *_section("time", shares), *_section("job", rows, len(plan.jobs))]


def _time_left(plan: Plan) -> str:
    if plan.seconds is None or not plan.jobs:
        return ""
    if not plan.seconds:
        return "; nothing to do"
    return f", about {duration(plan.seconds)} to go" + (f", until {plan.ends} if it starts now" if plan.ends else "")


def status_view(batch: str, jobs: Sequence[Job], states: Mapping[str, State], standing: Standing) -> list[Text]:
    """Return where a batch stands: how many in each state, whether it runs, what is on its way, what failed and why."""
    wanted = wanted_jobs(jobs, states)
    stands = f"{counts_text(counts(state for _, state in wanted))} of {len(wanted)}" if wanted else "no jobs left"
    going = [(job, state) for job, state in wanted if isinstance(state, Sending | Queued | Fetching)]
    out = len(jobs) - len(wanted)
    troubles = [*standing.messages, *(one.trouble(standing.now) for one in standing.servers)]
    return [
        Text.assemble((printable(batch), "bold"), f"  {stands}"),
        Text(_runs(standing)),
        *(Text(printable(text, _LONGEST_TEXT), "yellow") for text in troubles if text),
        *(
            Text(printable(f"{one.name}: {one.message}"))
            for one in standing.servers
            if one.state == "up" and one.message
        ),
        *([Text(missing_text(standing.missing), "yellow")] if standing.missing else []),
        *([Text(f"cancelled, or not in the manifest any more: {counted(out, 'job')}")] if out else []),
        *_section("on its way", [(job.file, f"{state_name(state):8}  {state.prompt.server}") for job, state in going]),
        *_section("failed", [(job.file, text) for job, state in wanted if (text := failure(state))]),
        *([Text(), Text(f"{_NEXT}{printable(standing.command, _LONGEST_COMMAND)}")] if standing.command else []),
    ]


def cancelled_text(count: int) -> str:
    """Return that so many jobs were cancelled, and what becomes of them."""
    return f"cancelled: {counted(count, 'job')}; the next run renders {'it' if count == 1 else 'them'}"


def disk_text(shortage: DiskShortage) -> str:
    """Return that the disk will be full before all is done."""
    needed, free = size(shortage.needed), size(shortage.free)
    after = f"the disk will be full after about {shortage.fit} of {counted(shortage.jobs, 'video')}"
    return f"{after}: they need about {needed}, {free} are left ({KEPT_FREE // 2**20} MiB are kept free)"


def missing_text(paths: Sequence[str]) -> str:
    """Return which saved files are gone."""
    return f"missing or changed on disk: {counted(len(paths), 'file')}: {listing(paths, _MOST_LATE, 100)}"


def _runs(standing: Standing) -> str:
    """Return whether a runner lives, since when, and when everything will be done."""
    since = "" if standing.since is None else moment(standing.since, standing.now)
    if standing.held:
        return standing.held
    if standing.pid is None:
        return f"not running since {since}" if since else "not running"
    guess = " (a guess)" if standing.guessed else ""
    ends = f"; done about {moment(standing.ends_at, standing.now)}{guess}" if standing.ends_at is not None else ""
    return f"running since {since} (process {standing.pid}){ends}"


def axes(jobs: Iterable[Job]) -> dict[str, list[Scalar]]:
    """Return the parameters that differ between jobs, each with its values in order of appearance."""
    values: dict[str, dict[Scalar, None]] = {}
    for job in jobs:
        for key, value in job.params.items():
            values.setdefault(key, {})[value] = None
    return {key: list(seen) for key, seen in values.items() if len(seen) > 1}


def telling(jobs: Sequence[Job]) -> list[str]:
    """Return the parameters that tell jobs apart, the prompt and other words first.

    Of those that always change together only one: `quality` speaks for the steps that it sets.
    """
    found = axes(jobs)

    def rank(name: str) -> tuple[bool, bool, bool]:
        return name != "prompt", not any(isinstance(value, str) for value in found[name]), name.startswith("_")

    patterns: dict[tuple[int, ...], str] = {}
    for name in sorted(found, key=rank):
        places: dict[Scalar, int] = {}
        patterns.setdefault(tuple(places.setdefault(job.params.get(name), len(places)) for job in jobs), name)
    return list(patterns.values())


def _in_words(job: Job, names: Sequence[str]) -> str:
    """Return what tells a job from others, its prompt first: `a red fox in the snow, quality fast, seed 7`."""
    prompt = job.params.get("prompt")
    words = [printable(str(prompt), _LONGEST_PROMPT)] if prompt else []
    words += [
        f"{name} {printable(str(job.params[name]), 40)}" for name in names if name in job.params and name != "prompt"
    ]
    return ", ".join(words) or job.file


def _some(values: Sequence[Scalar]) -> str:
    shown = ", ".join(printable(str(value), 40) for value in values[:_MOST_VALUES])
    return f"{shown}, … ({len(values)} in all)" if len(values) > _MOST_VALUES else shown


def _section(title: str, rows: Sequence[tuple[str, str]], total: int | None = None) -> list[Text]:
    """Return at most 12 rows, of `total` in all, under a title; nothing for no rows.

    Not a `rich.table.Table`: it would wrap or cut what is wider than the terminal, and fill up the last column.
    """
    shown = [(Text(printable(left)), printable(right, _LONGEST_TEXT)) for left, right in rows[:_MOST_ROWS]]
    if not shown:
        return []
    width = max(_NAME_CELLS.start, min(_NAME_CELLS.stop, max(cell_len(left.plain) for left, _ in shown)))
    for left, _ in shown:
        left.truncate(width, overflow="ellipsis", pad=True)
    hidden = (total or len(rows)) - len(shown)
    more = [Text(f"  … and {hidden} more", "bright_black")] if hidden else []
    lines = [Text.assemble("  ", left, "  ", right) for left, right in shown]
    return [Text(), Text(title, "bold"), *lines, *more]


def print_lines(console: Console, lines: Iterable[Text]) -> None:
    """Print each line whole, however long; on a terminal it goes on below, indented, between two words.

    A command to copy stays one line, and so does everything off a terminal.
    """
    for line in lines:
        for part in _wrapped(console, line) if console.is_terminal and not line.plain.startswith(_NEXT) else [line]:
            console.print(part, soft_wrap=True)


def _wrapped(console: Console, line: Text) -> Iterator[Text]:
    """Yield a line in parts that fit the terminal, as far as a single word does."""
    width = console.width
    while cell_len(line.plain) > width and (words := [*re.finditer(r"(?<=\S) +(?=\S)", line.plain)]):
        ends = [word for word in words if cell_len(line.plain[: word.start()]) <= width] or words[:1]
        yield line[: ends[-1].start()]
        line = Text(" " * _INDENT).append_text(line[ends[-1].end() :])
    yield line
