"""`--hours 22:00-07:00`: which moments that is in every zone, and a run that waits for them."""

from __future__ import annotations

import io
import re
from datetime import datetime
from typing import TYPE_CHECKING
from zoneinfo import ZoneInfo

import pytest
from short_runs import URL_OF_SERVER, serving

from batchrunner.core.hours import Window
from batchrunner.errors import YoursError
from batchrunner.hours import hours_text, read_hours
from batchrunner.ledger import Ledger
from batchrunner.manifest import Options, load
from batchrunner.options import read_until
from batchrunner.progress import Displays
from batchrunner.servers import ServerAccess
from batchrunner.show.listeners import Listener, Listeners
from batchrunner.show.log import StreamOutput
from tests.lab.clock import run
from tests.lab.nights.memory import MemoryNight

if TYPE_CHECKING:
    import time
    from collections.abc import Callable
    from pathlib import Path

    from batchrunner.show.events import RunEvent
    from tests.lab.clock import VirtualLoop

_BERLIN = "Europe/Berlin"


def _zone(name: str) -> Callable[[float], time.struct_time]:
    return lambda at: datetime.fromtimestamp(at, ZoneInfo(name)).timetuple()


def _epoch(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


@pytest.mark.parametrize(
    ("zone", "hours", "now", "opens", "closes"),
    [
        pytest.param("UTC", "22:00-07:00", "2026-11-28T22:00Z", "2026-11-28T22:00Z", "2026-11-29T07:00Z", id="begins"),
        pytest.param("UTC", "22:00-7:00", "2026-11-29T06:59:59Z", "2026-11-28T22:00Z", "2026-11-29T07:00Z", id="in"),
        pytest.param("UTC", "22:00 - 07:00", "2026-11-29T07:00Z", "2026-11-29T22:00Z", "2026-11-30T07:00Z", id="over"),
        pytest.param("UTC", "09:00-17:00", "2026-11-28T08:59Z", "2026-11-28T09:00Z", "2026-11-28T17:00Z", id="a day"),
        pytest.param("UTC", "00:00-23:59", "2026-11-28T12:00Z", "2026-11-28T00:00Z", "2026-11-28T23:59Z", id="long"),
        pytest.param(
            _BERLIN, "22:00-07:00", "2026-03-29T03:00Z", "2026-03-28T21:00Z", "2026-03-29T05:00Z", id="spring"
        ),
        pytest.param(
            _BERLIN, "22:00-07:00", "2026-10-25T03:00Z", "2026-10-24T20:00Z", "2026-10-25T06:00Z", id="autumn"
        ),
        pytest.param(_BERLIN, "02:30-05:00", "2026-03-29T00:59Z", "2026-03-29T01:00Z", "2026-03-29T03:00Z", id="gap"),
    ],
)
def test_which_moments(zone: str, hours: str, now: str, opens: str, closes: str) -> None:
    """It is the window that is open, else the next one, by the clock on the wall, also when clocks are changed."""
    assert read_hours(hours, _zone(zone))(_epoch(now)) == Window(_epoch(opens), _epoch(closes))


@pytest.mark.parametrize("text", ["", "22:00", "22:00-22:00", "7:00-07:00", "22-7", "22:00-24:00", "22:00\u201307:00"])
def test_no_hours(text: str) -> None:
    """Anything else is named, with an example, on one line."""
    with pytest.raises(YoursError, match=r"^--hours .*: not two different times of day; write them as 22:00-07:00$"):
        read_hours(text)


def test_people_are_told_until_when() -> None:
    """One line says whether the hours are open, and until when that is so."""
    window = Window(_epoch("2026-11-28T22:00Z"), _epoch("2026-11-29T07:00Z"))
    closed = hours_text("22:00-07:00", window, _epoch("2026-11-28T19:00Z"), _zone("UTC"))
    assert closed == "nothing is submitted until 22:00 (in 3 h): the hours are 22:00-07:00"
    opened = hours_text("22:00-07:00", window, _epoch("2026-11-28T22:00Z"), _zone("UTC"))
    assert opened == "within the hours 22:00-07:00: until Sun 29 Nov 07:00 (in 9 h)"


@pytest.mark.parametrize(("text", "seconds"), [("+8h", 28800), ("+90m", 5400), ("+1.5 h", 5400), ("+1d", 86400)])
def test_until_so_long_from_now(text: str, seconds: float) -> None:
    """`--until +8h` is eight hours from now, whatever the clock shows then."""
    until = read_until(text, 1e9, _zone("UTC"))
    assert (until.at, until.missed) == (1e9 + seconds, False)
    assert until.message.startswith("until ")
    with pytest.raises(YoursError):
        read_until(text.replace("+", "-"), 1e9)


class _Told(Listener):
    """Keeps what happened when."""

    def __init__(self) -> None:
        self.events: list[RunEvent] = []

    def event(self, event: RunEvent) -> None:
        """Keep an event."""
        self.events.append(event)


def test_a_run_waits_for_its_hours(tmp_path: Path) -> None:
    """A run that is started too early says until when it waits, submits nothing before, and then does its work."""
    told = _Told()
    opened: list[float] = []

    async def main(loop: VirtualLoop) -> int:
        opened.append((loop.wall() // 60 + 120) * 60)
        begin, end = (f"{datetime.fromtimestamp(at).astimezone():%H:%M}" for at in (opened[0], opened[0] + 36000))
        path = tmp_path / "cats.yaml"
        path.write_text(
            f"{{name: cats, server: '{URL_OF_SERVER}', workflow: ltx2, hours: '{begin}-{end}', "
            "sweep: {prompt: a cat, seed: [1, 2, 3]}}",
            encoding="utf-8",
        )
        batch = load(path, Options())
        assert batch.hours == f"{begin}-{end}"
        async with serving(loop, tmp_path / "gpu"):
            with Ledger.open(tmp_path / "cats", batch.name) as ledger:
                displays = Displays(Listeners([told]), StreamOutput(io.StringIO()), 60.0)
                access = ServerAccess(batch, None, {})
                night = MemoryNight(batch, tmp_path / "cats", access, ledger, displays, hours=batch.hours)
                return await night.run()

    assert run(main, seed=1) == 0
    claimed = [event.at for event in told.events if event.name == "claimed"]
    assert len(claimed) == 3
    assert opened[0] <= claimed[0] < opened[0] + 30.0
    notes = [event.message for event in told.events if event.name == "note"]
    assert re.search(r"^nothing is submitted until .* \(in (2 h|1 h 59 min)", notes[0]), notes
    assert notes[1].startswith("within the hours ")
