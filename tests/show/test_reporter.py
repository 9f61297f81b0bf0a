"""Between two views of the board the reporter checks the servers that something happened to, and only at them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchrunner.core.actions import PollResult
from batchrunner.core.board import Board
from batchrunner.core.notes import Polled
from batchrunner.core.scheduler import file_away
from batchrunner.core.settings import Rules
from batchrunner.show.listeners import Listeners, Reporter
from batchrunner.show.live import board_view

if TYPE_CHECKING:
    from batchrunner.show.events import RunEvent


class Told:
    """Keeps which server was told of."""

    def __init__(self) -> None:
        self.events: list[RunEvent] = []

    def event(self, event: RunEvent) -> None:
        """Keep it."""
        self.events.append(event)

    def tick(self, view: object) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def test_between_two_views_a_change_is_told_at_once() -> None:
    """A server that answers is told of in the turn of its poll; one that changed unnoticed, with the next view."""
    board = Board("cats", Rules(), ("http://a", "http://b"), 0.0)
    told = Told()
    reporter = Reporter(
        Listeners([told]), {}, lambda: 0.0, lambda board, now: board_view(board, {}, now, 0.0, now), every=10.0
    )
    assert reporter.update(board, 0.0) == 10.0
    file_away(board, 0.0)
    board.apply(Polled("http://b", PollResult((), {}), frozenset(), 1.0, 1.0))
    board.servers["http://a"].apply(Polled("http://a", PollResult((), {}), frozenset(), 1.0, 1.0))
    reporter.update(board, 1.0)
    assert [event.fields["server"] for event in told.events] == ["http://b"]
    reporter.update(board, 10.0)
    assert [event.fields["server"] for event in told.events] == ["http://b", "http://a"]
