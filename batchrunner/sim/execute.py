"""One prompt from start to end: which nodes run, how long they take, what they save, what the history shows."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import TYPE_CHECKING

from batchrunner.sim.generic import form_of, named_by
from batchrunner.sim.graph import BrokenNodeError, Graph, Shot
from batchrunner.sim.machine import InterruptedPromptError, NodeFailure, WedgedError, system_failures
from batchrunner.sim.media import Order
from batchrunner.sim.record import What
from batchrunner.sim.sockets import Progress

if TYPE_CHECKING:
    from pathlib import Path

    from batchrunner.core.job import Json
    from batchrunner.sim.graph import Shown, SimNode
    from batchrunner.sim.machine import Machine
    from batchrunner.sim.prompts import SimPrompt

_MOST_STEPS = 100
"""A sampler with more steps than this advances in this many slices."""
_FORMS = {
    "SaveImage": "png",
    "PreviewImage": "png",
    "SaveAudio": "flac",
    "PreviewAudio": "flac",
    "SaveVideo": "mp4",
    "SaveWEBM": "webm",
    "SaveAnimatedWEBP": "webp",
}
"""The extension of what each known class saves."""
_VHS = {"image/gif": "gif", "image/webp": "webp", "video/h264-mp4": "mp4", "video/webm": "webm"}


class SaveNode:
    """One save node of one prompt: its files, their names, and its output in the history (docs/comfyui.md §11)."""

    def __init__(self, machine: Machine, prompt: SimPrompt, node: SimNode, shot: Shot) -> None:
        self._machine = machine
        self._prompt = prompt
        self._node = node
        self._shot = shot
        self._kind = "temp" if node.class_type.startswith("Preview") else "output"

    async def save(self) -> Shown:
        """Write the node's files and return what history shows. Raises NodeFailure."""
        name = self._node.class_type
        if name == "SaveVideo":
            self._check_video()
        elif name == "VHS_VideoCombine":
            return await self._combined()
        form = _FORMS.get(name) or form_of(name, self._node.inputs)
        if form == "png":
            return {"images": await self._numbered(form, self._shot.frames * self._shot.batch)}
        files: list[Json] = await self._numbered(form, 1)
        if form in ("flac", "glb"):
            return {"audio" if form == "flac" else "3d": files}
        return {"images": files, "animated": [True]}

    def _check_video(self) -> None:
        form, codec = self._node.inputs.get("format"), self._node.inputs.get("codec")
        if form not in ("auto", "mp4"):
            raise NodeFailure("ValueError", f"'{form}' is not a valid VideoContainer\n")
        if codec not in ("auto", "h264"):
            raise NodeFailure("ValueError", "Only H264 codec is supported for now\n")

    async def _numbered(self, form: str, count: int) -> list[Json]:
        """Write `count` files `<name>_00001_.<form>` and return their entries."""
        folder, name, first = self._machine.folders.next(
            self._prefix(), self._kind, (self._shot.width, self._shot.height)
        )
        entries: list[Json] = []
        for index in range(count):
            path = folder / f"{name}_{first + index:05}_.{form}"
            await self._write(path, Order(form, self._shot, self._metadata(), index), last=index + 1 == count)
            entries.append(self._entry(path))
        return entries

    async def _combined(self) -> Shown:
        """Write what VideoHelperSuite writes: a first frame, a silent video, and one with sound, which it lists."""
        self._kind = "output" if self._node.inputs.get("save_output", True) else "temp"
        size = (self._shot.width, self._shot.height)
        folder, name, number = self._machine.folders.next(self._prefix(), self._kind, size, underscore=False)
        container = str(self._node.inputs.get("format"))
        form = _VHS.get(container, "mp4")
        metadata = self._metadata()
        comment: dict[str, Json] = {"comment": metadata | {"prompt": json.dumps(metadata.get("prompt"))}}
        silent = dataclasses.replace(self._shot, sound=None)
        first, path = folder / f"{name}_{number:05}.png", folder / f"{name}_{number:05}.{form}"
        await self._write(first, Order("png", self._shot, metadata), last=False)
        await self._write(path, Order(form, silent, comment), last=self._shot.sound is None)
        if "audio" in self._node.inputs and self._shot.sound is not None:
            path = folder / f"{name}_{number:05}-audio.{form}"
            await self._write(path, Order(form, self._shot, comment), last=True)
        entry = self._entry(path)
        entry |= {"format": container, "frame_rate": self._node.inputs.get("frame_rate")}
        return {"gifs": [entry | {"workflow": first.name, "fullpath": str(path)}]}

    def _prefix(self) -> str:
        if self._node.class_type.startswith("Preview"):
            return "ComfyUI_temp_simul"
        known = self._node.class_type in _FORMS
        named = "filename_prefix" if known else named_by(self._node.inputs)
        return str(self._node.inputs.get(named, "" if known else self._node.class_type))

    def _metadata(self) -> dict[str, Json]:
        """Return what the file says about itself: the extra_pnginfo as posted, and the workflow as queued."""
        extra = self._prompt.extra_data
        if not isinstance(extra, dict):
            raise NodeFailure("AttributeError", f"'{type(extra).__name__}' object has no attribute 'get'\n")
        given = extra.get("extra_pnginfo")
        if given is not None and not isinstance(given, dict):
            raise NodeFailure("ValueError", "dictionary update sequence element #0 has length 1; 2 is required\n")
        if not self._machine.metadata:
            return {}
        return {**(given or {}), "prompt": self._prompt.workflow}

    def _entry(self, path: Path) -> dict[str, Json]:
        return {"filename": path.name, "subfolder": self._machine.folders.relative(path.parent), "type": self._kind}

    async def _write(self, path: Path, order: Order, *, last: bool) -> None:
        """Write one file in place, incomplete until it is finished. Only the `last` takes the node's time."""
        file = self._machine.folders.grow(path)
        try:
            if last:
                await asyncio.sleep(self._machine.pace.fixed_cost("save"))
            with system_failures():
                loop = asyncio.get_running_loop()
                file.finish(await loop.run_in_executor(None, self._machine.renderer.render, order))
        finally:
            file.close()
        note = self._machine.folders.relative(path)
        self._machine.owners[note] = (self._prompt.id, self._prompt.prefix)
        self._machine.record.add(What.SAVED, self._prompt.id, self._prompt.prefix, note=note)


