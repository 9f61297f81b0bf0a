"""The blocks of a sweep, presets and defaults; and which jobs are left out, sampled or chosen."""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from batchrunner.manifest.axes import Axis, AxisReader, axis_of
from batchrunner.manifest.diagnostics import describe, join, read_form
from batchrunner.manifest.forms import FromBatch, FromTable
from batchrunner.manifest.media import stem
from batchrunner.manifest.names import BUILT_IN, RESERVED
from batchrunner.manifest.tables import CHOOSE, TableError, no_column, same_column
from batchrunner.manifest.yamltree import ListNode, MappingNode, ScalarNode, follow
from batchrunner.text import listing, quote

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Mapping, Sequence

    from batchrunner.core.job import Job, Scalar
    from batchrunner.manifest.earlier import EarlierBatches
    from batchrunner.manifest.forms import Sample
    from batchrunner.manifest.names import Names, Point, Value
    from batchrunner.manifest.tables import Files, Row
    from batchrunner.manifest.yamltree import KeyValue, Location, Tree

MAX_COUNT = 10**18
"""Where counting ends: a hostile product has millions of digits."""
MAX_PRESETS = 64
MAX_EXCLUSIONS = 200
MAX_ZIPS = 100
_SHOWN = 100
"""Of more blocks or rows than may make jobs, how many are read for their own mistakes."""
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
NOT_A_NAME = "must be a letter, then letters, digits or `_`, and none of job, rows and zip"


@dataclass(frozen=True, slots=True)
class Block:
    """One block: the jobs it makes are the product of its axes."""

    location: Location
    path: str
    axes: tuple[Axis, ...]
    whole: bool
    """Whether everything in it could be read."""

    @property
    def size(self) -> int:
        """How many jobs it makes, known without making any; at most `MAX_COUNT`."""
        size = 1
        for axis in self.axes:
            size = min(size * axis.size, MAX_COUNT)
        return size


