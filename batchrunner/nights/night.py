"""From a seed to the outcome of a night."""

from __future__ import annotations

import gc
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from batchrunner.manifest import load
from batchrunner.nights.verdict import Outcome, outcome
from batchrunner.nights.world import SERVER, Plan, World
from batchrunner.sim import mishaps
from batchrunner.sim.clock import VirtualLoop, run
from batchrunner.sim.disk import watched

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchrunner.manifest import Batch

_MANIFEST = """
name: night
server: http://{server}:8188
workflow: ltx2
defaults: {{size: sd, length: 121, quality: fast, negative: blurry}}
sweep:
  - prompt: A cat playing piano
    seed: {{count: {jobs}, base: {seed}}}
"""
_HOURS_PER_JOB = 0.12
_HOURS = 0.5


def night(seed: int, jobs: int = 12, tell: Callable[[World], None] | None = None) -> Outcome:
    """Run the night of a seed; `tell` gets the world before it is gone."""
    script = mishaps.night(seed, _HOURS + jobs * _HOURS_PER_JOB)
    with TemporaryDirectory(prefix="night-") as folder:
        return pass_night(Path(folder), Plan(seed, jobs, script), tell)


def pass_night(folder: Path, plan: Plan, tell: Callable[[World], None] | None = None) -> Outcome:
    """Let one planned night pass in `folder`, and judge it."""
    batch = batch_of(folder, plan)

    async def main(loop: VirtualLoop) -> Outcome:
        if tell is not None:
            loop.trace.keep()
        world = World(loop, plan, batch, folder)
        with watched(loop):
            await world.live()
        judged = outcome(world)
        if tell is not None:
            tell(world)
        world.close()
        return judged

    gc.disable()  # the dead are kept, so there is little to collect and much to walk
    try:
        return run(main, seed=plan.seed)
    finally:
        gc.enable()


def batch_of(folder: Path, plan: Plan) -> Batch:
    """Return the batch of a plan, from a manifest written into `folder`."""
    path = folder / "night.yaml"
    path.write_text(_MANIFEST.format(server=SERVER, jobs=plan.jobs, seed=plan.seed), encoding="utf-8")
    return load(path)
