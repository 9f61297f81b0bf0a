"""`order: auto`: what a server gets next, by what a change of prompt is learned to cost there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise
from random import Random
from time import process_time
from typing import TYPE_CHECKING

import pytest
from boards import AT, RULES, UNAVAILABLE, A, B, note, row, stranger, take_poll

from batchrunner.core.actions import Submit
from batchrunner.core.board import Board
from batchrunner.core.facts import Accepted, Claimed, File, Lost, Rendered, Saved, Why
from batchrunner.core.job import file_prefix, prompt_id
from batchrunner.core.notes import Surveyed
from batchrunner.core.order import Groups, Turn, change_share, run_length, saving
from batchrunner.core.scheduler import plan
from batchrunner.core.speed import Change

if TYPE_CHECKING:
    from batchrunner.core.facts import Fact
    from batchrunner.core.settings import Rules

JOB = 300.0
COST = 20.0


def batch(prompts: int, seeds: int, *, auto: bool = True) -> dict[str, tuple[int, ...]]:
    """Return the group of every job, in breadth's order."""
    return {f"{seed:06x}{prompt:06x}": (prompt,) for seed in range(seeds) for prompt in range(prompts)} if auto else {}


def board_of(
    of: dict[str, tuple[int, ...]], servers: tuple[str, ...] = (A,), *, auto: bool = True, rules: Rules = RULES
) -> Board:
    """Return a board that wants these jobs and whose servers answer."""
    board = Board("cats", rules, servers, 0.0)
    board.costs = dict.fromkeys(of, COST)
    board.groups = Groups.of_jobs(of, auto=auto)
    board.want(of, None, 0.0)
    board.imported = True
    for server in servers:
        board.apply(Surveyed(server))
        take_poll(board, server, now=0.0)
    return board


def given(board: Board, now: float, server: str = A) -> list[str]:
    """Return the jobs that a server gets now, and note that it has them."""
    jobs = [action.job for action in plan(board, now) if isinstance(action, Submit) and action.server == server]
    for job in jobs:
        attempt = board.next_attempt(job)
        prompt, prefix = prompt_id("cats", job, attempt), file_prefix("cats", job, attempt)
        facts = [
            Claimed(job, attempt, AT, prompt, prefix, server, ""),
            Accepted(job, attempt, AT, prompt, prefix, server),
        ]
        note(board, facts, now)
    return jobs


def claim(job: str) -> Claimed:
    """Return that a job is to be sent."""
    return Claimed(job, 1, AT, prompt_id("cats", job, 1), file_prefix("cats", job, 1), A, "")


def render(job: str, seconds: float) -> Rendered:
    """Return that a job was rendered."""
    return Rendered(job, 1, AT, (File(f"{file_prefix('cats', job, 1)}_00001_.mp4"),), None, seconds)


def finish(board: Board, job: str, seconds: float, now: float) -> None:
    """Note that a job was rendered and saved."""
    file = File(f"{file_prefix('cats', job, 1)}_00001_.mp4")
    note(
        board,
        [Rendered(job, 1, AT, (file,), None, seconds), Saved(job, 1, AT, file.key, f"{job}.mp4", 9, "0" * 64)],
        now,
    )


@dataclass(frozen=True)
class Night:
    """How one went."""

    seconds: float
    orders: dict[str, list[tuple[int, ...]]]
    """Per server, the groups in the order in which they were rendered."""

    @property
    def order(self) -> list[int]:
        """The first number of each group on the first server."""
        return [group[0] for group in self.orders[A]]

    @property
    def changes(self) -> list[int]:
        """Per server, how often the group changed."""
        return [sum(one != other for one, other in pairwise(order)) for order in self.orders.values()]


def night(board: Board, change: float, *, noise: float = 0.0, seed: int = 1, servers: tuple[str, ...] = (A,)) -> Night:
    """Render everything on servers that take `JOB` seconds, and `change` more after a job of another group."""
    dice = Random(seed)  # noqa: S311 - a night that repeats
    queues: dict[str, list[str]] = {server: [] for server in servers}
    ends: dict[str, float] = {}
    last: dict[str, tuple[int, ...]] = {}
    orders: dict[str, list[tuple[int, ...]]] = {server: [] for server in servers}
    took: dict[str, float] = {}
    now = 0.0
    while True:
        for server in servers:
            queues[server] += given(board, now, server)
        for server in servers:
            if server not in ends and queues[server]:
                group = board.groups.of[queues[server][0]]
                took[server] = JOB * (1 + dice.uniform(-noise, noise)) + change * (group != last.get(server))
                last[server], ends[server] = group, now + took[server]
                orders[server].append(group)
        if not ends:
            return Night(now, orders)
        server = min(ends, key=ends.__getitem__)
        now = ends.pop(server)
        finish(board, queues[server].pop(0), took[server], now)


