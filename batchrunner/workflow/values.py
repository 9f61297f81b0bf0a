"""Values that fit an input: the right type, in range, and the same on every machine.

What the inputs of well-known nodes take is listed (docs/comfyui.md §16), so that a wrong value is found before the
night and not in it. Inputs that are not listed take what they hold now: a text, a number, a truth value.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from batchrunner.text import did_you_mean, listing, quote

if TYPE_CHECKING:
    from batchrunner.core.job import Json, Scalar

Kind: TypeAlias = Literal["int", "float", "number", "text", "bool", "any"]
"""`number` is sent as it was written; `float` always with a fraction, `int` never."""

SEED_MAX = 2**64 - 1
SMALL_SEED = 2**32 - 1
"""The largest seed that is derived: almost any node takes it, and no browser rounds it."""
LONGEST_TEXT = 20_000
"""Characters in one text: far more than a model reads, and still quick to hash into ten thousand jobs' ids."""


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
_ANY_NUMBER = Limit("number")
ANY = Limit("any")
"""What fits a variable of the user's own."""

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
    ("PrimitiveInt", "value"): _whole(1 - 2**63, 2**63 - 1),
    ("SeedNode", "seed"): _whole(0, 2**63 - 1),
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
_SMALL_SEEDS: tuple[tuple[str, int], ...] = (
    (r"Seed \(rgthree\)|easy .*", 2**50),
    (r"(OpenAI|Ideogram|Pix[Vv]erse|Vidu|ByteDance)\w*|Wan\w*Api", 2**31 - 1),
    (r"(Runway|Moonvalley|Veo|Pika)\w*", 2**32 - 1),
)
"""Classes (a pattern of the whole name) whose seeds end below 2^64, and their largest seed."""
MEDIA: dict[tuple[str, str], str] = {
    ("LoadImage", "image"): "image",
    ("LoadImageMask", "image"): "mask",
    ("LoadVideo", "file"): "video",
    ("LoadAudio", "audio"): "audio",
    ("VHS_LoadVideo", "video"): "video",
    ("VHS_LoadVideoFFmpeg", "video"): "video",
    ("VHS_LoadAudioUpload", "audio"): "audio",
    ("Load3D", "model_file"): "mesh",
    ("Load3DAdvanced", "model_file"): "mesh",
    ("Load3DAnimation", "model_file"): "mesh",
}
"""(class, input) of the loaders that take an uploaded file, and its kind (docs/comfyui.md §19, §22)."""


def limit_of(class_type: str, name: str, value: Json) -> Limit:
    """Return what an input takes: what is known of its node, or what `value`, which stands there now, suggests."""
    known = KNOWN.get((class_type, name))
    if known is None and name in _SEED_INPUTS and isinstance(value, int):
        most = next((most for pattern, most in _SMALL_SEEDS if re.fullmatch(pattern, class_type)), SEED_MAX)
        known = _whole(min(0, value), most)
    return known or Limit(_kind_of(value))


def _kind_of(value: Json) -> Kind:
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
    """Return what a server makes of `value`: 721 wide is 704, 100 frames are 97 (docs/comfyui.md §16)."""
    multiple, offset = limit.grid or (1, 0)
    return int(value - offset) // multiple * multiple + offset


class UnfitError(ValueError):
    """The value does not fit; the message completes `<name>: `."""


def fit(limit: Limit, value: Scalar) -> Scalar:
    """Return `value` as an input of this limit takes it: `5` is `5.0` for a float, `30.0` is `30` for an int.

    Raises:
        UnfitError: wrong type, out of range, or none of the choices.

    """
    match limit.kind:
        case "text":
            return _text(limit, value)
        case "bool":
            return _bool(value)
        case "any":
            return _any(value)
        case _:
            return _in_range(limit, _number(limit.kind, value))


def as_sent(kind: Kind, value: Scalar) -> Scalar:
    """Return a value that fits several inputs in the form that one of them, of this kind, takes."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if kind == "float":
        return float(value)
    return int(value) if isinstance(value, float) and value.is_integer() else value


def narrowest(limits: list[Limit]) -> Limit:
    """Return the limit that satisfies all of `limits`.

    Raises:
        UnfitError: no value could.

    """
    kind = _kind({limit.kind for limit in limits})
    lows = [limit.low for limit in limits if limit.low is not None]
    highs = [limit.high for limit in limits if limit.high is not None]
    grids = [limit.grid for limit in limits if limit.grid]
    choices = [limit.choices for limit in limits if limit.choices]
    return Limit(
        kind,
        max(lows, default=None),
        min(highs, default=None),
        grids[0] if grids else None,
        tuple(each for each in choices[0] if all(each in other for other in choices)) if choices else (),
    )


def _kind(kinds: set[Kind]) -> Kind:
    named = kinds - {"any"}
    if len(named) > 1 and not named <= {"int", "float", "number"}:
        raise UnfitError(f"drives inputs of different types: {listing(sorted(named))}")
    order: tuple[Kind, ...] = ("int", "number", "float", "text", "bool", "any")
    return next(kind for kind in order if kind in kinds)


def shown(value: Scalar) -> str:
    """Return a value as people write it: 5.0 is `5`, true is `true`, nothing is empty."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer() and abs(value) < 1e15:
            return str(int(value))
        case _:
            return str(value)


def _text(limit: Limit, value: Scalar) -> str:
    if not isinstance(value, str):
        raise UnfitError(f"must be a text, not {_written(value)}")
    if len(value) > LONGEST_TEXT:
        raise UnfitError(f"is {len(value):,} characters long; at most {LONGEST_TEXT:,} are sent")
    if limit.choices and value not in limit.choices:
        near = did_you_mean(value, limit.choices)
        raise UnfitError(f"must be one of {listing(limit.choices)}, not {quote(value)}{near}")
    return value


def _bool(value: Scalar) -> bool:
    if not isinstance(value, bool):
        raise UnfitError(f"must be true or false, not {_written(value)}")
    return value


def _any(value: Scalar) -> Scalar:
    if isinstance(value, str):
        return _text(_TEXT, value)
    if isinstance(value, bool) or value is None:
        return value
    return _in_range(_ANY_NUMBER, _number("number", value))


def _number(kind: Kind, value: Scalar) -> int | float:
    wanted = "a whole number" if kind == "int" else "a number"
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise UnfitError(f"must be {wanted}, not {_written(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise UnfitError("must be finite")
    if kind == "int" and isinstance(value, float):
        if not value.is_integer():
            raise UnfitError(f"must be a whole number, not {value}")
        return int(value)
    return value


def _in_range(limit: Limit, number: float) -> int | float:
    whole = isinstance(number, int)
    low = limit.low if limit.low is not None or not whole else -(2**63)
    high = limit.high if limit.high is not None or not whole else SEED_MAX
    if low is not None and number < low:
        raise UnfitError(f"must be at least {low}, not {_written(number)}")
    if high is not None and number > high:
        raise UnfitError(f"must be at most {high}, not {_written(number)}")
    return float(number) if limit.kind == "float" else number


def _written(value: Scalar) -> str:
    match value:
        case None:
            return "empty"
        case str():
            return f"the text {quote(value)}"
        case bool() | float():
            return shown(value)
        case _:
            return str(value) if abs(value) < 10**40 else "a far larger number"
