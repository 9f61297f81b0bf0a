"""One runner per batch: a lock that the system releases whenever its holder ends, however it ends.

`flock` on a file of its own. That file is never unlinked or truncated: a second runner could otherwise lock a new file
of the same name. What is written in it informs people and decides nothing, so there is never a stale lock to remove.
"""

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
from batchrunner.ledger.place import LOCK, PRIVATE, prepare

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

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
