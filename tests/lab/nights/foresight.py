"""`python -m tests.lab.nights.foresight --seeds 0:200`: what a forecast is worth, measured on calm runs."""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from typing import TYPE_CHECKING

from tests.lab.nights.calm_run import CalmRun, simulate
from tests.lab.nights.command import in_processes, seeds_in

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from tests.lab.nights.report import Report

_NEAR = 0.05
_SHOWN = 5


def main(words: Sequence[str]) -> int:
    """Let the nights pass that the command line asks for, and say what their forecasts were worth; return 0."""
    asked = _parser().parse_args(words)
    seeds = seeds_in(asked.seeds)
    one = partial(once, servers=asked.servers, jobs=asked.jobs, after=asked.after, people=asked.people)
    reports = list(in_processes(one, seeds, asked.workers))
    sys.stdout.write("".join(f"{line}\n" for line in summary(reports)))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m tests.lab.nights.foresight", description="Forecasts of simulated nights, each from a seed."
    )
    parser.add_argument("--seeds", default="0:200", help="one seed, or FROM:TO without TO (default 0:200)")
    parser.add_argument("--servers", type=int, default=1, help="servers (default 1)")
    parser.add_argument("--jobs", type=int, default=30, help="jobs for each server (default 30)")
    parser.add_argument("--after", type=int, default=10, help="jobs at home when asked, for each server (default 10)")
    parser.add_argument("--people", type=int, default=1, help="others who use the servers (default 1)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)")
    return parser


def once(seed: int, servers: int, jobs: int, after: int, people: int) -> Report:
    """Let one night pass."""
    return simulate(CalmRun(seed, jobs * servers, servers, after * servers, people=people))


def summary(reports: Sequence[Report]) -> Iterable[str]:
    """Yield how far the forecasts were off and how wide their bands were, as shares of the night."""
    off = sorted(abs(report.off) for report in reports)
    near = sum(share <= _NEAR for share in off) / len(off)
    held = sum(report.held for report in reports) / len(off)
    width = sum(report.width for report in reports) / len(off)
    lean = sum(report.off for report in reports) / len(off)
    nights = "1 night" if len(off) == 1 else f"{len(off)} nights"
    yield f"{nights} of {sum(report.ended for report in reports) / len(off) / 3600:.1f} hours"
    yield f"end forecast within 5 % of the night: {near:.1%}; median {off[len(off) // 2]:.1%}, mean {lean:+.1%} late"
    yield f"band held the truth: {held:.1%}; mean width +/- {width:.1%} of the night"
    worst = sorted(reports, key=lambda report: -abs(report.off))[:_SHOWN]
    yield "worst: " + ", ".join(f"seed {report.seed} {report.off:+.1%}" for report in worst)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
