"""How long renders take: a guess before the first one, and what each server taught since, in this batch or another.

The guess is a straight line through the figures of the deployed server (docs/comfyui.md §17: 5 minutes for 768x512 in
20 steps to 17 for 1920x1088 in 40). What others do on the same server is kept apart: it stretches the wall time, not
the render time.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from heapq import heapify, heapreplace
from itertools import islice
from typing import TYPE_CHECKING

from batchrunner.core.server import SIM
from batchrunner.core.speed import LONGEST, SHORTEST, Line, ServerSpeed, Waits

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from batchrunner.core.speed import Change, LearnedSpeed


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
GPU = Line(60.0, 12.0)
"""Of `Job.cost`: a minute, and 12 s a step of 768x512 in 121 frames."""
BUILT_IN = Line(1.0, 0.14)
_LINE, _ELSEWHERE = 0.25, 0.5
"""The weight of the line, and of a render on another server or in another batch, beside a kind's own renders."""
_ALONE, _POOLED = 0.5, 5.0
"""The weight, in renders, of the guess that a server works for nobody else, and of what is known of others anywhere."""
_MOST_SERVERS = 8
"""How many servers that rendered a kind are enough to tell what it takes on one more."""
_SPREAD, _SPREAD_HOLD = 0.1, 2.0
"""Relative spread to expect of the renders of a kind, and its weight in renders."""
_WELL_KNOWN, _MOST_TIMES = 3, 3.0
"""After how many renders of a kind one counts as so many times as long as expected, at most."""
_UNKNOWN = 1 / 3
"""How many renders the line is worth for a kind that was never rendered."""
_LAST = 0.5
"""Spread of the end, in renders, because nobody knows which of many servers gets the last job."""


