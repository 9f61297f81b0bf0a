"""A server on which job after job raises: what it gets, and what that costs the jobs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from boards import JOBS, A, B, failure, glance, note, post, queued, ready_board, success

from batchrunner.core.actions import Submit
from batchrunner.core.facts import Lost
from batchrunner.core.health import Breaker
from batchrunner.core.notes import RenderFailed
from batchrunner.core.results import Taken
from batchrunner.core.scheduler import plan
from batchrunner.core.settings import Rules

if TYPE_CHECKING:
    from batchrunner.core.board import Board

OOM = "torch.OutOfMemoryError"


def submits(board: Board, now: float) -> list[Submit]:
    """Return the prompts that would go out now."""
    return [action for action in plan(board, now) if isinstance(action, Submit)]


def probe(board: Board, *, works: bool = False) -> str:
    """Let one job probe the server as soon as it may; return which it was."""
    now = board.servers[A].breaker.paused_until
    (action,) = (action for action in submits(board, now) if action.server == A)
    post(board, Taken(action.prompt, 1), action, now=now)
    ending = success(action.job, action.attempt) if works else failure(action.job, action.attempt, OOM)
    glance(board, history=[ending], now=now + 1)
    return action.job


def tripped(jobs: int, *servers: str) -> Board:
    """Return a board on which the first three jobs have tripped the breaker of the first server."""
    board = ready_board(jobs=jobs, servers=servers, rules=Rules(attempts=3))
    note(board, [fact for job in JOBS[:3] for fact in queued(job)])
    glance(board, history=[failure(job, exception=OOM) for job in JOBS[:3]], now=1.0)
    assert board.servers[A].breaker.trips == 1
    return board


def test_no_more_goes_out_than_it_takes_to_trip() -> None:
    """After one failure two prompts may be out, after two one: the third trips, and none lies behind it in vain."""
    breaker = Breaker()
    assert breaker.most(5) == 5
    breaker = breaker.failed(A, OOM, "a", 0.0, 60.0)
    assert (breaker.most(5), breaker.most(1)) == (2, 1)
    breaker = breaker.failed(A, OOM, "b", 0.0, 60.0)
    assert breaker.most(5) == 1
    breaker = breaker.failed(A, OOM, "c", 0.0, 60.0)
    assert breaker.most(5) == 1


def test_probes_go_round() -> None:
    """Each probe is another job, and when all have failed they begin anew: none spends its attempts on finding out."""
    board = tripped(6, A)
    assert [probe(board) for _ in range(3)] == list(JOBS[3:6])
    assert [probe(board) for _ in range(3)] == list(JOBS[:3])
    assert probe(board, works=True) in JOBS[3:6]
    assert board.servers[A].breaker == Breaker()


def test_a_job_that_is_too_large_holds_nobody_up() -> None:
    """If the first jobs were too large, the probe that is not opens the way."""
    board = tripped(4, A)
    assert probe(board, works=True) == JOBS[3]
    assert len(submits(board, 2000.0)) == 2


def test_a_probe_costs_nothing_where_another_server_is_well() -> None:
    """What a sick server says of a job is nothing of the job, as long as another takes prompts."""
    board = tripped(9, A, B)
    job = probe(board)
    assert board.states[job].past.spent == 0
    board.apply(RenderFailed(B, JOBS[8], OOM, 0.0))
    job = probe(board)
    assert board.states[job].past.spent == 1


def test_the_first_three_count() -> None:
    """Before the trip nobody knows whose fault it is: the attempt is spent."""
    board = ready_board(queued(), jobs=3)
    (fact,) = glance(board, history=[failure(exception=OOM)], now=1.0)
    assert isinstance(fact, Lost)
    assert fact.burns
