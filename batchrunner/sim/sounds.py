"""FLAC files written by hand: a tone whose pitch comes from the seed."""

from __future__ import annotations

import json
import math
import struct
from hashlib import md5
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchrunner.sim.render import Order

RATE = 8000
_BLOCK = 1024
_BLOCKS = 4
_LAST = 0x80


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
