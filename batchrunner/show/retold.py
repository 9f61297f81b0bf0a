"""A report in words: lines for the end of `run`, `report.md`, and a section of the page."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchrunner.show.report import REASONS
from batchrunner.show.text import clock, duration, safe, size
from batchrunner.show.words import DIFFERS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batchrunner.core.identity import Json
    from batchrunner.show.report import Reason, Report

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
    found += [f"failed: {_times(reason)}, e.g. {reason.job}: {reason.says}" for reason in report.failures]
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
    return _times(reason), f"{reason.job}: {reason.says}"


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
        idle = f", idle for {duration(shift.idle)} in {_gaps(len(shift.gaps))}" if shift.gaps else ", without a gap"
        yield shift.server, f"{shift.renders} renders in {duration(shift.rendered)}{idle}"
        for gap in shift.gaps[:_GAPS]:
            yield f"{shift.server} idle at {clock(gap.began)}", duration(gap.seconds)


def _gaps(count: int) -> str:
    return "one gap" if count == 1 else f"{count} gaps"


def _plain(text: str) -> str:
    """Return harmless Markdown that reads as `text`."""
    return _NUMBERED.sub(r"\1\\\2", _MARKUP.sub(r"\\\g<0>", safe(text, _SAYS)))
