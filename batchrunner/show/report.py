"""The report on a batch: what is done, what failed and why, how long the servers rendered and idled, what to do next.

Folded from the facts once, and shown as `report.md`, as a few lines at the end of `run`, and as a section of the page.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batchrunner.core.facts import Accepted, Claimed, Lost, Rendered, Why
from batchrunner.core.lifecycle import Done, Failed, Fetching
from batchrunner.show.events import LOSS_REASONS, WORKFLOW_DIFFERS
from batchrunner.show.status import wanted_jobs
from batchrunner.text import clock, counted, duration, listing, markdown_text, printable, size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from batchrunner.core.facts import Fact
    from batchrunner.core.job import Job, Json
    from batchrunner.core.lifecycle import State

LEAST_GAP = 30.0
"""Seconds: a shorter gap is the time between two polls, not an idle server."""
_MOST_GAPS = 5
_MOST_SLOW = 5
_MOST_CAUSES = 5
"""Lines of the short form for failures; `report.md` has them all."""
_MOST_NAMES = 3
"""Jobs named in a line of the short form."""
_LONGEST = 500
_LONGEST_ROW = 1_000_000
"""Characters: every job that failed is named."""
LONGEST_COMMAND = 8000
"""Characters: a command that is cut runs something else."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in which a server rendered nothing for us, between two renders."""

    began: float
    """Seconds since the epoch, by this machine's clock."""
    seconds: float
    """While a runner ran."""


@dataclass(frozen=True, slots=True)
class ServerUse:
    """One server's part of a batch."""

    server: str
    renders: int
    """Whether their files were saved or not."""
    rendered: float
    """Seconds, by the server's own clock."""
    gaps: tuple[Gap, ...]
    """Longest first."""

    @property
    def idle(self) -> float:
        """Seconds in all gaps."""
        return sum(gap.seconds for gap in self.gaps)


@dataclass(frozen=True, slots=True)
class FailureCause:
    """Everything that ended for one reason with one message."""

    why: Why
    message: str
    """The server's own words."""
    jobs: tuple[str, ...]
    """Local names; a job twice if it ended so twice."""


@dataclass(frozen=True, slots=True)
class Commands:
    """Command lines about one batch, whole and quoted, to be copied."""

    run: str = "batchrunner run MANIFEST"
    retry: str = "batchrunner retry MANIFEST"
    gallery: str = "batchrunner gallery MANIFEST --serve"
    promote: str = "batchrunner promote picks.json --set size=1080p"
    run_job: str = "batchrunner run MANIFEST --only job="
    """How the command begins that renders one job: its id follows. So does `retry_job`."""
    retry_job: str = "batchrunner retry MANIFEST --only job="


@dataclass(frozen=True, slots=True)
class RunContext:
    """What the facts do not say."""

    manifest: str = ""
    """Its path, absolute, for `picks.json`."""
    folder: str = ""
    """The batch folder, as people find it."""
    expected: float | None = None
    """How long it all was to take, said at the beginning, in seconds."""
    guessed: bool = False
    """Whether that was no more than a guess."""
    ending: tuple[str, ...] = ()
    """How the last run ended, in lines for people: what they may not have seen, because their terminal had gone."""
    unhandled: int = 0
    """Saved files that `on_saved` is still to handle."""
    runs: tuple[tuple[float, float], ...] = ()
    """From when to when a runner ran, in seconds since the epoch; always, if there is none."""
    commands: Commands = field(default_factory=Commands)
    """As they are typed in the working folder."""
    lasting: Commands = field(default_factory=Commands)
    """The same with absolute paths, for the files: they are read elsewhere."""


