"""The local files that media inputs take: found by a path or a pattern, checked, and named by their content."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from batchrunner.core.job import InputFile, upload_name
from batchrunner.manifest.hashes import Hashes, LocalFile, opened
from batchrunner.text import did_you_mean, quote

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchrunner.manifest.tables import Files
    from batchrunner.manifest.yamltree import Location

MAX_FILES = 200_000
"""Of one pattern; no more are looked for."""
_MISSING = "there is no such file"
_HEAD = 64
"""Bytes at a file's beginning that tell its kind."""
_MAGIC = re.compile(r"[*?\[]")
_NUMBER = re.compile(r"([0-9]+)")
_ANNOTATION = re.compile(r" \[(input|output|temp)\]$")
_SUFFIXES = (
    *(".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".avif", ".heic", ".mp4", ".mov", ".mkv"),
    *(".webm", ".avi", ".m4v", ".wav", ".mp3", ".flac", ".ogg", ".opus", ".m4a", ".aac", ".glb", ".gltf", ".obj"),
)
_PICTURE, _MOVING, _SOUND, _FILM = ("image", "mask"), ("image", "mask", "video"), ("audio",), ("video", "audio")
_MESH = ("mesh",)
_VIDEO = frozenset({"video"})
_SIGNATURES: tuple[tuple[re.Pattern[bytes], str, tuple[str, ...]], ...] = tuple(
    (re.compile(pattern, re.DOTALL), name, kinds)
    for pattern, name, kinds in (
        (rb"\x89PNG\r\n\x1a\n|\xff\xd8\xff|II\*\0|MM\0\*|BM.{4}\0{4}", "a picture", _PICTURE),
        (rb"GIF8[79]a|RIFF.{4}WEBP", "a picture", _MOVING),
        (rb".{4}ftyp(avif|avis|heic|heix|mif1|msf1)", "a picture", _PICTURE),
        (rb".{4}ftypM4[AB] |RIFF.{4}WAVE|fLaC|ID3|\xff[\xfb\xf3\xf2]", "a sound", _SOUND),
        (rb".{4}ftyp|\x1aE\xdf\xa3|RIFF.{4}AVI |OggS", "a video", _FILM),
        (rb"glTF", "a mesh", _MESH),
    )
)
"""How files begin, what they are, and which media inputs (`workflow.values.MEDIA`) load that."""
_WANTED = {"image": "a picture", "mask": "a picture", "video": "a video", "audio": "a sound", "mesh": "a mesh"}


@dataclass(frozen=True, slots=True)
class PlacedText:
    """A text that is, or may become, the path of a local file."""

    text: str
    location: Location
    """Where it is written: a path is relative to that file's folder."""
    path: str
    """Of that place in a manifest, for diagnostics: `sweep.image[2]`."""
    root: Path | None = None
    """What the path is relative to and may not leave; None for the rules of the manifest's own files."""
    frame: str | None = None
    """`first`, `last` or a number: this frame of the video is meant, as a picture."""
    future: bool = False
    """It is still to be rendered: there is nothing to look at."""


class MediaFiles:
    """The files of one manifest's media inputs, each looked at once; records what is wrong with them."""

    def __init__(self, params: Mapping[str, frozenset[str]], files: Files, hashes: Hashes) -> None:
        self.params = params
        """The parameters that take files, and the kinds that each takes."""
        self.sources: dict[str, LocalFile] = {}
        """Where the content of each input file was found, by the name that it is uploaded under."""
        self.frames: dict[str, str] = {}
        """Those that are a frame of the video found there: which one."""
        self.hashes = hashes
        self._files = files
        self._looked: dict[tuple[Path, str, Path | None], tuple[LocalFile, bytes] | str] = {}
        self._named: dict[tuple[str, str, str, Path | None, str | None], InputFile] = {}

    def check(self, param: str, placed: PlacedText) -> bool:
        """Tell whether a file can be what `param` loads; record why it can't."""
        return self._find(param, placed) is not None

    def input_file(self, param: str, placed: PlacedText) -> InputFile | None:
        """Return the file that `param` loads, or None after recording why it can't. Reads the whole file, once.

        A frame of a video is named by the video's content and its number; its own size and hash are not known yet.
        """
        key = param, placed.text, placed.location.file, placed.root, placed.frame
        if (known := self._named.get(key)) is not None:
            return known
        if placed.future:
            return _stand_in(repr(key), placed.text)
        found = self._find(param, placed)
        if found is None:
            return None
        try:
            content = self.hashes.of(found)
        except OSError as error:
            self._files.report(placed.location, placed.path, f"{quote(placed.text)}: {_refusal(error)}")
            return None
        if placed.frame is None:
            file = InputFile(content, found.size, upload_name(content, PurePosixPath(placed.text).suffix))
        else:
            file = _stand_in(f"{content} {placed.frame}", ".png")
            self.frames[file.name] = placed.frame
        self.sources.setdefault(file.name, found)
        self._named[key] = file
        return file

    def matching(self, pattern: str, location: Location, path: str) -> list[str]:
        """Return the paths of the files that match a pattern, in natural order; none after recording why."""
        parts = PurePosixPath(pattern).parts
        plain = next((index for index, part in enumerate(parts) if _MAGIC.search(part)), len(parts) - 1)
        above, rest = PurePosixPath(*parts[:plain]), parts[max(plain, 0) :]
        if not rest or not pattern.isprintable() or not {"..", "/"}.isdisjoint(rest):
            self._files.report(location, path, f"{quote(pattern)} is not a pattern of files such as shots/*.png")
            return []
        folder = self._files.path(str(above), location, path)
        if folder is None:
            return []
        found = _matches(folder, rest)
        if not found:
            self._files.report(location, path, f"{quote(pattern)} matches no file")
        if len(found) > MAX_FILES:
            self._files.report(location, path, f"{quote(pattern)} matches more than {MAX_FILES:,} files")
            return []
        return [str(above / name) for name in found]

    def _find(self, param: str, placed: PlacedText) -> LocalFile | None:
        name = placed.text
        base = placed.root or self._files.beside(placed.location)
        key = base, name, placed.root
        if key not in self._looked:
            found = self._files.path(name, placed.location, placed.path, base, placed.root)
            if found is None:
                return None
            self._looked[key] = _look(found)
        seen = self._looked[key]
        if seen == _MISSING:
            self._files.report(placed.location, placed.path, f"{quote(name)}: {_MISSING}{_near(base / name)}")
            return None
        wrong = seen if isinstance(seen, str) else self._wrong_kind(param, placed, seen[1])
        if wrong or isinstance(seen, str):
            self._files.report(placed.location, placed.path, f"{quote(name)}: {wrong}")
            return None
        return seen[0]

    def _wrong_kind(self, param: str, placed: PlacedText, head: bytes) -> str:
        if placed.frame is None:
            return _other_kind(head, self.params[param])
        others = sorted(self.params[param].difference(_PICTURE))
        wrong = f"its frame is a picture, and {_WANTED[others[0]]} is loaded here" if others else ""
        return wrong or _other_kind(head, _VIDEO)


def _stand_in(identity: str, name: str) -> InputFile:
    """Return a file whose content is not known yet, under a name of its own."""
    digest = sha256(identity.encode("utf-8", "surrogatepass")).hexdigest()
    return InputFile(digest, 1, upload_name(digest, PurePosixPath(f"x{name}").suffix))


@lru_cache(maxsize=4096)
def stem(name: str) -> str:
    """Return what stands for a file in texts and file names: `shots/shot2.png` and `shot2.png [output]` are shot2."""
    return PurePosixPath(_ANNOTATION.sub("", name)).stem


def is_media_name(name: str) -> bool:
    """Tell whether a file's name is that of a picture, a video, a sound or a mesh."""
    return name.lower().endswith(_SUFFIXES)


def natural_key(text: str) -> tuple[list[str | int], str]:
    """Return what sorts texts as people do: shot2 before shot10."""
    parts: list[str | int] = [*_NUMBER.split(text.casefold())]
    parts[1::2] = [int(part) for part in parts[1::2]]
    return parts, text


def _matches(folder: Path, parts: tuple[str, ...]) -> list[str]:
    """Return the files below a folder that match, relative to it: no hidden ones, and no linked folder searched."""
    hidden = any(part.startswith(".") for part in parts)
    found = []
    try:
        for path in folder.glob("/".join(parts)):
            name = path.relative_to(folder)
            if (hidden or not any(part.startswith(".") for part in name.parts)) and not path.is_dir():
                found.append(str(name))
            if len(found) > MAX_FILES:
                break
    except (OSError, ValueError, RecursionError):
        return []
    return sorted(found, key=natural_key)


def _look(path: Path) -> tuple[LocalFile, bytes] | str:
    """Return a file and its first bytes, or why it can't be used."""
    try:
        with opened(path) as (file, found):
            head = file.read(_HEAD)
    except OSError as error:
        return _refusal(error)
    return (found, head) if found.size else "is empty"


def _refusal(error: OSError) -> str:
    match error:
        case FileNotFoundError():
            return _MISSING
        case IsADirectoryError():
            return 'is not a regular file; {files: "FOLDER/*"} takes all files in a folder'
        case _:
            return f"cannot be read: {(error.strerror or os.strerror(error.errno or 0)).lower()}"


def _near(path: Path) -> str:
    """Return a hint at what may be meant by the path of a file that is not there, or nothing."""
    if "\\" in path.name:
        return "; folders are separated by /"
    try:
        while not path.parent.is_dir():
            path = path.parent
        return did_you_mean(path.name, [each.name for each in islice(path.parent.iterdir(), MAX_FILES)])
    except (OSError, ValueError):
        return ""


def _other_kind(head: bytes, wanted: frozenset[str]) -> str:
    """Return why a file that begins so is plainly of another kind than wanted; empty if it may be of that kind."""
    for signature, name, kinds in _SIGNATURES:
        if signature.match(head):
            others = sorted(kind for kind in wanted if kind not in kinds)
            return f"is {name}, and {_WANTED[others[0]]} is loaded here" if others else ""
    return ""
