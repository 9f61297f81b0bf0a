"""What is started, in which order, and when nothing is."""

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
    claimed,
    failure,
    fetching,
    ident,
    lost,
    mp4,
    new_board,
    note,
    post,
    prefix,
    queued,
    ready_board,
    rendered,
    row,
    saved,
    sending,
    stranger,
    submit,
    success,
    take_poll,
    track,
)

from batchrunner.core.actions import Cause, Download, Failure, Interrupt, Poll, Submit, Taken, Withdraw
from batchrunner.core.facts import Opened, Why
from batchrunner.core.notes import Surveyed
from batchrunner.core.poll_results import SURVEY
from batchrunner.core.scheduler import is_surveyed, plan
from batchrunner.core.settings import Rules
from batchrunner.core.tracking import Guess

if TYPE_CHECKING:
    from batchrunner.core.board import Board

C = "http://unnamed:8188"
LATE = 7000.0
"""A time at which nothing is zero by chance."""


def posts(board: Board, now: float = 0.0) -> list[tuple[str, str]]:
    """Return (job, server) of every POST that would be started."""
    return [(action.job, action.server) for action in plan(board, now) if isinstance(action, Submit)]


def submits(board: Board, now: float) -> list[Submit]:
    """Return the POSTs that would be started."""
    return [action for action in plan(board, now) if isinstance(action, Submit)]


def begin(board: Board, now: float = 0.0) -> None:
    """Start all that is planned."""
    for action in plan(board, now):
        if isinstance(action, Submit):
            note(board, [claimed(action.job, action.attempt, action.server)], now)
        board.start(action, now)


def test_a_run_begins_with_a_poll_at_every_server() -> None:
    """Nothing is posted before every server has been asked what it holds of this batch."""
    board = new_board(servers=(A, B))
    assert plan(board, 0.0) == [Poll(A, (), SURVEY), Poll(B, (), SURVEY)]


def test_asking_again_returns_the_same() -> None:
    """A plan changes nothing: asked twice it is the same, and what was started is not planned again."""
    board = ready_board([*fetching(), *queued(OTHER)], jobs=5, servers=(A, B))
    first = plan(board, 30.0)
    assert first == plan(board, 30.0)
    assert {type(action) for action in first} == {Download, Poll, Submit}
    begin(board, 30.0)
    assert plan(board, 30.0) == []


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_never_more_than_depth(depth: int) -> None:
    """A server holds at most `depth` prompts of ours, those without an answer counted."""
    board = ready_board([*sending(JOBS[11], server=A)], jobs=9, servers=(A, B), rules=Rules(depth=depth))
    counts = [server for _, server in posts(board)]
    assert (counts.count(A), counts.count(B)) == (depth - 1, depth)
    begin(board)
    assert posts(board) == []


def test_jobs_go_in_order_to_the_emptier_server() -> None:
    """Jobs are posted in run order, each to the server with the most room, the first named of equals."""
    board = ready_board([*queued(JOBS[0], server=A)], jobs=5, servers=(A, B))
    assert posts(board) == [(JOBS[1], B), (JOBS[2], A), (JOBS[3], B)]


def test_the_faster_server_gets_more() -> None:
    """Whoever finishes gets the next job: a server that renders twice as fast gets twice as many."""
    board = ready_board(jobs=12, servers=(A, B))
    taken = {A: 0, B: 0}
    for second in range(12):
        for job, server in posts(board, float(second)):
            taken[server] += 1
            post(board, Taken(ident(job), second), submit(job, server=server), now=float(second))
        for url in (A, B) if second % 2 else (A,):
            for job, _ in board.open_on(url)[:1]:
                note(board, [rendered(job)], float(second))
    assert taken[A] >= 2 * (taken[B] - 2)
    assert taken[A] > taken[B]


