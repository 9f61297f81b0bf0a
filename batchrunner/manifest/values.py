"""What a block multiplies: axes, derived seeds, and `${name}` filled in."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from hashlib import sha256
from typing import TYPE_CHECKING

from batchrunner.manifest.diagnostics import called, check, join
from batchrunner.manifest.forms import Listing, Range, Seeds
from batchrunner.manifest.names import Derived, Fill
from batchrunner.manifest.yamltree import Items, Leaf, Table
from batchrunner.text import did_you_mean, listing, printable, quote
from batchrunner.workflow.values import LONGEST_TEXT, SMALL_SEED, UnfitError, fit, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from batchrunner.core.job import Scalar
    from batchrunner.manifest.diagnostics import Complaints
    from batchrunner.manifest.names import Point, Vocabulary
    from batchrunner.manifest.tables import Files
    from batchrunner.manifest.yamltree import Spot, Tree

# -- Seeds nobody has to think up: the same on every machine, and fair to compare by.


def derive(base: int, index: int, text: str | None = None) -> int:
    """Return the `index`th seed of `base` (0 to 2^32-1); with `text`, one of that text's own."""
    said = json.dumps([base, index] if text is None else [base, index, text])
    return int.from_bytes(sha256(said.encode()).digest()[:4], "big")


# -- What a block multiplies: axes. Their sizes are known before any of their values is built.


_KEYS = ("from", "to", "step", "count", "base", "per", "file", "column")


@dataclass(frozen=True, slots=True)
class Axis:
    """Values that take turns. `names` is all that any of them sets; `points` builds them."""

    name: str
    spot: Spot
    names: frozenset[str]
    size: int
    points: Callable[[], Sequence[Point]]
    fixed: bool = False
    """One value, written without brackets: no axis in a plan."""


def listed(name: str, spot: Spot, points: Sequence[Point], *, fixed: bool = False) -> Axis:
    """Return the axis of `points` that are there already."""
    return Axis(name, spot, frozenset().union(*points), len(points), lambda: points, fixed)


