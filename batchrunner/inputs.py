"""Copies of a batch's input files, made before anything is sent: what uploads are read from, and what results show."""

from __future__ import annotations

import errno
import os
from contextlib import ExitStack, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from batchrunner.core.job import INPUTS, InputFile
from batchrunner.core.lifecycle import Done
from batchrunner.download.folder import Folder, digest, os_error_text, to_thread
from batchrunner.download.verify import inspect
from batchrunner.errors import LocalError, YoursError
from batchrunner.files import replace_file
from batchrunner.manifest.hashes import MEMORY, Hashes, LocalFile, opened
from batchrunner.show.gallery.frames import Frames

if TYPE_CHECKING:
    from collections.abc import Mapping
    from io import BufferedReader
    from pathlib import Path

    from batchrunner.core.lifecycle import State
    from batchrunner.manifest import Batch

_PORTION = 16 * 2**20
_NO_COPY = frozenset({errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EBADF, errno.EPERM})
"""What `copy_file_range` answers where a disk, or two of them, can't do it."""


async def copy_inputs(folder: Path, batch: Batch, states: Mapping[str, State]) -> None:
    """Copy into a batch's folder the input files of all chosen jobs that are not done; remember their hashes.

    A copy that is there and whole is left alone. Raises YoursError if a file is not what it was when the manifest was
    read, LocalError if it can't be copied.
    """
    chosen = (job for job in batch.jobs if batch.chosen is None or job.id in batch.chosen)
    jobs = [job for job in chosen if not isinstance(states.get(job.id), Done)]
    needed = dict.fromkeys(file for job in jobs for file in job.inputs)
    if not needed:
        return
    home = Folder(folder)
    _make_folder(folder / INPUTS)
    try:
        for file in needed:
            await to_thread(_copy, home, file, batch.sources[file.name], batch.hashes)
    finally:
        with suppress(LocalError):
            replace_file(folder / INPUTS / MEMORY, batch.hashes.content())


def make_frames(folder: Path, batch: Batch) -> Batch:
    """Make the pictures of a batch's input files that are frames of videos; return it with their sizes and hashes.

    A picture that is there is left alone. Blocks. Raises YoursError where a video has no such frame, LocalError where
    the picture can't be written.
    """
    if not batch.frames:
        return batch
    made: dict[str, InputFile] = {}
    sources = dict(batch.sources)
    _make_folder(folder / INPUTS)
    with Frames() as frames:
        for name, frame in batch.frames.items():
            path = (folder / INPUTS / name).absolute()
            try:
                if not _is_picture(path):
                    picture = frames.frame(sources[name].path, frame)
                    if picture is None:
                        raise YoursError(f"{sources[name].path}: has no frame {frame} that can be read")
                    replace_file(path, picture)
                with opened(path) as (_, local):
                    made[name] = InputFile(batch.hashes.of(local), local.size, name)
            except OSError as error:
                raise LocalError(f"{path}: {os_error_text(error)}") from None
            sources[name] = local
    jobs = [replace(job, inputs=tuple(made.get(file.name, file) for file in job.inputs)) for job in batch.jobs]
    return replace(batch, jobs=tuple(jobs), sources=sources)


def _make_folder(folder: Path) -> None:
    if folder.is_symlink():
        raise LocalError(f"{folder}: a link stands where a folder should be")
    try:
        folder.mkdir(exist_ok=True)
    except OSError as error:
        raise LocalError(f"{folder}: {os_error_text(error)}") from None


def _is_picture(path: Path) -> bool:
    try:
        return inspect(path).whole
    except FileNotFoundError:
        return False


def _copy(home: Folder, file: InputFile, source: LocalFile, hashes: Hashes) -> None:
    final = f"{INPUTS}/{file.name}"
    try:
        if _is_whole(home, final, file, hashes):
            return
        part = f"{final}.part"
        home.remove(part)
        try:
            if _copy_content(home, part, source) != (file.size, file.sha256):
                hashes.forget(source.path)
                raise _changed(source)
            home.remove(final)
            home.publish(part, final)
            home.sync(final)
        finally:
            home.remove(part)
        _is_whole(home, final, file, hashes, file.sha256)
    except OSError as error:
        raise LocalError(f"{source.path}: can't be copied to {home.root / final}: {os_error_text(error)}") from None


def _is_whole(home: Folder, path: str, file: InputFile, hashes: Hashes, sha256: str = "") -> bool:
    """Tell whether a copy is there and whole; `sha256` is its content's if that is known."""
    copy = home.read(path)
    if copy is None:
        return False
    with copy:
        found = os.fstat(copy.fileno())
        local = LocalFile(home.root / path, found.st_size, found.st_mtime_ns)
        if sha256:
            hashes.know(local, sha256)
        return local.size == file.size and hashes.of(local) == file.sha256


def _copy_content(home: Folder, part: str, source: LocalFile) -> tuple[int, str]:
    """Copy a file; return the length and the sha256 of what was written. YoursError if it is gone."""
    with ExitStack() as stack:
        try:
            file, _ = stack.enter_context(opened(source.path))
        except (FileNotFoundError, IsADirectoryError):
            raise _changed(source) from None
        target = stack.enter_context(os.fdopen(home.create(part), "wb"))
        os.fchmod(target.fileno(), 0o600)  # the file may be its owner's secret
        if not _cloned(file, target.fileno()):
            while portion := file.read(_PORTION):
                target.write(portion)
    written = home.read(part)
    if written is None:
        raise FileNotFoundError(errno.ENOENT, "the copy is gone")
    with written:
        return digest(written)


def _changed(source: LocalFile) -> YoursError:
    return YoursError(f"{source.path}: was changed while it was copied; run the command again")


def _cloned(file: BufferedReader, target: int) -> bool:
    """Have the disk copy a file, by reference where it can; False, and nothing copied, where it can't."""
    copied = 0
    try:
        while count := os.copy_file_range(file.fileno(), target, _PORTION):
            copied += count
    except (AttributeError, OSError) as error:
        if copied or (isinstance(error, OSError) and error.errno not in _NO_COPY):
            raise
    return copied > 0
