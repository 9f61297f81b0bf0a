"""What the end of a simulated night shows: every job settled, every file whole and ours."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING

from batchrunner.core.facts import Claimed, Lost, Saved
from batchrunner.core.job import INPUTS, parse_prefix
from batchrunner.core.lifecycle import Done, Failed, State, folded
from batchrunner.download import verify as media
from batchrunner.ledger import Ledger
from batchrunner.sim.record import What
from tests.lab.broken import BLOCKED
from tests.lab.clock import EPOCH
from tests.lab.nights.invariants import STUCK_AT_LEAST

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.lab.nights.place import Place
    from tests.lab.nights.world import World

_NOTICES_WITHIN = 600.0
"""Seconds within which an interrupt is sent and heard."""
_ENOUGH_RENDERS, _TIMES, _BAND = 3, 3.0, 2.0
"""Renders of its kind before a prompt is stuck; how many times the upper end of its forecast; that end at most."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of one night."""

    seed: int
    done: int
    failed: int
    exits: tuple[int, ...]
    """How each life of the runner ended; -9 is a kill."""
    faults: Counter[str]
    renders: int
    duplicates: int
    given_up_doubles: int
    """Prompts that were accepted while a server that had been given up still had the same job."""
    unasked_doubles: int
    """Jobs that were claimed again because a lost ledger's server could not be asked."""
    hours: float
    servers: int
    old: int
    """Servers that choose prompt ids themselves."""
    kinds: int
    """Kinds of jobs, seeds apart."""
    files: int
    """Files of a job."""
    digest: str
    """Over everything that happened, every fact and every file."""
    broken: tuple[str, ...]
    """Promises that were not kept, each as `SECONDS PROMISE …`; empty is what is expected."""

    def with_broken(self, message: str) -> Outcome:
        """Return the same outcome with one more broken promise."""
        return replace(self, broken=(*self.broken, f"{self.hours * 3600:.3f} {message}"))


def outcome_of(world: World) -> Outcome:
    """Judge a night that is over."""
    invariants, states = world.invariants, _states(world.home)
    at_end = (
        *_settled(world, states),
        *_denied(world, states),
        *_hung(world),
        *_files(world, states),
        *_renders(world),
        *_attempts(world),
    )
    broken = (*invariants.broken, *(f"{world.loop.now:.3f} {message}" for message in at_end))
    return Outcome(
        seed=world.plan.seed,
        done=sum(isinstance(state, Done) for state in states.values()),
        failed=sum(isinstance(state, Failed) for state in states.values()),
        exits=tuple(world.exits),
        faults=Counter(fault.do for place in world.places for _, fault in place.injector.happened),
        renders=sum(len(place.sim.record.of(What.RENDERED)) for place in world.places),
        duplicates=invariants.duplicates,
        given_up_doubles=invariants.given_up_doubles,
        unasked_doubles=invariants.unasked_doubles,
        hours=world.loop.now / 3600,
        servers=len(world.plan.hosts),
        old=sum(host.own_ids for host in world.plan.hosts),
        kinds=world.plan.axes.kinds,
        files=world.plan.axes.saves,
        digest=_digest(world),
        broken=broken,
    )


def _states(home: Path) -> dict[str, State]:
    snapshot = Ledger.read(home)
    return folded(snapshot.jobs, snapshot.facts) if snapshot else {}


def _settled(world: World, states: dict[str, State]) -> Iterator[str]:
    """P5: every job is done with its files or failed with evidence, and the exit code agrees."""
    failed, home = 0, Counter(world.invariants.jobs_at_home())
    complete = {job for (job, _), count in home.items() if count >= world.plan.axes.saves}
    for job in world.batch.jobs:
        state = states.get(job.id)
        whole = isinstance(state, Done) and job.id in complete
        if not whole and not (isinstance(state, Failed) and state.message):
            yield f"P5 {job.id} ends as {state}"
        failed += isinstance(state, Failed)
    if world.exits[-1] != (1 if failed else 0):
        yield f"P5 exit {world.exits[-1]} with {failed} failed"


def _denied(world: World, states: dict[str, State]) -> Iterator[str]:
    """P5: a job that a firewall kept out everywhere and always fails with the title of the firewall's page."""
    posted = {event.prefix for place in world.places for event in place.sim.record.of(What.POSTED)}
    accepted = {match[0] for prefix in posted if (match := parse_prefix(world.batch.name, prefix))}
    for job in sorted(world.invariants.blocked() - accepted):
        state = states.get(job)
        if not isinstance(state, Failed) or BLOCKED not in state.message:
            yield f"P5 {job} was never let in and ends as {state}"


