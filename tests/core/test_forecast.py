"""How long it takes: learnt from renders, with a band; and what can be home in time."""

from __future__ import annotations

from random import Random

import pytest
from boards import (
    AT,
    JOBS,
    UNAUTHORIZED,
    UNAVAILABLE,
    A,
    B,
    ident,
    new_board,
    note,
    post,
    queued,
    ready_board,
    rendered,
    row,
    stranger,
    submit,
    take_poll,
)

from batchrunner.core.actions import Submit, Taken
from batchrunner.core.eta import DOWNLOAD_TIME, backlog, fits, is_guess, overdue, progress, time_left, too_late
from batchrunner.core.exit import exit_decision
from batchrunner.core.facts import Rendered
from batchrunner.core.forecast import GPU, Forecast
from batchrunner.core.health import Breaker
from batchrunner.core.scheduler import plan
from batchrunner.core.server import SIM

SD, HD = 20.0, 58.5


def test_before_the_first_render_the_document_is_the_guess() -> None:
    """Without a render, a GPU is as fast as the deployed server's document says, within a minute or two."""
    forecast = Forecast()
    assert forecast.seconds(A, SD) == pytest.approx(300, abs=60)
    assert forecast.seconds(A, HD) == pytest.approx(780, abs=60)
    assert forecast.seconds(SIM, SD) < 30
    assert forecast.renders() == 0


def test_a_server_is_known_by_its_own_renders() -> None:
    """After a few renders a server's own line is followed, slope and constant; a new one is taken for as fast."""
    forecast = Forecast()
    for cost in (SD, HD, SD, HD, SD, HD, SD, HD):
        forecast.learn(A, cost, 60 + 5 * cost, 0.0)
    assert forecast.seconds(A, SD) == pytest.approx(60 + 5 * SD, rel=0.05)
    assert forecast.seconds(A, 78.0) == pytest.approx(60 + 5 * 78.0, rel=0.05)
    assert forecast.seconds(B, SD) == pytest.approx(60 + 5 * SD, rel=0.05)
    for _ in range(5):
        forecast.learn(B, SD, 1000.0)
    assert forecast.seconds(B, SD) == pytest.approx(1000.0, rel=0.1)
    assert forecast.seconds(SIM, SD) < 30


def test_a_render_that_hung_says_little_of_others() -> None:
    """One that took three hundred times as long does not make every forecast unsure for the rest of the night."""
    forecast = taught(*[300.0] * 10, 90_000.0, *[300.0] * 10)
    assert forecast.seconds(A, SD) < 350.0
    assert width(forecast) < 1.0
    slow = taught(*[300.0] * 5, *[3000.0] * 20)
    assert slow.seconds(A, SD) > 1500.0


def test_a_kind_is_known_by_its_own_renders() -> None:
    """Where no line fits, what a kind of job took before is believed, and its band is narrow."""
    forecast = Forecast()
    took = {SD: 300.0, 27.0: 550.0, 30.0: 410.0}
    for _ in range(3):
        for cost, seconds in took.items():
            forecast.learn(A, cost, seconds)
    for cost, seconds in took.items():
        assert forecast.seconds(A, cost) == pytest.approx(seconds, rel=0.03)
        assert forecast.at_most(A, cost) < 1.2 * seconds
    assert forecast.at_most(A, HD) > 1.2 * forecast.seconds(A, HD)


def test_servers_teach_each_other_what_a_kind_takes() -> None:
    """A kind that only one server rendered is forecast for another, by how they compare where both did."""
    forecast = Forecast()
    for _ in range(5):
        forecast.learn(A, SD, 300.0)
        forecast.learn(B, SD, 600.0)
        forecast.learn(A, 27.0, 550.0)
    alone = Forecast()
    alone.learn(B, SD, 600.0)
    assert abs(forecast.seconds(B, 27.0) - 1100) < abs(alone.seconds(B, 27.0) - 1100) / 2
    assert forecast.typical(B) == 600


