"""The morning's report: what is done, what failed and why, where the night went, and what to do."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batchrunner.core.facts import Accepted, Claimed, Lost, Rendered, Why
from batchrunner.core.lifecycle import Done, Failed, Fetching, Unwanted, Waiting
from batchrunner.show.events import DIFFERS
from batchrunner.text import clock, duration, safe, size

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from batchrunner.core.facts import Fact
    from batchrunner.core.job import Job, Json
    from batchrunner.core.lifecycle import State

# -- What a server did for one batch: how long it rendered, and when it stood idle between two renders.


_BEGUN = (Claimed, Accepted)
"""Facts that name the server of an attempt."""
NOTICED = 30.0
"""Seconds: a shorter gap is the time between two looks, not a server at rest."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in which a server rendered nothing for us, between two renders."""

    began: float
    """Seconds since the epoch, by this machine's clock."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Shift:
    """One server's part of a batch."""

    server: str
    renders: int
    """Whether their files came home or not."""
    rendered: float
    """Seconds, by the server's own clock."""
    gaps: tuple[Gap, ...]
    """Longest first."""

    @property
    def idle(self) -> float:
        """Seconds in all gaps."""
        return sum(gap.seconds for gap in self.gaps)


def shifts(facts: Iterable[Fact]) -> tuple[Shift, ...]:
    """Return every server that rendered something, in order of its first render.

    When a render ended is taken from when it was noticed, so gaps are right to the time between two looks.
    """
    servers: dict[tuple[str, int], str] = {}
    renders: dict[str, list[tuple[float, float]]] = {}
    for fact in facts:
        if isinstance(fact, _BEGUN):
            servers[fact.job, fact.attempt] = fact.server
        elif isinstance(fact, Rendered) and fact.seconds is not None:
            where = servers.get((fact.job, fact.attempt), "?")
            renders.setdefault(where, []).append((fact.at - fact.seconds, fact.at))
    return tuple(_shift(server, spans) for server, spans in renders.items())


def _shift(server: str, spans: Sequence[tuple[float, float]]) -> Shift:
    rendered = sum(end - begin for begin, end in spans)
    return Shift(server, len(spans), rendered, tuple(sorted(_gaps(spans), key=lambda gap: -gap.seconds)))


def _gaps(spans: Sequence[tuple[float, float]]) -> Iterable[Gap]:
    ordered = sorted(spans)
    until = ordered[0][1]
    for begin, end in ordered[1:]:
        if begin - until >= NOTICED:
            yield Gap(until, begin - until)
        until = max(until, end)


# -- The morning's report: what is done, what failed and why, where the night went, and what to type next.
#
# One fold of the facts, told three ways: `report.md`, a few lines at the end of `run`, and a section of the page.


_SLOWEST = 5

REASONS: Mapping[Why, str] = {
    Why.REFUSED: "the server refused the workflow",
    Why.ERROR: "a node raised an error",
    Why.INTERRUPTED: "somebody interrupted it on the server",
    Why.FORGOTTEN: "the server forgot it (a restart, or a cleared queue)",
    Why.EXPIRED: "its file was cleaned up before it was home",
    Why.WRONG_CONTENT: "the server answered with another job's file",
    Why.UNUSABLE: "its file could not be used",
    Why.WITHDRAWN: "it was taken back from the server",
    Why.DENIED: "something before the server refuses this prompt",
    Why.STUCK: "it ran far longer than it should and was interrupted",
    Why.SERVER_GONE: "its server was given up",
}
"""Why an attempt brought nothing, in words."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Everything that ended in the same way."""

    why: Why
    count: int
    job: str
    """Local name of one of them."""
    message: str
    """The server's own words about that one."""


