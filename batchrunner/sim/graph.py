"""A posted workflow as a graph, and the cache of what its nodes made."""

from __future__ import annotations

import json
import math
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from batchrunner.core.job import Json

_GRID = {
    "EmptyLTXVLatentVideo": (32, 8),
    "EmptyHunyuanLatentVideo": (16, 4),
    "EmptySD3LatentImage": (16, 1),
    "EmptyLatentImage": (8, 1),
}
"""Per latent node: the multiple to which sides are rounded down, and frames per latent frame (docs/comfyui.md §16)."""
Shown: TypeAlias = "dict[str, Json]"
"""A node's output in the history: `{"images": [...]}` of a save node, empty for others."""
CacheMode: TypeAlias = Literal["classic", "lru", "none"]

_SAFE_VOLUME = 2**50
_MOST_FPS = 1000.0


class BrokenNodeError(Exception):
    """A node without `inputs`, reachable or not; it ends the thread that executes (docs/comfyui.md §4)."""


@dataclass(frozen=True, slots=True)
class SimNode:
    """One node of a workflow."""

    id: str
    class_type: str
    inputs: dict[str, Json]
    changed: Json = None
    """What `is_changed` says: with the inputs it decides whether the cache has the node's result."""

    def sources(self) -> Iterator[str]:
        """Yield the ids of the nodes that feed this one, in the order of the inputs."""
        for value in self.inputs.values():
            source = linked(value)
            if source is not None:
                yield source[0]


@dataclass(frozen=True, slots=True)
class Shot:
    """What a workflow renders: sizes in pixels, length in frames, rate in frames per second, sound in seconds."""

    width: int = 512
    height: int = 512
    frames: int = 1
    batch: int = 1
    fps: float = 24.0
    seed: int = 0
    steps: int = 20
    text: str = ""
    sound: float | None = None
    """Length of the sound; None without any."""

    @property
    def volume(self) -> int:
        """Return width x height x frames x batch."""
        return min(self.width * self.height * self.frames * self.batch, _SAFE_VOLUME)


