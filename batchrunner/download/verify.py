"""Is a downloaded file whole, and whose is it? One answer for every kind of file a save node writes."""

from __future__ import annotations

import json
import os
import re
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO

from batchrunner.core.job import PREFIX_INPUT, Json, attempt_digest, prefixes
from batchrunner.core.suffixes import SUFFIXES
from batchrunner.core.video import UNKNOWN, Video
from batchrunner.download import mp4

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import TypeAlias

    Carried: TypeAlias = tuple[tuple[str, ...] | None, str]
    """`prefixes` and `digest` of an `Inspection`."""

_SIMULATED = b'{"simulated": true}'
"""What the simulator's videos carry: they are small and short, whatever was asked for."""
_WINDOW = 2**18
_CHUNKS = 100_000
_QUOTED = re.compile(rb'(?<!\\)"%s"\s{0,9}:\s{0,9}("(?:[^"\\]|\\.){0,4000}")' % PREFIX_INPUT.encode())
_GRAPH = re.compile(rb'\{\s{0,64}"(?:[^"\\]|\\.){1,200}"\s{0,9}:\s{0,9}\{\s{0,64}"(?:inputs|class_type|_meta)"\s{0,9}:')
"""Where a workflow in JSON begins."""
_GRAPHS = 4
"""Workflows read of a window."""
_NODE = re.compile(rb'(?<!\\)"class_type"\s{0,9}:')


@dataclass(frozen=True, slots=True)
class Inspection:
    """What a file is. `prefixes` is None if it carries no workflow, else every `filename_prefix` in it."""

    kind: str
    """A kind of `SUFFIXES`, or empty if it is none that can be told from its content."""
    whole: bool
    message: str = ""
    """What is wrong with it."""
    prefixes: tuple[str, ...] | None = None
    digest: str = ""
    """What the workflow in it renders (`job.render_digest`); empty if it carries none of an attempt whole."""
    video: Video = UNKNOWN


def inspect(path: str | os.PathLike[str]) -> Inspection:
    """Inspect the regular file at `path`; raise OSError if it can't be read. Blocks."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        return inspect_open(file)


def inspect_as(file: BinaryIO, suffix: str) -> Inspection:
    """Inspect an open file that must be of the kind its suffix says; raise OSError if it can't be read. Blocks.

    A kind we know nothing about is whole if it came whole, and carries no workflow that we could read. SVG and
    safetensors carry one, but nothing in them is checked: other tools write them in ways that ComfyUI does not.
    """
    kind, size = SUFFIXES.get(suffix), file.seek(0, os.SEEK_END)
    if kind is None:
        return Inspection("", whole=True)
    if kind == "svg" and size:
        found, renders = _of_window(file, size)
        return Inspection(kind, whole=True, prefixes=found, digest=renders)
    if kind == "safetensors" and size:
        found, renders = _of_safetensors(file, size)
        return Inspection(kind, whole=True, prefixes=found, digest=renders)
    seen = inspect_open(file)
    if seen.whole and seen.kind != kind:
        return replace(seen, whole=False, message=f"it is no {suffix} but {seen.kind}")
    return seen


def inspect_open(file: BinaryIO) -> Inspection:
    """Inspect an open, seekable file from its begin by its content; raise OSError if it can't be read. Blocks."""
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    kind = _kind(file.read(16))
    if kind == "mp4":
        walk = mp4.walk(file, size)
        video = UNKNOWN if _SIMULATED in walk.texts else walk.video
        return Inspection(kind, not walk.message, walk.message, *_of_texts(walk.texts), video)
    if kind == "png":
        return _png(file, size)
    if not kind:
        return Inspection("", whole=False, message="it is no video, image or sound" if size else "it is empty")
    message = "" if _ends(file, size, kind) else "it is cut"
    # SaveGLB may pass on a mesh that somebody else made, and with it the workflow that it came from.
    return Inspection(kind, not message, message, *((None, "") if kind == "glb" else _of_window(file, size)))


def _kind(head: bytes) -> str:
    magics = {
        b"\x89PNG\r\n\x1a\n": "png",
        b"\x1aE\xdf\xa3": "matroska",
        b"RIFF": "riff",
        b"GIF8": "gif",
        b"\xff\xd8\xff": "jpeg",
        b"fLaC": "flac",
        b"ID3": "mp3",
        b"OggS": "ogg",
        b"glTF": "glb",
    }
    if head[4:8] == b"ftyp":
        return "mp4"
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE6 == 0xE2:
        return "mp3"
    return next((kind for magic, kind in magics.items() if head.startswith(magic)), "")


def _ends(file: BinaryIO, size: int, kind: str) -> bool:
    """Tell whether a file ends where its kind says it does; a kind that does not say is taken by its length alone."""
    file.seek(0)
    head = file.read(64)
    file.seek(max(size - 2, 0))
    tail = file.read(2)
    if kind == "riff":
        return len(head) > 12 and size - 8 in (claim := int.from_bytes(head[4:8], "little"), claim + 1)
    if kind == "glb":
        return len(head) > 19 and int.from_bytes(head[8:12], "little") == size
    if kind == "gif":
        return tail[-1:] == b"\x3b"
    if kind == "jpeg":
        return tail == b"\xff\xd9"
    if kind == "matroska":
        return _matroska(head, size)
    return size > 64


