"""`--until 07:30`: which moment that is, in every zone and on the nights when its clocks are changed."""

from __future__ import annotations

import os
import time
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest

from batchrunner.errors import YoursError
from batchrunner.options import next_moment, read_until
from batchrunner.text import moment

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_UTC = "UTC"
_BERLIN = "Europe/Berlin"
_NEW_YORK = "America/New_York"
_LORD_HOWE = "Australia/Lord_Howe"
_NIGHTS = [
    pytest.param(_BERLIN, "2026-03-29T01:00Z", id="Berlin goes forward"),
    pytest.param(_BERLIN, "2026-10-25T01:00Z", id="Berlin goes back"),
    pytest.param(_NEW_YORK, "2026-03-08T07:00Z", id="New York goes forward"),
    pytest.param(_NEW_YORK, "2026-11-01T06:00Z", id="New York goes back"),
    pytest.param(_LORD_HOWE, "2026-10-03T15:30Z", id="Lord Howe goes forward by half an hour"),
    pytest.param(_LORD_HOWE, "2026-04-04T15:00Z", id="Lord Howe goes back by half an hour"),
    pytest.param("Africa/Cairo", "2026-04-23T22:00Z", id="Cairo skips midnight"),
    pytest.param("Africa/Cairo", "2026-10-29T21:00Z", id="Cairo repeats the hour before midnight"),
    pytest.param(_UTC, "2026-03-29T01:00Z", id="UTC goes on"),
]


def _zone(name: str) -> Callable[[float], time.struct_time]:
    place = ZoneInfo(name)
    return cache(lambda at: datetime.fromtimestamp(at, place).timetuple())


