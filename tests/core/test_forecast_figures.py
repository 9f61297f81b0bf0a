"""The figures of a forecast, worked out a second time: what a sum is off by shows in no night, only in bad advice."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from random import Random

import pytest
from boards import A, B

from batchrunner.core.forecast import GPU, Estimate, Forecast, Held
from batchrunner.core.server import SIM
from batchrunner.core.speed import LearnedSpeed, Line

SD, HD = 20.0, 58.5
NEW = 35.0
"""The cost of a kind of job that was never rendered."""
NIGHTS = {
    "one render": [(SD, 450.0)],
    "one kind": [(SD, 300.0), (SD, 310.0), (SD, 290.0)],
    "two kinds": [(SD, 300.0), (HD, 700.0), (HD, 750.0)],
    "many": [(22.0, 160.0), (26.0, 190.0), (40.0, 320.0), (70.0, 520.0), (26.0, 210.0)],
}
_UNSURE = 2.0
"""How many times as unsure a kind is that was never rendered as one that is well known."""


def learned(renders: list[tuple[float, float]], server: str = A) -> Forecast:
    """Return what one server taught by these (cost, seconds)."""
    forecast = Forecast()
    for cost, seconds in renders:
        forecast.learn(server, cost, seconds)
    return forecast


@pytest.mark.parametrize("night", NIGHTS)
def test_no_line_strays_less(night: str) -> None:
    """A new kind is forecast by the line that strays least from what the others take; the guess counts a little.

    A kind counts by its renders. The guess has a quarter of a render's weight at a small and at a large job, and is as
    fast there as the renders were compared with it on average.
    """
    renders = NIGHTS[night]
    forecast = learned(renders)
    kinds = {each: [seconds for cost, seconds in renders if cost == each] for each, _ in renders}
    points = [(cost, sum(took) / len(took), float(len(took))) for cost, took in kinds.items()]
    pace = sum(seconds / GPU.at(cost) for cost, seconds in renders) / len(renders)
    points += [(cost, pace * GPU.at(cost), 0.25) for cost in (20.0, 60.0)]

    def off(constant: float, slope: float) -> float:
        return sum(weight * ((constant + slope * cost) / seconds - 1) ** 2 for cost, seconds, weight in points)

    constant = forecast.seconds(A, 0.0)
    slope = (forecast.seconds(A, 33.0) - constant) / 33.0
    assert forecast.seconds(A, 66.0) == pytest.approx(constant + 66.0 * slope)
    for more, steeper in product((0.999, 1.0, 1.001), repeat=2):
        assert off(constant * more, slope * steeper) >= off(constant, slope) - 1e-12


def test_a_kind_counts_by_its_renders_there_then_elsewhere_then_the_line() -> None:
    """A render of the same kind there weighs one, one on another server a half, the line a quarter."""
    forecast = learned([(SD, 300.0)] * 40)
    for _ in range(40):
        forecast.learn(B, SD, 600.0)
    line = forecast.seconds(B, NEW)
    for _ in range(3):
        forecast.learn(A, NEW, 400.0)
    assert forecast.seconds(B, NEW) == pytest.approx((0.25 * line + 1.5 * 800) / 1.75)
    here = learned([(SD, 300.0), (SD, 300.0)])
    by_line = here.seconds(A, SD * 1.000001)
    assert here.seconds(A, SD) == pytest.approx((600 + 0.25 * by_line) / 2.25, rel=1e-5)


def nine_in_ten(forecasts: int) -> float:
    """Return how many standard deviations hold nine in ten, if that many forecasts told how large one is."""
    return 1.645 + 1.5 / (forecasts + 5)


def unsure(known: int) -> float:
    """Return how many times as unsure a kind is as one that is well known."""
    return float((1 + 1 / known) ** 0.5) if known else _UNSURE


def test_a_band_is_as_wide_as_earlier_forecasts_were_off() -> None:
    """Renders are expected to stray by a tenth, for two of them; then as they did, each by how unsure its kind was.

    That the forecast of a new kind was a good one is luck, and does not count.
    """
    forecast, dice = Forecast(), Random(1)  # noqa: S311 - the same every time
    known: list[float] = []
    off: list[float] = []
    for number in range(20):
        cost = dice.choice([SD, NEW, HD, 21.0 + number])
        seconds = dice.uniform(0.8, 1.2) * (100 + 6 * cost)
        one = (seconds / forecast.seconds(A, cost) - 1) / unsure(known.count(cost))
        if cost in known or (known and abs(one) > forecast.spread()):
            off.append(one)
        forecast.learn(A, cost, seconds)
        known.append(cost)
    spread = ((sum(each**2 for each in off) + 2 * 0.1**2) / (len(off) + 2)) ** 0.5
    for cost in (SD, NEW, 50.5):
        most = forecast.at_most(A, cost) / forecast.seconds(A, cost)
        assert most == pytest.approx(1 + nine_in_ten(len(off)) * spread * unsure(known.count(cost)))


def test_a_kind_is_known_after_one_render() -> None:
    """One render anywhere makes a kind known; the first of all is no forecast that was off."""
    forecast = learned([(SD, 3 * GPU.at(SD))])
    assert forecast.knows(SD)
    assert not forecast.knows(HD)
    assert forecast.at_most(A, SD) / forecast.seconds(A, SD) == pytest.approx(1 + nine_in_ten(0) * 0.1 * 2**0.5)
    assert forecast.at_most(A, HD) / forecast.seconds(A, HD) == pytest.approx(1 + nine_in_ten(0) * 0.2)


def band(estimate: Estimate, forecasts: int = 0) -> float:
    """Return half the width of a band, in standard deviations of one in ten; it is as wide below as above."""
    assert estimate.high - estimate.seconds == pytest.approx(estimate.seconds - estimate.low)
    return (estimate.high - estimate.seconds) / nine_in_ten(forecasts)


def test_the_band_before_the_first_render() -> None:
    """New kinds stray each by itself, by kind and all together, and waits by a tenth of a render each."""
    forecast = Forecast()
    sd, hd = GPU.at(SD), GPU.at(HD)
    estimate = forecast.total([SD, SD, HD], [A])
    strays = 0.1**2 * (2 * sd**2 + hd**2 + 3 * ((2 * sd) ** 2 + hd**2 + (2 * sd + hd) ** 2))
    waits = 1.7 * (0.1 * sd) ** 2 * 3 * (1 + 3)
    assert estimate.seconds == pytest.approx(2 * sd + hd)
    assert band(estimate) == pytest.approx((strays + waits) ** 0.5)


def test_the_band_of_kinds_that_are_known() -> None:
    """A known kind strays render by render and, with the mean of so few, together; the waits by what they were."""
    forecast = Forecast()
    waits = [300.0, 0.0, 900.0, 600.0]
    for wait in waits:
        forecast.learn(A, SD, 300.0, 300.0 + wait)
    number, share = 5, forecast.share(A)
    estimate = forecast.total([SD] * number, [A])
    each = forecast.seconds(A, SD)
    strays = forecast.spread() ** 2 * number * each**2 * (1 + number / 4)
    one = 1.7 * (sum((wait - share * 300.0) ** 2 for wait in waits) + (0.1 * 300.0) ** 2) / (4 + 1)
    assert estimate.seconds == pytest.approx(number * each * (1 + share))
    assert band(estimate, 3) == pytest.approx((strays + one * number * (1 + number / 5)) ** 0.5, rel=1e-9)


def test_the_band_of_a_kind_that_is_new_by_now() -> None:
    """The more renders there were of other kinds, the better the line is known by which new kinds are forecast."""
    forecast = learned([(SD, 300.0)] * 4)
    estimate = forecast.total([NEW] * 3, [A])
    each = forecast.seconds(A, NEW)
    strays = forecast.spread() ** 2 * (3 * each**2 + 3 * ((3 * each) ** 2 + (3 * each) ** 2 / 5))
    waits = 1.7 * (0.1 * 300.0) ** 2 * 3 * (1 + 3)
    assert band(estimate, 3) == pytest.approx((strays + waits) ** 0.5)


def test_the_share_of_others() -> None:
    """Ours wait so many seconds for each rendered: what they waited there, and as of five renders what all waited."""
    forecast = Forecast()
    forecast.learn(A, SD, 300.0, 450.0)
    forecast.learn(B, SD, 600.0, 600.0)
    pooled = 150.0 / (900.0 * 1.25)
    assert forecast.share(A) == pytest.approx((150.0 + 1500.0 * pooled) / (300.0 + 1500.0))
    assert forecast.share(B) == pytest.approx(3000.0 * pooled / (600.0 + 3000.0))
    held = Held(ran=100.0, others=50.0)
    assert forecast.share(A, held) == pytest.approx((200.0 + 1500.0 * pooled) / (400.0 + 1500.0))
    assert Forecast().share(A) == 0


def test_several_servers_end_together_but_for_the_last_job() -> None:
    """Of two servers nobody knows which gets the last job: half of half a render more to be unsure of."""
    one = learned([(SD, 300.0)] * 9)
    for _ in range(9):
        one.learn(B, SD, 300.0)
    estimate = one.total([SD] * 8, [A, B])
    each = one.seconds(A, SD)
    strays = one.spread() ** 2 * 4 * each**2 * (1 + 4 * 2 / 18)
    waits = 1.7 * (0.1 * 300.0) ** 2 * 4 * (1 + 4)
    assert estimate.seconds == pytest.approx(4 * each)
    assert band(estimate, 16) == pytest.approx((2 * (strays + waits) / 4 + (300.0 * 0.5 * 0.5) ** 2) ** 0.5)


def test_the_next_job_goes_to_who_begins_its_last_one_first() -> None:
    """A server takes its next job when it begins with the last it holds, so that one is always ready there."""
    forecast = learned([(SD, 300.0), (HD, 1000.0)] * 9)
    for cost, seconds in [(SD, 300.0), (HD, 1000.0)] * 9:
        forecast.learn(B, cost, seconds)
    sd, hd = forecast.seconds(A, SD), forecast.seconds(A, HD)
    long, short = Held(seconds=hd, costs=(HD,)), Held(seconds=2 * sd, costs=(SD, SD))
    assert forecast.total([SD], [A, B], {A: long, B: short}).seconds == pytest.approx(hd + sd)
    assert forecast.total([SD], [A, B], {A: Held(seconds=hd), B: short}).seconds == pytest.approx(hd + sd)
    assert forecast.total([SD], [A, B], {A: Held(seconds=2 * hd, costs=(HD, HD)), B: short}).seconds == 2 * hd


def test_nothing_takes_no_time_for_sure() -> None:
    """Without a server, or without a job, there is nothing to be unsure of."""
    nothing = Estimate(0.0, 0.0, 0.0)
    assert Forecast().total([SD], []) == nothing
    assert Forecast().total([], [A]) == nothing


def test_no_band_begins_before_now() -> None:
    """The built-in ComfyUI takes a second for next to nothing, and perhaps no time at all, but not less."""
    estimate = Forecast().total([1.0], [SIM])
    assert estimate.seconds == pytest.approx(1.14)
    assert estimate.low >= 0
    assert 1.5 < estimate.high < 4


# -- changes of prompt


def test_a_change_is_the_difference_within_a_kind() -> None:
    """What a change costs is learned kind by kind, by the number of pairs, and is no part of what a kind takes."""
    forecast = Forecast()
    for cost, seconds, changed in (
        (SD, 300.0, False),
        (SD, 360.0, True),
        (SD, 300.0, False),
        (HD, 900.0, False),
        (HD, 990.0, True),
        (NEW, 500.0, True),
    ):
        forecast.learn(A, cost, seconds, changed=changed)
    change = forecast.change(A)
    assert change.weight == pytest.approx(2 / 3 + 1 / 2)
    assert change.seconds == pytest.approx((60 * 2 / 3 + 90 / 2) / change.weight)
    assert change.job == pytest.approx((600 + 900) / 3)
    assert change.doubt == pytest.approx(0.025 * change.job / change.weight**0.5)
    mean = (300 + 300 + 360 - change.seconds) / 3
    line = forecast.seconds(A, SD * 1.0000001)
    assert forecast.seconds(A, SD) == pytest.approx((3 * mean + 0.25 * line) / 3.25)
    forecast.changes[A] = 0.5
    assert forecast.seconds(A, SD) == pytest.approx((3 * mean + 0.25 * line) / 3.25 + change.seconds / 2)


def test_a_cold_render_says_nothing_of_a_change() -> None:
    """The first render of a run, or one after somebody else's, may have loaded a model: only its kind learns of it."""
    forecast = Forecast()
    forecast.learn(A, SD, 400.0, changed=None)
    forecast.learn(A, SD, 300.0, changed=False)
    assert forecast.change(A).weight == 0
    assert forecast.seconds(A, SD) == pytest.approx(350.0)
    assert forecast.renders_of(A, SD) == 2


