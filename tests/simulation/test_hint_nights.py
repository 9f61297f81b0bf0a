"""Nights with a bad websocket: the batch goes on as without one (docs/comfyui.md §20)."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.lab.bad_sockets import WAYS
from tests.lab.faults import Fault
from tests.lab.nights.night import pass_night
from tests.lab.nights.plan import Plan

AT, ALL_NIGHT = 200.0, 86_400.0
_SLOWER = 60.0 / 3600.0
"""Hours that a night may take longer than without a socket: two polls, as the last thing is heard."""


@cache
def hours_without() -> float:
    """Return how long the night takes whose runner opens no socket."""
    with TemporaryDirectory() as folder:
        return pass_night(Path(folder), Plan(1, 2, hint=False)).hours


@pytest.mark.parametrize(
    "fault",
    [
        *(Fault("bad-socket", AT, lasts=ALL_NIGHT, how=how) for how in WAYS),
        *(Fault("bad-socket", 0.0, lasts=ALL_NIGHT, how=how) for how in ("silent", "flood")),
        *(Fault("lazy-neighbour", at, lasts=ALL_NIGHT) for at in (0.0, AT)),
    ],
    ids=lambda fault: f"{fault.how or fault.do}-{fault.at:g}",
)
def test_a_bad_socket_costs_nothing(tmp_path: Path, fault: Fault) -> None:
    """However bad the socket is, from the start or while the first job renders, all is rendered once, as soon."""
    outcome = pass_night(tmp_path, Plan(1, 2, (fault,)))
    assert (outcome.broken, outcome.done, outcome.renders, outcome.exits) == ((), 2, 2, (0,))
    assert outcome.hours <= hours_without() + _SLOWER
