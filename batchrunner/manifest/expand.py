"""Blocks to jobs, and jobs to a batch: expand, leave out, join, draw, name, order, pick."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from itertools import product
from typing import TYPE_CHECKING

from batchrunner.core.job import Job, job_id
from batchrunner.core.settings import Rules
from batchrunner.manifest.batch import Batch
from batchrunner.manifest.diagnostics import join
from batchrunner.manifest.forms import SIM
from batchrunner.manifest.sweep import draw, pick
from batchrunner.manifest.values import Filler
from batchrunner.manifest.warnings import temporary, warnings
from batchrunner.manifest.yamltree import Spot
from batchrunner.text import listing
from batchrunner.workflow.cost import Effort
from batchrunner.workflow.params import Identify, costly

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator, Mapping, Sequence

    from batchrunner.core.job import Scalar
    from batchrunner.manifest.batch import Options
    from batchrunner.manifest.diagnostics import Complaints
    from batchrunner.manifest.forms import Order
    from batchrunner.manifest.load import Parts
    from batchrunner.manifest.names import Point
    from batchrunner.manifest.sweep import Block
    from batchrunner.manifest.yamltree import Leaf
    from batchrunner.workflow.params import Template

# -- Blocks to jobs: the product of their axes, over the defaults, under what the command line sets.


@dataclass(frozen=True, slots=True)
class Draft:
    """A job's values, before it has a name."""

    params: Mapping[str, Scalar]
    first: tuple[int, int]
    """(block, index on its first axis)."""


def expand(blocks: Sequence[Block], below: Point, above: Point, filler: Filler) -> Iterator[Draft]:
    """Yield the jobs of all blocks as listed: the last axis fastest.

    `below` holds the workflow's own values and the defaults; `above` wins always. Jobs whose texts cannot be filled
    in are left out, after complaining.
    """
    for number, block in enumerate(blocks):
        base = dict(below)
        for axis in block.axes:
            if axis.fixed:
                base.update(axis.points()[0])
        axes = [axis.points() for axis in block.axes if not axis.fixed]
        for index, values in _combinations(base, axes, above):
            params = filler.fill(values)
            if params is not None:
                yield Draft(params, (number, index))


def _combinations(base: Point, axes: Sequence[Sequence[Point]], above: Point) -> Iterator[tuple[int, Point]]:
    first: Sequence[Point] = axes[0] if axes else ({},)
    for index, point in enumerate(first):
        for rest in product(*axes[1:]):
            values = {**base, **point}
            for other in rest:
                values.update(other)
            values.update(above)
            yield index, values


# -- Which job is next. Every order is a stable sort of `listed`: blocks and axes as written, the last axis fastest.


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


# -- Sound parts to a batch: expand, leave out, join, draw, name, order, pick.


def build(parts: Parts, options: Options, complaints: Complaints) -> Batch:
    """Return the batch that `parts` describe.

    Raises:
        ManifestError: a text cannot be filled in, nothing is left to do, or `--only` picks nothing.

    """
    drafts = list(_drafts(parts, complaints))
    complaints.settle()
    kept, notes = _kept(parts, drafts)
    placed = _placed(parts, kept)
    jobs = arrange(placed, parts.settings.order, parts.template)
    chosen = _chosen(jobs, parts.only, options.limit, complaints)
    if not jobs:
        complaints.add(parts.exclusions[0].spot, "exclude", "leaves no job")
    lines, bare = temporary(jobs, parts.template, parts.outputs)
    for line in lines if bare else ():
        complaints.add(parts.workflow, "workflow", line)
    complaints.settle()
    return Batch(
        name=parts.settings.name,
        servers=parts.servers,
        rules=_rules(parts),
        jobs=tuple(jobs),
        chosen=chosen,
        warnings=(*notes, *lines, *warnings(jobs, parts.template)),
        template=parts.template,
        axes=tuple(_axes(parts)),
        counted=sum(block.size for block in parts.blocks),
        outputs=parts.outputs,
        notify=parts.notify,
        until=parts.settings.until,
    )


def _drafts(parts: Parts, complaints: Complaints) -> Iterator[Draft]:
    """Yield the drafts; one without a required value names the first such, and that is enough."""
    for draft in expand(parts.blocks, parts.below, parts.above, Filler(complaints)):
        missing = sorted(parts.template.required - draft.params.keys())
        if missing:
            block = parts.blocks[draft.first[0]]
            complaints.add(
                block.spot, join(block.path, missing[0]), f"is required, and row {draft.first[1] + 1} has none"
            )
            return
        yield draft


def _kept(parts: Parts, drafts: Sequence[Draft]) -> tuple[dict[str, Draft], list[str]]:
    """Return digest -> draft of what is left once exclusions, twins and the sample are out, and notes on them."""
    identify = Identify(parts.template)
    removed = [0] * len(parts.exclusions)
    kept: dict[str, Draft] = {}
    joined = 0
    for draft in drafts:
        hits = [index for index, exclusion in enumerate(parts.exclusions) if exclusion.hits(draft.params)]
        for index in hits:
            removed[index] += 1
        if not hits:
            digest = identify.digest(draft.params)
            joined += digest in kept
            kept.setdefault(digest, draft)
    notes = [
        f"{exclusion.spot.file}:{exclusion.spot.line}:{exclusion.spot.column}: {exclusion.path}: removes no job"
        for exclusion, count in zip(parts.exclusions, removed, strict=True)
        if not count
    ]
    if joined:
        notes.append(f"{joined} of {joined + len(kept)} jobs would render what another one renders; they are joined")
    if parts.settings.sample is not None:
        lots = draw(list(kept), parts.settings.sample)
        kept = {digest: draft for digest, draft in kept.items() if digest in lots}
    return kept, notes


def _placed(parts: Parts, kept: Mapping[str, Draft]) -> list[Placed]:
    effort = Effort(parts.template)
    placed = []
    for digest, draft in kept.items():
        short = job_id(digest)
        file = parts.naming.name(draft.params, short)
        placed.append(Placed(Job(short, digest, draft.params, file, effort.cost(draft.params)), draft.first))
    return placed


def _chosen(
    jobs: Sequence[Job], only: Mapping[str, Sequence[Leaf]], limit: int | None, complaints: Complaints
) -> frozenset[str] | None:
    if not only and limit is None:
        return None
    found = pick(jobs, only)
    if jobs and not found:
        said = listing(f"{name}={leaf.text}" for name, leaves in only.items() for leaf in leaves)
        complaints.add(Spot("--only", 1, 1), "", f"picks none of the {len(jobs)} jobs: {said}")
    return frozenset(job.id for job in found[:limit])


def _rules(parts: Parts) -> Rules:
    settings = parts.settings
    # The simulator answers in milliseconds: what guards against slow networks would only make it dull.
    usual = Rules(settle=1.0, grace=1.0) if set(parts.servers) == {SIM} else Rules()
    return Rules(
        attempts=settings.attempts,
        depth=settings.depth,
        ttl=settings.ttl,
        patience=settings.patience,
        settle=usual.settle if settings.settle is None else settings.settle,
        grace=usual.grace if settings.grace is None else settings.grace,
        poll=settings.poll,
        stuck=settings.stuck,
    )


def _axes(parts: Parts) -> Iterator[tuple[str, int]]:
    for block in parts.blocks:
        for axis in block.axes:
            if not axis.fixed:
                yield (join(block.path, axis.name) if len(parts.blocks) > 1 else axis.name), axis.size