def test_new_attempts_have_new_names() -> None:
    """A job's next attempt has the next number, and with it a new id and a new prefix."""
    board = ready_board([*queued(), lost()], jobs=1)
    assert [one for one in plan(board, 0.0) if isinstance(one, Submit)] == [
        Submit(JOB, 2, ident(attempt=2), prefix(attempt=2), A)
    ]


def test_downloads_come_first_and_by_deadline() -> None:
    """Files are opened before anything else starts, the soonest to be deleted first, with what is known of them."""
    opened = Opened(OTHER, 1, AT, mp4(OTHER).key, "etag", 9, "x.part", "boot")
    facts = [*queued(JOB), *queued(OTHER, server=B), rendered(JOB), rendered(OTHER, deadline=AT + 5), opened]
    board = ready_board(facts, servers=(A, B))
    actions = plan(board, 100.0)
    assert actions[:2] == [
        Download(OTHER, 1, prefix(OTHER), B, mp4(OTHER), opened, deadline=AT + 5),
        Download(JOB, 1, prefix(JOB), A, mp4(JOB), deadline=AT + 600),
    ]
    assert {type(action) for action in actions[2:]} == {Poll, Submit}


def test_downloads_are_bounded() -> None:
    """No more files are open than allowed, whatever waits."""
    facts = [fact for number, job in enumerate(JOBS) for fact in [*queued(job), rendered(job, deadline=AT - number)]]
    board = ready_board(facts, jobs=12, rules=Rules(downloads=3))
    downloads = [action for action in plan(board, 0.0) if isinstance(action, Download)]
    assert [action.job for action in downloads] == list(JOBS[:8:-1])
    begin(board)
    assert board.in_flight.downloads() == 3
    board.end(downloads[0], 1.0)
    assert sum(isinstance(action, Download) for action in plan(board, 1.0)) == 1


def test_a_guess_under_way_is_not_made_twice() -> None:
    """A file that may lie where nobody told of it is asked for by one download at a time."""
    board = ready_board([*queued()], jobs=1)
    track(board, guess=Guess.DUE)
    (guess,) = (action for action in plan(board, 0.0) if isinstance(action, Download))
    assert guess == Download(JOB, 1, prefix(), A, mp4(), probe=True)
    board.start(guess, 0.0)
    assert not any(isinstance(action, Download) for action in plan(board, 0.0))
    board.end(guess, 1.0)
    assert guess in plan(board, 1.0)


def test_no_file_is_fetched_before_the_first_good_poll() -> None:
    """After a restart of ours a server is asked first: what answers may be a proxy whose 404 proves nothing."""
    board = new_board(fetching())
    assert plan(board, 0.0) == [Poll(A, (), SURVEY)]
    take_poll(board, trouble=UNAVAILABLE)
    assert not any(isinstance(action, Download) for action in plan(board, 0.0))
    take_poll(board, now=1.0)
    assert isinstance(plan(board, 1.0)[0], Download)
    take_poll(board, trouble=UNAVAILABLE, now=2.0)
    assert not any(isinstance(action, Download) for action in plan(board, 2.0))


def test_files_come_home_while_the_token_is_refused() -> None:
    """A server that refuses our token, having answered before, is still asked for what it rendered."""
    board = ready_board(fetching())
    take_poll(board, trouble=UNAUTHORIZED, now=1.0)
    assert isinstance(plan(board, 1.0)[0], Download)
    unasked = new_board(fetching())
    take_poll(unasked, trouble=UNAUTHORIZED, now=1.0)
    assert not any(isinstance(action, Download) for action in plan(unasked, 1.0))


def test_files_of_one_prompt_are_numbered() -> None:
    """Each file of a prompt knows which of them it is."""
    two = mp4(attempt=2)
    board = ready_board([*queued(), rendered(files=[mp4(), two])])
    assert [(one.file, one.index) for one in plan(board, 0.0) if isinstance(one, Download)] == [(mp4(), 0), (two, 1)]


def wedged(board: Board) -> None:
    """Show prompts that wait while nothing runs, for a minute."""
    for now in (0.0, 30.0, 60.0):
        take_poll(board, queue=[stranger()], now=now)


