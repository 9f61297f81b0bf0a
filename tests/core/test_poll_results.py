"""What a poll implies for prompts that the ledger knows: found, ended, missing, twice, on the way out."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from boards import (
    JOB,
    JOBS,
    LOCAL,
    OTHER,
    UNAUTHORIZED,
    UNAVAILABLE,
    UNSENT,
    A,
    accepted,
    claimed,
    done,
    due_poll,
    failure,
    fetch,
    fetching,
    health,
    ident,
    interpret,
    interrupted,
    lost,
    new_board,
    note,
    post,
    queued,
    ready_board,
    row,
    saved,
    sending,
    stranger,
    submit,
    success,
    take_poll,
    track,
)

from batchrunner.core.actions import Interrupt, NotFound, Poll, PollResult, Submit, Taken, Withdraw
from batchrunner.core.board import Board
from batchrunner.core.facts import Accepted, Lost, Rendered, Why
from batchrunner.core.health import Condition
from batchrunner.core.lifecycle import Fetching, Queued, Waiting
from batchrunner.core.notes import Leaving
from batchrunner.core.poll_results import DOUBT, SURVEY
from batchrunner.core.scheduler import plan
from batchrunner.core.settings import Rules
from batchrunner.core.tracking import Guess, Tracked

if TYPE_CHECKING:
    from batchrunner.core.actions import Failure
    from batchrunner.core.board import Board
    from batchrunner.core.facts import Fact

C = "http://unnamed:8188"


def absences(board: Board) -> int:
    """Return how many polls in a row missed the first job's prompt."""
    record = board.tracked.get(JOB, Tracked())
    return record.absence.count if record.absence else 0


def gets(board: Board, now: float) -> list[str]:
    """Return the jobs whose predictable file would be asked for."""
    return [action.job for action in plan(board, now) if getattr(action, "probe", False)]


def posts(board: Board, now: float) -> list[Submit]:
    """Return the POSTs that would be started."""
    return [action for action in plan(board, now) if isinstance(action, Submit)]


@pytest.mark.parametrize(
    ("polls", "missing"),
    [
        ((0, 30, 59.9), False),
        ((0, 30, 60), True),
        ((0, 60), False),
        ((0, 60, 61), True),
        ((0, 1, 2, 3, 4, 5), False),
    ],
)
def test_lost_is_three_times_over_a_minute(polls: tuple[float, ...], *, missing: bool) -> None:
    """A queued prompt counts as missing after three good polls over at least `grace`, not before."""
    board = new_board(queued())
    for now in polls:
        take_poll(board, now=now)
    assert bool(gets(board, polls[-1])) is missing


def test_failed_polls_neither_count_nor_reset() -> None:
    """A poll that failed says nothing: the count goes on where it stood, and a hit begins it anew."""
    board = new_board(queued())
    take_poll(board, now=0.0)
    take_poll(board, now=10.0, trouble=UNAVAILABLE)
    take_poll(board, now=30.0)
    assert absences(board) == 2
    take_poll(board, queue=[row()], now=40.0)
    assert absences(board) == 0
    for now in (50.0, 80.0, 109.0):
        take_poll(board, now=now)
    assert not gets(board, 109.0)


def test_after_a_restart_three_polls_are_enough() -> None:
    """A queue number that fell back only speeds the verdict up, and only for what was posted before."""
    board = ready_board(jobs=3)
    post(board, Taken(ident(JOBS[0]), 7), submit(JOBS[0]), now=1.0)
    post(board, Taken(ident(JOBS[1]), 0), submit(JOBS[1]), now=9.0, took=1.0)
    assert board.servers[A].memory.restarted_at == 8.0
    for now in (10.0, 11.0, 12.0):
        take_poll(board, now=now)
    assert gets(board, 12.0) == [JOBS[0]]


def test_answers_that_overtake_each_other_are_no_restart() -> None:
    """Two POSTs at a time may be answered in the other order; the numbers say nothing then."""
    board = ready_board()
    one, two = submit(JOBS[0]), submit(JOBS[1])
    for action in (one, two):
        note(board, [claimed(action.job)])
        board.start(action, 1.0)
    note(board, interpret(board, two, Taken(two.prompt, 8), 2.0), 2.0)
    note(board, interpret(board, one, Taken(one.prompt, 7), 2.5), 2.5)
    assert board.servers[A].memory.restarted_at is None
    assert board.servers[A].memory.number == 8


