"""What stands under a name in a block: axes of values, files and derived seeds.

An axis knows its size before any of its values is built, so that a product of 10^12 jobs is counted at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import TYPE_CHECKING

from batchrunner.manifest.diagnostics import is_braced_text, join, not_single, read_form
from batchrunner.manifest.dynamic import DynamicReader, draw, every
from batchrunner.manifest.fill import MAX_CHARACTERS, derive
from batchrunner.manifest.forms import MAX_JOBS, Dynamic, FromFile, FromPattern, Range, Seeds
from batchrunner.manifest.media import PlacedText, is_media_name
from batchrunner.manifest.names import DerivedSeed, TextTemplate, path_itself
from batchrunner.manifest.tables import TableError, no_column, same_column, table_suffix
from batchrunner.manifest.yamltree import ListNode, MappingNode, ScalarNode
from batchrunner.text import did_you_mean, listing, quote
from batchrunner.workflow.values import SMALL_SEED, fit, shown

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from batchrunner.manifest.names import Names, Point
    from batchrunner.manifest.tables import Files, Row
    from batchrunner.manifest.yamltree import Location, Tree

_KEYS = ("from", "to", "step", "count", "base", "per", "file", "files", "column", "split", "dynamic", "all")


@dataclass(frozen=True, slots=True)
class Axis:
    """Values that take turns. `names` is all that any of them sets; `points` builds them."""

    name: str
    location: Location
    names: frozenset[str]
    size: int
    points: Callable[[], Sequence[Point]]
    fixed: bool = False
    """One value, written without brackets: no axis in a plan."""


def axis_of(name: str, location: Location, points: Sequence[Point], *, fixed: bool = False) -> Axis:
    """Return the axis of `points` that are there already."""
    return Axis(name, location, frozenset().union(*points), len(points), lambda: points, fixed)


class AxisReader:
    """Reads what stands under a name in a block; records what is wrong with it."""

    def __init__(self, names: Names, files: Files) -> None:
        self._names = names
        self._files = files
        self._prompts = DynamicReader(files, names.diagnostics)
        self._report = names.diagnostics.add

    def read(self, name: str, location: Location, tree: Tree, path: str, *, zipped: bool = False) -> Axis | None:
        """Return the axis that `name: tree` is, or None after recording why it is none.

        An empty cell of a column is skipped; in a `zipped` axis it keeps its place and sets nothing.
        """
        on_server = isinstance(tree, MappingNode) and "server" in tree.entries and self._names.takes_files(name)
        if isinstance(tree, ScalarNode) or on_server:
            node = self._names.single(name, tree, path)
            point = self._names.point(name, node, path) if node else None
            return axis_of(name, location, [point], fixed=True) if point is not None else None
        if isinstance(tree, ListNode):
            if not tree.items:
                self._report(tree.location, path, "is an empty list, which makes no jobs")
                return None
            return self._listed(name, location, [(item, join(path, index)) for index, item in enumerate(tree.items)])
        keys = tree.entries.keys()
        if not keys.isdisjoint(("from", "to", "file", "files", "count", "dynamic")):
            if "file" in keys and keys.isdisjoint(("from", "to", "dynamic")):
                return self._file(name, location, tree, path, zipped=zipped)
            number = self._seeds if keys.isdisjoint(("from", "to")) else self._range
            other = self._dynamic if "dynamic" in keys else self._matching if "files" in keys else number
            return other(name, location, tree, path)
        odd = next((key for key in tree.entries if key not in _KEYS), "")
        near = did_you_mean(odd, _KEYS) if odd else ""
        forms = "{from, to, step}, {from, to, count}, {count}, {file} or {dynamic}"
        if self._names.takes_files(name):
            forms = "{files}, {file} or {server}"
        text = not_single(tree) if is_braced_text(tree) else f"must be a value, a list, {forms}{near}"
        self._report(tree.location, path, text)
        return None

    def _listed(self, name: str, location: Location, nodes: Sequence[tuple[Tree, str]]) -> Axis | None:
        """Return the axis of some values with their paths, or None if any of them is wrong."""
        points: list[Point] = []
        for node, where in nodes:
            single = self._names.single(name, node, where)
            if single is not None and (point := self._names.point(name, single, where)) is not None:
                points.append(point)
        return axis_of(name, location, points) if len(points) == len(nodes) else None

    def _matching(self, name: str, location: Location, tree: MappingNode, path: str) -> Axis | None:
        """Return the axis of the files that match a pattern."""
        form = read_form(FromPattern, tree, path, self._names.diagnostics)
        media = self._names.media
        if form is None:
            return None
        if name not in media.params:
            cure = "name the input under params as {input: …, upload: true} if it does"
            self._report(tree.location, path, f"takes no files: {{files}} is for an input that loads one; {cure}")
            return None
        at, where = tree.entries["files"].tree.location, join(path, "files")
        found = [PlacedText(text, at, where) for text in media.matching(form.files, at, where)]
        # More jobs than any manifest may make are counted and refused, not looked at.
        points = [{name: file} for file in found[: self._files.max_rows] if media.check(name, file)]
        if not found or len(points) < min(len(found), self._files.max_rows):
            return None
        return Axis(name, location, frozenset({name}), len(found), lambda: points)

    def _file(self, name: str, location: Location, tree: MappingNode, path: str, *, zipped: bool) -> Axis | None:
        form = read_form(FromFile, tree, path, self._names.diagnostics)
        if form is None:
            return None
        at = tree.entries["file"].tree.location
        if self._names.takes_files(name) and is_media_name(form.file):
            self._report(at, path, path_itself(name, form.file))
            return None
        points: list[Point | None] = []
        size = empty = 0
        try:
            for row in self._rows(form, at, path, name):
                skip = name not in row.values and not zipped
                empty += skip
                size += not skip
                if not skip and size <= self._files.max_rows:
                    points += [self._names.point(name, cell, name) for cell in row.cells().values()] or [{}]
        except TableError as error:
            self._report(error.location, error.path, str(error))
            return None
        kept = [point for point in points if point is not None]
        if len(kept) < len(points) or not kept:
            return None
        if empty:
            rows = "row" if empty == 1 else "rows"
            text = f"{quote(form.file)}: {empty} {rows} without {quote(form.column or '')} skipped"
            self._names.diagnostics.warn(at, path, text)
        return Axis(name, location, frozenset().union(*kept), size, lambda: kept)

    def _rows(self, form: FromFile, at: Location, path: str, name: str) -> Iterator[Row]:
        """Yield the texts of a list, or the rows of a table with its one column; raises TableError."""
        if not table_suffix(form.file):
            if form.column is not None:
                text = f"{quote(form.file)} has no columns; only .csv, .tsv, .jsonl and .json have"
                raise TableError(at, path, text)
            yield from self._files.texts(form.file, form.split, at, path, name)
            return
        if "split" in form.model_fields_set:
            raise TableError(at, path, f"{quote(form.file)} is a table; split is for texts")
        column, known = form.column, list[str]()

        def choose(columns: Mapping[str, Location]) -> Mapping[str, Sequence[str]]:
            known.extend(columns)
            if column is None:
                raise TableError(at, path, f"name a column of {quote(form.file)}: it has {listing(columns)}")
            found = same_column(column, columns)
            return {found: [name]} if found else {}

        filled = False
        for row in self._files.rows(form.file, at, path, choose):
            filled = filled or bool(row.values)
            yield row
        if column is not None and known and same_column(column, known) is None:
            raise TableError(at, path, no_column(form.file, column, known))
        if known and not filled:
            text = f"column {quote(column or '')} of {quote(form.file)} is empty, which makes no jobs"
            raise TableError(at, path, text)

    def _seeds(self, name: str, location: Location, tree: MappingNode, path: str) -> Axis | None:
        form = read_form(Seeds, tree, path, self._names.diagnostics)
        if form is None:
            return None
        limit = self._names.limit(name)
        if name in self._names.presets or limit.kind not in {"int", "number", "any"}:
            self._report(tree.location, path, "takes no seeds: {count} derives numbers up to 2^32-1")
            return None
        if limit.high is not None and limit.high < SMALL_SEED:
            self._report(tree.location, path, f"takes no seeds: it must be at most {limit.high}; write from and to")
            return None
        base, per, indexes = form.base, form.per, range(form.count)
        names = frozenset({name})
        if per is None:
            return Axis(name, location, names, form.count, lambda: [{name: derive(base, index)} for index in indexes])
        at, where = tree.entries["per"].tree.location, join(path, "per")
        if not self._names.declare(per, at, where):
            return None

        def points() -> list[Point]:
            return [{name: DerivedSeed(base, index, per, at, where)} for index in indexes]

        return Axis(name, location, names, form.count, points)

    def _dynamic(self, name: str, location: Location, tree: MappingNode, path: str) -> Axis | None:
        form = read_form(Dynamic, tree, path, self._names.diagnostics)
        if form is None:
            return None
        written, at = tree.entries["dynamic"].tree, join(path, "dynamic")
        limit = self._names.limit(name)
        takes_text = limit.kind in {"text", "any"} and not self._names.takes_files(name)
        if name in self._names.presets or not takes_text or limit.choices:
            self._report(tree.location, path, "takes no dynamic prompt: that is for texts")
            return None
        if (form.count is None) != form.all:
            self._report(tree.location, path, "takes dynamic and one of count and all: true")
            return None
        if isinstance(written, ScalarNode) and written.doubt:
            self._names.diagnostics.warn(written.location, at, written.doubt)
        part = self._prompts.read(form.dynamic, written.location, at)
        if part is None:
            return None
        size = form.count or part.size
        # More jobs than any manifest may make are counted and refused, not built.
        if size <= MAX_JOBS and size * part.cost > MAX_CHARACTERS:
            text = f"{size:,} texts of up to {part.cost:,} characters are more than {MAX_CHARACTERS:,} in all"
            self._report(written.location, at, text)
            return None

        def points() -> list[Point]:
            texts = draw(part, form.count, form.base) if form.count else every(part)
            return [{name: TextTemplate(text, written.location, at) if "${" in text else text} for text in texts]

        return Axis(name, location, frozenset({name}), size, points)

    def _range(self, name: str, location: Location, tree: MappingNode, path: str) -> Axis | None:
        if read_form(Range, tree, path, self._names.diagnostics) is None:
            return None
        if name in self._names.presets:
            self._report(tree.location, path, "is a preset: list its options by name")
            return None
        try:
            first, step, size = _spread(tree)
            limit = self._names.limit(name)
            for index in {0, min(1, size - 1), size - 1}:
                fit(limit, _number(first + step * index))
        except ValueError as error:
            self._report(tree.location, path, str(error))
            return None

        def points() -> list[Point]:
            return [{name: fit(limit, _number(first + step * index))} for index in range(size)]

        return Axis(name, location, frozenset({name}), size, points)


def _spread(tree: MappingNode) -> tuple[Fraction, Fraction, int]:
    """Return a range's (first, step, how many), in exact fractions. ValueError says why it is none."""
    # A key with nothing after it is as good as no key.
    given = {key: node for key, entry in tree.entries.items() if (node := _exact(entry.tree)) is not None}
    first, last = given["from"], given["to"]
    if ("step" in given) == ("count" in given):
        raise ValueError("takes from, to and one of step and count")
    if first > last:
        raise ValueError(f"from {_shown(first)} is above to {_shown(last)}")
    if "count" in given:
        size = int(given["count"])
        if size == 1 and first != last:
            raise ValueError("one value cannot be both ends: count must be at least 2")
        return first, (last - first) / max(size - 1, 1), size
    step = given["step"]
    steps, rest = divmod(last - first, step)
    if rest:
        near = f"did you mean to: {_shown(first + step * steps)}?"
        raise ValueError(f"steps of {_shown(step)} from {_shown(first)} never reach {_shown(last)} - {near}")
    return first, step, int(steps) + 1


def _exact(tree: Tree) -> Fraction | None:
    """Return a number as it was written: 0.1 is a tenth. None if there is none."""
    if not isinstance(tree, ScalarNode) or not isinstance(tree.value, int | float):
        return None
    if isinstance(tree.value, int) or not tree.value:
        # A float that is zero may have an exponent that no fraction could hold.
        return Fraction(int(tree.value))
    return Fraction(Decimal(tree.text))


def _number(exact: Fraction) -> int | float:
    return int(exact) if exact.denominator == 1 else float(exact)


def _shown(exact: Fraction) -> str:
    return quote(shown(_number(exact))).strip('"')
