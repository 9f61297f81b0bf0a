"""The batch of a simulated night, from a manifest such as people write."""

from __future__ import annotations

import json
from importlib.resources import files
from math import ceil
from typing import TYPE_CHECKING

from batchrunner.manifest import load
from batchrunner.workflow.ltx2 import NAME, PLACES
from tests.lab.nights.plan import url_of

if TYPE_CHECKING:
    from pathlib import Path

    from batchrunner.manifest import Batch
    from tests.lab.nights.plan import Plan

PROMPTS = ("A cat playing piano", "A dog on the moon", "Rain on a roof: slow, steady", 'A "quoted" wish & 50 % more')
_TWO_FILMS = "with-a-slow-film.json"
_MANIFEST = """
name: night
server: [{servers}]
workflow: {workflow}
defaults: {{length: 121, negative: blurry}}
order: {order}
hint: {hint}
sample: {{count: {jobs}, seed: {seed}}}
sweep:
  - prompt: {prompts}
    size: [{sizes}]
    quality: [{qualities}]
    batch_size: [{clips}]
    seed: {{count: {seeds}, base: {seed}}}
"""


def batch_of(folder: Path, plan: Plan) -> Batch:
    """Return the batch of a plan, from a manifest written into `folder`: exactly so many jobs, all different."""
    axes = plan.axes
    text = _MANIFEST.format(
        servers=", ".join(map(url_of, plan.servers())),
        workflow=NAME if axes.saves == 1 else _own_workflow(folder),
        jobs=plan.jobs,
        order=axes.order,
        hint="auto" if plan.hint else "off",
        prompts=json.dumps(PROMPTS[: axes.prompts]),
        sizes=", ".join(axes.sizes),
        qualities=", ".join(axes.qualities),
        clips=", ".join(map(str, axes.clips)),
        seeds=ceil(plan.jobs / axes.kinds),
        seed=plan.seed,
    )
    path = folder / "night.yaml"
    path.write_text(text, encoding="utf-8")
    return load(path)


def _own_workflow(folder: Path) -> str:
    """Write the built-in workflow with a second save node, for a slow film; return what a manifest says of it."""
    graph = json.loads(files("batchrunner.workflow").joinpath(f"{NAME}.json").read_text("utf-8"))
    made = next(node for node in graph.values() if node["class_type"] == "CreateVideo")
    saved = next(node for node in graph.values() if node["class_type"] == "SaveVideo")
    graph["slow"] = {**made, "inputs": {**made["inputs"], "fps": 12}}
    graph["saves slow"] = {**saved, "inputs": {**saved["inputs"], "video": ["slow", 0]}}
    (folder / _TWO_FILMS).write_text(json.dumps(graph), encoding="utf-8")
    names = ("prompt", "negative", "width", "height", "length", "batch_size", "seed", "steps", "cfg")
    return f"{_TWO_FILMS}\nparams: {json.dumps({name: PLACES[name] for name in names})}"
