"""The board's indexes, held against a search through all jobs after every fact."""

from __future__ import annotations

from random import Random

import pytest
from boards import (
    AT,
    JOB,
    JOBS,
    OTHER,
    A,
    B,
    accepted,
    claimed,
    done,
    fetching,
    ident,
    lost,
    mp4,
    new_board,
    note,
    queued,
    ready_board,
    rendered,
    saved,
    sending,
)

from batchrunner.core.actions import Download, Poll, Submit, Withdraw
from batchrunner.core.board import Board
from batchrunner.core.facts import DownloadFailed, Dropped, Fact, File, Reopened, Why
from batchrunner.core.lifecycle import (
    Contradiction,
    Done,
    Failed,
    Fetching,
    Queued,
    Sending,
    State,
    Unwanted,
    Waiting,
    folded,
)
from batchrunner.core.polling import depth
from batchrunner.core.server import SIM
from batchrunner.core.settings import Rules
from batchrunner.core.startup import OUR_DISK

C = "http://unnamed:8188"


def random_fact(rng: Random, state: State, job: str, at: float) -> Fact:
    """Return a fact that may be true of a job in `state`."""
    attempt = state.past.highest + 1
    match state:
        case Waiting():
            server = rng.choice((A, A, B, C))
            return rng.choice([claimed(job, attempt, server), accepted(job, attempt, server), Dropped(job, 0, at, "")])
        case Sending() | Queued():
            held = state.prompt.attempt
            made = [mp4(job, held), File("two.mp4")][: rng.choice((1, 2))]
            deadline = rng.choice((None, AT + rng.randrange(600)))
            end = lost(job, held, rng.choice(list(Why)), burns=rng.random() < 0.5, final=rng.random() < 0.2)
            return rng.choice([accepted(job, held, state.prompt.server), rendered(job, held, made, deadline), end])
        case Fetching():
            held = state.prompt.attempt
            file = rng.choice(state.items).file
            broke = DownloadFailed(job, held, at, file.key, "reset")
            return rng.choice([saved(job, held, file), saved(job, held, file), broke, lost(job, held)])
        case _:
            return Reopened(job, 0, at)


def check(board: Board, now: float) -> None:
    """Assert that every question is answered as a search would answer it."""
    states = board.states
    for url in (A, B, C):
        held = [job for job, s in states.items() if isinstance(s, Sending | Queued) and s.prompt.server == url]
        files = [job for job, s in states.items() if isinstance(s, Fetching) and s.prompt.server == url]
        assert sorted(job for job, _ in board.open_on(url)) == sorted(held)
        assert (board.load_on(url), board.open_count(url)) == (len(held), len(held) + len(files))
        assert sorted(board.fetching_on(url)) == sorted(files)
    wanted = [states[job] for job in board.positions]
    kinds = (Waiting, Sending, Queued, Fetching, Done, Failed)
    assert list(board.tally().values()) == [sum(type(s) is kind for s in wanted) for kind in kinds]
    waiting = {job for job in board.chosen if isinstance(states[job], Waiting)}
    assert board.waiting == waiting
    assert board.unsettled == waiting | {j for j, s in states.items() if isinstance(s, Sending | Queued | Fetching)}
    assert board.is_settled() == (not board.unsettled)
    ready = sorted((job for job in waiting if board._rests.is_over(job, "", now)), key=board.positions.__getitem__)
    assert board.next_jobs(99, now) == ready
    assert board.next_jobs(2, now) == ready[:2]


def is_on(state: State, url: str) -> bool:
    """Whether a state is that of a job whose files lie on a server."""
    return isinstance(state, Fetching) and state.prompt.server == url


def check_files(board: Board, now: float) -> None:
    """Assert that files come by deadline, none twice, none that rests."""
    for url in (A, B, C):
        due = {
            (job, item.file.key): state.deadline or 0.0
            for job, state in board.states.items()
            if isinstance(state, Fetching) and state.prompt.server == url
            for item in state.items
            if not item.saved and board._rests.is_over(job, item.file.key, now)
        }
        found = board.next_files(url, 99, now)
        assert sorted(found) == sorted(due)
        assert [due[one] for one in found] == sorted(due.values())


