"""What we remember of a server: its health, its back-off, when we no longer wait for it."""

from __future__ import annotations

import pytest
from boards import UNAUTHORIZED, UNAVAILABLE, A
from hypothesis import given, strategies as st

from batchrunner.core.health import Breaker, Health
from batchrunner.core.notes import (
    Polled,
    PollFailed,
    PollRefused,
    PostTaken,
    RenderFailed,
    RenderSucceeded,
    TransferFailed,
)
from batchrunner.core.results import Cause, Failure, PollResult, Row
from batchrunner.core.server import Server
from batchrunner.core.settings import Rules, backoff

RULES = Rules()


def server(now: float = 0.0) -> Server:
    """Return a server that nobody has heard of yet."""
    return Server(A, Health(now), now)


def look(one: Server, *rows: Row, began: float = 0.0) -> None:
    """Take in a good poll."""
    one.apply(Polled(A, PollResult(rows, {}, date=1000.0 + began), frozenset(), began, began + 0.5), RULES)


def ails(one: Server, failure: Failure, now: float, rules: Rules = RULES, *, racing: bool = False) -> None:
    """Take in a failed poll."""
    one.apply(PollFailed(A, failure, now, racing), rules)


@given(st.text(), st.integers(1, 10_000), st.floats(0.001, 60), st.floats(0.001, 1000))
def test_backoff_doubles_is_capped_and_the_same_everywhere(key: str, failures: int, base: float, cap: float) -> None:
    """A pause is the doubled base up to the cap, give or take an eighth, and the same for the same key."""
    pause = backoff(key, failures, base, cap)
    plain = min(cap, base * 2.0 ** min(failures - 1, 32))
    assert 0.875 * plain <= pause <= 1.125 * plain
    assert pause == backoff(key, failures, base, cap)


@pytest.mark.parametrize(("racing", "cap"), [(False, 60.0), (True, 5.0)])
def test_one_backoff_per_server(*, racing: bool, cap: float) -> None:
    """Trouble doubles the pause up to a minute, up to five seconds while a file may be deleted; a look resets it."""
    one = server()
    pauses = []
    for _ in range(9):
        ails(one, UNAVAILABLE, 100.0, RULES, racing=racing)
        pauses.append(one.poll_at - 100.0)
    assert 0.875 <= pauses[0] <= 1.125
    assert 0.875 * cap <= pauses[-1] <= 1.125 * cap
    assert not one.health.is_up()
    look(one)
    assert one.health.is_up()
    assert (one.health.failures, one.health.says) == (0, "")


def test_poll_is_where_the_backoff_starts() -> None:
    """A batch that polls slowly starts slowly, and never above the cap."""
    for poll, least, most in ((20.0, 17.5, 22.5), (300.0, 52.5, 67.5)):
        one = server()
        ails(one, UNAVAILABLE, 0.0, Rules(poll=poll), racing=False)
        assert least <= one.poll_at <= most
        one.apply(PollRefused(A, UNAUTHORIZED, 0.0), Rules(poll=poll))
        assert least <= one.poll_at <= most


def test_a_server_that_says_when() -> None:
    """A Retry-After is obeyed where it is longer than our own pause."""
    one = server()
    ails(one, Failure(Cause.UNAVAILABLE, "429", retry_after=90.0), 100.0, RULES, racing=False)
    assert one.poll_at == 190.0
    ails(one, Failure(Cause.UNAVAILABLE, "429", retry_after=0.0), 100.0, RULES, racing=False)
    assert one.poll_at > 101.0


def test_retry_after_does_not_lose_the_race() -> None:
    """While a file may be deleted, who says «come back in ten minutes» is asked again after one."""
    one = server()
    ails(one, Failure(Cause.UNAVAILABLE, "503", retry_after=600.0), 100.0, RULES, racing=True)
    assert one.poll_at == 160.0


def test_denied_polls_get_rare() -> None:
    """A token that stays wrong is not tried every second all night."""
    one = server()
    for _ in range(9):
        one.apply(PollRefused(A, UNAUTHORIZED, 0.0), RULES)
    assert one.health.is_denied()
    assert one.poll_at > 50.0
    look(one)
    assert not one.health.is_denied()


