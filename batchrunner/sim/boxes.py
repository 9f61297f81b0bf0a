"""MP4 boxes written by hand: files that pass for videos in everything but the picture, thousands a second."""

from __future__ import annotations

import json
import struct
from typing import TYPE_CHECKING

from batchrunner.sim.pictures import png
from batchrunner.sim.sounds import flac

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchrunner.core.identity import Json
    from batchrunner.sim.graph import Shot
    from batchrunner.sim.render import Order

_FTYP = b"isom" + struct.pack(">I", 512) + b"isomiso2avc1mp41"


class BoxRenderer:
    """Files of a few hundred bytes with the right structure: ftyp, free, mdat, and moov with the workflow last."""

    def __init__(self, body: int = 64) -> None:
        self._body = body

    def render(self, order: Order) -> bytes:
        """Return an MP4 without a picture whose middle is `body` bytes of the seed; or a small PNG or FLAC."""
        if order.form == "png":
            return png(order)
        if order.form == "flac":
            return flac(order)
        return mp4(order.shot, order.metadata, self._body)


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
