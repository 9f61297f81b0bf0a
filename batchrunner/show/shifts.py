"""What a server did for one batch: how long it rendered, and when it stood idle between two renders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchrunner.core.facts import Accepted, Claimed, Rendered

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from batchrunner.core.facts import Fact

_BEGUN = (Claimed, Accepted)
"""Facts that name the server of an attempt."""
NOTICED = 30.0
"""Seconds: a shorter gap is the time between two looks, not a server at rest."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in which a server rendered nothing for us, between two renders."""

    began: float
    """Seconds since the epoch, by this machine's clock."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Shift:
    """One server's part of a batch."""

    server: str
    renders: int
    """Whether their files came home or not."""
    rendered: float
    """Seconds, by the server's own clock."""
    gaps: tuple[Gap, ...]
    """Longest first."""

    @property
    def idle(self) -> float:
        """Seconds in all gaps."""
        return sum(gap.seconds for gap in self.gaps)


def shifts(facts: Iterable[Fact]) -> tuple[Shift, ...]:
    """Return every server that rendered something, in order of its first render.

    When a render ended is taken from when it was noticed, so gaps are right to the time between two looks.
    """
    servers: dict[tuple[str, int], str] = {}
    renders: dict[str, list[tuple[float, float]]] = {}
    for fact in facts:
        if isinstance(fact, _BEGUN):
            servers[fact.job, fact.attempt] = fact.server
        elif isinstance(fact, Rendered) and fact.seconds is not None:
            where = servers.get((fact.job, fact.attempt), "?")
            renders.setdefault(where, []).append((fact.at - fact.seconds, fact.at))
    return tuple(_shift(server, spans) for server, spans in renders.items())


def _shift(server: str, spans: Sequence[tuple[float, float]]) -> Shift:
    rendered = sum(end - begin for begin, end in spans)
    return Shift(server, len(spans), rendered, tuple(sorted(_gaps(spans), key=lambda gap: -gap.seconds)))


def _gaps(spans: Sequence[tuple[float, float]]) -> Iterable[Gap]:
    ordered = sorted(spans)
    until = ordered[0][1]
    for begin, end in ordered[1:]:
        if begin - until >= NOTICED:
            yield Gap(until, begin - until)
        until = max(until, end)
