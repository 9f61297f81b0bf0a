"""`hours: 22:00-07:00`: which moments that is, by the clock on the wall of this machine."""

from __future__ import annotations

import re
import time
from functools import partial
from typing import TYPE_CHECKING

from batchrunner.core.hours import Window
from batchrunner.errors import YoursError
from batchrunner.options import next_moment
from batchrunner.text import Zone, duration, moment

if TYPE_CHECKING:
    from collections.abc import Callable

_HOURS = re.compile(r"((?:[01]?[0-9]|2[0-3]):[0-5][0-9]) *- *((?:[01]?[0-9]|2[0-3]):[0-5][0-9])")
_LONGEST_DAY = 26 * 3600.0


def read_hours(text: str, zone: Zone = time.localtime) -> Callable[[float], Window]:
    """Return what gives the window that is open at a moment, else the next, of hours such as `22:00-07:00`.

    Raises YoursError for anything but two different times of day.
    """
    match = _HOURS.fullmatch(text.strip())
    begin, end = (time_of_day.zfill(5) for time_of_day in match.groups()) if match else ("", "")
    if begin == end:
        raise YoursError(f"--hours {text}: not two different times of day; write them as 22:00-07:00")
    return partial(_window, begin, end, zone)


def _window(begin: str, end: str, zone: Zone, now: float) -> Window:
    opened = next_moment(begin, now - _LONGEST_DAY, zone)
    while (later := next_moment(begin, opened, zone)) <= now:
        opened = later
    closes = next_moment(end, opened, zone)
    if opened <= now < closes:
        return Window(opened, closes)
    return Window(later, next_moment(end, later, zone))


def hours_text(hours: str, window: Window, now: float, zone: Zone = time.localtime) -> str:
    """Return what is allowed at `now`, in a line for people."""
    if now < window.opens:
        opens = f"{moment(window.opens, now, zone)} (in {duration(window.opens - now)})"
        return f"nothing is submitted until {opens}: the hours are {hours}"
    closes = f"{moment(window.closes, now, zone)} (in {duration(window.closes - now)})"
    return f"within the hours {hours}: until {closes}"
