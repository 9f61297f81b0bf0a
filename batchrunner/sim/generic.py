"""Node classes that the simulator does not know, derived from how a workflow uses them, so that any workflow runs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchrunner.sim.nodes import ANY, Input, NodeClass

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batchrunner.core.job import Json
    from batchrunner.sim.nodes import Catalogue

_MEDIA = {
    "VHS_LoadVideo": ("video", "video"),
    "VHS_LoadVideoFFmpeg": ("video", "video"),
    "VHS_LoadAudioUpload": ("audio", "audio"),
    "LoadImageOutput": ("image", "image"),
}
"""Loaders of uploaded files: the input that names one, and its kind."""
_MOST_OUTPUTS = 255
_NAMES = ("filename_prefix", "prefix", "file_prefix", "output_prefix", "filename", "file_name", "base_filename")
_SAVES = ("Save", "Preview", "VHS_VideoCombine")


def generic_classes(
    catalogue: Catalogue, workflow: Mapping[str, Json], files: Callable[[], list[str]]
) -> dict[str, NodeClass]:
    """Return a class for every one that `catalogue` lacks; `files` lists the input folder.

    Outputs have the types that known nodes want of them. A node saves if it is called so or has a `filename_prefix`; if
    no node of the workflow does, those save from which nothing goes on.
    """
    found: dict[str, dict[str, Input]] = {}
    for class_type, inputs in _nodes(workflow):
        if class_type not in catalogue:
            found.setdefault(class_type, {}).update((key, _input(class_type, key, files)) for key in inputs)
    outputs = _outputs(catalogue, workflow)
    known = [catalogue[name] for name, _ in _nodes(workflow) if name in catalogue]
    saving = {name for name, inputs in found.items() if name.startswith(_SAVES) or "filename_prefix" in inputs}
    if not saving and not any(one.saves for one in known):
        saving = found.keys() - outputs.keys()
    links = {name: sum(_link(value) is not None for value in inputs.values()) for name, inputs in _nodes(workflow)}
    return {
        name: NodeClass(inputs, tuple(outputs.get(name, (ANY,))), _kind(name, links[name], saves=name in saving))
        for name, inputs in found.items()
    }


def named_by(inputs: Mapping[str, Json]) -> str:
    """Return which input of a saving node of an unknown class its files are named by; empty if none is."""
    return next((name for name in _NAMES if isinstance(inputs.get(name), str)), "")


def form_of(class_type: str, inputs: Mapping[str, Json]) -> str:
    """Return the extension of what a saving node of an unknown class would write, as its name and inputs suggest."""
    words = (class_type, str(inputs.get("format", "")), *inputs)
    for word, form in (("video", "mp4"), ("audio", "flac"), ("glb", "glb"), ("3d", "glb"), ("mesh", "glb")):
        if any(word in text.lower() for text in words):
            return form
    return "png"


def _nodes(workflow: Mapping[str, Json]) -> list[tuple[str, dict[str, Json]]]:
    """Return class and inputs of every node that has both."""
    nodes = [node for node in workflow.values() if isinstance(node, dict)]
    pairs = [(node.get("class_type"), node.get("inputs")) for node in nodes]
    return [(name, inputs) for name, inputs in pairs if isinstance(name, str) and isinstance(inputs, dict)]


def _link(value: Json) -> tuple[str, int] | None:
    """Return node id and slot of a well-formed link; validation has not been here yet."""
    match value:
        case [str(source), int(slot)]:
            return source, slot
        case _:
            return None


def _input(class_type: str, key: str, files: Callable[[], list[str]]) -> Input:
    named, media = _MEDIA.get(class_type, ("", ""))
    if key == named:
        return Input("COMBO", media=media, files=files, optional=True)
    return Input(ANY, optional=True)


def _outputs(catalogue: Catalogue, workflow: Mapping[str, Json]) -> dict[str, list[str]]:
    """Return the types of the outputs of every class from which a link goes out."""
    types: dict[str, list[str]] = {}
    for class_type, inputs in _nodes(workflow):
        for key, value in inputs.items():
            source = _link(value)
            node = workflow.get(source[0]) if source else None
            if source is None or not isinstance(node, dict) or not 0 <= source[1] <= _MOST_OUTPUTS:
                continue
            slots = types.setdefault(str(node.get("class_type")), [])
            slots += [ANY] * (source[1] + 1 - len(slots))
            known = catalogue[class_type].inputs.get(key) if class_type in catalogue else None
            if known is not None:
                slots[source[1]] = known.type if slots[source[1]] in (ANY, known.type) else ANY
    return types


def _kind(class_type: str, links: int, *, saves: bool) -> str:
    if saves:
        return "save"
    if class_type in _MEDIA:
        return "read"
    return "sample" if "sampler" in class_type.lower() and links > 1 else ""
