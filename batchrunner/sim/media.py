"""Small files without a codec: PNG, WebP and GIF pictures, FLAC tones, and MP4 boxes that pass for a video."""

from __future__ import annotations

import json
import math
import struct
import zlib
from dataclasses import dataclass, field
from hashlib import md5, sha256
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchrunner.core.job import Json
    from batchrunner.sim.graph import Shot

_SIDE = 64
"""The longest side of a picture, in pixels."""
RATE = 8000
"""Samples a second of a FLAC file."""
_BLOCK = 1024
_BLOCKS = 4
_LAST = 0x80
_FTYP = b"isom" + struct.pack(">I", 512) + b"isomiso2avc1mp41"


@dataclass(frozen=True, slots=True)
class Order:
    """One file to make."""

    form: str
    """`mp4`, `webm`, `webp`, `gif`, `png`, `flac`, or another extension."""
    shot: Shot
    metadata: Mapping[str, Json] = field(default_factory=dict)
    """What is written into the file: `prompt` is the workflow as it was queued (docs/comfyui.md §13)."""
    frame: int = 0
    """Which frame, for a picture."""


class Renderer(Protocol):
    """Makes files. `render` is called in a thread and must not wait for anything."""

    def render(self, order: Order) -> bytes:
        """Return the whole file."""
        ...


