"""The gallery's content: every job of a batch with all the page shows of it. Pure: the same facts, the same bytes.

Every number that a browser could round is a text: a seed has up to 20 digits, and 2^53 is as far as it counts exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import TYPE_CHECKING
from urllib.parse import quote

from batchrunner.core.facts import Rendered
from batchrunner.core.job import INPUTS
from batchrunner.core.lifecycle import Done, Fetching
from batchrunner.show.report import Commands
from batchrunner.show.status import counts, failure, saved_files, state_name, wanted_jobs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from batchrunner.core.facts import Fact, Saved
    from batchrunner.core.job import Job, Json, Scalar
    from batchrunner.core.lifecycle import State

VERSION = 1
"""Of the shape of what is written; a page that knows another one says so."""
ABSENT = -1
"""Stands for a job that does not have the parameter."""
_FIRST = ("prompt", "seed")
_MOST_COLUMNS = 12
_LEAST_FILLED = 0.5
VIDEOS = frozenset({".mp4", ".webm", ".mov", ".mkv"})
PICTURES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".gif"})
SOUNDS = frozenset({".wav", ".flac", ".mp3", ".opus", ".ogg", ".m4a"})


@dataclass(frozen=True, slots=True)
class Varied:
    """A parameter that differs between jobs."""

    name: str
    values: tuple[str, ...]
    """Numbers by size, texts and seeds in order of appearance, each once."""
    at: tuple[int, ...]
    """For every job the place of its value in `values`, or `ABSENT`."""
    words: bool
    """Whether some value is a text."""


def value_text(value: Scalar) -> str:
    """Return a value as people write it: 5.0 is `5`, true is `true`, nothing is empty; every digit of a seed."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value)


def varied(jobs: Sequence[Job]) -> list[Varied]:
    """Return every parameter that has two values or more, in order of appearance."""
    names = dict.fromkeys(name for job in jobs for name in job.params)
    columns = ((name, [job.params.get(name) for job in jobs]) for name in names)
    # Most are the same in every job, which is found out faster than their texts are made.
    found = [_varied(name, values) for name, values in columns if len({(type(one), one) for one in values}) > 1]
    return [one for one in found if len(one.values) > 1]


def constant(jobs: Sequence[Job]) -> dict[str, str]:
    """Return every parameter that is the same in all jobs."""
    first = jobs[0].params if jobs else {}
    alike = [name for name in first if all(name in job.params and job.params[name] == first[name] for job in jobs)]
    return {name: value_text(first[name]) for name in alike}


def axes(found: Sequence[Varied]) -> set[str]:
    """Return the names of the parameters worth a choice: of those that always change together only one.

    `quality: fast` sets steps and cfg: the three tell jobs apart in the same way, and one of them speaks for all.
    """
    groups: dict[tuple[int, ...], list[Varied]] = {}
    for one in found:
        # Which jobs are alike, whatever the values are called.
        places: dict[int, int] = {}
        groups.setdefault(tuple(places.setdefault(place, len(places)) for place in one.at), []).append(one)
    return {min(group, key=_rank).name for group in groups.values()}


def first_axes(found: Sequence[Varied]) -> tuple[str, str]:
    """Return the names of the parameters that are rows and columns at first; empty where a plain grid shows more."""
    names = axes(found)
    choices = [one for one in found if one.name in names]
    if len(choices) < 2:
        return "", ""
    rows = min(choices, key=lambda one: (one.name != "prompt", one.name == "seed"))
    fit = [one for one in choices if one is not rows and _is_table(rows, one)]
    columns = max(fit, key=lambda one: (one.name == "seed", len(one.values)), default=None)
    return rows.name, columns.name if columns else ""


def pictures(one: Varied, jobs: Sequence[Job], media: Iterable[str]) -> Json:
    """Return for each value of a parameter the URL of the one picture or video that all its jobs read, null without.

    A prompt that is written for a picture has that picture, too. One that all jobs of the batch have tells nothing
    apart; null for the whole where no value has any. `media` are the parameters that are input files.
    """
    found: list[Json] = [None for _ in one.values]
    for name in sorted(media, key=lambda name: name != one.name):
        names: list[set[str]] = [set() for _ in one.values]
        for job, place in zip(jobs, one.at, strict=True):
            if place != ABSENT:
                names[place].add(job.uploads.get(name, ""))
        if len(set().union(*names)) == 1:
            continue
        for place, some in enumerate(names):
            only = next(iter(some)) if len(some) == 1 else ""
            if found[place] is None and PurePosixPath(only).suffix in PICTURES | VIDEOS:
                found[place] = link(f"{INPUTS}/{only}")
    return found if any(found) else None


def _varied(name: str, values: Sequence[Scalar]) -> Varied:
    known = {value_text(value): value for value in values if value is not None}
    numbers = {text: value for text, value in known.items() if not isinstance(value, str | bool)}
    words = len(numbers) < len(known)
    # A seed's size means nothing; the order of the manifest at least is the order in which they are rendered.
    as_met = words or name == "seed"
    order = list(known) if as_met else sorted(numbers, key=numbers.__getitem__)
    places = {text: place for place, text in enumerate(order)}
    at = tuple(ABSENT if value is None else places[value_text(value)] for value in values)
    return Varied(name, tuple(order), at, words)


def _rank(one: Varied) -> tuple[int, bool, bool]:
    """Order parameters by how well they speak for others: the prompt, the seed, words before numbers."""
    first = _FIRST.index(one.name) if one.name in _FIRST else len(_FIRST)
    return first, not one.words, one.name.startswith("_")


