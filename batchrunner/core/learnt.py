"""What one server's renders taught: how long each kind of job takes there, and how long ours wait for others'.

Seconds grow with width x height x frames x steps, plus a constant: a straight line, fitted by least squares of the
*relative* error and held by the guess's shape as long as there are few renders. No GPU quite follows it, but a batch
has few kinds of jobs and many of each: a kind that was rendered before is known by its own renders.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


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
_KIND_HOLD = 0.25
"""The weight of the line beside a kind's own renders."""
_MISS_HOLD = 2.0
"""The weight, in renders, of what a spread is expected to be."""
_WAIT_HOLD = 1.0
"""The weight, in renders, of the guess that a server works for nobody else."""
_WAIT_SPREAD = 0.1
"""Spread of the waits to expect before the first, as a share of a render."""


@dataclass(slots=True)
class _Misses:
    """How far forecasts were off, relative to themselves."""

    expected: float
    squares: float = 0.0
    count: int = 0

    def take(self, off: float) -> None:
        self.squares += off * off
        self.count += 1

    def spread(self) -> float:
        held = _MISS_HOLD * self.expected**2
        return float(((self.squares + held) / (self.count + _MISS_HOLD)) ** 0.5)


@dataclass(slots=True)
class _Waits:
    """How long our prompts waited for others', one after the other, while one of ours was always ready.

    Sums over `seconds` rendered and `wait` before it, for a share and what strays from it.
    """

    count: int = 0
    s: float = 0.0
    w: float = 0.0
    ss: float = 0.0
    sw: float = 0.0
    ww: float = 0.0

    def take(self, seconds: float, wait: float) -> None:
        self.count += 1
        self.s, self.w = self.s + seconds, self.w + wait
        self.ss, self.sw, self.ww = self.ss + seconds**2, self.sw + seconds * wait, self.ww + wait**2

    def share(self) -> float:
        """Return the wait for each second rendered."""
        return max(0.0, self.w) / (self.s * (1 + _WAIT_HOLD / self.count)) if self.count else 0.0

    def variance(self, each: float) -> float:
        """Return the variance of one wait around the share; `each` is how long a render of those to come takes."""
        share = self.share()
        squares = self.ww - 2 * share * self.sw + share**2 * self.ss
        return (max(0.0, squares) + _WAIT_HOLD * (_WAIT_SPREAD * each) ** 2) / (self.count + _WAIT_HOLD)


@dataclass(slots=True)
class Learnt:
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
    _kinds: dict[float, tuple[int, float]] = field(default_factory=dict)
    """Per cost: renders and their seconds."""
    _first: _Misses = field(default_factory=lambda: _Misses(0.2))
    """Forecasts of kinds that were new then."""
    _again: _Misses = field(default_factory=lambda: _Misses(0.1))
    _waits: _Waits = field(default_factory=_Waits)

    def take(self, cost: float, seconds: float, passed: float | None) -> None:
        """Take in one render that took `seconds`, and `passed` by the wall since the one before it, if that tells."""
        known, took = self._kinds.get(cost, (0, 0.0))
        if self.renders:
            (self._again if known else self._first).take(seconds / self.seconds(cost) - 1)
        if passed is not None:
            self._waits.take(seconds, passed - seconds)
        self._kinds[cost] = known + 1, took + seconds
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

    def seconds(self, cost: float) -> float:
        """Return how long one job of `cost` renders."""
        by_line = (self._line or self.guess).at(cost)
        known, took = self._kinds.get(cost, (0, 0.0))
        return (took + _KIND_HOLD * by_line) / (known + _KIND_HOLD) if known else by_line

    def spread(self, cost: float) -> float:
        """Return the relative spread of one render of `cost` around its forecast."""
        known, _ = self._kinds.get(cost, (0, 0.0))
        return self._again.spread() * float((1 + 1 / known) ** 0.5) if known else self._first.spread()

    def typical(self) -> float:
        """Return how long a render of ours takes on average."""
        return self.rendered / self.renders if self.renders else self.guess.at(_TYPICAL[0])

    def stretch(self) -> float:
        """Return how much longer than its renders a series of them takes, for what others do there meanwhile."""
        return 1 + self._waits.share()

    def variance(self, kinds: Mapping[float, int], waiting: int) -> float:
        """Return the variance of the time for so many jobs of each cost, `waiting` of which others may come before.

        Every render strays by itself, those of a kind stray together from what is known of it, and those of kinds
        never rendered all together from the line.
        """
        again, first = self._again.spread() ** 2, self._first.spread() ** 2
        strays = new = whole = 0.0
        for cost, number in kinds.items():
            each = self.seconds(cost)
            known, _ = self._kinds.get(cost, (0, 0.0))
            whole += number * each
            if known:
                strays += again * number * each**2 * (1 + number / known)
            else:
                strays += first * (number * each) ** 2
                new += number * each
        strays += first * new**2 / (self.renders + 1)
        one = self._waits.variance(whole / max(1, sum(kinds.values())))
        return strays + one * waiting * (1 + waiting / (self._waits.count + _WAIT_HOLD))
