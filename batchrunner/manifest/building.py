"""Sound parts to a batch: expand, leave out, join, draw, name, order, pick."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchrunner.core.identity import job_id
from batchrunner.core.job import Job
from batchrunner.core.settings import Rules
from batchrunner.manifest.batch import Batch
from batchrunner.manifest.check import join
from batchrunner.manifest.choose import draw, pick
from batchrunner.manifest.expand import expand
from batchrunner.manifest.fill import Filler
from batchrunner.manifest.order import Placed, arrange
from batchrunner.manifest.servers import SIM
from batchrunner.manifest.tree import Spot
from batchrunner.manifest.warn import temporary, warnings
from batchrunner.workflow.effort import Effort
from batchrunner.workflow.identify import Identify
from batchrunner.workflow.words import listing

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from batchrunner.manifest.batch import Options
    from batchrunner.manifest.complaints import Complaints
    from batchrunner.manifest.expand import Draft
    from batchrunner.manifest.reading import Parts
    from batchrunner.manifest.tree import Leaf


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
