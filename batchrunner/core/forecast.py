"""How long renders take: a guess before the first one, and what each server taught since.

Seconds grow with width x height x frames x steps, plus a constant. The guess is a straight line through the figures of
the deployed server (API.md: 5 minutes for 768x512 in 20 steps to 17 for 1920x1088 in 40); a server's own renders then
scale that line, the latest ones counting most.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batchrunner.core.server import SIM

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable


@dataclass(frozen=True, slots=True)
class Line:
    """Seconds = `constant` + `slope` x cost."""

    constant: float
    slope: float

    def at(self, cost: float) -> float:
        """Return the seconds for one job of `cost`."""
        return self.constant + self.slope * cost


GPU = Line(230.0, 7.3e-8)
BUILT_IN = Line(1.0, 1.5 / (768 * 512 * 25 * 20))
_MEMORY = 0.85
"""How much of what was learnt so far outlives one more render."""


@dataclass(slots=True)
class _Learnt:
    guessed: float = 0.0
    took: float = 0.0


@dataclass(slots=True)
class Forecast:
    """What is known of the servers' speed."""

    _servers: dict[str, _Learnt] = field(default_factory=dict)

    def learn(self, server: str, cost: float, seconds: float) -> None:
        """Take in a finished render: `seconds` on the server's own clock."""
        learnt = self._servers.setdefault(server, _Learnt())
        learnt.guessed = learnt.guessed * _MEMORY + _line(server).at(cost)
        learnt.took = learnt.took * _MEMORY + seconds

    def seconds(self, server: str, cost: float) -> float:
        """Return how long one job of `cost` renders on `server`."""
        guess = _line(server).at(cost)
        learnt = self._servers.get(server)
        return guess * learnt.took / learnt.guessed if learnt else guess

    def total(self, costs: Iterable[float], servers: Collection[str]) -> float:
        """Return how long `servers` together render jobs of `costs`, each taking the next as it gets free."""
        if not servers:
            return 0.0
        speed = dict.fromkeys(servers, 0.0)
        for cost in costs:
            for server in servers:
                speed[server] += self.seconds(server, cost)
        rate = sum(1 / whole for whole in speed.values() if whole)
        return 1 / rate if rate else 0.0


def _line(server: str) -> Line:
    return BUILT_IN if server == SIM else GPU