def test_a_line_that_makes_no_sense_is_not_believed() -> None:
    """Renders that get faster the larger they are don't make a forecast of less than nothing."""
    forecast = Forecast()
    for _ in range(8):
        forecast.learn(A, SD, 900.0)
        forecast.learn(A, HD, 100.0)
    assert forecast.seconds(A, 300.0) > 0
    assert forecast.seconds(A, 0.0) > 0


def test_a_render_from_the_cache_teaches_nothing() -> None:
    """A prompt that took no time at all says nothing about the next one."""
    forecast = Forecast()
    forecast.learn(A, SD, 0.0)
    assert forecast.seconds(A, SD) == GPU.at(SD)


def test_a_change_that_is_shorter_than_most_leaves_a_render() -> None:
    """A change of a prompt where most changes are of models leaves some time for the render, on every server."""
    forecast = Forecast()
    forecast.learn(A, HD, 100.0)
    forecast.learn(A, HD, 140.0, changed=True)
    forecast.learn(A, SD, 22.0, changed=True)
    forecast.learn(B, SD, 30.0)
    assert forecast.seconds(A, SD) > 0
    assert forecast.seconds(B, SD) == pytest.approx(30.0, rel=0.5)


@pytest.mark.parametrize("seconds", [1e-9, 1e9, 1e305])
def test_a_time_that_no_render_takes_is_not_believed(seconds: float) -> None:
    """A server whose clock is turned during a render teaches nothing."""
    forecast = Forecast()
    forecast.learn(A, SD, 100.0)
    known = forecast.seconds(A, SD), forecast.spread()
    forecast.learn(A, SD, seconds)
    assert (forecast.seconds(A, SD), forecast.spread()) == known


def test_no_job_takes_less_than_no_time() -> None:
    """A job of a nonsensical number of steps makes no forecast shorter."""
    assert Forecast().seconds(A, -20.0) > 0


def test_what_others_do_there_stretches_the_night() -> None:
    """If every second prompt is a stranger's, our renders take as long as before and the night twice as long."""
    alone, shared = Forecast(), Forecast()
    for _ in range(20):
        alone.learn(A, SD, 300.0, 300.0)
        shared.learn(A, SD, 300.0, 600.0)
    assert shared.seconds(A, SD) == alone.seconds(A, SD)
    ratio = shared.total([SD] * 10, [A]).seconds / alone.total([SD] * 10, [A]).seconds
    assert ratio == pytest.approx(2.0, rel=0.06)


def test_two_servers_halve_the_time() -> None:
    """Servers add up by their speed; none at all, or nothing to do, takes no time."""
    forecast = Forecast()
    one, two = forecast.total([SD] * 10, [A]), forecast.total([SD] * 10, [A, B])
    assert two.seconds == pytest.approx(one.seconds / 2)
    assert two.low < two.seconds < two.high
    assert forecast.total([SD], []).seconds == 0
    assert forecast.total([], [A]).seconds == 0


def test_the_band_holds_the_truth() -> None:
    """After 10 of 40 jobs with 10 % noise, 95 % of 200 nights end within 5 % of the forecast, 90 % in its band."""
    near = held = 0
    for seed in range(200):
        random = Random(seed)  # noqa: S311 - a night that repeats
        forecast, speed = Forecast(), random.uniform(0.3, 3)
        costs = [random.choice([SD, 35.0, HD, 78.0]) for _ in range(40)]
        took = [speed * (100 + 6 * cost) * random.uniform(0.9, 1.1) for cost in costs]
        for cost, seconds in list(zip(costs, took, strict=True))[:10]:
            forecast.learn(A, cost, seconds, seconds)
        end, truth = forecast.total(costs[10:], [A]), sum(took[10:])
        near += abs(end.seconds - truth) <= 0.05 * sum(took)
        held += end.low <= truth <= end.high
    assert near >= 190
    assert held >= 180


