"""Values and trees to YAML that `load` reads back as they were: a text is quoted unless it is plainly a text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from batchrunner.manifest.scalars import resolve
from batchrunner.manifest.tree import Items, Leaf, Table

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from batchrunner.core.job import Scalar
    from batchrunner.manifest.tree import Tree

_PLAIN = re.compile(r"[A-Za-z_][\w./-]*|[0-9]+(ms|s|m|h|d)", re.ASCII)
_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def scalar(value: Scalar) -> str:
    """Return one value in one line."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return _text(value)


def mapping(entries: Iterable[tuple[str, str]]) -> str:
    """Return a mapping in one line; names and values as they are to stand there."""
    return f"{{{', '.join(f'{_text(name)}: {value}' for name, value in entries)}}}"


def block(name: str, tree: Tree, indent: int = 0) -> Iterator[str]:
    """Yield the lines of `name: …`; mappings below each other, lists in one line where they hold values only."""
    head = f"{' ' * indent}{_text(name)}:"
    if isinstance(tree, Table) and tree.entries:
        yield head
        for inner, entry in tree.entries.items():
            yield from block(inner, entry.tree, indent + 2)
    else:
        yield f"{head} {_flow(tree)}"


def _flow(tree: Tree) -> str:
    match tree:
        case Leaf():
            return _text(tree.text) if isinstance(tree.value, str) else tree.text or "null"
        case Items():
            return f"[{', '.join(map(_flow, tree.items))}]"
        case Table():
            return mapping((name, _flow(entry.tree)) for name, entry in tree.entries.items())


def _text(text: str) -> str:
    if _PLAIN.fullmatch(text) and isinstance(resolve(text), str):
        return text
    return f'"{"".join(map(_character, text))}"'


def _character(char: str) -> str:
    if char in _SHORT:
        return _SHORT[char]
    if char.isprintable():
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"
