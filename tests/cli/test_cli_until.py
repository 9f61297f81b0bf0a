"""`--until 07:30`: a time of day, and how far away it is."""

from __future__ import annotations

from datetime import datetime

import pytest

from batchrunner.cli.until import local_now, seconds_until
from batchrunner.errors import YoursError

NOON = datetime(2026, 1, 15, 12, 0, 30).astimezone()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("12:01", 30),
        ("23:59", 11 * 3600 + 59 * 60 - 30),
        ("0:00", 12 * 3600 - 30),
        ("07:30", 19.5 * 3600 - 30),
        ("7:30", 19.5 * 3600 - 30),
        (" 07:30 ", 19.5 * 3600 - 30),
        ("12:00", 24 * 3600 - 30),
    ],
)
def test_the_next_time_the_clock_shows_it(text: str, seconds: float) -> None:
    """A time that is over today is tomorrow's; the minute that is running now is over."""
    assert seconds_until(text, NOON) == seconds


def test_a_whole_day_at_most() -> None:
    """The very second in which it strikes is the beginning of a day's wait, not the end of one."""
    assert seconds_until("12:00", NOON.replace(second=0)) == 24 * 3600


@pytest.mark.parametrize(
    "text", ["", "7", "24:00", "12:60", "7:30am", "07.30", "-1:00", "07:30:00", "\u0660\u0667:\u0663\u0660", "tomorrow"]
)
def test_no_time_of_day(text: str) -> None:
    """Anything else is named, with an example, on one line."""
    with pytest.raises(YoursError, match=r"^--until .*a time of day is wanted, such as 07:30$") as caught:
        seconds_until(text, NOON)
    assert "\n" not in str(caught.value)


def test_now_is_here() -> None:
    """The time of day is this machine's, and knows its zone."""
    assert local_now().utcoffset() is not None