class Reader:
    """Reads what stands under a name in a block."""

    def __init__(self, vocabulary: Vocabulary, files: Files) -> None:
        self._vocabulary = vocabulary
        self._files = files
        self._complaints = vocabulary.complaints

    def axis(self, name: str, spot: Spot, tree: Tree, path: str) -> Axis | None:
        """Return what `name: tree` multiplies by, or None after complaining."""
        match tree:
            case Leaf():
                point = self._vocabulary.point(name, tree, path)
                return listed(name, spot, [point], fixed=True) if point is not None else None
            case Items():
                return self._list(name, spot, tree, path)
            case Table():
                return self._form(name, spot, tree, path)

    def _list(self, name: str, spot: Spot, tree: Items, path: str) -> Axis | None:
        if not tree.items:
            self._complaints.add(tree.spot, path, "is an empty list, which makes no jobs")
            return None
        points: list[Point] = []
        for index, item in enumerate(tree.items):
            where = join(path, index)
            if not isinstance(item, Leaf):
                self._complaints.add(item.spot, where, f"must be a single value, not {called(item)}")
                continue
            point = self._vocabulary.point(name, item, where)
            if point is not None:
                points.append(point)
        return listed(name, spot, points) if len(points) == len(tree.items) else None

    def _form(self, name: str, spot: Spot, tree: Table, path: str) -> Axis | None:
        keys = tree.entries.keys()
        if "from" in keys or "to" in keys:
            return self._range(name, spot, tree, path)
        if "file" in keys:
            return self._listing(name, spot, tree, path)
        if "count" in keys:
            return self._seeds(name, spot, tree, path)
        odd = next((key for key in keys if key not in _KEYS), "")
        near = did_you_mean(odd, _KEYS) if odd else ""
        text = f"must be a value, a list, {{from, to, step}}, {{from, to, count}}, {{count}} or {{file}}{near}"
        self._complaints.add(tree.spot, path, text)
        return None

    def _listing(self, name: str, spot: Spot, tree: Table, path: str) -> Axis | None:
        form = check(Listing, tree, path, self._complaints)
        if form is None:
            return None
        leaves = self._files.column(form.file, form.column, tree.entries["file"].tree.spot, path)
        if leaves is None:
            return None
        points = [self._vocabulary.point(name, leaf, name) for leaf in leaves]
        found = [point for point in points if point is not None]
        return listed(name, spot, found) if len(found) == len(points) else None

    def _seeds(self, name: str, spot: Spot, tree: Table, path: str) -> Axis | None:
        form = check(Seeds, tree, path, self._complaints)
        if form is None:
            return None
        limit = self._vocabulary.limit(name)
        if name in self._vocabulary.presets or limit.kind not in {"int", "number", "any"}:
            self._complaints.add(tree.spot, path, "takes no seeds: {count} derives numbers up to 2^32-1")
            return None
        if limit.high is not None and limit.high < SMALL_SEED:
            self._complaints.add(tree.spot, path, f"takes no seeds: it must be at most {limit.high}; write from and to")
            return None
        base, per = form.base, form.per
        if per is None:
            return Axis(name, spot, frozenset({name}), form.count, lambda: _seed_points(name, base, form.count))
        where = tree.entries["per"].tree.spot
        if not self._vocabulary.knows(per, where, join(path, "per")):
            return None
        return Axis(
            name,
            spot,
            frozenset({name}),
            form.count,
            lambda: [{name: Derived(base, index, per, where, join(path, "per"))} for index in range(form.count)],
        )

    def _range(self, name: str, spot: Spot, tree: Table, path: str) -> Axis | None:
        form = check(Range, tree, path, self._complaints)
        if form is None:
            return None
        if name in self._vocabulary.presets:
            self._complaints.add(tree.spot, path, "is a preset: list its options by name")
            return None
        found = self._spread(tree, path)
        if found is None:
            return None
        first, step, size = found
        limit = self._vocabulary.limit(name)
        try:
            for index in {0, min(1, size - 1), size - 1}:
                fit(limit, _number(first + step * index))
        except UnfitError as error:
            self._complaints.add(tree.spot, path, str(error))
            return None
        return Axis(
            name,
            spot,
            frozenset({name}),
            size,
            lambda: [{name: fit(limit, _number(first + step * index))} for index in range(size)],
        )

    def _spread(self, tree: Table, path: str) -> tuple[Fraction, Fraction, int] | None:
        """Return (first, step, how many), in exact fractions."""
        given = {key: _exact(entry.tree) for key, entry in tree.entries.items() if not _is_empty(entry.tree)}
        first, last = given["from"], given["to"]
        if ("step" in given) == ("count" in given):
            self._complaints.add(tree.spot, path, "takes from, to and one of step and count")
        elif first > last:
            self._complaints.add(tree.spot, path, f"from {_said(first)} is above to {_said(last)}")
        elif "count" in given:
            size = int(given["count"])
            if size > 1 or first == last:
                return first, (last - first) / max(size - 1, 1), size
            self._complaints.add(tree.spot, path, "one value cannot be both ends: count must be at least 2")
        else:
            step = given["step"]
            steps, rest = divmod(last - first, step)
            if not rest:
                return first, step, int(steps) + 1
            near = f"did you mean to: {_said(first + step * steps)}?"
            self._complaints.add(
                tree.spot, path, f"steps of {_said(step)} from {_said(first)} never reach {_said(last)} - {near}"
            )
        return None


def _seed_points(name: str, base: int, count: int) -> list[Point]:
    return [{name: derive(base, index)} for index in range(count)]


def _is_empty(tree: Tree) -> bool:
    """Whether nothing was written after a key: that is as good as no key."""
    return isinstance(tree, Leaf) and tree.value is None


def _exact(tree: Tree) -> Fraction:
    """Return a number as it was written: 0.1 is a tenth."""
    # A float that is zero may have an exponent that no fraction could hold.
    if not isinstance(tree, Leaf) or not isinstance(tree.value, int | float) or not tree.value:
        return Fraction(0)
    return Fraction(tree.value) if isinstance(tree.value, int) else Fraction(Decimal(tree.text))


def _number(exact: Fraction) -> int | float:
    return int(exact) if exact.denominator == 1 else float(exact)


def _said(exact: Fraction) -> str:
    return quote(shown(_number(exact))).strip('"')