def test_a_finished_prompt_that_is_gone_means_a_restart() -> None:
    """While something is missing, a poll also asks for a prompt that had finished: gone, the server forgot all."""
    board = new_board([*queued(JOB), *queued(OTHER)])
    take_poll(board, history=[success(OTHER)], queue=[row(JOB)], now=0.0)
    take_poll(board, history=[success(OTHER)], now=1.0)
    asked = due_poll(board)
    assert set(asked.ids) == {ident(JOB), ident(OTHER)}
    take_poll(board, now=2.0)
    assert board.servers[A].memory.restarted_at == 2.0
    take_poll(board, now=3.0)
    assert gets(board, 3.0) == [JOB]


def test_a_sending_prompt_settles_first() -> None:
    """A POST that got no answer may arrive for 70 s after it ended; then a poll, its file and a poll decide."""
    board = ready_board(jobs=1)
    post(board, UNAVAILABLE, submit(), now=60.0, took=60.0)
    for now in (70.0, 129.9):
        take_poll(board, now=now)
        assert not gets(board, now)
    take_poll(board, now=130.0)
    assert gets(board, 130.0) == [JOB]
    assert fetch(board, NotFound(), now=131.0, probe=True) == []
    assert posts(board, 131.0) == []
    take_poll(board, now=131.5)
    again = submit(again=True)
    assert posts(board, 131.5) == [again]
    post(board, Taken(ident(), 3), again, now=132.0)
    assert isinstance(board.states[JOB], Queued)
    assert not board.tracked[JOB].resend


def test_after_a_start_of_ours_settling_begins_with_the_first_good_poll() -> None:
    """Nobody knows when a dead runner's POST ended: it settles from the end of the first poll that told anything."""
    board = new_board(sending())
    take_poll(board, now=0.0, trouble=UNAVAILABLE)
    take_poll(board, now=100.0, took=1.0)
    take_poll(board, now=169.9)
    assert not gets(board, 169.9)
    take_poll(board, now=170.0)
    assert gets(board, 170.0) == [JOB]


def test_a_post_that_never_left_needs_no_settling() -> None:
    """If not a byte was sent, the next good poll and the file decide."""
    board = ready_board(jobs=1)
    post(board, UNSENT, submit(), now=10.0)
    take_poll(board, now=11.0)
    assert gets(board, 11.0) == [JOB]


def test_a_poll_that_began_before_the_post_ended_proves_nothing() -> None:
    """A poll is judged only for prompts it asked for, that were not being posted, and whose POST had ended before."""
    board = ready_board(jobs=1)
    note(board, sending())
    track(board, resend=True)
    board.start(asked := Poll(A, (ident(),), DOUBT), 1.0)
    board.start(again := submit(again=True), 1.5)
    facts = interpret(board, asked, PollResult((), {ident(): None}), 2.0)
    board.end(asked, 2.0)
    assert facts == []
    assert absences(board) == 0
    board.start(asked, 2.1)
    note(board, interpret(board, again, Taken(ident(), 1), 2.2), 2.2)
    board.end(again, 2.2)
    assert interpret(board, asked, PollResult((), {ident(): None}), 2.3) == []
    assert absences(board) == 0
    board.end(asked, 2.3)
    board.start(Poll(A), 3.0)
    assert interpret(board, Poll(A), PollResult((), {}), 3.1) == []
    assert absences(board) == 0


def test_a_poll_that_began_when_the_post_had_ended_counts() -> None:
    """The first poll that a POST's end is known to come before may begin at that very moment."""
    board = ready_board(jobs=1)
    post(board, Taken(ident(), 1), submit(), now=2.0)
    take_poll(board, now=3.0, took=1.0)
    assert absences(board) == 1


def test_what_was_found_counts_no_more() -> None:
    """Once a prompt is lost, nothing is left of our doubts: polls become rare again."""
    board = new_board(queued())
    for now in (0.0, 30.0, 60.0):
        take_poll(board, now=now)
    assert due_poll(board).ids == (ident(),)
    assert fetch(board, NotFound(), now=60.5, probe=True) == []
    assert take_poll(board, now=60.9) == [
        replace(lost(burns=False), at=board_at(60.9), message="in neither queue nor history, three polls in a row")
    ]
    assert absences(board) == 0
    assert JOB not in board.tracked
    take_poll(board, now=61.0)
    assert board.servers[A].poll_at == 71.0


