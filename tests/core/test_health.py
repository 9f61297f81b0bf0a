"""The life of a server: its conditions, when it is waited for, and the breaker."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from boards import (
    JOBS,
    UNAUTHORIZED,
    UNAVAILABLE,
    A,
    B,
    accepted,
    done,
    failure,
    lost,
    note,
    post,
    queued,
    ready_board,
    rendered,
    saved,
    success,
    take_poll,
)
from health_page import PAGE, document

from batchrunner.core.actions import Submit, Taken
from batchrunner.core.exit import exit_decision
from batchrunner.core.facts import Lost, Why
from batchrunner.core.health import ALLOWED, NEXT, Breaker, BurnedLoss, Condition, Event, Health
from batchrunner.core.notes import JobBurned
from batchrunner.core.scheduler import plan
from batchrunner.core.server import OUR_DISK
from batchrunner.core.settings import Rules

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchrunner.core.board import Board

RULES = Rules()
OOM = "torch.OutOfMemoryError"


# -- the table


def after(condition: Condition, event: Event) -> Condition:
    """Return the condition that follows, as the code applies it."""
    refused = 1 if event is Event.POLLED_REFUSED else 0
    one = Health(0.0, condition, refused_posts=refused)

    def polled(*, stalled: bool = False, tripped: bool = False) -> Health:
        return one.polled(1.0, 2.0, stalled=stalled, tripped=tripped, whole=True)

    steps: dict[Event, Callable[[], Health]] = {
        Event.POLLED: polled,
        Event.POLLED_STALLED: lambda: polled(stalled=True),
        Event.POLLED_REFUSED: polled,
        Event.POLLED_TRIPPED: lambda: polled(tripped=True),
        Event.POLL_FAILED: lambda: one.poll_failed(UNAVAILABLE, 1.0),
        Event.POLL_REFUSED: lambda: one.poll_refused(UNAUTHORIZED, 1.0),
        Event.POST_TAKEN: one.post_taken,
        Event.POST_REFUSED: lambda: one.post_refused(A, UNAUTHORIZED, 1.0),
        Event.TRIPPED: one.tripped,
        Event.JOB_WELL: one.job_well,
        Event.GIVEN_UP: lambda: one.given_up(A, 1.0, 60.0),
    }
    return steps[event]().condition


@pytest.mark.parametrize("event", Event)
@pytest.mark.parametrize("condition", Condition)
def test_the_table_is_what_happens(condition: Condition, event: Event) -> None:
    """Whatever a result says of a server in whatever condition, what follows stands in the table."""
    assert after(condition, event) is NEXT[condition].get(event, condition)


def test_the_tables_are_total() -> None:
    """Every condition has a row, says what it allows, and can be reached; every event leads somewhere."""
    assert set(NEXT) == set(ALLOWED) == set(Condition)
    reached = {condition for row in NEXT.values() for condition in row.values()}
    assert reached == set(Condition) - {Condition.UNKNOWN}
    assert {event for row in NEXT.values() for event in row} == set(Event)


def test_only_a_good_poll_ends_a_silence() -> None:
    """No POST, no file and no failure makes a server that is away, or given up, answer again."""
    for condition in (Condition.UNAVAILABLE, Condition.GONE):
        ends = {event for event, then in NEXT[condition].items() if ALLOWED[then].downloads and "poll" not in event}
        assert ends == set()


def test_the_page_is_current() -> None:
    """`docs/health.md` shows the tables of the code; `python tests/core/health_page.py` writes it anew."""
    assert PAGE.read_text(encoding="utf-8") == document()


# -- what it allows


@pytest.mark.parametrize(
    ("said", "posts", "files"),
    [
        ((), False, False),
        (("good",), True, True),
        (("failed",), False, False),
        (("refused",), False, False),
        (("good", "failed"), False, False),
        (("good", "refused"), False, True),
        (("good", "post refused"), False, True),
        (("good", "post refused", "good"), False, True),
        (("good", "failed", "good"), True, True),
        (("good", "given up"), False, False),
        (("good", "given up", "failed"), False, False),
        (("good", "stalled"), True, True),
        (("good", "tripped"), True, True),
    ],
)
def test_what_a_server_is_given(said: tuple[str, ...], *, posts: bool, files: bool) -> None:
    """No file before the first good poll, none while polls fail; while it refuses us, what it has comes home."""
    one = Health(0.0)
    for word in said:
        steps: dict[str, Health] = {
            "good": one.polled(1.0, 1.0, stalled=False, tripped=False, whole=True),
            "stalled": one.polled(1.0, 1.0, stalled=True, tripped=False, whole=True),
            "failed": one.poll_failed(UNAVAILABLE, 1.0),
            "refused": one.poll_refused(UNAUTHORIZED, 1.0),
            "post refused": one.post_refused(A, UNAUTHORIZED, 1.0),
            "given up": one.given_up(A, 1.0, 60.0),
            "tripped": one.tripped(),
        }
        one = steps[word]
    assert (one.takes_prompts(1.0, RULES), one.gives_files()) == (posts, files)


def test_after_a_refused_post_another_is_tried() -> None:
    """A refused POST is tried again after a pause that doubles up to a minute; one that is taken ends it."""
    one = Health(0.0).polled(0.0, 0.0, stalled=False, tripped=False, whole=True)
    pauses = []
    for _ in range(9):
        one = one.post_refused(A, UNAUTHORIZED, 100.0)
        pauses.append(one.posts_at - 100.0)
        assert one.takes_prompts(one.posts_at, RULES)
    assert 0.875 <= pauses[0] <= 1.125
    assert 52.5 <= pauses[-1] <= 67.5
    assert (one.refused_since, one.message) == (100.0, "401")
    good = one.polled(101.0, 101.0, stalled=False, tripped=False, whole=True)
    assert (good.refused_since, good.message) == (100.0, "401")
    taken = good.post_taken()
    assert (taken.refused_posts, taken.refused_since, taken.condition) == (0, None, Condition.ANSWERING)


def test_a_good_poll_ends_what_polls_began() -> None:
    """A 401 on polls that passes is forgotten."""
    one = Health(0.0).poll_refused(UNAUTHORIZED, 5.0).poll_refused(UNAUTHORIZED, 7.0)
    assert (one.refused_since, one.failures) == (5.0, 2)
    good = one.polled(8.0, 9.0, stalled=False, tripped=False, whole=True)
    assert (good.refused_since, good.failures, good.message, good.good_at, good.answered_at) == (None, 0, "", 8.0, 9.0)


def test_the_longer_wait_counts() -> None:
    """A server that wants no POST before a moment (429) gets none, whatever else is to be waited for."""
    one = Health(0.0).posts_wait(50.0).posts_wait(20.0)
    assert one.posts_at == 50.0


def test_a_server_given_up_though_it_answers() -> None:
    """Its next prompt comes after a pause that doubles up to a quarter of an hour, until something gets through."""
    one = Health(0.0)
    pauses = []
    for _ in range(9):
        one = one.given_up(A, 1000.0, 60.0)
        pauses.append(one.posts_at - 1000.0)
    assert 52.5 <= pauses[0] <= 67.5
    assert 105.0 <= pauses[1] <= 135.0
    assert 787.5 <= pauses[-1] <= 1012.5
    for worked in (one.post_taken(), one.transfer_worked(), one.job_well()):
        assert (worked.give_ups, worked.failing_since) == (0, None)


def test_polls_that_could_not_read_the_history_are_counted() -> None:
    """A poll whose history could not be read is a good one, and counted until one could."""
    one = Health(0.0)
    for expected, whole in ((1, False), (2, False), (0, True)):
        one = one.polled(1.0, 1.0, stalled=False, tripped=False, whole=whole)
        assert (one.unread, one.is_up()) == (expected, True)


# -- when it is no longer waited for


@pytest.mark.parametrize(
    ("health", "holding", "out_at"),
    [
        (Health(3.0), True, 3.0 + RULES.patience),
        (Health(3.0, Condition.ANSWERING, answered_at=1.0), True, None),
        (Health(3.0, Condition.UNAVAILABLE, answered_at=1.0, failures=1), True, 3.0 + RULES.patience),
        (Health(3.0, Condition.ANSWERING, answered_at=1.0, failing_since=2.0), True, 2.0 + RULES.patience),
        (Health(3.0, Condition.STALLED, answered_at=1.0, stalled_since=2.5), True, 2.5 + RULES.patience),
        (
            Health(3.0, Condition.STALLED, answered_at=1.0, failures=1, stalled_since=2.5, failing_since=2.0),
            True,
            2.0 + RULES.patience,
        ),
        (Health(3.0, Condition.UNAUTHORIZED, failures=1, refused_since=4.0), False, 4.0),
        (Health(3.0, Condition.UNAUTHORIZED, failures=1, refused_since=4.0), True, 64.0),
        (Health(3.0, Condition.UNAUTHORIZED, answered_at=1.0, refused_posts=1, refused_since=4.0), True, 64.0),
        (Health(3.0, Condition.UNAVAILABLE, failures=2, refused_since=4.0), True, 3.0 + RULES.patience),
        (Health(3.0, Condition.UNAUTHORIZED), False, 3.0 + RULES.patience),
    ],
)
def test_when_a_server_is_no_longer_waited_for(health: Health, out_at: float | None, *, holding: bool) -> None:
    """At once where it refuses us before anything is out, after `grace` then, after `patience` without anything."""
    assert health.out_at(RULES, holding=holding) == out_at
    assert health.is_out(1e9, RULES, holding=holding) is (out_at is not None)
    if out_at is not None:
        assert health.is_out(out_at, RULES, holding=holding)
        assert not health.is_out(out_at - 0.1, RULES, holding=holding)


def test_a_server_that_was_given_up_is_out() -> None:
    """Nobody waits for a server that was given up; if it comes back, that is another matter."""
    gone = Health(0.0).given_up(A, 5.0, 60.0)
    assert gone.is_out(5.0, RULES, holding=True)
    assert not gone.polled(6.0, 6.0, stalled=False, tripped=False, whole=True).is_out(6.0, RULES, holding=True)


def test_what_is_out_is_out_when_we_said_we_would_wake() -> None:
    """The moment that `wake` names is the moment that counts, to the last bit."""
    assert Health(0.1).is_out(0.1 + 0.2, Rules(patience=0.2), holding=True)


# -- the breaker


def burned(job: str, kind: str = "ValueError", *, may_pass: bool = False) -> BurnedLoss:
    """Return an attempt that was rendered in vain."""
    return BurnedLoss(job, kind, f"{kind} of {job}", may_pass)


def test_three_jobs_of_one_kind_trip_the_breaker() -> None:
    """Only three different jobs that end alike pause a server; another kind of end begins anew."""
    breaker = Breaker()
    for kind, job in (("OOM", "a"), ("OOM", "a"), ("OOM", "b"), ("ValueError", "c"), ("ValueError", "d")):
        breaker = breaker.failed(A, burned(job, kind), 0.0, 60.0)
        assert not breaker.trips
        assert not breaker.is_hopeless()
    breaker = breaker.failed(A, burned("e"), 0.0, 60.0)
    assert 52.5 <= breaker.paused_until <= 67.5
    assert (breaker.message, breaker.jobs) == ("ValueError of e", {"c", "d", "e"})
    assert breaker.is_hopeless()
    breaker = breaker.failed(A, burned("f", "OOM"), 100.0, 60.0)
    assert 100 + 105 <= breaker.paused_until <= 100 + 135
    assert not breaker.is_hopeless()


def test_what_waiting_may_mend_is_not_hopeless() -> None:
    """Three jobs that ran out of memory alike pause a server, and prove nothing against the workflow."""
    breaker = Breaker()
    for job in "abc":
        breaker = breaker.failed(A, burned(job, "out of memory", may_pass=True), 0.0, 60.0)
    assert (breaker.trips, breaker.is_hopeless()) == (1, False)


def test_the_breaker_has_a_longest_pause() -> None:
    """However often it trips, a server gets another job within a quarter of an hour or so."""
    breaker = Breaker()
    for number in range(40):
        breaker = breaker.failed(A, burned(str(number), OOM), 0.0, 60.0)
    assert breaker.paused_until <= 900 * 1.125


def test_no_more_goes_out_than_it_takes_to_trip() -> None:
    """After one failure two prompts may be out, after two one: the third trips, and none lies behind it in vain."""
    breaker = Breaker()
    assert breaker.most(5) == 5
    breaker = breaker.failed(A, burned("a"), 0.0, 60.0)
    assert (breaker.most(5), breaker.most(1)) == (2, 1)
    breaker = breaker.failed(A, burned("b"), 0.0, 60.0)
    assert breaker.most(5) == 1
    breaker = breaker.failed(A, burned("c"), 0.0, 60.0)
    assert breaker.most(5) == 1


# -- a server on which job after job fails: what it gets, and what that costs the jobs


def submits(board: Board, now: float) -> list[Submit]:
    """Return the prompts that would go out now."""
    return [action for action in plan(board, now) if isinstance(action, Submit)]


def probe(board: Board, *, works: bool = False) -> str:
    """Let one job probe the server as soon as it may; return which it was."""
    now = board.servers[A].breaker.paused_until
    (action,) = (action for action in submits(board, now) if action.server == A)
    post(board, Taken(action.prompt, 1), action, now=now)
    if works:
        note(board, done(action.job, action.attempt)[2:], now + 1)
    else:
        take_poll(board, history=[failure(action.job, action.attempt, OOM)], now=now + 1)
    return action.job


def tripped(jobs: int, *servers: str) -> Board:
    """Return a board on which the first three jobs have tripped the breaker of the first server."""
    board = ready_board(jobs=jobs, servers=servers, rules=Rules(attempts=3))
    note(board, [fact for job in JOBS[:3] for fact in queued(job)])
    take_poll(board, history=[failure(job, exception=OOM) for job in JOBS[:3]], now=1.0)
    assert board.servers[A].breaker.trips == 1
    return board


def test_probes_go_round() -> None:
    """Each probe is another job, and when all have failed they begin anew: none spends its attempts on finding out."""
    board = tripped(6, A)
    assert board.servers[A].health.condition is Condition.FAILING
    assert [probe(board) for _ in range(3)] == list(JOBS[3:6])
    assert [probe(board) for _ in range(3)] == list(JOBS[:3])
    assert probe(board, works=True) in JOBS[3:6]
    assert board.servers[A].breaker == Breaker()
    assert board.servers[A].health.condition is Condition.ANSWERING


def test_a_success_without_its_file_proves_nothing() -> None:
    """The breaker is closed by a saved file, not by a history entry that says success."""
    board = tripped(6, A)
    now = board.servers[A].breaker.paused_until
    (action,) = submits(board, now)
    post(board, Taken(action.prompt, 1), action, now=now)
    take_poll(board, history=[success(action.job)], now=now + 1)
    assert board.servers[A].breaker.trips == 1
    note(board, done(action.job)[3:], now + 2)
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
    board.apply(JobBurned(B, burned(JOBS[8], OOM), 0.0))
    job = probe(board)
    assert board.states[job].past.spent == 1


def test_the_first_three_count() -> None:
    """Before the trip nobody knows whose fault it is: the attempt is spent."""
    board = ready_board(queued(), jobs=3)
    (fact,) = take_poll(board, history=[failure(exception=OOM)], now=1.0)
    assert isinstance(fact, Lost)
    assert fact.burns


BURNED = [Why.ERROR, Why.EXPIRED, Why.WRONG_CONTENT, Why.UNUSABLE]
MAY_PASS = [Why.FORGOTTEN, Why.STUCK]


@pytest.mark.parametrize("why", [*BURNED, *MAY_PASS])
def test_every_burned_loss_counts(why: Why) -> None:
    """Three different jobs that were rendered in vain alike pause their server, whatever they ended with."""
    board = ready_board([fact for job in JOBS[:3] for fact in queued(job)], jobs=9)
    note(board, [lost(job, why=why) for job in JOBS[:3]], 1.0)
    server = board.servers[A]
    assert (server.breaker.trips, server.health.condition) == (1, Condition.FAILING)


@pytest.mark.parametrize("why", BURNED)
def test_a_workflow_that_brings_nothing_ends_the_run(why: Why) -> None:
    """Three different jobs in vain alike, none ever well: nothing more is posted, and exit 3 says how they ended."""
    board = ready_board([fact for job in JOBS[:3] for fact in queued(job)], jobs=9)
    ends = [replace(lost(job, why=why), message="SaveVideo #15 raised OSError: no codec") for job in JOBS[:3]]
    note(board, ends[:2], 1.0)
    assert not board.hopeless_loss()
    note(board, ends[2:], 1.0)
    assert submits(board, 1e6) == []
    ending = exit_decision(board, 1.0)
    assert ending is not None
    assert (ending.exit, "no codec" in ending.message) == (3, True)


@pytest.mark.parametrize("why", MAY_PASS)
def test_what_waiting_may_mend_ends_no_run(why: Why) -> None:
    """What a restart or a pause may mend pauses the server, and the run goes on."""
    board = ready_board([fact for job in JOBS[:3] for fact in queued(job)], jobs=9)
    note(board, [lost(job, why=why) for job in JOBS[:3]], 1.0)
    assert (board.hopeless_loss(), exit_decision(board, 1.0)) == ("", None)


def test_a_batch_that_was_well_once_goes_on() -> None:
    """Once a file of this batch came home, three losses alike are the server's: it rests, and one job probes."""
    for facts, well in (((), False), (done(JOBS[5]), True)):
        board = ready_board([*facts, *(fact for job in JOBS[:3] for fact in queued(job))], jobs=9)
        note(board, [lost(job, why=Why.WRONG_CONTENT) for job in JOBS[:3]], 1.0)
        assert bool(board.hopeless_loss()) is not well
        assert len(submits(board, 1e6)) == int(well)


