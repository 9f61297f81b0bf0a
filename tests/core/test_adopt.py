"""A fresh ledger, an old one, another machine: what is ours is taken in, whoever sent it, and nothing twice."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from boards import (
    AT,
    JOB,
    OTHER,
    UNAVAILABLE,
    A,
    B,
    done,
    due_poll,
    failure,
    fetching,
    gone,
    ident,
    interrupted,
    lost,
    mp4,
    new_board,
    note,
    prefix,
    queued,
    ready_board,
    row,
    sending,
    success,
    take_poll,
)

from batchrunner.core.actions import LocalFile
from batchrunner.core.facts import Accepted, Fact, Lost, Rendered, Why
from batchrunner.core.lifecycle import Done, Failed, Fetching, Queued, Unwanted, Waiting
from batchrunner.core.notes import Removed
from batchrunner.core.poll_results import SURVEY
from batchrunner.core.scheduler import is_surveyed
from batchrunner.core.server import SIM
from batchrunner.core.settings import Rules
from batchrunner.core.startup import OUR_DISK, import_local_files, startup_facts

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchrunner.core.actions import Entry
    from batchrunner.core.board import Board


def home(attempt: int = 1, files: int = 1) -> tuple[int, tuple[LocalFile, ...]]:
    """Return the files of an attempt found on this disk."""
    return attempt, tuple(LocalFile(prefix(attempt=attempt), f"cat-{n}.mp4", 9, "0" * 64) for n in range(files))


def names(facts: list[Fact]) -> list[tuple[str, int]]:
    """Return the kinds and attempts of facts."""
    return [(type(fact).__name__, fact.attempt) for fact in facts]


@pytest.mark.parametrize(
    ("queue", "history", "taken"),
    [
        ([row(attempt=2)], [], [("Accepted", 2)]),
        ([row(attempt=2, running=True)], [success()], [("Accepted", 2)]),
        ([row(attempt=2)], [success()], [("Accepted", 2)]),
        ([], [success(), failure(attempt=2)], [("Accepted", 1), ("Rendered", 1)]),
        ([], [success(), success(attempt=2)], [("Accepted", 2), ("Rendered", 2)]),
        ([row()], [success()], [("Accepted", 1), ("Rendered", 1)]),
        ([row(attempt=1)], [failure(attempt=2)], [("Accepted", 1)]),
        ([], [failure(), interrupted(attempt=2)], [("Accepted", 2), ("Lost", 2)]),
    ],
)
def test_the_best_of_several_attempts(queue: list, history: list, taken: list) -> None:  # type: ignore[type-arg]
    """What lives or is rendered beats what failed; of those the latest attempt, for the others had been given up."""
    board = new_board(jobs=1)
    facts = take_poll(board, queue=queue, history=history)
    assert names(facts) == taken
    assert board.next_attempt(JOB) == 1 + max(int(one.prefixes[0][-1]) for one in [*queue, *history])


def test_adoption_remembers_the_highest_number() -> None:
    """The next attempt is one more than any ever seen, in the ledger too."""
    board = new_board(jobs=1)
    (fact,) = take_poll(board, queue=[row(attempt=3)], history=[failure(attempt=7)])
    assert isinstance(fact, Accepted)
    assert fact.highest == 7
    note(board, [lost(attempt=3)])
    assert board.states[JOB].past.highest == 7


def test_twins_of_one_id() -> None:
    """Of two entries under one id one is deleted; an entry with two save nodes is no twin."""
    board = new_board(jobs=1)
    take_poll(board, queue=[row(running=True), row(number=1)])
    assert board.servers[A].to_remove == {ident()}
    single = new_board(jobs=1)
    take_poll(single, queue=[replace(row(), prefixes=(prefix(), prefix()))])
    assert not single.servers[A].to_remove
    assert isinstance(single.states[JOB], Queued)


def test_pending_twins_of_what_is_served_are_deleted() -> None:
    """A pending prompt of ours whose job is done, failed or adopted otherwise is taken off the server, by its id."""
    board = new_board(done(), jobs=2)
    take_poll(board, queue=[row(attempt=2), row(OTHER), row(OTHER, attempt=2)])
    assert board.servers[A].to_remove == {ident(attempt=2), ident(OTHER)}
    board.apply(Removed(A, board.servers[A].to_remove))
    board.servers[A].surveyed = False
    take_poll(board, queue=[row(attempt=2)])
    assert not board.servers[A].to_remove


def test_what_may_be_a_strangers_is_never_deleted() -> None:
    """A running prompt, one we hold, and one whose id is not ours stay."""
    board = new_board(queued(), jobs=2)
    take_poll(board, queue=[row(), row(OTHER, prompt="stranger"), row(OTHER, attempt=2, running=True)])
    assert not board.servers[A].to_remove
    assert board.states[OTHER].past.highest == 2


def test_jobs_of_another_manifest_are_left_alone() -> None:
    """A prompt of this batch whose job nobody knows any more is noted by number only."""
    board = new_board(jobs=1)
    assert take_poll(board, queue=[row("f" * 12)]) == []
    assert board.servers[A].to_remove == set()


def test_what_the_ledger_knows_to_be_over_is_not_taken_in_again() -> None:
    """A history entry of an attempt that the ledger saw end is no news; a queue entry that lives is."""
    facts = [*queued(), lost(burns=False)]
    ended = new_board(facts, jobs=1)
    assert take_poll(ended, history=[success()]) == []
    alive = new_board(facts, jobs=1)
    assert names(take_poll(alive, queue=[row(running=True)])) == [("Accepted", 1)]


def test_a_later_attempt_elsewhere_supersedes_an_adopted_one() -> None:
    """What one server remembers of attempt 1 gives way to attempt 2 on another, at once and for free."""
    board = new_board(jobs=1, servers=(A, B))
    take_poll(board, A, history=[success()])
    facts = take_poll(board, B, queue=[row(attempt=2, running=True)])
    assert names(facts) == [("Lost", 1), ("Accepted", 2)]
    assert isinstance(facts[0], Lost)
    assert not facts[0].burns
    state = board.states[JOB]
    assert isinstance(state, Queued)
    assert (state.prompt.server, state.past.spent) == (B, 0)


@pytest.mark.parametrize("later", [failure(attempt=2), success()])
def test_nothing_worse_supersedes(later: object) -> None:
    """A failed later attempt, or the same one, changes nothing."""
    board = new_board(jobs=1, servers=(A, B))
    take_poll(board, A, history=[success()])
    assert take_poll(board, B, history=[later]) == []  # type: ignore[list-item]


def test_what_this_ledger_sent_is_not_superseded() -> None:
    """An attempt this ledger posted is followed where it was posted."""
    board = ready_board([*sending()], jobs=1, servers=(A, B))
    board.servers[B].surveyed = False
    assert take_poll(board, B, queue=[row(attempt=2, running=True)]) == []


# -- servers that were given up


def given_up_board(*, again: str = "") -> Board:
    """Return a board whose first server was given up with one job; `again`: which server renders it since."""
    board = ready_board(queued(), jobs=1, servers=(A, B))
    take_poll(board, A, trouble=UNAVAILABLE, now=1.0)
    assert names(gone(board, A)) == [("Lost", 1)]
    if again:
        note(board, queued(attempt=2, server=again))
    return board


def test_what_a_lost_server_rendered_after_all() -> None:
    """A server that was given up and comes back is surveyed; the success of that attempt is adopted, for free."""
    board = given_up_board()
    assert due_poll(board, A).recent == SURVEY
    assert names(take_poll(board, A, history=[success()], now=700.0)) == [("Accepted", 1), ("Rendered", 1)]
    state = board.states[JOB]
    assert isinstance(state, Fetching)
    assert (state.prompt.server, state.past.spent, board.next_attempt(JOB)) == (A, 0, 2)


def test_what_a_lost_server_still_renders() -> None:
    """A prompt that lives on a server that was given up is followed there, as long as its job waits."""
    assert names(take_poll(given_up_board(), A, queue=[row(running=True)], now=700.0)) == [("Accepted", 1)]


@pytest.mark.parametrize("entry", [failure(), interrupted()])
def test_a_failure_on_a_lost_server_is_no_news(entry: Entry) -> None:
    """Only a success is taken over from a server that was given up: a failure there was free, and stays free."""
    board = given_up_board()
    assert take_poll(board, A, history=[entry], now=700.0) == []
    assert board.states[JOB].past.spent == 0


def test_a_job_begun_elsewhere_is_not_taken_back() -> None:
    """Once another server has the job, what the lost one rendered is no news; what waits there is deleted."""
    board = given_up_board(again=B)
    assert take_poll(board, A, history=[success()], now=700.0) == []
    again = given_up_board(again=B)
    assert take_poll(again, A, queue=[row()], now=700.0) == []
    assert again.servers[A].to_remove == {ident()}


def test_what_is_adopted_from_a_lost_server_and_lost_again() -> None:
    """If the file of such a success is gone too, that attempt is over: it is not adopted a third time."""
    board = given_up_board()
    take_poll(board, A, history=[success()], now=700.0)
    note(board, [lost(why=Why.EXPIRED)])
    board.servers[A].surveyed = False
    assert take_poll(board, A, history=[success()], now=701.0) == []
    assert board.next_attempt(JOB) == 2


def test_only_the_attempt_that_was_given_up() -> None:
    """An earlier attempt, lost by proof, is not adopted with the one that was given up."""
    board = ready_board([*queued(), lost(), *queued(attempt=2)], jobs=1, servers=(A, B))
    take_poll(board, A, trouble=UNAVAILABLE, now=1.0)
    gone(board, A)
    assert take_poll(board, A, history=[success()], now=700.0) == []
    board.servers[A].surveyed = False
    assert names(take_poll(board, A, history=[success(), success(attempt=2)], now=701.0)) == [
        ("Accepted", 2),
        ("Rendered", 2),
    ]


# -- files on this disk


def test_a_file_at_home_is_taken_in_when_every_server_was_asked() -> None:
    """A fresh ledger adopts what lies on our own disk, and renders nothing again."""
    board = new_board(jobs=1)
    board.local_files = {JOB: home(3)}
    assert not is_surveyed(board, 0.0)
    take_poll(board)
    assert is_surveyed(board, 0.0)
    facts = note(board, list(import_local_files(board, AT)))
    assert names(facts) == [("Accepted", 3), ("Rendered", 3), ("Saved", 3)]
    assert isinstance(board.states[JOB], Done)
    assert board.next_attempt(JOB) == 4
    assert list(board.servers) == [A]


def test_an_old_copy_of_the_ledger() -> None:
    """A server that was asked in an earlier run is asked again before the first POST, unless it does not answer."""
    board = new_board(servers=(A, B))
    for server in board.servers.values():
        server.surveyed = True
    take_poll(board, A)
    assert not is_surveyed(board, 0.0)
    take_poll(board, B, trouble=UNAVAILABLE)
    assert is_surveyed(board, 0.0)


@pytest.mark.parametrize(("grace", "limit"), [(60.0, 60.0), (1.0, 1.0), (600.0, 60.0)])
def test_a_server_that_does_not_answer_is_not_waited_for(grace: float, limit: float) -> None:
    """A server that may know more holds up nobody for longer than `grace`, nor longer than a minute."""
    board = new_board(jobs=1, rules=Rules(grace=grace))
    assert not is_surveyed(board, limit - 0.1)
    assert is_surveyed(board, limit)
    take_poll(board, trouble=UNAVAILABLE, now=limit)
    assert is_surveyed(board, limit)


@pytest.mark.parametrize(
    ("queue", "history", "taken"),
    [
        ([], [success()], [("Accepted", 1), ("Rendered", 1)]),
        ([], [success(attempt=2)], []),
        ([row(attempt=2, running=True)], [], []),
        ([], [failure(attempt=2)], []),
    ],
)
def test_a_file_at_home_needs_no_other(queue: list, history: list, taken: list) -> None:  # type: ignore[type-arg]
    """What is saved is not fetched or rendered again; only its own prompt's history may know of more files."""
    board = new_board(jobs=1)
    board.local_files = {JOB: home(1)}
    assert names(take_poll(board, queue=queue, history=history)) == taken
    assert not board.servers[A].to_remove


