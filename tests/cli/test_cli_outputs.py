"""Files of any kind, and of several nodes, come home under names that say what they are."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from short_runs import URL_OF_SERVER, run_once, serving

from batchrunner.manifest import Options, load
from batchrunner.sim.generic import generic_classes
from tests.lab.clock import run

if TYPE_CHECKING:
    from pathlib import Path

    from tests.lab.clock import VirtualLoop

_MANIFEST = """
name: two
server: {server}
workflow: w.json
params: {{seed: 3.seed}}
sweep: {{seed: [1, 2]}}
files: "s{{seed}}"
"""
DRAW: dict[str, Any] = {
    "3": {
        "class_type": "KSampler",
        "inputs": {
            "seed": 1,
            "steps": 6,
            "cfg": 7.0,
            "sampler_name": "euler",
            "scheduler": "normal",
            "denoise": 1.0,
            "model": ["4", 0],
            "positive": ["6", 0],
            "negative": ["6", 0],
            "latent_image": ["5", 0],
        },
    },
    "4": {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "sd_xl_base_1.0.safetensors"}},
    "5": {"class_type": "EmptyLatentImage", "inputs": {"width": 512, "height": 512, "batch_size": 1}},
    "6": {"class_type": "CLIPTextEncode", "inputs": {"text": "a cat", "clip": ["4", 1]}},
    "8": {"class_type": "VAEDecode", "inputs": {"samples": ["3", 0], "vae": ["4", 2]}},
    "11": {"class_type": "VAEDecode", "inputs": {"samples": ["5", 0], "vae": ["4", 2]}},
}


def saver(kind: str, title: str = "", source: str = "8", **inputs: Any) -> dict[str, Any]:
    """Return a node that saves what node 8 decoded, or another."""
    node: dict[str, Any] = {"class_type": kind, "inputs": {"filename_prefix": "x/y", "images": [source, 0], **inputs}}
    return {**node, "_meta": {"title": title}} if title else node


def _home(folder: Path, savers: dict[str, Any], more: str = "") -> dict[str, dict[str, Any]]:
    """Run a batch with these saving nodes; return the sidecars by the paths of their files."""
    (folder / "w.json").write_text(json.dumps({**DRAW, **savers}), encoding="utf-8")
    (folder / "m.yaml").write_text(_MANIFEST.format(server=URL_OF_SERVER) + more, encoding="utf-8")
    batch = load(folder / "m.yaml", Options())

    async def main(loop: VirtualLoop) -> int:
        async with serving(loop, folder / "gpu", strict=False) as server:
            server.catalogue.update(generic_classes(server.known, savers, list))
            return await run_once(loop, batch, folder / "home")

    assert run(main, seed=1) == 0
    told = [json.loads(path.read_text(encoding="utf-8")) for path in (folder / "home").glob("*.json")]
    return {each["file"]["path"]: each for each in sorted(told, key=lambda each: str(each["file"]["path"]))}


def test_of_two_saving_nodes_each_file_says_which_it_is_of(tmp_path: Path) -> None:
    """The node's title stands in the file's name, and title and id in the sidecar."""
    found = _home(tmp_path, {"9": saver("SaveImage", "Save base"), "12": saver("SaveImage", "Save upscaled", "11")})
    assert {path: (told["file"]["node"], told["file"]["title"]) for path, told in found.items()} == {
        "s1-save-base.png": ("9", "Save base"),
        "s1-save-upscaled.png": ("12", "Save upscaled"),
        "s2-save-base.png": ("9", "Save base"),
        "s2-save-upscaled.png": ("12", "Save upscaled"),
    }


def test_what_is_no_picture_comes_home_as_it_is(tmp_path: Path) -> None:
    """A mesh is rendered once and saved under its own suffix."""
    found = _home(tmp_path, {"9": saver("SaveGLB", mesh=["8", 0])})
    assert list(found) == ["s1.glb", "s2.glb"]
    assert {told["attempt"] for told in found.values()} == {1}


def test_only_wanted_nodes_count(tmp_path: Path) -> None:
    """Where `outputs` wants one of two nodes, its files have plain names."""
    savers = {"9": saver("SaveImage", "Save base"), "12": saver("SaveImage", "Save upscaled", "11")}
    found = _home(tmp_path, savers, "outputs: ['@Save upscaled']\n")
    assert {path: told["file"]["node"] for path, told in found.items()} == {"s1.png": "12", "s2.png": "12"}
