"""Save nodes: what each writes, under which names, and what history shows of it (PROTOCOL.md §5)."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import TYPE_CHECKING

from batchrunner.sim.failures import NodeFailure, system_failures
from batchrunner.sim.record import What
from batchrunner.sim.render import Order

if TYPE_CHECKING:
    from pathlib import Path

    from batchrunner.core.identity import Json
    from batchrunner.sim.cache import Shown
    from batchrunner.sim.graph import Node, Shot
    from batchrunner.sim.machine import Machine
    from batchrunner.sim.prompts import Prompt

_EXTENSIONS = {"SaveImage": "png", "PreviewImage": "png", "SaveAudio": "flac", "PreviewAudio": "flac"}
_ANIMATED = {"SaveWEBM": "webm", "SaveAnimatedWEBP": "webp"}
_VHS = {"image/gif": "gif", "image/webp": "webp", "video/h264-mp4": "mp4", "video/webm": "webm"}


class Saver:
    """One save node of one prompt."""

    def __init__(self, machine: Machine, prompt: Prompt, node: Node, shot: Shot) -> None:
        self._machine = machine
        self._prompt = prompt
        self._node = node
        self._shot = shot
        self._kind = "temp" if node.class_type.startswith("Preview") else "output"

    async def save(self) -> Shown:
        """Write the node's files and return what history shows. Raises NodeFailure."""
        if self._node.class_type == "SaveVideo":
            return await self._video()
        if self._node.class_type == "VHS_VideoCombine":
            return await self._combined()
        if self._node.class_type in _ANIMATED:
            files = await self._numbered(_ANIMATED[self._node.class_type], 1)
            return {"images": files, "animated": [True]}
        form = _EXTENSIONS[self._node.class_type]
        if form == "flac":
            return {"audio": await self._numbered(form, 1)}
        return {"images": await self._numbered(form, self._shot.frames * self._shot.batch)}

    async def _video(self) -> Shown:
        form, codec = self._node.inputs.get("format"), self._node.inputs.get("codec")
        if form not in ("auto", "mp4"):
            raise NodeFailure("ValueError", f"'{form}' is not a valid VideoContainer\n")
        if codec not in ("auto", "h264"):
            raise NodeFailure("ValueError", "Only H264 codec is supported for now\n")
        return {"images": await self._numbered("mp4", 1), "animated": [True]}

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
        kind = "output" if self._node.inputs.get("save_output", True) else "temp"
        self._kind = kind
        size = (self._shot.width, self._shot.height)
        folder, name, number = self._machine.folders.next(self._prefix(), kind, size, underscore=False)
        told = str(self._node.inputs.get("format"))
        form = _VHS.get(told, "mp4")
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
        entry |= {"format": told, "frame_rate": self._node.inputs.get("frame_rate")}
        return {"gifs": [entry | {"workflow": first.name, "fullpath": str(path)}]}

    def _prefix(self) -> str:
        if self._node.class_type.startswith("Preview"):
            return "ComfyUI_temp_simul"
        return str(self._node.inputs.get("filename_prefix", ""))

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
        place = self._machine.folders.relative(path.parent)
        return {"filename": path.name, "subfolder": place, "type": self._kind}

    async def _write(self, path: Path, order: Order, *, last: bool) -> None:
        """Write one file in place; it is a stump until it is whole. `last` files take the node's time."""
        growing = self._machine.folders.grow(path)
        try:
            if last:
                await asyncio.sleep(self._machine.pace.fixed_cost("save"))
            with system_failures():
                loop = asyncio.get_running_loop()
                growing.finish(await loop.run_in_executor(None, self._machine.renderer.render, order))
        finally:
            growing.close()
        note = self._machine.folders.relative(path)
        self._machine.owners[note] = (self._prompt.id, self._prompt.prefix)
        self._machine.record.add(What.SAVED, self._prompt.id, self._prompt.prefix, note=note)
