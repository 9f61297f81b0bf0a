"""The other people on a calm run's servers: now and then one of them posts something short."""

from __future__ import annotations

import asyncio
from itertools import count
from typing import TYPE_CHECKING

from batchrunner.sim.record import SimEvent, What
from tests.lab import other_user

if TYPE_CHECKING:
    from random import Random

    from batchrunner.sim.server import Simulator

_SOON = 300.0


class BackgroundLoad:
    """So many prompts for each of ours that starts, on average, each within five minutes of it.

    Every one of so many `people` decides by himself each time whether to come.
    """

    def __init__(self, each: float, people: int, dice: Random) -> None:
        self._chance = each / people
        self._people = people
        self._dice = dice
        self._numbers = count(1)

    def hear(self, event: SimEvent, server: Simulator) -> None:
        """Come along when something of ours starts on `server`; to be called with everything that happens there."""
        if event.what is not What.STARTED or event.prefix == other_user.PREFIX:
            return
        for _ in range(self._people):
            if self._dice.random() < self._chance:
                asyncio.get_running_loop().call_later(self._dice.uniform(0, _SOON), self._post, server)

    def _post(self, server: Simulator) -> None:
        server.submit(other_user.prompt(next(self._numbers)), other_user.PREFIX)
