"""A folder that nothing leaves: every path is walked part by part, no link is followed, nothing is overwritten.

A planted link at any place (a folder, the unfinished file, the final name) would otherwise have us write a server's
bytes over somebody's file. All of this blocks; `to_thread` has a thread wait for it.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO, TypeVar, TypeVarTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

Ts = TypeVarTuple("Ts")
T = TypeVar("T")

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_FILE = os.O_NOFOLLOW | os.O_CLOEXEC
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP})
_UNREADABLE = _ABSENT | {errno.ENXIO, errno.EACCES, errno.EPERM}
_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
_PORTION = 2**20


class Folder:
    """The folder at `root`, which is resolved once and must exist. Paths are relative, `/` between folders."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def create(self, path: str) -> int:
        """Create a file and the folders above it; return its descriptor. Raises FileExistsError for anything there."""
        with self._above(path, make=True) as (folder, name):
            return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _FILE, 0o666, dir_fd=folder)

    def extend(self, path: str) -> int:
        """Open a regular file to append to; return its descriptor."""
        with self._above(path) as (folder, name):
            opened = os.open(name, os.O_WRONLY | os.O_APPEND | os.O_NONBLOCK | _FILE, dir_fd=folder)
        return _regular(opened)

    def read(self, path: str) -> BinaryIO | None:
        """Open a regular file to read; None if there is none that we may read."""
        try:
            with self._above(path) as (folder, name):
                opened = os.open(name, os.O_RDONLY | os.O_NONBLOCK | _FILE, dir_fd=folder)
            return open(_regular(opened), "rb")
        except OSError as error:
            if error.errno in _UNREADABLE:
                return None
            raise

    def size(self, path: str) -> int | None:
        """Return the bytes of a regular file, None if there is none."""
        file = self.read(path)
        if file is None:
            return None
        with file:
            return os.fstat(file.fileno()).st_size

    def publish(self, part: str, final: str) -> bool:
        """Give a whole file, synced, its final name, for `sync`; False, and nothing done, if the name is taken.

        A hard link is refused where a name exists, unlike a rename, and the file is complete under either name at
        every instant; killed in between, both names are there, and the next run finds the final one.
        """
        with self._above(part) as (folder, name):
            self._sync(name, folder)
            with self._above(final, make=True) as (home, last):
                try:
                    _name(name, last, folder, home)
                except FileExistsError:
                    return False
        return True

    def sync(self, path: str) -> None:
        """Make the names in the folder in which `path` lies survive a power cut."""
        with self._above(path) as (folder, _):
            os.fsync(folder)

    def remove(self, path: str) -> None:
        """Remove a file, or a link itself; it need not be there."""
        try:
            with self._above(path) as (folder, name):
                os.unlink(name, dir_fd=folder)
        except OSError as error:
            if error.errno not in _ABSENT:
                raise

    def free(self) -> int:
        """Return how many bytes may still be written here."""
        stand = os.statvfs(self.root)
        return stand.f_bavail * stand.f_frsize

    def files(self) -> Iterator[str]:
        """Yield the path of every regular file, in order; linked and hidden folders are not entered.

        Nothing of ours is hidden but the built-in server's own folder. Raises OSError where the disk fails, else a
        search would find less than there is; what we may not read is passed over.
        """
        yield from _files(str(self.root), "")

    @contextmanager
    def _above(self, path: str, *, make: bool = False) -> Iterator[tuple[int, str]]:
        """Open the folder a path lies in, no link followed; yield its descriptor and the last part."""
        *folders, name = _parts(path)
        opened = os.open(self.root, _FOLDER)
        try:
            for part in folders:
                if make:
                    _make(part, opened)
                inner = os.open(part, _FOLDER, dir_fd=opened)
                os.close(opened)
                opened = inner
            yield opened, name
        finally:
            os.close(opened)

    @staticmethod
    def _sync(name: str, folder: int) -> None:
        opened = os.open(name, os.O_RDONLY | _FILE, dir_fd=folder)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


async def to_thread(what: Callable[[*Ts], T], *args: *Ts) -> T:
    """Run what blocks in a thread of the loop."""
    return await asyncio.get_running_loop().run_in_executor(None, what, *args)


def os_error_text(error: OSError) -> str:
    """Return what a person can make of a refusal of the disk."""
    said = {
        errno.ENOSPC: "the disk is full",
        errno.EDQUOT: "the disk quota is used up",
        errno.EROFS: "the disk is read-only",
        errno.EFBIG: "the file is larger than this system allows",
        errno.ELOOP: "a link stands where a file or folder should be",
        errno.ENOTDIR: "a link or a file stands where a folder should be",
        errno.ENOENT: "the folder is gone",
        errno.EMFILE: "too many open files",
        errno.ENFILE: "too many open files",
    }
    return said.get(error.errno or 0) or (error.strerror or "the disk can't be used").lower()


def digest(file: BinaryIO) -> tuple[int, str]:
    """Return length and sha256 of what the disk holds, not of what we meant to write. Blocks."""
    file.seek(0)
    digest = hashlib.sha256()
    while piece := file.read(_PORTION):
        digest.update(piece)
    return file.tell(), digest.hexdigest()


def _parts(path: str) -> list[str]:
    parts = path.split("/")
    if any(part in ("", ".", "..") or "\0" in part for part in parts):
        raise OSError(errno.EINVAL, "not a path inside the folder")
    return parts


def _files(folder: str, above: str) -> Iterator[str]:
    """Yield every regular file in `folder`, the path below the root of which begins with `above`, and below it.

    A folder that we may not read, or that has just gone, is passed over.
    """
    files, folders = [], []
    try:
        with os.scandir(folder) as found:
            for entry in found:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.name)
                elif entry.is_file(follow_symlinks=False):
                    files.append(entry.name)
    except OSError as error:
        if error.errno not in _UNREADABLE:
            raise
    for name in sorted(files):
        yield f"{above}{name}"
    for name in sorted(folders):
        yield from _files(f"{folder}/{name}", f"{above}{name}/")


def _make(name: str, folder: int) -> None:
    with suppress(FileExistsError):
        os.mkdir(name, dir_fd=folder)
        os.fsync(folder)


def _regular(opened: int) -> int:
    if stat.S_ISREG(os.fstat(opened).st_mode):
        return opened
    os.close(opened)
    raise OSError(errno.ENXIO, "not a regular file")


def _name(part: str, final: str, folder: int, home: int) -> None:
    """Move without overwriting; on a file system without hard links there is a moment between look and rename."""
    try:
        os.link(part, final, src_dir_fd=folder, dst_dir_fd=home, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
    else:
        os.unlink(part, dir_fd=folder)
        return
    with suppress(FileNotFoundError):
        os.stat(final, dir_fd=home, follow_symlinks=False)
        raise FileExistsError(errno.EEXIST, "the name is taken")
    os.rename(part, final, src_dir_fd=folder, dst_dir_fd=home)
