"""Somebody else who uses the same server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from zlib import crc32

from batchrunner.sim.prompts import SimPrompt

if TYPE_CHECKING:
    from batchrunner.core.job import Json
    from batchrunner.sim.server import Simulator

PREFIX = "somebody-else"
"""What another user's files are called."""
_WISH = "a stranger's wish"
"""The prompt; it decides render times and so the trace of every seed, and stays as it was."""
_LEAST, _MOST = 90_000, 200_000
"""Bytes of the editor's graph that a browser sends along with a large workflow."""


def prompt(number: int) -> dict[str, Json]:
    """Return the body of a POST: one short picture, another for each number."""
    workflow: dict[str, Json] = {
        "1": _node("CheckpointLoaderSimple", ckpt_name="sd_xl_base_1.0.safetensors"),
        "2": _node("CLIPTextEncode", text=f"{_WISH} {number}", clip=["1", 1]),
        "3": _node("EmptyLatentImage", width=512, height=512, batch_size=1),
        "4": _node(
            "KSampler",
            model=["1", 0],
            seed=number,
            steps=20,
            cfg=7.0,
            sampler_name="euler",
            scheduler="normal",
            positive=["2", 0],
            negative=["2", 0],
            latent_image=["3", 0],
            denoise=1.0,
        ),
        "5": _node("VAEDecode", samples=["4", 0], vae=["1", 2]),
        "6": _node("SaveImage", images=["5", 0], filename_prefix=PREFIX),
    }
    return {"prompt": workflow, "client_id": PREFIX}


def heavy_prompt(number: int) -> dict[str, Json]:
    """Return the body of a POST as a browser sends it for a large workflow: with 90 to 200 kB of `extra_pnginfo`."""
    return {**prompt(number), "extra_data": {"extra_pnginfo": {"workflow": _graph(number)}}}


def finish(server: Simulator, number: int) -> None:
    """Put a heavy prompt into a server's history, as if it had been rendered before."""
    workflow = prompt(number)["prompt"]
    extra: dict[str, Json] = {"client_id": PREFIX, "extra_pnginfo": {"workflow": _graph(number)}}
    name, stamp = server.fresh_id(), int(server.wall() * 1000)
    made = SimPrompt(
        server.prompts.next_number(front=False), name, workflow if isinstance(workflow, dict) else {}, extra, ["6"]
    )
    file: Json = {"filename": f"{PREFIX}_{number:05}_.png", "subfolder": "", "type": "output"}
    messages: list[Json] = [
        [event, {"prompt_id": name, "timestamp": stamp}] for event in ("execution_start", "execution_success")
    ]
    server.prompts.history[name] = {
        "prompt": made.row(),
        "outputs": {"6": {"images": [file]}},
        "status": {"status_str": "success", "completed": True, "messages": messages},
        "meta": {},
    }


def _graph(number: int) -> dict[str, Json]:
    """Return an editor's graph of about as many bytes as its number draws, in many small values as a real one has."""
    size = _LEAST + crc32(f"{number}".encode()) % (_MOST - _LEAST)
    node: dict[str, Json] = {
        "id": number,
        "type": "PrimitiveNode",
        "pos": [120, 240],
        "size": [210, 82],
        "flags": {},
        "inputs": [{"name": "value", "type": "INT", "link": 17}],
        "outputs": [{"name": "INT", "type": "INT", "links": [18, 19, 20]}],
        "properties": {"Node name for S&R": "PrimitiveNode"},
        "widgets_values": [number, "fixed", 1.5, True],
    }
    return {"last_node_id": number, "nodes": [node] * (size // (len(json.dumps(node)) + 2)), "version": 0.4}


def _node(class_type: str, **inputs: Json) -> Json:
    return {"class_type": class_type, "inputs": inputs}
