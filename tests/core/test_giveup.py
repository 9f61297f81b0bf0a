"""When what a server holds is rendered elsewhere, and what that costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from boards import (
    AT,
    JOB,
    JOBS,
    OTHER,
    RULES,
    UNAUTHORIZED,
    UNAVAILABLE,
    A,
    B,
    fetching,
    gone,
    health,
    ident,
    lost,
    mp4,
    note,
    post,
    prefix,
    queued,
    ready_board,
    row,
    sending,
    stranger,
    submit,
    take_poll,
)

from batchrunner.core.actions import Download, Poll, Submit, Withdraw
from batchrunner.core.facts import Why
from batchrunner.core.giveup import AWAY_TOO_LONG, frees_at, give_up_servers
from batchrunner.core.health import Condition
from batchrunner.core.lifecycle import Queued, Waiting
from batchrunner.core.scheduler import plan
from batchrunner.core.settings import Rules

if TYPE_CHECKING:
    from batchrunner.core.board import Board
    from batchrunner.core.facts import Fact

C = "http://unnamed:8188"


def is_given_up(board: Board, now: float) -> bool:
    """Whether any server would be given up now."""
    board.tick(now, AT + now)
    return any(True for _ in give_up_servers(board, now, AT + now))


def away_board(
    facts: list[Fact], *, jobs: int = 1, servers: tuple[str, ...] = (A, B), rules: Rules = RULES, away: str = A
) -> Board:
    """Return a board on which one server has been away since second 0, as far as its last good poll tells."""
    board = ready_board(facts, jobs=jobs, servers=servers, rules=rules)
    if away not in servers:
        take_poll(board, away, now=0.0)
    take_poll(board, away, trouble=UNAVAILABLE, now=1.0)
    return board


@pytest.mark.parametrize("facts", [sending(), queued(), fetching()])
def test_a_named_server_is_away_and_another_is_idle(facts: list[Fact]) -> None:
    """After ten minutes its jobs are lost for free, and the idle server gets them."""
    board = away_board(facts)
    assert not is_given_up(board, AWAY_TOO_LONG - 0.1)
    assert is_given_up(board, AWAY_TOO_LONG)
    (fact,) = gone(board, now=AWAY_TOO_LONG)
    assert (fact.job, getattr(fact, "why", None), getattr(fact, "burns", None)) == (JOB, Why.SERVER_GONE, False)
    assert (board.states[JOB].past.spent, board.states[JOB].past.given_up) == (0, 1)
    assert board.servers[A].health.condition is Condition.GONE
    assert [one.server for one in plan(board, AWAY_TOO_LONG) if isinstance(one, Submit)] == [B]
    assert not board.servers[A].to_remove


def test_what_it_is_told() -> None:
    """The evidence names the server, for how long it brought nothing, and what it said last."""
    for now, lasted in ((119.0, "119 s"), (720.0, "12 min")):
        board = away_board(queued(), rules=Rules(patience=100.0))
        (fact,) = gone(board, now=now)
        assert getattr(fact, "message", "") == f"{A} has brought nothing for {lasted} (502): rendered elsewhere"


@pytest.mark.parametrize(
    ("waiting", "loaded"),
    [(True, False), (False, True), (True, True)],
)
def test_while_the_other_has_work_it_is_waited_for(*, waiting: bool, loaded: bool) -> None:
    """As long as jobs wait, or the other server renders one of ours, ten minutes are no reason; `patience` is."""
    facts = [*queued(), *(queued(OTHER, server=B) if loaded else ())]
    board = away_board(facts, jobs=2 + waiting)
    if waiting:
        take_poll(board, B, queue=[stranger(running=True)], now=2.0)
    elif loaded:
        take_poll(board, B, queue=[row(OTHER, running=True)], now=2.0)
    board.chosen = board.chosen if waiting else {JOB, OTHER}
    assert bool(board.waiting) is waiting
    assert frees_at(board, board.servers[A]) == RULES.patience
    assert not is_given_up(board, AWAY_TOO_LONG + 1.0)
    assert is_given_up(board, RULES.patience)


@pytest.mark.parametrize("other", ["away", "refusing", "stalled", "failing", "none"])
def test_without_another_that_works_it_is_waited_for(other: str) -> None:
    """Nobody takes a job from a server for the sake of one that brings nothing either."""
    board = away_board(queued(), servers=(A,) if other == "none" else (A, B))
    match other:
        case "away":
            take_poll(board, B, trouble=UNAVAILABLE, now=2.0)
        case "refusing":
            take_poll(board, B, trouble=UNAUTHORIZED, now=2.0)
        case "stalled":
            take_poll(board, B, queue=[stranger()], now=2.0)
        case "failing":
            health(board, B, failing_since=2.0)
        case _:
            pass
    assert frees_at(board, board.servers[A]) is None
    assert not is_given_up(board, 1e6)


@pytest.mark.parametrize("servers", [(A,), (A, B)])
def test_an_unnamed_server_that_is_away(servers: tuple[str, ...]) -> None:
    """An address that nobody names any more is gone after `grace`, whatever the others do."""
    board = away_board(queued(server=C), servers=servers, away=C)
    assert not is_given_up(board, RULES.grace - 0.1)
    (fact,) = gone(board, C, now=RULES.grace)
    assert getattr(fact, "why", None) is Why.SERVER_GONE
    assert not any(isinstance(one, Poll) and one.server == C for one in plan(board, 1e6))


def test_an_unnamed_server_that_answers_is_waited_for() -> None:
    """What still renders on a server that left the manifest comes home."""
    board = ready_board(queued(server=C), jobs=1)
    take_poll(board, C, queue=[row(running=True)], now=1.0)
    assert not is_given_up(board, 1e6)


def test_an_unnamed_server_that_never_answered() -> None:
    """It counts from the beginning of the run."""
    board = ready_board(queued(server=C), jobs=1, now=7000.0)
    take_poll(board, C, trouble=UNAVAILABLE, now=7001.0)
    assert not is_given_up(board, 7059.0)
    assert is_given_up(board, 7060.0)


def test_a_patience_shorter_than_ten_minutes() -> None:
    """Nobody is waited for longer than `patience`."""
    board = away_board(queued(), rules=Rules(patience=100.0))
    assert is_given_up(board, 100.0)


def test_a_server_that_holds_nothing() -> None:
    """There is nothing to give up, however long it is away."""
    board = away_board([])
    assert frees_at(board, board.servers[A]) is None
    assert not is_given_up(board, 1e6)


def test_what_is_under_way_is_heard_first() -> None:
    """A POST or a download that is under way tells more than the clock: its job stays until it has ended."""
    for action, facts in ((submit(again=True), queued()), (Download(JOB, 1, prefix(), A, mp4()), fetching())):
        board = away_board([*facts, *queued(OTHER)], jobs=2)
        board.start(action, 599.0)
        assert [fact.job for fact in gone(board)] == [OTHER]
        note(board, [*queued(OTHER, attempt=2, server=B), lost(OTHER, attempt=2, final=True)], 601.0)
        assert not is_given_up(board, 601.0)
        board.end(action, 602.0)
        assert [fact.job for fact in gone(board, now=602.0)] == [JOB]


def test_a_stalled_server_that_answers() -> None:
    """What waits in the queue of a server that renders nothing is deleted there before it is rendered elsewhere."""
    board = ready_board([*queued(), *queued(OTHER)], jobs=2, servers=(A, B))
    for now in (1.0, 601.0):
        take_poll(board, A, queue=[stranger(), row()], history=[], now=now)
        take_poll(board, B, now=now)
    assert [fact.job for fact in gone(board, now=601.0)] == [JOB, OTHER]
    assert board.servers[A].to_remove == {ident()}
    assert Withdraw(A, (ident(),)) in plan(board, 601.0)


def test_a_server_that_lets_nothing_through() -> None:
    """Polls are good and every POST fails: its jobs go elsewhere, and it gets its next one after a pause only."""
    board = ready_board(jobs=9, servers=(A, B))
    post(board, UNAVAILABLE, submit(), now=1.0)
    for job in JOBS[1:9]:
        note(board, [*queued(job, server=B), lost(job, burns=False, final=True)], 2.0)
    take_poll(board, A, now=590.0)
    take_poll(board, B, now=590.0)
    assert [fact.job for fact in gone(board, now=601.0)] == [JOB]
    take_poll(board, A, now=602.0)
    assert board.servers[A].health.condition is Condition.ANSWERING
    assert {one.server for one in plan(board, 603.0) if isinstance(one, Submit)} == {B}
    later = board.servers[A].health.posts_at
    assert 601.0 + 52.5 <= later <= 601.0 + 67.5
    assert board.servers[A].takes_prompts(later)


def test_nobody_is_given_up_on_the_way_out() -> None:
    """On the way out nothing new is begun anywhere, so nothing is taken from anybody."""
    board = away_board(queued())
    board.leave(500.0)
    assert not is_given_up(board, 1e6)


def test_only_servers_in_trouble_are_looked_at() -> None:
    """While jobs wait, a turn looks at the servers something happened to, or whose time has come."""
    board = away_board(queued(), jobs=3)
    for name in list(board.servers):
        board.attention.file_away(name, None)
    assert not is_given_up(board, RULES.patience)
    board.touch(A)
    assert is_given_up(board, RULES.patience)


def test_given_up_once() -> None:
    """A server that was given up holds nothing of ours any more."""
    board = away_board(queued())
    gone(board)
    assert isinstance(board.states[JOB], Waiting)
    note(board, queued(attempt=2, server=B), 601.0)
    assert not is_given_up(board, 1e6)
    assert isinstance(board.states[JOB], Queued)