class BlockReader:
    """Reads blocks, defaults and presets; names in `overridden` (by `--set`) make no axes of their own."""

    def __init__(self, names: Names, files: Files, earlier: EarlierBatches, overridden: frozenset[str]) -> None:
        self._names = names
        self._earlier = earlier
        self._axes = AxisReader(names, files)
        self._files = files
        self._overridden = overridden
        self._report = names.diagnostics.add

    def blocks(self, tree: Tree, path: str) -> list[Block]:
        """Return the blocks of a sweep."""
        if isinstance(tree, MappingNode):
            return [self._block(tree, path)]
        if not isinstance(tree, ListNode):
            written = describe(tree)
            hint = "; indent the lines that belong to it" if written == "nothing" else ""
            self._report(tree.location, path, f"must be a block or a list of blocks, not {written}{hint}")
            return []
        if not tree.items:
            self._report(tree.location, path, "is an empty list, which makes no jobs")
        items = tree.items
        if len(items) > self._files.max_rows:
            text = f"has {len(items):,} blocks, each of one job or more; max_jobs is {self._files.max_rows:,}"
            self._report(tree.location, path, text)
            items = items[: min(_SHOWN, self._files.max_rows)]
        found = []
        for index, item in enumerate(items):
            where = join(path, index)
            if isinstance(item, MappingNode):
                found.append(self._block(item, where))
            else:
                self._report(item.location, where, f"must be a block, not {describe(item)}")
        return found

    def fixed(self, tree: Tree, path: str) -> Point:
        """Return the values of a mapping without axes: `defaults`, or an option of a preset."""
        if not isinstance(tree, MappingNode):
            self._report(tree.location, path, f"must be a mapping, not {describe(tree)}")
            return {}
        nodes = {}
        for key, entry in tree.entries.items():
            where = join(path, key)
            if not self._names.declare(key, entry.location, where):
                continue
            if (node := self._names.single(key, entry.tree, where)) is not None:
                nodes[key] = node
        return self.together(nodes, path)

    def together(self, nodes: Mapping[str, ScalarNode], path: str) -> Point:
        """Return what single values, of names that are known, set together."""
        points = {name: self._names.point(name, node, join(path, name)) for name, node in nodes.items()}
        found = {name: value for point in points.values() if point is not None for name, value in point.items()}
        if len(found) < sum(len(point or ()) for point in points.values()):
            axes = [axis_of(name, nodes[name].location, [point]) for name, point in points.items() if point is not None]
            self._check_twice(axes, path)
        return found

    def add_presets(self, tree: Tree | None) -> None:
        """Add to the names the built-in presets that the workflow has the parameters for, and the user's."""
        for group, options in BUILT_IN.items():
            if all(option.keys() <= self._names.params.keys() for option in options.values()):
                self._names.presets[group] = {name: dict[str, "Value"](point) for name, point in options.items()}
        if tree is None:
            return
        if not isinstance(tree, MappingNode):
            self._report(tree.location, "presets", "must be a mapping of names to options")
            return
        if len(tree.entries) > MAX_PRESETS:
            self._report(tree.location, "presets", f"has more than {MAX_PRESETS} entries")
        for group, entry in tree.entries.items():
            self._add_preset(group, entry, join("presets", group))

    def _add_preset(self, group: str, entry: KeyValue, path: str) -> None:
        if not NAME.fullmatch(group) or group in RESERVED:
            self._report(entry.location, path, NOT_A_NAME)
        elif group in self._names.params:
            self._report(entry.location, path, "is a parameter of the workflow; give the preset another name")
        elif not isinstance(entry.tree, MappingNode) or not entry.tree.entries:
            self._report(entry.tree.location, path, "must be a mapping of options to the values they set")
        else:
            for option, values in entry.tree.entries.items():
                point = self._option(values.tree, join(path, option))
                self._names.presets.setdefault(group, {})[option] = point

    def _option(self, tree: Tree, path: str) -> Point:
        for name, entry in tree.entries.items() if isinstance(tree, MappingNode) else ():
            if name in self._names.presets:
                self._report(entry.location, join(path, name), "is a preset; a preset sets parameters only")
        return self.fixed(tree, path)

    def _block(self, table: MappingNode, path: str) -> Block:
        if not table.entries:
            self._report(table.location, path, "is empty, which makes no jobs")
        read = [axis for key, entry in table.entries.items() for axis in self._axis(key, entry, join(path, key))]
        axes = [axis for axis in read if axis is not None and axis.name not in self._overridden]
        self._check_twice(axes, path)
        return Block(table.location, path, tuple(axes), whole=bool(read) and None not in read)

    def _axis(self, key: str, entry: KeyValue, path: str) -> list[Axis | None]:
        """Return the axis, or the axes of a list of zips; None for each that is wrong."""
        if key == "zip":
            if not isinstance(entry.tree, ListNode) or not entry.tree.items:
                return [self._zip(entry.location, entry.tree, path)]
            items = entry.tree.items
            if len(items) > MAX_ZIPS:
                self._report(entry.tree.location, path, f"has more than {MAX_ZIPS} entries")
            return [self._zip(item.location, item, join(path, index)) for index, item in enumerate(items[:MAX_ZIPS])]
        if key == "rows":
            return [self._rows(entry, path)]
        if not self._names.declare(key, entry.location, path):
            return [None]
        return [self._axes.read(key, entry.location, entry.tree, path)]

    def _zip(self, location: Location, tree: Tree, path: str) -> Axis | None:
        if not isinstance(tree, MappingNode) or not tree.entries:
            self._report(tree.location, path, "must be a mapping of names to lists of equal length")
            return None
        axes = []
        for key, part in tree.entries.items():
            where = join(path, key)
            if not self._names.declare(key, part.location, where):
                continue
            axis = self._axes.read(key, part.location, part.tree, where, zipped=True)
            if axis is not None and axis.fixed:
                self._report(part.tree.location, where, "must be a list; a fixed value stands outside zip")
            elif axis is not None:
                axes.append(axis)
        self._check_twice(axes, path)
        if len(axes) < len(tree.entries):
            return None
        first = axes[0]
        for axis in axes[1:]:
            if axis.size != first.size:
                sizes = f"{first.name} has {first.size} values and {axis.name} has {axis.size}"
                self._report(axis.location, join(path, axis.name), f"zip walks lists of equal length: {sizes}")
                return None
        kept = [axis for axis in axes if axis.name not in self._overridden]
        names: frozenset[str] = frozenset().union(*(axis.names for axis in kept))
        label = "+".join(axis.name for axis in axes)
        return Axis(label, location, names, first.size, lambda: _zipped(kept, first.size))

    def _rows(self, entry: KeyValue, path: str) -> Axis | None:
        tree = entry.tree
        if isinstance(tree, ScalarNode):
            return self._table(FromTable(file=tree.text), entry, tree.location, {}, path)
        if isinstance(tree, MappingNode) and "batch" in tree.entries:
            wanted = read_form(FromBatch, tree, path, self._names.diagnostics)
            points, names = self._earlier.points(wanted, tree, path, self._names) if wanted else ([], frozenset())
            return Axis("rows", entry.location, names, len(points), lambda: points) if points else None
        if isinstance(tree, MappingNode):
            form = read_form(FromTable, tree, path, self._names.diagnostics)
            if form is None:
                return None
            columns = follow(tree, ("columns",))
            named = columns.entries if isinstance(columns, MappingNode) and "columns" in tree.entries else {}
            return self._table(form, entry, follow(tree, ("file",)).location, named, path)
        if not tree.items:
            self._report(tree.location, path, "is an empty list, which makes no jobs")
            return None
        points = [self.fixed(item, join(path, index)) for index, item in enumerate(tree.items)]
        return axis_of("rows", entry.location, points)

    def _table(
        self, form: FromTable, entry: KeyValue, at: Location, named: Mapping[str, KeyValue], path: str
    ) -> Axis | None:
        """Return the axis of a table's rows; `named` holds where the manifest names columns, if it does."""
        where = join(path, "columns")
        wanted = {
            name: form.columns[name]
            for name, each in named.items()
            if self._names.declare(name, each.location, join(where, name))
        }
        known: list[str] = []
        refused: list[str] = []

        def choose(columns: Mapping[str, Location]) -> Mapping[str, Sequence[str]]:
            known.extend(columns)
            found = self._chosen(columns, wanted) if named else self._declared(columns)
            refused.extend(() if named else columns.keys() - found.keys())
            return found

        rows: list[Row] = []
        size = 0
        broken = False
        try:
            for row in self._files.rows(form.file, at, path, choose):
                size += 1
                if size <= self._files.max_rows:
                    rows.append(row)
        except TableError as error:
            self._report(error.location, error.path, str(error))
            broken = True
        names = frozenset[str]().union(*(row.values for row in rows))
        # Rows that make too many jobs are counted and not built.
        points = [self.together(row.cells(), "") for row in (rows if size <= self._files.max_rows else rows[:_SHOWN])]
        if broken:
            return None
        missing = [name for name, column in wanted.items() if known and same_column(column, known) is None]
        for name in missing:
            text = no_column(form.file, wanted[name], known)
            self._report(named[name].tree.location, join(where, name), text)
        if missing or refused or len(wanted) < len(named) or not size:
            return None
        return Axis("rows", entry.location, names.union(*points), size, lambda: points)

    @staticmethod
    def _chosen(columns: Iterable[str], wanted: Mapping[str, str]) -> Mapping[str, Sequence[str]]:
        found: dict[str, list[str]] = {}
        for name, column in wanted.items():
            same = same_column(column, columns)
            if same is not None:
                found.setdefault(same, []).append(name)
        return found

    def _declared(self, columns: Mapping[str, Location]) -> Mapping[str, Sequence[str]]:
        """Return the names of columns; unknown ones are reported once, where they are named.

        Raises TableError if there are several, and not one of them is known.
        """
        names = {column: self._names.spelled(column) for column in columns}
        if len(names) > 1 and not any(self._names.is_name(name) for name in names.values()):
            text = f"no column is a parameter: {listing(map(quote, names), 8)}; {CHOOSE}"
            raise TableError(next(iter(columns.values())), "", f"{text}. The first line names the columns")
        cure = f"; {CHOOSE}"
        return {
            column: [name] for column, name in names.items() if self._names.declare(name, columns[column], column, cure)
        }

    def _check_twice(self, axes: Iterable[Axis], path: str) -> None:
        """Refuse to guess which of two values is meant."""
        owners: dict[str, Axis] = {}
        for axis in axes:
            if twice := axis.names & owners.keys():
                first = owners[min(twice)]
                names = listing(sorted(twice))
                text = f"sets {names} a second time; `{first.name}` in line {first.location.line} does already"
                self._report(axis.location, join(path, axis.name), text)
            owners |= dict.fromkeys(axis.names, axis)


