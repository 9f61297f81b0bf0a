"""`promote`: what was starred in the gallery becomes a manifest of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from batchrunner.errors import LocalError, YoursError
from batchrunner.ledger import Ledger
from batchrunner.manifest.picks import read_picks
from batchrunner.manifest.promote import promote, promoted_name
from batchrunner.manifest.source import NAMED_BYTES, SourceError, read_text

if TYPE_CHECKING:
    from batchrunner.cli.asked import Asked


def promote_picks(picks_file: Path, asked: Asked) -> None:
    """Write a manifest that renders the picks again, with `--set` changed, beside the batch's own.

    `asked.manifest` is that manifest, or an empty path to take the one the gallery knew. Raises YoursError if a file
    is missing or wrong, or the new manifest is there already.
    """
    try:
        picks = read_picks(read_text(picks_file, NAMED_BYTES))
    except SourceError as error:
        raise YoursError(f"{picks_file}: {error}") from None
    source = asked.manifest if asked.manifest.name else Path(picks.manifest)
    if not source.name:
        raise YoursError("the picks don't say which manifest they are of: add --manifest FILE")
    snapshot = Ledger.read(asked.out / picks.batch) if picks.batch else None
    if snapshot is None:
        raise YoursError(f"{asked.out / picks.batch} holds no batch: give --out, the folder that batches are kept in")
    text = promote(picks, snapshot.jobs, source, asked.options)
    path = source.with_name(f"{promoted_name(picks.batch)}.yaml")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise YoursError(f"{path} is there already: move it away, or edit it") from None
    except OSError as error:
        raise LocalError(f"{path}: {error.strerror}") from None
    sys.stderr.write(f"wrote {path}: {len(picks.picks)} picks; now batchrunner plan {path}\n")