class Graph:
    """A workflow that passed validation; unreachable nodes may still be wrong."""

    def __init__(self, prompt: Mapping[str, Json]) -> None:
        self.nodes: dict[str, SimNode] = {name: _node(name, value) for name, value in prompt.items()}
        self._signatures: dict[str, str] = {}

    def order(self, targets: list[str], known: Collection[str] = ()) -> list[str]:
        """Return `targets` and everything they need, sources first; without `known` nodes and what only they need."""
        done: dict[str, None] = {}
        for target in targets:
            self._visit(target, done, set(known))
        return list(done)

    def _visit(self, name: str, done: dict[str, None], open_: set[str]) -> None:
        if name in done or name in open_ or name not in self.nodes:
            return
        open_.add(name)
        for source in self.nodes[name].sources():
            self._visit(source, done, open_)
        done[name] = None

    def signature(self, name: str) -> str:
        """Return the cache's key: a digest of a node's class and its whole ancestry's inputs (docs/comfyui.md §10)."""
        if name not in self._signatures:
            self._signatures[name] = f"open/{name}"
            self._signatures[name] = self._digest(name)
        return self._signatures[name]

    def _digest(self, name: str) -> str:
        node = self.nodes.get(name)
        if node is None:
            return f"missing/{name}"
        inputs: dict[str, Json] = {}
        for key, value in node.inputs.items():
            source = linked(value)
            inputs[key] = value if source is None else ["link", self.signature(source[0]), source[1]]
        known: list[Json] = [node.class_type, inputs]
        known += [] if node.changed is None else [node.changed]
        return sha256(json.dumps(known, sort_keys=True).encode()).hexdigest()

    def shot(self, target: str) -> Shot:
        """Return what `target` saves; each value comes from the nearest node above it that sets it."""
        above = [self.nodes[name] for name in reversed(self.order([target]))]
        sized = [node for node in above if node.inputs.keys() >= {"width", "height"}]
        latent = next((node for node in above if node.class_type in _GRID), next(iter(sized), None))
        size, group = _GRID.get(latent.class_type, (8, 1)) if latent else (8, 1)
        given = latent.inputs if latent else {}
        length = _number(given.get("length", given.get("num_frames")), 1)
        fps = _first(above, "fps", "frame_rate")
        return Shot(
            width=max(size, int(_number(given.get("width"), 512)) // size * size),
            height=max(size, int(_number(given.get("height"), 512)) // size * size),
            frames=(int(length) - 1) // group * group + 1,
            batch=int(_number(given.get("batch_size"), 1)),
            fps=min(max(_number(fps, 24.0), 0.01), _MOST_FPS),
            seed=int(_number(_first(above, "seed", "noise_seed"), 0)),
            steps=int(_number(_first(above, "steps"), 20)),
            text=self._text(above),
            sound=_sound(above),
        )

    def _text(self, above: list[SimNode]) -> str:
        """Return the positive prompt: the first text on the way into the nearest `positive` input."""
        for node in above:
            source = linked(node.inputs.get("positive"))
            if source is not None:
                below = [self.nodes[name] for name in self.order([source[0]])]
                return next((str(item.inputs["text"]) for item in below if "text" in item.inputs), "")
        return ""


def linked(value: Json) -> tuple[str, int] | None:
    """Return (node id, slot) when an input's value is a link, else None."""
    if not isinstance(value, list) or len(value) != 2:
        return None
    source, slot = value
    return (source, int(slot)) if isinstance(source, str) and isinstance(slot, int | float) else None


def _node(name: str, value: Json) -> SimNode:
    inputs = value.get("inputs") if isinstance(value, dict) else None
    if not isinstance(value, dict) or not isinstance(inputs, dict):
        raise BrokenNodeError(name)
    return SimNode(name, str(value.get("class_type")), inputs, value.get("is_changed"))


def _first(nodes: list[SimNode], *keys: str) -> Json:
    """Return the first value among `keys` of `nodes` that is no link."""
    values = (node.inputs[key] for node in nodes for key in keys if key in node.inputs)
    return next((value for value in values if not isinstance(value, list)), None)


def _number(value: Json, default: float) -> float:
    if isinstance(value, float) and not math.isfinite(value):
        return default
    return value if isinstance(value, int | float) else default


def _sound(nodes: list[SimNode]) -> float | None:
    source = next((node for node in nodes if node.class_type == "LTXVEmptyLatentAudio"), None)
    if source is None:
        return None
    rate = _number(source.inputs.get("frame_rate"), 25)
    return _number(source.inputs.get("frames_number"), 97) / max(rate, 1)


class NodeCache:
    """Results of nodes by signature, kept between prompts (docs/comfyui.md §10).

    `classic` keeps the last prompt's nodes, `lru` the last `size`, `none` nothing.
    """

    def __init__(self, mode: CacheMode = "classic", size: int = 200) -> None:
        self.mode = mode
        self._size = size
        self._kept: OrderedDict[str, Shown] = OrderedDict()

    def begin(self, signatures: Collection[str]) -> None:
        """Start a prompt made of these nodes: in `classic` mode everything else is forgotten now."""
        if self.mode == "classic":
            for signature in [key for key in self._kept if key not in signatures]:
                del self._kept[signature]

    def get(self, signature: str) -> Shown | None:
        """Return the output of a node that ran before, or None."""
        if signature in self._kept:
            self._kept.move_to_end(signature)
        return self._kept.get(signature)

    def put(self, signature: str, shown: Shown) -> None:
        """Remember a node that ran."""
        if self.mode == "none":
            return
        self._kept[signature] = shown
        self._kept.move_to_end(signature)
        while self.mode == "lru" and len(self._kept) > self._size:
            self._kept.popitem(last=False)

    def clear(self) -> None:
        """Forget everything, after `POST /free {"free_memory": true}` or a restart."""
        self._kept.clear()