# -- `${name}`: a job's texts filled in from its own values, in one pass, and seeds that depend on another value.
#
# One pass: what is put in is not read again, so a value with `${` in it arrives as it is. A lone `$` or `{` means
# itself.


MOST_NAMES = 30
"""`${…}` in one text."""
MOST_CHARACTERS = 20_000_000
"""In all filled texts of a batch."""
_NAMES = re.compile(r"\$\{([^{}\n]*)\}")


@lru_cache(maxsize=1024)
def names_in(text: str) -> tuple[str, ...]:
    """Return the names that `text` wants filled in."""
    return tuple(_NAMES.findall(text))


class Filler:
    """Turns a job's written values into its final ones."""

    def __init__(self, complaints: Complaints) -> None:
        self._complaints = complaints
        self._kept: dict[tuple[str, ...], str] = {}
        self._seeds: dict[tuple[int, int, str], int] = {}
        self._left = MOST_CHARACTERS

    def fill(self, values: Point) -> dict[str, Scalar] | None:
        """Return the final values of one job, or None after complaining.

        Texts first, then the seeds derived from them, then the texts that name such a seed.
        """
        final: dict[str, Scalar] = {}
        fills: dict[str, Fill] = {}
        seeds: dict[str, Derived] = {}
        for name, value in values.items():
            if isinstance(value, Fill):
                fills[name], final[name] = value, None
            elif isinstance(value, Derived):
                seeds[name], final[name] = value, None
            else:
                final[name] = value
        return self._late(fills, seeds, final) if fills or seeds else final

    def _late(
        self, fills: dict[str, Fill], seeds: dict[str, Derived], final: dict[str, Scalar]
    ) -> dict[str, Scalar] | None:
        raw = {name: fill.text for name, fill in fills.items()}
        later = [name for name, fill in fills.items() if not seeds.keys().isdisjoint(names_in(fill.text))]
        for name, fill in fills.items():
            if name not in later:
                final[name] = self._text(fill, raw, final)
        for name, seed in seeds.items():
            final[name] = self._seed(seed, {*later, *seeds}, final)
        if any(final[name] is None for name in seeds):
            return None
        for name in later:
            final[name] = self._text(fills[name], raw, final)
        return None if any(final[name] is None for name in fills) else final

    def _text(self, fill: Fill, raw: Mapping[str, str], final: Mapping[str, Scalar]) -> str | None:
        names = names_in(fill.text)
        if len(names) > MOST_NAMES:
            self._complaints.add(fill.spot, fill.path, f"names more than {MOST_NAMES} values to fill in")
            return None
        unknown = [name for name in names if name not in final]
        for name in unknown:
            near = did_you_mean(name, final) or f"; there is {listing(final)}"
            self._complaints.add(fill.spot, fill.path, f"${{{printable(name, 60)}}} is not set here{near}")
        if unknown:
            return None
        words = tuple([raw[name] if name in raw else shown(final[name]) for name in names])
        return self._join(fill, (fill.text, *words))

    def _join(self, fill: Fill, key: tuple[str, ...]) -> str | None:
        if key not in self._kept:
            length = sum(map(len, key))
            self._left -= length
            if length > LONGEST_TEXT:
                self._complaints.add(fill.spot, fill.path, f"is longer than {LONGEST_TEXT:,} characters when filled in")
                return None
            if self._left < 0:
                text = f"all filled texts together are longer than {MOST_CHARACTERS:,} characters"
                self._complaints.add(fill.spot, fill.path, text)
                return None
            words = iter(key[1:])
            self._kept[key] = _NAMES.sub(lambda _: next(words), fill.text)
        return self._kept[key]

    def _seed(self, seed: Derived, late: set[str], final: Mapping[str, Scalar]) -> int | None:
        if seed.per not in final:
            self._complaints.add(seed.spot, seed.path, f"{quote(seed.per)} is not set here")
            return None
        if seed.per in late:
            self._complaints.add(seed.spot, seed.path, f"{quote(seed.per)} itself depends on a derived seed")
            return None
        key = seed.base, seed.index, shown(final[seed.per])
        if key not in self._seeds:
            self._seeds[key] = derive(*key)
        return self._seeds[key]
