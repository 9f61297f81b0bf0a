"""How long renders take: a guess before the first one, and what each server taught since.

The guess is a straight line through the figures of the deployed server (docs/comfyui.md §17: 5 minutes for 768x512 in
20 steps to 17 for 1920x1088 in 40). What others do on the same server is kept apart: it stretches the wall time, not
the render time.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from heapq import heapify, heapreplace
from typing import TYPE_CHECKING

from batchrunner.core.server import SIM
from batchrunner.core.speed import NO_KIND, ForecastError, Line, ServerSpeed

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
    ran: float = 0.0
    """How long the one of ours that is rendered has run."""
    others: float = 0.0
    """What others had it do since the last render of ours and will, as far as is known."""


_NOTHING = Held()
_LINE = 0.25
"""The weight of the line beside a kind's own renders, in renders."""
_ELSEWHERE = 0.5
"""The weight of a render on another server."""
GPU = Line(230.0, 7.3e-8)
BUILT_IN = Line(1.0, 1.5 / (768 * 512 * 25 * 20))
_ALONE = 0.5
"""The weight, in renders, of the guess that a server works for nobody else."""
_POOLED = 5.0
"""The weight, in renders, of what is known of others on all servers."""
_MOST_SERVERS = 32
"""How many servers that rendered a kind are enough to tell what it takes on one more."""
_NINE_IN_TEN = 1.645
_LAST = 0.5
"""Spread of the end, in renders, because nobody knows which of many servers gets the last job."""


