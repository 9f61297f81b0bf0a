"""`grouped` against a server that keeps the last prompt's node results."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from manifests import batch

from batchrunner.workflow.params import influences

if TYPE_CHECKING:
    from batchrunner.manifest import Batch


def encodings(found: Batch) -> int:
    """Return how often a text is encoded when the jobs run in order: whenever the last job's will not do."""
    reach = influences(found.template)
    encoders = [key for key, node in found.template.graph.items() if node.class_type == "CLIPTextEncode"]
    kept: dict[str, list[object]] = {}
    count = 0
    for job in found.jobs:
        for key in encoders:
            values = [job.params[name] for name in sorted(reach[key])]
            count += kept.get(key) != values
            kept[key] = values
    return count


@pytest.mark.parametrize(("prompts", "seeds"), [(4, 5), (5, 4), (2, 10)])
def test_grouped_spares_the_encoder(prompts: int, seeds: int) -> None:
    """Each prompt is encoded once in all, where seed-major listing encodes one for every job."""
    sweep = f"sweep: {{seed: {{count: {seeds}}}, prompt: [{', '.join(f'p{n}' for n in range(prompts))}]}}\n"
    assert encodings(batch("order: listed\n" + sweep)) == prompts * seeds + 1
    assert encodings(batch("order: grouped\n" + sweep)) == prompts + 1
