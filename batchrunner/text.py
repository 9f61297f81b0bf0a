"""Text for people and programs: escaped for terminals, pages and JSON, redacted, quoted; numbers and times in words."""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from difflib import get_close_matches
from typing import TYPE_CHECKING, TypeAlias

from rich import filesize
from rich.cells import cell_len, set_cell_size

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from batchrunner.core.job import Json

Zone: TypeAlias = Callable[[float], time.struct_time]
"""From seconds since the epoch to local time."""
UNKNOWN = "?"
REDACTED = "***"
PATH_LIMIT = 4096
"""Characters of a path in a message: no path that a file system takes is cut."""
_INVISIBLE = frozenset("\u034f\u115f\u1160\u3164\uffa0")
"""Printable by Python's definition, and still nothing to see."""
_LINE_ENDS = re.compile(r"[ \t\r\n]*[\t\r\n][ \t\r\n]*")
_PAGE_ESCAPES = str.maketrans({char: f"\\u{ord(char):04x}" for char in "<>&"})
_MARKUP = re.compile(r"[\\`*\[\]<>|~&]|(?<![^\W_])_|_(?![^\W_])|^[#+-]")
_LIST_NUMBER = re.compile(r"^([0-9]+)([.)])(?=\s|$)")
_LONGEST_WORD = 64
"""difflib is quadratic, and nobody mistypes a longer name."""


def printable(text: str, limit: int = 200) -> str:
    """Return `text` on one line, at most `limit` characters, with nothing in it that a terminal would obey.

    A line end becomes a space. Control characters, line separators, bidi controls, lone surrogates and what has no
    width become visible escapes.
    """
    shown = text[: limit + 1]
    if not (shown.isprintable() and _INVISIBLE.isdisjoint(shown)):
        shown = "".join(map(_visible, _LINE_ENDS.sub(" ", shown.strip("\t\r\n"))))
    return shown if len(shown) <= limit else shown[: max(0, limit - 1)] + "…"


def _visible(char: str) -> str:
    if char.isprintable() and char not in _INVISIBLE:
        return char
    if char.isspace() and ord(char) > 0x9F and char not in "\u2028\u2029":
        return " "
    return char.encode("unicode_escape").decode()


def markdown_text(text: str, limit: int = 300) -> str:
    """Return Markdown that reads as the printable form of `text`: no markup, no list, no HTML."""
    return _LIST_NUMBER.sub(r"\1\\\2", _MARKUP.sub(r"\\\g<0>", printable(text, limit)))


def json_text(value: Mapping[str, Json], indent: int | None = None, *, page: bool = False) -> str:
    """Return JSON in printable ASCII: one record, harmless on a terminal.

    With `page` it is compact, and nothing in it can end a script element.
    """
    text = json.dumps(value, indent=indent, separators=(",", ":") if page else None).replace("\x7f", "\\u007f")
    return text.translate(_PAGE_ESCAPES) if page else text


def redact(value: object, secrets: tuple[str, ...]) -> Json:
    """Return `value` as plain JSON with *** for each of `secrets`; what JSON does not know becomes its text."""
    if isinstance(value, bool | int | float | None):
        return value
    if isinstance(value, dict):
        return {str(redact(str(key), secrets)): redact(item, secrets) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [redact(item, secrets) for item in value]
    text = str(value)
    for secret in secrets:
        text = text.replace(secret, REDACTED)
    return text


def quote(text: str, width: int = 60) -> str:
    """Return at most `width` characters of `text`, printable, in double quotes."""
    return f'"{printable(text, width)}"'


def listing(words: Iterable[str], most: int = 32, width: int = 60) -> str:
    """Return `a, b, c`, each word within `width`, or `nothing`; past `most` words, how many more there are."""
    every = list(words)
    shown = ", ".join(printable(word, width) for word in every[:most])
    return f"{shown} and {len(every) - most} more" if len(every) > most else shown or "nothing"


def closest(word: str, known: Iterable[str]) -> str | None:
    """Return the one of `known` that was probably meant, or None."""
    if len(word) > _LONGEST_WORD:
        return None
    folded = {each.casefold(): each for each in sorted(known) if len(each) <= _LONGEST_WORD}
    near = get_close_matches(word.casefold(), folded, n=1, cutoff=0.65)
    return folded[near[0]] if near else None


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ` - did you mean …?`, or nothing."""
    near = closest(word, known)
    return f" - did you mean {printable(near, 60)}?" if near is not None else ""


def counted(count: int, noun: str) -> str:
    """Return `1 job`, `4 jobs`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def size(count: int) -> str:
    """Return a number of bytes as `812 bytes`, `13.2 MB`; `?` if it is negative, which stands for unknown."""
    return UNKNOWN if count < 0 else filesize.decimal(count)


def duration(seconds: float) -> str:
    """Return a length of time in its two largest units: `42 s`, `3 min 20 s`, `1 h 5 min`, `2 d 3 h`."""
    if not math.isfinite(seconds):
        return UNKNOWN
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    days, hours = divmod(hours, 24)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    first = next((place for place, (count, _) in enumerate(parts) if count), 3)
    return " ".join(f"{count} {unit}" for count, unit in parts[first : first + 2] if count or first == 3)


def stamp(epoch: float) -> str:
    """Return `epoch` (seconds) as RFC 3339 in UTC, to the millisecond: `2026-01-31T07:30:05.250Z`."""
    moment = _moment(epoch)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z") if moment else UNKNOWN


def clock(epoch: float, form: str = "%H:%M:%S") -> str:
    """Return the time of day of `epoch` (seconds) in this machine's zone, `07:30:05`; or its date by a `form`."""
    moment = _moment(epoch)
    return moment.astimezone().strftime(form) if moment else UNKNOWN


def moment(at: float, now: float, zone: Zone = time.localtime) -> str:
    """Return the time of day, with the date unless that is today: `07:30`, `Sun 29 Nov 07:30`."""
    try:
        then = zone(at)
    except (ValueError, OverflowError, OSError):
        return UNKNOWN
    date = "" if then[:3] == zone(now)[:3] else time.strftime(f"%a {then.tm_mday} %b ", then)
    return date + time.strftime("%H:%M", then)


def _moment(epoch: float) -> datetime | None:
    """Return a time between the years 2 and 9998, so that it exists in every zone; None for any other."""
    try:
        moment = datetime.fromtimestamp(epoch, UTC)
    except (ValueError, OverflowError, OSError):
        return None
    return moment if 1 < moment.year < 9999 else None


def fitted(text: str, cells: int) -> str:
    """Return at most `cells` cells of a name, but 8 at least, cut in the middle: its end may be the seed."""
    shown, cells = printable(text), max(8, cells)
    if cell_len(shown) <= cells:
        return shown
    end = min(24, cells // 2)
    return f"{set_cell_size(shown, cells - end - 1)}…{set_cell_size(shown[::-1], end)[::-1]}"


def event_line(at: float, job: str, message: str, width: int | None = None) -> str:
    """Return one printable line: when (seconds since the epoch), about which job if any, what.

    The job's name is cut so that the line fits into `width` cells, as far as that is possible.
    """
    time, text = clock(at), printable(message, 300)
    if not job:
        return f"{time} {text}"
    about = printable(job) if width is None else fitted(job, width - cell_len(f"{time} : {text}"))
    return f"{time} {about}: {text}"