@pytest.mark.parametrize("stage", [sending, queued, fetching])
def test_a_later_attempt_at_home_is_the_one(stage: Callable[[], list[Fact]]) -> None:
    """What is under way in an older copy of the ledger was given up for the attempt that is saved."""
    board = ready_board(stage(), jobs=1)
    board.local_files = {JOB: home(2)}
    facts = note(board, import_local_files(board, AT))
    assert names(facts) == [("Lost", 1), ("Accepted", 2), ("Rendered", 2), ("Saved", 2)]
    assert isinstance(board.states[JOB], Done)


def test_all_files_at_home_are_taken_in() -> None:
    """A job of two files is done with both."""
    board = ready_board(jobs=1)
    board.local_files = {JOB: home(2, files=2)}
    facts = note(board, import_local_files(board, AT))
    assert names(facts) == [("Accepted", 2), ("Rendered", 2), ("Saved", 2), ("Saved", 2)]
    assert isinstance(board.states[JOB], Done)


def test_what_is_left_as_it_lies() -> None:
    """A saved file of the attempt that is under way, of a job that is over, or of one that nobody wants."""
    board = ready_board([*queued(OTHER), *done(JOB)], jobs=2)
    board.local_files = {JOB: home(2), OTHER: home(), "f" * 12: home()}
    assert list(import_local_files(board, AT)) == []