def _hung(world: World) -> Iterator[str]:
    """P16: a prompt of ours that hangs is interrupted in good time, as long as a runner lives that hears of it."""
    for place in world.places:
        for hung in place.injector.hung:
            ours = parse_prefix(world.batch.name, hung.prefix)
            if ours is None or hung.deaf:
                continue
            limit = _may_hang(world, place, ours[0], hung.began)
            over = place.gone_at if hung.ended is None else hung.ended
            for life in world.invariants.lives:
                since = max(hung.began, life.began)
                until = min(world.loop.now if at is None else at for at in (over, life.ended))
                away = sum(
                    max(0.0, min(end, until) - max(at, since))
                    for at, end, fault in place.injector.windows()
                    if fault.do != "hang"
                )
                if until - since > limit + away + _NOTICES_WITHIN:
                    yield f"P16 {hung.prefix} hung for {until - since:.0f} s in one life; {limit:.0f} were enough"


def _may_hang(world: World, place: Place, job: str, before: float) -> float:
    """Return how long a prompt may run: the longer, the longer those of its kind took; without three of them, long."""
    costs = {job.id: job.cost for job in world.batch.jobs}
    began = {event.prompt_id: event.at for event in place.sim.record.of(What.STARTED)}
    took = [
        event.at - began[event.prompt_id]
        for event in place.sim.record.of(What.RENDERED)
        if (match := parse_prefix(world.batch.name, event.prefix)) and costs.get(match[0]) == costs.get(job)
        if event.at - EPOCH - place.host.skew < before
    ]
    if len(took) < _ENOUGH_RENDERS:
        return world.batch.rules.patience
    return max(STUCK_AT_LEAST, _TIMES * _BAND * max(took))


def _files(world: World, states: dict[str, State]) -> Iterator[str]:
    """P5, P7, P11, P18: what was ever called saved lies there unchanged, and is its job's own."""
    renders = {job.id: world.batch.renders(job) for job in world.batch.jobs}
    for job, state in states.items():
        for saved in state.files if isinstance(state, Done) else ():
            seen = media.inspect(world.home / saved.path) if (world.home / saved.path).is_file() else None
            if seen and seen.digest != renders[job]:
                yield f"P18 {job} has {saved.path}, whose workflow is another's"
            prefixes = seen.prefixes or () if seen else ()
            if not any((ours := parse_prefix(world.batch.name, prefix)) and ours[0] == job for prefix in prefixes):
                yield f"P7 {job} has {saved.path}, which carries {prefixes}"
    for _, fact in world.invariants.facts:
        if isinstance(fact, Saved):
            path = world.home / fact.path
            if not path.is_file() or sha256(path.read_bytes()).hexdigest() != fact.sha256:
                yield f"P11 {fact.path} was saved and is not there any more"
    yield from (f"P6 {path.name} is left" for path in sorted(world.home.rglob("*.part")))


def _renders(world: World) -> Iterator[str]:
    """P1: no attempt is rendered twice, wherever, but for a duplicate or a repeated claim."""
    records = (place.sim.record.of(What.RENDERED) for place in world.places)
    rendered = Counter(event.prefix for record in records for event in record)
    claimed = Counter(fact.prefix for _, fact in world.invariants.facts if isinstance(fact, Claimed))
    for prefix, times in rendered.items():
        if times > max(1, claimed[prefix]) + world.invariants.duplicates and parse_prefix(world.batch.name, prefix):
            yield f"P1 {prefix} was rendered {times} times"


def _attempts(world: World) -> Iterator[str]:
    """P1: no job burns more attempts than the rules give it; a ledger that was lost took its count along."""
    burnt = {(fact.job, fact.attempt) for _, fact in world.invariants.facts if isinstance(fact, Lost) and fact.burns}
    for job, times in Counter(job for job, _ in sorted(burnt)).items():
        if times > world.batch.rules.attempts and "lose-state" not in world.invariants.happened:
            yield f"P1 {job} was tried {times} times"


def _digest(world: World) -> str:
    """P14: two runs of one seed are the same to the byte."""
    digest = sha256(world.loop.trace.digest().encode())
    for path in sorted(world.home.rglob("*")):
        if path.is_file() and path.suffix in (".mp4", ".json") and path.parent.name != INPUTS:
            digest.update(path.relative_to(world.home).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()
