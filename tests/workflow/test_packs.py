"""What `init` finds in twenty-one workflows written after public packs, and that its manifest changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from batchrunner.manifest import load
from batchrunner.workflow import first_manifest, read_graph
from batchrunner.workflow.init_roles import find_roles

PACKS = Path(__file__).parent / "packs"
FOUND = """
ace_step: prompt=14.tags lyrics=14.lyrics seed=52.seed seconds=17.seconds steps=52.steps cfg=52.cfg
animatediff: prompt=3.text negative=6.text seed=7.seed width=9.width height=9.height fps=26.frame_rate
    steps=7.steps cfg=7.cfg length=9.batch_size
batch_from_list: prompt=2.prompt_1 negative=4.text seed=6.seed width=5.width,9.width height=5.height,9.height
    steps=7.steps,9.steps cfg=7.cfg,9.cfg | prompt=2.prompt_2,2.prompt_3
controlnet: prompt=2.text negative=3.text seed=8.seed,10.seed width=7.width height=7.height steps=8.steps
    cfg=8.cfg image=5.image | width=9.width height=9.height steps=10.steps cfg=10.cfg
flux: prompt=41.t5xxl seed=31.seed width=27.width height=27.height steps=31.steps cfg=31.cfg
    guidance=41.guidance | prompt=41.clip_l
flux_guidance: prompt=6.text seed=25.noise_seed width=27.width,30.width height=27.height,30.height
    steps=17.steps guidance=26.guidance lora=31.lora_name lora_strength=31.strength_model
hunyuan_video: prompt=44.text seed=25.noise_seed width=45.width height=45.height length=45.length fps=75.fps
    steps=17.steps guidance=26.guidance
impact_wildcard: prompt=2.wildcard_text negative=4.text seed=6.seed width=5.width height=5.height steps=6.steps
    cfg=6.cfg | seed=9.seed,2.seed steps=9.steps cfg=9.cfg
ltx2_two_stage: prompt=3.text negative=4.text seed=11.noise_seed width=43.width height=43.height length=62.value
    fps=102.value steps=9.steps cfg=47.cfg lora=68.lora_name lora_strength=68.strength_model | seed=67.noise_seed
    cfg=82.cfg
ltx_enhancer: prompt=53.value negative=4.text seed=11.noise_seed width=43.width height=43.height length=62.value
    fps=102.value steps=9.steps cfg=47.cfg image=58.image | prompt=52.value
partner_node: prompt=1.prompt seed=1.seed seconds=1.duration image=2.image
primitive_seeds: prompt=5.text negative=6.text seed=2.value width=9.width height=9.height steps=3.value
    cfg=4.value
rgthree_lora: prompt=4.text negative=5.text seed=3.seed width=6.width height=6.height steps=7.steps cfg=7.cfg
    lora=2.lora_1.lora lora_strength=2.lora_1.strength lora_2=2.lora_3.lora lora_2_strength=2.lora_3.strength
sdxl_refiner: prompt=6.text_g,6.text_l,15.text negative=7.text_g,7.text_l,16.text seed=10.noise_seed
    width=5.width height=5.height cfg=10.cfg,11.cfg |
    width=6.width,7.width,15.width,16.width height=6.height,7.height,15.height,16.height
subgraph_ids: prompt=58.value seed=57:3.seed width=57:40.value height=57:41.value steps=57:3.steps cfg=57:3.cfg
text_concat: prompt=3.text negative=7.text seed=9.noise_seed width=8.width height=8.height steps=11.steps
    cfg=9.cfg | prompt=2.text
two_save_nodes: prompt=2.text negative=3.text seed=5.seed width=4.width height=4.height steps=5.steps
    cfg=5.cfg,9.cfg | seed=9.seed steps=9.steps
upscale_video: width=5.width height=5.height video=1.file
wan22_high_low: prompt=6.text negative=7.text seed=57.noise_seed width=61.width height=61.height
    length=61.length fps=60.fps cfg=57.cfg,58.cfg
wan22_low_high: prompt=6.text negative=7.text seed=58.noise_seed width=61.width height=61.height
    length=61.length fps=60.fps cfg=58.cfg,57.cfg
wan_i2v_vhs: prompt=16.positive_prompt negative=16.negative_prompt seed=27.seed width=70.value height=71.value
    length=63.num_frames fps=30.frame_rate steps=27.steps cfg=27.cfg image=58.image lora=69.lora
    lora_strength=69.strength
"""
"""Workflow: parameter=the inputs it drives; behind the bar, inputs of the same kind that it leaves alone."""
CASES = dict(line.split(": ", 1) for line in FOUND.strip().replace("\n    ", " ").splitlines())


@pytest.mark.parametrize("name", CASES)
def test_what_a_pack_is_driven_by(name: str) -> None:
    """Seed, prompt, negative, size, length, LoRAs and files are found where their values stand, and nothing else."""
    roles = find_roles(read_graph((PACKS / f"{name}.json").read_text("utf-8")))
    both = [
        " ".join(
            f"{param}={','.join(f'{key}.{place}' for key, place in places)}" for param, places in part.items() if places
        )
        for part in (roles.params, roles.others)
    ]
    assert " | ".join(part for part in both if part) == CASES[name]


@pytest.mark.parametrize("name", CASES)
def test_a_pack_is_sent_unchanged(tmp_path: Path, name: str) -> None:
    """Every job of a first manifest is the workflow as it was saved, but for its seed and the file prefix."""
    text = (PACKS / f"{name}.json").read_text("utf-8")
    (tmp_path / f"{name}.json").write_text(text, "utf-8")
    (tmp_path / "first.yaml").write_text(first_manifest(f"{name}.json", read_graph(text)), "utf-8")
    batch = load(tmp_path / "first.yaml")
    seeds = find_roles(read_graph(text)).params.get("seed", [])
    assert len(batch.jobs) == (2 if seeds else 1)
    assert len({job.params.get("seed") for job in batch.jobs}) == len(batch.jobs)
    for job in batch.jobs:
        sent: dict[str, Any] = json.loads(json.dumps(batch.graph(job, "prefix")))
        own = json.loads(text)
        for key, place in seeds:
            assert sent[key]["inputs"][place] == job.params["seed"]
            own[key]["inputs"][place] = job.params["seed"]
        for key, place in batch.template.saving.items():
            assert sent[key]["inputs"][place] == "prefix"
            own[key]["inputs"][place] = "prefix"
        assert sent == own