def board_at(now: float) -> float:
    """Return the wall clock at a time."""
    return 1_700_000_000.0 + now


def test_a_probe_that_was_overtaken_decides_nothing() -> None:
    """If a poll found the prompt while its file was asked for, the missing file proves nothing."""
    board = new_board(queued())
    for now in (0.0, 30.0, 60.0):
        take_poll(board, now=now)
    take_poll(board, queue=[row()], now=61.0)
    assert fetch(board, NotFound(), now=62.0, probe=True) == []
    assert isinstance(board.states[JOB], Queued)


def test_a_prompt_that_stays_away_is_given_up_without_a_second_probe() -> None:
    """A Sending job whose file is not there waits for its POST; polls that miss it once more change nothing."""
    board = new_board(sending())
    for now in (0.0, 80.0):
        take_poll(board, now=now)
    fetch(board, NotFound(), now=81.0, probe=True)
    for now in (82.0, 83.0):
        assert take_poll(board, now=now) == []
        assert board.tracked[JOB].resend
        assert not gets(board, now)
        assert posts(board, now)[0] == submit(again=True)


def test_a_missing_file_proves_nothing_while_polls_fail() -> None:
    """A proxy answers 404 for the guessed file and then fails: the prompt is given up by the next good poll only."""
    board = new_board(queued())
    for now in (0.0, 30.0, 60.0):
        take_poll(board, now=now)
    fetch(board, NotFound(), now=61.0, probe=True)
    assert take_poll(board, now=62.0, trouble=UNAVAILABLE) == []
    assert take_poll(board, now=63.0, queue=[row()]) == []
    assert (absences(board), board.tracked[JOB].guess) == (0, Guess.UNTRIED)


@pytest.mark.parametrize(
    ("seen", "burns"),
    [((), False), ((row(),), False), ((row(running=True),), True), ((row(running=True), row(number=1)), True)],
)
def test_only_what_ran_burns_when_it_is_forgotten(seen: tuple[object, ...], *, burns: bool) -> None:
    """Forgotten while it was pending costs nothing; forgotten while it ran counts."""
    board = new_board(queued())
    take_poll(board, queue=seen, now=0.0)  # type: ignore[arg-type]
    for now in (10.0, 40.0, 70.0):
        take_poll(board, now=now)
    fetch(board, NotFound(), now=71.0, probe=True)
    (fact,) = take_poll(board, now=72.0)
    assert isinstance(fact, Lost)
    assert (fact.why, fact.burns) == (Why.FORGOTTEN, burns)
    assert ("and it was running" in fact.message) is burns


def test_a_job_that_ends_the_server_at_once_is_not_tried_for_ever() -> None:
    """A prompt that nothing was in front of has run, even if no poll came in time; one behind it has not."""
    board = ready_board(jobs=2)
    for number, job in enumerate(JOBS[:2]):
        post(board, Taken(ident(job), number), submit(job), now=1.0)
    for now in (2.0, 32.0, 62.0):
        take_poll(board, now=now)
    for job in JOBS[:2]:
        fetch(board, NotFound(), job=job, now=63.0, probe=True)
    assert [fact.burns for fact in take_poll(board, now=64.0) if isinstance(fact, Lost)] == [True, False]


def test_behind_a_stranger_nothing_runs_at_once() -> None:
    """A prompt taken behind somebody else's counts as run only when a poll saw it; pending, it has not."""
    board = ready_board(jobs=1)
    take_poll(board, queue=[stranger(running=True)], now=0.5)
    post(board, Taken(ident(), 1), submit(), now=1.0)
    assert not board.tracked[JOB].seen_running
    other = ready_board(jobs=1)
    post(other, Taken(ident(), 1), submit(), now=1.0)
    assert other.tracked[JOB].seen_running
    take_poll(other, queue=[row()], now=2.0)
    assert not other.tracked[JOB].seen_running


