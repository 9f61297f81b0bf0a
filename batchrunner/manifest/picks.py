"""`picks.json`: what somebody starred in the gallery. It comes from a browser, so it is read as a stranger's."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchrunner.errors import YoursError

if TYPE_CHECKING:
    from batchrunner.core.identity import Json

_JOB = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Pick:
    """One starred job; everything else about it stands in the batch's state."""

    job: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Picks:
    """The starred jobs of one batch, in the order of the gallery, each once."""

    batch: str
    picks: tuple[Pick, ...]
    manifest: str = ""
    """The batch's manifest as it was given on the command line; empty if the gallery did not know."""


def read_picks(text: str) -> Picks:
    """Return what `text` picks. YoursError if it is no `picks.json`, or picks nothing."""
    try:
        content: Json = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise YoursError(f"picks: this is not JSON: {error}") from None
    if not isinstance(content, dict) or not isinstance(content.get("picks"), list):
        raise YoursError('picks: this is not a file that the gallery saved: it has no list "picks"')
    found = [_pick(item, place) for place, item in enumerate(_items(content))]
    if not found:
        raise YoursError("picks: nothing is picked: star something in the gallery first")
    each: dict[str, Pick] = {}
    for pick in found:
        each.setdefault(pick.job, pick)
    return Picks(_text(content, "batch"), tuple(each.values()), _text(content, "manifest"))


def _items(content: dict[str, Json]) -> list[Json]:
    items = content["picks"]
    return items if isinstance(items, list) else []


def _pick(item: Json, place: int) -> Pick:
    job = _text(item, "job") if isinstance(item, dict) else ""
    if not isinstance(item, dict) or not _JOB.fullmatch(job):
        raise YoursError(f'picks[{place}]: "job" must be a job id: 12 hex digits')
    return Pick(job, _text(item, "note"))


def _text(content: dict[str, Json], name: str) -> str:
    value = content.get(name)
    return value if isinstance(value, str) else ""