def test_the_board_learns_from_what_it_notes() -> None:
    """A render that is noted teaches the board; one that the ledger remembers has taught it already."""
    board = ready_board(jobs=3)
    board.costs = dict.fromkeys(JOBS, SD)
    told = Rendered(JOBS[0], 1, 0.0, rendered(JOBS[0]).files, None, 600.0)
    note(board, [*queued(JOBS[0]), *queued(JOBS[1])])
    note(board, [told], now=700.0)
    assert board.forecast.seconds(A, SD) > GPU.at(SD) * 1.5
    note(board, [Rendered(JOBS[1], 1, 0.0, rendered(JOBS[1]).files, None, 600.0)], now=1900.0)
    assert board.forecast.total([SD], [A]).seconds > board.forecast.seconds(A, SD) * 1.1
    again = new_board([*queued(JOBS[0]), told])
    assert again.forecast.renders() == 1


def test_the_outlook_counts_what_is_left_and_what_has_run() -> None:
    """What is left is what nobody has rendered, less the time that the running prompt has run."""
    board = ready_board(queued(JOBS[0]), jobs=3)
    board.costs = dict.fromkeys(JOBS, SD)
    whole = time_left(board, 0.0)
    assert whole is not None
    assert whole.seconds == pytest.approx(3 * GPU.at(SD))
    take_poll(board, queue=[row(JOBS[0], running=True)], now=10.0)
    later = time_left(board, 110.0)
    assert later is not None
    assert whole.seconds - later.seconds == pytest.approx(100.0)
    assert progress(board, A, 1e6) == GPU.at(SD)
    assert backlog(board, A, 110.0) == pytest.approx(GPU.at(SD) - 100)


def test_what_is_left_is_a_guess_until_a_server_has_rendered() -> None:
    """One render on any of the batch's servers is experience."""
    board = ready_board(jobs=2)
    assert is_guess(board)
    board.forecast.learn(A, SD, 10.0)
    assert not is_guess(board)


def test_the_outlook_counts_what_others_have_queued() -> None:
    """A stranger's prompts before ours take their time: as long as ours until one was seen to run, then as that one."""
    board = ready_board(jobs=2)
    board.costs = dict.fromkeys(JOBS, SD)
    take_poll(board, queue=[stranger("x", running=True), stranger("y")], now=10.0)
    assert backlog(board, A, 10.0) == pytest.approx(2 * GPU.at(SD))
    take_poll(board, queue=[stranger("y", running=True), stranger("z")], now=110.0)
    assert backlog(board, A, 110.0) == pytest.approx(200)
    assert backlog(board, A, 150.0) == pytest.approx(160)
    more = time_left(board, 110.0)
    take_poll(board, now=210.0)
    less = time_left(board, 210.0)
    assert more is not None
    assert less is not None
    assert more.seconds > less.seconds + 200


def test_what_waits_for_others_tells_how_much_there_is_of_them() -> None:
    """A prompt of ours that has waited for strangers since it was posted makes those to come expected to wait too."""
    calm, busy = (ready_board(jobs=9) for _ in range(2))
    for board, began in ((calm, 0.0), (busy, 600.0)):
        board.costs = dict.fromkeys(JOBS, SD)
        post(board, Taken(ident(), 1), submit(), now=0.0)
        take_poll(board, queue=[row(running=True)], now=began)
    early, late = time_left(calm, 0.0), time_left(busy, 600.0)
    assert early is not None
    assert late is not None
    assert late.seconds > early.seconds + 100


def test_a_server_that_was_away_had_no_strangers() -> None:
    """How long a prompt waited is not known if the server was out of sight meanwhile: nothing is learnt of others."""
    board = ready_board(queued(JOBS[0]), jobs=2)
    board.costs = dict.fromkeys(JOBS, SD)
    board.servers[A].rendered_at = 0.0
    take_poll(board, trouble=UNAVAILABLE, now=100.0)
    take_poll(board, now=7000.0)
    note(board, [Rendered(JOBS[0], 1, 0.0, rendered(JOBS[0]).files, None, 300.0)], now=7200.0)
    assert board.forecast.share(A) == 0


