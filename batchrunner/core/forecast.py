"""How long renders take: a guess before the first one, and what each server taught since.

The guess is a straight line through the figures of the deployed server (API.md: 5 minutes for 768x512 in 20 steps to
17 for 1920x1088 in 40). What others do on the same server is kept apart: it stretches the wall time, not the render
time.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from heapq import heapify, heapreplace
from typing import TYPE_CHECKING

from batchrunner.core.learnt import Learnt, Line
from batchrunner.core.server import SIM

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds, and the band that holds the truth nine times out of ten."""

    seconds: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Held:
    """What a server holds already."""

    seconds: float = 0.0
    """Until it is through with it, others' prompts included."""
    costs: tuple[float, ...] = ()
    """Of our own prompts among them."""


GPU = Line(230.0, 7.3e-8)
BUILT_IN = Line(1.0, 1.5 / (768 * 512 * 25 * 20))
_NINE_IN_TEN = 1.645
_EVEN = 12**-0.5
"""Spread of what may lie anywhere between 0 and 1."""


@dataclass(slots=True)
class Forecast:
    """What is known of the servers' speed."""

    _servers: dict[str, Learnt] = field(default_factory=dict)

    def learn(self, server: str, cost: float, seconds: float, passed: float | None = None) -> None:
        """Take in a finished render: `seconds` on the server's own clock, `passed` on the wall since the last one.

        `passed` is None if the server had nothing of ours meanwhile. A render of no time at all came out of the
        server's cache and teaches nothing.
        """
        if seconds > 0:
            self._of(server).take(cost, seconds, passed)

    def renders(self) -> int:
        """Return how many renders all this is learnt from."""
        return sum(learnt.renders for learnt in self._servers.values())

    def seconds(self, server: str, cost: float) -> float:
        """Return how long one job of `cost` renders on `server`."""
        return self._of(server).seconds(cost)

    def at_most(self, server: str, cost: float) -> float:
        """Return the upper end of that forecast's band."""
        learnt = self._of(server)
        return learnt.seconds(cost) * (1 + _NINE_IN_TEN * learnt.spread(cost))

    def typical(self, server: str) -> float:
        """Return how long a job renders on `server` on average."""
        return self._of(server).typical()

    def stretch(self, server: str) -> float:
        """Return how much longer than its renders a series of them takes there, for what others do meanwhile."""
        return self._of(server).stretch()

    def total(
        self, costs: Iterable[float], servers: Collection[str], held: Mapping[str, Held] | None = None
    ) -> Estimate:
        """Return how long `servers` together take for jobs of `costs` in this order, after what they hold.

        Each takes its next job when it begins with the one before, so that one is always ready (`Rules.depth`).
        """
        holds = {url: (held or {}).get(url, Held()) for url in servers}
        if not holds:
            return Estimate(0.0, 0.0, 0.0)
        ends, given = self._given(costs, holds)
        whole = max(ends.values())
        variance = sum(self._variance(url, given[url], hold) for url, hold in holds.items()) / len(holds) ** 2
        last = max(self.typical(url) for url in servers) * _EVEN * (1 - 1 / len(holds))
        off = _NINE_IN_TEN * float((variance + last**2) ** 0.5) if whole else 0.0
        return Estimate(whole, max(0.0, whole - off), whole + off)

    def _given(
        self, costs: Iterable[float], holds: Mapping[str, Held]
    ) -> tuple[dict[str, float], dict[str, Counter[float]]]:
        """Give every job to the server that takes it first; return when each ends, and what it was given."""
        each: dict[str, dict[float, float]] = {url: {} for url in holds}
        given: dict[str, Counter[float]] = {url: Counter() for url in holds}
        turns = [(self._takes_at(url, hold), hold.seconds, url) for url, hold in holds.items()]
        heapify(turns)
        for cost in costs:
            _, free, url = turns[0]
            if cost not in each[url]:
                each[url][cost] = self.seconds(url, cost) * self.stretch(url)
            given[url][cost] += 1
            heapreplace(turns, (free, free + each[url][cost], url))
        return {url: free for _, free, url in turns}, given

    def _takes_at(self, url: str, hold: Held) -> float:
        """Return when a server begins with the last prompt of ours that it holds."""
        return hold.seconds - self.seconds(url, hold.costs[-1]) if hold.costs else 0.0

    def _variance(self, url: str, given: Counter[float], hold: Held) -> float:
        return self._of(url).variance(given + Counter(hold.costs), given.total())

    def _of(self, server: str) -> Learnt:
        return self._servers.setdefault(server, Learnt(BUILT_IN if server == SIM else GPU))
