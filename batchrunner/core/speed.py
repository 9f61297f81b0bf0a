"""What one server's renders taught: how long each kind of job takes there, and how long ours wait for others'.

Seconds grow with width x height x frames x steps, plus a constant: a straight line, fitted by least squares of the
*relative* error and held by the guess's shape as long as there are few renders. No GPU quite follows it, but a batch
has few kinds of jobs and many of each: a kind that was rendered before is known by its own renders.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice


@dataclass(frozen=True, slots=True)
class Line:
    """Seconds = `constant` + `slope` x cost."""

    constant: float
    slope: float

    def at(self, cost: float) -> float:
        """Return the seconds for one job of `cost`."""
        return self.constant + self.slope * cost

    def scaled(self, factor: float) -> Line:
        """Return the line of a server that takes `factor` times as long."""
        return Line(self.constant * factor, self.slope * factor)


_TYPICAL = (0.95e9, 7.6e9)
"""Costs of the document's smallest and largest job: where the guess holds a fit."""
_HOLD = 0.25
"""The weight of the guess at each of them, in renders."""
_MOST_KINDS = 64
"""How many kinds are enough to compare two servers by."""
_MISS_HOLD = 2.0
"""The weight, in renders, of what a spread is expected to be."""
_WAIT_HOLD = 1.0
"""The weight, in renders, of the guess that a server works for nobody else."""
_WAIT_SPREAD = 0.1
"""Spread of the waits to expect before the first, as a share of a render."""


@dataclass(slots=True)
class ForecastError:
    """How far forecasts were off, relative to themselves."""

    expected: float
    squares: float = 0.0
    count: int = 0

    def take(self, off: float) -> None:
        """Take in one forecast that was `off` by so much."""
        self.squares += off * off
        self.count += 1

    def spread(self) -> float:
        """Return the relative spread of one render around its forecast."""
        held = _MISS_HOLD * self.expected**2
        return float(((self.squares + held) / (self.count + _MISS_HOLD)) ** 0.5)


@dataclass(slots=True)
class Waits:
    """How long our prompts waited for others': sums over `s` seconds rendered and `w` waited before them."""

    count: int = 0
    s: float = 0.0
    w: float = 0.0
    ss: float = 0.0
    sw: float = 0.0
    ww: float = 0.0

    def take(self, seconds: float, wait: float) -> None:
        """Take in one render and the wait before it."""
        self.count += 1
        self.s, self.w = self.s + seconds, self.w + wait
        self.ss, self.sw, self.ww = self.ss + seconds**2, self.sw + seconds * wait, self.ww + wait**2

    def variance(self, share: float, each: float) -> float:
        """Return the variance of one wait around `share` of a render; `each` is how long those to come take."""
        squares = self.ww - 2 * share * self.sw + share**2 * self.ss
        return (max(0.0, squares) + _WAIT_HOLD * (_WAIT_SPREAD * each) ** 2) / (self.count + _WAIT_HOLD)


@dataclass(frozen=True, slots=True)
class JobKind:
    """The renders of one cost, on one server."""

    renders: int
    seconds: float
    """Of all of them."""


NO_KIND = JobKind(0, 0.0)


@dataclass(slots=True)
class ServerSpeed:
    """One server's speed. The sums are for two lines of algebra: `u` is 1 / seconds, `v` is cost / seconds."""

    guess: Line
    renders: int = 0
    rendered: float = 0.0
    _ratio: float = 0.0
    _uu: float = 0.0
    _uv: float = 0.0
    _vv: float = 0.0
    _u: float = 0.0
    _v: float = 0.0
    _line: Line | None = None
    kinds: dict[float, JobKind] = field(default_factory=dict)
    """Per cost."""
    waits: Waits = field(default_factory=Waits)

    def take(self, cost: float, seconds: float, passed: float | None) -> None:
        """Take in one render that took `seconds`, and `passed` by the wall since it was next, if that is known."""
        if passed is not None:
            self.waits.take(seconds, passed - seconds)
        kind = self.kinds.get(cost, NO_KIND)
        self.kinds[cost] = JobKind(kind.renders + 1, kind.seconds + seconds)
        self.renders += 1
        self.rendered += seconds
        self._ratio += seconds / self.guess.at(cost)
        u, v = 1 / seconds, cost / seconds
        self._uu, self._uv, self._vv = self._uu + u * u, self._uv + u * v, self._vv + v * v
        self._u, self._v = self._u + u, self._v + v
        self._line = self._fit()

    def _fit(self) -> Line:
        held = self.guess.scaled(self._ratio / self.renders)
        uu, uv, vv, u, v = self._uu, self._uv, self._vv, self._u, self._v
        for cost in _TYPICAL:
            at = held.at(cost)
            uu, uv, vv = uu + _HOLD / at**2, uv + _HOLD * cost / at**2, vv + _HOLD * (cost / at) ** 2
            u, v = u + _HOLD / at, v + _HOLD * cost / at
        determinant = uu * vv - uv * uv
        fit = Line((u * vv - v * uv) / determinant, (v * uu - u * uv) / determinant)
        return fit if fit.constant >= 0 and fit.slope >= 0 else held

    def by_line(self, cost: float) -> float:
        """Return how long one job of `cost` renders, by the line."""
        return (self._line or self.guess).at(cost)

    def against(self, other: ServerSpeed) -> float:
        """Return how many times as long as on another server a render takes here, by the kinds that both know."""
        ours = theirs = 0.0
        for cost, kind in islice(self.kinds.items(), _MOST_KINDS):
            if known := other.kinds.get(cost):
                ours += kind.seconds
                theirs += kind.renders * known.seconds / known.renders
        hold, at = self.typical(), _TYPICAL[0]
        return (ours + hold) / (theirs + hold * other.by_line(at) / self.by_line(at))

    def typical(self) -> float:
        """Return how long a render of ours takes on average."""
        return self.rendered / self.renders if self.renders else self.guess.at(_TYPICAL[0])

    def wait_variance(self, number: int, share: float) -> float:
        """Return the variance of the waits before `number` jobs of ours, that are expected to be such a share."""
        one = self.waits.variance(share, self.typical())
        return one * number * (1 + number / (self.waits.count + _WAIT_HOLD))
