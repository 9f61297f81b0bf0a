"""Print what nights of about eight hours and forty jobs cost: python tests/benchmarks/long_night.py [SEED ...].

One server, faults all night, every job 1920x1088 in 20 steps. CPU seconds are of one core.
"""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import process_time

from tests.lab import faults
from tests.lab.nights.night import pass_night
from tests.lab.nights.plan import Axes, Plan

JOBS = 40
HOURS = 8.0
SEEDS = (1, 2, 3, 4, 5)


def main(seeds: tuple[int, ...]) -> None:
    """Print a line a night."""
    for seed in seeds:
        before = process_time()
        with TemporaryDirectory(prefix="night-") as folder:
            end = pass_night(
                Path(folder), Plan(seed, JOBS, faults.basic_faults(seed, HOURS), axes=Axes(sizes=("1080p",)))
            )
        sys.stdout.write(
            f"seed {seed}: {end.hours:.1f} hours, {end.done} done, {end.failed} failed, {len(end.exits)} lives,"
            f" {len(end.broken)} promises broken, {process_time() - before:.1f} s of CPU\n"
        )


if __name__ == "__main__":
    main(tuple(map(int, sys.argv[1:])) or SEEDS)
