"""The command: run many nights over all cores, say what came of them, and how to replay one that went wrong."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor, as_completed
from functools import partial
from hashlib import sha256
from multiprocessing import get_context
from typing import TYPE_CHECKING, TypeVar

from tests.lab.nights.night import night
from tests.lab.nights.transcript import transcript

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from tests.lab.nights.outcome import Outcome

T = TypeVar("T")
_PER_PROCESS = 20
"""Nights that a process runs, on average, until it is replaced."""
_SHOWN = 10


def main(words: Sequence[str]) -> int:
    """Run what the command line asks for; 0 if every promise was kept, else 1."""
    asked = _parser().parse_args(words)
    seeds = seeds_in(asked.seeds)
    if asked.trace:
        told = [night(seed, asked.jobs, lambda world: _say(transcript(world))) for seed in seeds]
        return int(any(outcome.broken for outcome in told))
    began = time.perf_counter()
    one = partial(once, jobs=asked.jobs, twice=asked.twice)
    outcomes = list(in_processes(one, seeds, asked.workers))
    _say(_summary(outcomes, time.perf_counter() - began))
    wrong = sorted((outcome for outcome in outcomes if outcome.broken), key=lambda outcome: outcome.seed)
    for outcome in wrong[:_SHOWN]:
        _say([f"seed {outcome.seed}:", *(f"  {line}" for line in outcome.broken[:_SHOWN])])
        _say([f"  replay: python -m tests.lab.nights --seeds {outcome.seed} --jobs {asked.jobs} --trace"])
    return int(bool(wrong))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m tests.lab.nights", description="Simulated nights, each from a seed.")
    parser.add_argument("--seeds", default="0:100", help="one seed, or FROM:TO without TO (default 0:100)")
    parser.add_argument("--jobs", type=int, default=12, help="jobs in a night (default 12)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes (default: one per core)")
    parser.add_argument("--twice", action="store_true", help="run every seed twice, and compare")
    parser.add_argument("--trace", action="store_true", help="tell everything that happens")
    return parser


def seeds_in(text: str) -> range:
    """Return the seeds of `7` or `0:100`."""
    first, colon, end = text.partition(":")
    return range(int(first), int(end) if colon else int(first) + 1)


def once(seed: int, jobs: int, *, twice: bool) -> Outcome:
    """Run a seed once, or twice: then a difference is a broken promise too."""
    first = night(seed, jobs)
    if not twice:
        return first
    second = night(seed, jobs)
    return first if first == second else first.with_broken("P14 the second run of this seed was another night")


def in_processes(one: Callable[[int], T], seeds: Sequence[int], workers: int) -> Iterator[T]:
    """Yield what `one` returns for every seed, as soon as it is there, from so many processes.

    The dead of a night are kept until its process ends, so the processes are replaced from time to time: all together,
    because with `max_tasks_per_child` Python 3.11 waits for ever (python/cpython#115634). Raises BrokenProcessPool if
    a process was killed.
    """
    size, number = workers * _PER_PROCESS, 0
    for start in range(0, len(seeds), size):
        with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
            for done in as_completed([pool.submit(one, seed) for seed in seeds[start : start + size]]):
                number += 1
                if sys.stderr.isatty():
                    sys.stderr.write(f"\r{number} of {len(seeds)} nights")
                yield done.result()
    if sys.stderr.isatty():
        sys.stderr.write("\r\x1b[K")


def _summary(outcomes: Sequence[Outcome], seconds: float) -> list[str]:
    faults: Counter[str] = Counter()
    for outcome in outcomes:
        faults += outcome.faults
    broken: Counter[str] = Counter(line.split()[1] for outcome in outcomes for line in outcome.broken)
    lives = sum(len(outcome.exits) for outcome in outcomes)
    kills = sum(outcome.exits.count(-9) for outcome in outcomes)
    return [
        f"{len(outcomes)} nights, {sum(outcome.hours for outcome in outcomes):,.0f} hours, in {seconds:,.0f} s",
        f"{sum(outcome.done for outcome in outcomes)} jobs done, {sum(outcome.failed for outcome in outcomes)} failed",
        f"{sum(one.renders for one in outcomes)} renders, {sum(one.duplicates for one in outcomes)} duplicates",
        _doubles(outcomes),
        f"{lives} lives of the runner, {kills} of them ended by kill -9",
        _shapes(outcomes),
        "faults: " + ", ".join(f"{count} {name}" for name, count in faults.most_common()),
        f"traces: {traces(outcomes)}",
        "promises broken: " + (", ".join(f"{count} x {name}" for name, count in broken.most_common()) or "none"),
    ]


def _doubles(outcomes: Sequence[Outcome]) -> str:
    """Return how many jobs were posted again because nobody could wait for what another server had of them."""
    given_up = sum(outcome.given_up_doubles for outcome in outcomes)
    unasked = sum(outcome.unasked_doubles for outcome in outcomes)
    return f"doubles: {given_up} of what a given-up server still had, {unasked} of what an unasked one had"


def traces(outcomes: Iterable[Outcome]) -> str:
    """Return one sha256 (hex) over the digests of all nights in the order of their seeds: same seeds, same traces."""
    ordered = sorted(outcomes, key=lambda outcome: outcome.seed)
    return sha256("".join(outcome.digest for outcome in ordered).encode()).hexdigest()


def _shapes(outcomes: Sequence[Outcome]) -> str:
    """Return in how many nights there were how many servers, old ones, and jobs that differ."""
    servers = Counter(outcome.servers for outcome in outcomes)
    counted = ", ".join(f"{number} in {servers[number]} nights" for number in sorted(servers))
    old = sum(bool(outcome.old) for outcome in outcomes)
    kinds = sum(outcome.kinds > 1 for outcome in outcomes)
    files = sum(outcome.files > 1 for outcome in outcomes)
    jobs = f"jobs of several kinds in {kinds}, of two files each in {files}"
    return f"servers: {counted}; prompt ids of their own in {old}; {jobs}"


def _say(lines: Iterable[str]) -> None:
    sys.stdout.write("".join(f"{line}\n" for line in lines))
