"""How fast files come home, how large they are, and when a prompt is held back because of both."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from time import process_time
from typing import TYPE_CHECKING

import pytest
from boards import AT, JOBS, OTHER, A, claimed, done, fetching, mp4, note, queued, ready_board, rendered

from batchrunner.core.actions import Download
from batchrunner.core.eta import DOWNLOAD_TIME, fits, time_left
from batchrunner.core.facts import File, Opened, Saved
from batchrunner.core.holdback import admits_at, admitted, is_slow, turn
from batchrunner.core.lifecycle import Waiting, folded
from batchrunner.core.link import Link, Transfers
from batchrunner.core.settings import Rules
from batchrunner.core.sizes import DiskShortage, JobSizes, disk_shortage, size_of

if TYPE_CHECKING:
    from batchrunner.core.board import Board
    from batchrunner.core.facts import Fact
    from batchrunner.core.lifecycle import State

TTL = 600.0


def opened(job: str, size: int, file: File | None = None) -> Opened:
    """Return that the download of a job's file has begun."""
    return Opened(job, 1, AT, (file or mp4(job)).key, "e", size, "x.part", "boot")


def saved(job: str, size: int, file: File | None = None) -> Saved:
    """Return that a file of this size is home."""
    return Saved(job, 1, AT, (file or mp4(job)).key, f"{job}.mp4", size, "0" * 64)


def board_with(speed: float, *sizes: int, ttl: float | None = TTL, waiting: int = 3) -> Board:
    """Return a board whose server has a line of this speed, and files of these sizes under way; jobs take a minute."""
    facts = [fact for job, size in zip(JOBS, sizes, strict=False) for fact in (*fetching(job), opened(job, size))]
    board = ready_board(facts, jobs=len(sizes) + waiting, rules=Rules(ttl=ttl))
    board.servers[A].link = Link(moved=speed * 100, busy=100.0)
    board.forecast.learn(A, 0.0, 60.0)
    return board


# -- the speed


def test_a_speed_is_known_after_five_seconds_of_downloading() -> None:
    """The time in which nothing was under way does not count, and a moment of downloading is no measurement."""
    link = Link().began(100.0).measured(4_000, 104.0, counts=True)
    assert link.speed() is None
    link = link.began(1_000.0).measured(6_000, 1_002.0, counts=True)
    assert link.speed() == pytest.approx(1_000.0, rel=0.01)


def test_an_outage_says_nothing_of_the_speed() -> None:
    """The time in which the server does not answer is left out; bytes that came all the same count."""
    link = Link().began(0.0).measured(10_000, 10.0, counts=True)
    assert link.measured(10_000, 5_000.0, counts=False).speed() == link.speed()


def test_what_was_long_ago_is_forgotten() -> None:
    """A line that has become ten times as slow is known as such after a few minutes of downloading."""
    link = Link().began(0.0).measured(1_000_000, 1_000.0, counts=True)
    for minute in range(1, 7):
        link = link.measured(1_000_000 + minute * 6_000, 1_000.0 + minute * 60.0, counts=True)
    assert link.speed() == pytest.approx(100.0, rel=0.5)


def test_the_board_measures_while_something_is_under_way() -> None:
    """From the start of the first download of a server to the last look before its end, all downloads together."""
    board = ready_board([*fetching(), *fetching(OTHER)])
    first, second = (Download(job, 1, f"cats-{job}-a1", A, mp4(job)) for job in JOBS[:2])
    board.measure(Transfers({A: 0}), 50.0)
    board.start(first, 100.0)
    board.start(second, 105.0)
    board.measure(Transfers({A: 8_000}, {(JOBS[0], mp4().key): 8_000}), 110.0)
    assert board.servers[A].link.speed() == pytest.approx(800.0)
    assert board.arrived == {(JOBS[0], mp4().key): 8_000}
    board.end(first, 110.0)
    assert board.in_flight.senders() == (A,)
    board.end(second, 110.0)
    assert board.in_flight.senders() == ()


# -- sizes


def test_a_size_is_learned_once_and_by_kind() -> None:
    """When the last file of a job is announced; a kind that was never seen counts as the mean of all."""
    sizes = JobSizes()
    assert sizes.expected(1.0) is None
    for cost, size in ((1.0, 100), (1.0, 300), (2.0, 2_000)):
        states = [state for facts in ([], [opened(JOBS[0], size)]) for state in [_state([*fetching(), *facts])]]
        sizes.learn(cost, *states)
        sizes.learn(cost, states[1], _state([*fetching(), saved(JOBS[0], size)]))
    assert (sizes.expected(1.0), sizes.expected(2.0), sizes.expected(3.0)) == (200.0, 2_000.0, 800.0)
    assert JobSizes(sizes.known()).expected(1.0) == 200.0


def test_ten_thousand_jobs_of_as_many_kinds_cost_no_second() -> None:
    """What a job of an unknown kind takes is known without a look at every known one."""
    sizes = JobSizes({float(kind): (1, 100.0) for kind in range(5_000)})
    began = process_time()
    assert disk_shortage((float(kind) for kind in range(10_000)), sizes, 2e6) is None
    assert process_time() - began < 0.3


