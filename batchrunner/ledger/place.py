"""Where the state of a batch lies, and how its private files come to be.

The folder itself and the videos keep the umask; the state holds prompts and stays with its owner (0600).
"""

from __future__ import annotations

import os
from stat import S_ISREG
from typing import TYPE_CHECKING

from batchrunner.errors import LocalError

if TYPE_CHECKING:
    from pathlib import Path

STATE = "state.sqlite3"
LOCK = "state.lock"
PRIVATE = 0o600


def prepare(folder: Path) -> None:
    """Create the batch's folder where it is missing, durably. LocalError if that is not possible."""
    try:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            _sync(folder.parent)
    except OSError as error:
        raise LocalError(f"{folder}: can't create this folder: {error.strerror}") from error


def touch(path: Path) -> None:
    """Create an empty private file where none is; an existing one is not opened, only checked.

    Opening and closing a database behind SQLite's back would drop the locks this very program holds on it
    (RELIABILITY.md c). LocalError if the name is taken by anything but a plain file.
    """
    if is_there(path):
        return
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, PRIVATE))
        _sync(path.parent)
    except OSError as error:
        raise LocalError(f"{path}: can't create this file: {error.strerror}") from error


def is_there(path: Path) -> bool:
    """Tell whether the file exists. LocalError if the name is taken by a link or anything else but a plain file."""
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise LocalError(f"{path}: can't be read: {error.strerror}") from error
    if not S_ISREG(mode):
        raise LocalError(f"{path}: not a plain file (a link?); it is not followed, move it away")
    return True


def _sync(folder: Path) -> None:
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
