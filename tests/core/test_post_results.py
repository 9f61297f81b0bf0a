"""What follows from the answer to a POST, a deletion, an interrupt."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from boards import (
    AT,
    JOB,
    JOBS,
    LOCAL,
    OTHER,
    UNAUTHORIZED,
    UNAVAILABLE,
    UNSENT,
    A,
    B,
    fetch,
    health,
    ident,
    interpret,
    lost,
    new_board,
    note,
    post,
    queued,
    ready_board,
    row,
    sending,
    submit,
    take_poll,
)

from batchrunner.core.actions import Cause, Failure, Interrupt, NodeError, NotFound, Refused, Submit, Taken, Withdraw
from batchrunner.core.facts import Accepted, Lost, Why
from batchrunner.core.health import Breaker, Condition
from batchrunner.core.lifecycle import Failed, Queued, Sending
from batchrunner.core.notes import Leave, Leaving
from batchrunner.core.scheduler import plan

if TYPE_CHECKING:
    from batchrunner.core.board import Board

PAGE = Failure(Cause.UNAVAILABLE, "403: Request blocked", page=True, status=403)
NOT_ACCEPTABLE = Failure(Cause.UNAVAILABLE, "406", status=406)
TOO_MANY = Failure(Cause.UNAVAILABLE, "429", status=429)
NODE = NodeError("SaveVideo #15", "format", "no such value", ("15",))


def submits(board: Board, now: float) -> list[Submit]:
    """Return the POSTs that would be started."""
    return [action for action in plan(board, now) if isinstance(action, Submit)]


def test_a_200_is_accepted_and_looked_after() -> None:
    """The server's id is kept, and a poll follows within a second."""
    board = ready_board()
    assert post(board, Taken("chosen", 3), submit(), now=2.0) == [
        Accepted(JOB, 1, AT + 2, "chosen", submit().prefix, A)
    ]
    assert board.servers[A].poll_at == 3.0
    assert board.refusals == [""]


def test_a_400_fails_the_job() -> None:
    """A refusal fails the job at once with the server's words, and nobody else."""
    board = ready_board()
    health(board, A, failing_since=1.0)
    (fact,) = post(board, Refused("KSampler #3, input cfg: too big"), submit(), now=2.0)
    assert isinstance(fact, Lost)
    assert (fact.why, fact.final, fact.message) == (Why.REFUSED, True, "KSampler #3, input cfg: too big")
    assert isinstance(board.states[JOB], Failed)
    assert board.servers[A].health.failing_since is None


def test_an_answer_to_what_is_over_is_dropped() -> None:
    """An answer that comes when the attempt no longer counts changes nothing."""
    for end in (Taken(ident(), 1), Refused("no")):
        board = ready_board([*queued(), lost()])
        board.start(action := submit(again=True), 1.0)
        assert interpret(board, action, end, 2.0) == []
        assert board.refusals == []


@pytest.mark.parametrize(
    ("message", "refused"),
    [
        (["x", "x", "x"], True),
        (["x", "x"], False),
        (["x", "y", "x"], False),
        (["", "", ""], False),
        (["x", "x", "x", ""], True),
        (["", "x", "x", "x"], False),
    ],
)
def test_three_alike_are_the_template(message: list[str], *, refused: bool) -> None:
    """Only the first three POSTs of a run, all refused for the same reason, accuse the workflow itself."""
    board = ready_board()
    board.refusals = message
    assert bool(board.refused_alike()) is refused


# -- accepted in part


def test_a_200_without_our_output_is_a_refusal() -> None:
    """A 200 that leaves our output out fails the job, and its prompt is taken off the server."""
    board = ready_board()
    facts = post(board, Taken("chosen", 3, (NODE,)), submit(), now=2.0)
    assert [type(fact) for fact in facts] == [Accepted, Lost]
    assert isinstance(board.states[JOB], Failed)
    assert Withdraw(A, ("chosen",)) in plan(board, 2.0)
    board.outputs = frozenset({"99"})
    facts = post(board, Taken("other", 4, (NODE,)), submit(OTHER), now=2.0)
    assert [type(fact) for fact in facts] == [Accepted]


def test_what_was_accepted_in_part_and_runs_is_interrupted() -> None:
    """A prompt without our output that runs already is interrupted by id, once; nothing of it costs another job."""
    board = ready_board(jobs=1)
    post(board, Taken(ident(), 3, (NODE,)), submit(), now=2.0)
    board.start(action := Withdraw(A, (ident(),)), 2.0)
    interpret(board, action, None, 2.1)
    board.end(action, 2.1)
    take_poll(board, queue=[row(running=True)], now=3.0)
    assert Interrupt(A, ident()) in plan(board, 3.0)
    board.start(stop := Interrupt(A, ident()), 3.0)
    assert interpret(board, stop, None, 3.1) == []
    board.end(stop, 3.1)
    assert not any(isinstance(one, Interrupt) for one in plan(board, 3.1))
    assert board.servers[A].poll_at == 3.1
    take_poll(board, now=4.0)
    assert not board.servers[A].unwanted