def tripped(board: Board) -> None:
    """Show three jobs that end with one error."""
    for job in JOBS[:3]:
        note(board, queued(job))
    take_poll(board, history=[failure(job) for job in JOBS[:3]], now=0.0)


@pytest.mark.parametrize(
    "keeps",
    [
        lambda board: take_poll(board, trouble=UNAVAILABLE),
        lambda board: take_poll(board, trouble=UNAUTHORIZED),
        wedged,
        tripped,
        lambda board: board.leave(0.0),
        lambda board: board.disk.failed("no space", 0.0),
        lambda board: board.refusals.extend(["x", "x", "x"]),
        lambda board: setattr(board.servers[A], "named", False),
        lambda board: post(board, Failure(Cause.UNAVAILABLE, "429", retry_after=90.0, status=429), submit()),
    ],
    ids=[
        "away",
        "denied",
        "wedged",
        "errors",
        "leaving",
        "full disk",
        "template",
        "not named",
        "too many",
    ],
)
def test_what_keeps_us_from_posting(keeps: object) -> None:
    """Nothing is posted to a server in trouble, or by a run that ends."""
    board = ready_board(jobs=9)
    assert posts(board)
    keeps(board)  # type: ignore[operator]
    assert posts(board, 60.0) == []


@pytest.mark.parametrize(
    ("said", "waits"),
    [
        ((), True),
        (("good",), False),
        (("failed",), True),
        (("refused",), False),
        (("unread",), True),
        (("failed", "good"), False),
    ],
)
def test_who_answers_works(said: tuple[str, ...], *, waits: bool) -> None:
    """Before the first POST all are asked what they hold, for a minute at most; a refusing server holds up nobody."""
    board = new_board(jobs=9, servers=(A, B), now=LATE)
    take_poll(board, A, now=LATE)
    for word in said:
        trouble = {"failed": UNAVAILABLE, "refused": UNAUTHORIZED}.get(word)
        take_poll(board, B, now=LATE, trouble=trouble, unread=UNAVAILABLE if word == "unread" else None)
    assert (posts(board, LATE + 59.9) == []) is waits
    assert {server for _, server in posts(board, LATE + 60.0)} >= {A}


def test_a_server_that_was_asked_in_an_earlier_run_and_is_away() -> None:
    """Once it failed to answer, a server whose survey the ledger remembers is not waited for at all."""
    board = new_board(jobs=9, servers=(A, B))
    take_poll(board, A)
    board.apply(Surveyed(B))
    assert posts(board) == []
    take_poll(board, B, trouble=UNAVAILABLE)
    assert {server for _, server in posts(board)} == {A}


def test_a_wedged_server_is_used_again_once_something_runs() -> None:
    """The moment anything runs there, prompts go there again."""
    board = ready_board(jobs=9)
    wedged(board)
    take_poll(board, queue=[stranger(running=True)], now=70.0)
    assert len(posts(board, 70.0)) == 2


def test_after_a_trip_one_job_probes() -> None:
    """When the pause is over one job goes; if it fails too the pause grows, if its file comes home all is well."""
    board = ready_board([*queued(JOBS[8]), rendered(JOBS[8]), saved(JOBS[8])], jobs=9)
    tripped(board)
    until = board.servers[A].breaker.paused_until
    assert 0.875 * 60 <= until <= 1.125 * 60
    assert posts(board, until - 0.1) == []
    (probe,) = submits(board, until)
    post(board, Taken(probe.prompt, 1), probe, now=until)
    take_poll(board, history=[failure(probe.job, probe.attempt)], now=until + 1)
    assert board.servers[A].breaker.paused_until - until - 1 >= 0.875 * 120
    later = board.servers[A].breaker.paused_until
    (probe,) = submits(board, later)
    post(board, Taken(probe.prompt, 2), probe, now=later)
    take_poll(board, history=[success(probe.job, probe.attempt)], now=later + 1)
    assert len(posts(board, later + 1)) == 1
    note(board, [saved(probe.job, probe.attempt)], later + 2)
    assert len(posts(board, later + 2)) == 2


