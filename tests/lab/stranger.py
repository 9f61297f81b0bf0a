"""Somebody else who uses the same server."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchrunner.core.identity import Json

PREFIX = "somebody-else"
"""What a stranger's files are called."""


def prompt(number: int) -> dict[str, Json]:
    """Return the body of a POST: one short picture, another for each number."""
    workflow: dict[str, Json] = {
        "1": _node("CheckpointLoaderSimple", ckpt_name="sd_xl_base_1.0.safetensors"),
        "2": _node("CLIPTextEncode", text=f"a stranger's wish {number}", clip=["1", 1]),
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


def _node(class_type: str, **inputs: Json) -> Json:
    return {"class_type": class_type, "inputs": inputs}
