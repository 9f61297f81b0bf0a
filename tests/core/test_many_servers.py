"""What must not cost what all servers cost, and is still right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from boards import AT, JOBS, UNAVAILABLE, A, B, lost, new_board, note, queued, ready_board, take_poll

from batchrunner.core.actions import Row, Submit
from batchrunner.core.eta import overdue
from batchrunner.core.forecast import Forecast
from batchrunner.core.scheduler import file_away, plan

if TYPE_CHECKING:
    from batchrunner.core.board import Board

SHORT, LONG = 20.0, 300.0


def test_the_first_servers_that_rendered_a_kind_tell_what_it_takes_elsewhere() -> None:
    """After 32 servers a further hundred, however slow, changes nothing for one that rendered none of the kind."""
    forecast = Forecast()
    for number in range(32):
        forecast.learn(f"http://gpu-{number}", SHORT, 300.0)
    told = forecast.seconds(A, SHORT)
    for number in range(100):
        forecast.learn(f"http://slow-{number}", SHORT, 900.0)
    assert forecast.seconds(A, SHORT) == told
    assert forecast.renders() == 132
    assert forecast.knows(SHORT)
    assert not forecast.knows(LONG)


def test_a_forecast_follows_every_render() -> None:
    """What was told once is not told again after the server has rendered one more."""
    forecast = Forecast()
    forecast.learn(A, SHORT, 300.0)
    told = forecast.seconds(A, SHORT)
    forecast.learn(A, SHORT, 900.0)
    assert forecast.seconds(A, SHORT) > told


def test_a_forecast_follows_what_compares_two_servers() -> None:
    """What one server's render says of another is told anew after a render of either."""
    forecast = Forecast()
    forecast.learn(A, SHORT, 300.0)
    forecast.learn(A, LONG, 1000.0)
    forecast.learn(B, SHORT, 600.0)
    told = forecast.seconds(B, LONG)
    forecast.learn(B, SHORT, 1200.0)
    slower = forecast.seconds(B, LONG)
    assert slower > told
    forecast.learn(A, SHORT, 900.0)
    assert forecast.seconds(B, LONG) < slower


def test_a_stranger_that_runs_for_long_is_no_job_of_ours_overdue() -> None:
    """Somebody else's prompt may run for an hour: nothing of ours is overdue then."""
    board = ready_board()
    theirs = Row("theirs", 0, running=True)
    take_poll(board, queue=[theirs], now=10.0)
    take_poll(board, queue=[theirs], now=3600.0)
    assert overdue(board, A, 3600.0) is None


def test_a_server_with_room_is_asked_again_only_when_the_jobs_change() -> None:
    """Where none of the next jobs can be home in time, only a server to which something happens is asked again."""
    board = ready_board(servers=(A, B))
    board.costs = dict.fromkeys(JOBS, LONG)
    board.until_wall = AT + 600
    board.tick(1.0, AT + 1)
    assert _posts(board, 1.0) == []
    file_away(board, 1.0)
    assert board.looked_through
    board.costs[JOBS[0]] = SHORT
    board.touch(B)
    assert [post.server for post in _posts(board, 2.0)] == [B]


def test_a_job_that_is_offered_finds_every_server_with_room() -> None:
    """A job that waits again goes to a server that nothing happened to in the meantime."""
    board = ready_board(queued(JOBS[0], server=B), servers=(A, B), jobs=2)
    board.costs = {JOBS[0]: SHORT, JOBS[1]: LONG}
    board.until_wall = AT + 600
    take_poll(board, B, trouble=UNAVAILABLE, now=1.0)
    board.tick(2.0, AT + 2)
    file_away(board, 2.0)
    assert board.looked_through
    note(board, [lost(JOBS[0])], 3.0)
    assert board.attention.names() == [B]
    assert [(post.job, post.server) for post in _posts(board, 3.0)] == [(JOBS[0], A)]


def test_a_job_taken_brings_the_next_ones_up() -> None:
    """After a submission the next jobs are others, and every server with room is asked about them."""
    board = new_board(servers=(A, B))
    take_poll(board, A)
    take_poll(board, B)
    board.tick(1.0, AT + 1)
    note(board, queued(JOBS[0]), 1.0)
    file_away(board, 1.0)
    assert not board.looked_through


def _posts(board: Board, now: float) -> list[Submit]:
    return [action for action in plan(board, now) if isinstance(action, Submit)]
