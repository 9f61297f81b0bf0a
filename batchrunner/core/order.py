"""`order: auto`: which waiting job a server gets next: changes of prompt cost little, and a short night is useful.

A server keeps the results of the last prompt (docs/comfyui.md §10), so a job whose costly inputs (model, prompt) are
those of the job before has less to do. Jobs with the same costly inputs are a *group*. What a change of group costs is
learned on each server from renders with and without one (`speed.Change`):

* not known yet: runs of two jobs of a group, for a run has one render of each sort;
* more than 5 % of a job: runs so long that changes add about 2 % to what the jobs take without them, in turn over the
  groups that differ least from the last one (a model is changed when nothing else waits for it);
* less: the run order of the batch, which has every prompt once before any twice. One run in eight is still a pair,
  until the evidence is good.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, MutableMapping, Sequence

    from batchrunner.core.board import Board
    from batchrunner.core.speed import Change

Group: TypeAlias = "tuple[int, ...]"
"""What a job's costly nodes take, a number for each; equal numbers are equal values."""

PAYS = 0.05
"""The share of a job from which a change is worth avoiding."""
_OVERHEAD = 0.02
"""What changes may add where they are avoided."""
_GOOD_EVIDENCE = 4.0
"""`Change.weight` of eight pairs of renders."""
_DECIDING = 2.0
"""`Change.weight` from which an estimate is followed, however much in doubt."""
_PAIR_EVERY = 8
_AHEAD = 200
"""How many waiting jobs are looked through for the group that differs least from the last one."""


@dataclass(frozen=True, slots=True)
class Groups:
    """The groups of a batch's jobs; a job that is in none changes nothing and is changed by nothing."""

    of: Mapping[str, Group] = field(default_factory=dict)
    auto: bool = False
    """Whether servers choose by them; else jobs go out in run order."""
    listed: float = 0.0
    """The share of the jobs that follow a change in run order."""
    fewest: float = 0.0
    """The same where the jobs of each group follow one another."""

    @classmethod
    def of_jobs(cls, of: Mapping[str, Group], *, auto: bool) -> Groups:
        """Return the groups of jobs in run order. Where all jobs are alike, or no two, there is nothing to choose."""
        groups = list(of.values())
        changes = sum(one != other for one, other in pairwise(groups))
        number = len(set(groups))
        most = max(1, len(groups) - 1)
        return cls(of, auto and 1 < number < len(groups), changes / most, max(0, number - 1) / most)


@dataclass(frozen=True, slots=True)
class Turn:
    """The jobs of one group that a server was given in a row, the last ones."""

    group: Group | None = None
    length: int = 0
    number: int = 0
    """Which run of the server it is."""

    def given(self, group: Group | None) -> Turn:
        """Return the turn after one more job."""
        if group == self.group:
            return Turn(group, self.length + 1, self.number)
        return Turn(group, 1, self.number + 1)


def run_length(change: Change, number: int) -> float:
    """Return how many jobs of a group should follow one another in a server's run of this number."""
    if not change.weight:
        return 2
    extra, doubt = change.seconds / change.job, change.doubt / change.job
    if extra - doubt > PAYS or (change.weight >= _DECIDING and extra > PAYS):
        return max(2, ceil(extra / _OVERHEAD))
    undecided = extra + doubt > PAYS and change.weight < _DECIDING
    exploring = extra + 2 * doubt > PAYS and change.weight < _GOOD_EVIDENCE and number % _PAIR_EVERY == 0
    return 2 if undecided or exploring else 1


def change_share(groups: Groups, change: Change) -> float:
    """Return the share of the jobs to come that a server begins with a change."""
    length = run_length(change, 1) if groups.auto else 1
    return max(1 / length, groups.fewest) if length > 1 else groups.listed


def saving(groups: Groups, change: Change) -> float | None:
    """Return the share of the time that choosing by groups saves against run order; None while it is not known."""
    if not change.weight or not groups.auto:
        return None
    extra = change.seconds / change.job
    return extra * max(0.0, groups.listed - change_share(groups, change)) / (1 + extra * groups.listed)


def offers(
    board: Board, room: MutableMapping[str, int], ahead: int, now: float
) -> Iterator[tuple[str, Collection[str]]]:
    """Yield the next jobs to submit, each with the servers that may get it.

    Whoever takes one counts it in `room`; a job that its server does not take is offered to the next one.
    """
    if not board.groups.auto:
        yield from ((job, room) for job in board.next_jobs(ahead, now))
        return
    if not any(room.values()):
        return
    jobs = board.next_jobs(max(ahead, _AHEAD), now)
    found = (board.groups.of.get(job) for job in jobs[:_AHEAD])
    groups = dict.fromkeys(group for group in found if group is not None)
    next_up = _NextUp(jobs[:ahead], tuple(groups), {turn.group for turn in board.turns.values()})
    lists = {name: _choices(board, name, next_up, room[name], now) for name in room}
    taken: set[str] = set()
    while lists:
        name = max(lists, key=room.__getitem__)
        left = room[name]
        for job in lists[name] if left > 0 else ():
            if job not in taken:
                yield job, (name,)
                if room[name] < left:
                    taken.add(job)
                    break
        else:
            del lists[name]


@dataclass(frozen=True, slots=True)
class _NextUp:
    """What is the same for all servers, and looked up once for them."""

    jobs: Sequence[str]
    """The next ones, in run order."""
    groups: Sequence[Group]
    """Those of the next jobs."""
    busy: set[Group | None]
    """The groups of all servers' runs; those of runs that begin are added."""


def _choices(board: Board, name: str, next_up: _NextUp, room: int, now: float) -> Iterator[str]:
    """Yield the jobs for one server: what belongs to its run, what new runs begin with, then any, in run order.

    There are as many new runs as the server has `room`.
    """
    turn, change = board.turns.get(name, Turn()), board.forecast.change(name)
    seen = {turn.group}
    for _ in range(room + 1):
        left = run_length(change, turn.number) - turn.length
        if turn.group is not None and left > 0:
            yield from board.next_jobs(int(min(left, len(next_up.jobs))), now, turn.group)
        if run_length(change, turn.number + 1) == 1:
            break
        group = _next_group(next_up, turn)
        if group is None or group in seen:
            break
        next_up.busy.add(group)
        seen.add(group)
        turn = Turn(group, 0, turn.number + 1)
    yield from next_up.jobs


def _next_group(next_up: _NextUp, turn: Turn) -> Group | None:
    """Return the group of the next run: the one least unlike the last, that no other run is at, first in order."""
    last = turn.group or ()

    def unlike(group: Group) -> tuple[int, bool]:
        return sum(one != other for one, other in zip(group, last, strict=False)), group in next_up.busy

    return min((group for group in next_up.groups if group != turn.group), key=unlike, default=None)
