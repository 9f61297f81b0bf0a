"""Which job is next. Every order is a stable sort of `listed`: blocks and axes as written, the last axis fastest."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

from batchrunner.workflow.influence import costly

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from batchrunner.core.job import Job
    from batchrunner.manifest.forms import Order
    from batchrunner.workflow.template import Template


@dataclass(frozen=True, slots=True)
class Placed:
    """A job, and which value of its block's first axis it has."""

    job: Job
    first: tuple[int, int]
    """(block, index on its first axis)."""


def arrange(placed: Sequence[Placed], order: Order, template: Template) -> list[Job]:
    """Return the jobs in the order they are to run."""
    jobs = [each.job for each in placed]
    match order:
        case "listed":
            return jobs
        case "breadth":
            return _breadth(placed)
        case "grouped":
            return _grouped(jobs, template)
        case "shuffle":
            return sorted(jobs, key=lambda job: sha256(job.digest.encode()).digest())
        case "cheap":
            return sorted(jobs, key=lambda job: job.cost)


def _breadth(placed: Sequence[Placed]) -> list[Job]:
    """Every prompt once before any twice, so that a night that ends early has something of each."""
    seen: Counter[Hashable] = Counter()
    turns = []
    for each in placed:
        prompt = each.job.params.get("prompt", each.first)
        turns.append((seen[prompt], each.job))
        seen[prompt] += 1
    return [job for _, job in sorted(turns, key=lambda turn: turn[0])]


def _grouped(jobs: Sequence[Job], template: Template) -> list[Job]:
    """Sort by the costly nodes' values, the node that varies least outermost.

    A node whose values are all alike, or all different, decides nothing; a node fed by it varies at least as much, so
    the graph's own order comes out: model, then texts, then what is sampled from them.
    """
    groups = set(costly(template).values())
    ranks: list[list[int]] = []
    for names in sorted(map(sorted, groups)):
        seen: dict[tuple[Hashable, ...], int] = {}
        ranks.append([seen.setdefault(tuple(job.params.get(name) for name in names), len(seen)) for job in jobs])
    ranks.sort(key=lambda rank: max(rank, default=0))
    return [jobs[index] for index in sorted(range(len(jobs)), key=lambda index: [rank[index] for rank in ranks])]