@pytest.mark.parametrize("seed", range(40))
def test_indexes_agree_with_a_search(seed: int) -> None:
    """Whatever happens to the jobs, in whatever order, every index says what a search through all of them would."""
    rng = Random(seed)  # noqa: S311 - a choice of facts, not of secrets
    chosen = None if seed % 3 else frozenset(JOBS[:4])
    board = new_board(jobs=6, servers=(A, B), chosen=chosen)
    now, told = 0.0, []
    for _ in range(120):
        now += rng.choice((0.0, 0.5, 3.0, 70.0))
        board.tick(now, AT + now)
        job = rng.choice(JOBS[:6])
        told += note(board, [random_fact(rng, board.states[job], job, AT + now)], now)
        check(board, now)
        check_files(board, now)
    assert board.states == folded(JOBS[:6], told)
    again = new_board(told, jobs=6, servers=(A, B), chosen=chosen, now=now)
    assert again.states == board.states
    check(again, now)
    check_files(again, now)


def test_a_fact_that_changes_nothing_is_not_followed() -> None:
    """What is late or known leads nowhere; what can't be is loud, and nothing changes."""
    board = new_board(queued())
    assert board.follow(accepted()) is None
    assert board.follow(rendered()) is not None
    with pytest.raises(Contradiction):
        board.follow(claimed())
    assert isinstance(board.states[JOB], Queued)


def test_the_ledger_may_know_jobs_that_the_manifest_does_not() -> None:
    """A job of an earlier manifest is seen through, and counted nowhere."""
    board = new_board(sending("f" * 12), jobs=1)
    assert board.tally() == {"waiting": 1, "sending": 0, "queued": 0, "fetching": 0, "done": 0, "failed": 0}
    assert board.unsettled == {JOB, "f" * 12}
    note(board, [lost("f" * 12)])
    assert board.unsettled == {JOB}
    assert board.next_jobs(9, 0.0) == [JOB]


def test_loading_after_wanting_counts_the_same() -> None:
    """The order in which the ledger and the manifest are read makes no difference."""
    board = Board("cats", new_board().rules, (A,), 0.0)
    board.want(JOBS[:2], None, 0.0)
    board.load(JOBS[:2], done(), 0.0)
    assert (board.tally()["done"], board.tally()["waiting"]) == (1, 1)
    check(board, 0.0)


def test_files_come_by_deadline() -> None:
    """The file that clean-up deletes first is fetched first, whatever was rendered first."""
    late, soon = rendered(JOB, deadline=AT + 900), rendered(OTHER, deadline=AT + 300)
    board = new_board([*queued(JOB), *queued(OTHER), late, soon])
    assert board.next_files(A, 9, 0.0) == [(OTHER, mp4(OTHER).key), (JOB, mp4(JOB).key)]
    assert board.next_files(A, 1, 0.0) == [(OTHER, mp4(OTHER).key)]
    assert board.next_files(A, 0, 0.0) == board.next_files(B, 9, 0.0) == []


def test_a_file_under_way_is_not_offered() -> None:
    """A download under way is not begun again; after it ended without the file it is offered again."""
    board = new_board(fetching())
    action = Download(JOB, 1, "p", A, mp4())
    board.start(action, 3.0)
    assert board.in_flight.downloads() == 1
    assert board.next_files(A, 9, 3.0) == []
    assert board.end(action, 4.0) == 3.0
    assert board.in_flight.downloads() == 0
    assert board.next_files(A, 9, 4.0) == [(JOB, mp4().key)]


def test_a_broken_file_rests_even_if_nobody_asked_meanwhile() -> None:
    """After a broken download its file rests and the job's other files do not, asked in between or not."""
    two = File("two.mp4")
    board = new_board([*queued(), rendered(files=[mp4(), two])])
    action = Download(JOB, 1, "p", A, mp4())
    board.next_files(A, 9, 0.0)
    board.start(action, 0.0)
    note(board, [DownloadFailed(JOB, 1, AT, mp4().key, "reset")], 1.0)
    board.end(action, 1.0)
    assert board.next_files(A, 9, 1.0) == [(JOB, two.key)]
    until = board.rests_until()
    assert until is not None
    assert 1.5 < until < 2.5
    board.tick(until, AT)
    assert sorted(board.next_files(A, 9, until)) == sorted([(JOB, mp4().key), (JOB, two.key)])


