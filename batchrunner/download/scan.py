"""What of a batch lies on our own disk already, found by the workflow that a file carries, else by its sidecar."""

from __future__ import annotations

import json
from contextlib import suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from batchrunner.core.actions import LocalFile
from batchrunner.core.job import INPUTS, parse_prefix
from batchrunner.core.suffixes import suffix
from batchrunner.download import verify as media
from batchrunner.download.folder import digest, os_error_text
from batchrunner.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from batchrunner.download.folder import Folder


_SIDECAR = 2**24
"""Bytes read of a sidecar; it holds one workflow."""


def files_of(batch: str, folder: Folder, stems: Collection[str] | None = None) -> tuple[LocalFile, ...]:
    """Return every whole file of `batch` in `folder`, or only those whose path without suffix is in `stems`. Blocks.

    Raises LocalError where the disk fails: what is not seen then must not be taken for missing.
    """
    try:
        # A copy of an input may be a file of this very batch; it is the result of none of its jobs.
        own = (path for path in folder.files() if not path.startswith(f"{INPUTS}/"))
        among = (path for path in own if stems is None or path.rpartition(".")[0] in stems)
        return tuple(home for path in among for home in _homes(batch, folder, path))
    except OSError as error:
        raise LocalError(f"{folder.root}: can't be searched: {os_error_text(error)}") from None


def sidecar_of(folder: Folder, path: str) -> tuple[str, str] | None:
    """Return the prefix and the sha256 that the sidecar of a file holds; None if there is none. Blocks.

    A text or a mesh carries no workflow: the sidecar, written before the file counts as saved, says whose it is. Of two
    files that differ in their suffix only one has its name in it.
    """
    file = folder.read(str(PurePosixPath(path).with_suffix(".json")))
    if file is None:
        return None
    with file:
        try:
            told = json.loads(file.read(_SIDECAR))
            name, found = PurePosixPath(told["file"]["path"]).name, (str(told["prefix"]), str(told["file"]["sha256"]))
        except (OSError, ValueError, RecursionError, LookupError, TypeError):
            return None
    return found if name == PurePosixPath(path).name else None


def _homes(batch: str, folder: Folder, path: str) -> Iterator[LocalFile]:
    file = None if path.endswith(".json") else folder.read(path)
    if file is None:
        return
    with file:
        seen = _inspected(file, path)
        told = sidecar_of(folder, path) if seen.whole and seen.prefixes is None else None
        named = told[:1] if told else seen.prefixes or ()
        ours = [prefix for prefix in named if parse_prefix(batch, prefix)]
        if seen.whole and ours:
            with suppress(OSError):
                size, sha256 = digest(file)
                if told is None or told[1] == sha256:
                    yield LocalFile(ours[0], path, size, sha256, seen.digest)


def _inspected(file: BinaryIO, path: str) -> media.Inspection:
    """Inspect a file; one that can't be read to its end is none that we have."""
    try:
        return media.inspect_as(file, suffix(path))
    except OSError as error:
        return media.Inspection("", whole=False, message=os_error_text(error))
