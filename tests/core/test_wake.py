"""When the loop thinks again: never now, never too late, and never without a reason."""

from __future__ import annotations

import pytest
from boards import (
    AT,
    JOB,
    LOCAL,
    OTHER,
    UNAUTHORIZED,
    UNAVAILABLE,
    A,
    B,
    fetch,
    fetching,
    lost,
    mp4,
    new_board,
    note,
    queued,
    ready_board,
    rendered,
    take_poll,
)

from batchrunner.core.actions import Poll
from batchrunner.core.facts import DownloadFailed, Why
from batchrunner.core.health import Breaker
from batchrunner.core.notes import PostsWait
from batchrunner.core.scheduler import leaving_time, plan, wake
from batchrunner.core.settings import Rules

PATIENCE = 8 * 3600.0
C = "http://unnamed:8188"


def test_the_next_poll() -> None:
    """With nothing else postponed it is the next poll."""
    assert wake(ready_board(), 0.0) == 10.0


def test_a_poll_under_way_reports_itself() -> None:
    """While a poll is under way its end wakes us; what remains is how long we wait for the server."""
    board = new_board()
    board.start(Poll(A), 0.0)
    assert wake(board, 60.0) == PATIENCE
    assert wake(board, PATIENCE) is None


@pytest.mark.parametrize(("grace", "limit"), [(60.0, 60.0), (1.0, 1.0), (900.0, 60.0)])
def test_the_end_of_waiting_for_surveys(grace: float, limit: float) -> None:
    """The moment after which servers that could not be asked are waited for no more."""
    board = new_board(rules=Rules(grace=grace))
    board.start(Poll(A), 0.0)
    assert wake(board, 0.0) == limit


def test_the_end_of_a_wait_for_posts() -> None:
    """The moment at which a server that wanted no POST may get one again."""
    board = ready_board()
    board.start(Poll(A), 0.0)
    board.apply(PostsWait(A, 33.0))
    assert wake(board, 0.0) == 33.0


def test_the_end_of_a_refusal() -> None:
    """A server that refuses us is out after `grace`, once something of the batch is out."""
    board = ready_board(queued())
    take_poll(board, trouble=UNAUTHORIZED, now=5.0)
    board.start(Poll(A), 5.0)
    assert wake(board, 5.0) == 65.0


def test_the_moment_a_server_is_given_up() -> None:
    """An unnamed server that is away is given up after `grace`: that moment wakes us."""
    board = ready_board(queued(server=C), jobs=2)
    take_poll(board, C, now=1.0)
    take_poll(board, C, trouble=UNAVAILABLE, now=5.0)
    for url in (A, C):
        board.start(Poll(url), 5.0)
    assert wake(board, 5.0) == 61.0


def test_never_now() -> None:
    """A moment that has come is no moment to wait for: the loop would spin."""
    board = ready_board()
    assert plan(board, 10.0)
    assert wake(board, 10.0) is None


def test_a_rest_that_ends() -> None:
    """A job that rests after an error, a file that rests after a broken download."""
    board = ready_board([*queued(), *queued(OTHER)])
    board.start(Poll(A), 0.0)
    note(board, [lost(why=Why.ERROR)], 5.0)
    assert wake(board, 5.0) == 65.0
    note(board, [rendered(OTHER), DownloadFailed(OTHER, 1, AT, mp4(OTHER).key, "reset")], 6.0)
    due = wake(board, 6.0)
    assert due is not None
    assert 6.8 < due < 7.2


def test_a_pause_after_errors() -> None:
    """The end of a server's pause."""
    board = ready_board()
    board.servers[A].breaker = Breaker(paused_until=7.0)
    assert wake(board, 0.0) == 7.0


def test_a_disk_that_may_have_calmed_down() -> None:
    """Two quiet minutes after trouble with our disk, at second zero too."""
    board = ready_board(fetching())
    board.start(Poll(A), 0.0)
    fetch(board, LOCAL, now=0.0)
    note(board, [lost()], 0.0)
    assert board.disk.calms_at() == 120.0
    assert wake(board, 1.5) == 120.0


def test_the_end_of_the_night() -> None:
    """The moment by which everything must be home; until then, a look at the wall clock every minute."""
    board = ready_board()
    board.start(Poll(A), 0.0)
    board.until_wall = AT + 500.0
    board.tick(460.0, AT + 460.0)
    assert wake(board, 460.0) == 500.0
    board.tick(100.0, AT + 100.0)
    assert wake(board, 100.0) == 160.0


def test_an_end_of_the_night_that_has_passed() -> None:
    """The wall clock is looked at every minute after the end too: it may be set back."""
    board = ready_board()
    board.start(Poll(A), 0.0)
    board.until_wall = AT + 500.0
    board.tick(600.0, AT + 600.0)
    assert wake(board, 600.0) == 660.0


def test_the_end_of_leaving() -> None:
    """The moment after which no file can be there any more."""
    for ttl, longest in ((60.0, 60.0), (None, 600.0)):
        board = ready_board(rules=Rules(ttl=ttl))
        board.leave(3.0)
        board.start(Poll(A), 3.0)
        assert leaving_time(board) == longest
        assert wake(board, 3.0) == 3.0 + longest


def test_the_end_of_patience() -> None:
    """The moment a server is no longer waited for; one that nobody has business with has none."""
    board = ready_board(queued(), servers=(A, B), jobs=2)
    take_poll(board, A, trouble=UNAVAILABLE, now=0.0)
    take_poll(board, B, trouble=UNAVAILABLE, now=0.0)
    for url in (A, B):
        board.start(Poll(url), 0.0)
    assert wake(board, 1.0) == PATIENCE
    unnamed = ready_board(queued(server=C), jobs=2)
    note(unnamed, [lost(JOB)])
    for url in (A, C):
        unnamed.start(Poll(url), 0.0)
    assert wake(unnamed, 1.0) is None
