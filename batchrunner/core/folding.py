"""States from facts alone: what resuming, `status` and every report are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchrunner.core.lifecycle import Waiting, advance

if TYPE_CHECKING:
    from collections.abc import Iterable

    from batchrunner.core.facts import Fact
    from batchrunner.core.lifecycle import State


def folded(jobs: Iterable[str], facts: Iterable[Fact]) -> dict[str, State]:
    """Return the state of every job after `facts`, in their order; raises Contradiction if they can't be true."""
    states: dict[str, State] = dict.fromkeys(jobs, Waiting())
    for fact in facts:
        states[fact.job] = advance(states.get(fact.job, Waiting()), fact)
    return states
