"""Leaving out (`exclude`), drawing (`sample`) and picking (`--only`, `--limit`)."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from batchrunner.manifest.check import called, join
from batchrunner.manifest.tree import Items, Leaf, Table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchrunner.core.job import Job, Scalar
    from batchrunner.manifest.forms import Sample
    from batchrunner.manifest.tree import Spot, Tree
    from batchrunner.manifest.vocabulary import Vocabulary


def same(value: Scalar, leaf: Leaf) -> bool:
    """Tell whether a job's value is what `leaf` says: texts by their text, numbers by what they are."""
    if isinstance(value, str):
        return value == leaf.text
    return value == leaf.value and isinstance(value, bool) == isinstance(leaf.value, bool)


@dataclass(frozen=True, slots=True)
class Exclusion:
    """A partial match: every name has one of its values."""

    spot: Spot
    path: str
    wanted: Mapping[str, tuple[Leaf, ...]]

    def hits(self, params: Mapping[str, Scalar]) -> bool:
        """Tell whether a job is left out."""
        return all(
            name in params and any(same(params[name], leaf) for leaf in leaves) for name, leaves in self.wanted.items()
        )


def read_exclusions(tree: Tree, path: str, vocabulary: Vocabulary) -> list[Exclusion]:
    """Return what `exclude` says; complains to the vocabulary's complaints."""
    if isinstance(tree, Table):
        return [_exclusion(tree, path, vocabulary)]
    found: list[Exclusion] = []
    for index, item in enumerate(tree.items if isinstance(tree, Items) else (tree,)):
        where = join(path, index) if isinstance(tree, Items) else path
        if isinstance(item, Table) and item.entries:
            found.append(_exclusion(item, where, vocabulary))
        else:
            vocabulary.complaints.add(item.spot, where, f"must be a mapping of names to values, not {called(item)}")
    return found


def _exclusion(table: Table, path: str, vocabulary: Vocabulary) -> Exclusion:
    wanted: dict[str, tuple[Leaf, ...]] = {}
    for name, entry in table.entries.items():
        where = join(path, name)
        if not vocabulary.refers(name, entry.spot, where):
            continue
        items = entry.tree.items if isinstance(entry.tree, Items) else (entry.tree,)
        if not items:
            vocabulary.complaints.add(entry.tree.spot, where, "is an empty list, which no job matches")
        for item in items:
            if not isinstance(item, Leaf):
                vocabulary.complaints.add(item.spot, where, f"must be a value or a list of values, not {called(item)}")
            elif vocabulary.point(name, item, where) is not None:
                wanted[name] = (*wanted.get(name, ()), item)
    return Exclusion(table.spot, path, wanted)


def draw(digests: Sequence[str], sample: Sample) -> set[str]:
    """Return the digests that a sample keeps: each job's lot depends on itself alone, so adding jobs moves few."""
    return set(
        sorted(set(digests), key=lambda digest: sha256(f"{sample.seed} {digest}".encode()).digest())[: sample.count]
    )


def picked(job: Job, wanted: Mapping[str, Sequence[Leaf]]) -> bool:
    """Tell whether `--only` picks a job: one of each name's values; `job` is the id, or how it begins."""
    for name, leaves in wanted.items():
        if name == "job":
            if not any(leaf.text and job.id.startswith(leaf.text) for leaf in leaves):
                return False
        elif name not in job.params or not any(same(job.params[name], leaf) for leaf in leaves):
            return False
    return True
