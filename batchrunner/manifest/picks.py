"""What the gallery's `picks.json` says: the starred jobs of one batch."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchrunner.errors import YoursError

if TYPE_CHECKING:
    from batchrunner.core.job import Json

_JOB = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Pick:
    """One starred job; everything else about it stands in the batch's state."""

    job: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Picks:
    """What `picks.json` of the gallery holds: the starred jobs of one batch, in its order, each once."""

    batch: str
    picks: tuple[Pick, ...]
    manifest: str = ""
    """The batch's manifest as it was given on the command line; empty if the gallery did not know."""


def read_picks(text: str) -> Picks:
    """Return what `text`, which comes from a browser, picks. YoursError if it is no `picks.json`, or picks nothing."""
    try:
        content: Json = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise YoursError(f"picks: this is not JSON: {error}") from None
    items = content.get("picks") if isinstance(content, dict) else None
    if not isinstance(content, dict) or not isinstance(items, list):
        raise YoursError('picks: this is not a file that the gallery saved: it has no list "picks"')
    found: dict[str, Pick] = {}
    for index, item in enumerate(items):
        job = _string(item, "job")
        if not _JOB.fullmatch(job):
            raise YoursError(f'picks[{index}]: "job" must be a job id: 12 hex digits')
        found.setdefault(job, Pick(job, _string(item, "note")))
    if not found:
        raise YoursError("picks: nothing is picked: star something in the gallery first")
    return Picks(_string(content, "batch"), tuple(found.values()), _string(content, "manifest"))


def _string(content: Json, name: str) -> str:
    value = content.get(name) if isinstance(content, dict) else None
    return value if isinstance(value, str) else ""
