"""Print what one job costs the core on boards of different sizes: python tests/benchmarks/board.py [JOBS ...]."""

from __future__ import annotations

import sys
from pathlib import Path
from time import perf_counter

sys.path.insert(0, str(Path(__file__).parent.parent / "core"))

from test_operations import ROUNDS, large_board, one_round

SIZES = (1_000, 10_000, 100_000)


def seconds_a_round(jobs: int) -> tuple[float, float]:
    """Return the seconds to fill a board of so many jobs, and the seconds of one round on it."""
    begun = perf_counter()
    board, _ = large_board(jobs)
    filled = perf_counter()
    for number in range(ROUNDS):
        one_round(board, number, float(number) / ROUNDS)
    return filled - begun, (perf_counter() - filled) / ROUNDS


def main(sizes: tuple[int, ...]) -> None:
    """Print a line a size, and how much slower a round is on it than on the smallest."""
    first = 0.0
    for jobs in sizes:
        fill, one = seconds_a_round(jobs)
        first = first or one
        sys.stdout.write(
            f"{jobs:>8} jobs: filled in {fill:.2f} s, a round {one * 1e6:.0f} us, ratio {one / first:.2f}\n"
        )


if __name__ == "__main__":
    main(tuple(map(int, sys.argv[1:])) or SIZES)
