"""The command: draw a sample of changes, try them, and say which survived."""

from __future__ import annotations

import argparse
import re
import sys
import time
from collections import Counter
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tests.lab.mutate.sites import Mutant, mutants
from tests.lab.mutate.table import ROOT, modules, steps
from tests.lab.mutate.trials import Trial, Trials

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

PAGE = ROOT / "docs" / "mutants.md"


def judged(page: str) -> dict[tuple[str, str, str], str]:
    """Return what `docs/mutants.md` says of changes that make no difference, by `Mutant.key`."""
    rows = (re.split(r"(?<!\\)\|", line)[1:-1] for line in page.splitlines() if line.startswith("| `"))
    cells = ([cell.strip().replace(r"\|", "|") for cell in row] for row in rows)
    plain = ((*(cell.strip("`") for cell in row[:-1]), row[-1]) for row in cells)
    return {(where.partition(" ")[2], before, after): why for where, before, after, why in plain}


def row(mutant: Mutant, why: str) -> str:
    """Return the row of `docs/mutants.md` that judges a change."""
    where = f"{Path(mutant.path).name} {mutant.function}".strip()
    cells = (*(f"`{text}`" for text in (where, mutant.before, mutant.after)), why)
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def summary(trials: Sequence[Trial], known: Mapping[tuple[str, str, str], str]) -> Iterator[str]:
    """Yield what survived, and per part how much was caught."""
    survivors = sorted((trial.mutant for trial in trials if not trial.caught_by), key=str)
    for title, is_known in (
        ("survived, and no test would notice:", False),
        ("makes no difference, by docs/mutants.md:", True),
    ):
        listed = [mutant for mutant in survivors if (mutant.key in known) is is_known]
        if listed:
            yield title
            yield from (f"  {mutant}" + (f"  ({known[mutant.key]})" if is_known else "") for mutant in listed)
    parts = modules()
    alike = Counter(parts[mutant.path].name for mutant in survivors if mutant.key in known)
    caught = Counter(parts[trial.mutant.path].name for trial in trials if trial.caught_by)
    tried = Counter(parts[trial.mutant.path].name for trial in trials)
    for name in tried:
        yield _figures(name, caught[name], tried[name], alike[name])
    yield _figures("all", caught.total(), tried.total(), alike.total())


def _figures(name: str, caught: int, tried: int, alike: int) -> str:
    share = caught / (tried - alike) if tried > alike else 1.0
    said = f"{alike} make no difference, {share:.1%} of the others"
    return f"{name}: {caught}/{tried} caught, {caught / tried:.1%}; {said}"


def main(words: Sequence[str]) -> int:
    """Try what the command line asks for; 0 if everything that makes a difference was caught, else 1."""
    asked = _parser().parse_args(words)
    known = judged(PAGE.read_text(encoding="utf-8")) if PAGE.exists() else {}
    chosen = _chosen(asked)
    files = dict.fromkeys(file for mutant in chosen for step in steps(mutant.path) for file in step)
    began = time.monotonic()
    trials: list[Trial] = []
    with TemporaryDirectory(prefix="mutate-") as place:
        runs = Trials(ROOT, Path(place), asked.workers)
        try:
            runs.measure(files)
            for number, trial in enumerate(runs.of(chosen), 1):
                trials.append(trial)
                if asked.verbose or not trial.caught_by:
                    said = f"caught by {trial.caught_by}" if trial.caught_by else "survived"
                    _say(f"{number}: {said} in {trial.seconds:.1f} s: {trial.mutant}")
        finally:
            runs.close()
    for line in summary(trials, known):
        _say(line)
    _say(f"{len(trials)} of {len(_all())} changes in {time.monotonic() - began:,.0f} s")
    return int(any(not trial.caught_by and trial.mutant.key not in known for trial in trials))


def _all() -> list[Mutant]:
    return [one for path in modules() for one in mutants(path, (ROOT / path).read_text(encoding="utf-8"))]


def _chosen(asked: argparse.Namespace) -> list[Mutant]:
    found = _all()
    if asked.again:
        lines = Path(asked.again).read_text(encoding="utf-8")
        return [
            one
            for one in found
            if re.search(rf":\d+: {re.escape(f'{one.before} -> {one.after}')}(  \(|$)", lines, re.MULTILINE)
        ]
    found = [one for one in found if asked.only in str(one)]
    return sample(found, asked.sample, asked.seed)


def sample(found: Iterable[Mutant], count: int, seed: int) -> list[Mutant]:
    """Return a sample that stays the same where the code does: every change is drawn by its own text alone."""

    def lot(mutant: Mutant) -> str:
        return sha256(f"{seed}/{'/'.join(mutant.key)}".encode()).hexdigest()

    return sorted(found, key=lot)[:count]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m tests.lab.mutate", description="One wrong line at a time.")
    parser.add_argument("--sample", type=int, default=300, help="how many changes to try (default 300)")
    parser.add_argument("--seed", type=int, default=1, help="which sample (default 1)")
    parser.add_argument("--workers", type=int, default=2, help="processes at a time (default 2)")
    parser.add_argument("--only", default="", help="only changes whose `file:line: before -> after` contains this")
    parser.add_argument("--again", default="", help="a file with lines as printed here: try those changes, no sample")
    parser.add_argument("--verbose", action="store_true", help="say of every change what caught it")
    return parser


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