@dataclass(slots=True)
class Forecast:
    """What is known of the servers' speed with one workflow."""

    changes: dict[str, float] = field(default_factory=dict)
    """Per server, the share of the jobs to come that follow a change; none where nothing is said."""
    _servers: dict[str, ServerSpeed] = field(default_factory=dict)
    _teachers: dict[float, list[ServerSpeed]] = field(default_factory=dict)
    """Per kind, the first that rendered it: what a kind takes must not cost what all servers know."""
    _kinds: Counter[float] = field(default_factory=Counter)
    """Renders per kind, anywhere."""
    _waits: Waits = field(default_factory=Waits)
    """On all servers."""
    _own: int = 0
    """Renders in this batch."""
    _expected: float = _SPREAD
    """The spread to expect before the first of them."""
    _squares: float = 0.0
    """Of how far forecasts were off, relative to themselves and to how unsure they were."""
    _forecasts: int = 0

    def recall(self, server: str, learned: LearnedSpeed) -> None:
        """Begin with what an earlier batch learned of a server; only before the first render there."""
        self._servers[server] = ServerSpeed(learned.line, learned)
        self._expected = max(self._expected if self._kinds else 0.0, learned.spread)
        earlier = ServerSpeed.recalled(learned)
        for cost, kind in earlier.kinds.items():
            self._teach(cost, kind.renders, earlier)

    def learned(self) -> dict[str, LearnedSpeed]:
        """Return what each server taught in this batch that other batches can use."""
        return {name: speed.learned(self.spread()) for name, speed in self._servers.items() if speed.renders}

    def learn(
        self, server: str, cost: float, seconds: float, passed: float | None = None, *, changed: bool | None = False
    ) -> None:
        """Take in a finished render: `seconds` on the server's own clock, `passed` on the wall since the last one.

        `passed` is None if the server had nothing of ours meanwhile. `changed`: the prompt before had other costly
        inputs; None if it was nothing of ours. A render of no time at all came out of the server's cache and teaches
        nothing, nor does one that took months.
        """
        if not SHORTEST <= seconds <= LONGEST:
            return
        speed = self._servers.setdefault(server, self._of(server))
        if speed.renders or speed.before:
            expected = self._each(speed, cost) + speed.change.seconds * bool(changed)
            if self.renders_of(server, cost) >= _WELL_KNOWN:
                seconds = min(seconds, _MOST_TIMES * expected)  # that one hung says nothing of the others
            off = (seconds / expected - 1) ** 2
            if self._kinds[cost] or off > self._unsure(cost) * self.spread() ** 2:  # a lucky guess is no evidence
                self._squares, self._forecasts = self._squares + off / self._unsure(cost), self._forecasts + 1
        new = cost not in speed.kinds
        speed.take(cost, seconds, passed, changed=changed)
        if passed is not None:
            self._waits.take(seconds, passed - seconds)
        self._teach(cost, 1, speed if new else None)
        self._own += 1

    def _teach(self, cost: float, renders: int, speed: ServerSpeed | None) -> None:
        teachers = self._teachers.setdefault(cost, [])
        if speed and len(teachers) < _MOST_SERVERS:
            teachers.append(speed)
        self._kinds[cost] += renders

    def renders(self) -> int:
        """Return how many renders of this batch all this is learned from."""
        return self._own

    def has_experience(self, server: str) -> bool:
        """Whether a server has rendered this workflow before, in this batch or another."""
        return server in self._servers

    def seconds(self, server: str, cost: float) -> float:
        """Return how long one job of `cost` renders on `server`, with its share of what changes take.

        By the renders of its kind there; where those are few, by those elsewhere and the line too.
        """
        speed = self._of(server)
        return self._each(speed, cost) + self.changes.get(server, 0.0) * speed.change.seconds

    def _each(self, speed: ServerSpeed, cost: float) -> float:
        took, weight = _LINE * speed.line.at(cost), _LINE
        if own := speed.kinds.get(cost):
            took, weight = took + own.renders * speed.each(cost), weight + own.renders
        for other in self._teachers.get(cost, ()):
            if other is not speed:
                hold = _ELSEWHERE * other.kinds[cost].renders
                took, weight = took + hold * speed.against(other) * other.each(cost), weight + hold
        return took / weight

    def spread(self) -> float:
        """Return the relative spread of one render of a kind that is well known."""
        held = self._squares + _SPREAD_HOLD * self._expected**2
        return float((held / (self._forecasts + _SPREAD_HOLD)) ** 0.5)

    def _unsure(self, cost: float) -> float:
        """Return the variance of one render of a kind as a multiple of that of a kind that is well known."""
        return 1 + 1 / (self._kinds[cost] or _UNKNOWN)

    def at_most(self, server: str, cost: float) -> float:
        """Return the upper end of that forecast's band."""
        return self.seconds(server, cost) * (1 + self._width() * self.spread() * float(self._unsure(cost) ** 0.5))

    def _width(self) -> float:
        """Return how many standard deviations hold nine in ten, where these are known from so few forecasts."""
        return 1.645 + 1.5 / (self._forecasts + 5)

    def knows(self, cost: float) -> bool:
        """Whether a job of this cost was rendered before, anywhere."""
        return self._kinds[cost] > 0

    def renders_of(self, server: str, cost: float) -> int:
        """Return how many jobs of this cost a server has rendered in this batch."""
        kind = self._of(server).kinds.get(cost)
        return kind.renders if kind else 0

    def typical(self, server: str) -> float:
        """Return how long a job renders on `server` on average."""
        return self._of(server).typical()

    def change(self, server: str) -> Change:
        """Return what is known of what a change costs on `server`."""
        return self._of(server).change

    def share(self, server: str, held: Held = _NOTHING) -> float:
        """Return how long ours will wait for others there, for each second rendered.

        All that others are known to have had it do, over all that it rendered for us meanwhile; where that is little,
        other servers' share counts too.
        """
        every = self._waits
        others = max(0.0, every.waited) / (every.rendered * (1 + _ALONE / every.count)) if every.count else 0.0
        speed = self._of(server)
        hold = speed.typical() * _POOLED
        known = max(0.0, speed.waits.waited + held.others) + hold * others
        return known / (speed.waits.rendered + held.ran + hold)

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
        variance = sum(self._variance(url, given[url], hold, len(holds)) for url, hold in holds.items())
        last = max(self.typical(url) for url in holds) * _LAST * (1 - 1 / len(holds))
        off = self._width() * float((variance / len(holds) ** 2 + last**2) ** 0.5) if whole else 0.0
        return Estimate(whole, max(0.0, whole - off), whole + off)

    def _given(
        self, costs: Iterable[float], holds: Mapping[str, Held]
    ) -> tuple[dict[str, float], dict[str, Counter[float]]]:
        """Give every job to the server that takes it first; return when each ends, and what it was given."""
        each: dict[str, dict[float, float]] = {url: {} for url in holds}
        given: dict[str, Counter[float]] = {url: Counter() for url in holds}
        begun = {url: self.seconds(url, hold.costs[-1]) if hold.costs else hold.seconds for url, hold in holds.items()}
        turns = [(hold.seconds - begun[url], hold.seconds, url) for url, hold in holds.items()]
        heapify(turns)
        for cost in costs:
            _, free, url = turns[0]
            if cost not in each[url]:
                each[url][cost] = self.seconds(url, cost) * (1 + self.share(url, holds[url]))
            given[url][cost] += 1
            heapreplace(turns, (free, free + each[url][cost], url))
        return {url: free for _, free, url in turns}, given

    def _variance(self, url: str, given: Counter[float], hold: Held, servers: int) -> float:
        """Return the variance of the time that one of so many servers takes for what it is given and holds.

        Every render strays by itself, and those of a kind stray together from what is known of it, also with those on
        the other servers; the kinds never rendered all stray together from the line.
        """
        speed, kinds, new = self._of(url), given + Counter(hold.costs), 0.0
        strays = 0.0
        for cost, number in kinds.items():
            took, known = number * self.seconds(url, cost), self._kinds[cost]
            strays += took**2 * (1 / number + servers / (known or _UNKNOWN))
            new += 0.0 if known else took
        strays += servers * new**2 / _UNKNOWN / (self._kinds.total() + 1)
        waits = speed.waits.variance(given.total(), self.share(url, hold), speed.typical())
        return float(self.spread() ** 2 * strays + waits)

    def _of(self, server: str) -> ServerSpeed:
        """Return what is known of a server; asking changes nothing.

        Of one that taught nothing yet that it is as fast as others are on average, else the guess.
        """
        known = self._servers.get(server)
        if known or server == SIM:
            return known or ServerSpeed(BUILT_IN)
        lines = [speed.line for name, speed in islice(self._servers.items(), _MOST_SERVERS) if name != SIM]
        if not lines:
            return ServerSpeed(GPU)
        constant, slope = (
            sum(each) / len(lines) for each in zip(*((one.constant, one.slope) for one in lines), strict=True)
        )
        return ServerSpeed(Line(constant, slope))
