"""A simulator on a real port with a client beside it, and workflows to post."""

from __future__ import annotations

import copy
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from aiohttp import ClientSession
from yarl import URL

from batchrunner.sim.machine import Pace
from batchrunner.sim.nodes import Models
from batchrunner.sim.server import Simulator, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

Workflow = dict[str, dict[str, Any]]
Edit = dict[str, dict[str, Any] | None]

CHECKPOINT = "ltx-2-19b-distilled.safetensors"
GEMMA = "gemma-3-12b-it-qat-q4_0-unquantized/model-00001-of-00005.safetensors"
MODELS = Models(checkpoints=(CHECKPOINT,))


def node(class_type: str, **inputs: object) -> dict[str, Any]:
    """Return one node as a workflow has it."""
    return {"inputs": inputs, "class_type": class_type}


BASE: Workflow = {
    "1": node("CheckpointLoaderSimple", ckpt_name=CHECKPOINT),
    "2": node("LTXVGemmaCLIPModelLoader", gemma_path=GEMMA, ltxv_path=CHECKPOINT, max_length=1024),
    "3": node("LTXVAudioVAELoader", ckpt_name=CHECKPOINT),
    "4": node("EmptyLTXVLatentVideo", width=768, height=512, length=25, batch_size=1),
    "5": node("LTXVEmptyLatentAudio", frames_number=25, frame_rate=24, batch_size=1, audio_vae=["3", 0]),
    "6": node("LTXVConcatAVLatent", video_latent=["4", 0], audio_latent=["5", 0]),
    "7": node("CLIPTextEncode", text="a cat", clip=["2", 0]),
    "8": node("CLIPTextEncode", text="blurry, silent", clip=["2", 0]),
    "9": node("LTXVConditioning", positive=["7", 0], negative=["8", 0], frame_rate=24),
    "10": node(
        "KSampler",
        seed=42,
        steps=4,
        cfg=5.0,
        sampler_name="euler",
        scheduler="simple",
        denoise=1,
        model=["1", 0],
        positive=["9", 0],
        negative=["9", 1],
        latent_image=["6", 0],
    ),
    "11": node("LTXVSeparateAVLatent", av_latent=["10", 0]),
    "12": node("VAEDecode", samples=["11", 0], vae=["1", 2]),
    "13": node("LTXVAudioVAEDecode", samples=["11", 1], audio_vae=["3", 0]),
    "14": node("CreateVideo", fps=24, images=["12", 0], audio=["13", 0]),
    "15": node("SaveVideo", filename_prefix="generated-video", format="mp4", codec="h264", video=["14", 0]),
}
ALL = list(BASE)


def edited(edit: Edit | None = None) -> Workflow:
    """Return the LTX-2 workflow, changed: inputs set, those under `-` removed, a node under `=` put in its place."""
    workflow = copy.deepcopy(BASE)
    for name, change in (edit or {}).items():
        if change is None:
            del workflow[name]
        elif "=" in change:
            workflow[name] = change["="]
        else:
            kept = {key: value for key, value in change.items() if key != "-"}
            workflow[name]["inputs"] |= kept
            for key in change.get("-", []):
                del workflow[name]["inputs"][key]
    return workflow


def shot(seed: int = 42, prefix: str = "generated-video", **sampler: object) -> Workflow:
    """Return the LTX-2 workflow with this seed and prefix."""
    return edited({"10": {"seed": seed, **sampler}, "15": {"filename_prefix": prefix}})


@dataclass
class Wall:
    """A wall clock that stands still until it is moved."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        """Return the time, in seconds."""
        return self.now


@dataclass
class Bench:
    """A simulator and a client."""

    sim: Simulator
    session: ClientSession
    url: str

    async def post(self, workflow: object, **members: object) -> str:
        """Post a prompt that must be accepted; return its id."""
        status, answer = await self.ask("POST", "/prompt", json={"prompt": workflow, **members})
        assert status == 200, answer
        return str(answer["prompt_id"])

    async def run(self, workflow: object, **members: object) -> dict[str, Any]:
        """Post a prompt, wait for its end and return its history entry."""
        name = await self.post(workflow, **members)
        await self.sim.idle()
        return await self.entry(name)

    async def entry(self, name: str) -> dict[str, Any]:
        """Return the history entry of a prompt, `{}` if there is none."""
        _, answer = await self.ask("GET", URL(f"/history/{quote(name, safe='')}", encoded=True))
        return dict(answer.get(name, {}))

    async def ask(self, method: str, path: str | URL, **rest: Any) -> tuple[int, Any]:
        """Return status and body, parsed when it is JSON."""
        async with self.session.request(method, path, **rest) as answer:
            text = await answer.text()
            return answer.status, await answer.json() if answer.content_type == "application/json" else text

    async def view(self, file: dict[str, str], **headers: str) -> tuple[int, bytes, dict[str, str]]:
        """Return status, body and headers of a `/view`."""
        async with self.session.get("/view", params=file, headers=headers) as answer:
            return answer.status, await answer.read(), dict(answer.headers)


@asynccontextmanager
async def bench(folder: Path, **options: Any) -> AsyncIterator[Bench]:
    """Run a simulator; by default nothing on it takes any time."""
    simulator = Simulator(folder, **{"pace": Pace.instant(), "models": MODELS, **options})
    async with serve(simulator) as url, ClientSession(url) as session:
        yield Bench(simulator, session, url)


def file_of(entry: dict[str, Any], output: str = "15") -> dict[str, str]:
    """Return the first file that a history entry lists."""
    return dict(entry["outputs"][output]["images"][0])


def ending(entry: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the last message of a history entry."""
    event, details = entry["status"]["messages"][-1]
    return event, details


def cached(entry: dict[str, Any]) -> list[str]:
    """Return the nodes that a prompt took from the cache."""
    return next(details["nodes"] for event, details in entry["status"]["messages"] if event == "execution_cached")
