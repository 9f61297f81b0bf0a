"""When a poll asks for prompts of ours one by one, and what it then means."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING

import pytest
from boards import (
    AT,
    JOB,
    JOBS,
    OTHER,
    UNAVAILABLE,
    A,
    due_poll,
    ident,
    interpret,
    interrupted,
    new_board,
    note,
    post,
    ready_board,
    row,
    stranger,
    submit,
    success,
    take_poll,
    track,
)

from batchrunner.core.actions import Cause, Failure, Poll, PollResult, Taken
from batchrunner.core.facts import Rendered
from batchrunner.core.health import Condition
from batchrunner.core.jobs_api import WHOLE_EVERY, JobsRoute
from batchrunner.core.notes import MustNotRender, StatusHeard
from batchrunner.core.polling import next_poll
from batchrunner.core.scheduler import plan

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from batchrunner.core.actions import Entry, Row
    from batchrunner.core.board import Board
    from batchrunner.core.facts import Fact

THIRD = JOBS[2]
ALL = (JOB, OTHER, THIRD)


def posted(*jobs: str, live: bool = True, foreign: Sequence[Row] = ()) -> Board:
    """Return a board whose server took these jobs and was polled at second 1: it renders the first."""
    board = ready_board(hint=True)
    for number, job in enumerate(jobs):
        post(board, Taken(ident(job), float(number)), submit(job), now=0.1)
    if live:
        board.apply(StatusHeard(A, 0.5, greeting=False, dropped=False))
    rows = [row(job, number=number, running=not number) for number, job in enumerate(jobs)]
    take_poll(board, queue=[*rows, *foreign], now=1.0)
    return board


def hears(board: Board, *times: float) -> None:
    """Let the socket tell of an end at each of these times."""
    for at in times:
        board.apply(StatusHeard(A, at, greeting=False, dropped=True))


def answer(board: Board, now: float, queue: Iterable[Row] = (), ended: Iterable[Entry] = ()) -> list[Fact]:
    """Let a poll that asks for ours alone find these."""
    action = due_poll(board, now=now)
    assert action.ends
    board.start(action, now)
    result = PollResult(tuple(queue), {entry.prompt: entry for entry in ended}, date=AT + now, own=True)
    facts = note(board, interpret(board, action, result, now), now)
    board.end(action, now)
    return facts


def ids(*jobs: str) -> tuple[str, ...]:
    """Return the prompt ids of these jobs."""
    return tuple(map(ident, jobs))


# -- when


def test_one_request_for_each_end_that_was_told() -> None:
    """A hint asks for the prompt that ran; two of them for two; without a live socket until one has not ended."""
    board = posted(*ALL)
    hears(board, 2.0)
    assert due_poll(board, now=2.0) == Poll(A, ids(*ALL), ends=1)
    hears(board, 2.1)
    assert due_poll(board, now=2.1).ends == 2
    hears(board, 2.2, 2.3)
    assert due_poll(board, now=2.3).ends == 3
    assert due_poll(posted(*ALL, live=False), now=2.0) == Poll(A, ids(*ALL), ends=3)
    assert due_poll(posted(*ALL), now=2.0).ends == 3


def test_the_order_is_that_of_the_numbers() -> None:
    """Of two POSTs at a time the one with the lower number runs first, whichever was answered first."""
    board = ready_board(hint=True)
    post(board, Taken(ident(JOB), 8.0), submit(JOB), now=0.1)
    post(board, Taken(ident(OTHER), 7.0), submit(OTHER), now=0.1)
    take_poll(board, queue=[row(OTHER, running=True), row(JOB)], now=1.0)
    assert due_poll(board, now=2.0).ids == ids(OTHER, JOB)


def test_where_others_wait_the_next_one_is_asked_for() -> None:
    """With others' prompts in the queue an end of ours does not tell who runs next."""
    board = posted(JOB, OTHER, foreign=[stranger()])
    hears(board, 2.0)
    assert due_poll(board, now=2.0).ends == 2


def test_queue_and_history_are_read_every_30_s() -> None:
    """Within 30 s of the last whole poll ours are asked for, then the whole; with a socket it comes by itself."""
    board = posted(JOB)
    assert due_poll(board, now=1.0 + WHOLE_EVERY - 0.1).ends
    assert not due_poll(board, now=1.0 + WHOLE_EVERY).ends
    answer(board, 20.0, [row(running=True)])
    assert next_poll(board, board.servers[A], 20.0) == 1.0 + WHOLE_EVERY


def test_a_first_poll_and_one_of_many_are_whole() -> None:
    """Before the survey, with nothing there, and with more than eight prompts of ours the queue is read."""
    assert due_poll(new_board()).recent
    assert not due_poll(ready_board()).ends
    board = ready_board(jobs=9, hint=True)
    for number, job in enumerate(JOBS[:9]):
        post(board, Taken(ident(job), float(number)), submit(job), now=0.1)
    take_poll(board, queue=[row(job, running=job == JOB) for job in JOBS[:9]], now=1.0)
    assert not due_poll(board, now=2.0).ends


