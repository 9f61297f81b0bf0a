"""Text for people: what strangers wrote made harmless, and numbers in words."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchrunner.core.identity import Json

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


def told(at: float, who: str, says: str) -> str:
    """Return one harmless line for people: when (seconds since the epoch), about which job, what."""
    return f"{clock(at)} {safe(who, 60)}: {safe(says, _LINE)}" if who else f"{clock(at)} {safe(says, _LINE)}"


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
