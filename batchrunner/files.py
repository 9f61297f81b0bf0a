"""Files written whole or not at all, and folders whose entries survive a power cut."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from batchrunner.errors import LocalError

if TYPE_CHECKING:
    from pathlib import Path


def replace_file(path: Path, content: bytes, *, synced: bool = False, durable: bool = False) -> Path:
    """Write a file whole or not at all, that only its owner can read, as the state; return its path.

    An earlier file is replaced in one step, and so is a link in its place, which is never followed. Only a `durable`
    file is sure to be there after a power cut, a `synced` one if its folder is synced. LocalError if it can't be
    written.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        part.unlink(missing_ok=True)
        try:
            opened = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
            with os.fdopen(opened, "wb") as file:
                file.write(content)
                file.flush()
                if synced or durable:
                    os.fsync(opened)
            part.replace(path)
            if durable:
                sync_folder(path.parent)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise LocalError(f"{path}: can't be written: {error.strerror}") from error
    return path


def sync_folder(folder: Path) -> None:
    """Make what was created, renamed or removed in a folder survive a power cut. Raises OSError."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