def test_patience_begins_with_the_oldest_trouble() -> None:
    """A server is out when it was away, without progress or fruitless for `patience`, whichever began first."""
    one = server()
    assert one.health.stuck_since() == 0.0
    look(one, began=10.0)
    assert one.health.stuck_since() is None
    assert not one.health.is_out(1e9, RULES)
    look(one, Row("x", 1, running=False), began=20.0)
    one.apply(TransferFailed(A, 15.0), RULES)
    one.apply(TransferFailed(A, 99.0), RULES)
    assert one.health.stuck_since() == 15.0
    assert not one.health.is_out(15.0 + RULES.patience - 1, RULES)
    assert one.health.is_out(15.0 + RULES.patience, RULES)


def test_what_is_out_is_out_when_we_said_we_would_wake() -> None:
    """The moment that `wake` names is the moment that counts, to the last bit."""
    one = server(0.1)
    rules = Rules(patience=0.2)
    assert one.health.is_out(0.1 + 0.2, rules)


@pytest.mark.parametrize("start", [0.0, 7000.0])
def test_wedged_after_grace_even_at_second_zero(start: float) -> None:
    """Prompts that wait while nothing runs make a server wedged after `grace`, counted from the first such look."""
    one = server(start)
    waiting = Row("x", 1, running=False)
    look(one, waiting, began=start)
    look(one, waiting, began=start + 30.0)
    assert one.health.stalled_at == start
    assert not one.health.is_wedged(start + 59.0, RULES)
    assert one.health.is_wedged(start + 60.0, RULES)
    look(one, waiting, Row("y", 2, running=True), began=start + 61.0)
    assert one.health.stalled_at is None


def test_the_servers_clock() -> None:
    """The skew is the server's clock minus ours; a look without a date keeps the last one."""
    one = server()
    look(one, began=10.0)
    assert one.queue.skew == 999.5
    one.apply(Polled(A, PollResult((), {}), frozenset(), 20.0, 20.5), RULES)
    assert one.queue.skew == 999.5
    assert one.health.answered_at == 10.5


def test_three_jobs_of_one_kind_trip_the_breaker() -> None:
    """Only three different jobs with the same class of error pause a server; another class begins anew."""
    one = server()
    for kind, job in (("OOM", "a"), ("OOM", "a"), ("OOM", "b"), ("ValueError", "c"), ("ValueError", "d")):
        one.apply(RenderFailed(A, job, kind, 0.0), RULES)
        assert not one.breaker.trips
    one.apply(RenderFailed(A, "e", "ValueError", 0.0), RULES)
    assert 52.5 <= one.breaker.paused_until <= 67.5
    one.apply(RenderFailed(A, "f", "OOM", 100.0), RULES)
    assert 100 + 105 <= one.breaker.paused_until <= 100 + 135
    one.apply(RenderSucceeded(A, "prompt"), RULES)
    assert one.breaker == Breaker()


def test_the_breaker_has_a_longest_pause() -> None:
    """However often it trips, a server gets another job within a quarter of an hour or so."""
    breaker = Breaker()
    for number in range(40):
        breaker = breaker.failed(A, "OOM", str(number), 0.0, 60.0)
    assert breaker.paused_until <= 900 * 1.125


def test_room_is_never_negative() -> None:
    """A server that holds more than `depth`, adopted from an earlier night, has no room."""
    one = server()
    assert (one.room(0, RULES), one.room(1, RULES), one.room(9, RULES)) == (2, 1, 0)


def test_an_accepted_post_does_not_shorten_a_backoff() -> None:
    """A server in trouble keeps its pause, even if one POST got through."""
    one = server()
    ails(one, UNAVAILABLE, 0.0, RULES, racing=False)
    ails(one, UNAVAILABLE, 0.0, RULES, racing=False)
    due = one.poll_at
    one.apply(PostTaken(A, 1, 0.0, 0.1), RULES)
    assert one.poll_at == due


def test_a_number_that_falls_back_is_a_restart() -> None:
    """A POST that began when the last one had ended and got a smaller number met a server that had begun anew."""
    one = server()
    one.apply(PostTaken(A, 5, 9.0, 10.0), RULES)
    assert one.memory.restarted_at is None
    one.apply(PostTaken(A, 0, 10.0, 11.0), RULES)
    assert one.memory.restarted_at == 10.0


def test_a_server_that_numbers_nothing_does_not_restart() -> None:
    """Where every prompt gets the number 0, from the first on, numbers say nothing of restarts."""
    one = server()
    for moment in (1.0, 2.0, 3.0):
        one.apply(PostTaken(A, 0, moment, moment), RULES)
    assert one.memory.restarted_at is None
