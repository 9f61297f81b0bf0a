"""What the command line asks of a run: its options, where the token is, and the time of day of `--until`."""

from __future__ import annotations

import re
import stat
import time
from calendar import timegm
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from batchrunner.comfy.secret import Secret
from batchrunner.errors import YoursError
from batchrunner.manifest import Options
from batchrunner.text import Zone, duration, moment

if TYPE_CHECKING:
    from collections.abc import Mapping

OUT = Path("outputs")
OUT_VARIABLE = "BATCHRUNNER_OUT"
TOKEN_VARIABLE = "BATCHRUNNER_TOKEN"  # noqa: S105 - the name of a variable
_MAX_TOKEN = 8192
"""Bytes read of a token file."""


@dataclass(frozen=True, slots=True)
class RunOptions:
    """Which batch, where its folder is, and how it is run and shown."""

    manifest: Path
    manifest_options: Options = field(default_factory=Options)
    out: Path = OUT
    """Where the batch has its folder."""
    token_file: Path | None = None
    until: str | None = None
    """A time of day, instead of the manifest's: submit nothing that can't be downloaded by then."""
    hours: str | None = None
    """Two times of day, `22:00-07:00`, instead of the manifest's: submit only between them."""
    as_json: bool = False
    verbose: bool = False
    allow_commands: bool = False
    """What the manifest asks consent for is agreed to."""
    limit: int | None = None
    """How many jobs that are still to do, the first in run order."""
    agreed: tuple[str, ...] = ()
    """Marks of what was agreed to when this command began, as `consent.obtain` returns them."""
    began: float | None = None
    """When this command began, seconds since the epoch, for `until`; None for now."""


def read_token(file: Path | None, environment: Mapping[str, str]) -> Secret | None:
    """Return the token of `--token-file`, else that of BATCHRUNNER_TOKEN, None if there is neither.

    The file may be a link (mounted secrets are) or a pipe (`<(pass show token)`), which is waited for.
    Raises YoursError if it can't be read.
    """
    if file is None:
        text = environment.get(TOKEN_VARIABLE, "").strip()
        return Secret(text) if text else None
    try:
        with file.open("rb") as opened:
            return Secret(opened.read(_MAX_TOKEN).decode("ascii", "replace"))
    except OSError as error:
        raise YoursError(f"--token-file {file}: {error.strerror}") from None


def token_warning(file: Path | None) -> str:
    """Return a warning of a token file that other users can read; empty if there is nothing to say."""
    try:
        mode = file.stat().st_mode if file else 0
    except OSError:
        return ""
    is_open = stat.S_ISREG(mode) and mode & 0o077
    return f"--token-file {file}: other users can access it; run chmod 600 {file}" if is_open else ""


# -- `--until 07:30`
#
# A person means the clock on the wall, and that clock is not even: an hour is missing when summer time begins, and
# comes twice when it ends. A zone is given as a function, as `time.localtime` is, and is asked for every minute until
# the clock shows the time: at most 25 hours of minutes, a few milliseconds.


_LATER = re.compile(r"\+([0-9]{1,4}(?:\.[0-9]+)?) ?(m|h|d)")
_UNITS = {"m": 60.0, "h": 3600.0, "d": 86400.0}
_TIME = re.compile(r"([01]?[0-9]|2[0-3]):([0-5][0-9])")
_MINUTE, _DAY = 60, 24 * 60
_JUST_MISSED = 30 * 60
"""Seconds for which a person may not have noticed that a time of day has passed."""


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

    `+8h` is eight hours from now. Raises YoursError for anything else.
    """
    if match := _LATER.fullmatch(hh_mm.strip()):
        at = now + float(match[1]) * _UNITS[match[2]]
        return Until(at, f"until {moment(at, now, zone)} (in {duration(at - now)})", missed=False)
    at, last = next_moment(hh_mm, now, zone), next_moment(hh_mm, now - _JUST_MISSED, zone)
    asked = "{:02}:{:02}".format(*divmod(_minutes(hh_mm), 60))
    when = f"{moment(at, now, zone)} (in {duration(at - now)})"
    if last > now:
        skipped = "" if asked in when else f": the clocks go forward and skip {asked}"
        return Until(at, f"until {when}{skipped}", missed=False)
    minutes = int(now - last) // _MINUTE
    ago = f"{minutes} minute{'s' * (minutes > 1)} ago" if minutes else "just now"
    if zone(at)[:3] != zone(now)[:3]:
        day = "tomorrow"
    else:
        # The same time of day comes twice on the day when clocks go back.
        day = "the second time today" if zone(last)[:3] == zone(now)[:3] else "today"
    return Until(at, f"{asked} was {ago}: this means {day}, {when}", missed=True)


def next_moment(hh_mm: str, now: float, zone: Zone) -> float:
    """Return when clocks in `zone` next show `hh_mm`, in seconds since the epoch: always later than `now`.

    Of a time that comes twice, it is the first that is still ahead; of one that is skipped, the first moment after the
    gap. Raises YoursError for anything but a time of day.
    """
    wanted = _minutes(hh_mm)
    # Since 1972 every zone is whole minutes ahead of UTC, so that clocks begin a minute when the epoch's clock does.
    at = int(now // _MINUTE)
    before = _wall_minute(at, zone)
    while True:
        at += 1
        shown = _wall_minute(at, zone)
        # This minute shows one time of day; where clocks go forward, it also stands for those that they skip.
        first = min(before + 1, shown)
        if (wanted - first) % _DAY <= shown - first:
            return float(at * _MINUTE)
        before = shown


def _minutes(hh_mm: str) -> int:
    """Return the minutes from midnight to a time of day. Raises YoursError."""
    match = _TIME.fullmatch(hh_mm.strip())
    if match is None:
        raise YoursError(f"--until {hh_mm}: not a time of day; write it as 07:30, or +8h for eight hours")
    return int(match[1]) * 60 + int(match[2])


def _wall_minute(at: int, zone: Zone) -> int:
    """Return the minutes since the epoch that clocks show, as if they were in UTC; `at` counts real minutes."""
    return timegm(zone(at * _MINUTE)) // _MINUTE
