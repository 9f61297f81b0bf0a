"""Columns on a terminal, in cells: a wide character takes two."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

_LEAST = 8


def column(texts: Iterable[str], most: int) -> int:
    """Return how wide a column must be for the widest of `texts`, within 8 and `most` cells."""
    return max(_LEAST, min(max(map(cell_len, texts), default=0), most))


def padded(text: str, width: int, style: str = "") -> Text:
    """Return `text` exactly `width` cells wide: filled up, or cut with an ellipsis."""
    made = Text(text, style)
    made.truncate(width, overflow="ellipsis", pad=True)
    return made


def put(console: Console, lines: Iterable[Text]) -> None:
    """Print each line as one line, however long: nothing is wrapped or lost, on a terminal or off it."""
    for line in lines:
        console.print(line, soft_wrap=True)
