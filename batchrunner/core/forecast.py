"""How long renders take: a guess before the first one, and what each server taught since.

Seconds grow with width x height x frames x steps, plus a constant. The guess is a straight line through the figures of
the deployed server (API.md: 5 minutes for 768x512 in 20 steps to 17 for 1920x1088 in 40). A server's own renders then
replace it: a straight line again, fitted by least squares of the *relative* error, held by the guess's shape only as
long as there are few renders. What others do on the same server is kept apart: it stretches the wall time, not the
render time.
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

    def scaled(self, factor: float) -> Line:
        """Return the line of a server that takes `factor` times as long."""
        return Line(self.constant * factor, self.slope * factor)


@dataclass(frozen=True, slots=True)
class Estimate:
    """Seconds, and the band that holds the truth nine times out of ten."""

    seconds: float
    low: float
    high: float


GPU = Line(230.0, 7.3e-8)
BUILT_IN = Line(1.0, 1.5 / (768 * 512 * 25 * 20))
_TYPICAL = (0.95e9, 7.6e9)
"""Costs of the document's smallest and largest job: where the guess holds a fit."""
_HOLD = 0.25
"""The weight of the guess at each of them, in renders."""
_NINE_IN_TEN = 1.645
_SPREAD, _SPREAD_HOLD = 0.2, 2.0
"""Relative spread to expect before the first render, and its weight in renders."""
_OWN_SHARE_HOLD = 1.0
"""The weight, in renders, of the guess that a server works for nobody else."""


@dataclass(slots=True)
class _Learnt:
    """Sums over one server's renders, for two lines of algebra. `u` is 1 / seconds, `v` is cost / seconds."""

    guess: Line
    renders: int = 0
    ratio: float = 0.0
    uu: float = 0.0
    uv: float = 0.0
    vv: float = 0.0
    u: float = 0.0
    v: float = 0.0
    off: float = 0.0
    """Squared relative errors of the forecasts made just before each render ended."""
    rendered: float = 0.0
    passed: float = 0.0
    """Wall time in which those seconds were rendered."""
    line: Line | None = None

    def take(self, cost: float, seconds: float, passed: float) -> None:
        """Take in one render that took `seconds`, and `passed` by the wall since the one before it ended."""
        if self.line is not None:
            self.off += (seconds / self.line.at(cost) - 1) ** 2
        self.renders += 1
        self.ratio += seconds / self.guess.at(cost)
        u, v = 1 / seconds, cost / seconds
        self.uu, self.uv, self.vv = self.uu + u * u, self.uv + u * v, self.vv + v * v
        self.u, self.v = self.u + u, self.v + v
        self.rendered += seconds
        self.passed += max(seconds, passed)
        self.line = self._fit()

    def _fit(self) -> Line:
        held = self.guess.scaled(self.ratio / self.renders)
        uu, uv, vv, u, v = self.uu, self.uv, self.vv, self.u, self.v
        for cost in _TYPICAL:
            at = held.at(cost)
            uu, uv, vv = uu + _HOLD / at**2, uv + _HOLD * cost / at**2, vv + _HOLD * (cost / at) ** 2
            u, v = u + _HOLD / at, v + _HOLD * cost / at
        determinant = uu * vv - uv * uv
        fit = Line((u * vv - v * uv) / determinant, (v * uu - u * uv) / determinant)
        return fit if fit.constant >= 0 and fit.slope >= 0 else held

    def spread(self) -> float:
        """Return the relative spread of one render around its forecast."""
        known = max(0, self.renders - 1)
        return float(((self.off + _SPREAD_HOLD * _SPREAD**2) / (known + _SPREAD_HOLD)) ** 0.5)

    def stretch(self) -> float:
        """Return how much longer than its renders a series of them takes, for what others do there meanwhile."""
        held = _OWN_SHARE_HOLD * self.rendered / max(1, self.renders)
        return (self.passed + held) / (self.rendered + held) if self.rendered else 1.0


@dataclass(slots=True)
class Forecast:
    """What is known of the servers' speed."""

    _servers: dict[str, _Learnt] = field(default_factory=dict)

    def learn(self, server: str, cost: float, seconds: float, passed: float = 0.0) -> None:
        """Take in a finished render: `seconds` on the server's own clock, `passed` on the wall since the last one.

        A render of no time at all came out of the server's cache and teaches nothing.
        """
        if seconds > 0:
            self._of(server).take(cost, seconds, passed)

    def renders(self) -> int:
        """Return how many renders all this is learnt from."""
        return sum(learnt.renders for learnt in self._servers.values())

    def seconds(self, server: str, cost: float) -> float:
        """Return how long one job of `cost` renders on `server`."""
        learnt = self._of(server)
        return (learnt.line or learnt.guess).at(cost)

    def at_most(self, server: str, cost: float) -> float:
        """Return the upper end of that forecast's band."""
        return self.seconds(server, cost) * (1 + _NINE_IN_TEN * self._of(server).spread())

    def total(self, costs: Iterable[float], servers: Collection[str]) -> Estimate:
        """Return how long `servers` together take for jobs of `costs`, each taking the next as it gets free."""
        alone = {server: self._alone(server, costs) for server in servers}
        rate = sum(1 / estimate.seconds for estimate in alone.values() if estimate.seconds)
        if not rate:
            return Estimate(0.0, 0.0, 0.0)
        whole = 1 / rate
        shares = [(whole / estimate.seconds, estimate) for estimate in alone.values() if estimate.seconds]
        off = sum((share * (estimate.high / estimate.seconds - 1)) ** 2 for share, estimate in shares) ** 0.5
        return Estimate(whole, whole * max(0.0, 1 - off), whole * (1 + off))

    def _alone(self, server: str, costs: Iterable[float]) -> Estimate:
        """Return how long one server takes: each render strays by itself, and all of them with the line."""
        learnt = self._of(server)
        each = [self.seconds(server, cost) for cost in costs]
        whole, squares = sum(each), sum(seconds * seconds for seconds in each)
        strays = squares + whole * whole / (learnt.renders + _SPREAD_HOLD)
        off = _NINE_IN_TEN * learnt.spread() * float(strays**0.5)
        stretch = learnt.stretch()
        return Estimate(whole * stretch, max(0.0, whole - off) * stretch, (whole + off) * stretch)

    def _of(self, server: str) -> _Learnt:
        return self._servers.setdefault(server, _Learnt(BUILT_IN if server == SIM else GPU))