def _is_table(rows: Varied, columns: Varied) -> bool:
    """Tell whether two parameters make a table that is neither too wide nor mostly empty."""
    filled = len(set(zip(rows.at, columns.at, strict=True)))
    return len(columns.values) <= _MOST_COLUMNS and filled >= _LEAST_FILLED * len(rows.values) * len(columns.values)


@dataclass(frozen=True, slots=True)
class PageStatus:
    """What the facts do not say and the page shows. Times in seconds, clock times in seconds since the epoch."""

    at: float
    """Now, by the wall clock."""
    live: bool = False
    """Whether a run is on: the page then reads its data again often."""
    next_at: float | None = None
    """When a live run writes the page's data again at the latest: one that does not was killed."""
    trouble: Sequence[str] = ()
    """What is wrong with the servers, a line each."""
    rendering: Collection[str] = ()
    """Ids of the jobs that a server renders right now; others it has are in its queue."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """By job not yet rendered: how long it will render."""
    ready: Mapping[str, float] = field(default_factory=dict)
    """By job not yet rendered: when it will be."""
    left: float | None = None
    """Until everything is done; None if there is no forecast."""
    until: tuple[float, float] | None = None
    """Between which two clock times that will be; None if there is no forecast."""
    manifest: str = ""
    """Its path, absolute, for `picks.json`."""
    commands: Commands = field(default_factory=Commands)
    """To copy."""
    posters: Mapping[str, str] = field(default_factory=dict)
    """By a saved file's path: the path of its poster."""
    report: Json = None
    """The report, as `report_json` makes it."""
    key: str = ""
    """A digest of what is shown, if that is not going to change; `is_current` looks for it."""


def gallery_data(
    batch: str,
    jobs: Sequence[Job],
    states: Mapping[str, State],
    facts: Iterable[Fact],
    page_status: PageStatus,
) -> dict[str, Json]:
    """Return the gallery of `jobs`, in their order. One without a state waits; one out of the batch is left out."""
    wanted = wanted_jobs(jobs, states)
    chosen = [job for job, _ in wanted]
    found = varied(chosen)
    names = axes(found)
    media = dict.fromkeys(name for job in chosen for name in job.uploads)
    rows, columns = first_axes(found)
    took = _took(facts, states)
    return {
        "key": page_status.key,
        "version": VERSION,
        "batch": batch,
        "at": page_status.at,
        "live": page_status.live,
        "next_at": page_status.next_at,
        "trouble": [*page_status.trouble],
        "left": page_status.left,
        "until": [*page_status.until] if page_status.until else None,
        "manifest": page_status.manifest,
        "commands": {
            "resume": page_status.commands.run,
            "run": page_status.commands.run_job,
            "retry": page_status.commands.retry_job,
        },
        "total": len(wanted),
        "counts": {**counts(state for _, state in wanted)},
        "rows": rows,
        "columns": columns,
        "params": [
            {
                "name": one.name,
                "values": [*one.values],
                "axis": one.name in names,
                "pictures": pictures(one, chosen, media),
            }
            for one in found
        ],
        "fixed": [[name, value] for name, value in constant(chosen).items()],
        "cells": [
            _cell(job, state, [one.at[place] for one in found], took, page_status)
            for place, (job, state) in enumerate(wanted)
        ],
        "report": page_status.report,
    }


def kind_of(path: str) -> str:
    """Return how a browser shows a file: `video`, `image` or `audio`."""
    suffix = PurePosixPath(path).suffix.lower()
    return "image" if suffix in PICTURES else "audio" if suffix in SOUNDS else "video"


def link(path: str) -> str:
    """Return a relative URL of a file below the batch folder; no path becomes a scheme, a query or a way out."""
    return "/".join(quote(part, safe="", errors="replace") for part in path.split("/") if part not in {"", ".", ".."})


def _cell(job: Job, state: State, at: Sequence[int], took: Mapping[str, float], page_status: PageStatus) -> Json:
    shown = state_name(state)
    if shown in {"sending", "queued"}:
        shown = "rendering" if job.id in page_status.rendering else "queued"
    return {
        "id": job.id,
        "file": job.file,
        "state": shown,
        "at": [*at],
        "seed": value_text(job.params.get("seed")),
        "ratio": _ratio(job),
        "files": [_file(saved, page_status.posters) for saved in saved_files(state)],
        "why": failure(state),
        "attempts": state.past.highest,
        "took": took.get(job.id),
        "seconds": page_status.seconds.get(job.id),
        "ready": page_status.ready.get(job.id),
    }


def _ratio(job: Job) -> float | None:
    """Return width over height, where the job says; a cell has its video's shape before there is one."""
    width, height = job.params.get("width"), job.params.get("height")
    if isinstance(width, int | float) and isinstance(height, int | float) and width > 0 and height > 0:
        return round(min(max(width / height, 0.25), 4.0), 4)
    return None


def _file(saved: Saved, posters: Mapping[str, str]) -> Json:
    poster = posters.get(saved.path)
    return {
        "url": link(saved.path),
        "name": saved.path,
        "kind": kind_of(saved.path),
        "bytes": saved.size,
        "poster": link(poster) if poster else None,
    }


def _took(facts: Iterable[Fact], states: Mapping[str, State]) -> dict[str, float]:
    """Return how long the attempt rendered whose files are saved or still to download."""
    found = {}
    for fact in facts:
        state = states.get(fact.job)
        if not isinstance(fact, Rendered) or fact.seconds is None or not isinstance(state, Done | Fetching):
            continue
        if fact.attempt == state.prompt.attempt:
            found[fact.job] = fact.seconds
    return found