# -- what a server taught another batch


def again(forecast: Forecast, server: str = A) -> Forecast:
    """Return the forecast of another batch, before its first render."""
    new = Forecast()
    new.recall(server, forecast.learned()[server])
    return new


def test_a_second_batch_on_a_known_server_is_forecast_as_well() -> None:
    """What a server taught one batch another begins with: kinds, line, spread, change, and that there is experience."""
    first = Forecast()
    for number in range(12):
        first.learn(A, SD, 700.0 if number % 2 else 600.0, changed=bool(number % 2))
        first.learn(A, HD, 2000.0, changed=False)
    second = again(first)
    for cost in (SD, HD, NEW):
        assert second.seconds(A, cost) == pytest.approx(first.seconds(A, cost), rel=0.05)
    assert second.change(A).seconds == pytest.approx(100.0)
    assert second.spread() == pytest.approx(first.spread())
    assert second.knows(SD)
    assert second.renders() == second.renders_of(A, SD) == 0
    assert second.has_experience(A)
    assert not second.has_experience(B)


def test_what_a_change_costs_is_held_against_the_jobs_that_taught_it() -> None:
    """For the next batch a change is the same share of a job, however short jobs are; without kinds, of a small one."""
    first = Forecast()
    for number in range(12):
        first.learn(A, 0.1 * SD, 30.0 if number % 2 else 20.0, changed=bool(number % 2))
    before, after = first.change(A), again(first).change(A)
    assert after.seconds / after.job == pytest.approx(before.seconds / before.job)
    bare = Forecast()
    bare.recall(A, replace(first.learned()[A], kinds=()))
    assert bare.change(A).job == first.learned()[A].line.at(20.0)


