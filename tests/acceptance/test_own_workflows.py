"""Workflows of one's own, and prompts as people write them, all the way to a server and home again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from comfyui import Server
from processes import ended

from batchrunner.download import verify as media

_JOBS = Path(__file__).parents[2] / "jobs"
_ODD = [
    "{a|b} and {c}",
    "[b]bold[/b] [0]",
    "$5, $x, {y} and $",
    "\"quoted\" and 'so' and `so` and \\back\\slashes\\",
    "two\nlines\r\nand\ta tab ",
    "\U0001f3ac\U0001f431\u200d\U0001f680 family: \U0001f468\u200d\U0001f469\u200d\U0001f467",
    "\u0627\u0644\u0645\u0637\u0631 \u0639\u0644\u0649 \u0627\u0644\u0633\u0637\u062d",
    "x" * 9_999 + "\u00e9",
    "no",
    "16:9",
]


@pytest.mark.parametrize(("manifest", "files", "kind"), [("own-image", 6, "png"), ("own-video", 6, "mp4")])
def test_a_workflow_with_other_nodes(tmp_path: Path, manifest: str, files: int, kind: str) -> None:
    """An exported workflow that is not ltx2 runs its sweep end to end with nothing but `workflow:` and `params:`."""
    for name in (f"{manifest}.yaml", "sdxl_api.json", "wan_api.json"):
        shutil.copy(_JOBS / name, tmp_path)
    with Server(tmp_path / "server", seconds=0.1) as server:
        options = ("--server", server.url, "--set", "steps=2", "--limit", str(files))
        end = ended(tmp_path, "run", f"{manifest}.yaml", *options)
        assert end.code == 0, end.err
        home = sorted((tmp_path / "outputs" / manifest).glob(f"**/*.{kind}"))
        assert len(home) == len(server.events("saved")) == min(files, len(home)) > 1
        for path in home:
            seen = media.inspect(path)
            assert seen.whole
            assert seen.prefixes is not None
            assert all(prefix.startswith(f"{manifest}-") for prefix in seen.prefixes)


def test_an_own_workflow_is_rehearsed_on_the_built_in_server(tmp_path: Path) -> None:
    """`run --server sim` runs a workflow of nodes and models that the simulator has never heard of, and ends with 0."""
    workflow = {
        "1": {"class_type": "WanVideoModelLoader", "inputs": {"model": "mine.safetensors"}},
        "2": {"class_type": "WanVideoTextEncode", "inputs": {"positive_prompt": "a fox", "t5": ["1", 1]}},
        "3": {
            "class_type": "WanVideoSampler",
            "inputs": {"model": ["1", 0], "text_embeds": ["2", 0], "seed": 7, "steps": 2},
        },
        "4": {"class_type": "WanVideoDecode", "inputs": {"samples": ["3", 0], "vae": ["1", 2]}},
        "5": {
            "class_type": "VHS_VideoCombine",
            "inputs": {
                "images": ["4", 0],
                "frame_rate": 16,
                "loop_count": 0,
                "filename_prefix": "fox",
                "format": "video/h265-mp4",
                "pingpong": False,
                "save_output": True,
            },
        },
    }
    (tmp_path / "own.json").write_text(json.dumps(workflow), encoding="utf-8")
    (tmp_path / "own.yaml").write_text(
        "name: own\nserver: sim\npoll: 50ms\nworkflow: own.json\n"
        "params: {prompt: 2.positive_prompt, seed: 3.seed}\nsweep: {prompt: [a fox, a cat], seed: 1}\n",
        encoding="utf-8",
    )
    end = ended(tmp_path, "run", "own.yaml", "--server", "sim")
    assert end.code == 0, end.err
    assert len(list((tmp_path / "outputs" / "own").glob("**/*.mp4"))) == 2


def test_prompts_arrive_as_they_were_written(tmp_path: Path) -> None:
    """Braces, brackets, dollars, quotes, line ends, emoji, right-to-left text, 10,000 characters, `no` and `16:9`."""
    with Server(tmp_path / "server", seconds=0.01) as server:
        (tmp_path / "odd.yaml").write_text(
            f"name: odd\nserver: {server.url}\nttl: none\npoll: 50ms\nworkflow: ltx2\n"
            "defaults: {width: 64, height: 64, length: 9, steps: 1}\n"
            f"sweep: {{prompt: {json.dumps(_ODD, ensure_ascii=False)}, seed: 1}}\n",
            encoding="utf-8",
        )
        end = ended(tmp_path, "run", "odd.yaml")
        assert end.code == 0, end.err
        sidecars = [json.loads(path.read_text("utf-8")) for path in (tmp_path / "outputs" / "odd").glob("[!.]*.json")]
        assert sorted(told["workflow"]["7"]["inputs"]["text"] for told in sidecars) == sorted(_ODD)
        inside = [_text_inside(path) for path in (tmp_path / "outputs" / "odd").glob("*.mp4")]
        assert sorted(inside) == sorted(_ODD)


def _text_inside(path: Path) -> str:
    """Return the positive prompt that the server wrote into a video, as it had arrived there."""
    raw = path.read_bytes()
    start = raw.index(b'{"1": {')
    workflow, _ = json.JSONDecoder().raw_decode(raw[start:].decode("utf-8", "replace"))
    return str(workflow["7"]["inputs"]["text"])
