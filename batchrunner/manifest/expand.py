"""From the parts of a sound manifest to its batch: expand, exclude, join equal jobs, sample, name, order, choose."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from hashlib import sha256
from itertools import product
from typing import TYPE_CHECKING

from batchrunner.core.job import Job, job_id
from batchrunner.core.order import Groups
from batchrunner.core.settings import Rules
from batchrunner.manifest.batch import Batch
from batchrunner.manifest.diagnostics import join
from batchrunner.manifest.filenames import node_labels
from batchrunner.manifest.fill import Filled, Filler
from batchrunner.manifest.forms import SIM
from batchrunner.manifest.sweep import choose, sampled
from batchrunner.manifest.warnings import temporary, warnings
from batchrunner.manifest.yamltree import Location
from batchrunner.text import listing, printable
from batchrunner.workflow.cost import Effort
from batchrunner.workflow.params import Identify, costly
from batchrunner.workflow.values import shown

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator, Sequence

    from batchrunner.core.order import Group
    from batchrunner.manifest.diagnostics import Diagnostics
    from batchrunner.manifest.forms import Order, Settings
    from batchrunner.manifest.load import Parts
    from batchrunner.manifest.names import Point
    from batchrunner.workflow.params import Template


@dataclass(frozen=True, slots=True)
class Draft:
    """A job's values, before it has a name."""

    filled: Filled
    first: tuple[int, int]
    """(block, index on its first axis)."""

    def uploads(self, template: Template) -> dict[str, str]:
        """Return what stands in the workflow for every parameter that is a local file."""
        files = self.filled.files
        return {name: files[name].name for name in template.media if name in files}


def build(parts: Parts, diagnostics: Diagnostics) -> Batch:
    """Return the batch that `parts` describe.

    Raises ManifestError if a text cannot be filled in, nothing is left to do, or `--only` matches no job.
    """
    drafts = list(_drafts(parts, diagnostics))
    diagnostics.check()
    kept, notes = _kept(parts, drafts)
    effort = Effort(parts.template)
    named = []
    for digest, draft in kept.items():
        short, filled = job_id(digest), draft.filled
        file = parts.naming.name({**filled.params, **filled.stems}, short)
        uploads = draft.uploads(parts.template)
        inputs = tuple(dict.fromkeys(filled.files[name] for name in uploads))
        job = Job(short, digest, filled.params, file, effort.cost(filled.params), inputs, uploads)
        named.append((job, draft.first))
    jobs = arrange(named, parts.settings.order, parts.template)
    if not jobs:
        diagnostics.add(parts.exclusions[0].location, "exclude", "leaves no job")
    chosen = None
    if parts.only:
        found = choose(jobs, parts.only, parts.template.media)
        if jobs and not found:
            written = " ".join(f"--only {name}={node.text}" for name, nodes in parts.only.items() for node in nodes)
            there = "; ".join(f"{name} is {_values(jobs, name)}" for name in parts.only if name != "job")
            text = f"no job matches {printable(written)}{there and f': {there}'}"
            diagnostics.add(Location("--only", 1, 1), "", text)
        chosen = frozenset(job.id for job in found)
    lines, bare = temporary(jobs, parts.template, parts.outputs)
    for line in lines if bare else ():
        diagnostics.add(parts.workflow, "workflow", line)
    diagnostics.check()
    axes = [(block, axis) for block in parts.blocks for axis in block.axes if not axis.fixed]
    several = len(parts.blocks) > 1
    return Batch(
        name=parts.settings.name,
        servers=tuple(parts.servers),
        server_settings=parts.servers,
        rules=_rules(parts.settings, parts.servers),
        jobs=tuple(jobs),
        chosen=chosen,
        warnings=(*notes, *diagnostics.warnings(), *lines, *warnings(jobs, parts.template)),
        template=parts.template,
        axes=tuple((join(block.path, axis.name) if several else axis.name, axis.size) for block, axis in axes),
        counted=sum(block.size for block in parts.blocks),
        groups=Groups.of_jobs(groups(jobs, parts.template), auto=parts.settings.order == "auto"),
        outputs=parts.outputs,
        labels=node_labels(
            parts.template.graph,
            [node for node in parts.template.saves if parts.outputs is None or node in parts.outputs],
        ),
        notify=parts.notify,
        until=parts.settings.until,
        hours=parts.settings.hours,
        on_saved=parts.settings.on_saved,
        earlier=parts.earlier,
        sources=parts.media.sources,
        frames=parts.media.frames,
        hashes=parts.media.hashes,
    )


def _values(jobs: Iterable[Job], name: str) -> str:
    """Return the values that jobs have of one parameter, for a message."""
    return listing(dict.fromkeys(shown(job.params[name]) for job in jobs if name in job.params), most=8, width=40)


def _drafts(parts: Parts, diagnostics: Diagnostics) -> Iterator[Draft]:
    """Yield the jobs of all blocks as listed, the last axis fastest; one without a required value ends it."""
    filler = Filler(diagnostics, parts.media)
    for number, block in enumerate(parts.blocks):
        base = dict(parts.defaults)
        for axis in block.axes:
            if axis.fixed:
                base.update(axis.points()[0])
        axes = [axis.points() for axis in block.axes if not axis.fixed]
        for index, values in _combinations(base, axes, parts.overrides):
            filled = filler.fill(values)
            if filled is None:
                continue
            missing = sorted(parts.template.required - filled.params.keys())
            if missing:
                text = f"is required, and row {index + 1} has none"
                diagnostics.add(block.location, join(block.path, missing[0]), text)
                return
            yield Draft(filled, (number, index))


