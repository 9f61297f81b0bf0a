"""The medium under a disk: how much of every file is still there after the power went.

Names are as safe here as a journal makes them: what was linked or renamed stays so. Bytes are not.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path


class FakeDisk:
    """Knows how much of every file was synced since it began to spin."""

    def __init__(self) -> None:
        self._sync = os.fsync
        self._safe: dict[tuple[int, int], int] = {}

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Stand in for `os.fsync` until the block ends."""
        self._sync = os.fsync  # which may be one that others watch
        vars(os)["fsync"] = self.fsync
        try:
            yield
        finally:
            vars(os)["fsync"] = self._sync

    def fsync(self, file: int) -> None:
        """Sync, and remember how much of the file is safe now."""
        self._sync(file)
        state = os.fstat(file)
        self._safe[state.st_dev, state.st_ino] = state.st_size

    def has(self, path: Path) -> bool:
        """Whether a file or folder was synced since the fake disk began to spin."""
        state = path.stat()
        return (state.st_dev, state.st_ino) in self._safe

    def cut(self, files: Iterable[Path]) -> None:
        """Let the power go: what was not synced of `files` reads as zeros."""
        for path in files:
            state = path.stat()
            safe = self._safe.get((state.st_dev, state.st_ino), 0)
            if safe < state.st_size:
                with path.open("r+b") as file:
                    file.seek(safe)
                    file.write(bytes(state.st_size - safe))
