"""Small files of every kind, box by box, and a place for files to come from."""

from __future__ import annotations

import json
import struct
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchrunner.core.job import Json

PREFIX = "cats-0123456789ab-a1"


def graph(prefix: str = PREFIX) -> dict[str, Json]:
    """Return a small workflow that saves under `prefix`."""
    return {
        "3": {"class_type": "KSampler", "inputs": {"seed": 2**64 - 1, "model": ["1", 0]}},
        "9": {"class_type": "SaveVideo", "inputs": {"filename_prefix": prefix, "video": ["3", 0]}},
    }


def box(kind: bytes, *inside: bytes) -> bytes:
    """Return one MP4 box."""
    whole = b"".join(inside)
    return struct.pack(">I4s", 8 + len(whole), kind) + whole


def long_box(kind: bytes, inside: bytes) -> bytes:
    """Return one MP4 box with a 64-bit size."""
    return struct.pack(">I4sQ", 1, kind, 16 + len(inside)) + inside


def tags(text: bytes, key: bytes = b"prompt") -> bytes:
    """Return `udta` as SaveVideo writes it: keys of the mdta kind, and a value for each."""
    handler = box(b"hdlr", bytes(8) + b"mdta" + bytes(13))
    keys = box(b"keys", bytes(4), struct.pack(">I", 1), struct.pack(">I4s", 8 + len(key), b"mdta") + key)
    values = box(b"ilst", box(struct.pack(">I", 1), box(b"data", struct.pack(">II", 1, 0), text)))
    return box(b"udta", box(b"meta", bytes(4), handler, keys, values))


def film(prefix: str | None = PREFIX, pixels: bytes = bytes(2000), workflow: Json = None) -> bytes:
    """Return an MP4 as far as boxes go; `prefix` None is a server that writes no metadata."""
    udta = tags(json.dumps(workflow or graph(prefix)).encode()) if prefix is not None else b""
    moov = box(b"moov", box(b"mvhd", bytes(100)), box(b"trak", bytes(40)), udta)
    return box(b"ftyp", b"isom", bytes(4), b"isomiso2mp41") + box(b"free") + box(b"mdat", pixels) + moov


def picture(prefix: str | None = PREFIX, *, kind: bytes = b"tEXt", workflow: Json = None) -> bytes:
    """Return a PNG of one pixel, with the workflow in a text chunk."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    between = b"\0\0\0\0\0" if kind == b"iTXt" else b"\0"
    text = json.dumps(workflow or graph(prefix)).encode()
    said = chunk(kind, b"prompt" + between + text) if prefix is not None else b""
    head, pixel = chunk(b"IHDR", struct.pack(">IIBBBBB", 1, 1, 8, 0, 0, 0, 0)), chunk(b"IDAT", zlib.compress(b"\0\0"))
    return b"\x89PNG\r\n\x1a\n" + head + said + pixel + chunk(b"IEND", b"")


def mesh(prefix: str = PREFIX) -> bytes:
    """Return a GLB without a body, with the workflow where SaveGLB writes it."""
    scene = json.dumps({"asset": {"version": "2.0", "extras": {"prompt": json.dumps(graph(prefix))}}}).encode()
    return struct.pack("<4sIIII", b"glTF", 2, 20 + len(scene), len(scene), int.from_bytes(b"JSON", "little")) + scene


def tensors(prefix: str | None = PREFIX) -> bytes:
    """Return a safetensors file of one number, with the workflow where SaveLatent writes it."""
    said = {} if prefix is None else {"__metadata__": {"prompt": json.dumps(graph(prefix))}}
    head = json.dumps({**said, "samples": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    return struct.pack("<Q", len(head)) + head + bytes(4)