@pytest.mark.parametrize("doubt", ["missing", "interrupted", "resent", "sending", "unwanted", "leaving", "failing"])
def test_any_doubt_makes_a_poll_whole(doubt: str) -> None:
    """A prompt that is missing, told to stop, sent again or without answer: then queue and history are read."""
    board = posted(JOB, OTHER)
    assert due_poll(board, now=2.0).ends
    match doubt:
        case "missing":
            take_poll(board, queue=[row(running=True)], now=2.0, action=Poll(A, ids(JOB, OTHER)))
        case "interrupted":
            track(board, interrupted_at=1.5)
        case "resent":
            track(board, number=None)
        case "sending":
            post(board, UNAVAILABLE, submit(THIRD), now=1.5)
            take_poll(board, queue=[row(running=True), row(OTHER)], now=1.6)
        case "unwanted":
            board.apply(MustNotRender(A, frozenset({"x"})))
        case "leaving":
            board.leave(1.5)
        case "failing":
            board.servers[A].health = board.servers[A].health.tripped()
            assert board.servers[A].health.condition is Condition.FAILING
    assert not due_poll(board, now=2.0).ends


def test_a_post_that_was_repeated_has_no_number() -> None:
    """What was posted twice may be there twice, which only the queue shows."""
    board = ready_board(hint=True)
    post(board, UNAVAILABLE, submit(), now=0.1)
    track(board, resend=True)
    post(board, Taken(ident(), 4.0), submit(again=True), now=80.0)
    take_poll(board, queue=[row(running=True)], now=81.0)
    assert not due_poll(board, now=82.0).ends


def test_others_renders_are_timed_by_whole_polls() -> None:
    """While somebody else's prompt runs, or nothing of ours is known to, the queue is read."""
    board = ready_board(hint=True)
    post(board, Taken(ident(), 1.0), submit(), now=0.1)
    assert not due_poll(board, now=0.5).ends
    take_poll(board, queue=[stranger(running=True), row()], now=1.0)
    assert not due_poll(board, now=2.0).ends


# -- what it means


def test_an_end_is_told_by_one_answer() -> None:
    """The file is known, the next one runs, the others wait, and nothing is said of what was not asked for."""
    board = posted(*ALL)
    hears(board, 2.0)
    (fact,) = answer(board, 2.0, ended=[success()])
    assert isinstance(fact, Rendered)
    queue = board.servers[A].queue
    assert queue.running == {ident(OTHER): 2.0}
    assert queue.pending == ids(THIRD)
    assert (queue.whole_at, queue.skew) == (1.0, AT)
    assert board.tracked[OTHER].seen_running
    assert board.tracked[OTHER].absence is None
    assert board.servers[A].hint.live
    assert due_poll(board, now=3.0).ids == ids(OTHER, THIRD)


def test_one_that_still_runs_has_run_since() -> None:
    """A prompt that has not ended keeps the time at which it was first seen, and those behind it wait."""
    board = posted(JOB, OTHER)
    assert answer(board, 2.0, [row(running=True)]) == []
    assert board.servers[A].queue.running == {ident(): 1.0}
    assert board.servers[A].queue.pending == ids(OTHER)
    assert not board.tracked[OTHER].seen_running


def test_what_runs_next_is_not_guessed_among_others() -> None:
    """With others' prompts in the queue nothing of ours is said to run, nor that the server is stalled."""
    board = posted(JOB, OTHER, foreign=[stranger()])
    hears(board, 2.0)
    answer(board, 2.0, [row(OTHER)], [success()])
    server = board.servers[A]
    assert server.queue.running == {}
    assert server.queue.foreign == 1
    assert server.health.condition is Condition.ANSWERING
    assert not board.tracked[OTHER].seen_running
    assert not due_poll(board, now=3.0).ends


def test_a_prompt_that_waits_again_runs_no_longer() -> None:
    """What was thought to run and waits is waiting."""
    board = posted(JOB, OTHER)
    answer(board, 2.0, [row()])
    assert board.servers[A].queue.running == {}
    assert board.servers[A].queue.pending == ids(OTHER, JOB)


def test_an_end_without_a_hint_shows_a_deaf_socket() -> None:
    """As with any poll: what ran is gone and no hint told of it."""
    board = posted(JOB, OTHER)
    answer(board, 2.0, ended=[success()])
    assert not board.servers[A].hint.live


def test_a_hint_during_the_poll_is_another_poll() -> None:
    """What ended while it was under way is asked for at once."""
    board = posted(JOB, OTHER)
    hears(board, 2.0)
    action = due_poll(board, now=2.0)
    board.start(action, 2.0)
    hears(board, 2.1)
    note(board, interpret(board, action, PollResult((), {ident(): success()}, own=True), 2.2))
    board.end(action, 2.2)
    assert board.servers[A].poll_at == 2.2
    assert due_poll(board, now=2.2) == Poll(A, ids(OTHER), ends=1)