def test_a_new_gpu_is_noticed() -> None:
    """Experience counts for three renders of a kind at most: after as many of its own the new speed prevails."""
    second = again(learned([(SD, 600.0)] * 50))
    for _ in range(3):
        second.learn(A, SD, 200.0)
    assert second.seconds(A, SD) < 320.0


def test_experience_is_handed_on() -> None:
    """A batch that rendered one kind hands on what earlier ones knew of the others, and of changes."""
    first = learned([(SD, 300.0), (HD, 1000.0)])
    first.learn(A, SD, 400.0, changed=True)
    second = again(first)
    assert second.learned() == {}
    second.learn(A, NEW, 500.0)
    third = again(second)
    assert third.seconds(A, HD) == pytest.approx(1000.0, rel=0.1)
    assert third.seconds(A, NEW) == pytest.approx(500.0, rel=0.05)
    assert third.change(A).seconds == pytest.approx(100.0, rel=0.3)


def test_what_is_kept_has_an_end() -> None:
    """Of a batch whose jobs all differ the last 64 kinds are kept."""
    many = learned([(float(cost), 60 + 12.0 * cost) for cost in range(1, 100)])
    kept = many.learned()[A]
    assert [cost for cost, _, _ in kept.kinds] == [float(cost) for cost in range(36, 100)]
    assert kept.change is None
    assert kept.line.at(NEW) == pytest.approx(GPU.at(NEW))
    assert isinstance(kept, LearnedSpeed)
    assert isinstance(kept.line, Line)


def test_servers_are_compared_by_kinds_that_both_know() -> None:
    """Without one, by their lines."""
    forecast = learned([(SD, 300.0), (NEW, 400.0)])
    forecast.learn(B, HD, 1500.0)
    assert 500 < forecast.seconds(B, NEW) < 1500