def test_an_old_server_chose_the_id() -> None:
    """A POST without an answer is found by its prefix, in the queue or among the last entries, under its own id."""
    for shown in ({"queue": [row(prompt="chosen")]}, {"history": [success(prompt="chosen")]}):
        board = new_board(sending())
        board.servers[A].surveyed = True
        health(board, A, answered_at=0.0)
        asked = due_poll(board)
        assert asked.recent == DOUBT
        facts = take_poll(board, **shown)  # type: ignore[arg-type]
        assert isinstance(facts[0], Accepted)
        assert facts[0].prompt == "chosen"


def test_a_chosen_id_that_vanishes_is_looked_for_by_prefix() -> None:
    """Before a prompt under a chosen id is lost, the last entries are searched for its prefix."""
    board = new_board([claimed(), replace(accepted(), prompt="chosen")])
    take_poll(board, now=0.0)
    assert due_poll(board).recent == DOUBT
    (fact,) = take_poll(board, history=[success(prompt="another")], now=1.0)
    assert isinstance(fact, Rendered)
    ours = new_board(queued())
    take_poll(ours, now=0.0)
    assert due_poll(ours).recent == 0


def test_a_copy_of_our_workflow_does_not_hide_ours() -> None:
    """A stranger who queues our workflow again, prefix and all, neither hides that ours ended nor loses it."""
    copy = row(prompt="stranger")
    board = new_board(queued())
    (fact,) = take_poll(board, queue=[copy], history=[success()], now=0.0)
    assert isinstance(fact, Rendered)
    assert not board.servers[A].to_remove
    pending = new_board(queued())
    take_poll(pending, queue=[row(), copy], now=0.0)
    assert not pending.servers[A].to_remove


def test_the_running_one_of_two_is_followed() -> None:
    """Of two entries with our prefix on an old server, the one that runs is taken for ours; none is deleted."""
    board = new_board(sending())
    (fact,) = take_poll(board, queue=[row(prompt="late"), row(prompt="first", running=True)])
    assert isinstance(fact, Accepted)
    assert fact.prompt == "first"
    assert not board.servers[A].to_remove


def test_a_late_twin_is_deleted_once() -> None:
    """Of two entries under one id one is deleted, and never a second time."""
    board = new_board(queued())
    twice = [row(running=True), row(number=1)]
    take_poll(board, queue=twice, now=0.0)
    action = Withdraw(A, (ident(),))
    assert [one for one in plan(board, 0.0) if isinstance(one, Withdraw)] == [action]
    board.start(action, 0.0)
    interpret(board, action, None, 0.1)
    board.end(action, 0.1)
    take_poll(board, queue=twice, now=1.0)
    assert not any(isinstance(one, Withdraw) for one in plan(board, 1.0))


def test_a_delete_that_failed_is_tried_again_after_a_good_poll() -> None:
    """A delete that got no answer waits for the server, like everything else."""
    board = new_board(queued())
    take_poll(board, queue=[row(running=True), row(number=1)], now=0.0)
    action = Withdraw(A, (ident(),))
    board.start(action, 0.0)
    interpret(board, action, UNAVAILABLE, 0.1)
    board.end(action, 0.1)
    assert plan(board, 0.2) == []
    take_poll(board, queue=[row(running=True), row(number=1)], now=5.0)
    assert action in plan(board, 5.0)


def test_an_unnamed_server_gets_no_post_again() -> None:
    """What a server that nobody names any more never acknowledged is lost there, for nothing, and goes elsewhere."""
    board = ready_board(sending(server=C), jobs=1)
    for now in (0.0, 80.0):
        take_poll(board, C, now=now)
    fetch(board, NotFound(), now=81.0, probe=True, server=C)
    (fact,) = take_poll(board, C, now=82.0)
    assert isinstance(fact, Lost)
    assert (fact.why, fact.burns) == (Why.FORGOTTEN, False)
    assert [action.server for action in posts(board, 82.0)] == [A]


def test_a_found_post_ends_the_doubt_about_a_server() -> None:
    """A POST without an answer that a poll finds has worked: the server is not fruitless."""
    board = ready_board(jobs=1)
    post(board, UNAVAILABLE, submit(), now=1.0)
    assert board.servers[A].health.failing_since == 1.0
    take_poll(board, queue=[row(running=True)], now=5.0)
    assert board.servers[A].health.failing_since is None


