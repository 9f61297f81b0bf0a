"""Nights in plain Python: kills, restarts, lost answers, clean-up, strangers; every promise asserted on the way."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pure_night import Night

from batchrunner.core.lifecycle import folded


@pytest.mark.parametrize("block", range(10))
def test_nights_end_well(block: int) -> None:
    """Whatever happens: all home or failed with evidence, nothing twice, nothing of others touched, never too late."""
    for seed in range(block * 12, block * 12 + 12):
        Night(seed, jobs=5).run()


@pytest.mark.parametrize("seed", range(6))
def test_a_calm_night_renders_everything_once(seed: int) -> None:
    """Without mishaps every job is rendered exactly once, in one run."""
    night = Night(seed, jobs=12, calm=True)
    assert night.run().exit == 0
    assert [night.renders(job) for job in night.names] == [1] * 12
    assert (night.lives, night.saved()) == (1, 12)


@pytest.mark.parametrize("seed", range(6))
def test_any_prefix_of_a_ledger_can_be_resumed(seed: int) -> None:
    """However much of its ledger a dead runner kept, the next one ends the batch with the same jobs home."""
    whole = Night(seed, jobs=3, calm=True)
    whole.run()
    for kept in range(len(whole.journal) + 1):
        again = Night(seed, jobs=3, calm=True)
        again.run()
        again.now += 5.0
        again.journal = again.journal[:kept]
        assert again.run().exit == 0
        assert set(folded(again.names, again.journal)) == set(whole.names)
        assert set(again.home.values()) >= set(whole.home.values())


def test_a_night_can_see() -> None:
    """Were the doubt about a POST over after a second instead of seventy, a night would tell: posted twice."""
    night = Night(22, jobs=5)
    night.rules = replace(night.rules, settle=1.0)
    with pytest.raises(AssertionError, match="posted twice"):
        night.run()


def test_the_same_seed_is_the_same_night() -> None:
    """A night is a function of its seed, to the last fact."""
    one, two = Night(53, jobs=5), Night(53, jobs=5)
    one.run()
    two.run()
    assert one.told == two.told
    assert (one.now, one.polls) == (two.now, two.polls)
