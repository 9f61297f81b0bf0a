"""What one fact costs on a board of 100,000 jobs, counted in operations instead of seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar

import pytest
from boards import AT, BATCH, RULES, A, B, claimed, lost, mp4, note, rendered, saved, take_poll

from batchrunner.core.actions import Download, Submit
from batchrunner.core.board import Board
from batchrunner.core.exit import exit_decision
from batchrunner.core.scheduler import plan, wake

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchrunner.core.lifecycle import State

K, V = TypeVar("K"), TypeVar("V")
MANY = 100_000
ROUNDS = 200


class Counted(dict[K, V], Generic[K, V]):
    """A mapping that counts how often it is read, and refuses to be searched."""

    reads = 0

    def __getitem__(self, key: K) -> V:
        """Count and read."""
        self.reads += 1
        return super().__getitem__(key)

    def __iter__(self) -> Iterator[K]:
        """Refuse."""
        raise AssertionError("somebody walks through all jobs")

    values = items = keys = __iter__  # type: ignore[assignment]


def large_board(jobs: int, finished: int = 0) -> tuple[Board, Counted[str, State]]:
    """Return a board of so many jobs, the first ones done, that counts how often it looks at one."""
    names = [f"{number:012x}" for number in range(jobs)]
    board = Board(BATCH, RULES, (A, B), 0.0)
    facts = [fact for job in names[:finished] for fact in (claimed(job), rendered(job), saved(job))]
    board.load(names, facts, 0.0)
    board.want(names, None, 0.0)
    for url in (A, B):
        take_poll(board, url)
    plan(board, 0.0)  # forgets at once what was listed while it waited
    states = Counted(board.states)
    board.states = states
    return board, states


def one_round(board: Board, number: int, now: float) -> None:
    """Let one job go from waiting to done, and every tenth be lost once on its way."""
    for action in plan(board, now):
        if isinstance(action, Submit):
            job = action.job
            note(board, [claimed(job, action.attempt, action.server)], now)
            again = [lost(job, action.attempt, burns=False)] if number % 10 == 0 else []
            note(board, again or [rendered(job, action.attempt, deadline=AT + now)], now)
        if isinstance(action, Download):
            board.start(action, now)
            note(board, [saved(action.job, action.attempt, mp4(action.job, action.attempt))], now)
            board.end(action, now)
    board.tick(now, AT + now)
    wake(board, now)
    assert exit_decision(board, now) is None


def cost(jobs: int, finished: int = 0) -> float:
    """Return how often a round looks at a job, on average."""
    board, states = large_board(jobs, finished)
    states.reads = 0
    for number in range(ROUNDS):
        one_round(board, number, float(number) / ROUNDS)
    assert board.tally()["done"] > finished + ROUNDS
    return states.reads / ROUNDS


@pytest.mark.parametrize(("jobs", "finished"), [(MANY, 0), (MANY // 5, MANY // 5 - 2000)])
def test_a_fact_costs_the_same_on_a_large_board(jobs: int, finished: int) -> None:
    """A round looks at as many jobs among 100,000 as among 2,000, at the end of a night too."""
    small, large = cost(2000), cost(jobs, finished)
    assert large <= small * 1.05
    assert large < 100


def test_the_heaps_stay_small() -> None:
    """What is forgotten is forgotten: the queues never hold more than one entry a job, or a file."""
    board, _ = large_board(2000)
    for number in range(ROUNDS):
        one_round(board, number, float(number) / ROUNDS)
    assert len(board._ready._heap) <= 2000
    assert all(len(files._heap) <= 2 * RULES.depth + ROUNDS // 10 for files in board._fetches.values())