@pytest.mark.parametrize("kept", [1, 2])
def test_a_run_killed_while_moving_in(kept: int) -> None:
    """Killed between the facts of a saved file, the next run begins them again, and asks no such server anything."""
    board = ready_board(jobs=1)
    board.local_files = {JOB: home()}
    facts = list(import_local_files(board, AT))[:kept]
    again = new_board(facts, jobs=1)
    told = note(again, list(startup_facts(again, AT)))
    assert [(type(fact).__name__, getattr(fact, "burns", None)) for fact in told] == [("Lost", False)]
    assert isinstance(again.states[JOB], Waiting)
    assert OUR_DISK not in again.servers
    again.local_files = {JOB: home()}
    take_poll(again)
    note(again, list(import_local_files(again, AT)))
    assert isinstance(again.states[JOB], Done)


# -- before anybody is asked


def test_a_manifest_that_changed() -> None:
    """A job no longer wanted is dropped unless it is under way; one that came back waits again."""
    gone, under_way = "f" * 12, "e" * 12
    board = new_board([*queued(gone), lost(gone), *queued(under_way)], jobs=1)
    note(board, list(startup_facts(board, AT)))
    assert isinstance(board.states[gone], Unwanted)
    assert isinstance(board.states[under_way], Queued)
    board.want([gone], None, 0.0)
    note(board, list(startup_facts(board, AT)))
    assert isinstance(board.states[gone], Waiting)