@pytest.mark.parametrize(("deadline", "cap"), [(None, 60.0), (AT + 600, 5.0)])
def test_the_race_shortens_the_rests(deadline: float | None, cap: float) -> None:
    """Rests double up to a minute, up to five seconds while a deadline runs; the jitter is an eighth."""
    board = new_board([*queued(), rendered(deadline=deadline)])
    pauses = []
    for _ in range(9):
        note(board, [DownloadFailed(JOB, 1, AT, mp4().key, "reset")], 0.0)
        pauses.append(next(iter(board._rests._until.values())))
    assert 0.875 <= pauses[0] <= 1.125
    assert 0.875 * cap <= pauses[-1] <= 1.125 * cap


def test_the_end_is_by_the_wall_clock() -> None:
    """How far away `until` is follows the wall clock at every tick: machines sleep, and people turn their clocks."""
    board = new_board()
    board.tick(5.0, AT + 5.0)
    assert board.until is None
    board.until_wall = AT + 1000.0
    for now, wall, left in (
        (5.0, 5.0, 995.0),
        (10.0, 910.0, 90.0),  # slept for 15 minutes
        (11.0, -2689.0, 3689.0),  # set back by an hour
        (12.0, 1012.0, -12.0),  # set forward beyond the end
    ):
        board.tick(now, AT + wall)
        assert board.until == now + left


def test_a_job_rests_after_an_error() -> None:
    """After an execution error a job waits for `grace`; after a loss that was nobody's fault it does not."""
    board = new_board([*queued(JOB), *queued(OTHER)], jobs=2)
    note(board, [lost(JOB, why=Why.ERROR), lost(OTHER)], 10.0)
    assert board.next_jobs(9, 10.0) == [OTHER]
    assert board.rests_until() == 70.0
    board.tick(69.0, AT)
    assert board.next_jobs(9, 69.0) == [OTHER]
    board.tick(70.0, AT)
    assert board.next_jobs(9, 70.0) == [JOB, OTHER]


@pytest.mark.parametrize(
    ("why", "jobs", "held", "rests"),
    [
        (Why.ERROR, 1, False, 0.001),
        (Why.WRONG_CONTENT, 1, False, 0.001),
        (Why.DENIED, 1, False, 60.0),
        (Why.ERROR, 2, False, 60.0),
        (Why.ERROR, 2, True, 60.0),
    ],
)
def test_a_failed_render_does_not_rest_for_nothing(why: Why, jobs: int, held: bool, rests: float) -> None:  # noqa: FBT001 - a table
    """Where nothing else waits, and a server has nothing of ours, it goes again; a POST that was refused rests."""
    board = ready_board([*queued(JOB), *(queued(OTHER) if held else ())], jobs=jobs, now=10.0)
    note(board, [lost(JOB, why=why)], 10.0)
    board.shorten_rests(10.0)
    assert board.rests_until() == 10.0 + rests


def test_an_unnamed_server_is_watched_while_it_holds_prompts() -> None:
    """A server that nobody names any more appears with its prompts; our own disk is no server."""
    board = new_board(queued(server=C), servers=(A,), now=7.0)
    assert not board.servers[C].named
    assert board.servers[C].poll_at == 7.0
    assert OUR_DISK not in new_board([accepted(server=OUR_DISK)]).servers


def test_what_the_built_in_server_was_asked_for_is_remembered() -> None:
    """Prompts that were being fetched from the built-in ComfyUI when the run began are known by their ids."""
    board = new_board([*fetching(server=SIM), *fetching(OTHER)])
    assert board.inherited == {ident()}


