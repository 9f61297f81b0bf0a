"""The blocks of a sweep, and which of their jobs are left out, drawn or picked."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from batchrunner.manifest.diagnostics import called, join
from batchrunner.manifest.values import Axis, listed
from batchrunner.manifest.yamltree import Entry, Items, Leaf, Table
from batchrunner.text import listing

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from batchrunner.core.job import Job, Scalar
    from batchrunner.manifest.forms import Sample
    from batchrunner.manifest.names import Point, Value, Vocabulary
    from batchrunner.manifest.tables import Files, Row, Rows
    from batchrunner.manifest.values import Reader
    from batchrunner.manifest.yamltree import Spot, Tree

# -- A block of a sweep: its axes, in the order they are written, and nothing set twice.


COUNTED = 10**18
"""Where counting ends: a hostile product has millions of digits."""


@dataclass(frozen=True, slots=True)
class Block:
    """One block: the jobs it makes are the product of its axes."""

    spot: Spot
    path: str
    axes: tuple[Axis, ...]
    whole: bool
    """Whether everything in it could be read."""

    @property
    def size(self) -> int:
        """How many jobs it makes, known without making any; past `COUNTED`, that many."""
        size = 1
        for axis in self.axes:
            size = min(size * axis.size, COUNTED)
        return size


class BlockReader:
    """Reads blocks, defaults and presets; names in `overruled` (by `--set`) make no axes of their own."""

    def __init__(self, vocabulary: Vocabulary, reader: Reader, files: Files, overruled: frozenset[str]) -> None:
        self._vocabulary = vocabulary
        self._reader = reader
        self._files = files
        self._overruled = overruled
        self._complaints = vocabulary.complaints

    def blocks(self, tree: Tree, path: str) -> list[Block]:
        """Return the blocks of a sweep."""
        if isinstance(tree, Table):
            return [self.block(tree, path)]
        if not isinstance(tree, Items):
            self._complaints.add(tree.spot, path, f"must be a block or a list of blocks, not {called(tree)}")
            return []
        if not tree.items:
            self._complaints.add(tree.spot, path, "is an empty list, which makes no jobs")
        found = []
        for index, item in enumerate(tree.items):
            where = join(path, index)
            if isinstance(item, Table):
                found.append(self.block(item, where))
            else:
                self._complaints.add(item.spot, where, f"must be a block, not {called(item)}")
        return found

    def block(self, table: Table, path: str) -> Block:
        """Return one block."""
        if not table.entries:
            self._complaints.add(table.spot, path, "is empty, which makes no jobs")
        read = [self._axis(key, entry, join(path, key)) for key, entry in table.entries.items()]
        axes = [axis for axis in read if axis is not None and axis.name not in self._overruled]
        self._check_twice(axes, path)
        return Block(table.spot, path, tuple(axes), whole=bool(read) and None not in read)

    def fixed(self, tree: Tree, path: str) -> Point:
        """Return the values of a mapping without axes: `defaults`, or an option of a preset."""
        if not isinstance(tree, Table):
            self._complaints.add(tree.spot, path, f"must be a mapping, not {called(tree)}")
            return {}
        leaves = {}
        for key, entry in tree.entries.items():
            where = join(path, key)
            if not self._vocabulary.knows(key, entry.spot, where):
                continue
            if isinstance(entry.tree, Leaf):
                leaves[key] = entry.tree
            else:
                self._complaints.add(entry.tree.spot, where, f"must be a single value, not {called(entry.tree)}")
        return self.together(leaves, path)

    def _axis(self, key: str, entry: Entry, path: str) -> Axis | None:
        if key == "zip":
            return self._zip(entry, path)
        if key == "rows":
            return self._rows(entry, path)
        if not self._vocabulary.knows(key, entry.spot, path):
            return None
        return self._reader.axis(key, entry.spot, entry.tree, path)

    def _zip(self, entry: Entry, path: str) -> Axis | None:
        if not isinstance(entry.tree, Table) or not entry.tree.entries:
            self._complaints.add(entry.tree.spot, path, "must be a mapping of names to lists of equal length")
            return None
        axes = []
        for key, part in entry.tree.entries.items():
            where = join(path, key)
            if not self._vocabulary.knows(key, part.spot, where):
                continue
            axis = self._reader.axis(key, part.spot, part.tree, where)
            if axis is not None and axis.fixed:
                self._complaints.add(part.tree.spot, where, "must be a list; a fixed value stands outside zip")
            elif axis is not None:
                axes.append(axis)
        self._check_twice(axes, path)
        return self._walked(entry.spot, axes, path) if len(axes) == len(entry.tree.entries) else None

    def _walked(self, spot: Spot, axes: Sequence[Axis], path: str) -> Axis | None:
        first = axes[0]
        for axis in axes[1:]:
            if axis.size != first.size:
                sizes = f"{first.name} has {first.size} values and {axis.name} has {axis.size}"
                self._complaints.add(axis.spot, join(path, axis.name), f"zip walks lists of equal length: {sizes}")
                return None
        kept = [axis for axis in axes if axis.name not in self._overruled]
        names: frozenset[str] = frozenset().union(*(axis.names for axis in kept))
        return Axis("+".join(axis.name for axis in axes), spot, names, first.size, lambda: _together(kept, first.size))

    def _rows(self, entry: Entry, path: str) -> Axis | None:
        tree = entry.tree
        if isinstance(tree, Leaf):
            rows = self._files.rows(tree.text, tree.spot, path)
            return self._row_axis(entry.spot, rows) if rows is not None else None
        if not isinstance(tree, Items) or not tree.items:
            wrong = "is an empty list, which makes no jobs" if isinstance(tree, Items) else None
            self._complaints.add(tree.spot, path, wrong or "must be a file, or a list of mappings")
            return None
        points = [self.fixed(item, join(path, index)) for index, item in enumerate(tree.items)]
        return listed("rows", entry.spot, points)

    def _row_axis(self, spot: Spot, rows: Rows) -> Axis:
        """Return the axis of a table's rows; an unknown column is said once, where it is named."""
        known = {name for name, at in rows.columns.items() if self._vocabulary.knows(name, at, name)}
        return listed("rows", spot, [self._row(row, known) for row in rows.rows])

    def _row(self, row: Row, known: Collection[str]) -> Point:
        return self.together({name: leaf for name, leaf in row.items() if name in known}, "")

    def together(self, leaves: Mapping[str, Leaf], path: str) -> Point:
        """Return what single values, of names that are known, set together."""
        axes = []
        for name, leaf in leaves.items():
            point = self._vocabulary.point(name, leaf, join(path, name))
            if point is not None:
                axes.append(listed(name, leaf.spot, [point], fixed=True))
        self._check_twice(axes, path)
        return {name: value for axis in axes for point in axis.points() for name, value in point.items()}

    def _check_twice(self, axes: Iterable[Axis], path: str) -> None:
        """Refuse to guess which of two values is meant."""
        owners: dict[str, Axis] = {}
        for axis in axes:
            twice = sorted(name for name in axis.names if name in owners)
            if twice:
                first = owners[twice[0]]
                text = f"sets {listing(twice)} a second time; `{first.name}` in line {first.spot.line} does already"
                self._complaints.add(axis.spot, join(path, axis.name), text)
            owners |= dict.fromkeys(axis.names, axis)


