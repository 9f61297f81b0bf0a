"""The shape of a seed's night: how many servers, of what kind, and the batch they are given."""

from __future__ import annotations

import json
from math import ceil
from random import Random
from typing import TYPE_CHECKING

from batchrunner.nights.plan import Axes, Host, Plan, url_of
from batchrunner.sim import mishaps
from batchrunner.sim.mishaps import Where

if TYPE_CHECKING:
    from batchrunner.sim.mishaps import Script

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
_PROMPTS = ("A cat playing piano", "A dog on the moon", "Rain on a roof: slow, steady", 'A "quoted" wish & 50 % more')
_ONE_KIND = 0.3
"""The share of batches whose jobs differ in nothing but their seeds."""
_MANIFEST = """
name: night
server: [{servers}]
workflow: ltx2
defaults: {{length: 121, negative: blurry}}
order: {order}
sample: {{count: {jobs}, seed: {seed}}}
sweep:
  - prompt: {prompts}
    size: [{sizes}]
    quality: [{qualities}]
    batch_size: [{clips}]
    seed: {{count: {seeds}, base: {seed}}}
"""


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
    """Return one to eight kinds of jobs."""
    if dice.random() < _ONE_KIND:
        return Axes()
    return Axes(
        prompts=dice.randint(1, len(_PROMPTS)),
        sizes=tuple(dice.sample(_SIZES, dice.randint(1, 2))),
        qualities=tuple(dice.sample(_QUALITIES, dice.choice((1, 1, 2)))),
        clips=dice.choice(_CLIPS),
        order=dice.choice(_ORDERS),
    )


def manifest(plan: Plan) -> str:
    """Return the manifest of a plan: exactly so many jobs, of every kind that it asks for if there are enough."""
    axes = plan.axes
    return _MANIFEST.format(
        servers=", ".join(map(url_of, plan.servers())),
        jobs=plan.jobs,
        order=axes.order,
        prompts=json.dumps(_PROMPTS[: axes.prompts]),
        sizes=", ".join(axes.sizes),
        qualities=", ".join(axes.qualities),
        clips=", ".join(map(str, axes.clips)),
        seeds=ceil(plan.jobs / axes.kinds),
        seed=plan.seed,
    )