def test_a_server_that_rests_is_busy_with_that() -> None:
    """What a paused server is to render comes so much later."""
    board = ready_board(jobs=1)
    board.costs = dict.fromkeys(JOBS, SD)
    before = time_left(board, 0.0)
    board.servers[A].breaker = Breaker(paused_until=500.0)
    after = time_left(board, 0.0)
    assert before is not None
    assert after is not None
    assert after.seconds - before.seconds == pytest.approx(500)


def test_without_a_server_nobody_can_tell() -> None:
    """If no server is waited for any more, there is no forecast."""
    board = ready_board()
    take_poll(board, trouble=UNAUTHORIZED, now=0.0)
    assert time_left(board, 0.0) is None


def test_nothing_is_submitted_that_would_come_too_late() -> None:
    """With a time to be home by, a job goes out only if it fits behind what the server already holds."""
    board = ready_board(jobs=3)
    board.costs = {JOBS[0]: HD, JOBS[1]: SD, JOBS[2]: SD}
    assert fits(board, A, JOBS[0], 0.0)
    room = board.forecast.at_most(A, SD) + DOWNLOAD_TIME
    board.until = room + 1
    assert [action.job for action in plan(board, 0.0) if isinstance(action, Submit)] == [JOBS[1]]
    assert list(too_late(board, 0.0)) == [JOBS[0], JOBS[2]]
    board.until = None
    assert list(too_late(board, 0.0)) == []


def test_what_is_home_at_the_last_moment_is_in_time() -> None:
    """A job fits if the upper end of its band and the way home end when the run does, and not a second later."""
    board = ready_board(jobs=1)
    board.costs = dict.fromkeys(JOBS, SD)
    board.until = 100.0 + board.forecast.at_most(A, SD) + DOWNLOAD_TIME
    assert fits(board, A, JOBS[0], 100.0)
    assert list(too_late(board, 100.0)) == []
    assert exit_decision(board, 100.0) is None
    assert not fits(board, A, JOBS[0], 101.0)
    assert list(too_late(board, 101.0)) == [JOBS[0]]
    assert exit_decision(board, 101.0) is not None


def test_a_run_that_is_out_of_time_ends_well() -> None:
    """When nothing that waits fits any more and nothing of ours is out there, the run ends with what is done."""
    board = ready_board(jobs=2)
    board.costs = dict.fromkeys(JOBS, SD)
    board.until = 10_000.0
    assert exit_decision(board, 0.0) is None
    note(board, queued(JOBS[0]))
    assert exit_decision(board, 9_900.0) is None
    board = ready_board(jobs=2)
    board.costs, board.until = dict.fromkeys(JOBS, SD), 10_000.0
    ending = exit_decision(board, 9_900.0)
    assert ending is not None
    assert ending.exit == 0
    assert "2 jobs are left" in ending.message


def test_a_clock_that_is_turned_changes_what_fits() -> None:
    """What goes out, and whether the run is over, is decided anew by what the wall clock says now."""
    board = ready_board(jobs=1)
    board.costs, board.until_wall = dict.fromkeys(JOBS, SD), AT + 10_000.0
    board.tick(1.0, AT + 9_900.0)
    assert not any(isinstance(action, Submit) for action in plan(board, 1.0))
    assert exit_decision(board, 1.0) is not None
    board.tick(2.0, AT + 2.0)
    assert [action.job for action in plan(board, 2.0) if isinstance(action, Submit)] == [JOBS[0]]
    assert exit_decision(board, 2.0) is None


def test_a_stranger_does_not_end_the_run() -> None:
    """If a job would fit but for strangers, the run waits to see whether they are quick."""
    board = ready_board(jobs=1)
    board.costs = dict.fromkeys(JOBS, SD)
    board.until = board.forecast.at_most(A, SD) + DOWNLOAD_TIME + 100
    take_poll(board, queue=[stranger(running=True)], now=10.0)
    assert not fits(board, A, JOBS[0], 10.0)
    assert exit_decision(board, 10.0) is None
    take_poll(board, now=50.0)
    assert fits(board, A, JOBS[0], 50.0)
    assert exit_decision(board, 101.0) is not None


