"""The report on a calm run: what was forecast, what came, and who waited for whom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchrunner.core.eta import DOWNLOAD_TIME, time_left
from batchrunner.sim.record import What
from tests.lab import other_user
from tests.lab.clock import EPOCH

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from batchrunner.core.board import Board
    from batchrunner.core.forecast import Estimate
    from batchrunner.show.events import RunEvent
    from batchrunner.show.live import BoardView
    from batchrunner.sim.server import Simulator
    from tests.lab.clock import VirtualLoop

_ENDS = (What.SUCCEEDED, What.FAILED)


@dataclass(frozen=True, slots=True)
class Report:
    """What a night was like. All times are seconds since the run began."""

    seed: int
    exit: int
    ended: float
    asked: float
    """When the forecast was asked."""
    told: Estimate | None
    """What it said, from then on."""
    news: tuple[tuple[float, RunEvent], ...]
    """Everything that people were told, and when."""
    starts: tuple[float, ...]
    """When a server began with a prompt of ours."""
    idle_since: tuple[float, ...]
    """When each server was through with what it was ever given, by whomever; at the end if it was not."""
    left: int
    """Jobs that nobody has."""
    shortest: float
    """How long the shortest of them would at most have taken, the way home included; 0 if there is none."""
    band: float
    """How much longer than forecast a job may take, the longest one."""
    message: str
    """The run's last words, and everything in its log."""

    @property
    def off(self) -> float:
        """By how much the forecast was too early, as a share of the night."""
        return (self.ended - self.asked - self.told.seconds) / self.ended if self.told else 1.0

    @property
    def held(self) -> bool:
        """Whether the band held the truth."""
        return self.told is not None and self.told.low <= self.ended - self.asked <= self.told.high

    @property
    def width(self) -> float:
        """Half the band, as a share of the night."""
        return (self.told.high - self.told.low) / 2 / self.ended if self.told else 1.0

    @property
    def saved_at(self) -> tuple[float, ...]:
        """When each video was home."""
        return tuple(at for at, event in self.news if event.name == "saved")


class Heard:
    """Hears everything that people are told, and asks for a forecast once so many jobs are home."""

    board: Board

    def __init__(self, loop: VirtualLoop, after: int) -> None:
        self._loop = loop
        self._after = after
        self.asked = 0.0
        self.told: Estimate | None = None
        self.news: list[tuple[float, RunEvent]] = []

    def event(self, event: RunEvent) -> None:
        """Hear what happened."""
        self.news.append((self._loop.now, event))
        if not self.asked and event.name == "saved" and self.board.tally()["done"] >= self._after:
            self.asked = self._loop.now
            self.told = time_left(self.board, self.asked)

    def tick(self, view: BoardView) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""

    def report(self, seed: int, code: int, began: float, servers: Sequence[Simulator], message: str) -> Report:
        """Look back on a night that is over."""
        waiting = [self.board.costs[job] for job in self.board.waiting]
        return Report(
            seed=seed,
            exit=code,
            ended=self._loop.now - began,
            asked=self.asked - began,
            told=self.told,
            news=tuple((at - began, event) for at, event in self.news),
            starts=tuple(at - began for server in servers for at in _times(server, [What.STARTED], ours=True)),
            idle_since=tuple(self._idle_since(server, began) - began for server in servers),
            left=len(waiting),
            shortest=min((self._at_most(cost) + DOWNLOAD_TIME for cost in waiting), default=0.0),
            band=max(self._at_most(cost) - self._expected(cost) for cost in self.board.costs.values()),
            message=message,
        )

    def _idle_since(self, server: Simulator, began: float) -> float:
        return self._loop.now if server.prompts.remaining else max(_times(server, _ENDS), default=began)

    def _at_most(self, cost: float) -> float:
        return max(self.board.forecast.at_most(url, cost) for url in self.board.servers)

    def _expected(self, cost: float) -> float:
        return min(self.board.forecast.seconds(url, cost) for url in self.board.servers)


def _times(server: Simulator, what: Collection[What], *, ours: bool = False) -> list[float]:
    """Return when something happened, on the loop's clock."""
    return [event.at - EPOCH for event in server.record.of(*what) if not ours or event.prefix != other_user.PREFIX]