@dataclass(frozen=True, slots=True)
class Slow:
    """A job that took long."""

    job: str
    """Its local name."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Around:
    """What the facts do not say."""

    manifest: str = ""
    """As it was given on the command line, for the commands at the end."""
    folder: str = ""
    """The batch folder, as people find it."""
    expected: float | None = None
    """How long it all was to take, said at the beginning, in seconds."""
    ends: tuple[float, float] | None = None
    """When the run being reported began and ended, seconds since the epoch; else the facts tell."""


@dataclass(frozen=True, slots=True)
class Report:
    """A batch, looked back on. Times in seconds, clock times since the epoch."""

    batch: str
    total: int
    done: int
    failed: int
    began: float | None
    """When the first fact was noted."""
    ended: float | None
    shifts: tuple[Shift, ...]
    """What every server did for us."""
    failures: tuple[Reason, ...]
    """Most frequent first."""
    again: tuple[Reason, ...]
    """Attempts that were lost and followed by another, most frequent first."""
    wasted: float
    """Seconds rendered for files that never came home."""
    slowest: tuple[Slow, ...]
    size: int
    """Bytes of all files at home."""
    differing: tuple[str, ...]
    """Local names of jobs whose files carry another workflow than the one that was sent."""
    around: Around = field(default_factory=Around)

    @property
    def left(self) -> int:
        """Jobs neither done nor failed."""
        return self.total - self.done - self.failed

    @property
    def wall(self) -> float:
        """How long it took, from the first fact to the last."""
        return 0.0 if self.began is None or self.ended is None else max(0.0, self.ended - self.began)

    @property
    def rendered(self) -> float:
        """How long the servers rendered for us, all together."""
        return sum(shift.rendered for shift in self.shifts)


def report(
    batch: str, jobs: Sequence[Job], states: Mapping[str, State], facts: Sequence[Fact], around: Around | None = None
) -> Report:
    """Return the report on `jobs`; `facts` are all of the batch, oldest first."""
    around = around or Around()
    states = {job.id: states.get(job.id, Waiting()) for job in jobs}
    states = {name: state for name, state in states.items() if not isinstance(state, Unwanted)}
    names = {job.id: job.file for job in jobs}
    times = around.ends or ((facts[0].at, facts[-1].at) if facts else (None, None))
    kept = {name: state.prompt.attempt for name, state in states.items() if isinstance(state, Done | Fetching)}
    renders = [fact for fact in facts if isinstance(fact, Rendered)]
    timed = [fact for fact in renders if fact.seconds is not None]
    return Report(
        batch=batch,
        total=len(states),
        done=sum(isinstance(state, Done) for state in states.values()),
        failed=sum(isinstance(state, Failed) for state in states.values()),
        began=times[0],
        ended=times[1],
        shifts=shifts(facts),
        failures=_failures(states, names),
        again=_again(facts, names),
        wasted=sum(fact.seconds or 0.0 for fact in timed if kept.get(fact.job) != fact.attempt),
        slowest=_slowest(timed, kept, names),
        size=sum(file.size for state in states.values() if isinstance(state, Done) for file in state.files),
        differing=tuple(names[one.job] for one in renders if one.differs and kept.get(one.job) == one.attempt),
        around=around,
    )


def _failures(states: Mapping[str, State], names: Mapping[str, str]) -> tuple[Reason, ...]:
    return _reasons(
        [(state.why, names[job], state.message) for job, state in states.items() if isinstance(state, Failed)]
    )


def _again(facts: Sequence[Fact], names: Mapping[str, str]) -> tuple[Reason, ...]:
    lost = [fact for fact in facts if isinstance(fact, Lost) and not fact.final and fact.why is not Why.WITHDRAWN]
    return _reasons([(fact.why, names.get(fact.job, fact.job), fact.message) for fact in lost])


def _reasons(found: Sequence[tuple[Why, str, str]]) -> tuple[Reason, ...]:
    first = {why: (job, message) for why, job, message in reversed(found)}
    return tuple(Reason(why, count, *first[why]) for why, count in Counter(why for why, _, _ in found).most_common())


def _slowest(renders: Sequence[Rendered], kept: Mapping[str, int], names: Mapping[str, str]) -> tuple[Slow, ...]:
    """Return the slowest renders whose files are home, or on their way; equal ones by name."""
    found = [Slow(names[fact.job], fact.seconds or 0.0) for fact in renders if kept.get(fact.job) == fact.attempt]
    return tuple(sorted(found, key=lambda slow: (-slow.seconds, slow.job))[:_SLOWEST])


# -- A report in words: lines for the end of `run`, `report.md`, and a section of the page.


_GAPS = 5
_SAYS = 300
_MARKUP = re.compile(r"[\\`*_\[\]<>|~&]|^[#+-]")
_NUMBERED = re.compile(r"^([0-9]+)([.)])")


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and its rows: what, and what about it. Texts as they came; whoever prints them escapes them."""

    title: str
    rows: Sequence[tuple[str, str]]


def headline(report: Report) -> str:
    """Return `47 of 48 done, 1 failed, in 8 h 12 min`."""
    failed = f", {report.failed} failed" if report.failed else ""
    left = f", {report.left} left" if report.left else ""
    took = f", in {duration(report.wall)}" if report.began is not None else ""
    return f"{report.done} of {report.total} done{failed}{left}{took}"


def lines(report: Report) -> list[str]:
    """Return the short form, a harmless line each; the last one is what to type next."""
    found = [headline(report)]
    if report.shifts:
        found.append(f"rendered for {duration(report.rendered)}{_idle(report)}{_forecast(report)}")
    found += [f"failed: {_times(reason)}, e.g. {reason.job}: {reason.message}" for reason in report.failures]
    if report.again:
        wasted = f", {duration(report.wasted)} of rendering" if report.wasted else ""
        found.append(f"rendered again: {'; '.join(map(_times, report.again))}{wasted}")
    found += [f"warning: {what}, {about}" for what, about in _differing(report)]
    if report.slowest:
        found.append(f"slowest: {report.slowest[0].job}, {duration(report.slowest[0].seconds)}")
    if report.size:
        found.append(f"on disk: {size(report.size)}{f' in {report.around.folder}' if report.around.folder else ''}")
    return [safe(text, _SAYS) for text in (*found, *(f"next: {command}" for command, _ in next_steps(report)[:1]))]


