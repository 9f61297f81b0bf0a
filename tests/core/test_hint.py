"""What a socket's hints do, and what it costs where there are none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from boards import (
    JOB,
    JOBS,
    OTHER,
    UNAVAILABLE,
    A,
    due_poll,
    interpret,
    post,
    queued,
    ready_board,
    row,
    submit,
    success,
    take_poll,
)

from batchrunner.core.actions import Listen, Taken
from batchrunner.core.hint import Hint
from batchrunner.core.notes import SocketClosed, StatusHeard
from batchrunner.core.polling import depth
from batchrunner.core.scheduler import plan, wake
from batchrunner.core.settings import Rules

if TYPE_CHECKING:
    from batchrunner.core.board import Board

COST, LONG = 1e9, 300.0
BOTH = (row(running=True), row(OTHER, number=1))


def hears(board: Board, now: float, *, greeting: bool = False, dropped: bool = False) -> None:
    """Let a `status` come over the socket of the server."""
    board.apply(StatusHeard(A, now, greeting, dropped))


def rendering(seconds: float = LONG, *, live: bool = True, rules: Rules | None = None) -> Board:
    """Return a board whose server has been rendering a job of ours since second 0, of a known length."""
    board = ready_board([*queued(), *queued(OTHER)], rules=rules or Rules(ttl=600.0), hint=True)
    board.costs = dict.fromkeys(JOBS, COST)
    if seconds:
        board.forecast.learn(A, COST, seconds)
    if live:
        hears(board, 0.0)
    take_poll(board, queue=BOTH, now=0.0)
    return board


def pause(board: Board, now: float = 0.0) -> float:
    """Return after how long the next poll is due."""
    return board.servers[A].poll_at - now


# -- the connection


def test_a_server_that_answers_is_listened_to_once() -> None:
    """A socket is opened after a good poll, one at a time, only where hints are wanted and the server is named."""
    board = ready_board(hint=True)
    assert Listen(A) in plan(board, 0.0)
    board.start(Listen(A), 0.0)
    assert Listen(A) not in plan(board, 0.0)
    assert not board.in_flight.is_asking(A)
    board.end(Listen(A), 1.0)
    assert Listen(A) in plan(board, 1.0)
    board.servers[A].named = False
    assert Listen(A) not in plan(board, 1.0)
    assert Listen(A) not in plan(ready_board(hint=False), 0.0)
    away = ready_board(hint=True)
    take_poll(away, trouble=UNAVAILABLE)
    assert Listen(A) not in plan(away, 0.0)


def test_another_connection_follows_after_a_pause() -> None:
    """It is opened when the pause is over, and the run wakes for that."""
    board = ready_board(hint=True, jobs=0)
    board.start(Listen(A), 0.0)
    interpret(board, Listen(A), None, 2.0)
    board.end(Listen(A), 2.0)
    due = wake(board, 2.0)
    assert due is not None
    assert 2.8 < due < 3.2
    assert [Listen(A) in plan(board, at) for at in (due - 0.01, due)] == [False, True]


def test_what_never_works_is_tried_less_and_less_often() -> None:
    """Refused again and again: up to five minutes. What lasted, or was live, comes back within a second."""
    hint, pauses, now = Hint(), [], 0.0
    for _ in range(12):
        hint = hint.closed(A, SocketClosed(A, now, now + 0.1))
        pauses.append(hint.again_at - now)
        now = hint.again_at
    assert pauses[0] < 1.3
    assert 260.0 < pauses[-1] < 340.0
    assert sorted(pauses[:8]) == pauses[:8]
    for good in (hint.closed(A, SocketClosed(A, now, now + 60.0)), Hint(live=True, failures=9).closed(A, closed())):
        assert (good.live, good.failures) == (False, 1)


def closed(began: float = 0.0, now: float = 0.1) -> SocketClosed:
    """Return the end of a connection."""
    return SocketClosed(A, began, now)


# -- hints


def test_a_drop_is_a_poll_now() -> None:
    """Fewer prompts than before: the poll is due at once, no sooner than 50 ms after the last one began."""
    board = rendering()
    hears(board, 20.0, dropped=True)
    assert board.servers[A].poll_at == 20.0
    board.tick(20.0, 20.0)
    assert due_poll(board) in plan(board, 20.0)
    take_poll(board, queue=BOTH, now=20.01)
    hears(board, 20.02, dropped=True)
    assert board.servers[A].poll_at == pytest.approx(20.06)


def test_a_drop_during_a_poll_is_another_poll() -> None:
    """What ends while a poll is under way may not be in it."""
    board = rendering()
    asked = due_poll(board)
    hears(board, 99.0, dropped=True)
    take_poll(board, queue=BOTH, now=100.0, took=2.0, action=asked)
    assert board.servers[A].poll_at == 100.0
    take_poll(board, queue=BOTH, now=100.1, took=0.1)
    assert 29.8 < pause(board, 100.1) < 30.0


def test_a_hint_breaks_no_back_off() -> None:
    """While polls fail, hints say nothing about when to try again."""
    board = rendering()
    take_poll(board, trouble=UNAVAILABLE, now=50.0)
    due = board.servers[A].poll_at
    hears(board, 50.1, dropped=True)
    assert board.servers[A].poll_at == due


# -- the pace


def test_a_live_socket_means_few_polls() -> None:
    """Every 30 s, and six times per ttl; soon where a job is later than it should be, for it may have ended unheard."""
    board = rendering()
    assert pause(board) == 30.0
    latest = board.forecast.at_most(A, COST)
    for ran, expected in ((200.0, 30.0), (latest - 9.0, 9.0), (latest, 1.0), (latest + 12.0, 4.0), (600.0, 30.0)):
        take_poll(board, queue=BOTH, now=ran)
        assert pause(board, ran) == pytest.approx(expected)
    assert pause(rendering(0.0)) == 30.0
    assert pause(rendering(rules=Rules(ttl=60.0))) == 10.0
    assert pause(rendering(rules=Rules(poll=7.0))) == 7.0
    idle = ready_board(hint=True, jobs=0)
    hears(idle, 0.0)
    take_poll(idle, now=1.0)
    assert pause(idle, 1.0) == 30.0


def test_a_socket_is_live_once_it_has_told_something() -> None:
    """The greeting comes over a deaf socket too."""
    board = rendering(live=False)
    hears(board, 0.0, greeting=True)
    take_poll(board, queue=BOTH, now=1.0)
    assert pause(board, 1.0) == 10.0
    hears(board, 1.0)
    take_poll(board, queue=BOTH, now=2.0)
    assert pause(board, 2.0) == 30.0


def test_what_nothing_runs_on_is_polled_as_without() -> None:
    """Hints are not enough where prompts of ours wait and nothing runs, or where one is missing."""
    board = rendering()
    take_poll(board, queue=[row(), row(OTHER, number=1)], now=10.0)
    assert pause(board, 10.0) == 1.0
    board = rendering()
    take_poll(board, queue=[row(OTHER, running=True)], now=10.0)
    assert pause(board, 10.0) == 1.0


def test_an_end_that_no_hint_told_of_is_a_deaf_socket() -> None:
    """A poll that finds ended what ran before, unheard: polls come as without, until something is heard again."""
    board = rendering()
    take_poll(board, queue=[row(OTHER, running=True)], history=[success()], now=310.0)
    assert not board.servers[A].hint.live
    hears(board, 311.0)
    assert board.servers[A].hint.live
    hears(board, 600.0, dropped=True)
    take_poll(board, history=[success(OTHER)], now=600.0)
    assert board.servers[A].hint.live


def test_a_socket_that_closes_is_a_poll_soon() -> None:
    """The pace without a socket begins within a second; a closed one that told nothing changes nothing."""
    board = rendering()
    board.apply(closed(0.0, 5.0))
    assert board.servers[A].poll_at == 6.0
    board = rendering(rules=Rules(poll=20.0))
    board.apply(closed(0.0, 5.0))
    assert board.servers[A].poll_at == 20.0
    board = rendering(live=False)
    board.apply(closed(0.0, 5.0))
    assert board.servers[A].poll_at == 10.0


def test_a_post_needs_no_poll_where_hints_come() -> None:
    """A taken prompt is looked for within a second, unless something runs there whose end will be told."""
    for live, expected in ((True, 30.0), (False, 6.0)):
        board = rendering(live=live)
        board.servers[A].poll_at = 30.0
        post(board, Taken("x", 3.0), submit(JOBS[2]), now=5.0)
        assert board.servers[A].poll_at == expected


# -- short jobs


def test_known_short_jobs_are_polled_eight_times_each() -> None:
    """Without a socket, at least 0.1 s; longer ones as ever, unknown ones as ever, and with a socket the hints do."""
    assert pause(rendering(2.0, live=False)) == pytest.approx(0.25)
    assert pause(rendering(0.3, live=False)) == pytest.approx(0.1)
    assert pause(rendering(8.0, live=False)) == pytest.approx(8 / 3)
    assert pause(rendering(0.0, live=False)) == 1.0
    assert pause(rendering(0.3)) == 1.0


@pytest.mark.parametrize(
    ("seconds", "live", "rules", "deep"),
    [
        (300.0, False, Rules(), 2),
        (0.3, False, Rules(), 2),
        (0.05, False, Rules(), 5),
        (0.001, False, Rules(), 16),
        (0.0, False, Rules(), 2),
        (0.3, True, Rules(), 2),
        (0.05, True, Rules(), 3),
        (2.0, False, Rules(poll=5.0), 6),
        (0.05, False, Rules(depth=1, max_depth=1), 1),
        (0.05, False, Rules(depth=8), 8),
    ],
)
def test_two_polls_work_is_queued(seconds: float, live: bool, rules: Rules, deep: int) -> None:  # noqa: FBT001 - a table
    """One prompt runs and what waits lasts for two polls, up to `max_depth`; never less than `depth`."""
    board = rendering(seconds, live=live, rules=rules)
    assert depth(board, board.servers[A], 0.0) == deep


def test_the_next_job_tells_the_depth_of_an_empty_server() -> None:
    """Before the first prompt is there, what is known of the next job decides."""
    board = ready_board(jobs=9)
    board.costs = dict.fromkeys(JOBS, COST)
    board.forecast.learn(A, COST, 0.05)
    assert len(plan(board, 0.0)) == 5
    assert JOB in {action.job for action in plan(board, 0.0) if hasattr(action, "job")}