# -- failures


@pytest.mark.parametrize(
    ("end", "condition", "poll_at"),
    [
        (UNAVAILABLE, Condition.UNAVAILABLE, (2.875, 3.125)),
        (UNSENT, Condition.UNAVAILABLE, (2.875, 3.125)),
        (UNAUTHORIZED, Condition.UNAUTHORIZED, (2.0, 2.0)),
        (LOCAL, Condition.ANSWERING, (7.0, 7.0)),
        (TOO_MANY, Condition.ANSWERING, (10.0, 10.0)),
        (Failure(Cause.UNAVAILABLE, "a page", page=True, status=502), Condition.UNAVAILABLE, (2.875, 3.125)),
        (Failure(Cause.UNAVAILABLE, "a page", page=True, status=404), Condition.UNAVAILABLE, (2.875, 3.125)),
        (Failure(Cause.UNAVAILABLE, "a page", page=True, status=408), Condition.UNAVAILABLE, (2.875, 3.125)),
        (Failure(Cause.UNAVAILABLE, "a page", page=True, status=200), Condition.UNAVAILABLE, (2.875, 3.125)),
        (Failure(Cause.UNAVAILABLE, "a page", page=True), Condition.UNAVAILABLE, (2.875, 3.125)),
        (Failure(Cause.UNAVAILABLE, "503", retry_after=30.0, status=503), Condition.UNAVAILABLE, (32.0, 32.0)),
    ],
)
def test_trouble_says_nothing_about_the_job(end: Failure, condition: Condition, poll_at: tuple[float, float]) -> None:
    """Whatever keeps a POST from an answer, the claim stands, and the trouble is the server's or this machine's."""
    board = ready_board()
    assert post(board, end, submit(), now=2.0) == []
    assert isinstance(board.states[JOB], Sending)
    server = board.servers[A]
    assert server.health.condition is condition
    assert poll_at[0] <= server.poll_at <= poll_at[1]


def test_servers_are_judged_one_by_one() -> None:
    """Trouble with one server is no trouble with another."""
    board = ready_board(servers=(A, B))
    post(board, UNAVAILABLE, submit(), now=2.0)
    assert {action.server for action in submits(board, 2.0)} == {B}


@pytest.mark.parametrize(
    ("retry_after", "least", "most"), [(90.0, 90.0, 90.0), (None, 0.875, 1.125), (0.0, 0.875, 1.125)]
)
def test_too_many_posts(retry_after: float | None, least: float, most: float) -> None:
    """429: POSTs wait as long as told, or a second; polls go on, and the prompt did not arrive."""
    board = ready_board()
    post(board, replace(TOO_MANY, retry_after=retry_after), submit(), now=2.0)
    server = board.servers[A]
    assert least <= server.health.posts_at - 2.0 <= most
    assert submits(board, server.health.posts_at - 0.01) == []
    assert submits(board, server.health.posts_at)
    assert server.health.is_up()
    take_poll(board, now=3.0)
    fetch(board, NotFound(), now=3.1, probe=True)
    take_poll(board, now=3.2)
    assert board.tracked[JOB].resend


def test_a_refused_token_is_tried_again() -> None:
    """A 401 on a POST with good polls: the claim stands, and after a pause the same POST is tried, one at a time."""
    board = ready_board(jobs=3)
    actions = [submit(job) for job in JOBS[:2]]
    for action in actions:
        note(board, sending(action.job))
        board.start(action, 1.0)
    for action in actions:
        interpret(board, action, UNAUTHORIZED, 2.0)
        board.end(action, 2.0)
    server = board.servers[A]
    assert (server.health.refused_posts, server.poll_at, server.health.refused_since) == (2, 2.0, 2.0)
    take_poll(board, now=3.0)
    assert server.health.condition is Condition.UNAUTHORIZED
    for job in JOBS[:2]:
        fetch(board, NotFound(), job=job, now=3.1, probe=True)
    take_poll(board, now=3.2)
    assert submits(board, server.health.posts_at - 0.01) == []
    (again,) = submits(board, server.health.posts_at)
    assert again == submit(again=True)
    board.start(again, server.health.posts_at)
    assert submits(board, server.health.posts_at) == []
    board.end(again, server.health.posts_at)
    post(board, Taken(ident(), 1), again, now=server.health.posts_at)
    assert (server.health.refused_posts, server.health.condition) == (0, Condition.ANSWERING)
    assert isinstance(board.states[JOB], Queued)
    assert submit(OTHER, again=True) in plan(board, 20.0)


def test_a_refused_token_costs_nothing() -> None:
    """However often a POST is refused, no attempt is spent and no job is failed."""
    board = ready_board(jobs=1)
    for second in range(20):
        post(board, UNAUTHORIZED, submit(again=second > 0), now=2.0 + second)
        take_poll(board, now=2.5 + second)
    assert isinstance(board.states[JOB], Sending)
    assert board.servers[A].breaker == Breaker()


# -- a prompt that something before the server refuses


