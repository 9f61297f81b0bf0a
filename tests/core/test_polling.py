"""When a server is looked at again: between 1 and 10 s later, the sooner the more there is to miss."""

from __future__ import annotations

from typing import TYPE_CHECKING

from boards import (
    JOB,
    OTHER,
    RULES,
    UNAVAILABLE,
    A,
    new_board,
    post,
    queued,
    ready_board,
    row,
    sending,
    stranger,
    submit,
    take_poll,
)
from hypothesis import given, strategies as st

from batchrunner.core.settings import Rules

if TYPE_CHECKING:
    from batchrunner.core.board import Board

COST = 1e9
TOOK = 300.0


def pause(board: Board, now: float) -> float:
    """Return after how long the next poll at a server is due."""
    return board.servers[A].poll_at - now


def rendering(*, since: float = 0.0, known: bool = True) -> Board:
    """Return a board whose server was seen rendering a job of ours `since` then; `known`: it did so before."""
    board = ready_board(queued())
    board.costs = dict.fromkeys((JOB, OTHER), COST)
    if known:
        board.forecast.learn(A, COST, TOOK)
    take_poll(board, queue=[row(running=True)], now=since)
    return board


def test_nothing_of_ours_is_there() -> None:
    """A server that has nothing of ours is looked at every ten seconds, whatever others have it do."""
    board = ready_board()
    take_poll(board, queue=[stranger(running=True)], now=50.0)
    assert pause(board, 50.0) == 10.0


def test_far_from_the_end_seldom_near_it_often() -> None:
    """A render whose kind is known is looked at the more often the nearer its expected end, before and after it."""
    pauses = []
    for ran in (20.0, 200.0, 276.0, 288.0, 300.0, 312.0, 324.0, 400.0):
        board = rendering()
        take_poll(board, queue=[row(running=True)], now=ran)
        pauses.append(round(pause(board, ran)))
    assert pauses[:3] == [10, 10, 8]
    assert pauses[3:5] == [4, 1]
    assert pauses[5:] == [4, 8, 10]


def test_a_kind_never_rendered_may_end_at_any_time() -> None:
    """Where no render of its kind is known, an end is noticed within a tenth of the time it took."""
    for ran, expected in ((5.0, 1.0), (30.0, 3.0), (90.0, 9.0), (500.0, 10.0)):
        board = rendering(known=False)
        take_poll(board, queue=[row(running=True)], now=ran)
        assert pause(board, ran) == expected


def test_a_prompt_that_is_missing() -> None:
    """A missing prompt is asked for soon, then less often, and at the moment at which its absence becomes proof."""
    board = rendering()
    due, pauses = 400.0, []
    while due < 461.0:
        take_poll(board, now=due)
        pauses.append(pause(board, due))
        due += pauses[-1]
    assert pauses[:4] == [1.0] * 4
    assert max(pauses) > 5.0
    assert 460.0 in [400.0 + sum(pauses[:n]) for n in range(len(pauses))]


def test_a_post_without_answer() -> None:
    """After a POST that got no answer the server is asked soon, then less often, and when `settle` is over."""
    board = ready_board(sending(), now=0.0)
    take_poll(board, now=0.0)
    assert pause(board, 0.0) == 1.0
    take_poll(board, now=30.0)
    assert pause(board, 30.0) == 6.0
    take_poll(board, now=RULES.settle - 2.0)
    assert pause(board, RULES.settle - 2.0) == 2.0


def test_the_freshest_doubt_sets_the_pace() -> None:
    """Of two POSTs without an answer the later one is asked for as soon as if it were the only one."""
    board = ready_board(sending(), now=0.0)
    post(board, UNAVAILABLE, submit(OTHER), now=30.0)
    take_poll(board, now=40.0)
    assert pause(board, 40.0) == 2.0


@given(st.floats(0, 5_000), st.none() | st.floats(1, 3_600), st.none() | st.floats(0.05, 60), st.booleans())
def test_the_bounds(ran: float, ttl: float | None, poll: float | None, known: bool) -> None:  # noqa: FBT001 - drawn
    """`poll` fixes the pause; without it, it is 1 to 10 s, and there are six polls before a file is deleted."""
    board = new_board(queued(), rules=Rules(ttl=ttl, poll=poll))
    board.costs = {JOB: COST}
    if known:
        board.forecast.learn(A, COST, TOOK)
    for now in (0.0, ran):
        take_poll(board, queue=[row(running=True)], now=now)
    longest = 10.0 if ttl is None else min(10.0, ttl / 6)
    expected = pause(board, ran)
    if poll is not None:
        assert abs(expected - poll) < 1e-6
    else:
        assert min(1.0, longest) - 1e-6 <= expected <= longest + 1e-6
