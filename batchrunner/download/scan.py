"""What of a batch lies on our own disk already, found by the workflow that a file carries."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING

from batchrunner.core.identity import parse_prefix
from batchrunner.core.results import LocalFile
from batchrunner.core.suffixes import suffix
from batchrunner.download import verify as media
from batchrunner.download.folder import digest, says
from batchrunner.errors import LocalError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from batchrunner.download.folder import Folder


def files_of(batch: str, folder: Folder, stems: Collection[str] | None = None) -> tuple[LocalFile, ...]:
    """Return every whole file of `batch` in `folder`, or only those whose path without suffix is in `stems`. Blocks.

    Raises LocalError where the disk fails: what is not seen then must not be taken for missing.
    """
    try:
        among = (path for path in folder.files() if stems is None or path.rpartition(".")[0] in stems)
        return tuple(home for path in among for home in _homes(batch, folder, path))
    except OSError as error:
        raise LocalError(f"{folder.root}: can't be searched: {says(error)}") from None


def _homes(batch: str, folder: Folder, path: str) -> Iterator[LocalFile]:
    file = folder.read(path) if suffix(path) else None
    if file is None:
        return
    with file, suppress(OSError):
        seen = media.inspect_open(file)
        ours = [prefix for prefix in seen.prefixes or () if parse_prefix(batch, prefix)]
        if seen.whole and ours:
            yield LocalFile(ours[0], path, *digest(file))