@pytest.mark.parametrize("end", [PAGE, NOT_ACCEPTABLE])
def test_a_firewall_that_dislikes_a_prompt(end: Failure) -> None:
    """Refused by a page, or with 406, while polls are good: free the first time, the job's failure the second."""
    board = ready_board(jobs=2)
    (fact,) = post(board, end, submit(), now=2.0)
    assert isinstance(fact, Lost)
    assert (fact.why, fact.burns, fact.final, fact.message) == (Why.DENIED, False, False, end.message)
    assert board.servers[A].health.condition is Condition.ANSWERING
    assert {one.job for one in submits(board, 3.0)} == {OTHER}
    post(board, Taken(ident(OTHER), 1), submit(OTHER), now=3.0)
    (fact,) = post(board, end, submit(attempt=2), now=70.0)
    assert isinstance(fact, Lost)
    assert (fact.why, fact.burns, fact.final) == (Why.DENIED, False, True)
    assert isinstance(board.states[JOB], Failed)


def test_refused_otherwise_is_another_matter() -> None:
    """Two refusals that are not alike do not fail a job."""
    board = ready_board(jobs=2)
    post(board, PAGE, submit(), now=2.0)
    post(board, Taken(ident(OTHER), 1), submit(OTHER), now=3.0)
    (fact,) = post(board, NOT_ACCEPTABLE, submit(attempt=2), now=70.0)
    assert isinstance(fact, Lost)
    assert not fact.final


def test_while_polls_fail_nothing_is_a_jobs_trouble() -> None:
    """A page for a POST on a server whose polls fail too says only that the server is away."""
    board = new_board(jobs=2)
    take_poll(board, trouble=UNAVAILABLE)
    assert post(board, PAGE, submit(), now=2.0) == []
    assert isinstance(board.states[JOB], Sending)
    assert board.servers[A].health.condition is Condition.UNAVAILABLE


def test_three_jobs_denied_alike_are_the_servers_trouble() -> None:
    """The third different job denied pauses the server; then one job tries, and no job ever fails of it."""
    board = ready_board(jobs=5)
    for job in JOBS[:3]:
        (fact,) = post(board, PAGE, submit(job), now=2.0)
        assert isinstance(fact, Lost)
        assert not fact.final
    server = board.servers[A]
    assert (server.breaker.trips, server.health.condition) == (1, Condition.FAILING)
    assert not board.hopeless_loss()
    assert submits(board, server.breaker.paused_until - 0.1) == []
    for _ in range(9):
        now = server.breaker.paused_until + 60.0
        board.tick(now, AT + now)
        take_poll(board, now=now)
        (trial,) = submits(board, now)
        (fact,) = post(board, PAGE, trial, now=now)
        assert isinstance(fact, Lost)
        assert (fact.final, fact.burns) == (False, False)
    now = server.breaker.paused_until + 60.0
    board.tick(now, AT + now)
    (trial,) = submits(board, now)
    post(board, Taken(trial.prompt, 1), trial, now=now)
    assert server.breaker == Breaker()
    assert board.tally()["failed"] == 0


# -- deletions and interrupts


@pytest.mark.parametrize("action", [Withdraw(A, ("x",)), Interrupt(A, "x")])
def test_what_a_server_did_not_hear(action: Withdraw | Interrupt) -> None:
    """A deletion or an interrupt that got no answer is the server's trouble, and stays due."""
    board = ready_board(queued())
    board.servers[A].to_remove, board.servers[A].to_interrupt = frozenset({"x"}), frozenset({"x"})
    board.start(action, 1.0)
    assert interpret(board, action, UNAVAILABLE, 2.0) == []
    board.end(action, 2.0)
    server = board.servers[A]
    assert (server.to_remove, server.to_interrupt, server.health.condition) == ({"x"}, {"x"}, Condition.UNAVAILABLE)
    assert not any(isinstance(one, Withdraw | Interrupt) for one in plan(board, 2.0))


def test_an_interrupt_that_was_heard() -> None:
    """An open prompt that was interrupted remembers when, and a poll follows at once."""
    board = ready_board([*queued(), *queued(OTHER)])
    board.start(action := Interrupt(A, ident()), 1.0)
    assert interpret(board, action, None, 2.0) == []
    board.end(action, 2.0)
    assert (board.tracked[JOB].interrupted_at, board.tracked[OTHER].interrupted_at) == (2.0, None)
    assert board.servers[A].poll_at == 2.0


def test_prompts_taken_back_on_the_way_out() -> None:
    """Only while we leave does a deletion mark its prompts, and only those it named."""
    for leaving, marked in ((False, [False, False]), (True, [True, False])):
        board = ready_board([*queued(), *queued(OTHER)])
        if leaving:
            board.apply(Leave(A, Leaving.TAKING))
        board.start(action := Withdraw(A, (ident(),)), 1.0)
        interpret(board, action, None, 2.0)
        board.end(action, 2.0)
        assert [board.tracked[job].withdrawn for job in (JOB, OTHER)] == marked
        assert board.servers[A].leaving is (Leaving.CONFIRMING if leaving else Leaving.NO)
        assert board.servers[A].removed == {ident()}