def test_what_must_not_render_is_not_forgotten() -> None:
    """A prompt to be taken back is still to be, though a poll for the others was under way."""
    board = posted(JOB)
    action = due_poll(board, now=2.0)
    board.start(action, 2.0)
    board.apply(MustNotRender(A, frozenset({"x"})))
    interpret(board, action, PollResult((row(running=True),), {}, own=True), 2.1)
    board.end(action, 2.1)
    assert board.servers[A].unwanted == {"x"}
    assert "Withdraw" in [type(action).__name__ for action in plan(board, 2.1)]


# -- whether the server has it


def whole(board: Board, now: float, jobs: Failure | None, *, there: bool = True) -> None:
    """Let a poll ask for ours in vain, and then find the first in the queue, or nowhere."""
    action = due_poll(board, now=now)
    assert action.ends
    queue, history = ((row(running=True),), {}) if there else ((), dict.fromkeys(action.ids, None))
    board.start(action, now)
    interpret(board, action, PollResult(queue, history, jobs=jobs), now)
    board.end(action, now)
    track(board, absence=None)


def refusal(status: int | None, *, page: bool = False) -> Failure:
    """Return an answer with this status."""
    return Failure(Cause.UNAVAILABLE, "no", not_found=status == 404, page=page, status=status)


@pytest.mark.parametrize(
    ("failure", "there", "again_at"),
    [
        (refusal(404), True, inf),
        (refusal(405), True, inf),
        (refusal(404), False, -inf),
        (None, False, -inf),
        (refusal(404, page=True), True, 60.0),
        (refusal(404, page=True), False, 60.0),
        (refusal(405, page=True), True, 60.0),
        (refusal(500), True, 60.0),
        (refusal(None), True, 60.0),
    ],
)
def test_what_an_answer_means_for_the_route(failure: Failure | None, there: bool, again_at: float) -> None:  # noqa: FBT001 - drawn
    """A 404 or 405 for what is there: no such route. A 404 for what is not: nothing. All else: later again."""
    board = posted(JOB)
    whole(board, 2.0, failure, there=there)
    assert board.servers[A].jobs.again_at == pytest.approx(2.0 + again_at, abs=9.0)
    assert board.servers[A].health.condition is Condition.ANSWERING


def test_what_fails_is_tried_less_and_less_often() -> None:
    """From a minute up to an hour; one good answer, and it is as new."""
    route, now, pauses = JobsRoute(), 0.0, []
    for _ in range(10):
        route = route.polled(A, PollResult((), {}, jobs=refusal(500)), now)
        pauses.append(route.again_at - now)
    assert pauses[0] < 70.0
    assert 3_000.0 < pauses[-1] < 4_100.0
    assert route.polled(A, PollResult((), {}), now) == route
    assert route.polled(A, PollResult((), {}, own=True), now) == route
    assert route.polled(A, PollResult((), {}, own=True, by_jobs=True), now) == JobsRoute()


def test_a_server_that_was_away_is_tried_again() -> None:
    """After a failed poll, as after a restart, it may be another version."""
    board = posted(JOB)
    whole(board, 2.0, refusal(404))
    assert not due_poll(board, now=3.0).ends
    take_poll(board, trouble=UNAVAILABLE, now=4.0)
    assert board.servers[A].jobs == JobsRoute()
    board.servers[A].jobs = JobsRoute(again_at=inf)
    post(board, Taken(ident(OTHER), -1.0), submit(OTHER), now=6.0)
    assert board.servers[A].jobs == JobsRoute()


def test_without_the_route_a_told_end_is_looked_up_in_the_history() -> None:
    """A hint of an end that can only be ours asks the history for it; without one, or beside others, all is read."""
    board = posted(*ALL)
    board.servers[A].jobs = JobsRoute(again_at=inf)
    assert not due_poll(board, now=2.0).ends
    hears(board, 2.0)
    assert due_poll(board, now=2.0) == Poll(A, ids(*ALL), ends=1, history=True)
    hears(board, 2.1)
    assert due_poll(board, now=2.1) == Poll(A, ids(*ALL), ends=2, history=True)
    others = posted(*ALL, foreign=[stranger()])
    others.servers[A].jobs = JobsRoute(again_at=inf)
    hears(others, 2.0)
    assert not due_poll(others, now=2.0).ends


def test_an_end_that_is_none_of_a_success_is_read_in_the_history() -> None:
    """The same poll may read the whole after all; then it is one like any other."""
    board = posted(JOB, OTHER)
    action = due_poll(board, now=2.0)
    facts = take_poll(board, queue=[row(OTHER, running=True)], history=[interrupted()], now=2.0, action=action)
    assert [type(fact).__name__ for fact in facts] == ["Lost"]
    assert board.servers[A].queue.whole_at == 2.0