def test_errors_trip_the_breaker_and_a_file_at_home_resets_it() -> None:
    """Three jobs with one class of error pause a server; one saved file forgets it all, a success alone nothing."""
    board = new_board([fact for job in JOBS[:4] for fact in queued(job)], jobs=4)
    take_poll(board, history=[failure(job) for job in JOBS[:3]], queue=[row(JOBS[3])], now=0.0)
    assert board.servers[A].breaker.trips == 1
    take_poll(board, history=[success(JOBS[3])], now=1.0)
    assert board.servers[A].breaker.trips == 1
    note(board, [saved(JOBS[3])], 2.0)
    assert board.servers[A].breaker.trips == 0


# -- failed polls


@pytest.mark.parametrize(
    ("trouble", "condition"), [(UNAVAILABLE, Condition.UNAVAILABLE), (UNAUTHORIZED, Condition.UNAUTHORIZED)]
)
@pytest.mark.parametrize(
    ("facts", "longest"), [((), 60.0), (sending(), 5.0), (queued(), 5.0), (fetching(), 5.0), (done(), 60.0)]
)
def test_how_long_a_failing_server_is_left_alone(
    facts: list[Fact], longest: float, trouble: Failure, condition: Condition
) -> None:
    """Five seconds at most while prompts or files of ours are there, else a pause that doubles to a minute."""
    board = ready_board(facts, jobs=2)
    for now in range(100, 110):
        assert take_poll(board, now=now, trouble=trouble) == []
    server = board.servers[A]
    assert server.health.condition is condition
    assert 0.875 * longest <= server.poll_at - 109 <= 1.125 * longest


def test_no_file_handle_left() -> None:
    """A poll that this machine had no room for says nothing of the server, which is asked again in five seconds."""
    board = ready_board()
    take_poll(board, now=1.0, trouble=LOCAL)
    server = board.servers[A]
    assert (server.health.condition, server.poll_at, board.sockets.failed_at) == (Condition.ANSWERING, 6.0, 1.0)


# -- the history could not be read


def test_what_was_not_read_is_unknown() -> None:
    """A prompt whose history could not be read is neither absent nor lost; one in the queue is found all the same."""
    board = new_board([*queued(), *queued(OTHER)], jobs=2)
    for now in (1.0, 31.0, 62.0, 93.0):
        assert take_poll(board, queue=[row(OTHER)], now=now, unread=UNAVAILABLE) == []
    assert (absences(board), gets(board, 93.0)) == (0, [])
    assert board.servers[A].health.is_up()
    (fact,) = take_poll(board, history=[success()], queue=[row(OTHER)], now=94.0, unread=UNAVAILABLE)
    assert isinstance(fact, Rendered)


def test_a_poll_without_the_history_comes_again_soon() -> None:
    """After 1 to 5 s, as long as the history can not be read; then polls are as rare as before."""
    board = ready_board()
    pauses = []
    for _ in range(8):
        take_poll(board, now=100.0, unread=UNAVAILABLE)
        pauses.append(board.servers[A].poll_at - 100.0)
    assert 0.875 <= pauses[0] <= 1.125
    assert 4.375 <= pauses[-1] <= 5.625
    take_poll(board, now=100.0)
    assert board.servers[A].poll_at == 110.0


def test_a_survey_needs_the_history() -> None:
    """A first poll whose history could not be read is no survey: it is made again."""
    board = new_board(jobs=1)
    take_poll(board, queue=[row()], unread=UNAVAILABLE)
    assert not board.servers[A].surveyed
    assert isinstance(board.states[JOB], Waiting)
    assert due_poll(board).recent == SURVEY
    assert [type(fact) for fact in take_poll(board, queue=[row()], now=1.0)] == [Accepted]
    assert board.servers[A].surveyed


def test_nobody_leaves_by_a_poll_without_the_history() -> None:
    """On the way out a server is left after a poll that could read everything."""
    board = ready_board(queued(), jobs=1)
    board.leave(1.0)
    take_poll(board, queue=[row()], now=2.0, unread=UNAVAILABLE)
    assert board.servers[A].leaving is Leaving.ASKING
    take_poll(board, queue=[row()], now=3.0)
    assert board.servers[A].leaving is Leaving.TAKING


# -- stuck


