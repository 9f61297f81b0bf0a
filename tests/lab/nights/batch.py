"""The batch of a simulated night, from a manifest such as people write, and the input files that it loads."""

from __future__ import annotations

import json
from hashlib import sha256
from importlib.resources import files
from math import ceil
from random import Random
from typing import TYPE_CHECKING

from batchrunner.core.job import upload_name
from batchrunner.manifest import load
from batchrunner.workflow.ltx2 import NAME, PLACES
from tests.lab.nights.plan import url_of

if TYPE_CHECKING:
    from pathlib import Path

    from batchrunner.manifest import Batch
    from tests.lab.nights.plan import Axes, Plan

PROMPTS = ("A cat playing piano", "A dog on the moon", "Rain on a roof: slow, steady", 'A "quoted" wish & 50 % more')
_OWN_WORKFLOW, _PICTURES = "own.json", "pictures"
_PARAMS = ("prompt", "negative", "width", "height", "length", "batch_size", "seed", "steps", "cfg")
_PNG = b"\x89PNG\r\n\x1a\n"
_BYTES = (2_000, 60_000)
"""Of an input file."""
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
    seed: {{count: {seeds}, base: {seed}}}{pictures}
"""


def pictures(plan: Plan) -> dict[str, bytes]:
    """Return what is in each input file of a plan's batch, by the name under which it is uploaded."""
    dice = Random(f"{plan.seed}/input files")  # noqa: S311 - a replay, no secret
    contents = [_PNG + dice.randbytes(dice.randint(*_BYTES)) for _ in range(plan.axes.pictures)]
    return {upload_name(sha256(content).hexdigest(), ".png"): content for content in contents}


def batch_of(folder: Path, plan: Plan) -> Batch:
    """Return the batch of a plan, from a manifest written into `folder`: exactly so many jobs, all different."""
    axes = plan.axes
    (folder / _PICTURES).mkdir(exist_ok=True)
    for name, content in pictures(plan).items():
        (folder / _PICTURES / name).write_bytes(content)
    text = _MANIFEST.format(
        servers=", ".join(map(url_of, plan.servers())),
        workflow=NAME if axes.saves == 1 and not axes.pictures else _own_workflow(folder, axes),
        pictures=f'\n    image: {{files: "{_PICTURES}/*.png"}}' if axes.pictures else "",
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


def _own_workflow(folder: Path, axes: Axes) -> str:
    """Write the built-in workflow with what it does not have; return what a manifest says of it.

    That is a second save node, for a slow film, or a loader of a picture, on the way to the sampler.
    """
    graph = json.loads(files("batchrunner.workflow").joinpath(f"{NAME}.json").read_text("utf-8"))
    places = {name: PLACES[name] for name in _PARAMS}
    if axes.saves > 1:
        made = next(node for node in graph.values() if node["class_type"] == "CreateVideo")
        saved = next(node for node in graph.values() if node["class_type"] == "SaveVideo")
        graph["slow"] = {**made, "inputs": {**made["inputs"], "fps": 12}}
        graph["saves slow"] = {**saved, "inputs": {**saved["inputs"], "video": ["slow", 0]}}
    if axes.pictures:
        sampler = next(node for node in graph.values() if node["class_type"] == "KSampler")["inputs"]
        latents = {"video_latent": sampler["latent_image"], "audio_latent": ["pixels", 0]}
        graph["picture"] = {"class_type": "LoadImage", "inputs": {"image": "none.png"}}
        graph["pixels"] = {"class_type": "VAEEncode", "inputs": {"pixels": ["picture", 0], "vae": ["1", 2]}}
        graph["with picture"] = {"class_type": "LTXVConcatAVLatent", "inputs": latents}
        sampler["latent_image"] = ["with picture", 0]
        places["image"] = ("picture.image",)
    (folder / _OWN_WORKFLOW).write_text(json.dumps(graph), encoding="utf-8")
    return f"{_OWN_WORKFLOW}\nparams: {json.dumps(places)}"
