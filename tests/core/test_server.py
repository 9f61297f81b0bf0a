"""One server as this run knows it: its pauses, its clock, its restarts, what is to be taken off it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from boards import UNAUTHORIZED, UNAVAILABLE, A
from hypothesis import given, strategies as st

from batchrunner.core.actions import Cause, Failure, PollResult, Row
from batchrunner.core.facts import Why
from batchrunner.core.health import Breaker, BurnedLoss, Condition, Health
from batchrunner.core.notes import (
    Finished,
    Interrupted,
    JobBurned,
    JobWell,
    MustNotRender,
    Polled,
    PollFailed,
    PollRefused,
    PostRefused,
    PostsWait,
    PostTaken,
    Removed,
    Surveyed,
    TransferFailed,
)
from batchrunner.core.server import Server
from batchrunner.core.settings import Rules, backoff
from batchrunner.core.tracking import Tracked

RULES = Rules()
WAITING, RUNNING = Row("x", 1, running=False), Row("y", 2, running=True)


def server(now: float = 0.0) -> Server:
    """Return a server that nobody has heard of yet."""
    return Server(A, Health(now), now)


def poll(one: Server, *rows: Row, began: float = 0.0, hung: bool = False, unread: Failure | None = None) -> None:
    """Take in a good poll."""
    result = PollResult(rows, {}, date=1000.0 + began, unread=unread)
    one.apply(Polled(A, result, frozenset(), began, began + 0.5, hung))


def fails(one: Server, failure: Failure, now: float, rules: Rules = RULES, *, holding: bool = False) -> None:
    """Take in a failed poll."""
    one.rules = rules
    one.apply(PollFailed(A, failure, now, holding))


@given(st.text(), st.integers(1, 10_000), st.floats(0.001, 60), st.floats(0.001, 1000))
def test_backoff_doubles_is_capped_and_the_same_everywhere(key: str, failures: int, base: float, cap: float) -> None:
    """A pause is the doubled base up to the cap, give or take an eighth, and the same for the same key."""
    pause = backoff(key, failures, base, cap)
    plain = min(cap, base * 2.0 ** min(failures - 1, 32))
    assert 0.875 * plain <= pause <= 1.125 * plain
    assert pause == backoff(key, failures, base, cap)


@pytest.mark.parametrize(("holding", "cap"), [(False, 60.0), (True, 5.0)])
@pytest.mark.parametrize("note", [PollFailed, PollRefused])
def test_one_backoff_per_server(note: type[PollFailed | PollRefused], *, holding: bool, cap: float) -> None:
    """The pause doubles up to a minute, to five seconds while something of ours is there; a good poll resets it."""
    one = server()
    pauses = []
    for _ in range(9):
        one.apply(note(A, UNAVAILABLE, 100.0, holding))
        pauses.append(one.poll_at - 100.0)
    assert 0.875 <= pauses[0] <= 1.125
    assert 0.875 * cap <= pauses[-1] <= 1.125 * cap
    assert not one.health.is_up()
    poll(one)
    assert one.health.is_up()
    assert (one.health.failures, one.health.message) == (0, "")


def test_poll_is_where_the_backoff_starts() -> None:
    """A batch that polls slowly starts slowly, and never above the cap."""
    for every, least, most in ((20.0, 17.5, 22.5), (300.0, 52.5, 67.5)):
        for note in (PollFailed, PollRefused):
            one = Server(A, Health(0.0), 0.0, Rules(poll=every))
            one.apply(note(A, UNAUTHORIZED, 0.0, holding=False))
            assert least <= one.poll_at <= most
    one = server()
    fails(one, UNAVAILABLE, 0.0, Rules(poll=300.0), holding=True)
    assert 4.375 <= one.poll_at <= 5.625


@pytest.mark.parametrize(
    ("retry_after", "holding", "least", "most"),
    [
        (90.0, False, 90.0, 90.0),
        (600.0, False, 600.0, 600.0),
        (0.0, False, 0.875, 1.125),
        (30.0, True, 30.0, 30.0),
        (60.0, True, 60.0, 60.0),
        (600.0, True, 60.0, 60.0),
        (None, True, 0.875, 1.125),
    ],
)
def test_a_server_that_says_when(retry_after: float | None, least: float, most: float, *, holding: bool) -> None:
    """A Retry-After is obeyed where it is longer than our own pause, for a minute at most while we wait for a file."""
    one = server()
    fails(one, Failure(Cause.UNAVAILABLE, "503", retry_after=retry_after), 100.0, holding=holding)
    assert least <= one.poll_at - 100.0 <= most


def test_patience_begins_with_the_oldest_trouble() -> None:
    """A server is stuck since it was away, stalled or let nothing through, whichever began first."""
    one = server()
    assert one.health.stuck_since() == 0.0
    poll(one, began=10.0)
    assert one.health.stuck_since() is None
    poll(one, WAITING, began=20.0)
    assert one.health.stuck_since() == 20.0
    one.apply(TransferFailed(A, 15.0))
    one.apply(TransferFailed(A, 99.0))
    assert one.health.stuck_since() == 15.0


@pytest.mark.parametrize("start", [0.0, 7000.0])
def test_wedged_after_grace_even_at_second_zero(start: float) -> None:
    """Prompts that wait while nothing runs make a server wedged after `grace`, counted from the first such poll."""
    one = server(start)
    for began in (start, start + 30.0):
        poll(one, WAITING, began=began)
    assert (one.health.stalled_since, one.health.condition) == (start, Condition.STALLED)
    assert one.takes_prompts(start + 59.0)
    assert not one.takes_prompts(start + 60.0)
    poll(one, WAITING, RUNNING, began=start + 61.0)
    assert (one.health.stalled_since, one.health.condition) == (None, Condition.ANSWERING)


def test_a_prompt_that_outlives_its_interrupt_is_a_stall() -> None:
    """A server that runs on what it was told to interrupt takes nothing else either."""
    one = server()
    poll(one, RUNNING, began=5.0, hung=True)
    assert (one.health.stalled_since, one.health.condition) == (5.0, Condition.STALLED)


def test_a_poll_without_the_history_is_a_good_one() -> None:
    """A server whose history could not be read answers, and is up."""
    one = server()
    poll(one, RUNNING, unread=UNAVAILABLE)
    assert (one.health.is_up(), one.health.unread, one.health.condition) == (True, 1, Condition.ANSWERING)


def test_the_servers_clock() -> None:
    """The skew is the server's clock minus ours; a poll without a date keeps the last one."""
    one = server()
    poll(one, began=10.0)
    assert one.queue.skew == 999.5
    one.apply(Polled(A, PollResult((), {}), frozenset(), 20.0, 20.5))
    assert one.queue.skew == 999.5
    assert one.health.answered_at == 10.5


