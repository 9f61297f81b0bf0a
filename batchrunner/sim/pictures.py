"""PNG files written by hand: small pictures whose colours come from the text and the seed."""

from __future__ import annotations

import json
import struct
import zlib
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchrunner.sim.render import Order

_SIDE = 64


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
    """Return stripes of two colours that wander by one pixel a frame."""
    digest = sha256(salt.encode("utf-8", "surrogatepass")).digest()
    stripe = (digest[:3] * (digest[6] % 7 + 2) + digest[3:6] * (digest[7] % 7 + 2)) * (width + height + frame)
    return b"".join(b"\x00" + stripe[3 * (row + frame) :][: 3 * width] for row in range(height))


def _text(key: str, text: str) -> bytes:
    return _chunk(b"tEXt", key.encode("latin-1", "replace") + b"\x00" + text.encode("latin-1"))


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
