"""What is shown of a run beyond the board."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batchrunner.core.board import Board
from batchrunner.core.facts import Accepted, Claimed, Fact, File, Rendered
from batchrunner.core.job import Job
from batchrunner.core.server import QueueSeen
from batchrunner.core.settings import Rules
from batchrunner.core.sizes import JobSizes
from batchrunner.progress import RunObserver
from batchrunner.show.listeners import Listeners

if TYPE_CHECKING:
    from batchrunner.show.events import RunEvent
    from batchrunner.show.live import BoardView

GPU = "http://gpu:8188"
JOBS = {name: Job(name, "", {}, f"cat-{name[0]}", 1e9) for name in ("0" * 12, "1" * 12)}
ONE = "0" * 12


class _Seen:
    """An observer that remembers."""

    def __init__(self) -> None:
        self.events: list[RunEvent] = []
        self.views: list[BoardView] = []

    def event(self, event: RunEvent) -> None:
        """Remember an event."""
        self.events.append(event)

    def tick(self, view: BoardView) -> None:
        """Remember a scene."""
        self.views.append(view)

    def close(self) -> None:
        """Do nothing."""


def _observer(seen: _Seen, *transfers: tuple[str, int, int], interval: float = 10.0) -> RunObserver:
    board = Board("night", Rules(), (GPU,), 0.0)
    board.costs = {job.id: job.cost for job in JOBS.values()}
    board.load(JOBS, (), 0.0)
    board.want(JOBS, None, 0.0)
    return RunObserver(board, JOBS, Listeners([seen]), lambda: 1000.0, lambda: transfers, interval)


def test_a_fact_is_told_by_the_name_of_its_file() -> None:
    """Events name jobs as people named their files."""
    seen = _Seen()
    _observer(seen).fact(Accepted(ONE, 1, 5.0, "id", "p", GPU))
    assert [(event.name, event.job, event.label) for event in seen.events] == [("accepted", ONE, "cat-0")]


def test_views_come_at_their_interval() -> None:
    """The scene is shown at once, then at every interval, with downloads in bytes and the time passed and left."""
    seen = _Seen()
    run_observer = _observer(seen, ("cat-0", 5, 10))
    assert run_observer.update(run_observer.board, 100.0) == 110.0
    run_observer.update(run_observer.board, 105.0)
    run_observer.update(run_observer.board, 110.0)
    assert len(seen.views) == 2
    first, last = seen.views
    assert [(one.file, one.received, one.total) for one in last.downloads] == [("cat-0", 5, 10)]
    assert (first.elapsed, last.elapsed) == (0.0, 10.0)
    assert first.left is not None
    assert first.left > 0


def test_the_first_render_replaces_the_guess_at_once() -> None:
    """As soon as times are no guess any more, those shown are of what was learned, though the last ones are young."""
    seen = _Seen()
    run_observer = _observer(seen, interval=1.0)
    run_observer.update(run_observer.board, 100.0)
    run_observer.board.forecast.learn(GPU, 1e9, 30.0)
    run_observer.update(run_observer.board, 101.0)
    first, last = seen.views
    assert (first.guessed, last.guessed) == (True, False)
    assert (first.left, last.left) == (pytest.approx(2.4e10, rel=0.1), pytest.approx(60.0, rel=0.2))


def test_a_disk_that_will_be_full_is_told_once_and_again_after_it_had_room() -> None:
    """At the start, when it becomes true and when it does so again, at most once a minute; the board shows it."""
    seen, rooms = _Seen(), [1_500.0, 1_500.0, 2_000.0, 900.0]
    run_observer = _observer(seen)
    run_observer.room = lambda: rooms.pop(0)
    run_observer.board.sizes = JobSizes({1e9: (1, 1_000.0)})
    for now in (0.0, 10.0, 60.0, 120.0, 180.0):
        run_observer.update(run_observer.board, now)
    told = [event.message for event in seen.events if event.name == "note"]
    assert told == [
        f"the disk will be full after about {after} of 2 videos: they need about 2.0 kB, {left} (100 MiB are kept free)"
        for after, left in ((1, "1.5 kB are left"), (0, "900 bytes are left"))
    ]
    assert [view.messages for view in seen.views] == [(told[0],)] * 3 + [(), (told[1],)]


def test_a_render_under_way_takes_less_and_less() -> None:
    """What a server renders right now will take what is left of its forecast, never less than nothing."""
    seen = _Seen()
    run_observer = _observer(seen)
    board = run_observer.board
    facts: tuple[Fact, ...] = (Claimed(ONE, 1, 0.0, "id", "p", GPU, ""), Accepted(ONE, 1, 0.0, "id", "p", GPU))
    for fact in facts:
        state = board.follow(fact)
        assert state is not None
        board.put(ONE, state, 0.0, fact)
    whole = run_observer.until_rendered(GPU, ONE, 0.0)
    board.servers[GPU].queue = QueueSeen(running={"id": 0.0})
    assert run_observer.until_rendered(GPU, ONE, 60.0) == whole - 60.0
    assert run_observer.until_rendered(GPU, ONE, 2 * whole) == 0.0


def test_an_error_of_ours_is_told_without_its_text() -> None:
    """A bug is an event that names the kind of error only, for its text may quote anything."""
    seen = _Seen()
    run_observer = _observer(seen)
    run_observer.bug(RuntimeError("Bearer secret"))
    assert [event.name for event in seen.events] == ["bug"]
    assert "secret" not in seen.events[0].message
    run_observer.fact(Rendered(ONE, 1, 0.0, (File("x.mp4"),), None))
