"""Where the state of a batch lies, and the lock that keeps a second runner away."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
from contextlib import contextmanager, suppress
from stat import S_ISREG
from typing import TYPE_CHECKING

from batchrunner.errors import BusyError, LocalError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# -- Where the state of a batch lies, and how its private files come to be.
#
# The folder itself and the videos keep the umask; the state holds prompts and stays with its owner (0600).


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


# -- One runner per batch: a lock that the system releases whenever its holder ends, however it ends.
#
# `flock` on a file of its own. That file is never unlinked or truncated: a second runner could otherwise lock a new
# file of the same name. What is written in it informs people and decides nothing, so there is never a stale lock to
# remove.


_WIDTH = 128
_HOLDER = re.compile(rb"pid (\d{1,10}) on ([A-Za-z0-9._-]{1,64}) *\n")


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold the batch in `folder` (created where missing) until the block ends.

    Take it before anything else, the first request included. BusyError if another runner holds it, naming the process
    where it is known; LocalError if the lock can't be made, or a link or anything else stands in its place.
    """
    prepare(folder)
    opened = _open(folder / LOCK)
    try:
        _take(opened, folder)
        _sign(opened)
        yield
    finally:
        os.close(opened)


def _open(path: Path) -> int:
    try:
        opened = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, PRIVATE)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise LocalError(f"{path}: this is a link; it is not followed, move it away") from error
        raise LocalError(f"{path}: can't be opened: {error.strerror}") from error
    if not S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise LocalError(f"{path}: not a plain file; move it away")
    return opened


def _take(opened: int, folder: Path) -> None:
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BusyError(f"{folder}: another runner holds this batch{_holder(opened)}") from error
    except OSError as error:
        raise LocalError(f"{folder}: this file system can't lock files: {error.strerror}") from error


def _holder(opened: int) -> str:
    match = _HOLDER.fullmatch(os.pread(opened, _WIDTH, 0))
    return f" (process {match[1].decode()} on {match[2].decode()})" if match else ""


def _sign(opened: int) -> None:
    """Write who holds it, in a fixed width so that nothing needs truncating, never into a file with a second name."""
    if os.fstat(opened).st_nlink != 1:
        return
    host = re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:64]
    line = f"pid {os.getpid()} on {host}".encode().ljust(_WIDTH - 1) + b"\n"
    with suppress(OSError):
        os.pwrite(opened, line, 0)
