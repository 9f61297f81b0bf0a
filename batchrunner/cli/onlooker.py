"""What the scene shows and the board does not know: downloads in bytes, and how long it will take."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batchrunner.core.eta import outlook, progress
from batchrunner.show.narrate import Narrator
from batchrunner.show.scene import Around, Transfer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batchrunner.cli.gallery import Gallery
    from batchrunner.core.board import Board
    from batchrunner.core.facts import Fact
    from batchrunner.core.job import Job
    from batchrunner.show.watch import Audience

_FORECAST_EVERY = 5.0


@dataclass(slots=True)
class Onlooker:
    """Watches one run, and has the narrator tell of it. Times in seconds."""

    board: Board
    jobs: Mapping[str, Job]
    audience: Audience
    wall: Callable[[], float]
    transfers: Callable[[], Mapping[str, tuple[int, int]]]
    """Per local file: bytes so far and in all, -1 if the server does not say."""
    beat: float
    """Between two scenes."""
    gallery: Gallery | None = None
    _narrator: Narrator = field(init=False)
    _began: float | None = None
    _left: float | None = None
    _left_at: float = -math.inf

    def __post_init__(self) -> None:
        """Hire the narrator."""
        self._narrator = Narrator(self.audience, self.jobs, self.wall, self._around, every=self.beat)

    def fact(self, fact: Fact) -> None:
        """Tell of a fact."""
        self._narrator.fact(fact)
        if self.gallery:
            self.gallery.fact(fact)

    def pulse(self, board: Board, now: float) -> float:
        """Show the board if it is time; return when to be shown it again."""
        self._began = now if self._began is None else self._began
        if self.gallery:
            self.gallery.pulse(board, self.jobs, now)
        return self._narrator.pulse(board, now)

    def bug(self, error: Exception) -> None:
        """Tell of an error that should not be."""
        self._narrator.bug(error)

    def until_rendered(self, url: str, job: str, now: float) -> float:
        """Return how long a prompt that `url` renders right now will still take."""
        whole = self.board.forecast.seconds(url, self.jobs[job].cost)
        return max(0.0, whole - progress(self.board, url, now))

    def _around(self, board: Board, now: float) -> Around:
        transfers = tuple(Transfer(file, got, total) for file, (got, total) in self.transfers().items())
        return Around(
            self.wall(), now - (now if self._began is None else self._began), transfers, self._time_left(board, now)
        )

    def _time_left(self, board: Board, now: float) -> float | None:
        """Return how long until all is rendered; counted anew every few seconds, for it costs what is left."""
        if now - self._left_at >= _FORECAST_EVERY:
            self._left_at = now
            left = outlook(board, now)
            self._left = left.seconds if left else None
        return self._left