def test_the_size_of_a_job_is_that_of_all_its_files() -> None:
    """Announced or home; unknown as long as one file is neither."""
    one, two = File("one.mp4"), File("two.png")
    facts = [*queued(), rendered(files=[one, two]), saved(JOBS[0], 5, one)]
    assert size_of(_state(facts)) is None
    assert size_of(_state([*facts, opened(JOBS[0], -1, two)])) is None
    assert size_of(_state([*facts, opened(JOBS[0], 7, two)])) == 12
    assert size_of(Waiting()) is None


def test_a_board_learns_sizes_from_its_ledger_and_from_facts() -> None:
    """What was saved before the run began counts like what comes during it."""
    board = ready_board([*done()])
    assert board.sizes.known() == {0.0: (1, 9)}
    note(board, [*fetching(OTHER), opened(OTHER, 21), saved(OTHER, 21)])
    assert board.sizes.known() == {0.0: (2, 30)}


def _state(facts: list[Fact]) -> State:
    return folded(JOBS[:1], facts)[JOBS[0]]


def test_a_disk_with_room_is_no_shortage() -> None:
    """Nor is one of which nobody knows what is to come."""
    sizes = JobSizes({1.0: (2, 200.0)})
    assert disk_shortage([1.0] * 10, sizes, 1_000) is None
    assert disk_shortage([1.0] * 10, JobSizes(), 0) is None
    assert disk_shortage([1.0] * 10, sizes, 999) == DiskShortage(9, 10, 1_000, 999)
    assert disk_shortage([1.0], sizes, -5) == DiskShortage(0, 1, 100, 0)


# -- holding back


def test_nothing_is_held_back_before_a_speed_is_known() -> None:
    """Nor where files are kept for ever, nor where there is no room anyway."""
    board = board_with(1.0, 10_000)
    server = board.servers[A]
    assert admitted(board, server, 0, 0.0) == 0
    assert admitted(board, server, 2, 0.0) == 0
    assert admitted(board_with(1.0, 10_000, ttl=None), server, 2, 0.0) == 0
    kept = board_with(1.0, 10_000, ttl=None)
    assert admitted(kept, kept.servers[A], 2, 0.0) == 2
    server.link = Link()
    assert admitted(board, server, 2, 0.0) == 2


def test_a_prompt_waits_for_files_that_take_half_of_ttl() -> None:
    """10 kB/s: 3 MB are under way for 300 s, and a minute of rendering later a file of 1 MB more is too much."""
    board = board_with(10_000.0, 1_000_000, 1_000_000, 1_000_000)
    assert admitted(board, board.servers[A], 2, 0.0) == 0
    board = board_with(10_000.0, 1_000_000, 1_000_000)
    assert admitted(board, board.servers[A], 2, 0.0) == 2
    board = board_with(10_000.0, 1_000_000, 1_400_000)
    assert admitted(board, board.servers[A], 2, 0.0) == 1


def test_what_is_rendered_already_comes_before() -> None:
    """A prompt that is there counts with its file, less what comes home while it is rendered."""
    board = board_with(10_000.0, 1_000_000, 1_400_000)
    note(board, queued(JOBS[2]))
    assert admitted(board, board.servers[A], 1, 0.0) == 0


def test_a_line_about_to_be_idle_gets_a_prompt() -> None:
    """A single large file that is home before the next one is rendered holds nothing up; before that it does."""
    board = board_with(10_000.0, 4_000_000)
    assert admitted(board, board.servers[A], 1, 0.0) == 0
    board.arrived = {(JOBS[0], mp4().key): 3_400_000}
    assert admitted(board, board.servers[A], 1, 0.0) == 1


def test_a_file_without_a_size_counts_as_its_kind() -> None:
    """A server that does not say how large a file is, and a download that has not begun, are taken for the mean."""
    facts = [*fetching(JOBS[0]), opened(JOBS[0], -1), *fetching(JOBS[1]), *done(JOBS[2])]
    board = ready_board(facts, jobs=5)
    board.sizes = JobSizes({0.0: (1, 4_000_000)})
    board.servers[A].link = Link(moved=1e6, busy=100.0)
    assert admitted(board, board.servers[A], 1, 0.0) == 0
    board.sizes = JobSizes()
    assert admitted(board, board.servers[A], 1, 0.0) == 1


def test_a_file_of_several_that_is_home_counts_no_more() -> None:
    """Only what is still to come home is waited for."""
    one, two = File("one.mp4"), File("two.png")
    facts = [*queued(), rendered(files=[one, two]), opened(JOBS[0], 9_000_000, one), opened(JOBS[0], 9, two)]
    board = ready_board(facts)
    board.servers[A].link = Link(moved=1e6, busy=100.0)
    assert admitted(board, board.servers[A], 1, 0.0) == 0
    note(board, [saved(JOBS[0], 9_000_000, one)])
    board.sizes = JobSizes({0.0: (1, 9)})
    assert admitted(board, board.servers[A], 1, 0.0) == 1


