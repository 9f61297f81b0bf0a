"""What the inputs of well-known nodes take, so that a wrong value is found before the night and not in it.

Figures from the nodes' own sources (PROTOCOL.md §7). Inputs that are not listed take what they hold now: a text, a
number, a truth value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from batchrunner.core.identity import Json

Kind: TypeAlias = Literal["int", "float", "number", "text", "bool", "any"]
"""`number` is sent as it was written; `float` always with a fraction, `int` never."""

SEED_MAX = 2**64 - 1


@dataclass(frozen=True, slots=True)
class Limit:
    """The type, the range (both ends included) and the choices of an input."""

    kind: Kind
    low: float | None = None
    high: float | None = None
    grid: tuple[int, int] | None = None
    """(multiple, offset): what a server makes of other values, rounding down."""
    choices: tuple[str, ...] = ()


def _whole(low: int, high: int, grid: tuple[int, int] | None = None) -> Limit:
    return Limit("int", low, high, grid)


_SEED = _whole(0, SEED_MAX)
_STEPS = _whole(1, 10_000)
_BATCH = _whole(1, 4096)
_CFG = Limit("float", 0, 100)
_SIDE = _whole(64, 16_384, (32, 0))
_LATENT_SIDE = _whole(16, 16_384)
_TEXT = Limit("text")

KNOWN: dict[tuple[str, str], Limit] = {
    ("EmptyLTXVLatentVideo", "width"): _SIDE,
    ("EmptyLTXVLatentVideo", "height"): _SIDE,
    ("EmptyLTXVLatentVideo", "length"): _whole(1, 16_384, (8, 1)),
    ("EmptyLTXVLatentVideo", "batch_size"): _BATCH,
    ("LTXVEmptyLatentAudio", "frames_number"): _whole(1, 1000),
    ("LTXVEmptyLatentAudio", "frame_rate"): Limit("number", 1, 1000),
    ("LTXVEmptyLatentAudio", "batch_size"): _BATCH,
    ("LTXVConditioning", "frame_rate"): Limit("float", 0, 1000),
    ("LTXVGemmaCLIPModelLoader", "max_length"): _whole(16, 131_072),
    ("CreateVideo", "fps"): Limit("float", 1, 120),
    ("KSampler", "seed"): _SEED,
    ("KSampler", "steps"): _STEPS,
    ("KSampler", "cfg"): _CFG,
    ("KSampler", "denoise"): Limit("float", 0, 1),
    ("KSamplerAdvanced", "noise_seed"): _SEED,
    ("KSamplerAdvanced", "steps"): _STEPS,
    ("KSamplerAdvanced", "cfg"): _CFG,
    ("RandomNoise", "noise_seed"): _SEED,
    ("EmptyLatentImage", "width"): _LATENT_SIDE,
    ("EmptyLatentImage", "height"): _LATENT_SIDE,
    ("EmptyLatentImage", "batch_size"): _BATCH,
    ("CLIPTextEncode", "text"): _TEXT,
    ("SaveVideo", "format"): Limit("text", choices=("auto", "mp4")),
    ("SaveVideo", "codec"): Limit("text", choices=("auto", "h264")),
}
_SEED_INPUTS = frozenset({"seed", "noise_seed"})


def limit_of(class_type: str, name: str, value: Json) -> Limit:
    """Return what an input takes: what is known of its node, or what `value`, which stands there now, suggests."""
    known = KNOWN.get((class_type, name))
    if known is None and name in _SEED_INPUTS and isinstance(value, int):
        known = _SEED
    return known or Limit(_kind(value))


def _kind(value: Json) -> Kind:
    match value:
        case bool():
            return "bool"
        case int():
            return "number"
        case float():
            return "float"
        case str():
            return "text"
        case _:
            return "any"


def rendered(limit: Limit, value: float) -> int:
    """Return what a server makes of `value`: 721 wide is 704, 100 frames are 97 (PROTOCOL.md §1, 13)."""
    multiple, offset = limit.grid or (1, 0)
    return int(value - offset) // multiple * multiple + offset
