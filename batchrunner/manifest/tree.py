"""A YAML document as it was written: every value with its place, so that every complaint can name it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchrunner.core.identity import Json
    from batchrunner.core.job import Scalar


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in a file a person wrote; `line` and `column` count from 1."""

    file: str
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Leaf:
    """A scalar: what it means, and the text that says so."""

    spot: Spot
    value: Scalar
    text: str


@dataclass(frozen=True, slots=True)
class Items:
    """A sequence."""

    spot: Spot
    items: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """A key of a table, with its own place, and what stands under it."""

    spot: Spot
    tree: Tree


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping; its keys are texts."""

    spot: Spot
    entries: Mapping[str, Entry]


Tree: TypeAlias = Leaf | Items | Table


def plain(tree: Tree) -> Json:
    """Return the tree without its places."""
    match tree:
        case Leaf():
            return tree.value
        case Items():
            return [plain(item) for item in tree.items]
        case Table():
            return {key: plain(entry.tree) for key, entry in tree.entries.items()}


def follow(tree: Tree, path: tuple[str | int, ...]) -> Tree:
    """Return what stands under `path`, as far as there is anything."""
    for step in path:
        match tree, step:
            case Table(entries=entries), str() if step in entries:
                tree = entries[step].tree
            case Items(items=items), int() if step < len(items):
                tree = items[step]
            case _:
                return tree
    return tree
