"""From a seed to the outcome of a night."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tests.lab.clock import StuckError, VirtualLoop, run
from tests.lab.disk import watched
from tests.lab.nights.batch import batch_of
from tests.lab.nights.outcome import Outcome, outcome_of
from tests.lab.nights.shape import drawn
from tests.lab.nights.world import World

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.nights.plan import Plan


_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of our own is made in it


def night(seed: int, jobs: int = 12, tell: Callable[[World], None] | None = None) -> Outcome:
    """Run the night of a seed; `tell` gets the world before it is gone.

    Nothing of it is to outlast the process, so its disk is memory where the system has such a disk.
    """
    with TemporaryDirectory(prefix="night-", dir=_MEMORY if os.access(_MEMORY, os.W_OK) else None) as folder:
        return pass_night(Path(folder), drawn(seed, jobs), tell)


def pass_night(folder: Path, plan: Plan, tell: Callable[[World], None] | None = None) -> Outcome:
    """Let one planned night pass in `folder`, and return its outcome; StuckError names its seed."""
    batch = batch_of(folder, plan)

    async def main(loop: VirtualLoop) -> Outcome:
        if tell is not None:
            loop.trace.keep()
        world = World(loop, plan, batch, folder)
        with watched(loop):
            await world.live()
        result = outcome_of(world)
        if tell is not None:
            tell(world)
        world.close()
        return result

    gc.disable()  # the dead are kept, so there is little to collect and much to walk
    try:
        return run(main, seed=plan.seed)
    except StuckError as error:
        error.add_note(f"in the night of seed {plan.seed}, {plan.jobs} jobs")
        raise
    finally:
        gc.enable()