@dataclass(frozen=True, slots=True)
class Report:
    """A batch so far. Times in seconds, clock times since the epoch."""

    batch: str
    total: int
    done: int
    failed: int
    began: float | None
    """When the first fact was noted."""
    ended: float | None
    wall: float
    """How long a runner ran between the two."""
    servers: tuple[ServerUse, ...]
    failures: tuple[FailureCause, ...]
    """Most frequent first."""
    again: tuple[FailureCause, ...]
    """Attempts that ended without a video and were followed by another, most frequent first."""
    wasted: float
    """Seconds rendered for files that were never saved."""
    slowest: tuple[tuple[str, float], ...]
    """Local names and seconds, slowest first."""
    size: int
    """Bytes of all saved files."""
    differing: tuple[str, ...]
    """Local names of jobs whose files carry another workflow than the one that was sent."""
    warnings: tuple[tuple[str, str], ...] = ()
    """Files that are not what was asked for, by their path in the batch folder, and how."""
    context: RunContext = field(default_factory=RunContext)

    @property
    def left(self) -> int:
        """Jobs neither done nor failed."""
        return self.total - self.done - self.failed

    @property
    def expected(self) -> float | None:
        """How long everything was to take; None while jobs are left, for there is nothing to compare it with."""
        return None if self.left else self.context.expected

    @property
    def rendered(self) -> float:
        """How long the servers rendered for us, all together."""
        return sum(server.rendered for server in self.servers)


def report(
    batch: str,
    jobs: Sequence[Job],
    states: Mapping[str, State],
    facts: Sequence[Fact],
    context: RunContext | None = None,
) -> Report:
    """Return the report on `jobs`; `facts` are all of the batch, oldest first."""
    wanted = wanted_jobs(jobs, states)
    names = {job.id: job.file for job in jobs}
    kept = {job.id: state.prompt.attempt for job, state in wanted if isinstance(state, Done | Fetching)}
    renders = [fact for fact in facts if isinstance(fact, Rendered)]
    kept_renders = [fact for fact in renders if kept.get(fact.job) == fact.attempt]
    slowest = sorted((-(fact.seconds or 0.0), names[fact.job]) for fact in kept_renders if fact.seconds is not None)
    failures = [(state.why, state.message, job.file) for job, state in wanted if isinstance(state, Failed)]
    lost = [fact for fact in facts if isinstance(fact, Lost) and not fact.final and fact.why is not Why.WITHDRAWN]
    context = context or RunContext()
    return Report(
        batch=batch,
        total=len(wanted),
        done=sum(isinstance(state, Done) for _, state in wanted),
        failed=len(failures),
        began=facts[0].at if facts else None,
        ended=facts[-1].at if facts else None,
        wall=_ran(context.runs, facts[0].at, facts[-1].at) if facts else 0.0,
        servers=server_use(facts, context.runs),
        failures=_causes(failures),
        again=_causes([(fact.why, fact.message, names.get(fact.job, fact.job)) for fact in lost]),
        wasted=sum(fact.seconds or 0.0 for fact in renders if kept.get(fact.job) != fact.attempt),
        slowest=tuple((name, -seconds) for seconds, name in slowest[:_MOST_SLOW]),
        size=sum(file.size for _, state in wanted if isinstance(state, Done) for file in state.files),
        warnings=tuple(
            (file.path, file.warning)
            for _, state in wanted
            if isinstance(state, Done)
            for file in state.files
            if file.warning
        ),
        differing=tuple(names[fact.job] for fact in kept_renders if fact.differs),
        context=context,
    )


def _ran(runs: Sequence[tuple[float, float]], began: float, ended: float) -> float:
    """Return how many seconds between two moments a runner ran."""
    spans = runs or [(began, ended)]
    return sum(max(0.0, min(until, ended) - max(since, began)) for since, until in spans)


def server_use(facts: Iterable[Fact], runs: Sequence[tuple[float, float]] = ()) -> tuple[ServerUse, ...]:
    """Return every server that rendered something, in order of its first render; idle only while a runner ran.

    When a render ended is taken from when it was noticed, so gaps are right to the time between two polls.
    """
    servers: dict[tuple[str, int], str] = {}
    renders: dict[str, list[tuple[float, float]]] = {}
    for fact in facts:
        if isinstance(fact, Claimed | Accepted):
            servers[fact.job, fact.attempt] = fact.server
        elif isinstance(fact, Rendered) and fact.seconds is not None:
            server = servers.get((fact.job, fact.attempt), "?")
            renders.setdefault(server, []).append((fact.at - fact.seconds, fact.at))
    return tuple(
        ServerUse(
            server,
            len(spans),
            sum(end - begin for begin, end in spans),
            tuple(sorted(_gaps(sorted(spans), runs), key=lambda gap: -gap.seconds)),
        )
        for server, spans in renders.items()
    )