def _matroska(head: bytes, size: int) -> bool:
    """Tell whether the Segment, after the EBML header, reaches to the end; a live stream's has no size."""
    header = _vint(head, 4)
    at = header[1] + header[0] if header else len(head)
    segment = _vint(head, at + 4) if head[at : at + 4] == b"\x18S\x80g" else None
    if segment is None:
        return False
    length, start = segment
    unknown = length == 2 ** (7 * (start - at - 4)) - 1
    return unknown or start + length == size


def _vint(data: bytes, at: int) -> tuple[int, int] | None:
    """Return a variable-length number and the offset behind it."""
    width = 9 - data[at].bit_length() if at < len(data) else 9
    if width > 8 or at + width > len(data):
        return None
    return int.from_bytes(data[at : at + width], "big") & (1 << (7 * width)) - 1, at + width


def _png(file: BinaryIO, size: int) -> Inspection:
    """Walk the chunks: IHDR first, IEND to the last byte; ComfyUI writes the workflow as text before the pixels.

    SaveAnimatedPNG writes it into chunks of its own, `comf`, after the first image.
    """
    at, left, kinds, texts = 8, mp4.TEXT, list[bytes](), list[bytes]()
    while at + 12 <= size and len(kinds) < _CHUNKS:
        file.seek(at)
        head = file.read(8)
        length, kind = int.from_bytes(head[:4], "big"), head[4:]
        if at + 12 + length > size:
            break
        if kind in (b"tEXt", b"iTXt", b"comf") and length <= left:
            left -= length
            texts.append(_png_text(kind, file.read(length)))
        kinds.append(kind)
        at += 12 + length
    whole = at == size and kinds[:1] == [b"IHDR"] and kinds[-1:] == [b"IEND"] and b"IDAT" in kinds
    return Inspection("png", whole, "" if whole else "it is cut", *_of_texts(texts))


def _png_text(kind: bytes, chunk: bytes) -> bytes:
    """Return the text behind the keyword; a compressed one is left alone, ComfyUI writes none."""
    text = chunk.partition(b"\0")[2]
    if kind != b"iTXt":
        return text
    return text[2:].partition(b"\0")[2].partition(b"\0")[2] if text[:1] == b"\0" else b""


def _of_safetensors(file: BinaryIO, size: int) -> Carried:
    """Read the header, a length and JSON; SaveLatent's workflow is in `__metadata__`."""
    file.seek(0)
    length = int.from_bytes(file.read(8), "little")
    header = _parsed(file.read(length)) if length <= min(size, mp4.TEXT) else None
    return _of_values([header.get("__metadata__")] if isinstance(header, dict) else [])


def _of_texts(texts: Iterable[bytes]) -> Carried:
    """Return the prefixes of all workflows in JSON texts, and what the first one of an attempt renders."""
    return _of_values(_parsed(text) for text in texts)


def _of_values(values: Iterable[Json]) -> Carried:
    graphs = [(graph, prefixes(graph)) for value in values for graph in _graphs(value)]
    if not graphs:
        return None, ""
    digests = (attempt_digest(graph, found) for graph, found in graphs)
    return tuple(dict.fromkeys(prefix for _, found in graphs for prefix in found)), next(filter(None, digests), "")


def _of_window(file: BinaryIO, size: int) -> Carried:
    """Look for a workflow near the begin and the end, where WebP, FLAC, Ogg, MP3, Matroska and SVG keep their tags.

    Its prefixes are found even where it is not in one piece, as in the pages of an Ogg.
    """
    windows = []
    for at in sorted({0, max(size - _WINDOW, 0)}):
        file.seek(at)
        windows.append(file.read(_WINDOW))
    if not any(_NODE.search(window) for window in windows):
        return None, ""
    quoted = [_parsed(match[1]) for window in windows for match in _QUOTED.finditer(window)]
    # A prefix that stands under another name is found where its workflow is whole.
    found, whole = _of_values(graph for window in windows for graph in _begun(window))
    return tuple(dict.fromkeys([*(text for text in quoted if isinstance(text, str)), *(found or ())])), whole


def _begun(window: bytes) -> Iterator[Json]:
    """Yield the first workflows that stand whole in a window."""
    for match in islice(_GRAPH.finditer(window), _GRAPHS):
        with suppress(ValueError, RecursionError):
            yield json.JSONDecoder().raw_decode(window[match.start() :].decode("utf-8", "replace"))[0]


def _parsed(text: bytes) -> Json:
    try:
        value: Json = json.loads(text.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None
    return value


def _graphs(value: Json) -> Iterator[dict[str, Json]]:
    """Yield the API-format workflows in one text: itself, or its `prompt`, an object or JSON text again."""
    if not isinstance(value, dict):
        return
    if any(isinstance(node, dict) and "class_type" in node for node in value.values()):
        yield value
    inner = value.get("prompt")
    inner = _parsed(inner.encode("utf-8", "replace")) if isinstance(inner, str) else inner
    if isinstance(inner, dict) and any(isinstance(node, dict) and "class_type" in node for node in inner.values()):
        yield inner