# -- a prompt that runs without an end

KIND = 1e9


def running_board(
    renders: int, seconds: float = 1200.0, rules: Rules = RULES, servers: tuple[str, ...] = (A,)
) -> Board:
    """Return a board on which a prompt runs since second 0, after so many renders of its kind there."""
    board = ready_board(queued(), jobs=2, servers=servers, rules=rules)
    board.costs = dict.fromkeys(JOBS, KIND)
    for _ in range(renders):
        board.forecast.learn(A, KIND, seconds)
    take_poll(board, queue=[row(running=True)], now=0.0)
    return board


def interrupts(board: Board, now: float) -> list[Interrupt]:
    """Return the interrupts that would be sent."""
    return [action for action in plan(board, now) if isinstance(action, Interrupt)]


@pytest.mark.parametrize(
    ("renders", "seconds", "stuck", "limit"),
    [
        (3, 1200.0, 3.0, "band"),
        (3, 1200.0, 9.0, "band"),
        (3, 60.0, 3.0, 45 * 60.0),
        (2, 1200.0, 3.0, RULES.patience),
        (0, 1200.0, 3.0, RULES.patience),
        (9, 1200.0, None, RULES.patience),
    ],
)
def test_when_a_prompt_is_stuck(renders: int, seconds: float, stuck: float | None, limit: float | str) -> None:
    """After `stuck` times the band of three renders there, never under 45 minutes; after `patience` in any case."""
    board = running_board(renders, seconds, Rules(stuck=stuck))
    at = (stuck or 0.0) * board.forecast.at_most(A, KIND) if limit == "band" else limit
    assert isinstance(at, float)
    assert interrupts(board, at - 1.0) == []
    assert interrupts(board, at + 1.0) == [Interrupt(A, ident())]


def test_the_longest_forecast_is_no_longer_than_patience() -> None:
    """A kind that takes most of a night is interrupted after `patience` all the same."""
    board = running_board(5, 20_000.0)
    assert interrupts(board, RULES.patience - 1.0) == []
    assert interrupts(board, RULES.patience) == [Interrupt(A, ident())]


def test_a_short_patience_cuts_no_render_short() -> None:
    """Whoever waits ten minutes for a server that is away does not mean the renders: never under 45 minutes."""
    board = running_board(0, rules=Rules(patience=600.0))
    assert interrupts(board, 45 * 60.0 - 1.0) == []
    assert interrupts(board, 45 * 60.0) == [Interrupt(A, ident())]


def test_a_stuck_prompt_is_interrupted_once() -> None:
    """By its id, when the server answers and is not being asked, and never a second time."""
    board = running_board(3)
    board.start(Poll(A), LATE)
    assert interrupts(board, LATE) == []
    board.end(Poll(A), LATE)
    take_poll(board, trouble=UNAVAILABLE, now=LATE)
    assert interrupts(board, LATE) == []
    take_poll(board, queue=[row(running=True)], now=LATE)
    assert interrupts(board, LATE) == [Interrupt(A, ident())]
    track(board, interrupted_at=LATE)
    assert interrupts(board, LATE + 99.0) == []


def test_a_prompt_that_waits_is_never_stuck() -> None:
    """However long a stranger's prompt runs, it is not ours to interrupt, and what waits behind it is not stuck."""
    board = ready_board(queued(), jobs=1)
    take_poll(board, queue=[stranger(running=True), row()], now=0.0)
    assert interrupts(board, 1e6) == []


def test_after_it_got_stuck_another_server_is_preferred() -> None:
    """The next attempt goes elsewhere while anybody else has room, and to the same server once nobody has."""
    facts = [*queued(), lost(why=Why.STUCK)]
    board = ready_board(facts, jobs=1, servers=(A, B))
    assert posts(board, LATE) == [(JOB, B)]
    take_poll(board, B, trouble=UNAVAILABLE, now=1.0)
    assert posts(board, LATE) == [(JOB, A)]