def test_a_video_on_our_own_disk_proves_that_the_batch_can_be_well() -> None:
    """A ledger that was lost adopts old losses from the history; a file of the batch on this disk outweighs them."""
    board = ready_board([fact for job in JOBS[:3] for fact in queued(job)], jobs=9)
    note(board, [*queued(JOBS[5], server=OUR_DISK), rendered(JOBS[5]), saved(JOBS[5])], 1.0)
    note(board, [lost(job, why=Why.WRONG_CONTENT) for job in JOBS[:3]], 1.0)
    assert not board.hopeless_loss()


def test_old_losses_in_the_history_rest_no_server() -> None:
    """What a ledger that was lost finds in a server's history says nothing of the server now: prompts go there."""
    board = ready_board(jobs=9)
    for job in JOBS[:3]:
        note(board, [accepted(job), lost(job, why=Why.WRONG_CONTENT)], 1.0)
    assert board.servers[A].breaker.trips == 0
    assert not board.hopeless_loss()
    assert len(submits(board, 1.0)) == 2


def test_one_server_alone_does_not_prove_it() -> None:
    """Every named server that answers must say so: one that is well, or that nobody asked yet, may know better."""
    board = ready_board([fact for job in JOBS[:3] for fact in queued(job)], jobs=9, servers=(A, B))
    note(board, [lost(job, why=Why.WRONG_CONTENT) for job in JOBS[:3]], 1.0)
    assert not board.hopeless_loss()
    assert {one.server for one in submits(board, 1.0)} == {B}
    take_poll(board, B, trouble=UNAVAILABLE, now=2.0)
    assert board.hopeless_loss()


def test_losses_on_our_own_disk_accuse_nobody() -> None:
    """A burned loss of a job that no server has says nothing of a server."""
    board = ready_board(jobs=1)
    note(board, [*queued(server="this disk"), lost()], 1.0)
    assert board.servers[A].breaker == Breaker()


def test_refused_prompts_are_no_renders() -> None:
    """A refusal of the workflow accuses no server."""
    board = ready_board([fact for job in JOBS[:3] for fact in queued(job)], jobs=9)
    note(board, [lost(job, why=Why.REFUSED, final=True) for job in JOBS[:3]], 1.0)
    assert board.servers[A].breaker == Breaker()
