"""The box walk: whether an MP4 (or MOV) is whole, and what texts it carries.

Sizes in a file are claims. Each is held against the room its parent has before anything is read or skipped, the
number of boxes and the depth are bounded, and nothing is allocated because a header says so.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from batchrunner.core.video import UNKNOWN, Video

if TYPE_CHECKING:
    from collections.abc import Iterator

BOXES = 100_000
"""Boxes walked in one file; a fragmented one has a few per second of film."""
TEXT = 4 * 2**20
"""Bytes of text read from one file: a workflow is a few kB, one with pictures pasted in a few MB."""
_DEPTH = 6
_INDEXES = 16
_PARENTS = frozenset({b"moov", b"udta", b"meta", b"ilst"})


@dataclass(frozen=True, slots=True)
class Walk:
    """What the walk saw: `message` is empty if the file is whole; `texts` are its metadata that look like JSON."""

    message: str
    texts: tuple[bytes, ...] = ()
    video: Video = UNKNOWN
    """What its tracks say; of one without an index of frames, as live streams are, nothing."""


@dataclass(frozen=True, slots=True)
class _Box:
    kind: bytes
    start: int
    """Of what it holds."""
    end: int


@dataclass(frozen=True, slots=True)
class _Track:
    kind: bytes
    """`vide` or `soun`, or another."""
    samples: int
    """Frames, of a picture's."""
    width: int | None = None
    height: int | None = None


class _BrokenError(ValueError):
    """A box that can't be where it is."""


def walk(file: BinaryIO, size: int) -> Walk:
    """Walk `size` bytes of `file`: `ftyp` first, `mdat` and a readable `moov` in any order, to the last byte.

    ComfyUI writes `moov`, and the workflow in it, last: a file that was cut has none (docs/comfyui.md §13). Raises
    OSError where the file can't be read, nothing else. Blocks.
    """
    walker = _Walker(file)
    try:
        tops = walker.tops(size)
    except _BrokenError as error:
        return Walk(str(error))
    return Walk("", tuple(text for top in tops for text in walker.texts(top, _DEPTH)), walker.video(tops))