def _combinations(base: Point, axes: Sequence[Sequence[Point]], overrides: Point) -> Iterator[tuple[int, Point]]:
    """Yield (index on the first axis, values) of the product of `axes`."""
    first: Sequence[Point] = axes[0] if axes else ({},)
    for index, point in enumerate(first):
        for rest in product(*axes[1:]):
            values = {**base, **point}
            for other in rest:
                values.update(other)
            values.update(overrides)
            yield index, values


def _kept(parts: Parts, drafts: Sequence[Draft]) -> tuple[dict[str, Draft], list[str]]:
    """Return digest -> draft once exclusions, equal jobs and what is not sampled are out, and warnings about them."""
    identify = Identify(parts.template)
    removed = [0] * len(parts.exclusions)
    kept: dict[str, Draft] = {}
    joined = 0
    for draft in drafts:
        params = draft.filled.params
        matches = [index for index, exclusion in enumerate(parts.exclusions) if exclusion.matches(params)]
        for index in matches:
            removed[index] += 1
        if not matches:
            digest = identify.digest({**params, **draft.uploads(parts.template)})
            joined += digest in kept
            kept.setdefault(digest, draft)
    notes = [
        f"{exclusion.location}: {exclusion.path}: removes no job"
        for exclusion, count in zip(parts.exclusions, removed, strict=True)
        if not count
    ]
    if joined:
        notes.append(f"{joined} of {joined + len(kept)} jobs would render what another one renders; they are joined")
    if parts.settings.sample is not None:
        sample = sampled(kept, parts.settings.sample)
        kept = {digest: draft for digest, draft in kept.items() if digest in sample}
    return kept, notes


def arrange(jobs: Sequence[tuple[Job, tuple[int, int]]], order: Order, template: Template) -> list[Job]:
    """Return the jobs in the order they are to run; beside each stands (block, index on the block's first axis).

    Every order is a stable sort of `listed`: blocks and axes as written, the last axis fastest.
    """
    listed = [job for job, _ in jobs]
    match order:
        case "listed":
            return listed
        case "auto" | "breadth":
            return _breadth(jobs)
        case "grouped":
            return _grouped(listed, template)
        case "shuffle":
            return sorted(listed, key=lambda job: sha256(job.digest.encode()).digest())
        case "cheap":
            return sorted(listed, key=lambda job: job.cost)


def _breadth(jobs: Sequence[tuple[Job, tuple[int, int]]]) -> list[Job]:
    """Every prompt once before any twice, so that a run that ends early has something of each."""
    seen: Counter[Hashable] = Counter()
    rounds = []
    for job, first in jobs:
        prompt = job.params.get("prompt", first)
        rounds.append((seen[prompt], job))
        seen[prompt] += 1
    return [job for _, job in sorted(rounds, key=lambda each: each[0])]


def _grouped(jobs: Sequence[Job], template: Template) -> list[Job]:
    """Sort by the costly nodes' values, the node that varies least outermost.

    A node whose values are all alike, or all different, decides nothing; a node fed by it varies at least as much, so
    the graph's own order comes out: model, then texts, then what is sampled from them.
    """
    ranks = sorted(_ranks(jobs, template), key=max)
    return [jobs[index] for index in sorted(range(len(jobs)), key=lambda index: [rank[index] for rank in ranks])]


def groups(jobs: Sequence[Job], template: Template) -> dict[str, Group]:
    """Return what each job's costly nodes take, as numbers: jobs with equal ones spare a server work (`core.order`)."""
    shared = [rank for rank in _ranks(jobs, template) if 0 < max(rank) < len(jobs) - 1]
    rows = zip(*shared, strict=True) if shared else iter(())
    return {job.id: row for job, row in zip(jobs, rows, strict=False)}


def _ranks(jobs: Sequence[Job], template: Template) -> list[tuple[int, ...]]:
    """Return the values that the costly nodes take, numbered by first appearance: a tuple for each way they differ."""
    ranks: dict[tuple[int, ...], None] = {}
    for names in sorted(map(sorted, set(costly(template).values()))) if jobs else ():
        seen: dict[tuple[Hashable, ...], int] = {}
        taken = (tuple(job.params.get(name) for name in names) for job in jobs)
        ranks[tuple([seen.setdefault(values, len(seen)) for values in taken])] = None
    return list(ranks)


def _rules(settings: Settings, servers: Iterable[str]) -> Rules:
    # The simulator answers in milliseconds: what guards against slow networks would only make it slow.
    usual = Rules(settle=1.0, grace=1.0) if set(servers) == {SIM} else Rules()
    return Rules(
        attempts=settings.attempts,
        depth=settings.depth,
        max_depth=settings.depth if "depth" in settings.model_fields_set else usual.max_depth,
        ttl=settings.ttl,
        patience=settings.patience,
        settle=usual.settle if settings.settle is None else settings.settle,
        grace=usual.grace if settings.grace is None else settings.grace,
        poll=settings.poll,
        hint=settings.hint == "auto",
        stuck=settings.stuck,
    )
