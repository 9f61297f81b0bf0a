"""Whose render it is: what is found under our prefix is ours only if it renders the job."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from boards import (
    BATCH,
    JOB,
    OTHER,
    A,
    claimed,
    failure,
    fetching,
    ident,
    new_board,
    queued,
    row,
    sending,
    success,
    take_poll,
)

from batchrunner.core.actions import Entry, Row
from batchrunner.core.facts import Accepted, Rendered
from batchrunner.core.job import prompt_id
from batchrunner.core.lifecycle import Fetching, Queued, Sending, Waiting

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batchrunner.core.board import Board
    from batchrunner.core.facts import Fact

OURS, THEIRS = f"renders {JOB}", "renders something else"


def comparing(facts: Iterable[Fact] = (), wanted: str = JOB) -> Board:
    """Return a board of one job that knows what it renders."""
    board = new_board(facts, jobs=1)
    board.renders = lambda job: f"renders {job}" if job == wanted else ""
    return board


@pytest.mark.parametrize("digest", [THEIRS, ""])
@pytest.mark.parametrize("found", [row(), row(running=True), row(attempt=3, prompt="own id"), success(), failure()])
def test_another_workflow_under_our_prefix_is_not_adopted(found: Row | Entry, digest: str) -> None:
    """Pending, running or ended, under our very id or another: it is left alone, and its attempt is never used."""
    board = comparing()
    theirs = replace(found, digest=digest)
    facts = take_poll(board, queue=[theirs]) if isinstance(theirs, Row) else take_poll(board, history=[theirs])
    assert (facts, board.states[JOB]) == ([], Waiting())
    assert not board.servers[A].to_remove
    assert board.next_attempt(JOB) == 1 + int(theirs.prefixes[0][-1])


def test_the_jobs_own_workflow_is_adopted() -> None:
    """What renders the job is taken over, past a later attempt that renders something else; its twin is deleted."""
    board = comparing()
    shown = [replace(row(attempt=2, running=True), digest=OURS), replace(row(), digest=OURS)]
    (fact,) = take_poll(board, queue=[*shown, replace(row(attempt=7), digest=THEIRS)])
    assert isinstance(fact, Accepted)
    assert (fact.attempt, fact.highest) == (2, 7)
    assert board.servers[A].to_remove == {ident()}


def test_what_is_adopted_from_a_history_does_not_differ() -> None:
    """A render of the job's own workflow comes home without a warning."""
    board = comparing()
    _, fact = take_poll(board, history=[replace(success(), digest=OURS)])
    assert isinstance(fact, Rendered)
    assert not fact.differs


def test_a_job_that_nobody_wants_is_compared_with_nothing() -> None:
    """A pending prompt of a job that left the manifest is taken off its server as before, known by its id."""
    board = comparing([], wanted=OTHER)
    board.positions.pop(JOB)
    take_poll(board, queue=[replace(row(), digest=OURS), replace(row(attempt=2), digest=THEIRS)])
    assert isinstance(board.states[JOB], Queued)
    assert board.servers[A].to_remove == {prompt_id(BATCH, JOB, 1)}


@pytest.mark.parametrize("stage", [sending, queued])
@pytest.mark.parametrize(("digest", "differs"), [(OURS, False), ("", False), (THEIRS, True)])
def test_what_this_ledger_sent_is_kept_with_a_warning(stage, digest: str, differs: bool) -> None:  # type: ignore[no-untyped-def] # noqa: ANN001, FBT001
    """A prompt found by the id under which we sent it is ours, even if a node rewrote its workflow on the server."""
    board = comparing(stage())
    facts = take_poll(board, history=[replace(success(), digest=digest)])
    assert isinstance(facts[-1], Rendered)
    assert facts[-1].differs is differs
    assert isinstance(board.states[JOB], Fetching)


def test_an_error_of_a_rewritten_workflow_is_an_error() -> None:
    """How an attempt failed is told as ever."""
    board = comparing(queued())
    (fact,) = take_poll(board, history=[replace(failure(), digest=THEIRS)])
    assert type(fact).__name__ == "Lost"


def test_a_chosen_id_must_render_the_job() -> None:
    """A POST without an answer is not found in a stranger's copy of our workflow that he changed, only in its own."""
    for shown in ({"queue": [row(prompt="chosen")]}, {"history": [success(prompt="chosen")]}):
        for digest, state in ((THEIRS, Sending), (OURS, Queued if "queue" in shown else Fetching)):
            board = comparing([claimed()])
            board.servers[A].surveyed = True
            found = {key: [replace(one, digest=digest) for one in several] for key, several in shown.items()}  # type: ignore[type-var]
            take_poll(board, **found)  # type: ignore[arg-type]
            assert isinstance(board.states[JOB], state)


def test_what_is_being_fetched_stays() -> None:
    """A render that this ledger knows of is not given up for a later attempt of another workflow."""
    board = comparing(fetching())
    assert take_poll(board, queue=[replace(row(attempt=2), digest=THEIRS)]) == []
