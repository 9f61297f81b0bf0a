"""How complaints speak: quoted, escaped, with a suggestion where one is near."""

from __future__ import annotations

from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_LONGEST_WORD = 64
"""difflib is quadratic, and nobody mistypes a longer name."""


def printable(text: str) -> str:
    """Return `text` with everything that a terminal might obey written as an escape."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def shorten(text: str, width: int = 60) -> str:
    """Return at most `width` characters of `text`, printable, with an ellipsis where something is missing."""
    return printable(text if len(text) <= width else text[: width - 1] + "…")


def quote(text: str, width: int = 60) -> str:
    """Return `text` shortened and in double quotes."""
    return f'"{shorten(text, width)}"'


def listing(words: Iterable[str], most: int = 24) -> str:
    """Return `a, b, c`, or `nothing`; past `most` words, how many more there are."""
    every = [shorten(word) for word in words]
    left = len(every) - most
    return ", ".join(every[:most]) + (f" and {left} more" if left > 0 else "") if every else "nothing"


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return the one of `known` that was probably meant, or None."""
    if len(word) > _LONGEST_WORD:
        return None
    folded = {each.casefold(): each for each in sorted(known) if len(each) <= _LONGEST_WORD}
    near = get_close_matches(word.casefold(), folded, n=1, cutoff=0.6)
    return folded[near[0]] if near else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ` - did you mean …?`, or nothing."""
    near = closest(word, known)
    return f" - did you mean {shorten(near)}?" if near is not None else ""
