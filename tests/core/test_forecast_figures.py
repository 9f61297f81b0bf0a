"""The figures of a forecast, worked out a second time: what a sum is off by shows in no night, only in bad advice."""

from __future__ import annotations

from itertools import product
from random import Random

import pytest
from boards import A, B

from batchrunner.core.forecast import GPU, Estimate, Forecast, Held
from batchrunner.core.server import SIM

SD, HD = 0.95e9, 7.6e9
NEW = 3.3e9
"""The cost of a kind of job that was never rendered."""
NIGHTS = {
    "one render": [(SD, 450.0)],
    "one kind": [(SD, 300.0), (SD, 310.0), (SD, 290.0)],
    "two kinds": [(SD, 200.0), (HD, 900.0), (HD, 950.0)],
    "many": [(1e9, 160.0), (2e9, 190.0), (4e9, 320.0), (9e9, 520.0), (2e9, 210.0)],
}


def learned(renders: list[tuple[float, float]], server: str = A) -> Forecast:
    """Return what one server taught by these (cost, seconds)."""
    forecast = Forecast()
    for cost, seconds in renders:
        forecast.learn(server, cost, seconds)
    return forecast


@pytest.mark.parametrize("night", NIGHTS)
def test_no_line_strays_less(night: str) -> None:
    """A new kind is forecast by the line that strays least from the renders, relatively; the guess counts a little.

    The guess has a quarter of a render's weight at the document's smallest and at its largest job, and is as fast there
    as the renders were compared with it on average.
    """
    renders = NIGHTS[night]
    forecast = learned(renders)
    pace = sum(seconds / GPU.at(cost) for cost, seconds in renders) / len(renders)
    held = [(cost, pace * GPU.at(cost), 0.25) for cost in (SD, HD)]
    points = [*((cost, seconds, 1.0) for cost, seconds in renders), *held]

    def off(constant: float, slope: float) -> float:
        return sum(weight * ((constant + slope * cost) / seconds - 1) ** 2 for cost, seconds, weight in points)

    constant = forecast.seconds(A, 0.0)
    slope = (forecast.seconds(A, NEW) - constant) / NEW
    assert forecast.seconds(A, 2 * NEW) == pytest.approx(constant + 2 * NEW * slope)
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
    assert forecast.seconds(B, NEW) == pytest.approx((0.25 * line + 1.5 * 800) / 1.75, rel=0.01)
    here = learned([(SD, 300.0), (SD, 300.0)])
    by_line = learned([(SD, 300.0), (SD, 300.0)]).seconds(A, SD * 1.000001)
    assert here.seconds(A, SD) == pytest.approx((600 + 0.25 * by_line) / 2.25, rel=1e-5)


def test_a_band_is_as_wide_as_earlier_forecasts_were_off() -> None:
    """Known kinds are expected to stray by a tenth and new ones by a fifth, for two renders; then as they did."""
    forecast, dice = Forecast(), Random(1)  # noqa: S311 - the same every time
    known: list[float] = []
    off: dict[bool, list[float]] = {True: [], False: []}
    for number in range(20):
        cost = dice.choice([SD, NEW, HD, 1e9 + number])
        seconds = dice.uniform(0.8, 1.2) * (100 + 5e-8 * cost)
        if known:
            off[cost in known].append(seconds / forecast.seconds(A, cost) - 1)
        forecast.learn(A, cost, seconds)
        known.append(cost)
    again, first = (
        ((sum(each**2 for each in off[kind]) + 2 * expected**2) / (len(off[kind]) + 2)) ** 0.5
        for kind, expected in ((True, 0.1), (False, 0.2))
    )
    most = forecast.at_most(A, SD) / forecast.seconds(A, SD)
    assert most == pytest.approx(1 + 1.645 * again * (1 + 1 / known.count(SD)) ** 0.5)
    assert forecast.at_most(A, 5e9) / forecast.seconds(A, 5e9) == pytest.approx(1 + 1.645 * first)


def test_a_kind_is_known_after_one_render() -> None:
    """One render anywhere makes a kind known; the first of all is no forecast that was off."""
    forecast = learned([(SD, 3 * GPU.at(SD))])
    assert forecast.knows(SD)
    assert not forecast.knows(HD)
    assert forecast.at_most(A, SD) / forecast.seconds(A, SD) == pytest.approx(1 + 1.645 * 0.1 * 2**0.5)
    assert forecast.at_most(A, HD) / forecast.seconds(A, HD) == pytest.approx(1 + 1.645 * 0.2)


def band(estimate: Estimate) -> float:
    """Return half the width of a band, in standard deviations of one in ten; it is as wide below as above."""
    assert estimate.high - estimate.seconds == pytest.approx(estimate.seconds - estimate.low)
    return (estimate.high - estimate.seconds) / 1.645


def test_the_band_before_the_first_render() -> None:
    """New kinds stray by a fifth, each together and all together once more, and waits by a tenth of a render each."""
    forecast = Forecast()
    sd, hd = GPU.at(SD), GPU.at(HD)
    estimate = forecast.total([SD, SD, HD], [A])
    strays = 0.2**2 * ((2 * sd) ** 2 + hd**2 + (2 * sd + hd) ** 2)
    waits = (0.1 * sd) ** 2 * 3 * (1 + 3)
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
    spread = (forecast.at_most(A, SD) / each - 1) / 1.645 / (1 + 1 / 4) ** 0.5
    strays = spread**2 * number * each**2 * (1 + number / 4)
    one = (sum((wait - share * 300.0) ** 2 for wait in waits) + (0.1 * 300.0) ** 2) / (4 + 1)
    assert estimate.seconds == pytest.approx(number * each * (1 + share))
    assert band(estimate) == pytest.approx((strays + one * number * (1 + number / 5)) ** 0.5, rel=1e-9)


def test_the_band_of_a_kind_that_is_new_by_now() -> None:
    """The more renders there were of other kinds, the better the line is known by which new kinds are forecast."""
    forecast = learned([(SD, 300.0)] * 4)
    estimate = forecast.total([NEW] * 3, [A])
    each = forecast.seconds(A, NEW)
    first = (forecast.at_most(A, NEW) / each - 1) / 1.645
    strays = first**2 * ((3 * each) ** 2 + (3 * each) ** 2 / 5)
    waits = (0.1 * 300.0) ** 2 * 3 * (1 + 3)
    assert band(estimate) == pytest.approx((strays + waits) ** 0.5)


def test_the_share_of_others() -> None:
    """Ours wait so many seconds for each rendered: what they waited there, and as of five renders what all waited."""
    forecast = Forecast()
    forecast.learn(A, SD, 300.0, 450.0)
    forecast.learn(B, SD, 600.0, 600.0)
    pooled = 150.0 / (300.0 + 600.0 + 0.5 * (300.0 + 600.0))
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
    spread = (one.at_most(A, SD) / each - 1) / 1.645 / (1 + 1 / 18) ** 0.5
    strays = spread**2 * 4 * each**2 * (1 + 4 * 2 / 18)
    waits = (0.1 * 300.0) ** 2 * 4 * (1 + 4)
    assert estimate.seconds == pytest.approx(4 * each)
    assert band(estimate) == pytest.approx((2 * (strays + waits) / 4 + (300.0 * 0.5 * 0.5) ** 2) ** 0.5)


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
    assert estimate.seconds == pytest.approx(1.0)
    assert estimate.low == 0
    assert 2 < estimate.high < 4
