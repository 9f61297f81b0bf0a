"""The shape of a seed's night: how many servers, of what kind, and the batch they are given."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from tests.lab import mishaps
from tests.lab.mishaps import Where
from tests.lab.nights.batch import PROMPTS
from tests.lab.nights.plan import Axes, Host, Plan

if TYPE_CHECKING:
    from tests.lab.mishaps import Script

_HOURS_PER_JOB = 0.12
_HOURS = 0.5
_SERVERS = ((1, 2, 3), (6, 3, 1))
"""How many, and how often each."""
_OLD = 0.08
"""The share of servers that choose prompt ids themselves."""
_MOST_SKEW = 3600.0
_SPEEDS = (1.0, 2.0)
_SIZES = ("384x256", "512x320", "sd", "720p")
_QUALITIES = ("fast", "high")
_CLIPS = ((1,), (1,), (1,), (2,), (1, 2))
_ORDERS = ("breadth", "listed", "grouped", "shuffle", "cheap")
_ONE_KIND = 0.3
"""The share of batches whose jobs differ in nothing but their seeds."""
_SAVES = (1,) * 9 + (2,)


def drawn(seed: int, jobs: int) -> Plan:
    """Return the plan of a seed: the same every time."""
    dice = Random(f"{seed}/shape")  # noqa: S311 - a replay, no secret
    hours = _HOURS + jobs * _HOURS_PER_JOB
    count = dice.choices(*_SERVERS)[0]
    return Plan(
        seed,
        jobs,
        mishaps.night(seed, hours),
        hosts=tuple(_host(dice, hours if number else 0.0) for number in range(count)),
        axes=_axes(dice),
    )


def _host(dice: Random, hours: float) -> Host:
    """Return a server, with mishaps of its own for so many hours."""
    return Host(
        script=_of_server(mishaps.night(dice.getrandbits(64), hours)),
        own_ids=dice.random() < _OLD,
        skew=dice.choice((0.0, dice.uniform(-_MOST_SKEW, _MOST_SKEW))),
        speed=dice.uniform(*_SPEEDS),
    )


def _of_server(script: Script) -> Script:
    """Leave out what happens to the runner: there is only one."""
    return tuple(mishap for mishap in script if mishap.kind.where is not Where.RUNNER)


def _axes(dice: Random) -> Axes:
    """Return what the jobs differ in: nothing but seeds, or some of everything."""
    if dice.random() < _ONE_KIND:
        return Axes()
    return Axes(
        prompts=dice.randint(1, len(PROMPTS)),
        sizes=tuple(dice.sample(_SIZES, dice.randint(1, 2))),
        qualities=tuple(dice.sample(_QUALITIES, dice.choice((1, 1, 2)))),
        clips=dice.choice(_CLIPS),
        order=dice.choice(_ORDERS),
        saves=dice.choice(_SAVES),
    )
