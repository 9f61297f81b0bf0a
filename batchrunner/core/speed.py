"""How fast one server renders: what each kind of job takes there, what a change adds, how long ours wait for others'.

A kind of job is a cost (`Job.cost`). What a kind takes is the mean of its own renders. Kinds never rendered lie on a
straight line over the cost, fitted by least squares of the *relative* error through the kinds that were, and held by a
guess's shape where those are few. A prompt that follows one with other costly inputs has more to do: it loads a model
or encodes a text first. That is the server's *change*, in seconds, and kept apart from what the kind takes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import islice

SHORTEST, LONGEST = 0.001, 30 * 86400.0
"""Seconds of a render that is believed: a server's clock may be turned, and its cache needs no time."""


@dataclass(frozen=True, slots=True)
class Line:
    """Seconds = `constant` + `slope` x cost."""

    constant: float
    slope: float

    def at(self, cost: float) -> float:
        """Return the seconds for one job of `cost`, `SHORTEST` at least."""
        return max(SHORTEST, self.constant + self.slope * cost)


@dataclass(frozen=True, slots=True)
class Change:
    """What it costs a server that a prompt's costly inputs are others than those of the prompt before."""

    seconds: float = 0.0
    job: float = 1.0
    """Seconds of a job without a change."""
    doubt: float = 0.0
    """Standard error of `seconds`."""
    weight: float = 0.0
    """How much evidence there is: a half for a render with a change and one without, 0 for nothing."""


@dataclass(frozen=True, slots=True)
class LearnedSpeed:
    """What a server taught about one workflow, to be kept for its other batches. Times in seconds."""

    line: Line
    spread: float
    """Relative spread of one render of a kind that is known."""
    change: float | None
    """None if it was not learned."""
    kinds: tuple[tuple[float, int, float], ...]
    """(cost, renders, seconds of one without a change), the last ones."""

    def typical(self) -> float:
        """Return how long its jobs took on average, without changes."""
        renders = sum(count for _, count, _ in self.kinds)
        took = sum(count * each for _, count, each in self.kinds)
        return max(SHORTEST, took / renders) if renders else self.line.at(_TYPICAL[0])


_TYPICAL = (20.0, 60.0)
"""Costs of a small and a large job of the document's: where the guess holds a fit."""
_HOLD = 0.25
"""The weight of the guess at each of them, in renders."""
MOST_KINDS = 64
"""How many kinds a line is fitted through, and how many are kept for other batches."""
_MOST_COMPARED = 16
_MOST_KEPT = 3
"""Renders of a kind that are believed to an earlier batch: the server may have got another GPU since."""
_KNOWN_PAIRS = 1.0
"""How many pairs of renders what an earlier batch learned of a change is worth."""
_WITHOUT_CHANGE = 0.1
"""The share of a render that is left, at least, without its change: some changes are shorter than most."""
_CHANGE_SPREAD = 0.025
"""Relative spread of one render, to doubt what few of them say of a change."""
_WAIT_HOLD = 1.0
"""The weight, in renders, of the guess that a server works for nobody else."""
_SPELLS = 1.7
"""How many times as unsure waits are as if others came one by one: they come in spells."""
_WAIT_SPREAD = 0.1
"""Spread of the waits to expect before the first, as a share of a render."""


@dataclass(frozen=True, slots=True)
class Renders:
    """How many, and how long they took together."""

    count: int = 0
    seconds: float = 0.0

    def plus(self, seconds: float) -> Renders:
        """Return them and one more."""
        return Renders(self.count + 1, self.seconds + seconds)


@dataclass(slots=True)
class Kind:
    """The renders of one cost, on one server."""

    again: Renders = Renders()
    """With the costly inputs of the prompt before."""
    changed: Renders = Renders()
    """With others."""
    cold: Renders = Renders()
    """After nothing of ours, or somebody else's prompt: a model may have been loaded, so they tell no change."""

    @property
    def renders(self) -> int:
        """All of them."""
        return self.again.count + self.changed.count + self.cold.count

    def take(self, seconds: float, *, changed: bool | None) -> None:
        """Take in one; `changed` is None for a cold one."""
        if changed is None:
            self.cold = self.cold.plus(seconds)
        elif changed:
            self.changed = self.changed.plus(seconds)
        else:
            self.again = self.again.plus(seconds)

    def each(self, change: float) -> float:
        """Return what one takes without a change, if a change takes so long."""
        took = self.again.seconds + self.changed.seconds + self.cold.seconds
        return max(_WITHOUT_CHANGE * took, took - self.changed.count * change) / self.renders


@dataclass(slots=True)
class Waits:
    """How long our prompts waited for others', as shares of what they rendered after it."""

    count: int = 0
    rendered: float = 0.0
    waited: float = 0.0
    squares: float = 0.0

    def take(self, seconds: float, wait: float) -> None:
        """Take in one render and the wait before it."""
        self.count, self.rendered, self.waited = self.count + 1, self.rendered + seconds, self.waited + wait
        self.squares += wait**2

    def variance(self, number: int, share: float, each: float) -> float:
        """Return the variance of the waits before `number` renders of `each`, expected to be such a share of them."""
        mean = share * each
        squares = self.squares - 2 * mean * self.waited + self.count * mean**2
        one = (max(0.0, squares) + _WAIT_HOLD * (_WAIT_SPREAD * each) ** 2) / (self.count + _WAIT_HOLD)
        return _SPELLS * one * number * (1 + number / (self.count + _WAIT_HOLD))