def test_next_attempts_go_on_from_the_highest_seen() -> None:
    """An attempt number is used once, whoever used it: a server's history counts too."""
    board = new_board([*queued(), lost()])
    assert board.next_attempt(JOB) == 2
    board.seen[JOB] = 7
    assert board.next_attempt(JOB) == 8


def test_one_poll_or_delete_at_a_time() -> None:
    """A server is busy with a poll or a delete of ours, not with a POST or another server's poll."""
    board = new_board(servers=(A, B))
    board.start(Poll(B), 0.0)
    board.start(Submit(JOB, 1, "id", "p", A), 0.0)
    assert not board.in_flight.is_asking(A)
    assert board.in_flight.is_posting(JOB)
    board.start(Withdraw(A, ("id",)), 0.0)
    assert board.in_flight.is_asking(A)
    board.end(Submit(JOB, 1, "id", "p", A), 1.0)
    assert not board.in_flight.is_posting(JOB)


def test_leaving_is_asked_once() -> None:
    """To be asked to leave a second time changes nothing: the first time counts."""
    board = new_board()
    board.leave(5.0)
    board.servers[A].poll_at = 9.0
    board.leave(6.0)
    assert (board.leaving_at, board.servers[A].poll_at) == (5.0, 9.0)


def test_trouble_with_our_disk_ends_where_nothing_is_left_to_try_it_with() -> None:
    """One fault must not stop the night: it is forgotten with the last file to fetch, or after two quiet minutes."""
    board = new_board(fetching())
    board.disk.failed("no space", 0.0)
    board.tick(119.0, AT)
    assert board.disk.failed_at == 0.0
    board.tick(120.0, AT)
    assert board.disk.failed_at is None
    board.disk.failed("no space", 130.0)
    note(board, [lost(why=Why.EXPIRED)], 131.0)
    board.tick(131.0, AT)
    assert board.disk.failed_at is None


def test_trouble_with_our_disk_lasts_while_one_server_has_a_file_for_us() -> None:
    """That one server has no file of ours left does not end it, as long as another one's is still to be fetched."""
    board = new_board([*fetching(JOBS[0]), *fetching(JOBS[1], server=B)], servers=(A, B))
    board.disk.failed("no space", 0.0)
    note(board, [lost(JOBS[0], why=Why.EXPIRED)], 1.0)
    board.tick(2.0, AT + 2.0)
    assert board.disk.failed_at == 0.0


def test_a_job_that_the_manifest_does_not_want_is_not_counted() -> None:
    """What becomes of a job that is no longer in the manifest shows in no tally."""
    board = new_board(queued(JOBS[2]), jobs=2)
    before = board.tally()
    note(board, [lost(JOBS[2])])
    assert board.tally() == before == dict.fromkeys(before, 0) | {"waiting": 2}


def test_an_unwanted_job_is_nobodys_business() -> None:
    """A job out of the batch is neither waiting nor to be seen through."""
    board = new_board([Dropped(JOB, 0, AT, "cancelled")], jobs=1)
    assert isinstance(board.states[JOB], Unwanted)
    assert board.is_settled()
    assert board.next_jobs(9, 0.0) == []


def test_a_prompt_that_is_heard_of_keeps_its_place() -> None:
    """The prompts of a server stand in the order they were claimed, whichever is accepted first."""
    board = new_board(jobs=3)
    note(board, [claimed(JOBS[0]), claimed(JOBS[2]), accepted(JOBS[2]), accepted(JOBS[0])])
    assert [job for job, _ in board.open_on(A)] == [JOBS[0], JOBS[2]]


def test_a_server_has_rules_of_its_own() -> None:
    """What the manifest says of one server alone holds for that server: its depth, its ttl, its deadlines."""
    rules = Rules(ttl=600.0, depth=2)
    board = Board("cats", rules, (A, B), 0.0, {B: Rules(ttl=None, depth=5)})
    assert [depth(board, board.servers[name], 0.0) for name in (A, B)] == [2, 5]
    assert (board.rules_of(A).ttl, board.rules_of(B).ttl, board.rules_of("our disk").ttl) == (600.0, None, 600.0)
