"""What a command line asks for: options, the token, and until when."""

from __future__ import annotations

import os
import re
import stat
import time
from bisect import bisect_left
from calendar import timegm
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from batchrunner.comfy.secret import Secret
from batchrunner.errors import YoursError
from batchrunner.text import duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchrunner.manifest import Options

# -- What a command line asks for.


@dataclass(frozen=True, slots=True)
class Asked:
    """The options every verb shares."""

    manifest: Path
    options: Options
    out: Path = Path("outputs")
    token_file: Path | None = None
    until: str | None = None
    """A time of day by which everything must be home."""
    ask: bool = False
    """Whether `plan` asks the servers what they can run."""
    as_json: bool = False
    verbose: bool = False


def options_of(asked: Asked) -> tuple[str, ...]:
    """Return the words that belong to every command about this batch."""
    return ("--out", str(asked.out)) if str(asked.out) != "outputs" else ()


# -- Where the token comes from: a file only its owner can read, or the environment. Never the command line.


VARIABLE = "BATCHRUNNER_TOKEN"
_LARGEST = 8192


def token(file: Path | None, environment: Mapping[str, str]) -> Secret | None:
    """Return the token of `--token-file`, else that of BATCHRUNNER_TOKEN, None if there is neither.

    Raises YoursError if the file can't be read, is a link, or may be read by others.
    """
    if file is not None:
        return Secret(_read(file))
    text = environment.get(VARIABLE, "").strip()
    return Secret(text) if text else None


def _read(file: Path) -> str:
    try:
        opened = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise YoursError(f"--token-file {file}: {error.strerror}") from None
    try:
        mode = os.fstat(opened).st_mode
        if not stat.S_ISREG(mode):
            raise YoursError(f"--token-file {file}: not a regular file")
        if mode & 0o077:
            raise YoursError(f"--token-file {file}: others may read it; run chmod 600 {file}")
        return os.read(opened, _LARGEST).decode("ascii", "replace")
    finally:
        os.close(opened)


# -- `--until 07:30`: which moment that is, and how people are told.
#
# What a person means is the clock on the wall, and that clock is not even: when summer time begins an hour is missing,
# and when it ends an hour comes twice. A zone is given here as a function from seconds since the epoch to local date
# and time, as `time.localtime` is: that is enough to find out when its clocks are changed.


Zone: TypeAlias = Callable[[float], time.struct_time]
"""From seconds since the epoch to local time."""

_TIME = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])")
_MINUTE, _DAY = 60, 24 * 60
_JUST_MISSED = 30 * 60
"""Seconds for which somebody may not have noticed that a time of day has passed."""


@dataclass(frozen=True, slots=True)
class Until:
    """The moment that a time of day stands for."""

    at: float
    """Seconds since the epoch."""
    message: str
    """One line for people: `until Sun 29 Nov 07:30 (in 8 h 12 min)`."""
    missed: bool
    """Whether that time of day has only just passed, so that the message is a warning."""


def read_until(hh_mm: str, now: float, zone: Zone = time.localtime) -> Until:
    """Return the next moment at which clocks show `hh_mm`, and what to tell people about it.

    Raises YoursError for anything but a time of day.
    """
    at, last = next_moment(hh_mm, now, zone), next_moment(hh_mm, now - _JUST_MISSED, zone)
    asked = "{:02}:{:02}".format(*divmod(_minutes(hh_mm), 60))
    when = f"{moment(at, now, zone)} (in {duration(at - now)})"
    if last <= now:
        return Until(at, f"{asked} was {_ago(now - last)}: this means {_day(at, last, now, zone)}, {when}", missed=True)
    skipped = "" if asked in when else f": the clocks go forward and skip {asked}"
    return Until(at, f"until {when}{skipped}", missed=False)


def next_moment(hh_mm: str, now: float, zone: Zone) -> float:
    """Return when clocks in `zone` next show `hh_mm`, in seconds since the epoch: always later than `now`.

    Of a time that comes twice, it is the first that is still ahead; of one that is skipped, the first moment after the
    gap. Raises YoursError for anything but a time of day.
    """
    wanted = _minutes(hh_mm)
    # Since 1972 every zone is whole minutes ahead of UTC, so that clocks begin a minute when the epoch's clock does.
    at = int(now // _MINUTE)
    left = (wanted - _minute_of_day(at, zone)) % _DAY or _DAY
    while left and (changed := _next_change(at, left, zone)) is not None:
        skipped = _ahead(changed, zone) - _ahead(at, zone)
        is_skipped = left - (changed - at) < skipped
        at = changed
        left = 0 if is_skipped else (wanted - _minute_of_day(at, zone)) % _DAY
    return float((at + left) * _MINUTE)


def moment(at: float, now: float, zone: Zone = time.localtime) -> str:
    """Return the time of day, with the date unless that is today: `07:30`, `Sun 29 Nov 07:30`."""
    then = zone(at)
    date = "" if _is_same_day(at, now, zone) else time.strftime(f"%a {then.tm_mday} %b ", then)
    return date + time.strftime("%H:%M", then)


def _ago(seconds: float) -> str:
    minutes = int(seconds // _MINUTE)
    return f"{minutes} minute{'s' * (minutes > 1)} ago" if minutes else "just now"


def _day(at: float, last: float, now: float, zone: Zone) -> str:
    """Return which day `at` is on, if the same time of day was at `last` as well: twice a day where clocks go back."""
    if not _is_same_day(at, now, zone):
        return "tomorrow"
    return "the second time today" if _is_same_day(last, now, zone) else "today"


def _is_same_day(at: float, other: float, zone: Zone) -> bool:
    return zone(at)[:3] == zone(other)[:3]


def _minutes(hh_mm: str) -> int:
    """Return the minutes from midnight to a time of day. Raises YoursError."""
    match = _TIME.fullmatch(hh_mm.strip())
    if match is None:
        raise YoursError(f"--until {hh_mm}: a time of day is wanted, such as 07:30")
    return int(match[1]) * 60 + int(match[2])


# Here `at` counts minutes since the epoch.


def _minute_of_day(at: int, zone: Zone) -> int:
    """Return the minutes since midnight that clocks show."""
    shown = zone(at * _MINUTE)
    return shown.tm_hour * 60 + shown.tm_min


def _ahead(at: int, zone: Zone) -> int:
    """Return by how many minutes clocks are ahead of UTC."""
    return timegm(zone(at * _MINUTE)) // _MINUTE - at


def _next_change(at: int, most: int, zone: Zone) -> int | None:
    """Return the first minute after `at`, at most so many later, at which clocks go otherwise than at `at`, if any.

    No zone changes its clocks and changes them back within a day.
    """
    before = _ahead(at, zone)
    later = range(at + 1, at + 1 + most)
    found = bisect_left(later, x=True, key=lambda minute: _ahead(minute, zone) != before)
    return later[found] if found < most else None