def _gaps(spans: Sequence[tuple[float, float]], runs: Sequence[tuple[float, float]]) -> Iterator[Gap]:
    until = spans[0][1]
    for begin, end in spans[1:]:
        if begin > until and (idle := _ran(runs, until, begin)) >= LEAST_GAP:
            yield Gap(until, idle)
        until = max(until, end)


def _causes(found: Iterable[tuple[Why, str, str]]) -> tuple[FailureCause, ...]:
    """Return reason, message and job of everything that ended, gathered by the first two."""
    jobs: dict[tuple[Why, str], list[str]] = {}
    for why, message, job in found:
        jobs.setdefault((why, message), []).append(job)
    causes = [FailureCause(why, message, tuple(names)) for (why, message), names in jobs.items()]
    return tuple(sorted(causes, key=lambda cause: -len(cause.jobs)))


def headline(report: Report) -> str:
    """Return `47 of 48 done, 1 failed, in 8 h 12 min`."""
    failed = f", {report.failed} failed" if report.failed else ""
    left = f", {report.left} left" if report.left else ""
    took = f", in {duration(report.wall)}" if report.began is not None else ""
    return f"{report.done} of {report.total} done{failed}{left}{took}"


def report_lines(report: Report) -> list[str]:
    """Return the short form in printable lines; the last one is the command to type next."""
    found = [headline(report)]
    if report.servers:
        idle = sum(server.idle for server in report.servers)
        idle_text = f", idle for {duration(idle)} in between" if idle else ""
        word = "guessed" if report.context.guessed else "expected"
        expected = f", {duration(report.expected)} {word}" if report.expected else ""
        found.append(f"rendered for {duration(report.rendered)}{idle_text}{expected}")
    found += [
        f"failed: {listing(cause.jobs, _MOST_NAMES, 100)}: {LOSS_REASONS[cause.why]}: {cause.message}"
        for cause in report.failures[:_MOST_CAUSES]
    ]
    if len(report.failures) > _MOST_CAUSES:
        found.append(f"failed: {counted(len(report.failures) - _MOST_CAUSES, 'more cause')}, in report.md")
    if report.again:
        times: dict[Why, int] = {}
        for cause in report.again:
            times[cause.why] = times.get(cause.why, 0) + len(cause.jobs)
        wasted = f", {duration(report.wasted)} of wasted render time" if report.wasted else ""
        reasons = "; ".join(f"{count} x {LOSS_REASONS[why]}" for why, count in times.items())
        found.append(f"rendered again: {reasons}{wasted}")
    if report.differing:
        found.append(f"warning: {_differing(report)}")
    if report.warnings:
        path, how = report.warnings[0]
        found.append(f"warning: {counted(len(report.warnings), 'file')} not as asked for, e.g. {path}: {how}")
    if report.slowest:
        found.append(f"slowest: {report.slowest[0][0]}, {duration(report.slowest[0][1])}")
    if report.size:
        found.append(f"on disk: {size(report.size)}{f' in {report.context.folder}' if report.context.folder else ''}")
    steps = next_steps(report, report.context.commands)[:1]
    return [
        *(printable(text, _LONGEST) for text in found),
        *(printable(f"next: {command}", LONGEST_COMMAND) for command, _ in steps),
    ]


def _differing(report: Report) -> str:
    return f"{counted(len(report.differing), 'job')} kept, e.g. {report.differing[0]}: {WORKFLOW_DIFFERS}"


