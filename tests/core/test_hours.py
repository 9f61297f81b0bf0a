"""`hours`: submitted is only within them and only what fits; outside them the run waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from boards import (
    AT,
    JOBS,
    UNAUTHORIZED,
    UNAVAILABLE,
    A,
    accepted,
    claimed,
    new_board,
    note,
    queued,
    ready_board,
    take_poll,
)

from batchrunner.core.actions import Poll, Submit
from batchrunner.core.exit import exit_decision
from batchrunner.core.hours import Hours, Window
from batchrunner.core.link import Link
from batchrunner.core.scheduler import file_away, plan, wake
from batchrunner.core.sizes import JobSizes

if TYPE_CHECKING:
    from batchrunner.core.board import Board

HOUR, DAY = 3600.0, 24 * 3600.0
NIGHT = 9 * HOUR
COST = 20.0
"""Renders for about five minutes."""


def _windows(wall: float) -> Window:
    """Return the window of hours that begin with the loop's clock and each day after, for nine hours."""
    day = (wall - AT) // DAY
    tonight = Window(AT + day * DAY, AT + day * DAY + NIGHT)
    return tonight if wall < tonight.closes else Window(tonight.opens + DAY, tonight.closes + DAY)


def _board(now: float, *, hours: Hours | None = None) -> Board:
    board = ready_board(now=now)
    board.costs = dict.fromkeys(JOBS, COST)
    board.hours = hours or Hours(_windows)
    board.tick(now, AT + now)
    return board


def _submitted(board: Board, now: float) -> int:
    return sum(isinstance(action, Submit) for action in plan(board, now))


@pytest.mark.parametrize(
    ("now", "submitted"),
    [(0.0, 2), (NIGHT - 500.0, 1), (NIGHT - 60.0, 0), (NIGHT, 0), (DAY - 1.0, 0), (DAY, 2)],
)
def test_only_within_the_hours_and_what_fits(now: float, submitted: int) -> None:
    """A prompt is submitted from the first second of the hours on, as long as it will be home before their end."""
    assert _submitted(_board(now), now) == submitted


def test_it_wakes_when_the_hours_begin() -> None:
    """Outside the hours the next thing to do is no later than their beginning, and nothing ends the run."""
    now = NIGHT + 60.0
    board = _board(now)
    file_away(board, now)
    assert exit_decision(board, now) is None
    assert board.hours is not None
    assert board.hours.opens == DAY
    at = wake(board, DAY - 1.0)
    assert at is not None
    assert at <= DAY
    board.tick(DAY, AT + DAY)
    assert _submitted(board, DAY) == 2


def test_the_clock_on_the_wall_counts() -> None:
    """A machine that slept through the hours has missed them; a clock that is turned back asks for them anew."""
    board = _board(0.0)
    assert not board.is_closed()
    board.tick(10.0, AT + NIGHT + 10.0)
    assert board.is_closed()
    board.tick(20.0, AT + 20.0)
    assert not board.is_closed()
    assert board.hours is not None
    assert board.hours.closes == NIGHT


def test_a_machine_that_is_off_by_day() -> None:
    """A server that is away outside the hours, for longer than `patience`, is waited for anew when they begin."""
    board = _board(NIGHT)
    for now in (NIGHT + 60.0, NIGHT + 120.0, DAY - 1.0):
        take_poll(board, A, trouble=UNAVAILABLE, now=now)
        board.tick(now, AT + now)
        assert exit_decision(board, now) is None
    board.tick(DAY, AT + DAY)
    assert exit_decision(board, DAY) is None
    assert exit_decision(board, DAY + board.rules.patience - 1.0) is None
    ending = exit_decision(board, DAY + board.rules.patience)
    assert ending is not None
    assert ending.exit == 3


def test_a_server_that_answers_is_no_news() -> None:
    """One that answered all day is known to; one that holds a prompt of ours was waited for all the time."""
    board = _board(NIGHT)
    good_at = board.servers[A].health.good_at
    note(board, [claimed(), accepted()], NIGHT)
    take_poll(board, A, trouble=UNAVAILABLE, now=NIGHT + 60.0)
    board.tick(DAY, AT + DAY)
    assert board.servers[A].health.good_at == good_at
    board = _board(NIGHT)
    good_at = board.servers[A].health.good_at
    board.tick(DAY, AT + DAY)
    assert board.servers[A].health.good_at == good_at


def test_a_token_that_is_refused_is_told_at_once() -> None:
    """Outside the hours too, servers that refuse the token end the run: nobody wants to hear of that at night."""
    board = new_board(now=NIGHT)
    board.hours = Hours(_windows)
    board.tick(NIGHT, AT + NIGHT)
    assert any(isinstance(action, Poll) for action in plan(board, NIGHT))
    take_poll(board, A, trouble=UNAUTHORIZED, now=NIGHT)
    ending = exit_decision(board, NIGHT + 1.0)
    assert ending is not None
    assert ending.exit == 3


def test_a_line_too_slow_for_any_hours_is_tried_again() -> None:
    """A line that stalled yesterday keeps no batch waiting for ever: an idle one gets a job, a busy one none."""
    board = _board(0.0)
    board.sizes = JobSizes({COST: (1, 1e8)})
    board.servers[A].link = Link(moved=1e3, busy=100.0)
    assert _submitted(board, 0.0) > 0
    note(board, queued(JOBS[0]))
    assert _submitted(board, 0.0) == 0


def test_jobs_longer_than_the_hours() -> None:
    """Where no job fits even into whole hours, waiting for the next ones is in vain: the run ends."""
    short = Hours(lambda wall: Window(wall, wall + 60.0))
    board = _board(0.0, hours=short)
    assert _submitted(board, 0.0) == 0
    ending = exit_decision(board, 0.0)
    assert ending is not None
    assert (ending.exit, ending.message.startswith("3 jobs are left for the next run")) == (0, True)


@pytest.mark.parametrize(("until", "code"), [(DAY + 60.0, 0), (DAY + HOUR, None), (NIGHT + HOUR, 0)])
def test_until_beside_hours(until: float, code: int | None) -> None:
    """Outside the hours the run waits for them only if something can still be home by `until`."""
    now = NIGHT + 60.0
    board = _board(now)
    board.until_wall = AT + until
    board.tick(now, AT + now)
    ending = exit_decision(board, now)
    assert (ending.exit if ending else None) == code