@dataclass(slots=True)
class Forecast:
    """What is known of the servers' speed."""

    _servers: dict[str, ServerSpeed] = field(default_factory=dict)
    _teachers: dict[float, list[ServerSpeed]] = field(default_factory=dict)
    """Per kind, the first servers that rendered it: what a kind takes must not cost what all servers know."""
    _kinds: Counter[float] = field(default_factory=Counter)
    """Renders per kind, anywhere."""
    _told: dict[tuple[str, float], float] = field(default_factory=dict)
    """What `seconds` returned since the last render."""
    _others: float | None = None
    """What ours wait for others on all servers, per second rendered, as of the last render."""
    _first: ForecastError = field(default_factory=lambda: ForecastError(0.2))
    """Forecasts of kinds that were new then."""
    _again: ForecastError = field(default_factory=lambda: ForecastError(0.1))

    def learn(self, server: str, cost: float, seconds: float, passed: float | None = None) -> None:
        """Take in a finished render: `seconds` on the server's own clock, `passed` on the wall since the last one.

        `passed` is None if the server had nothing of ours meanwhile. A render of no time at all came out of the
        server's cache and teaches nothing.
        """
        if seconds > 0:
            speed = self._servers.setdefault(server, self._of(server))
            if speed.renders:
                (self._again if self._kinds[cost] else self._first).take(seconds / self.seconds(server, cost) - 1)
            teachers = self._teachers.setdefault(cost, [])
            if cost not in speed.kinds and len(teachers) < _MOST_SERVERS:
                teachers.append(speed)
            speed.take(cost, seconds, passed)
            self._kinds[cost] += 1
            self._told.clear()
            self._others = None

    def renders(self) -> int:
        """Return how many renders all this is learned from."""
        return self._kinds.total()

    def seconds(self, server: str, cost: float) -> float:
        """Return how long one job of `cost` renders on `server`.

        By the renders of its kind there; where those are few, by those elsewhere and the line too.
        """
        told = self._told.get((server, cost))
        if told is None:
            told = self._told[server, cost] = self._seconds(self._of(server), cost)
        return told

    def _seconds(self, speed: ServerSpeed, cost: float) -> float:
        own = speed.kinds.get(cost, NO_KIND)
        took, weight = own.seconds + _LINE * speed.by_line(cost), own.renders + _LINE
        for other in self._teachers.get(cost, ()):
            if other is not speed:
                kind = other.kinds[cost]
                hold = _ELSEWHERE * kind.renders
                took += hold * speed.against(other) * kind.seconds / kind.renders
                weight += hold
        return took / weight

    def at_most(self, server: str, cost: float) -> float:
        """Return the upper end of that forecast's band."""
        known = self._kinds[cost]
        spread = self._again.spread() * float((1 + 1 / known) ** 0.5) if known else self._first.spread()
        return self.seconds(server, cost) * (1 + _NINE_IN_TEN * spread)

    def knows(self, cost: float) -> bool:
        """Whether a job of this cost was rendered before, anywhere."""
        return self._kinds[cost] > 0

    def renders_of(self, server: str, cost: float) -> int:
        """Return how many jobs of this cost a server has rendered."""
        return self._of(server).kinds.get(cost, NO_KIND).renders

    def typical(self, server: str) -> float:
        """Return how long a job renders on `server` on average."""
        return self._of(server).typical()

    def share(self, server: str, held: Held = _NOTHING) -> float:
        """Return how long ours will wait for others there, for each second rendered.

        All that others are known to have had it do, over all that it rendered for us meanwhile; where that is little,
        other servers' share counts too.
        """
        if self._others is None:
            pooled = sum(max(0.0, speed.waits.w) for speed in self._servers.values())
            over = sum(speed.waits.s + speed.typical() * _ALONE for speed in self._servers.values())
            self._others = pooled / over if over else 0.0
        speed = self._of(server)
        hold = speed.typical() * _POOLED
        known = max(0.0, speed.waits.w + held.others) + hold * self._others
        return known / (speed.waits.s + held.ran + hold)

    def total(
        self, costs: Iterable[float], servers: Collection[str], held: Mapping[str, Held] | None = None
    ) -> Estimate:
        """Return how long `servers` together take for jobs of `costs` in this order, after what they hold.

        Each takes its next job when it begins with the one before, so that one is always ready (`Rules.depth`).
        """
        holds = {url: (held or {}).get(url, _NOTHING) for url in servers}
        if not holds:
            return Estimate(0.0, 0.0, 0.0)
        ends, given = self._given(costs, holds)
        whole = max(ends.values())
        variance = sum(self._variance(url, given[url], holds) for url in holds) / len(holds) ** 2
        last = max(self.typical(url) for url in holds) * _LAST * (1 - 1 / len(holds))
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
                each[url][cost] = self.seconds(url, cost) * (1 + self.share(url, holds[url]))
            given[url][cost] += 1
            heapreplace(turns, (free, free + each[url][cost], url))
        return {url: free for _, free, url in turns}, given

    def _takes_at(self, url: str, hold: Held) -> float:
        """Return when a server begins with the last prompt of ours that it holds."""
        return hold.seconds - self.seconds(url, hold.costs[-1]) if hold.costs else 0.0

    def _variance(self, url: str, given: Counter[float], holds: Mapping[str, Held]) -> float:
        speed, hold = self._of(url), holds[url]
        waits = speed.wait_variance(given.total(), self.share(url, hold))
        return self._strays(url, given + Counter(hold.costs), len(holds)) + waits

    def _strays(self, url: str, kinds: Mapping[float, int], servers: int) -> float:
        """Return the variance of the time that one of so many servers renders so many jobs of each cost.

        Every render strays by itself, those of a kind stray together from what is known of it, and those of kinds
        never rendered all together from the line; together also with those on the other servers.
        """
        again, first = self._again.spread() ** 2, self._first.spread() ** 2
        strays = new = 0.0
        for cost, number in kinds.items():
            each, known = self.seconds(url, cost), self._kinds[cost]
            if known:
                strays += again * number * each**2 * (1 + number * servers / known)
            else:
                strays += first * servers * (number * each) ** 2
                new += number * each
        return strays + first * servers * new**2 / (self.renders() + 1)

    def _of(self, server: str) -> ServerSpeed:
        """Return what is known of a server, of one that taught nothing yet the guess; asking changes nothing."""
        return self._servers.get(server) or ServerSpeed(BUILT_IN if server == SIM else GPU)