def test_another_server_goes_on() -> None:
    """What keeps one server from getting prompts does not keep the others."""
    board = ready_board(jobs=9, servers=(A, B))
    take_poll(board, A, trouble=UNAVAILABLE)
    assert {server for _, server in posts(board)} == {B}


def test_a_post_is_repeated_though_another_server_was_never_asked() -> None:
    """The same id and body to the same server needs nobody else's word; a new attempt does."""
    board = new_board(sending(), jobs=2, servers=(A, B))
    take_poll(board, A)
    track(board, resend=True)
    assert [(one.job, one.again) for one in plan(board, 0.0) if isinstance(one, Submit)] == [(JOB, True)]
    take_poll(board, B)
    assert posts(board) == [(JOB, A), (OTHER, B)]


def test_servers_nobody_names_are_watched_while_they_hold_something() -> None:
    """A server out of the manifest is looked at while it holds prompts or files of ours, and then no more."""
    for held in (queued(server=C), fetching(server=C)):
        board = new_board(held)
        assert Poll(C, (ident(),) if board.load_on(C) else (), SURVEY) in plan(board, 0.0)
        note(board, [lost()])
        assert not any(isinstance(one, Poll) and one.server == C for one in plan(board, 0.0))


def test_one_poll_at_a_time() -> None:
    """A poll is not begun while another one, or a delete, is under way there."""
    board = new_board()
    begin(board)
    assert plan(board, 99.0) == []


def test_a_delete_waits_for_the_poll_and_for_the_server() -> None:
    """Prompts are deleted by id when the server answers and no poll is under way."""
    board = ready_board(queued())
    board.servers[A].to_remove = {"b", "a"}
    assert Withdraw(A, ("a", "b")) in plan(board, 0.0)
    board.start(Poll(A), 0.0)
    assert not any(isinstance(one, Withdraw) for one in plan(board, 0.0))
    board.end(Poll(A), 0.0)
    take_poll(board, trouble=UNAVAILABLE)
    assert not any(isinstance(one, Withdraw) for one in plan(board, 0.0))


def test_a_prompt_being_posted_is_not_asked_for() -> None:
    """A poll does not ask for a prompt whose POST is under way: its absence would prove nothing."""
    board = ready_board(jobs=1)
    begin(board)
    assert [one for one in plan(board, 20.0) if isinstance(one, Poll)] == [Poll(A)]
    assert not take_poll(board, queue=[row(running=True)], now=20.0)


def test_a_dead_server_that_nobody_names_any_more_holds_up_nothing() -> None:
    """A server out of the manifest that never answers keeps no new prompt from the others."""
    board = new_board(queued(server=C), now=LATE)
    take_poll(board, A, now=LATE)
    take_poll(board, C, trouble=UNAVAILABLE, now=LATE)
    assert is_surveyed(board, LATE)
    assert posts(board, LATE) == [(JOBS[1], A), (JOBS[2], A)]


def test_a_stall_counts_from_its_beginning() -> None:
    """A server on which prompts wait and nothing runs still gets prompts until that has lasted for `grace`."""
    board = ready_board(jobs=9, now=LATE)
    for now in (LATE, LATE + 30.0):
        take_poll(board, queue=[stranger()], now=now)
    assert len(posts(board, LATE + RULES.grace - 1.0)) == 2
    assert posts(board, LATE + RULES.grace) == []


def test_ctrl_c_asks_every_server_at_once() -> None:
    """Asked to leave, the run looks at every server in that moment, however long the next poll was to wait."""
    board = ready_board([*queued()], servers=(A, B), rules=Rules(poll=300.0), now=LATE)
    assert not [one for one in plan(board, LATE + 1.0) if isinstance(one, Poll)]
    board.leave(LATE + 1.0)
    assert [one.server for one in plan(board, LATE + 1.0) if isinstance(one, Poll)] == [A, B]
