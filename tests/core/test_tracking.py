"""The live record of an open prompt: born with its claim, gone with its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from boards import JOB, accepted, claimed, fetching, lost, new_board, note, queued, rendered, saved, sending, submit

from batchrunner.core.notes import Track
from batchrunner.core.tracking import Absence, Guess, Tracked

if TYPE_CHECKING:
    from batchrunner.core.facts import Fact


def test_absences_are_counted_from_the_first() -> None:
    """Every poll that misses a prompt counts, from the beginning of the first one."""
    record = Tracked()
    for began, count in ((5.0, 1), (9.0, 2), (12.0, 3)):
        absence = record.missed(began)
        assert absence == Absence(count, 5.0)
        record = Tracked(absence=absence)


def test_what_was_found_leaves_no_doubt() -> None:
    """Absence, guess and a POST that is due again are forgotten; what is known of the prompt stays."""
    record = Tracked(3.0, Absence(2, 1.0), seen_running=True, guess=Guess.FAILED, guessed=1, interrupted_at=4.0)
    assert record.found() == Tracked(3.0, seen_running=True, interrupted_at=4.0)


@pytest.mark.parametrize("facts", [sending(), queued(), fetching(), [accepted()]])
def test_a_record_lives_as_long_as_its_attempt(facts: list[Fact]) -> None:
    """It is there for every open attempt, and gone with it; the next attempt begins anew."""
    board = new_board(facts, jobs=1)
    board.apply(Track(JOB, Tracked(sent_at=1.0)))
    note(board, [lost()])
    assert JOB not in board.tracked
    board.apply(Track(JOB, Tracked(sent_at=2.0)))
    assert JOB not in board.tracked
    note(board, [claimed(attempt=2)])
    assert board.tracked[JOB] == Tracked()


def test_a_record_stays_while_its_attempt_goes_on() -> None:
    """What was known of a prompt when it was sent is known when its files come home, and gone when they are."""
    board = new_board(jobs=1)
    note(board, [claimed()])
    board.apply(Track(JOB, Tracked(sent_at=1.0)))
    note(board, [accepted(), rendered()])
    assert board.tracked[JOB].sent_at == 1.0
    note(board, [saved()])
    assert not board.tracked


def test_a_post_that_is_made_again_is_not_due_any_more() -> None:
    """What was unsure is forgotten when the same prompt is posted again."""
    board = new_board(sending(), jobs=1)
    board.apply(Track(JOB, Tracked(absence=Absence(2, 1.0), resend=True)))
    board.start(submit(again=True), 5.0)
    assert board.tracked[JOB] == Tracked()
