"""Whole batches on lines of every speed: files are home before clean-up, and no time is lost."""

from __future__ import annotations

from itertools import pairwise

import pytest
from slow_line import SIZE, Gpu, Line

A, B = "http://a:8188", "http://b:8188"
NEEDED = SIZE / 60.0
"""Bytes per second at which a file comes home in the time of a render."""


def line(*speeds: float, jobs: int = 40, ttl: float | None = 600.0, render: float = 60.0) -> Line:
    """Return a batch that has run: `speeds` of the lines, where 1 is as fast as a GPU renders."""
    gpus = [
        Gpu(name, lambda _, speed=speed: speed * SIZE / render) for name, speed in zip((A, B), speeds, strict=False)
    ]
    one = Line(gpus, render, jobs, ttl)
    one.pass_by()
    return one


def test_no_file_gets_old_on_a_line_slower_than_the_gpu() -> None:
    """At 0.8 of the needed speed every file is home in half of `ttl`, and the batch takes as long as its bytes do."""
    night = line(0.8)
    assert max(night.ages) <= 300
    assert len(night.ages) == 40
    assert night.now <= 60 + 1.02 * 40 * 75


def test_without_a_time_limit_nothing_is_held_back() -> None:
    """With `ttl: none` the same night renders on, files get older than ten minutes, and nothing is said."""
    night = line(0.8, ttl=None)
    assert max(night.ages) > 600
    assert night.gpus[0].idle <= night.now - 40 * 60
    assert night.told == []


@pytest.mark.parametrize("speed", [1.0, 1.25, 5.0])
def test_a_line_as_fast_as_the_gpu_is_never_waited_for(speed: float) -> None:
    """Where files come home as fast as they are rendered the GPU has always something to do."""
    night = line(speed)
    assert night.told == []
    assert night.now <= 1.01 * (40 * 60 + 60 / speed)


@pytest.mark.parametrize(("speed", "render"), [(0.3, 60.0), (0.5, 20.0), (0.8, 300.0), (0.1, 10.0)])
def test_a_line_of_any_speed_is_always_in_use(speed: float, render: float) -> None:
    """However slow it is, a prompt is held back only as long as there is something to come home meanwhile."""
    night = line(speed, render=render, jobs=20)
    assert max(night.ages) <= 600
    assert night.now <= 1.03 * (20 * render / speed) + 2 * render


def test_a_file_that_takes_longer_than_clean_up_still_comes() -> None:
    """Where not even one file is home in time, there is never nothing to do, and the batch comes to its end."""
    night = line(0.05, jobs=6)
    assert len(night.ages) == 6
    assert night.now <= 1.03 * 6 * 1200 + 120


def test_the_line_of_one_server_holds_up_no_other() -> None:
    """Of two servers one has a slow line: the other renders all the time, and the first nothing that gets old."""
    night = line(0.5, 5.0)
    assert {name for _, name, _ in night.told} == {A}
    assert night.gpus[1].idle <= 4 * 60  # at the end: the other's last files come home
    assert max(night.ages) <= 300


def test_a_line_that_recovers_is_used_again() -> None:
    """After 20 slow minutes the GPU renders on without a pause, and that is said."""
    gpu = Gpu(A, lambda now: NEEDED * (0.5 if now < 1200 else 5.0))
    night = Line([gpu])
    night.pass_by()
    assert [slow for _, _, slow in night.told] == [True, False]
    assert night.told[1][0] <= 1800
    assert night.now <= 1200 + 60 * 31


def test_a_line_that_becomes_slow_is_noticed() -> None:
    """From fast to half the needed speed: no file gets too old, though it was fast when the first were sent."""
    gpu = Gpu(A, lambda now: NEEDED * (5.0 if now < 600 else 0.5))
    night = Line([gpu])
    night.pass_by()
    assert max(night.ages) <= 600


@pytest.mark.parametrize("speed", [0.8, 0.3])
def test_it_is_said_once_when_it_begins_and_once_when_it_ends(speed: float) -> None:
    """A night on a slow line is one message, and one at its end, not two per job."""
    night = line(speed)
    assert [slow for _, _, slow in night.told] == [True, False]
    assert all(later - earlier > 600 for (earlier, *_), (later, *_) in pairwise(night.told))
