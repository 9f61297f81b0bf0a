"""`promote`: what was starred in the gallery becomes a manifest of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from batchrunner.cli.books import ran
from batchrunner.cli.speaking import say
from batchrunner.errors import LocalError, YoursError
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
    except (SourceError, YoursError) as error:
        raise YoursError(f"{picks_file}: {error}") from None
    source = asked.manifest if asked.manifest.name else Path(picks.manifest)
    if not source.name:
        raise YoursError("the picks don't say which manifest they are of: add --manifest FILE")
    if not picks.batch or picks.batch != Path(picks.batch).name:
        raise YoursError(f"{picks_file}: {picks.batch!r} is no batch's name")
    jobs = ran(asked.out / picks.batch, picks.batch).jobs
    text = promote(picks, jobs, source, asked.options)
    path = source.with_name(f"{promoted_name(picks.batch)}.yaml")
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise YoursError(f"{path} is there already: move it away, or edit it") from None
    except OSError as error:
        raise LocalError(f"{path}: {error.strerror}") from None
    count = len(picks.picks)
    say(f"wrote {path}: {count} {'pick' if count == 1 else 'picks'}; now batchrunner plan {path}")
