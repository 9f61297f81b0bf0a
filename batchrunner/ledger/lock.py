"""Where the state of a batch lies, and the lock that keeps a second runner away from it."""

from __future__ import annotations

import errno
import fcntl
import os
import re
import socket
import subprocess
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import TYPE_CHECKING

from batchrunner.errors import BusyError, LocalError
from batchrunner.files import sync_folder

if TYPE_CHECKING:
    from collections.abc import Iterator

# -- Creating the batch's folder and its private files.
#
# The folder and the videos have the umask's permissions; the state holds prompts, so only its owner may read it.


STATE = "state.sqlite3"
LOCK = "state.lock"
PRIVATE = 0o600


def create_folder(folder: Path) -> None:
    """Create the batch's folder, durably, unless it exists. LocalError if that is not possible."""
    try:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            sync_folder(folder.parent)
    except OSError as error:
        raise LocalError(f"{folder}: can't create this folder: {error.strerror}") from error


def create_private(path: Path) -> None:
    """Create an empty private file, unless it exists. LocalError if the name is taken by anything but a plain file.

    An existing file is not opened: closing a database that SQLite has open in this process would drop its POSIX locks
    ("How To Corrupt An SQLite Database File", 2.2).
    """
    if file_exists(path):
        return
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, PRIVATE))
        sync_folder(path.parent)
    except OSError as error:
        raise LocalError(f"{path}: can't create this file: {error.strerror}") from error


def file_exists(path: Path) -> bool:
    """Whether the file exists. LocalError if the name is taken by a link or anything else but a plain file."""
    try:
        mode = path.lstat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise LocalError(f"{path}: can't be read: {error.strerror}") from error
    if not S_ISREG(mode):
        raise LocalError(f"{path}: not a plain file (a link?); it is not followed, move it away")
    return True


# -- One runner per batch.
#
# `flock` on a file of its own, which the system releases however the process ends. The file is never unlinked: a second
# runner could otherwise lock a new file of the same name. Its content only tells people who holds the lock, so that no
# stale lock ever has to be removed.


_WIDTH = 128
_LOCKS = Path("/proc/locks")
_PROBED = 0.05
"""Seconds; `holder` has the lock for a thousandth of that."""
_HOLDER = re.compile(rb"pid (\d{1,10}) on ([A-Za-z0-9._-]{1,64}) *\n")


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold the batch in `folder` (created where missing) until the block ends.

    Call it before anything else, the first request included. BusyError if another runner holds it, naming the process
    where it is known; LocalError if the lock can't be made, or a link or anything else stands in its place.
    """
    create_folder(folder)
    opened = _open(folder / LOCK)
    try:
        _lock(opened, folder)
        _write_holder(opened)
        yield
    finally:
        os.close(opened)


@dataclass(frozen=True, slots=True)
class Holder:
    """Who holds a batch right now."""

    pid: int
    """0 if the lock does not say."""
    host: str
    since: float
    """Seconds since the epoch, by the clock of the file system."""


def holder(folder: Path) -> Holder | None:
    """Return who holds the batch in `folder`, None if nobody does: the lock itself tells. Creates nothing.

    LocalError if the lock can't be read.
    """
    path = folder / LOCK
    if not file_exists(path):
        return None
    try:
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise LocalError(f"{path}: can't be opened: {error.strerror}") from error
    try:
        match = _HOLDER.fullmatch(os.pread(opened, _WIDTH, 0))
        pid, host = (int(match[1]), match[2].decode()) if match else (0, "")
        return Holder(pid, host, os.fstat(opened).st_mtime) if _is_locked(opened) else None
    finally:
        os.close(opened)


def is_held_by(folder: Path, holder: Holder) -> bool:
    """Whether that process really holds the batch, and not another one that has got its number since.

    Linux lists who holds which lock; elsewhere the command line must be ours.
    """
    if holder.host != _host():
        return False
    try:
        inode = (folder / LOCK).stat().st_ino
        locks = _LOCKS.read_text(encoding="ascii")
    except OSError:
        command = ["ps", "-o", "command=", "-p", str(holder.pid)]
        found = subprocess.run(command, capture_output=True, check=False)  # noqa: S603 - a number, and no shell
        return b"batchrunner" in found.stdout
    return re.search(rf" FLOCK .* WRITE {holder.pid} [^ ]*:{inode} ", locks) is not None


def _is_locked(opened: int) -> bool:
    try:
        fcntl.flock(opened, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    return False


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


def _lock(opened: int, folder: Path) -> None:
    try:
        try:
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(_PROBED)  # `holder` may just have tried it
            fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise BusyError(f"{folder}: another runner holds this batch{_holder(opened)}") from error
    except OSError as error:
        raise LocalError(f"{folder}: this file system can't lock files: {error.strerror}") from error


def _holder(opened: int) -> str:
    match = _HOLDER.fullmatch(os.pread(opened, _WIDTH, 0))
    return f" (process {match[1].decode()} on {match[2].decode()})" if match else ""


def _write_holder(opened: int) -> None:
    """Write who holds the lock, in a fixed width so that nothing needs truncating; not into a file with a hard link."""
    if os.fstat(opened).st_nlink != 1:
        return
    line = f"pid {os.getpid()} on {_host()}".encode().ljust(_WIDTH - 1) + b"\n"
    with suppress(OSError):
        os.pwrite(opened, line, 0)


def _host() -> str:
    return re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:64]