def fixed(order: str, change: float, prompts: int, seeds: int) -> float:
    """Return what the same jobs take in a fixed order."""
    return prompts * seeds * JOB + change * (prompts if order == "grouped" else prompts * seeds)


@pytest.mark.parametrize("share", [0.3, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("seed", range(3))
def test_a_costly_change_is_avoided(share: float, seed: int) -> None:
    """Where a change costs much, `auto` takes at most 3 % more than `grouped`."""
    auto = night(board_of(batch(5, 20)), share * JOB, noise=0.03, seed=seed)
    assert auto.seconds <= 1.03 * fixed("grouped", share * JOB, 5, 20)


def test_a_cheap_change_leaves_breadth() -> None:
    """Where a change costs 1 %, breadth's order follows on the first pairs, but for a pair now and then."""
    order = night(board_of(batch(4, 25)), 0.01 * JOB).order
    assert order[:4] == [0, 0, 1, 1]
    assert order[-48:] == [0, 1, 2, 3] * 12
    for number in range(8, len(order)):
        counts = [order[:number].count(prompt) for prompt in range(4)]
        assert max(counts) - min(counts) <= 2


@pytest.mark.parametrize("share", [0.02, 0.04, 0.06, 0.08, 0.1, 0.15, 0.2])
@pytest.mark.parametrize("seed", range(8))
def test_in_between_it_is_near_the_better_of_the_two(share: float, seed: int) -> None:
    """Whatever a change costs, with renders that differ by up to 5 %, `auto` loses at most 6 % to the better order."""
    auto = night(board_of(batch(6, 12)), share * JOB, noise=0.05, seed=seed).seconds
    assert auto <= 1.06 * min(fixed(order, share * JOB, 6, 12) for order in ("grouped", "breadth"))


def test_runs_go_round_the_prompts() -> None:
    """Where a change costs a tenth, half a night has something of every prompt, in runs of a few."""
    one = night(board_of(batch(4, 25)), 0.1 * JOB)
    assert set(one.order[:40]) == {0, 1, 2, 3}
    assert one.changes[0] < 30


def test_servers_are_at_different_prompts() -> None:
    """Two servers choose different groups while there are others, and end together."""
    one = night(board_of(batch(6, 10), (A, B)), JOB, servers=(A, B))
    first = [order[0] for order in one.orders.values()]
    assert first == [(0,), (1,)]
    assert sum(one.changes) <= 9
    assert one.seconds <= 1.1 * fixed("grouped", JOB, 6, 10) / 2


def test_a_model_is_changed_when_nothing_else_waits_for_it() -> None:
    """Of the next groups the one least unlike the last comes first: the model stays, the prompt changes."""
    of = {
        f"{seed:04x}{prompt:04x}{model:04x}": (model, prompt, model * 9 + prompt)
        for seed in range(20)
        for prompt in range(3)
        for model in range(2)
    }
    order = night(board_of(of), JOB).order
    assert sum(one != other for one, other in pairwise(order)) <= 4


def test_without_groups_jobs_go_in_run_order() -> None:
    """Another order, one group, or as many as jobs: nothing is chosen, and nothing explored."""
    for of, auto in ((batch(2, 9), False), (batch(1, 18), True), (batch(18, 1), True)):
        board = board_of(of, auto=auto)
        assert not board.groups.auto
        jobs = []
        for number in range(9):
            jobs += given(board, number * JOB)
            finish(board, jobs[number], JOB, number * JOB)
        assert jobs == list(of)[: len(jobs)]
        assert saving(board.groups, board.forecast.change(A)) is None


def test_run_lengths() -> None:
    """Pairs until something is learned; long runs where it pays; one by one where not, with a pair while in doubt."""
    assert run_length(Change(), 1) == 2
    assert run_length(Change(300.0, JOB, 7.5, 0.5), 1) == 50
    assert run_length(Change(30.0, JOB, 7.5, 0.5), 1) == 5
    assert run_length(Change(16.0, JOB, 3.0, 2.0), 1) == 3
    assert run_length(Change(14.0, JOB, 7.5, 0.5), 1) == 2
    assert run_length(Change(14.0, JOB, 3.0, 2.0), 1) == 1
    assert run_length(Change(14.0, JOB, 3.0, 2.0), 8) == 2
    assert run_length(Change(14.0, JOB, 1.5, 9.0), 8) == 1
    assert run_length(Change(0.0, JOB, 1.5, 0.5), 8) == 1


def test_what_grouping_saves_is_known_once_it_is_learned() -> None:
    """A change of half a job in breadth's order costs a third of the night; most of that is spared."""
    board = board_of(batch(5, 20))
    assert saving(board.groups, board.forecast.change(A)) is None
    night(board, JOB / 2)
    assert saving(board.groups, board.forecast.change(A)) == pytest.approx(0.31, abs=0.02)


def test_a_job_that_waits_again_keeps_its_group() -> None:
    """A render that failed comes back among the jobs of its prompt, and a run goes on where it is due."""
    board = board_of(batch(3, 4))
    first = given(board, 0.0)
    note(board, [Lost(first[0], 1, AT, Why.FORGOTTEN, "gone", burns=False, final=False)], 1.0)
    assert board.groups.of[given(board, 1.0)[0]] == (1,)
    assert board.turns[A] == Turn((1,), 1, 2)


def test_a_run_is_remembered_by_the_ledger() -> None:
    """Resuming a batch goes on with the run that a server was at, and with what was learned of changes."""
    of = batch(4, 9)
    board = board_of(of)
    facts = []
    for number, job in enumerate(("000000000000", "000001000000", "000000000001", "000001000001")):
        prompt, prefix = prompt_id("cats", job, 1), file_prefix("cats", job, 1)
        file = File(f"{prefix}_00001_.mp4")
        facts += [
            Claimed(job, 1, AT, prompt, prefix, A, ""),
            Accepted(job, 1, AT, prompt, prefix, A),
            Rendered(job, 1, AT, (file,), None, JOB * (1.0 if number % 2 else 1.5)),
            Saved(job, 1, AT, file.key, f"{job}.mp4", 9, "0" * 64),
        ]
    again = Board("cats", RULES, (A,), 0.0)
    again.costs, again.groups = board.costs, board.groups
    again.load(of, facts, 0.0)
    assert again.turns[A] == Turn((1,), 2, 2)
    assert again.forecast.change(A).seconds == pytest.approx(JOB / 2)


def test_a_render_after_a_start_teaches_no_change() -> None:
    """What a server loads again, after it was started or between two runs, is no render without a change."""
    of = batch(2, 9)
    jobs = [f"{seed:06x}{prompt:06x}" for seed in range(3) for prompt in (0, 1)]
    again = Board("cats", RULES, (A,), 0.0)
    again.costs, again.groups = dict.fromkeys(of, COST), Groups.of_jobs(of, auto=True)
    facts: list[Fact] = []
    for job in jobs[:2]:
        facts += [claim(job), render(job, JOB)]
    again.load(of, facts, 0.0)
    again.want(of, None, 0.0)
    note(again, [claim(jobs[3])], 1.0)
    note(again, [render(jobs[3], 2 * JOB)], 2.0)
    assert again.forecast.change(A).weight == 0
    again.servers[A].memory = replace(again.servers[A].memory, restarted_at=3.0)
    note(again, [claim(jobs[5])], 4.0)
    note(again, [render(jobs[5], 2 * JOB)], 5.0)
    assert again.forecast.change(A).weight == 0


def test_a_render_after_somebody_elses_teaches_no_change() -> None:
    """What a stranger's prompt threw out of the server's memory is no cost of our change."""
    board = board_of(batch(3, 4))
    one, two = given(board, 0.0)
    take_poll(board, queue=[row(one, running=True), row(two)], now=1.0)
    finish(board, one, JOB, JOB)
    take_poll(board, queue=[stranger(running=True), row(two)], now=JOB + 1)
    finish(board, two, 2 * JOB, 10 * JOB)
    third = given(board, 10 * JOB)[0]
    finish(board, third, 1.5 * JOB, 11.5 * JOB)
    assert board.forecast.change(A).weight == 0


def test_a_job_that_one_server_does_not_take_goes_to_another() -> None:
    """A job that does not fit on a server before the run is to end is left to the next one, and others go first."""
    board = board_of(batch(2, 4), (A, B))
    for _ in range(9):
        board.forecast.learn(A, COST, 900.0)
        board.forecast.learn(B, COST, 100.0)
    board.until = 500.0
    assert given(board, 0.0) == []
    assert len(given(board, 0.0, B)) == 2


def test_a_job_is_given_once() -> None:
    """The last job of a run is not offered to the same server again, though it stands in the run order too."""
    board = board_of(batch(2, 2))
    for number, job in enumerate(given(board, 0.0)):
        finish(board, job, JOB, number * JOB + 1)
    third = given(board, 3 * JOB)
    assert len(third) == 2
    note(board, [Lost(third[0], 1, AT, Why.FORGOTTEN, "gone", burns=False, final=False)], 3 * JOB)
    finish(board, third[1], JOB, 4 * JOB)
    assert [action.job for action in plan(board, 5 * JOB) if isinstance(action, Submit)] == [third[0]]


def test_servers_where_changes_cost_nothing_share_the_run_order() -> None:
    """Two servers with room at the same time get the next jobs in run order, each job once."""
    of = batch(3, 4)
    board = board_of(of, (A, B))
    for server in (A, B):
        for changed in (True, False) * 8:
            board.forecast.learn(server, COST, JOB, changed=changed)
    assert [action.job for action in plan(board, 1.0) if isinstance(action, Submit)] == list(of)[:4]


def test_servers_that_share_a_prompt_are_given_each_job_once() -> None:
    """Where fewer prompts wait than there are servers, the second one is given what the first one was not."""
    board = board_of({"a": (0,), "b": (0,), "c": (0,), "d": (1,)}, (A, B), rules=replace(RULES, depth=3, max_depth=3))
    sent = [action.job for action in plan(board, 0.0) if isinstance(action, Submit)]
    assert sorted(sent) == ["a", "b", "c", "d"]


def test_a_deep_queue_holds_several_runs() -> None:
    """Where a server may hold more prompts than a run is long, the next run begins behind it."""
    board = board_of(batch(3, 4), rules=replace(RULES, depth=6, max_depth=6))
    assert [board.groups.of[job] for job in given(board, 0.0)] == [(0,), (0,), (1,), (1,), (2,), (2,)]


def test_groups_of_jobs() -> None:
    """Two prompts with two jobs each are enough to choose from; the share of changes counts in run order."""
    two = Groups.of_jobs({"a": (0,), "b": (0,), "c": (1,), "d": (1,)}, auto=True)
    assert two.auto
    assert two.listed == pytest.approx(1 / 3)
    assert change_share(two, Change()) == 0.5
    assert change_share(two, Change(0.0, JOB, 0.1, 9.0)) == pytest.approx(1 / 3)
    assert change_share(replace(two, auto=False), Change(JOB, JOB, 0.1, 9.0)) == pytest.approx(1 / 3)
    assert Groups.of_jobs({"a": (0,), "b": (1,)}, auto=True).listed == 1
    assert Groups.of_jobs({}, auto=True).listed == 0


def test_a_hundred_servers_choose_among_thousands_of_groups_in_a_moment() -> None:
    """What waits is looked through once for all servers, also where no job fits before `until`."""
    servers = tuple(f"http://gpu-{number}:8188" for number in range(100))
    board = board_of(batch(1000, 2), servers)
    began = process_time()
    assert sum(isinstance(action, Submit) for action in plan(board, 1.0)) == 200
    board.until_wall = AT + 60
    board.tick(1.0, AT + 1)
    assert not any(isinstance(action, Submit) for action in plan(board, 1.0))
    assert process_time() - began < 1


def test_no_run_is_longer_than_its_group() -> None:
    """Where every prompt has two jobs, half of the jobs follow a change however they are ordered: so much is saved."""
    groups, change = Groups.of_jobs(batch(500, 2), auto=True), Change(JOB, JOB, 0.1, 9.0)
    assert change_share(groups, change) == pytest.approx(0.5, abs=0.01)
    assert saving(groups, change) == pytest.approx(0.25, abs=0.01)
    assert change_share(Groups.of_jobs(batch(2, 500), auto=True), change) == pytest.approx(1 / 50)


def test_a_server_avoids_the_groups_that_others_are_at() -> None:
    """A run that begins while another server is at the first group in order is one of the next group."""
    board = board_of(batch(3, 6), (A, B))
    take_poll(board, B, trouble=UNAVAILABLE, now=0.0)
    one = given(board, 0.0)
    assert {board.groups.of[job] for job in one} == {(0,)}
    take_poll(board, B, now=1.0)
    assert {board.groups.of[job] for job in given(board, 1.0, B)} == {(1,)}
