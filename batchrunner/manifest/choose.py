"""Leaving out (`exclude`), drawing (`sample`) and picking (`--only`, `--limit`)."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from batchrunner.manifest.check import called, join
from batchrunner.manifest.tree import Items, Leaf, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from batchrunner.core.job import Job, Scalar
    from batchrunner.manifest.forms import Sample
    from batchrunner.manifest.tree import Spot, Tree
    from batchrunner.manifest.vocabulary import Vocabulary


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
