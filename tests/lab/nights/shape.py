"""The shape of a seed's night: how many servers, of what kind, and the batch they are given."""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import TYPE_CHECKING

from tests.lab import faults
from tests.lab.faults import Fault, Where
from tests.lab.nights.batch import PROMPTS
from tests.lab.nights.plan import Axes, Host, Plan

if TYPE_CHECKING:
    from tests.lab.faults import Script

_HOURS_PER_JOB = 0.12
_HOURS = 0.5
_SERVERS = ((1, 2, 3), (6, 3, 1))
"""How many, and how often each."""
_OLD = 0.08
"""The share of servers that choose prompt ids themselves."""
_NEW = 0.5
"""The share of the others that have a jobs API."""
_MOST_SKEW = 3600.0
_SPEEDS = (1.0, 2.0)
_SIZES = ("384x256", "512x320", "sd", "720p")
_QUALITIES = ("fast", "high")
_CLIPS = ((1,), (1,), (1,), (2,), (1, 2))
_ENCODE = (1.0, 30.0, 300.0)
_ORDERS = ("breadth", "auto", "grouped", "shuffle", "cheap")
_ONE_KIND = 0.3
"""The share of batches whose jobs differ in nothing but their seeds."""
_SAVES = (1,) * 9 + (2,)
_WITH_PICTURES, _MOST_PICTURES = 1 / 3, 4
"""The share of batches with input files, and how many of them at most."""
_STRANGERS = 0.3
"""The share of those in which others' files lie under their names."""
_GONE = 0.25
"""The share of nights with several servers in which at least one of them is gone for good."""
_MOVES = 0.1
"""The share of nights in which a server comes back at another address."""
_FIREWALL = 0.15
"""The share of nights with several prompts in which a firewall dislikes one."""
_DENIED_AT_MOST = 2
"""Jobs that a firewall may keep out for good: three alike are the server's trouble, not theirs."""
_FIREWALL_FOR = (300.0, 1800.0)


def drawn(seed: int, jobs: int) -> Plan:
    """Return the plan of a seed: the same every time. The added faults come on top of everything else."""
    dice = Random(f"{seed}/shape")  # noqa: S311 - a replay, no secret
    hours = _HOURS + jobs * _HOURS_PER_JOB
    count = dice.choices(*_SERVERS)[0]
    plan = Plan(
        seed,
        jobs,
        faults.basic_faults(seed, hours),
        hosts=tuple(_host(dice, hours if number else 0.0) for number in range(count)),
        axes=_axes(dice),
    )
    plan = _with_pictures(_with_added_faults(plan, hours), hours)
    return _with_jobs_api(_with_slow_encoders(plan), hours)


def _with_jobs_api(plan: Plan, hours: float) -> Plan:
    """Return the same night with a jobs API on half the servers, and with what goes wrong with that."""
    dice = Random(f"{plan.seed}/jobs")  # noqa: S311 - a replay, no secret
    hosts = []
    for host in plan.hosts:
        new, script = dice.random() < _NEW and not host.own_ids, faults.jobs_faults(dice.getrandbits(64), hours)
        hosts.append(replace(host, jobs_api=new, script=(*host.script, *script)) if new else host)
    return replace(plan, hosts=tuple(hosts))


def _with_pictures(plan: Plan, hours: float) -> Plan:
    """Return the same night, in one of three with input files, and with what goes wrong with those."""
    dice = Random(f"{plan.seed}/pictures")  # noqa: S311 - a replay, no secret
    if dice.random() >= _WITH_PICTURES:
        return plan
    pictures = dice.randint(1, _MOST_PICTURES)
    hosts = [
        replace(host, script=(*host.script, *faults.upload_faults(dice.getrandbits(64), hours))) for host in plan.hosts
    ]
    strangers = dice.random() < _STRANGERS
    axes = replace(plan.axes, pictures=pictures)
    return replace(plan, hosts=tuple(hosts), axes=axes, strangers=strangers)


def _with_added_faults(plan: Plan, hours: float) -> Plan:
    """Return the same night with the added kinds of faults in it."""
    dice = Random(f"{plan.seed}/new shape")  # noqa: S311 - a replay, no secret
    scripts = [faults.added_faults(dice.getrandbits(64), hours) for _ in plan.hosts]
    numbers = dice.sample(range(len(plan.hosts)), len(plan.hosts))
    lost = dice.randint(1, len(numbers) - 1) if len(numbers) > 1 and dice.random() < _GONE else 0
    for number in numbers[:lost]:
        scripts[number] += (Fault("gone-for-good", _moment(dice, hours), how=dice.choice(("refused", "page"))),)
    if dice.random() < _MOVES:
        at, told = _moment(dice, hours), round(dice.uniform(10.0, 900.0), 3)
        scripts[numbers[-1]] += (Fault("moves", at, lasts=told),)
    if plan.axes.prompts > 1 and dice.random() < _FIREWALL:
        few = plan.jobs <= _DENIED_AT_MOST * plan.axes.prompts
        lasts = 0.0 if few else round(dice.uniform(*_FIREWALL_FOR), 3)
        text = PROMPTS[dice.randrange(plan.axes.prompts)]
        firewall = Fault("firewall", 0.0 if few else _moment(dice, hours), lasts=lasts, text=text)
        behind = numbers if dice.random() < 0.5 else numbers[-1:]
        scripts = [(*script, firewall) if number in behind else script for number, script in enumerate(scripts)]
    hosts = [replace(host, script=(*host.script, *new)) for host, new in zip(plan.hosts, scripts, strict=True)]
    return replace(plan, hosts=tuple(hosts))


def _moment(dice: Random, hours: float) -> float:
    return round(dice.uniform(0.0, hours * 3600), 3)


def _host(dice: Random, hours: float) -> Host:
    """Return a server, with faults of its own for so many hours."""
    return Host(
        script=_of_server(faults.basic_faults(dice.getrandbits(64), hours)),
        own_ids=dice.random() < _OLD,
        skew=dice.choice((0.0, dice.uniform(-_MOST_SKEW, _MOST_SKEW))),
        speed=dice.uniform(*_SPEEDS),
    )


def _with_slow_encoders(plan: Plan) -> Plan:
    """Return the same night, on servers on which another prompt may cost up to half a job, where that is learned."""
    if plan.axes.order != "auto":
        return plan
    dice = Random(f"{plan.seed}/encoders")  # noqa: S311 - a replay, no secret
    return replace(plan, hosts=tuple(replace(host, encode=dice.choice(_ENCODE)) for host in plan.hosts))


def _of_server(script: Script) -> Script:
    """Leave out what happens to the runner: there is only one."""
    return tuple(fault for fault in script if fault.kind.where is not Where.RUNNER)


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