def test_a_file_at_home_closes_the_breaker() -> None:
    """Three burned losses alike pause a server; the next saved file ends that, a POST that is taken does not."""
    one = server()
    poll(one)
    for job in "abc":
        one.apply(JobBurned(A, BurnedLoss(job, "OOM", "so", may_pass=True), 0.0))
    assert (one.health.condition, one.takes_prompts(1.0)) == (Condition.FAILING, False)
    assert one.takes_prompts(one.breaker.paused_until)
    poll(one, began=2.0)
    assert one.health.condition is Condition.FAILING
    one.apply(PostTaken(A, 1, 2.0, 3.0))
    assert one.breaker.trips == 1
    one.apply(JobWell(A))
    assert (one.breaker, one.health.condition) == (Breaker(), Condition.ANSWERING)


def test_a_post_that_passes_closes_the_breaker_of_denied_ones() -> None:
    """What something before the server denied is proved wrong by the next POST that is taken."""
    one = server()
    for job in "abc":
        one.apply(JobBurned(A, BurnedLoss(job, Why.DENIED, "403", may_pass=True), 0.0))
    assert one.breaker.trips == 1
    one.apply(PostTaken(A, 1, 2.0, 3.0))
    assert one.breaker == Breaker()


def test_a_refused_post_is_followed_by_a_poll() -> None:
    """A 401 on a POST has the server polled at once, and the next POST waits; 429 alone only makes POSTs wait."""
    one = server()
    poll(one)
    one.poll_at = 9.0
    one.apply(PostsWait(A, 30.0))
    assert (one.poll_at, one.health.posts_at) == (9.0, 30.0)
    one.apply(PostRefused(A, UNAUTHORIZED, 3.0))
    assert (one.poll_at, one.health.condition) == (3.0, Condition.UNAUTHORIZED)