class Execution:
    """One prompt on one machine."""

    def __init__(self, machine: Machine, prompt: SimPrompt) -> None:
        self._machine = machine
        self._prompt = prompt
        self._progress = Progress(machine.sockets, prompt.id, prompt.client_id)
        self._messages: list[Json] = []
        self._outputs: dict[str, Json] = {}
        self._executed: list[Json] = []
        self.node: str | None = None
        """The node that runs now."""
        self.ending: tuple[What, str] = (What.SUCCEEDED, "")
        """How the prompt ended, for the record: the kind of event and its note."""

    async def run(self) -> dict[str, Json]:
        """Execute and return `outputs`, `status` and `meta`. Raises WedgedError where ComfyUI's thread dies."""
        self._machine.interrupted = False
        graph = self._start()
        try:
            await self._execute(graph)
        except InterruptedPromptError:
            self.ending = (What.INTERRUPTED, "")
            self._message("execution_interrupted", self._where(graph))
        except NodeFailure as failure:
            self.ending = (What.FAILED, failure.kind)
            self._message("execution_error", self._where(graph) | self._failed(graph, failure))
        else:
            self._message("execution_success", {})
            return self._entry("success")
        return self._entry("error")

    def _start(self) -> Graph:
        if self._prompt.extra_data is None or isinstance(self._prompt.extra_data, bool | int | float):
            raise WedgedError("extra_data is no object")
        self._message("execution_start", {})
        self._note_files()
        try:
            return Graph(self._prompt.workflow)
        except BrokenNodeError as broken:
            raise WedgedError(f"node {broken} has no inputs") from None

    def _note_files(self) -> None:
        """Add `is_changed` to the loaders of the queued workflow, as ComfyUI does; what was posted with it stays."""
        for node in self._prompt.workflow.values():
            inputs = node.get("inputs") if isinstance(node, dict) else None
            if not isinstance(node, dict) or not isinstance(inputs, dict) or "is_changed" in node:
                continue
            known = self._machine.catalogue.get(str(node.get("class_type")))
            for key, wanted in known.inputs.items() if known else ():
                if wanted.media and isinstance(inputs.get(key), str):
                    node["is_changed"] = self._machine.state_of(str(inputs[key]), wanted.media)

    async def _execute(self, graph: Graph) -> None:
        cache = self._machine.cache
        cache.begin({graph.signature(name) for name in graph.nodes})
        cached = [name for name in graph.nodes if cache.get(graph.signature(name)) is not None]
        listed: list[Json] = list(cached)
        self._message("execution_cached", {"nodes": listed})
        for name in self._prompt.outputs:
            if name in cached:
                self._from_cache(name, cache.get(graph.signature(name)) or {})
        for name in graph.order(self._prompt.outputs, cached):
            await self._node(graph, graph.nodes[name])

    def _from_cache(self, name: str, shown: Shown) -> None:
        self._show(name, shown)
        files = [
            item for value in shown.values() if isinstance(value, list) for item in value if isinstance(item, dict)
        ]
        note = ", ".join(str(file.get("filename")) for file in files)
        self._machine.record.add(What.CACHED, self._prompt.id, self._prompt.prefix, note=note)

    async def _node(self, graph: Graph, node: SimNode) -> None:
        """Run one node, unless an equal one has run before."""
        self.node = node.id
        signature = graph.signature(node.id)
        known = self._machine.cache.get(signature)
        if known is None:
            self._progress.start(node.id)
            self._check_interrupt()
            fault = self._machine.fault(self._prompt, node.id) if self._machine.fault else None
            if fault is not None:
                raise fault
            if self._machine.hold:
                await self._machine.hold(self._prompt, node.id)
                self._check_interrupt()
            known = await self._run(graph, node, signature)
            self._machine.cache.put(signature, known)
            self._executed.append(node.id)
            self._progress.finish(node.id)
        self._show(node.id, known)

    async def _run(self, graph: Graph, node: SimNode, signature: str) -> Shown:
        kind = self._machine.catalogue[node.class_type].kind
        if kind == "save":
            return await SaveNode(self._machine, self._prompt, node, graph.shot(node.id)).save()
        if kind == "sample":
            await self._sample(node, graph.shot(node.id), signature)
            self._note(What.RENDERED, signature)
            return {}
        if kind == "load":
            self._check_model(node)
        elif kind == "read":
            self._read_media(node)
        await asyncio.sleep(self._machine.pace.fixed_cost(kind))
        if kind == "encode":
            self._note(What.ENCODED, signature)
        return {}

    async def _sample(self, node: SimNode, shot: Shot, signature: str) -> None:
        """Take the steps one by one: an interrupt acts after the step it falls into (docs/comfyui.md §9)."""
        seconds = self._machine.pace.sampling(shot.volume, shot.steps, signature)
        slices = max(1, min(shot.steps, _MOST_STEPS))
        for index in range(slices):
            await asyncio.sleep(seconds / slices)
            self._check_interrupt()
            self._progress.step(node.id, (index + 1) * shot.steps // slices, shot.steps)

    def _check_interrupt(self) -> None:
        if self._machine.interrupted:
            self._machine.interrupted = False
            raise InterruptedPromptError

    def _check_model(self, node: SimNode) -> None:
        for key, wanted in self._machine.catalogue[node.class_type].inputs.items():
            value = node.inputs.get(key)
            if self._machine.strict and wanted.late and value not in wanted.choices:
                message = f"Model in folder 'checkpoints' with filename '{value}' not found.\n"
                raise NodeFailure("FileNotFoundError", message)

    def _read_media(self, node: SimNode) -> None:
        """Raise NodeFailure for a file that is not there any more, or not of the kind."""
        for key, wanted in self._machine.catalogue[node.class_type].inputs.items():
            value = node.inputs.get(key)
            if wanted.media and isinstance(value, str):
                self._note(What.LOADED, self._machine.read_media(value, wanted.media))

    def _show(self, name: str, shown: Shown) -> None:
        if shown:
            self._outputs[name] = shown
            message: dict[str, Json] = {
                "node": name,
                "display_node": name,
                "output": shown,
                "prompt_id": self._prompt.id,
            }
            self._progress.to_client("executed", message)

    def _note(self, what: What, note: str) -> None:
        self._machine.record.add(what, self._prompt.id, self._prompt.prefix, note=note)

    def _message(self, event: str, details: dict[str, Json]) -> None:
        stamp = int(self._machine.wall() * 1000)
        message: dict[str, Json] = {"prompt_id": self._prompt.id, **details, "timestamp": stamp}
        self._messages.append([event, message])
        if event == "execution_interrupted":
            self._machine.sockets.send(event, message)
        else:
            self._progress.to_client(event, message)

    def _where(self, graph: Graph) -> dict[str, Json]:
        name = self.node or ""
        node_type = graph.nodes[name].class_type if name in graph.nodes else ""
        return {"node_id": name, "node_type": node_type, "executed": list(self._executed)}

    def _failed(self, graph: Graph, failure: NodeFailure) -> dict[str, Json]:
        node = graph.nodes[self.node or ""]
        return {
            "exception_message": failure.message,
            "exception_type": failure.kind,
            "traceback": [f'  File "execution.py", in execute\n    {failure.kind}: {failure.message}'],
            "current_inputs": {key: [value] for key, value in node.inputs.items()},
            "current_outputs": list(graph.nodes),
        }

    def _entry(self, status: str) -> dict[str, Json]:
        meta: dict[str, Json] = {
            name: {"node_id": name, "display_node": name, "parent_node": None, "real_node_id": name}
            for name in self._outputs
        }
        ended: dict[str, Json] = {
            "status_str": status,
            "completed": status == "success",
            "messages": self._messages,
        }
        return {"outputs": self._outputs, "status": ended, "meta": meta}
