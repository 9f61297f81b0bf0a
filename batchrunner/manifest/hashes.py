"""What is remembered of input files: their sha256, by path, size and time of change, so that each is read once."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Self

from batchrunner.core.job import INPUTS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from io import BufferedReader

MEMORY = ".hashes.json"
"""The file in a batch's `INPUTS` that holds it; safe to delete."""
_VERSION = 1
_LONGEST = 64 * 2**20


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A regular file of this machine as it was when it was looked at."""

    path: Path
    """Absolute, with no link in it."""
    size: int
    """Bytes."""
    mtime_ns: int
    """The time of its last change, nanoseconds since the epoch."""


@contextmanager
def opened(path: Path) -> Iterator[tuple[BufferedReader, LocalFile]]:
    """Open a regular file to read. Raises OSError; IsADirectoryError for anything that is no regular file."""
    # Without O_NONBLOCK a named pipe would be waited for until somebody writes to it.
    with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK | os.O_CLOEXEC)) as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise IsADirectoryError
        yield file, LocalFile(path, found.st_size, found.st_mtime_ns)


class Hashes:
    """The hashes of files, each computed once."""

    def __init__(self) -> None:
        self._known: dict[Path, tuple[LocalFile, str]] = {}

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Return what is remembered in a batch's folder; nothing where that can't be read."""
        hashes = cls()
        with suppress(OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            with opened(folder / INPUTS / MEMORY) as (file, found):
                content = json.loads(file.read(_LONGEST)) if found.size <= _LONGEST else {}
            for path, (size, changed, sha256) in content["files"].items() if content["version"] == _VERSION else ():
                if re.fullmatch("[0-9a-f]{64}", sha256):
                    hashes.know(LocalFile(Path(path), int(size), int(changed)), sha256)
        return hashes

    def of(self, local: LocalFile) -> str:
        """Return the sha256 of a file's content, 64 hex digits. Blocks. Raises OSError, also if it was changed."""
        known, sha256 = self._known.get(local.path, (None, ""))
        if known != local:
            with opened(local.path) as (file, found):
                if found != local:
                    raise OSError(0, "it was changed while it was read; run the command again")
                sha256 = hashlib.file_digest(file, "sha256").hexdigest()
            self.know(local, sha256)
        return sha256

    def is_file(self, path: Path, sha256: str) -> bool:
        """Tell whether there is a file with this content. Blocks."""
        try:
            with opened(path.resolve()) as (_, local):
                return self.of(local) == sha256
        except (OSError, ValueError):
            return False

    def know(self, local: LocalFile, sha256: str) -> None:
        """Note what is in a file, in place of what was in it earlier."""
        self._known[local.path] = local, sha256

    def forget(self, path: Path) -> None:
        """Remember nothing of a file."""
        self._known.pop(path, None)

    def content(self) -> bytes:
        """Return what `read` reads: a small JSON file."""
        files = {str(path): [local.size, local.mtime_ns, sha256] for path, (local, sha256) in self._known.items()}
        return json.dumps({"version": _VERSION, "files": files}, separators=(",", ":")).encode()