def _zipped(axes: Sequence[Axis], size: int) -> Sequence[Point]:
    rows: list[dict[str, Value]] = [{} for _ in range(size)]
    for axis in axes:
        for row, point in zip(rows, axis.points(), strict=True):
            row.update(point)
    return rows


# -- Leaving out (`exclude`), sampling (`sample`) and choosing (`--only`).


class AnyOf:
    """Some written values: texts are compared by their text, numbers by what they are, true is not 1.

    A file is meant by its path as written, or by its stem.
    """

    __slots__ = ("_are_files", "_texts", "_values")

    def __init__(self, nodes: Iterable[ScalarNode], *, are_files: bool = False) -> None:
        nodes = tuple(nodes)
        self._are_files = are_files
        self._texts = frozenset(node.text for node in nodes)
        self._values = frozenset((type(node.value) is bool, node.value) for node in nodes)

    def __contains__(self, value: Scalar) -> bool:
        if isinstance(value, str):
            return value in self._texts or (self._are_files and stem(value) in self._texts)
        return (type(value) is bool, value) in self._values


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A partial match: every name has one of its values."""

    location: Location
    path: str
    wanted: Mapping[str, AnyOf]

    def matches(self, params: Mapping[str, Scalar]) -> bool:
        """Tell whether a job is left out."""
        return all(name in params and params[name] in values for name, values in self.wanted.items())


def read_exclusions(tree: Tree, path: str, names: Names) -> list[Exclusion]:
    """Return the exclusions of `exclude`; records what is wrong with them."""
    if isinstance(tree, MappingNode):
        return [_exclusion(tree, path, names)]
    found: list[Exclusion] = []
    items = tree.items if isinstance(tree, ListNode) else (tree,)
    if len(items) > MAX_EXCLUSIONS:
        names.diagnostics.add(tree.location, path, f"has more than {MAX_EXCLUSIONS} entries; a list means any of")
    for index, item in enumerate(items[:MAX_EXCLUSIONS]):
        where = join(path, index) if isinstance(tree, ListNode) else path
        if isinstance(item, MappingNode) and item.entries:
            found.append(_exclusion(item, where, names))
        else:
            names.diagnostics.add(item.location, where, f"must be a mapping of names to values, not {describe(item)}")
    return found


def _exclusion(table: MappingNode, path: str, names: Names) -> Exclusion:
    wanted: dict[str, AnyOf] = {}
    for name, entry in table.entries.items():
        where = join(path, name)
        if not names.resolve(name, entry.location, where):
            continue
        items = entry.tree.items if isinstance(entry.tree, ListNode) else (entry.tree,)
        if not items:
            names.diagnostics.add(entry.tree.location, where, "is an empty list, which no job matches")
        nodes = []
        for item in items:
            if not isinstance(item, ScalarNode):
                text = f"must be a value or a list of values, not {describe(item)}"
                names.diagnostics.add(item.location, where, text)
            elif names.takes_files(name) or names.point(name, item, where) is not None:
                nodes.append(item)
        wanted[name] = AnyOf(nodes, are_files=names.takes_files(name))
    return Exclusion(table.location, path, wanted)


def sampled(digests: Iterable[str], sample: Sample) -> set[str]:
    """Return the digests that a sample keeps: each one's rank depends on itself alone, so adding jobs moves few."""
    ranked = sorted(set(digests), key=lambda digest: sha256(f"{sample.seed} {digest}".encode()).digest())
    return set(ranked[: sample.count])


def choose(jobs: Sequence[Job], wanted: Mapping[str, Sequence[ScalarNode]], media: Container[str] = ()) -> list[Job]:
    """Return the jobs of `--only`: those with one of each name's values; `job` is the id, or how it begins.

    `media` are the parameters that take files.
    """
    starts = tuple(node.text for node in wanted.get("job", ()) if node.text)
    values = {name: AnyOf(nodes, are_files=name in media) for name, nodes in wanted.items() if name != "job"}
    found = [job for job in jobs if all(job.params.get(name) in each for name, each in values.items())]
    return [job for job in found if job.id.startswith(starts)] if "job" in wanted else found
