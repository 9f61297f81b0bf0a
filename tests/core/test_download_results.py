"""What follows from the end of a download."""

from __future__ import annotations

from dataclasses import replace

import pytest
from boards import (
    AT,
    JOB,
    JOBS,
    LOCAL,
    UNAUTHORIZED,
    UNAVAILABLE,
    A,
    fetch,
    fetching,
    interpret,
    lost,
    mp4,
    new_board,
    note,
    post,
    queued,
    ready_board,
    rendered,
    submit,
    take_poll,
)

from batchrunner.core.actions import Cause, Download, Downloaded, Failure, NotFound, Rejected, Submit
from batchrunner.core.facts import DownloadFailed, File, Lost, Saved, Why
from batchrunner.core.lifecycle import Done, Fetching, Queued
from batchrunner.core.scheduler import plan
from batchrunner.core.server import SIM
from batchrunner.core.tracking import Guess

GOT = Downloaded("cat.mp4", 9, "0" * 64)


def test_a_file_comes_home() -> None:
    """A file that is whole and ours is Saved with its size and hash."""
    board = new_board(fetching())
    assert fetch(board, GOT, now=3.0) == [Saved(JOB, 1, AT + 3, mp4().key, "cat.mp4", 9, "0" * 64)]
    assert isinstance(board.states[JOB], Done)


def test_the_same_etag_twice_is_proof() -> None:
    """A file that came whole twice under one ETag and is no video is unusable; a new ETag is a new chance."""
    board = new_board(fetching())
    for etag in ("one", "two"):
        (fact,) = fetch(board, Rejected("no moov", etag))
        assert isinstance(fact, DownloadFailed)
        assert fact.whole == etag
    (fact,) = fetch(board, Rejected("no moov", "two"))
    assert isinstance(fact, Lost)
    assert (fact.why, fact.burns) == (Why.UNUSABLE, True)


def test_nothing_is_not_the_same_twice() -> None:
    """Without any mark of what came, two bad bodies prove nothing: an empty ETag does not equal itself."""
    board = new_board(fetching())
    for _ in range(5):
        (fact,) = fetch(board, Rejected("no moov"))
        assert isinstance(fact, DownloadFailed)


def test_a_404_alone_is_no_proof() -> None:
    """Any proxy answers 404: it is only noted, the server is polled at once, and the file is not asked for again."""
    board = ready_board(fetching(), jobs=1)
    assert fetch(board, NotFound(), now=5.0) == []
    assert board.tracked[JOB].not_found == {mp4().key: 5.0}
    assert board.servers[A].poll_at == 5.0
    assert not any(isinstance(action, Download) for action in plan(board, 5.0))


@pytest.mark.parametrize(
    ("began", "failed", "lost_by"),
    [(5.0, False, True), (6.0, False, True), (4.9, False, False), (6.0, True, False)],
)
def test_a_404_and_a_good_poll_after_it(began: float, *, failed: bool, lost_by: bool) -> None:
    """A good poll that began after the 404 ended loses the attempt; a failed one, or one begun before, does not."""
    board = ready_board(fetching(), jobs=1)
    fetch(board, NotFound(), now=5.0)
    facts = take_poll(board, now=6.5, took=6.5 - began, trouble=UNAVAILABLE if failed else None)
    assert [(fact.why, fact.burns) for fact in facts if isinstance(fact, Lost)] == ([(Why.EXPIRED, True)] * lost_by)
    assert isinstance(board.states[JOB], Fetching) is not lost_by


def test_a_poll_that_could_not_read_the_history_is_proof_too() -> None:
    """What answers the queue is the server itself, whether its history could be read or not."""
    board = ready_board(fetching(), jobs=1)
    fetch(board, NotFound(), now=5.0)
    (fact,) = take_poll(board, now=6.0, unread=UNAVAILABLE)
    assert isinstance(fact, Lost)


def test_a_404_while_polls_fail_waits_for_the_server() -> None:
    """While polls fail a 404 proves nothing: the first good poll after it does."""
    board = ready_board(fetching(), jobs=1)
    fetch(board, NotFound(), now=5.0)
    take_poll(board, now=6.0, trouble=UNAVAILABLE)
    assert isinstance(board.states[JOB], Fetching)
    (fact,) = take_poll(board, now=7.0)
    assert isinstance(fact, Lost)
    assert (fact.why, fact.message) == (Why.EXPIRED, "404: clean-up deleted the file before it was downloaded")