def test_the_built_in_server_remembers_nothing() -> None:
    """What was sent to the built-in ComfyUI of the last run is lost at once and for free; what it rendered is tried."""
    rendered = [*queued(OTHER, server=SIM), Rendered(OTHER, 1, AT, (mp4(OTHER),), None)]
    board = new_board([*queued(server=SIM), *rendered], jobs=2, servers=(SIM,))
    (fact,) = note(board, list(startup_facts(board, AT)))
    assert isinstance(fact, Lost)
    assert (fact.job, fact.why, fact.burns) == (JOB, Why.WITHDRAWN, False)
    assert isinstance(board.states[OTHER], Fetching)


def test_nothing_to_open_with() -> None:
    """A batch that is as the ledger left it begins without a fact."""
    board = new_board([*done(), *queued(OTHER), lost(OTHER, final=True)], jobs=2)
    assert list(startup_facts(board, AT)) == []
    assert isinstance(board.states[OTHER], Failed)


@pytest.mark.parametrize("stage", [sending, queued, fetching])
def test_an_open_job_that_left_the_manifest_is_not_taken_in(stage: Callable[..., list[Fact]]) -> None:
    """What nobody wants any more stays as it is on its server, though a later attempt of it is saved."""
    board = ready_board(stage(OTHER), jobs=1)
    board.local_files = {OTHER: (2, (LocalFile(prefix(OTHER, 2), "dog.mp4", 9, "0" * 64),))}
    assert OTHER not in board.positions
    assert list(import_local_files(board, AT)) == []
