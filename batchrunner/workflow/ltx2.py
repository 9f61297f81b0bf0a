"""The built-in workflow: LTX-2, text to video with sound, fifteen nodes, and the names its inputs go by."""

from __future__ import annotations

from importlib.resources import files

from batchrunner.workflow.graph import read_graph
from batchrunner.workflow.params import Template, make_param

NAME = "ltx2"

PLACES: dict[str, tuple[str, ...]] = {
    "prompt": ("7.text",),
    "negative": ("8.text",),
    "width": ("4.width",),
    "height": ("4.height",),
    "length": ("4.length", "5.frames_number"),
    "fps": ("5.frame_rate", "9.frame_rate", "14.fps"),
    "batch_size": ("4.batch_size", "5.batch_size"),
    "seed": ("10.seed",),
    "steps": ("10.steps",),
    "cfg": ("10.cfg",),
    "sampler_name": ("10.sampler_name",),
    "scheduler": ("10.scheduler",),
    "denoise": ("10.denoise",),
    "checkpoint": ("1.ckpt_name", "2.ltxv_path", "3.ckpt_name"),
    "gemma_path": ("2.gemma_path",),
    "max_length": ("2.max_length",),
    "codec": ("15.codec",),
    "format": ("15.format",),
}
"""Parameter -> every input that must agree on it."""

DESCRIPTIONS: dict[str, str] = {
    "prompt": "What to show and what to be heard.",
    "negative": "What to avoid.",
    "width": "Pixels, 64 to 16384; a server renders the next lower multiple of 32.",
    "height": "Pixels, 64 to 16384; a server renders the next lower multiple of 32.",
    "length": "Frames, 1 to 1000; a server renders the next lower 8n+1. Video and sound share it.",
    "fps": "Frames per second, 1 to 120; the same for the model, the sound and the file.",
    "batch_size": "Clips in one video, back to back; seeds give single files.",
    "seed": "0 to 18446744073709551615.",
    "steps": "Sampling steps, 1 to 10000.",
    "cfg": "How closely the prompt is followed, 0 to 100.",
    "sampler_name": "The sampler, as the server calls it.",
    "scheduler": "The scheduler, as the server calls it.",
    "denoise": "0 to 1; 1 starts from noise alone.",
    "checkpoint": "The model file; picture, sound and text encoder share it.",
    "gemma_path": "The text encoder's first file.",
    "max_length": "Tokens of the prompt, 16 to 131072.",
    "codec": "auto or h264.",
    "format": "auto or mp4.",
}


def ltx2() -> Template:
    """Return the built-in template; only its prompt must be given."""
    graph = read_graph(files("batchrunner.workflow").joinpath("ltx2.json").read_text("utf-8"))
    params = {name: make_param(graph, name, places) for name, places in PLACES.items()}
    return Template(graph, params, frozenset({"prompt"}))