def _epoch(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _clocks(name: str, start: float, minutes: int) -> list[tuple[int, int]]:
    """Return for every minute what the clock has shown since the minute before: the first and the last time of day.

    More than one minute where it goes forward. As minutes since midnight; the last may be beyond it.
    """
    shown = [datetime.fromtimestamp(start + 60 * minute, ZoneInfo(name)) for minute in range(-1, minutes)]
    walls = [int(at.replace(tzinfo=UTC).timestamp()) // 60 for at in shown]
    return [(min(before + 1, now), now) for before, now in pairwise(walls)]


@pytest.mark.parametrize(("zone", "turn"), _NIGHTS)
def test_the_night_when_clocks_are_changed(zone: str, turn: str) -> None:
    """It is the first moment still ahead at which the clock shows that time, or at which it skips it."""
    start, local = _epoch(turn) - 90 * 60, _zone(zone)
    clocks = [range(first, last + 1) for first, last in _clocks(zone, start, 30 * 60)]
    wanted = {shown % 1440 for minute in clocks[:180] for shown in minute if shown % 1440 % 13 == 0}
    comes: dict[int, int] = {}
    for minute, showing in reversed(list(enumerate(clocks))):
        # Read backwards, what was noted last is what comes first.
        for shown in wanted if minute < 180 and (minute % 30 == 0 or 88 <= minute <= 91) else ():
            text, now = f"{shown // 60:02}:{shown % 60:02}", start + 60 * minute + shown % 60
            assert (next_moment(text, now, local) - start) / 60 == comes[shown], (minute, text)
        comes |= dict.fromkeys((shown % 1440 for shown in showing), minute)


@pytest.mark.parametrize(
    ("zone", "now", "asked", "found"),
    [
        pytest.param(_BERLIN, "2026-03-29T00:30Z", "02:30", "2026-03-29T01:00Z", id="skipped: after the gap"),
        pytest.param(_BERLIN, "2026-03-29T01:00Z", "02:30", "2026-03-30T00:30Z", id="after the gap: tomorrow"),
        pytest.param(_BERLIN, "2026-10-24T22:00Z", "02:30", "2026-10-25T00:30Z", id="twice: the first"),
        pytest.param(_BERLIN, "2026-10-25T00:30Z", "02:30", "2026-10-25T01:30Z", id="twice: the second"),
        pytest.param(_BERLIN, "2026-10-25T00:59Z", "02:00", "2026-10-25T01:00Z", id="twice: as the clocks go back"),
        pytest.param(_BERLIN, "2026-10-25T01:30Z", "02:30", "2026-10-26T01:30Z", id="after both: tomorrow"),
        pytest.param(_LORD_HOWE, "2026-10-03T15:00Z", "02:15", "2026-10-03T15:30Z", id="half an hour skipped"),
        pytest.param(_LORD_HOWE, "2026-04-04T14:50Z", "01:45", "2026-04-04T15:15Z", id="half an hour twice"),
        pytest.param(_BERLIN, "2026-03-28T20:00Z", "07:30", "2026-03-29T05:30Z", id="a short night"),
        pytest.param(_BERLIN, "2026-10-24T20:00Z", "07:30", "2026-10-25T06:30Z", id="a long night"),
    ],
)
def test_the_hour_that_is_missing_and_the_hour_that_comes_twice(zone: str, now: str, asked: str, found: str) -> None:
    """A skipped time is the moment after the gap, a repeated one the first still ahead; a night is as long as it is."""
    assert next_moment(asked, _epoch(now), _zone(zone)) == _epoch(found)


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
    noon = _epoch("2026-01-15T12:00:30Z")
    assert next_moment(text, noon, _zone(_UTC)) - noon == seconds


def test_a_whole_day_at_most() -> None:
    """The very second in which it strikes is the beginning of a day's wait, not the end of one."""
    noon = _epoch("2026-01-15T12:00Z")
    assert next_moment("12:00", noon, _zone(_UTC)) - noon == 24 * 3600
    assert next_moment("12:00", noon - 0.001, _zone(_UTC)) == noon


@pytest.mark.parametrize(
    "text", ["", "7", "24:00", "12:60", "7:30am", "07.30", "-1:00", "07:30:00", "\u0660\u0667:\u0663\u0660", "tomorrow"]
)
def test_no_time_of_day(text: str) -> None:
    """Anything else is named, with an example, on one line."""
    with pytest.raises(YoursError, match=r"^--until .*not a time of day; write it as 07:30, or .*$") as caught:
        read_until(text, 0.0)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("zone", "now", "asked", "told"),
    [
        (_UTC, "2026-11-28T23:18Z", "07:30", "until Sun 29 Nov 07:30 (in 8 h 12 min)"),
        (_UTC, "2026-11-29T02:18Z", "7:30", "until 07:30 (in 5 h 12 min)"),
        (_UTC, "2026-12-01T23:59:30Z", "0:00", "until Wed 2 Dec 00:00 (in 30 s)"),
        (_NEW_YORK, "2026-11-29T02:18Z", "07:30", "until Sun 29 Nov 07:30 (in 10 h 12 min)"),
        (_BERLIN, "2026-03-29T00:30Z", "02:30", "until 03:00 (in 30 min): the clocks go forward and skip 02:30"),
        (_BERLIN, "2026-03-28T20:00Z", "07:30", "until Sun 29 Mar 07:30 (in 9 h 30 min)"),
    ],
)
def test_people_are_told_until_when(zone: str, now: str, asked: str, told: str) -> None:
    """One line says until when and how long that is, with the date when it is not today."""
    until = read_until(asked, _epoch(now), _zone(zone))
    assert (until.message, until.missed) == (told, False)
    assert until.at == next_moment(asked, _epoch(now), _zone(zone))


@pytest.mark.parametrize(
    ("zone", "now", "asked", "told"),
    [
        (_UTC, "2026-11-28T07:31Z", "07:30", "07:30 was 1 minute ago: this means tomorrow, Sun 29 Nov 07:30"),
        (_UTC, "2026-11-28T07:30Z", "7:30", "07:30 was just now: this means tomorrow, Sun 29 Nov 07:30"),
        (_UTC, "2026-11-28T07:59:59Z", "07:30", "07:30 was 29 minutes ago: this means tomorrow, Sun 29 Nov 07:30"),
        (_UTC, "2026-11-28T08:00Z", "07:30", ""),
        (_UTC, "2026-11-28T07:29:59Z", "07:30", ""),
        (_UTC, "2026-11-28T00:10Z", "23:50", "23:50 was 20 minutes ago: this means today, 23:50"),
        (_BERLIN, "2026-10-25T00:35Z", "02:30", "02:30 was 5 minutes ago: this means the second time today, 02:30"),
        (_BERLIN, "2026-03-29T01:05Z", "02:30", "02:30 was 5 minutes ago: this means tomorrow, Mon 30 Mar 02:30"),
    ],
)
def test_people_are_warned_of_a_time_they_have_just_missed(zone: str, now: str, asked: str, told: str) -> None:
    """Whoever names a time that passed less than half an hour ago is told so, and what it means instead."""
    until = read_until(asked, _epoch(now), _zone(zone))
    assert until.missed == bool(told)
    assert until.message.startswith(f"{told} (in " if told else "until ")
    assert timedelta() < timedelta(seconds=until.at - _epoch(now)) <= timedelta(days=1)


def test_the_time_of_day_here() -> None:
    """Without a zone it is this machine's own: its clock shows that very minute then."""
    now = datetime.now(UTC).timestamp()
    until = read_until("07:30", now)
    assert datetime.fromtimestamp(until.at).astimezone().strftime("%H:%M:%S.%f") == "07:30:00.000000"
    assert moment(until.at, until.at) == "07:30"


@contextmanager
def _machine_in(rules: str) -> Iterator[None]:
    """Let this machine be in a zone."""
    before, os.environ["TZ"] = os.environ.get("TZ"), rules
    time.tzset()
    try:
        yield
    finally:
        os.environ.pop("TZ", None)
        if before is not None:
            os.environ["TZ"] = before
        time.tzset()


def test_the_rules_of_the_zone_here() -> None:
    """This machine's zone is more than today's offset: the clock change ahead is reckoned with."""
    with _machine_in("CET-1CEST,M3.5.0,M10.5.0/3"):
        assert read_until("07:30", _epoch("2026-03-28T20:00Z")).at == _epoch("2026-03-29T05:30Z")
        assert read_until("07:30", _epoch("2026-10-24T20:00Z")).at == _epoch("2026-10-25T06:30Z")
        assert read_until("02:30", _epoch("2026-03-29T00:59Z")).at == _epoch("2026-03-29T01:00Z")
