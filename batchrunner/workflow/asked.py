"""What a workflow asks of the video that a node saves, as far as its nodes tell for certain.

Only nodes that pass pictures on as they are stand between the latent and the file here; one that scales, cuts or
interpolates, or that nobody knows, leaves size and length open. A false alarm in the morning would be worse than none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchrunner.core.video import Video
from batchrunner.workflow.graph import links
from batchrunner.workflow.values import limit_of, rendered

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchrunner.core.job import Json, Scalar
    from batchrunner.workflow.params import Template

_PICTURES = {
    "SaveVideo": "video",
    "CreateVideo": "images",
    "VHS_VideoCombine": "images",
    "VAEDecode": "samples",
    "VAEDecodeTiled": "samples",
    "KSampler": "latent_image",
    "KSamplerAdvanced": "latent_image",
    "SamplerCustom": "latent_image",
    "SamplerCustomAdvanced": "latent_image",
    "LTXVSeparateAVLatent": "av_latent",
    "LTXVConcatAVLatent": "video_latent",
}
"""Classes that change neither size nor number of pictures, and the input these come by."""
_LATENTS = {
    "EmptyLTXVLatentVideo": ("length", (32, 0), (8, 1)),
    "EmptyHunyuanLatentVideo": ("length", (16, 0), (4, 1)),
    "EmptyLatentImage": ("batch_size", (8, 0), (1, 0)),
}
"""Where they begin: the input that counts them, and what sides and count are certain to be rendered as they stand."""
_NUMBERS = frozenset({"PrimitiveInt", "INTConstant"})
_DECODED = ("VAEDecodeAudio", "LTXVAudioVAEDecode")
"""Classes that always give a sound; what a video was loaded with may be silent."""


def asked_video(template: Template, values: Mapping[str, Scalar], node: str) -> Video:
    """Return what a job with these values asks of the video that `node` saves; `node` may be of another workflow."""
    graph, sound, changed = template.graph, None, False
    for _ in graph:
        if node not in graph:
            break
        kind, inputs = graph[node].class_type, template.inputs(node, values)
        if kind in _LATENTS:
            return _of_latent(template, values, node, sound=sound, changed=changed)
        sources = links(graph[node])
        if kind in ("CreateVideo", "VHS_VideoCombine") and sources.get("audio") in graph:
            sound = graph[sources["audio"]].class_type in _DECODED or None
        changed = changed or bool(inputs.get("pingpong"))
        node = sources.get(_PICTURES.get(kind, ""), "")
    return Video(sound=sound)


def _of_latent(
    template: Template, values: Mapping[str, Scalar], node: str, *, sound: bool | None, changed: bool
) -> Video:
    count, sides, counts = _LATENTS[template.graph[node].class_type]
    width, height = (_certain(template, values, node, name, sides) for name in ("width", "height"))
    frames = _certain(template, values, node, count, counts)
    batch = _certain(template, values, node, "batch_size", (1, 0))
    if count != "batch_size":
        # The clips of a batch come one after the other (docs/comfyui.md §11).
        frames = None if frames is None or batch is None else frames * batch
    return Video(width, height, None if changed else frames, sound)


def _certain(
    template: Template, values: Mapping[str, Scalar], node: str, name: str, grid: tuple[int, int]
) -> int | None:
    """Return what a server renders for one number of a latent; None if nobody can tell."""
    number: Json = template.inputs(node, values).get(name)
    source = links(template.graph[node]).get(name, "")
    if source and template.graph[source].class_type in _NUMBERS:
        number = template.inputs(source, values).get("value")
    if isinstance(number, bool) or not isinstance(number, int):
        return None
    limit = limit_of(template.graph[node].class_type, name, number)
    if limit.grid:
        return rendered(limit, number)
    multiple, offset = grid
    return number if (number - offset) % multiple == 0 else None