def test_a_prompt_that_runs_far_too_long_is_overdue() -> None:
    """Three times the upper end of its forecast, and never in the first ten minutes, makes a prompt overdue."""
    board = ready_board(queued(JOBS[0]), jobs=1)
    board.costs = dict.fromkeys(JOBS, SD)
    take_poll(board, queue=[row(JOBS[0], running=True)], now=10.0)
    limit = 3 * board.forecast.at_most(A, SD)
    assert overdue(board, A, limit) is None
    assert overdue(board, A, 11.0 + limit) == JOBS[0]
    for _ in range(9):
        board.forecast.learn(A, SD, 1.0)
    assert overdue(board, A, 500.0) is None
    assert overdue(board, A, 620.0) == JOBS[0]


def test_a_strangers_prompt_is_never_overdue() -> None:
    """However long others' prompts run: ours counts from when it was seen running itself."""
    board = ready_board(queued(), jobs=1)
    take_poll(board, queue=[stranger(running=True), row(JOBS[0])], now=0.0)
    assert overdue(board, A, 1e6) is None
    take_poll(board, queue=[stranger(running=True), row(JOBS[0], running=True)], now=1e6)
    assert overdue(board, A, 1e6 + 600.0) is None


def width(forecast: Forecast, cost: float = SD) -> float:
    """Return how far the upper end of a forecast lies above it, relative to it."""
    return forecast.at_most(A, cost) / forecast.seconds(A, cost) - 1


def taught(*took: float, cost: float = SD) -> Forecast:
    """Return what renders of one kind on one server teach."""
    forecast = Forecast()
    for seconds in took:
        forecast.learn(A, cost, seconds, seconds)
    return forecast


def test_the_band_narrows_with_every_render_of_a_kind() -> None:
    """The steadier renders of a kind there are, the narrower their band: 20 of them leave 6 %, of the whole too."""
    widths = [width(taught(*[300.0] * renders)) for renders in (1, 2, 3, 5, 10, 20)]
    assert widths == sorted(widths, reverse=True)
    assert widths[0] > 2 * widths[-1]
    assert 0.02 < widths[-1] < 0.06
    end = taught(*[300.0] * 20).total([SD] * 10, [A])
    assert end.high - end.low < 2 * 0.06 * end.seconds


def test_the_band_learns_from_what_it_missed() -> None:
    """Renders that stray by a quarter make a band that holds them, those that hardly stray a narrow one."""
    wild, calm = (taught(*(300 * (1 + off), 300 * (1 - off)) * 10) for off in (0.25, 0.02))
    assert 0.25 < width(wild) < 0.6
    assert width(calm) < 0.08


def test_a_kind_never_rendered_learns_from_other_kinds_that_were() -> None:
    """Where new kinds have strayed far from their forecasts the next one has a wide band; good guesses are luck."""
    costs = [SD * factor for factor in (1, 2, 3, 4, 5, 6, 7)]
    straight, crooked = Forecast(), Forecast()
    for number, cost in enumerate(costs):
        straight.learn(A, cost, GPU.at(cost))
        crooked.learn(A, cost, GPU.at(cost) * (1.8 if number % 2 else 0.6))
    assert width(straight, 8 * SD) == pytest.approx(width(Forecast(), 8 * SD))
    assert width(Forecast(), 8 * SD) < width(crooked, 8 * SD)
    assert width(crooked, 8 * SD) > 0.6


def test_what_one_shared_render_says_of_the_next() -> None:
    """After one render that waited as long for others the next is expected to wait two thirds of that, anywhere."""
    forecast = Forecast()
    assert forecast.share(A) == 0
    forecast.learn(A, SD, 300.0, 600.0)
    assert forecast.share(A) == pytest.approx(0.72, abs=0.04)
    assert forecast.share(B) == pytest.approx(0.67, abs=0.04)
    forecast.learn(A, SD, 300.0, 600.0)
    assert 0.76 < forecast.share(A) < 0.95