def png(order: Order) -> bytes:
    """Return a picture of at most 64 pixels a side, with the metadata as text chunks, as SaveImage writes them."""
    shot = order.shot
    scale = max(1, max(shot.width, shot.height) // _SIDE)
    width, height = max(1, shot.width // scale), max(1, shot.height // scale)
    texts = b"".join(_text(key, json.dumps(value)) for key, value in order.metadata.items())
    head = _chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    body = _chunk(b"IDAT", zlib.compress(_rows(f"{shot.text}/{shot.seed}", order.frame, width, height)))
    return b"\x89PNG\r\n\x1a\n" + head + texts + body + _chunk(b"IEND", b"")


def _rows(salt: str, frame: int, width: int, height: int) -> bytes:
    """Return diagonal stripes of two colours that move by one pixel a frame."""
    digest = sha256(salt.encode("utf-8", "surrogatepass")).digest()
    stripe = (digest[:3] * (digest[6] % 7 + 2) + digest[3:6] * (digest[7] % 7 + 2)) * (width + height + frame)
    return b"".join(b"\x00" + stripe[3 * (row + frame) :][: 3 * width] for row in range(height))


def _text(key: str, text: str) -> bytes:
    return _chunk(b"tEXt", key.encode("latin-1", "replace") + b"\x00" + text.encode("latin-1"))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def pitch(seed: int) -> float:
    """Return the tone of a seed, in Hz: one of 24 half tones above 220."""
    return 220.0 * math.pow(2.0, seed % 24 / 12)


def flac(order: Order) -> bytes:
    """Return half a second of a tone, mono, uncompressed, with the metadata as Vorbis comments."""
    tone = [int(8000 * math.sin(2 * math.pi * pitch(order.shot.seed) * t / RATE)) for t in range(_BLOCK * _BLOCKS)]
    comments = [f"{key}={json.dumps(value)}".encode() for key, value in order.metadata.items()]
    vendor = b"batchrunner"
    listed = b"".join(struct.pack("<I", len(comment)) + comment for comment in comments)
    block = struct.pack("<I", len(vendor)) + vendor + struct.pack("<I", len(comments)) + listed
    frames = b"".join(_frame(index, tone[index * _BLOCK :][:_BLOCK]) for index in range(_BLOCKS))
    return b"fLaC" + _block(0, _streaminfo(tone)) + _block(4 | _LAST, block) + frames


def _block(kind: int, content: bytes) -> bytes:
    return bytes([kind]) + len(content).to_bytes(3, "big") + content


def _streaminfo(tone: list[int]) -> bytes:
    packed = RATE << 44 | 0 << 41 | 15 << 36 | len(tone)
    digest = md5(struct.pack(f"<{len(tone)}h", *tone), usedforsecurity=False).digest()
    return struct.pack(">HH", _BLOCK, _BLOCK) + bytes(6) + packed.to_bytes(8, "big") + digest


def _frame(index: int, samples: list[int]) -> bytes:
    """Return one frame: 1024 samples, 8 kHz, mono, 16 bits, one verbatim subframe."""
    head = bytes([0xFF, 0xF8, 0xA4, 0x08, index])
    head += bytes([_crc(head, 0x07, 8)])
    frame = head + b"\x02" + struct.pack(f">{len(samples)}h", *samples)
    return frame + _crc(frame, 0x8005, 16).to_bytes(2, "big")


def _crc(content: bytes, polynomial: int, bits: int) -> int:
    top, mask, value = 1 << (bits - 1), (1 << bits) - 1, 0
    for byte in content:
        value ^= byte << (bits - 8)
        for _ in range(8):
            value = ((value << 1) ^ polynomial if value & top else value << 1) & mask
    return value


class BoxRenderer:
    """Files of a few hundred bytes with the right structure: ftyp, free, mdat, and moov with the workflow last."""

    def __init__(self, body: int = 64) -> None:
        self._body = body

    def render(self, order: Order) -> bytes:
        """Return an MP4 without a picture whose middle is `body` bytes of the seed; or a small file of another kind."""
        if order.form in ("png", "flac"):
            return png(order) if order.form == "png" else flac(order)
        if order.form in ("gif", "webp"):
            return gif(order.shot) if order.form == "gif" else webp(order.metadata)
        return glb(order.metadata) if order.form == "glb" else mp4(order.shot, order.metadata, self._body)


def gif(shot: Shot) -> bytes:
    """Return one pixel in a colour of the seed; a GIF carries no workflow."""
    screen = struct.pack("<HHBBB", 1, 1, 0x80, 0, 0) + sha256(str(shot.seed).encode()).digest()[:6]
    return b"GIF89a" + screen + b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02D\x01\x00;"


def webp(metadata: Mapping[str, Json]) -> bytes:
    """Return one pixel, with the metadata as text in the EXIF chunk, as SaveAnimatedWEBP has it."""
    texts = "\0".join(f"{key}:{json.dumps(value)}" for key, value in metadata.items()).encode()
    pixel = b"/\x00\x00\x00\x10\x07\x10\x11\x11\x88\x88\xfe\x07"
    chunks = ((b"VP8X", struct.pack("<I6x", 8)), (b"VP8L", pixel), (b"EXIF", texts))
    body = b"".join(kind + struct.pack("<I", len(each)) + each + b"\0" * (len(each) % 2) for kind, each in chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def glb(metadata: Mapping[str, Json]) -> bytes:
    """Return a glTF scene without content, with the metadata in `asset.extras`."""
    scene = json.dumps({"asset": {"version": "2.0", "extras": dict(metadata)}}).encode()
    scene += b" " * (-len(scene) % 4)
    return struct.pack("<4sII", b"glTF", 2, len(scene) + 20) + struct.pack("<I4s", len(scene), b"JSON") + scene


def mp4(shot: Shot, metadata: Mapping[str, Json], body: int) -> bytes:
    """Return ftyp, free, mdat and moov, in the order and with the metadata that ComfyUI's SaveVideo writes."""
    grain = struct.pack(">Q", shot.seed % 2**64)
    middle = (grain * (body // len(grain) + 1))[:body]
    moov = _box(b"moov", _mvhd(shot) + _box(b"udta", _meta(metadata)))
    return _box(b"ftyp", _FTYP) + _box(b"free", b"") + _box(b"mdat", middle) + moov


def _box(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content) + 8) + kind + content


def _mvhd(shot: Shot) -> bytes:
    length = int(1000 * shot.frames * shot.batch / shot.fps) % 2**32
    matrix = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
    times = struct.pack(">IIIII", 0, 0, 0, 1000, length)
    return _box(b"mvhd", times + struct.pack(">IHxx8x", 0x10000, 0x100) + matrix + bytes(24) + struct.pack(">I", 2))


def _meta(metadata: Mapping[str, Json]) -> bytes:
    """Return the meta box: keys and their values, `mdta` as with ffmpeg's `use_metadata_tags`."""
    texts = {key: json.dumps(value) for key, value in metadata.items()} | {"encoder": "batchrunner"}
    handler = _box(b"hdlr", bytes(8) + b"mdta" + bytes(13))
    names = b"".join(_box(b"mdta", key.encode()) for key in texts)
    keys = _box(b"keys", struct.pack(">II", 0, len(texts)) + names)
    items = b"".join(_item(index, text) for index, text in enumerate(texts.values(), 1))
    return _box(b"meta", bytes(4) + handler + keys + _box(b"ilst", items))


def _item(index: int, text: str) -> bytes:
    return _box(struct.pack(">I", index), _box(b"data", struct.pack(">II", 1, 0) + text.encode()))
