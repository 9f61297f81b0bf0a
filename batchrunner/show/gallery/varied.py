"""Which parameters a batch sweeps, and which two of them make the best table."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchrunner.core.job import Job, Scalar

ABSENT = -1
"""Stands for a job that does not have the parameter."""
_FIRST = ("prompt", "seed")
_MOST_COLUMNS = 12
_LEAST_FILLED = 0.5


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


def shown(value: Scalar) -> str:
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
    found = [_varied(name, [job.params.get(name) for job in jobs]) for name in names]
    return [one for one in found if len(one.values) > 1]


def constant(jobs: Sequence[Job]) -> dict[str, str]:
    """Return every parameter that is the same in all jobs."""
    first = jobs[0].params if jobs else {}
    alike = [name for name in first if all(name in job.params and job.params[name] == first[name] for job in jobs)]
    return {name: shown(first[name]) for name in alike}


def axes(found: Sequence[Varied]) -> dict[str, tuple[str, ...]]:
    """Return the parameters worth a choice, each with those that always change with it.

    `quality: fast` sets steps and cfg: the three tell jobs apart in the same way, and one of them can speak for all.
    """
    groups: dict[tuple[int, ...], list[Varied]] = {}
    for one in found:
        groups.setdefault(_pattern(one.at), []).append(one)
    leaders = {min(group, key=_rank).name: group for group in groups.values()}
    return {name: tuple(one.name for one in group if one.name != name) for name, group in leaders.items()}


def opening(found: Sequence[Varied]) -> tuple[str, str]:
    """Return the names of the rows and the columns to begin with; empty where a plain grid shows more."""
    leaders = axes(found)
    choices = [one for one in found if one.name in leaders]
    if len(choices) < 2:
        return "", ""
    rows = min(choices, key=lambda one: (one.name != "prompt", one.name == "seed"))
    fit = [one for one in choices if one is not rows and _is_table(rows, one)]
    columns = max(fit, key=lambda one: (one.name == "seed", len(one.values)), default=None)
    return rows.name, columns.name if columns else ""


def _varied(name: str, values: Sequence[Scalar]) -> Varied:
    known = {shown(value): value for value in values if value is not None}
    numbers = {text: value for text, value in known.items() if not isinstance(value, str | bool)}
    words = len(numbers) < len(known)
    # A seed's size means nothing; the order of the manifest at least is the order in which they are rendered.
    as_met = words or name == "seed"
    order = list(known) if as_met else sorted(numbers, key=numbers.__getitem__)
    places = {text: place for place, text in enumerate(order)}
    at = tuple(ABSENT if value is None else places[shown(value)] for value in values)
    return Varied(name, tuple(order), at, words)


def _pattern(at: Sequence[int]) -> tuple[int, ...]:
    """Return which jobs are alike, whatever the values are called."""
    places: dict[int, int] = {}
    return tuple(places.setdefault(place, len(places)) for place in at)


def _rank(one: Varied) -> tuple[int, bool, bool]:
    """Order parameters by how well they speak for others: the prompt, the seed, words before numbers."""
    first = _FIRST.index(one.name) if one.name in _FIRST else len(_FIRST)
    return first, not one.words, one.name.startswith("_")


def _is_table(rows: Varied, columns: Varied) -> bool:
    """Tell whether two parameters make a table that is neither too wide nor mostly empty."""
    filled = len(set(zip(rows.at, columns.at, strict=True)))
    return len(columns.values) <= _MOST_COLUMNS and filled >= _LEAST_FILLED * len(rows.values) * len(columns.values)
