"""The server's folders: numbered file names, files visible while they are written, clean-up by age.

Paths are handled as the text that ComfyUI takes them for: pathlib would drop a trailing slash and refuse a NUL.
"""

from __future__ import annotations

import os
import posixpath
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from batchrunner.sim.machine import NodeFailure, system_failures

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PARTIAL_MP4 = b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00isomiso2avc1mp41\x00\x00\x00\x08free\x00\x00\x00\x00mdat"
"""The 48 bytes that a video is while it is being encoded (docs/comfyui.md §13)."""


class GrowingFile:
    """A file that is being written in place: under its final name from the first byte on."""

    def __init__(self, path: Path, wall: Callable[[], float]) -> None:
        self.path = path
        self._wall = wall
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
        self._put(PARTIAL_MP4 if path.suffix == ".mp4" else b"")

    def finish(self, content: bytes) -> None:
        """Write the whole content; a file that was deleted meanwhile stays deleted."""
        os.ftruncate(self._file, 0)
        os.lseek(self._file, 0, os.SEEK_SET)
        self._put(content)

    def _put(self, content: bytes) -> None:
        left = memoryview(content)
        while left:
            left = left[os.write(self._file, left) :]
        stamp = int(self._wall() * 1e9)
        os.utime(self._file, ns=(stamp, stamp))

    def close(self) -> None:
        """Close the file, whatever it holds by now: a killed server leaves an incomplete one."""
        os.close(self._file)


class Folders:
    """`output`, `temp` and `input` below one folder. `wall` is the server's clock; files get their times from it."""

    def __init__(self, root: Path, wall: Callable[[], float]) -> None:
        self.root = Path(posixpath.abspath(root))
        self._wall = wall
        for kind in ("output", "temp", "input"):
            (self.root / kind).mkdir(parents=True, exist_ok=True)

    def of(self, kind: str) -> Path | None:
        """Return the folder that `type` means in a request, or None."""
        return self.root / kind if kind in ("output", "temp", "input") else None

    def next(
        self, prefix: str, kind: str, shot_size: tuple[int, int], *, underscore: bool = True
    ) -> tuple[Path, str, int]:
        """Return (folder, name, counter) for the next file of `prefix`; makes the folder.

        The counter is one more than the highest of any file there, so it starts again when clean-up has emptied the
        prefix, and counts `job1_2_00001_` as the second `job1` (docs/comfyui.md §12). Raises NodeFailure when the
        prefix leads out of the output folder.
        """
        base = self.root / kind
        prefix = self._filled(prefix, shot_size)
        name = posixpath.basename(posixpath.normpath(prefix))
        folder = Path(posixpath.abspath(base / posixpath.dirname(posixpath.normpath(prefix))))
        if not _within(folder, base):
            raise NodeFailure(
                "Exception", f"**** ERROR: Saving image outside the output folder is not allowed: {folder}\n"
            )
        with system_failures():
            folder.mkdir(parents=True, exist_ok=True)
        width = len(posixpath.basename(prefix))
        return folder, name, max(_numbers(folder, name, width, underscore=underscore), default=0) + 1

    def _filled(self, prefix: str, shot_size: tuple[int, int]) -> str:
        """Fill in `%year%` and its like, in UTC."""
        now = time.gmtime(self._wall())
        known = {"%width%": str(shot_size[0]), "%height%": str(shot_size[1]), "%year%": str(now.tm_year)}
        names = ("month", "day", "hour", "minute", "second")
        known |= {f"%{name}%": f"{value:02}" for name, value in zip(names, now[1:6], strict=True)}
        for name, value in known.items():
            prefix = prefix.replace(name, value)
        return prefix

    def grow(self, path: Path) -> GrowingFile:
        """Start a file. Raises NodeFailure if the system does not accept its name."""
        with system_failures():
            return GrowingFile(path, self._wall)

    def find(self, name: str, kind: str, subfolder: str | None) -> Path | int:
        """Return the file that `/view` asks for, or the HTTP status that refuses it (docs/comfyui.md §14)."""
        name, kind = _annotated(name, kind)
        base = self.of(kind)
        if not name or name.startswith("/") or ".." in name or base is None:
            return 400
        folder = Path(posixpath.abspath(base / (subfolder or "")))
        if not _within(folder, base):
            return 403
        path = posixpath.join(folder, posixpath.basename(name))
        return Path(path) if posixpath.isfile(path) else 404

    def upload(self, name: str, content: bytes, kind: str, subfolder: str, *, overwrite: bool) -> str | None:
        """Store an uploaded file; return its name, which differs if that name is taken by other bytes.

        None if the place is outside the folder. Raises OSError if the system does not accept the name.
        """
        base = self.root / kind
        folder = posixpath.join(base, posixpath.normpath(subfolder))
        if not _within(Path(posixpath.abspath(posixpath.join(folder, name))), base):
            return None
        Path(folder).mkdir(parents=True, exist_ok=True)
        stem, suffix = posixpath.splitext(name)
        number = 0
        while not overwrite and (path := Path(folder, name)).exists():
            if path.read_bytes() == content:
                return name
            number += 1
            name = f"{stem} ({number}){suffix}"
        file = GrowingFile(Path(folder, name), self._wall)
        file.finish(content)
        file.close()
        return name

    def named(self, value: str) -> Path:
        """Return the file that a loader's value means: `x.png`, `sub/x.mp4 [output]`; it need not exist."""
        for kind in ("output", "input", "temp"):
            if value.endswith(f"[{kind}]"):  # with the character before it, as ComfyUI cuts it off
                return Path(posixpath.join(self.root / kind, value[: -len(kind) - 3]))
        return Path(posixpath.join(self.root / "input", value))

    def inputs(self) -> list[str]:
        """Return the names of the files directly in the input folder, in order."""
        return sorted(path.name for path in (self.root / "input").iterdir() if path.is_file())

    def relative(self, path: Path) -> str:
        """Return a file's path below its folder, for the record."""
        return "/".join(path.relative_to(self.root).parts[1:])

    def sweep(self, age: float) -> Iterator[str]:
        """Delete every output file that was written at least `age` seconds ago; yield their paths."""
        limit = self._wall() - age
        for folder, _, names in sorted(os.walk(self.root / "output")):
            for name in sorted(names):
                path = Path(folder, name)
                with suppress(FileNotFoundError):
                    if path.stat().st_mtime <= limit:
                        path.unlink()
                        yield self.relative(path)


def _within(folder: Path, base: Path) -> bool:
    return folder == base or base in folder.parents


def _annotated(name: str, kind: str) -> tuple[str, str]:
    """Take `x.mp4 [output]` apart."""
    for known in ("output", "input", "temp"):
        if name.endswith(f"[{known}]"):
            return name[: -len(known) - 2].rstrip(" "), known
    return name, kind


def _numbers(folder: Path, name: str, width: int, *, underscore: bool) -> Iterator[int]:
    """Yield the counters in use: of any file whose first characters are `name` and an underscore, up to the next one.

    `underscore` is False for names that do not end in an underscore, where the number may be followed by anything.
    """
    for file in sorted(os.listdir(folder)):  # noqa: PTH208 - names, not paths: some are not valid as such
        if file[: width + 1] == f"{name}_":
            digits = file[width + 1 :].split("_")[0]
            if not underscore:
                digits = digits.split(".")[0].split("-")[0]
            if digits.isascii() and digits.isdigit():
                yield int(digits)
