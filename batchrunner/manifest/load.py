"""A manifest file to a batch: read, check, count, build, name, order - and every complaint at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchrunner.errors import Complaint, ManifestError
from batchrunner.manifest.batch import Batch, Options
from batchrunner.manifest.building import build
from batchrunner.manifest.check import called
from batchrunner.manifest.complaints import Complaints
from batchrunner.manifest.compose import compose
from batchrunner.manifest.reading import read_parts
from batchrunner.manifest.source import MANIFEST_BYTES, SourceError, read_text
from batchrunner.manifest.tree import Table
from batchrunner.workflow.words import printable

if TYPE_CHECKING:
    from pathlib import Path

_NO_OPTIONS = Options()


def load(path: Path, options: Options = _NO_OPTIONS) -> Batch:
    """Return the batch that the manifest at `path` describes. Reads files, asks no server.

    Raises:
        ManifestError: with everything that is wrong, sorted by line; nothing else for any file.

    """
    try:
        text = read_text(path, MANIFEST_BYTES)
    except SourceError as error:
        raise ManifestError([Complaint(printable(str(path)), error.line, error.column, "", str(error))]) from None
    tree = compose(text, str(path))
    complaints = Complaints()
    if not isinstance(tree, Table):
        complaint = f"a manifest is a mapping of keys, not {called(tree)}"
        raise ManifestError([Complaint(printable(str(path)), tree.spot.line, tree.spot.column, "", complaint)])
    return build(read_parts(path, tree, options, complaints), options, complaints)
