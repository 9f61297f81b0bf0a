"""What follows from the end of a POST and of a download."""

from __future__ import annotations

import pytest
from boards import (
    AT,
    JOB,
    JOBS,
    LOCAL,
    OTHER,
    UNAUTHORIZED,
    UNAVAILABLE,
    A,
    B,
    fetch,
    fetching,
    glance,
    health,
    ident,
    interpret,
    lost,
    mp4,
    new_board,
    note,
    post,
    queued,
    ready_board,
    rendered,
    sending,
    submit,
)

from batchrunner.core.actions import Download, Submit, Withdraw
from batchrunner.core.facts import Accepted, Broke, File, Lost, Saved, Why
from batchrunner.core.lifecycle import Done, Failed, Fetching, Queued, Sending
from batchrunner.core.results import Complaint, Downloaded, Failure, NotFound, Refused, Rejected, Taken
from batchrunner.core.scheduler import plan
from batchrunner.core.server import SIM

GOT = Downloaded("cat.mp4", 9, "0" * 64)
NODE = Complaint("SaveVideo #15", "format", "no such value", ("15",))


def test_a_200_is_accepted_and_looked_after() -> None:
    """The server's id is kept, and a look follows within a second."""
    board = ready_board()
    assert post(board, Taken("chosen", 3), submit(), now=2.0) == [
        Accepted(JOB, 1, AT + 2, "chosen", submit().prefix, A)
    ]
    assert board.servers[A].poll_at == 3.0
    assert board.refusals == [""]


def test_a_400_fails_the_job() -> None:
    """A refusal fails the job at once with the server's words, and nobody else."""
    board = ready_board()
    health(board, A, failing_since=1.0)
    (fact,) = post(board, Refused("KSampler #3, input cfg: too big"), submit(), now=2.0)
    assert isinstance(fact, Lost)
    assert (fact.why, fact.final, fact.says) == (Why.REFUSED, True, "KSampler #3, input cfg: too big")
    assert isinstance(board.states[JOB], Failed)
    assert board.servers[A].health.failing_since is None


def test_a_200_without_our_output_is_a_refusal() -> None:
    """A 200 that leaves our output out fails the job, and its prompt is taken off the server."""
    board = ready_board()
    facts = post(board, Taken("chosen", 3, (NODE,)), submit(), now=2.0)
    assert [type(fact) for fact in facts] == [Accepted, Lost]
    assert Withdraw(A, ("chosen",)) in plan(board, 2.0)
    board.outputs = frozenset({"99"})
    facts = post(board, Taken("other", 4, (NODE,)), submit(OTHER), now=2.0)
    assert [type(fact) for fact in facts] == [Accepted]


def test_trouble_says_nothing_about_the_job() -> None:
    """Whatever keeps a POST from an answer, the claim stands and the server rests."""
    for end in (UNAVAILABLE, UNAUTHORIZED, LOCAL, Failure(UNAVAILABLE.cause, "429", retry_after=300.0)):
        board = ready_board()
        assert [type(fact) for fact in post(board, end, submit(), now=2.0)] == []
        assert isinstance(board.states[JOB], Sending)
    assert board.servers[A].poll_at == 302.0


def test_an_answer_to_what_is_over_is_dropped() -> None:
    """An answer that comes when the attempt no longer counts changes nothing."""
    for end in (Taken(ident(), 1), Refused("no")):
        board = ready_board([*queued(), lost()])
        board.start(action := submit(again=True), 1.0)
        assert interpret(board, action, end, 2.0) == []
        assert board.refusals == []


@pytest.mark.parametrize(
    ("says", "refused"),
    [
        (["x", "x", "x"], True),
        (["x", "x"], False),
        (["x", "y", "x"], False),
        (["", "", ""], False),
        (["x", "x", "x", ""], True),
        (["", "x", "x", "x"], False),
    ],
)
def test_three_alike_are_the_template(says: list[str], *, refused: bool) -> None:
    """Only the first three POSTs of a run, all refused for the same reason, accuse the workflow itself."""
    board = ready_board()
    board.refusals = says
    assert bool(board.refused_alike()) is refused


def test_one_denied_post_is_confirmed_before_it_counts() -> None:
    """Two POSTs denied at the same time are one sign; after it comes a look, and only then another POST."""
    board = ready_board(jobs=3)
    actions = [submit(job) for job in JOBS[:2]]
    for action in actions:
        note(board, sending(action.job))
        board.start(action, 1.0)
    for action in actions:
        interpret(board, action, UNAUTHORIZED, 2.0)
        board.end(action, 2.0)
    server = board.servers[A]
    assert (server.health.denied_posts, server.poll_at) == (1, 2.0)
    assert not server.health.is_denied()
    assert not any(isinstance(action, Submit) for action in plan(board, 2.0))
    glance(board, now=3.0)
    assert server.takes_prompts(3.0, board.rules)
    for job in JOBS[:2]:
        fetch(board, NotFound(), job=job, now=4.0, probe=True)
    again = submit(again=True)
    assert again in plan(board, 4.0)
    post(board, UNAUTHORIZED, again, now=5.0)
    assert server.health.is_denied()


def test_an_accepted_post_ends_the_doubt() -> None:
    """A POST that is taken proves the token."""
    board = ready_board()
    post(board, UNAUTHORIZED, submit(), now=2.0)
    glance(board, now=3.0)
    post(board, Taken(ident(OTHER), 1), submit(OTHER), now=4.0)
    assert (board.servers[A].health.denied_posts, board.servers[A].health.denied_at) == (0, None)