def sections(report: Report) -> dict[str, list[tuple[str, str]]]:
    """Return the whole report but its headline: by title rows of what, and what about it; no section is empty.

    Texts are as they came; whoever prints them escapes them.
    """
    wasted = [("wasted render time", duration(report.wasted))] if report.wasted else []
    found = {
        "Time": list(_times(report)),
        "Failed": list(map(_cause_row, report.failures)),
        "Rendered again": [*map(_cause_row, report.again), *wasted],
        "Rewritten on the server": [("warning", _differing(report))] if report.differing else [],
        "Not as asked for": list(report.warnings),
        "Servers": [row for server in report.servers for row in _server_rows(server)],
        "Slowest": [(name, duration(seconds)) for name, seconds in report.slowest],
        "Disk": [("saved files", size(report.size))] if report.size else [],
        "Next": next_steps(report, report.context.lasting),
    }
    return {title: rows for title, rows in found.items() if rows}


def _times(report: Report) -> Iterator[tuple[str, str]]:
    if report.began is not None and report.ended is not None:
        yield "wall clock", f"{duration(report.wall)}, from {clock(report.began)} to {clock(report.ended)}"
    if report.servers:
        yield "rendered", duration(report.rendered)
    if expected := report.expected:
        off = round(100 * (expected / report.wall - 1)) if report.wall else 0
        held = f"{abs(off)} % too {'high' if off > 0 else 'low'}" if off else "right"
        yield "forecast", f"{duration(expected)}, {'a guess' if report.context.guessed else held}"


def _cause_row(cause: FailureCause) -> tuple[str, str]:
    return listing(cause.jobs, len(cause.jobs), 200), f"{LOSS_REASONS[cause.why]}: {cause.message}"


def _server_rows(server: ServerUse) -> Iterator[tuple[str, str]]:
    idle = f"idle for {duration(server.idle)} in {counted(len(server.gaps), 'gap')}" if server.gaps else "without a gap"
    yield server.server, f"{counted(server.renders, 'render')} in {duration(server.rendered)}, {idle}"
    for gap in server.gaps[:_MOST_GAPS]:
        yield f"{server.server} idle at {clock(gap.began)}", duration(gap.seconds)


def next_command(counts: Mapping[str, int], commands: Commands) -> str:
    """Return the command to go on with a batch of which so many jobs are in each state; "" if it is done."""
    failed = counts.get("failed", 0)
    if sum(counts.values()) > counts.get("done", 0) + failed:
        return commands.run
    return commands.retry if failed else ""


def next_steps(report: Report, commands: Commands) -> list[tuple[str, str]]:
    """Return commands with what they are for, the most useful first."""
    found = []
    if report.left:
        found.append((commands.run, "go on with what is left"))
    elif report.context.unhandled:
        found.append((commands.run, f"run on_saved again for {counted(report.context.unhandled, 'file')}"))
    if report.failed:
        found.append((commands.retry, "have what failed wait again, then run it"))
    if report.done:
        found.append((commands.gallery, "look at what is done"))
        found.append((commands.promote, "render the picks of the gallery larger"))
    return found


def report_markdown(report: Report) -> str:
    """Return `report.md`. Nothing that came from a manifest or a server is markup in it."""
    parts = [f"# {markdown_text(report.batch)}\n\n{markdown_text(headline(report))}\n"]
    parts += [f"{markdown_text(line, _LONGEST_ROW)}\n" for line in report.context.ending]
    for title, rows in sections(report).items():
        if title == "Next":
            text = "\n".join(f"{about}:\n\n    {printable(command, LONGEST_COMMAND)}\n" for command, about in rows)
        else:
            text = "".join(
                f"- {markdown_text(what, _LONGEST_ROW)}: {markdown_text(about, 400)}\n" for what, about in rows
            )
        parts.append(f"## {title}\n\n{text}")
    return "\n".join(parts)


def report_json(report: Report) -> Json:
    """Return the report for the page: a headline, and sections with a title and rows of two texts."""
    found: list[Json] = [
        {"title": title, "rows": [[what, about] for what, about in rows]} for title, rows in sections(report).items()
    ]
    return {"headline": headline(report), "sections": found}