def stuck_board(attempts: int = 1) -> Board:
    """Return a board whose prompt was interrupted at second 10 because it ran too long."""
    board = ready_board([*queued(attempt=attempts)], jobs=1)
    take_poll(board, queue=[row(attempt=attempts, running=True)], now=5.0)
    board.start(action := Interrupt(A, ident(attempt=attempts)), 9.0)
    interpret(board, action, None, 10.0)
    board.end(action, 10.0)
    return board


def test_what_we_interrupted_was_stuck() -> None:
    """A prompt that ended by our interrupt is lost as stuck: it counts, and the second time it is final."""
    board = stuck_board()
    (fact,) = take_poll(board, history=[interrupted()], now=11.0)
    assert isinstance(fact, Lost)
    assert (fact.why, fact.burns, fact.final) == (Why.STUCK, True, False)
    assert board.states[JOB].past.stuck_on == A
    note(board, queued(attempt=2), 12.0)
    track(board, interrupted_at=13.0)
    (fact,) = take_poll(board, history=[interrupted(attempt=2)], now=14.0)
    assert isinstance(fact, Lost)
    assert (fact.why, fact.final) == (Why.STUCK, True)


def test_what_somebody_else_interrupted_was_not() -> None:
    """An interrupt that is not ours is free."""
    board = ready_board(queued(), jobs=1)
    (fact,) = take_poll(board, history=[interrupted()], now=11.0)
    assert isinstance(fact, Lost)
    assert (fact.why, fact.burns) == (Why.INTERRUPTED, False)


def test_a_prompt_that_ended_well_before_its_interrupt() -> None:
    """What was rendered just before it was interrupted comes home."""
    (fact,) = take_poll(stuck_board(), history=[success()], now=11.0)
    assert isinstance(fact, Rendered)


@pytest.mark.parametrize(("now", "stalled"), [(70.0, None), (70.1, 70.1)])
def test_a_prompt_that_runs_on_after_its_interrupt(now: float, stalled: float | None) -> None:
    """If it still runs `grace` after it was told to stop, nothing else will run there: a stall."""
    board = stuck_board()
    take_poll(board, queue=[row(running=True)], now=now)
    assert board.servers[A].health.stalled_since == stalled


def test_a_prompt_that_waits_is_not_hung() -> None:
    """Only what runs can hang, and only what was interrupted counts."""
    for rows in ([row(), stranger(running=True)], [stranger(running=True)]):
        board = stuck_board()
        take_poll(board, queue=rows, now=100.0)
        assert board.servers[A].health.stalled_since is None


# -- on the way out


def leaving_board(*, running: bool = False) -> Board:
    """Return a board that holds one prompt and has been asked to leave, after the poll that followed."""
    board = ready_board(queued(), jobs=2)
    board.leave(1.0)
    take_poll(board, queue=[row(running=running)], now=1.5)
    return board


def withdraw(board: Board, now: float) -> None:
    """Carry out the delete that is planned."""
    (action,) = [one for one in plan(board, now) if isinstance(one, Withdraw)]
    board.start(action, now)
    interpret(board, action, None, now)
    board.end(action, now)


def test_pending_prompts_are_taken_back() -> None:
    """On the way out a pending prompt is deleted by id, and the poll that confirms it loses it for free."""
    board = leaving_board()
    assert board.servers[A].leaving is Leaving.TAKING
    withdraw(board, 1.6)
    assert board.servers[A].leaving is Leaving.CONFIRMING
    assert board.servers[A].poll_at == 1.6
    (fact,) = take_poll(board, now=1.7)
    assert isinstance(fact, Lost)
    assert (fact.why, fact.burns) == (Why.WITHDRAWN, False)
    assert board.servers[A].leaving is Leaving.GONE
    assert absences(board) == 0


def test_one_that_began_to_run_stays() -> None:
    """A prompt that began just before its delete keeps running and stays ours."""
    board = leaving_board()
    withdraw(board, 1.6)
    assert take_poll(board, queue=[row(running=True)], now=1.7) == []
    assert isinstance(board.states[JOB], Queued)
    assert board.servers[A].leaving is Leaving.GONE


def test_what_runs_is_left_alone() -> None:
    """With nothing pending a server is left after one poll."""
    board = leaving_board(running=True)
    assert board.servers[A].leaving is Leaving.GONE
    assert not board.servers[A].to_remove
    take_poll(board, queue=[row(running=True)], now=3.0)
    assert board.servers[A].leaving is Leaving.GONE