def test_a_held_prompt_is_thought_of_when_the_line_is_free() -> None:
    """The server is visited again when enough should be home, in a second at the soonest; without a hold not at all."""
    board = board_with(10_000.0, 1_000_000, 1_000_000, 1_000_000)
    server = board.servers[A]
    assert admits_at(board, server, 7.0) is None
    turn(board, server, 7.0, held=True)
    assert list(board.held_back) == [A]
    assert admits_at(board, server, 7.0) == pytest.approx(7.0 + 40.0)
    board.arrived = {(job, mp4(job).key): 1_000_000 for job in JOBS[:3]}
    assert admits_at(board, server, 50.0) == 51.0
    turn(board, server, 50.0, held=False)
    assert list(board.held_back) == []


def test_files_that_never_come_hold_nothing_up() -> None:
    """Where not a byte has come for as long as files are kept, one prompt is sent all the same, and one each `ttl`."""
    board = board_with(0.0, 1_000_000)
    server = board.servers[A]
    assert admitted(board, server, 2, 0.0) == 0
    turn(board, server, 0.0, held=True)
    assert admits_at(board, server, 0.0) == TTL
    assert admitted(board, server, 2, TTL - 1) == 0
    assert admitted(board, server, 2, TTL) == 1
    note(board, queued(JOBS[1]))
    assert admitted(board, server, 1, TTL) == 0
    turn(board, server, TTL, held=True)
    assert server.link.held_since == TTL
    note(board, [rendered(JOBS[1])])
    assert admitted(board, server, 1, 2 * TTL - 1) == 0
    server.link = replace(server.link, held_since=0.0)
    server.link = replace(server.link, came_at=100.0)
    assert admitted(board, server, 2, TTL) == 0
    assert server.link.gives_up_at(TTL) == 700.0
    assert Link().gives_up_at(TTL) == inf


def test_a_line_without_a_byte_takes_a_first_prompt() -> None:
    """With nothing to come home there is always room for one, whatever the speed."""
    board = board_with(0.0)
    assert admitted(board, board.servers[A], 1, 0.0) == 1


def test_a_slow_line_is_one_episode() -> None:
    """It begins with the first prompt held back and is over when all is home and none was for half of `ttl`."""
    board = board_with(10_000.0, 1_000_000)
    server = board.servers[A]
    assert not is_slow(board, server)
    turn(board, server, 10.0, held=True)
    turn(board, server, 20.0, held=True)
    turn(board, server, 30.0, held=False)
    turn(board, server, 40.0, held=True)
    assert server.link.slow_since == 10.0
    turn(board, server, 50.0, held=False)
    turn(board, server, 349.0, held=False)
    turn(board, server, 351.0, held=False)
    assert is_slow(board, server)
    note(board, [saved(JOBS[0], 1_000_000)])
    turn(board, server, 352.0, held=False)
    assert not is_slow(board, server)


def test_nothing_waits_for_a_line_at_the_end() -> None:
    """When no job waits any more, or a person stops the run, no prompt is held back."""
    board = board_with(10_000.0, 1_000_000, waiting=1)
    turn(board, board.servers[A], 10.0, held=True)
    assert is_slow(board, board.servers[A])
    note(board, [claimed(JOBS[1])])
    assert not is_slow(board, board.servers[A])
    stopped = board_with(10_000.0, 1_000_000)
    turn(stopped, stopped.servers[A], 10.0, held=True)
    stopped.leave(20.0)
    assert not is_slow(stopped, stopped.servers[A])


# -- what a slow line means for the end


def test_a_line_that_is_slower_than_the_renders_decides_when_all_is_saved() -> None:
    """Four files of 100 kB at 1 kB/s take 400 s, though their renders take 180; a fast line changes nothing."""
    slow, fast, unknown = board_with(1_000.0, 100_000), board_with(1e6, 100_000), board_with(1_000.0, 100_000)
    unknown.servers[A].link = Link()
    left, soon, later = (time_left(board, 0.0) for board in (slow, fast, unknown))
    assert left is not None
    assert soon is not None
    assert left.seconds == pytest.approx(400.0)
    assert left.high - left.seconds == pytest.approx(soon.high - soon.seconds)
    assert soon.seconds == pytest.approx(180.0)
    assert later == soon


def test_what_would_be_saved_too_late_is_not_submitted() -> None:
    """With a time to be saved by, a job fits only if the line brings its file in time, behind all that is to come."""
    board = board_with(1_000.0, 100_000, waiting=2)
    note(board, queued(JOBS[1]))
    board.until = 300.0 + DOWNLOAD_TIME
    assert fits(board, A, JOBS[2], 0.0)
    board.until -= 1.0
    assert not fits(board, A, JOBS[2], 0.0)
    board.servers[A].link = Link()
    assert fits(board, A, JOBS[2], 0.0)
    board.servers[A].link = Link(moved=1e5, busy=100.0)
    only = board_with(1_000.0, 100_000, waiting=1)
    only.sizes = JobSizes({0.0: (1, 900_000.0)})
    only.until = 60.0 + 900.0
    assert not fits(only, A, JOBS[1], 0.0)