def _together(axes: Sequence[Axis], size: int) -> Sequence[Point]:
    """Return the points of axes of one length, walked in step."""
    rows: list[dict[str, Value]] = [{} for _ in range(size)]
    for axis in axes:
        for row, point in zip(rows, axis.points(), strict=True):
            row.update(point)
    return rows


# -- Leaving out (`exclude`), drawing (`sample`) and picking (`--only`, `--limit`).


MOST_EXCLUSIONS = 200


class AnyOf:
    """Some written values: texts are compared by their text, numbers by what they are, true is not 1."""

    __slots__ = ("_texts", "_values")

    def __init__(self, leaves: Iterable[Leaf]) -> None:
        leaves = tuple(leaves)
        self._texts = frozenset(leaf.text for leaf in leaves)
        self._values = frozenset((type(leaf.value) is bool, leaf.value) for leaf in leaves)

    def __contains__(self, value: Scalar) -> bool:
        return value in self._texts if isinstance(value, str) else (type(value) is bool, value) in self._values


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A partial match: every name has one of its values."""

    spot: Spot
    path: str
    wanted: Mapping[str, AnyOf]

    def hits(self, params: Mapping[str, Scalar]) -> bool:
        """Tell whether a job is left out."""
        return all(name in params and params[name] in values for name, values in self.wanted.items())


def read_exclusions(tree: Tree, path: str, vocabulary: Vocabulary) -> list[Exclusion]:
    """Return what `exclude` says; complains to the vocabulary's complaints."""
    if isinstance(tree, Table):
        return [_exclusion(tree, path, vocabulary)]
    found: list[Exclusion] = []
    items = tree.items if isinstance(tree, Items) else (tree,)
    if len(items) > MOST_EXCLUSIONS:
        vocabulary.complaints.add(tree.spot, path, f"has more than {MOST_EXCLUSIONS} entries; a list means any of")
    for index, item in enumerate(items[:MOST_EXCLUSIONS]):
        where = join(path, index) if isinstance(tree, Items) else path
        if isinstance(item, Table) and item.entries:
            found.append(_exclusion(item, where, vocabulary))
        else:
            vocabulary.complaints.add(item.spot, where, f"must be a mapping of names to values, not {called(item)}")
    return found


def _exclusion(table: Table, path: str, vocabulary: Vocabulary) -> Exclusion:
    wanted: dict[str, AnyOf] = {}
    for name, entry in table.entries.items():
        where = join(path, name)
        if not vocabulary.refers(name, entry.spot, where):
            continue
        items = entry.tree.items if isinstance(entry.tree, Items) else (entry.tree,)
        if not items:
            vocabulary.complaints.add(entry.tree.spot, where, "is an empty list, which no job matches")
        leaves = [item for item in items if isinstance(item, Leaf) and vocabulary.point(name, item, where) is not None]
        for item in items:
            if not isinstance(item, Leaf):
                vocabulary.complaints.add(item.spot, where, f"must be a value or a list of values, not {called(item)}")
        wanted[name] = AnyOf(leaves)
    return Exclusion(table.spot, path, wanted)


def draw(digests: Sequence[str], sample: Sample) -> set[str]:
    """Return the digests that a sample keeps: each job's lot depends on itself alone, so adding jobs moves few."""
    return set(
        sorted(set(digests), key=lambda digest: sha256(f"{sample.seed} {digest}".encode()).digest())[: sample.count]
    )


def pick(jobs: Sequence[Job], wanted: Mapping[str, Sequence[Leaf]]) -> list[Job]:
    """Return the jobs that `--only` picks: those with one of each name's values; `job` is the id, or how it begins."""
    starts = tuple(leaf.text for leaf in wanted.get("job", ()) if leaf.text)
    values = {name: AnyOf(leaves) for name, leaves in wanted.items() if name != "job"}
    found = [job for job in jobs if all(job.params.get(name) in each for name, each in values.items())]
    return [job for job in found if job.id.startswith(starts)] if "job" in wanted else found