def test_asking_changes_nothing() -> None:
    """What is forecast does not depend on what was asked before, of servers that nobody has met either."""
    forecast = taught(300.0)
    forecast.learn(A, SD, 300.0, 600.0)
    first = forecast.share(A), forecast.share(B), forecast.total([SD] * 9, [A, B])
    assert (forecast.share(A), forecast.share(B), forecast.total([SD] * 9, [A, B])) == first


def test_a_server_that_is_known_is_judged_by_itself() -> None:
    """After ten renders each, others are expected where they were met, and hardly where they were not."""
    forecast = Forecast()
    for _ in range(10):
        forecast.learn(A, SD, 300.0, 300.0)
        forecast.learn(B, SD, 300.0, 600.0)
    assert forecast.share(A) < 0.25
    assert forecast.share(B) > 0.75


# -- what is said at the start

LATE = 7000.0


@pytest.mark.parametrize("servers", [(A,), (A, B)])
def test_the_warning_names_what_will_not_be_submitted(servers: tuple[str, ...]) -> None:
    """The jobs said to come too late are those that `fits` refuses, when each goes to the server free first."""
    costs = [HD, SD, SD, HD, SD, 35.0, SD, HD]
    named = set()
    for minutes in range(0, 120, 7):
        board = ready_board(jobs=len(costs), servers=servers, now=LATE)
        board.costs = dict(zip(JOBS, costs, strict=False))
        board.until = LATE + 60.0 * minutes
        busy, refused = dict.fromkeys(servers, 0.0), []
        for job in JOBS[: len(costs)]:
            url = min(busy, key=busy.__getitem__)
            if fits(board, url, job, LATE + busy[url]):
                busy[url] += board.forecast.seconds(url, board.costs[job])
            else:
                refused.append(job)
        assert list(too_late(board, LATE)) == refused
        named.add(len(refused))
    assert len(named) > 3
    assert len(costs) in named


def test_a_job_that_a_slow_server_would_finish_late_goes_to_a_fast_one() -> None:
    """A server that is free and too slow makes no job late that another finishes in time; a short one fits there."""
    board = ready_board(jobs=9, servers=(A, B), now=LATE)
    board.costs = {**dict.fromkeys(JOBS[:9], HD), JOBS[4]: SD}
    for _ in range(9):
        for cost in (SD, HD):
            board.forecast.learn(A, cost, 60 * cost)
            board.forecast.learn(B, cost, cost)
    board.until = LATE + 1600
    assert list(too_late(board, LATE)) == []
    board.until = LATE + 60.0
    assert list(too_late(board, LATE)) == [job for job in JOBS[:9] if job != JOBS[4]]


def test_the_last_second_is_in_time() -> None:
    """A job that may be home in the very second of the limit is submitted, and not warned of; a second less is."""
    board = ready_board(jobs=1, now=LATE)
    board.costs = {JOBS[0]: SD}
    board.until = LATE + board.forecast.at_most(A, SD) + DOWNLOAD_TIME
    assert fits(board, A, JOBS[0], LATE)
    assert list(too_late(board, LATE)) == []
    board.until -= 1.0
    assert not fits(board, A, JOBS[0], LATE)
    assert list(too_late(board, LATE)) == [JOBS[0]]


def test_the_warning_counts_what_is_queued_and_what_others_take() -> None:
    """What a server holds comes first, and where it worked for others every second hour half as many jobs fit."""
    alone, shared, held = (ready_board(jobs=12, now=LATE) for _ in range(3))
    note(held, [*queued(JOBS[0]), *queued(JOBS[1])], LATE)
    for board, passed in ((alone, 300.0), (shared, 600.0), (held, 300.0)):
        board.costs = dict.fromkeys(JOBS, SD)
        for _ in range(20):
            board.forecast.learn(A, SD, 300.0, passed)
        board.until = LATE + 10 * 300.0 + 60.0
    assert list(too_late(alone, LATE)) == list(JOBS[10:])
    assert list(too_late(held, LATE)) == list(JOBS[10:])
    assert list(too_late(shared, LATE)) == list(JOBS[5:])