@dataclass(slots=True)
class ServerSpeed:
    """One server's speed, with one workflow."""

    guess: Line
    before: LearnedSpeed | None = None
    """What it taught an earlier batch."""
    kinds: dict[float, Kind] = field(default_factory=dict)
    """Per cost, the one rendered last at the end."""
    waits: Waits = field(default_factory=Waits)
    renders: int = 0
    rendered: float = 0.0
    change: Change = Change()
    _ratios: dict[int, tuple[int, float]] = field(default_factory=dict, compare=False, repr=False)
    """What `against` returned, by the identity of the other one, and after how many renders of both."""
    line: Line = field(init=False)
    """What a kind takes that was never rendered, without a change."""

    def __post_init__(self) -> None:
        """Begin with the guess."""
        self.line = self.guess
        if self.before is not None and self.before.change is not None:
            self.change = Change(self.before.change, self.before.typical(), 0.0, _KNOWN_PAIRS)

    def take(self, cost: float, seconds: float, passed: float | None, *, changed: bool | None) -> None:
        """Take in one render that took `seconds`, and `passed` by the wall since it was next, if that is known."""
        if passed is not None:
            self.waits.take(seconds, passed - seconds)
        kind = self.kinds[cost] = self.kinds.pop(cost, Kind())
        kind.take(seconds, changed=changed)
        self.renders, self.rendered = self.renders + 1, self.rendered + seconds
        self.change = self._change()
        self.line = self._fit()

    def _change(self) -> Change:
        """Compare the renders of each kind that came after a change with those that did not."""
        known = self.before.change if self.before else None
        weight, extra = (0.0, 0.0) if known is None else (_KNOWN_PAIRS, _KNOWN_PAIRS * known)
        job = most = 0.0
        for kind in islice(reversed(self.kinds.values()), MOST_KINDS):
            again, changed = kind.again, kind.changed
            if again.count and changed.count:
                pairs = again.count * changed.count / (again.count + changed.count)
                extra += pairs * (changed.seconds / changed.count - again.seconds / again.count)
                weight += pairs
                job, most = job + again.seconds, most + again.count
        if not most:
            return self.change
        return Change(max(0.0, extra / weight), job / most, _CHANGE_SPREAD * job / most / weight**0.5, weight)

    def _fit(self) -> Line:
        points = [
            (cost, self.each(cost), float(kind.renders))
            for cost, kind in islice(reversed(self.kinds.items()), MOST_KINDS)
        ]
        weight = sum(renders for _, _, renders in points)
        pace = sum(renders * each / self.guess.at(cost) for cost, each, renders in points) / weight
        points += [(cost, pace * self.guess.at(cost), _HOLD) for cost in _TYPICAL]
        uu = uv = vv = u = v = 0.0  # sums for two lines of algebra: `u` is 1 / seconds, `v` is cost / seconds
        for cost, one, renders in points:
            uu, uv, vv = uu + renders / one**2, uv + renders * cost / one**2, vv + renders * (cost / one) ** 2
            u, v = u + renders / one, v + renders * cost / one
        determinant = uu * vv - uv * uv
        fit = Line((u * vv - v * uv) / determinant, (v * uu - u * uv) / determinant)
        sound = fit.constant >= 0 and fit.slope >= 0
        return fit if sound else Line(pace * self.guess.constant, pace * self.guess.slope)

    def each(self, cost: float) -> float:
        """Return what one of a kind that was rendered here takes without a change."""
        return self.kinds[cost].each(self.change.seconds)

    def against(self, other: ServerSpeed) -> float:
        """Return how many times as long as on another server a render takes here, by kinds that both know.

        Remembered until one of them renders: with a thousand servers, a forecast asks for all pairs. The other one must
        live as long as this one.
        """
        renders = self.renders + other.renders
        known = self._ratios.get(id(other))
        if known is None or known[0] != renders:
            known = self._ratios[id(other)] = renders, self._against(other)
        return known[1]

    def _against(self, other: ServerSpeed) -> float:
        common = [cost for cost in islice(reversed(self.kinds), _MOST_COMPARED) if cost in other.kinds]
        if not common:
            return self.line.at(_TYPICAL[0]) / other.line.at(_TYPICAL[0])
        ours, theirs = (sum(self.kinds[cost].renders * one.each(cost) for cost in common) for one in (self, other))
        return ours / theirs

    def typical(self) -> float:
        """Return how long a render of ours takes on average."""
        return self.rendered / self.renders if self.renders else self.guess.at(_TYPICAL[0])

    def learned(self, spread: float) -> LearnedSpeed:
        """Return what is worth keeping; `spread` is the relative spread of one render of a known kind."""
        kinds = {cost: (renders, each) for cost, renders, each in (self.before.kinds if self.before else ())}
        for cost, kind in self.kinds.items():
            kinds.pop(cost, None)
            kinds[cost] = (kind.renders, self.each(cost))
        kept = [(cost, renders, each) for cost, (renders, each) in kinds.items()][-MOST_KINDS:]
        return LearnedSpeed(self.line, spread, self.change.seconds if self.change.weight else None, tuple(kept))

    @classmethod
    def recalled(cls, learned: LearnedSpeed) -> ServerSpeed:
        """Return what an earlier batch knew, as a server of its own; its kinds count for a few renders at most."""
        speed = cls(learned.line)
        for cost, renders, each in learned.kinds:
            count = min(renders, _MOST_KEPT)
            speed.kinds[cost] = Kind(Renders(count, count * each))
        return speed
