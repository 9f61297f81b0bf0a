"""Text for people: what strangers wrote made harmless, quoted and suggested; numbers in words."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from batchrunner.core.job import Json

# -- Text for people: what strangers wrote made harmless, and numbers in words.


_BLANKS = frozenset("\u034f\u115f\u1160\u3164\uffa0")
"""Printable by the book, and still nothing to see."""
_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}
_UNITS = ("kB", "MB", "GB", "TB")
UNKNOWN = "?"
_LINE = 300


def safe(text: str, limit: int = 200) -> str:
    """Return `text` on one line, at most `limit` characters, with nothing in it that a terminal would obey.

    Control characters, line separators, bidi controls, lone surrogates and what has no width become visible escapes.
    """
    shown = text[: limit + 1]
    if not (shown.isprintable() and _BLANKS.isdisjoint(shown)):
        shown = "".join(map(_visible, shown))
    return shown if len(shown) <= limit else shown[: max(0, limit - 1)] + "…"


def _visible(char: str) -> str:
    if char.isprintable() and char not in _BLANKS:
        return char
    if char in _SHORT:
        return _SHORT[char]
    if char.isspace() and ord(char) > 0x9F and char not in "\u2028\u2029":
        return " "
    code = ord(char)
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def told(at: float, who: str, message: str) -> str:
    """Return one harmless line for people: when (seconds since the epoch), about which job, what."""
    return f"{clock(at)} {safe(who, 60)}: {safe(message, _LINE)}" if who else f"{clock(at)} {safe(message, _LINE)}"


def duration(seconds: float) -> str:
    """Return a length of time in its two largest units: `42 s`, `3 min 20 s`, `1 h 5 min`, `2 d 3 h`."""
    if not math.isfinite(seconds):
        return UNKNOWN
    whole = max(0, round(seconds))
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    for large, small in (
        ((days, "d"), (hours, "h")),
        ((hours, "h"), (minutes, "min")),
        ((minutes, "min"), (rest, "s")),
    ):
        if large[0]:
            return f"{large[0]} {large[1]} {small[0]} {small[1]}" if small[0] else f"{large[0]} {large[1]}"
    return f"{rest} s"


def size(count: int) -> str:
    """Return a number of bytes as `812 B`, `13.2 MB`; `?` if it is negative, which stands for unknown."""
    if count < 0:
        return UNKNOWN
    if count < 1000:
        return f"{count} B"
    value, units = count / 1000, iter(_UNITS)
    unit = next(units)
    while value >= 999.95 and unit != _UNITS[-1]:
        value, unit = value / 1000, next(units)
    return f"{value:.1f} {unit}"


def clock(epoch: float, *, local: bool = True) -> str:
    """Return the time of day of `epoch` (seconds) as `07:30:05`, by this machine's zone or in UTC."""
    try:
        moment = datetime.fromtimestamp(epoch, UTC)
        return f"{moment.astimezone() if local else moment:%H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return UNKNOWN


def stamp(epoch: float) -> str:
    """Return `epoch` (seconds) as RFC 3339 in UTC, to the millisecond: `2026-01-31T07:30:05.250Z`."""
    try:
        moment = datetime.fromtimestamp(epoch, UTC)
    except (ValueError, OverflowError, OSError):
        return UNKNOWN
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def json_text(value: Mapping[str, Json], indent: int | None = None) -> str:
    """Return JSON in printable ASCII only, so that it is one record and harmless on a terminal too."""
    return json.dumps(value, indent=indent).replace("\x7f", "\\u007f")


# -- For diagnostics: quoted, escaped, with a suggestion where one is near.


_LONGEST_WORD = 64
"""difflib is quadratic, and nobody mistypes a longer name."""


def printable(text: str) -> str:
    """Return `text` with everything that a terminal might obey written as an escape."""
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def shorten(text: str, width: int = 60) -> str:
    """Return at most `width` characters of `text`, printable, with an ellipsis where something is missing."""
    return printable(text if len(text) <= width else text[: width - 1] + "…")


def quote(text: str, width: int = 60) -> str:
    """Return `text` shortened and in double quotes; a text of several lines as one line."""
    line = " ".join(text.split()) if "\n" in text else text
    return f'"{shorten(line, width)}"'


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