@pytest.mark.parametrize(("refused", "depth", "load", "room"), [(0, 3, 1, 2), (1, 3, 0, 1), (2, 3, 1, 0), (1, 1, 3, 0)])
def test_where_posts_are_refused_one_tries(refused: int, depth: int, load: int, room: int) -> None:
    """A server that refused a POST gets one at a time until one is taken."""
    one = server()
    one.health = replace(one.health, refused_posts=refused)
    assert one.room(load, depth) == room


def test_what_must_not_be_rendered() -> None:
    """An unwanted prompt is deleted while it waits, interrupted if it runs, and forgotten once it is nowhere."""
    one = server()
    one.apply(MustNotRender(A, frozenset({"x", "y"})))
    assert one.to_remove == {"x", "y"}
    poll(one, WAITING, RUNNING)
    assert one.to_interrupt == {"y"}
    one.apply(Removed(A, frozenset({"x", "y"})))
    poll(one, RUNNING, began=1.0)
    assert one.unwanted == {"y"}
    one.apply(Interrupted(A, "y"))
    assert not one.to_interrupt
    poll(one, began=2.0)
    assert not one.unwanted


def test_what_is_still_to_be_deleted_is_not_forgotten() -> None:
    """A poll that misses an unwanted prompt before its deletion does not end the matter: it may still arrive."""
    one = server()
    one.apply(MustNotRender(A, frozenset({"y"})))
    poll(one)
    poll(one, RUNNING, began=1.0)
    assert one.to_interrupt == {"y"}


def test_signs_of_a_restart() -> None:
    """A finished prompt that is gone from the history means a restart; one that is there, or was not read, does not."""
    one = server()
    one.apply(Finished(A, "p"))
    for history in ({}, {"other": None}):
        one.apply(Polled(A, PollResult((), history), frozenset(), 1.0, 1.5))
        assert one.memory.restarted_at is None
    one.apply(Polled(A, PollResult((), {"p": None}), frozenset(), 2.0, 2.5))
    assert (one.memory.restarted_at, one.memory.last_finished) == (2.0, None)


def test_since_when_a_prompt_was_next() -> None:
    """Since the last render of ours, or its POST, whichever was later; unknown across a failure, or without either."""
    one = server()
    assert one.ready_since(None) is None
    assert one.ready_since(Tracked(sent_at=5.0)) == 5.0
    one.rendered_at = 9.0
    assert one.ready_since(Tracked(sent_at=5.0)) == one.ready_since(Tracked()) == 9.0
    fails(one, UNAVAILABLE, 7.0)
    assert one.ready_since(Tracked(sent_at=5.0)) == 9.0
    fails(one, UNAVAILABLE, 9.0)
    assert one.ready_since(Tracked(sent_at=5.0)) is None


def test_an_unnamed_server_takes_nothing() -> None:
    """A server that nobody names is only watched."""
    one = server()
    poll(one)
    one.apply(Surveyed(A))
    assert (one.surveyed, one.takes_prompts(1.0)) == (True, True)
    one.named = False
    assert not one.takes_prompts(1.0)


def test_room_is_never_negative() -> None:
    """A server that holds more than it should, adopted from an earlier night, has no room."""
    one = server()
    assert (one.room(0, 2), one.room(1, 2), one.room(9, 2)) == (2, 1, 0)


def test_an_accepted_post_does_not_shorten_a_backoff() -> None:
    """A server in trouble keeps its pause, even if one POST got through."""
    one = server()
    fails(one, UNAVAILABLE, 0.0)
    fails(one, UNAVAILABLE, 0.0)
    due = one.poll_at
    one.apply(PostTaken(A, 1, 0.0, 0.1))
    assert one.poll_at == due


def test_a_number_that_falls_back_is_a_restart() -> None:
    """A POST that began when the last one had ended and got a smaller number met a server that had begun anew."""
    one = server()
    one.apply(PostTaken(A, 5, 9.0, 10.0))
    assert one.memory.restarted_at is None
    one.apply(PostTaken(A, 0, 10.0, 11.0))
    assert one.memory.restarted_at == 10.0


def test_a_server_that_numbers_nothing_does_not_restart() -> None:
    """Where every prompt gets the number 0, from the first on, numbers say nothing of restarts."""
    one = server()
    for moment in (1.0, 2.0, 3.0):
        one.apply(PostTaken(A, 0, moment, moment))
    assert one.memory.restarted_at is None
