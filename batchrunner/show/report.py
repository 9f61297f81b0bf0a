"""The morning's report: what is done, what failed and why, where the night went, and what to type next.

One fold of the facts, told three ways: `report.md`, a few lines at the end of `run`, and a section of the page.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batchrunner.core.facts import Lost, Rendered, Why
from batchrunner.core.lifecycle import Done, Failed, Fetching, Unwanted, Waiting
from batchrunner.show.shifts import Shift, shifts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchrunner.core.facts import Fact
    from batchrunner.core.job import Job
    from batchrunner.core.lifecycle import State

_SLOWEST = 5

REASONS: Mapping[Why, str] = {
    Why.REFUSED: "the server refused the workflow",
    Why.ERROR: "a node raised an error",
    Why.INTERRUPTED: "somebody interrupted it on the server",
    Why.FORGOTTEN: "the server forgot it (a restart, or a cleared queue)",
    Why.EXPIRED: "its file was cleaned up before it was home",
    Why.FOREIGN: "the server answered with another job's file",
    Why.UNUSABLE: "its file could not be used",
    Why.WITHDRAWN: "it was taken back from the server",
    Why.DENIED: "something before the server refuses this prompt",
    Why.STUCK: "it ran far longer than it should and was interrupted",
    Why.SERVER_GONE: "its server was given up",
}
"""Why an attempt brought nothing, in words."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Everything that ended in the same way."""

    why: Why
    count: int
    job: str
    """Local name of one of them."""
    says: str
    """The server's own words about that one."""


@dataclass(frozen=True, slots=True)
class Slow:
    """A job that took long."""

    job: str
    """Its local name."""
    seconds: float


@dataclass(frozen=True, slots=True)
class Around:
    """What the facts do not say."""

    manifest: str = ""
    """As it was given on the command line, for the commands at the end."""
    folder: str = ""
    """The batch folder, as people find it."""
    expected: float | None = None
    """How long it all was to take, said at the beginning, in seconds."""
    ends: tuple[float, float] | None = None
    """When the run being reported began and ended, seconds since the epoch; else the facts tell."""


@dataclass(frozen=True, slots=True)
class Report:
    """A batch, looked back on. Times in seconds, clock times since the epoch."""

    batch: str
    total: int
    done: int
    failed: int
    began: float | None
    """When the first fact was noted."""
    ended: float | None
    shifts: tuple[Shift, ...]
    """What every server did for us."""
    failures: tuple[Reason, ...]
    """Most frequent first."""
    again: tuple[Reason, ...]
    """Attempts that were lost and followed by another, most frequent first."""
    wasted: float
    """Seconds rendered for files that never came home."""
    slowest: tuple[Slow, ...]
    size: int
    """Bytes of all files at home."""
    differing: tuple[str, ...]
    """Local names of jobs whose files carry another workflow than the one that was sent."""
    around: Around = field(default_factory=Around)

    @property
    def left(self) -> int:
        """Jobs neither done nor failed."""
        return self.total - self.done - self.failed

    @property
    def wall(self) -> float:
        """How long it took, from the first fact to the last."""
        return 0.0 if self.began is None or self.ended is None else max(0.0, self.ended - self.began)

    @property
    def rendered(self) -> float:
        """How long the servers rendered for us, all together."""
        return sum(shift.rendered for shift in self.shifts)


def report(
    batch: str, jobs: Sequence[Job], states: Mapping[str, State], facts: Sequence[Fact], around: Around | None = None
) -> Report:
    """Return the report on `jobs`; `facts` are all of the batch, oldest first."""
    around = around or Around()
    states = {job.id: states.get(job.id, Waiting()) for job in jobs}
    states = {name: state for name, state in states.items() if not isinstance(state, Unwanted)}
    names = {job.id: job.file for job in jobs}
    times = around.ends or ((facts[0].at, facts[-1].at) if facts else (None, None))
    kept = {name: state.prompt.attempt for name, state in states.items() if isinstance(state, Done | Fetching)}
    renders = [fact for fact in facts if isinstance(fact, Rendered)]
    timed = [fact for fact in renders if fact.seconds is not None]
    return Report(
        batch=batch,
        total=len(states),
        done=sum(isinstance(state, Done) for state in states.values()),
        failed=sum(isinstance(state, Failed) for state in states.values()),
        began=times[0],
        ended=times[1],
        shifts=shifts(facts),
        failures=_failures(states, names),
        again=_again(facts, names),
        wasted=sum(fact.seconds or 0.0 for fact in timed if kept.get(fact.job) != fact.attempt),
        slowest=_slowest(timed, kept, names),
        size=sum(file.size for state in states.values() if isinstance(state, Done) for file in state.files),
        differing=tuple(names[one.job] for one in renders if one.differs and kept.get(one.job) == one.attempt),
        around=around,
    )


def _failures(states: Mapping[str, State], names: Mapping[str, str]) -> tuple[Reason, ...]:
    return _reasons([(state.why, names[job], state.says) for job, state in states.items() if isinstance(state, Failed)])


def _again(facts: Sequence[Fact], names: Mapping[str, str]) -> tuple[Reason, ...]:
    lost = [fact for fact in facts if isinstance(fact, Lost) and not fact.final and fact.why is not Why.WITHDRAWN]
    return _reasons([(fact.why, names.get(fact.job, fact.job), fact.says) for fact in lost])


def _reasons(found: Sequence[tuple[Why, str, str]]) -> tuple[Reason, ...]:
    first = {why: (job, says) for why, job, says in reversed(found)}
    return tuple(Reason(why, count, *first[why]) for why, count in Counter(why for why, _, _ in found).most_common())


def _slowest(renders: Sequence[Rendered], kept: Mapping[str, int], names: Mapping[str, str]) -> tuple[Slow, ...]:
    """Return the slowest renders whose files are home, or on their way; equal ones by name."""
    found = [Slow(names[fact.job], fact.seconds or 0.0) for fact in renders if kept.get(fact.job) == fact.attempt]
    return tuple(sorted(found, key=lambda slow: (-slow.seconds, slow.job))[:_SLOWEST])