def sections(report: Report) -> list[Section]:
    """Return the whole report, without its headline and without sections that would be empty."""
    all_of_them = [
        Section("Time", list(_time(report))),
        Section("Failed", list(map(_reason, report.failures))),
        Section("Rendered again", [*map(_reason, report.again), *_wasted(report)]),
        Section("Rewritten on the server", list(_differing(report))),
        Section("Servers", list(_servers(report))),
        Section("Slowest", [(slow.job, duration(slow.seconds)) for slow in report.slowest]),
        Section("Disk", [("files at home", size(report.size))] if report.size else []),
        Section("Next", next_steps(report)),
    ]
    return [section for section in all_of_them if section.rows]


def markdown(report: Report) -> str:
    """Return `report.md`. Nothing that came from a manifest or a server is markup in it."""
    parts = [f"# {_plain(report.batch)}\n\n{_plain(headline(report))}\n"]
    for section in sections(report):
        if section.title == "Next":
            rows = "\n".join(f"{_plain(about)}:\n\n    {safe(command, _SAYS)}\n" for command, about in section.rows)
        else:
            rows = "".join(f"- {_plain(what)}: {_plain(about)}\n" for what, about in section.rows)
        parts.append(f"## {section.title}\n\n{rows}")
    return "\n".join(parts)


def as_json(report: Report) -> Json:
    """Return the report for the page."""
    found: list[Json] = [
        {"title": section.title, "rows": [[what, about] for what, about in section.rows]}
        for section in sections(report)
    ]
    return {"headline": headline(report), "sections": found}


def next_steps(report: Report) -> list[tuple[str, str]]:
    """Return (command, what for), the most useful first."""
    manifest = shlex.quote(report.around.manifest or "MANIFEST")
    found = []
    if report.left:
        found.append((f"batchrunner run {manifest}", "go on with what is left"))
    if report.failed:
        found.append((f"batchrunner retry {manifest}", "have what failed wait again, then run it"))
    if report.done:
        found.append((f"batchrunner gallery {manifest} --serve", "look at what is done"))
        found.append(("batchrunner promote picks.json --set size=1080p", "render the picks of the gallery larger"))
    return found


def _times(reason: Reason) -> str:
    return f"{reason.count} x {REASONS[reason.why]}"


def _reason(reason: Reason) -> tuple[str, str]:
    return _times(reason), f"{reason.job}: {reason.message}"


def _idle(report: Report) -> str:
    idle = sum(shift.idle for shift in report.shifts)
    return f", idle for {duration(idle)} in between" if idle else ""


def _forecast(report: Report) -> str:
    expected = report.around.expected
    return "" if not expected else f", {duration(expected)} expected"


def _time(report: Report) -> Iterator[tuple[str, str]]:
    if report.began is not None and report.ended is not None:
        yield "wall clock", f"{duration(report.wall)}, from {clock(report.began)} to {clock(report.ended)}"
    if report.shifts:
        yield "rendered", duration(report.rendered)
    expected = report.around.expected
    if expected:
        off = round(100 * (report.wall / expected - 1))
        yield "forecast", f"{duration(expected)}, {abs(off)} % too {'low' if off > 0 else 'high'}" if off else "right"


def _wasted(report: Report) -> Iterator[tuple[str, str]]:
    if report.wasted:
        yield "rendered in vain", duration(report.wasted)


def _differing(report: Report) -> Iterator[tuple[str, str]]:
    if report.differing:
        yield f"{len(report.differing)} kept", f"e.g. {report.differing[0]}: {DIFFERS}"


def _servers(report: Report) -> Iterator[tuple[str, str]]:
    for shift in report.shifts:
        idle = ", without a gap"
        if shift.gaps:
            idle = f", idle for {duration(shift.idle)} in {_gap_lines(len(shift.gaps))}"
        yield shift.server, f"{shift.renders} renders in {duration(shift.rendered)}{idle}"
        for gap in shift.gaps[:_GAPS]:
            yield f"{shift.server} idle at {clock(gap.began)}", duration(gap.seconds)


def _gap_lines(count: int) -> str:
    return "one gap" if count == 1 else f"{count} gaps"


def _plain(text: str) -> str:
    """Return harmless Markdown that reads as `text`."""
    return _NUMBERED.sub(r"\1\\\2", _MARKUP.sub(r"\\\g<0>", safe(text, _SAYS)))