def test_a_poll_from_before_is_not_the_last_one() -> None:
    """A poll that was under way when we were asked to leave does not count; the next one follows at once."""
    board = ready_board(queued(), jobs=1)
    board.start(asked := due_poll(board), 0.5)
    board.leave(1.0)
    interpret(board, asked, PollResult((row(),), {ident(): None}), 1.2)
    board.end(asked, 1.2)
    assert board.servers[A].leaving is Leaving.ASKING
    assert board.servers[A].poll_at == 1.2


def test_a_post_under_way_is_waited_for() -> None:
    """While a POST is under way its server is not left: its prompt would stay there."""
    board = ready_board(jobs=1)
    note(board, sending())
    board.start(action := submit(), 0.5)
    board.leave(1.0)
    take_poll(board, now=1.5)
    assert board.servers[A].leaving is Leaving.ASKING
    note(board, interpret(board, action, Taken(ident(), 1), 2.0), 2.0)
    board.end(action, 2.0)
    take_poll(board, queue=[stranger(running=True), row()], now=2.5)
    assert board.servers[A].leaving is Leaving.TAKING


# -- schedule


def test_when_to_poll_again() -> None:
    """Every 10 s, every second while anything is in doubt, soon while a render is young."""
    board = ready_board(jobs=3)
    assert board.servers[A].poll_at == 10.0
    note(board, queued())
    take_poll(board, queue=[row(running=True)], now=100.0)
    assert board.servers[A].poll_at == 101.0
    take_poll(board, queue=[row(running=True)], now=140.0)
    assert board.servers[A].poll_at == 144.0
    take_poll(board, queue=[row(running=True)], now=900.0)
    assert board.servers[A].poll_at == 910.0
    take_poll(board, now=1000.0)
    assert board.servers[A].poll_at == 1001.0
    sure = ready_board(sending(), jobs=1)
    assert sure.servers[A].poll_at == 1.0


@pytest.mark.parametrize(("rules", "pause"), [(Rules(poll=7.0), 7.0), (Rules(ttl=6.0), 1.0), (Rules(ttl=None), 10.0)])
def test_poll_and_ttl_set_the_pace(rules: Rules, pause: float) -> None:
    """`poll` is kept as it is; without it there are at least six polls per `ttl`."""
    assert ready_board(rules=rules).servers[A].poll_at == pause


def test_the_first_poll_of_a_run_surveys() -> None:
    """The first good poll reads the last hundred entries, each time we start; later ones do not."""
    board = new_board(fetching())
    board.servers[A].surveyed = True
    assert due_poll(board).recent == SURVEY
    take_poll(board, now=0.0)
    assert due_poll(board).recent == 0
    assert isinstance(board.states[JOB], Fetching)


def test_the_queue_is_counted() -> None:
    """What runs, what is pending and what is not ours is known after a poll."""
    board = new_board([*queued(), *sending(OTHER)])
    take_poll(board, queue=[stranger(running=True), row(), row(OTHER, prompt="chosen"), stranger("two")], now=3.0)
    server = board.servers[A]
    assert (server.queue.foreign, server.queue.running) == (2, {"stranger": 3.0})
    assert server.queue.pending == (ident(), "chosen", "two")
    assert isinstance(board.states[OTHER], Queued)
    take_poll(board, queue=[stranger(running=True), row(), row(OTHER, prompt="chosen")], now=5.0)
    assert server.queue.running == {"stranger": 3.0}


def test_waiting_jobs_are_no_ones_prompt() -> None:
    """A prefix of ours is recognised in a queue, whatever its job is doing."""
    board = new_board([*queued(), lost(burns=False)])
    health(board, A, answered_at=0.0)
    board.servers[A].surveyed = True
    take_poll(board, queue=[row(attempt=9)], now=1.0)
    assert board.servers[A].queue.foreign == 0
    assert isinstance(board.states[JOB], Waiting)


def test_where_no_name_can_be_guessed_no_file_is_tried() -> None:
    """A prompt whose file has no predictable name is given up as soon as its absence is proof."""
    board = ready_board(queued(), jobs=1)
    board.first_files = ()
    for now in (1.0, 31.0):
        assert take_poll(board, now=now) == []
    (fact,) = take_poll(board, now=62.0)
    assert isinstance(fact, Lost)
    assert fact.why is Why.FORGOTTEN
