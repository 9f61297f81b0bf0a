"""Between two scenes the narrator looks at the servers that something happened to, and only at them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchrunner.core.actions import PollResult
from batchrunner.core.board import Board
from batchrunner.core.notes import Polled
from batchrunner.core.scheduler import file_away
from batchrunner.core.settings import Rules
from batchrunner.show.events import Audience, Narrator
from batchrunner.show.scene import Around

if TYPE_CHECKING:
    from batchrunner.show.events import Event


class Told:
    """Keeps which server was told of."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def event(self, event: Event) -> None:
        """Keep it."""
        self.events.append(event)

    def tick(self, scene: object) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


def test_between_two_scenes_a_change_is_told_at_once() -> None:
    """A server that answers is told of in the turn of its poll; one that changed unnoticed, with the next scene."""
    board = Board("cats", Rules(), ("http://a", "http://b"), 0.0)
    told = Told()
    narrator = Narrator(Audience([told]), {}, lambda: 0.0, lambda _, now: Around(0.0, now), every=10.0)
    assert narrator.pulse(board, 0.0) == 10.0
    file_away(board, 0.0)
    board.apply(Polled("http://b", PollResult((), {}), frozenset(), 1.0, 1.0))
    board.servers["http://a"].apply(Polled("http://a", PollResult((), {}), frozenset(), 1.0, 1.0))
    narrator.pulse(board, 1.0)
    assert [event.fields["server"] for event in told.events] == ["http://b"]
    narrator.pulse(board, 10.0)
    assert [event.fields["server"] for event in told.events] == ["http://b", "http://a"]