# -- downloads


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
        assert isinstance(fact, Broke)
        assert fact.whole == etag
    (fact,) = fetch(board, Rejected("no moov", "two"))
    assert isinstance(fact, Lost)
    assert (fact.why, fact.burns) == (Why.UNUSABLE, True)


def test_without_an_etag_twice_is_proof_too() -> None:
    """A server that gives no ETag does not keep us for ever."""
    board = new_board(fetching())
    fetch(board, Rejected("no moov"))
    (fact,) = fetch(board, Rejected("no moov"))
    assert isinstance(fact, Lost)


def test_the_built_in_server_forgot_what_it_rendered() -> None:
    """404 on what the last run's built-in ComfyUI rendered is free; on what this one rendered it counts."""
    board = new_board(fetching(server=SIM), servers=(SIM,))
    (fact,) = fetch(board, NotFound(), server=SIM)
    assert isinstance(fact, Lost)
    assert (fact.why, fact.burns) == (Why.FORGOTTEN, False)
    note(board, [*queued(attempt=2, server=SIM), rendered(attempt=2)])
    (fact,) = fetch(board, NotFound(), attempt=2, server=SIM)
    assert isinstance(fact, Lost)
    assert (fact.why, fact.burns) == (Why.EXPIRED, True)


def test_a_broken_download_asks_for_a_look() -> None:
    """Whether the server is away is for a look to say, and it comes at once."""
    board = ready_board(fetching())
    (fact,) = fetch(board, UNAVAILABLE, now=5.0)
    assert isinstance(fact, Broke)
    server = board.servers[A]
    assert (server.poll_at, server.health.failures, server.health.failing_since) == (5.0, 0, 5.0)


def test_our_own_disk_is_not_the_servers_fault() -> None:
    """A full disk stops submitting at once and leaves the server in peace; the next file home ends it."""
    board = ready_board(fetching())
    (fact,) = fetch(board, LOCAL, now=5.0)
    assert isinstance(fact, Broke)
    assert (board.disk.failed_at, board.servers[A].poll_at, board.servers[A].health.failing_since) == (5.0, 10.0, None)
    assert not any(isinstance(action, Submit) for action in plan(board, 5.0))
    fetch(board, GOT, now=9.0)
    assert any(isinstance(action, Submit) for action in plan(board, 9.0))


def test_denied_on_one_file_only() -> None:
    """A file that is denied while looks are not is that file's trouble, confirmed by a look in between."""
    board = ready_board(fetching())
    assert isinstance(fetch(board, UNAUTHORIZED, now=5.0)[0], Broke)
    assert isinstance(fetch(board, UNAUTHORIZED, now=6.0)[0], Broke)
    glance(board, now=7.0)
    (fact,) = fetch(board, UNAUTHORIZED, now=8.0)
    assert isinstance(fact, Lost)
    assert (fact.why, fact.says) == (Why.UNUSABLE, "401, though the queue answers")


def test_old_doubts_are_forgotten() -> None:
    """Once a file was answered otherwise, an earlier denial proves nothing any more."""
    board = ready_board(fetching())
    fetch(board, UNAUTHORIZED, now=5.0)
    fetch(board, Rejected("no moov", "etag"), now=6.0)
    glance(board, now=7.0)
    assert isinstance(fetch(board, UNAUTHORIZED, now=8.0)[0], Broke)


def test_news_of_an_attempt_that_is_over() -> None:
    """However the download of an abandoned attempt ends, nothing follows."""
    board = new_board([*fetching(), lost()])
    for end in (GOT, NotFound(), UNAVAILABLE):
        assert fetch(board, end) == []


def test_a_probe_that_finds_what_a_look_found_too() -> None:
    """A probe that comes home after its prompt was found rendered saves that file, or changes nothing."""
    board = new_board(fetching())
    assert [type(fact) for fact in fetch(board, GOT, probe=True)] == [Saved]
    other = new_board([*queued(), rendered(files=[File("other.mp4")])])
    assert fetch(other, GOT, probe=True) == []
    assert isinstance(other.states[JOB], Fetching)


def test_a_probe_that_failed_is_made_again_after_a_look() -> None:
    """A probe that could not be made proves nothing; the next look asks for it again."""
    board = new_board(queued())
    for now in (0.0, 30.0, 60.0):
        glance(board, now=now)
    assert fetch(board, LOCAL, now=61.0, probe=True) == []
    assert not any(isinstance(action, Download) for action in plan(board, 61.0))
    glance(board, now=62.0)
    assert any(isinstance(action, Download) for action in plan(board, 62.0))
    assert isinstance(board.states[JOB], Queued)


def test_a_file_that_is_not_there_is_no_progress() -> None:
    """Every POST fails and every probe is answered with 404: the server fails since the first of them."""
    board = ready_board(jobs=2)
    for round_began in (2.0, 80.0):
        for place, job in enumerate(JOBS[:2]):
            again = round_began > 2.0
            assert post(board, UNAVAILABLE, submit(job, again=again), now=round_began + place) == []
        glance(board, now=round_began + 75)
        for job in JOBS[:2]:
            assert fetch(board, NotFound(), job=job, now=round_began + 76, probe=True) == []
        assert board.servers[A].health.failing_since == 2.0
    fetch(board, GOT, now=180.0, probe=True)
    assert board.servers[A].health.failing_since is None


def test_servers_are_judged_one_by_one() -> None:
    """Trouble with one server is no trouble with another."""
    board = ready_board(servers=(A, B))
    post(board, UNAVAILABLE, submit(), now=2.0)
    assert {action.server for action in plan(board, 2.0) if isinstance(action, Submit)} == {B}