def test_the_built_in_server_forgot_what_it_rendered() -> None:
    """404 on what the last run's built-in ComfyUI rendered is free; on what this one rendered it counts."""
    board = ready_board(fetching(server=SIM), servers=(SIM,))
    fetch(board, NotFound(), server=SIM, now=1.0)
    (fact,) = take_poll(board, SIM, now=2.0)
    assert isinstance(fact, Lost)
    assert (fact.why, fact.burns) == (Why.WITHDRAWN, False)
    note(board, [*queued(attempt=2, server=SIM), rendered(attempt=2)])
    fetch(board, NotFound(), attempt=2, server=SIM, now=3.0)
    (fact,) = take_poll(board, SIM, now=4.0)
    assert isinstance(fact, Lost)
    assert (fact.why, fact.burns) == (Why.EXPIRED, True)


def test_what_a_server_will_never_hand_out_is_final() -> None:
    """400 on /view can never work: the job is failed at once, with the reason."""
    board = ready_board(fetching(), jobs=1)
    (fact,) = fetch(board, Rejected("its name is refused", never=True), now=5.0)
    assert isinstance(fact, Lost)
    assert (fact.why, fact.final, fact.message) == (Why.UNUSABLE, True, "its name is refused")


def test_another_attempts_file() -> None:
    """A file that carries another attempt's workflow is wrong content, once is proof."""
    board = ready_board(fetching(), jobs=1)
    (fact,) = fetch(board, Rejected("not ours", "etag", foreign=True), now=5.0)
    assert isinstance(fact, Lost)
    assert (fact.why, fact.burns, fact.final) == (Why.WRONG_CONTENT, True, False)


def test_no_handles_left_is_no_full_disk() -> None:
    """A download that found no file handle says nothing of the disk."""
    board = ready_board(fetching())
    fetch(board, Failure(Cause.LOCAL, "too many open files", handles=True), now=5.0)
    assert (board.disk.failed_at, board.sockets.failed_at) == (None, 5.0)


def test_a_broken_download_asks_for_a_poll() -> None:
    """Whether the server is away is for a poll to say, and it comes at once."""
    board = ready_board(fetching())
    (fact,) = fetch(board, UNAVAILABLE, now=5.0)
    assert isinstance(fact, DownloadFailed)
    server = board.servers[A]
    assert (server.poll_at, server.health.failures, server.health.failing_since) == (5.0, 0, 5.0)


def test_our_own_disk_is_not_the_servers_fault() -> None:
    """A full disk stops submitting at once and leaves the server in peace; the next file home ends it."""
    board = ready_board(fetching())
    (fact,) = fetch(board, LOCAL, now=5.0)
    assert isinstance(fact, DownloadFailed)
    assert (board.disk.failed_at, board.servers[A].poll_at, board.servers[A].health.failing_since) == (5.0, 10.0, None)
    assert not any(isinstance(action, Submit) for action in plan(board, 5.0))
    fetch(board, GOT, now=9.0)
    assert any(isinstance(action, Submit) for action in plan(board, 9.0))


def test_denied_on_one_file_only() -> None:
    """A file that is denied while polls are not is that file's trouble, confirmed by a poll in between."""
    board = ready_board(fetching())
    assert isinstance(fetch(board, UNAUTHORIZED, now=5.0)[0], DownloadFailed)
    assert isinstance(fetch(board, UNAUTHORIZED, now=6.0)[0], DownloadFailed)
    take_poll(board, now=7.0)
    (fact,) = fetch(board, UNAUTHORIZED, now=8.0)
    assert isinstance(fact, Lost)
    assert (fact.why, fact.message) == (Why.UNUSABLE, "401, though the queue answers")


def test_old_doubts_are_forgotten() -> None:
    """Once a file was answered otherwise, an earlier denial proves nothing any more."""
    board = ready_board(fetching())
    fetch(board, UNAUTHORIZED, now=5.0)
    fetch(board, Rejected("no moov", "etag"), now=6.0)
    take_poll(board, now=7.0)
    assert isinstance(fetch(board, UNAUTHORIZED, now=8.0)[0], DownloadFailed)