class _Walker:
    """One file, and how much of it may still be looked at."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._boxes_left = BOXES
        self._text_left = TEXT

    def tops(self, size: int) -> list[_Box]:
        """Return the boxes that may hold metadata; raise _BrokenError if the file is not whole."""
        tops, seen = list[_Box](), set[bytes]()
        for number, box in enumerate(self.boxes(0, size)):
            if number == 0 and box.kind != b"ftyp":
                break
            seen |= {box.kind} & {b"ftyp", b"mdat", b"moov"}
            if box.kind in _PARENTS and len(tops) < _INDEXES:
                tops.append(box)
        for kind in (b"ftyp", b"mdat", b"moov"):
            if kind not in seen:
                raise _BrokenError(f"it has no {kind.decode()}")
        for box in tops:
            self._indexed(box)
        return tops

    def _indexed(self, box: _Box) -> None:
        """Hold that a `moov` is full of boxes, to its last byte."""
        if box.kind == b"moov" and not sum(1 for _ in self.boxes(box.start, box.end)):
            raise _BrokenError("its index (moov) is empty")

    def boxes(self, start: int, end: int) -> Iterator[_Box]:
        """Yield the boxes between two offsets; raise _BrokenError where they don't fill the room exactly."""
        while start < end:
            if not self._boxes_left:
                raise _BrokenError("it has too many boxes")
            self._boxes_left -= 1
            box = self._box(start, end)
            yield box
            start = box.end

    def _box(self, start: int, end: int) -> _Box:
        """Read one header: 32-bit size and type; size 1 is a 64-bit size to follow, size 0 reaches to the end."""
        self._file.seek(start)
        head = self._file.read(min(16, end - start))
        length, header = int.from_bytes(head[:4], "big"), 8
        if length == 1:
            length, header = int.from_bytes(head[8:16], "big"), 16
        elif length == 0:
            length = end - start
        if len(head) < header or length < header or length > end - start:
            raise _BrokenError(f"it is cut or broken at byte {start}")
        return _Box(head[4:8], start + header, start + length)

    def texts(self, box: _Box, depth: int) -> Iterator[bytes]:
        """Yield what looks like JSON below `box`; a broken corner ends only itself, players read such files too."""
        try:
            for inner in self.boxes(box.start + self._fullness(box), box.end):
                if inner.kind in _PARENTS and depth:
                    yield from self.texts(inner, depth - 1)
                elif box.kind == b"ilst":
                    yield from self._values(inner)
                elif box.kind == b"udta":
                    yield from self._json(inner, 4)
        except _BrokenError:
            return

    def video(self, tops: list[_Box]) -> Video:
        """Return what the tracks say, nothing where one is broken or its frames are not counted."""
        tracks = []
        try:
            for index in (top for top in tops if top.kind == b"moov"):
                inner = list(self.boxes(index.start, index.end))
                if any(box.kind == b"mvex" for box in inner):
                    return UNKNOWN  # fragments: the frames are counted elsewhere
                tracks += [self._track(box) for box in inner if box.kind == b"trak"]
        except _BrokenError:
            return UNKNOWN
        pictures = [track for track in tracks if track.kind == b"vide" and track.samples]
        if len(pictures) != 1:
            return UNKNOWN
        (picture,) = pictures
        sound = any(track.kind == b"soun" and track.samples for track in tracks)
        return Video(picture.width, picture.height, picture.samples, sound)

    def _track(self, box: _Box) -> _Track:
        """Read a track; raises _BrokenError where a box is missing or too short."""
        media = self._inner(box, b"mdia")
        table = self._inner(self._inner(media, b"minf"), b"stbl")
        kind = self._bytes(self._inner(media, b"hdlr"), 8, 4)
        samples = int.from_bytes(self._bytes(self._inner(table, b"stsz"), 8, 4), "big")
        if kind != b"vide":
            return _Track(kind, samples)
        # Version and count, size and type of the first entry, its reserved bytes, then 16 bytes of an older format.
        sides = self._bytes(self._inner(table, b"stsd"), 40, 4)
        return _Track(kind, samples, int.from_bytes(sides[:2], "big"), int.from_bytes(sides[2:], "big"))

    def _inner(self, box: _Box, kind: bytes) -> _Box:
        found = next((inner for inner in self.boxes(box.start, box.end) if inner.kind == kind), None)
        if found is None:
            raise _BrokenError(f"it has no {kind.decode()}")
        return found

    def _bytes(self, box: _Box, at: int, length: int) -> bytes:
        if box.start + at + length > box.end:
            raise _BrokenError(f"its {box.kind!r} is too short")
        self._file.seek(box.start + at)
        return self._file.read(length)

    def _fullness(self, box: _Box) -> int:
        """Return the bytes of version and flags: MP4's `meta` has four, QuickTime's none."""
        if box.kind != b"meta":
            return 0
        self._file.seek(box.start)
        return 0 if self._file.read(min(8, box.end - box.start))[4:8] == b"hdlr" else 4

    def _values(self, entry: _Box) -> Iterator[bytes]:
        """Yield the `data` of one metadata entry, whatever its key: eight bytes of type and language, then text."""
        for inner in self.boxes(entry.start, entry.end):
            if inner.kind == b"data":
                yield from self._json(inner, 8)

    def _json(self, box: _Box, skip: int) -> Iterator[bytes]:
        """Yield the payload if it may be a JSON object: its room is known to be in the file, so reading is safe."""
        start = box.start + skip
        self._file.seek(start)
        if 2 <= box.end - start <= self._text_left and self._file.read(1) == b"{":
            self._text_left -= box.end - start
            yield b"{" + self._file.read(box.end - start - 1)