def test_news_of_an_attempt_that_is_over() -> None:
    """However the download of an abandoned attempt ends, nothing follows."""
    board = new_board([*fetching(), lost()])
    for end in (GOT, NotFound(), UNAVAILABLE):
        assert fetch(board, end) == []


def test_a_probe_that_finds_what_a_poll_found_too() -> None:
    """A probe that comes home after its prompt was found rendered saves that file, or changes nothing."""
    board = new_board(fetching())
    assert [type(fact) for fact in fetch(board, GOT, probe=True)] == [Saved]
    other = new_board([*queued(), rendered(files=[File("other.mp4")])])
    assert fetch(other, GOT, probe=True) == []
    assert isinstance(other.states[JOB], Fetching)


def test_a_probe_that_failed_is_made_again_after_a_poll() -> None:
    """A probe that could not be made proves nothing; the next poll asks for it again."""
    board = new_board(queued())
    for now in (0.0, 30.0, 60.0):
        take_poll(board, now=now)
    assert fetch(board, LOCAL, now=61.0, probe=True) == []
    assert not any(isinstance(action, Download) for action in plan(board, 61.0))
    take_poll(board, now=62.0)
    assert any(isinstance(action, Download) for action in plan(board, 62.0))
    assert isinstance(board.states[JOB], Queued)


@pytest.mark.parametrize(("up", "guess"), [(True, Guess.FAILED), (False, Guess.UNTRIED)])
def test_a_guess_that_is_refused(guess: Guess, *, up: bool) -> None:
    """Where /view is refused though polls are good, no guess can ever be tried: it counts as not there."""
    board = ready_board(queued(), jobs=1)
    for now in (1.0, 31.0, 62.0):
        take_poll(board, now=now)
    if not up:
        take_poll(board, now=63.0, trouble=UNAVAILABLE)
    assert fetch(board, UNAUTHORIZED, now=64.0, probe=True) == []
    assert board.tracked[JOB].guess is guess


def test_every_name_that_a_file_may_have_is_tried() -> None:
    """A sound's number ends in `_` in some versions only: the second name is tried once the first is not there."""
    board = ready_board(queued(), jobs=1)
    board.first_files = ("_00001_.flac", "_00001.flac")
    for now in (1.0, 31.0, 62.0):
        take_poll(board, now=now)
    tried = []
    for now in (63.0, 64.0):
        (probe,) = [action for action in plan(board, now) if isinstance(action, Download)]
        tried.append(probe.file.name.removeprefix(probe.prefix))
        board.start(probe, now)
        assert interpret(board, probe, NotFound(), now) == []
        board.end(probe, now)
    assert tried == ["_00001_.flac", "_00001.flac"]
    assert board.tracked[JOB].guess is Guess.FAILED
    (fact,) = take_poll(board, now=65.0)
    assert isinstance(fact, Lost)


def test_what_is_wrong_with_a_video_is_noted_with_it() -> None:
    """A video that is not what was asked for is saved like any other, with its warning."""
    (fact,) = fetch(new_board(fetching()), replace(GOT, warning="no sound"))
    assert isinstance(fact, Saved)
    assert fact.warning == "no sound"


def test_a_guess_of_a_prompt_that_was_found_meanwhile() -> None:
    """A missing guess of a prompt that a poll has found since says nothing."""
    board = ready_board(queued(), jobs=1)
    assert fetch(board, NotFound(), now=64.0, probe=True) == []
    assert board.tracked[JOB].guess is Guess.UNTRIED


def test_a_file_that_is_not_there_is_no_progress() -> None:
    """Every POST fails and every probe is answered with 404: the server fails since the first of them."""
    board = ready_board(jobs=2)
    for round_began in (2.0, 80.0):
        for place, job in enumerate(JOBS[:2]):
            again = round_began > 2.0
            assert post(board, UNAVAILABLE, submit(job, again=again), now=round_began + place) == []
        take_poll(board, now=round_began + 75)
        for job in JOBS[:2]:
            assert fetch(board, NotFound(), job=job, now=round_began + 76, probe=True) == []
        assert board.servers[A].health.failing_since == 2.0
    fetch(board, GOT, now=180.0, probe=True)
    assert board.servers[A].health.failing_since is None
