"""Input files on one server, as this run knows it: which it has, under which name, and whose upload fails.

In memory only: what a server has is asked again by every run. The first upload of a run always sends the bytes, since
a file of the right name and length may still be somebody else's; the server compares, and stores what differs under
another name (docs/comfyui.md §22). From then on its length and ETag tell whether it is still the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import inf
from typing import TYPE_CHECKING

from batchrunner.core.settings import backoff

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from batchrunner.core.job import InputFile
    from batchrunner.core.notes import InputStored, UploadFailed

_CONFIRMED_FOR = 300.0
"""Seconds for which a file that was seen there is taken to be there."""
_RETRY, _RETRY_CAP = 1.0, 60.0
_TOLD_FROM = 3
"""Failed uploads of a file in a row from which on people are told: a single one may fail any time."""
_HOPELESS_TRIES, _HOPELESS_FOR = 6, 600.0
"""So many uploads of a file, in so many seconds, fail before it may be the file's failure, and not the server's."""


@dataclass(frozen=True, slots=True)
class StoredInput:
    """An input file that a server was seen to have."""

    name: str
    """What a workflow calls it there."""
    etag: str
    seen_at: float
    """When it was last seen there, loop's clock; -inf where it is to be looked for before the next prompt."""


@dataclass(frozen=True, slots=True)
class UploadTrouble:
    """An input file whose uploads fail. All times are seconds on the loop's clock."""

    failures: int
    since: float
    until: float
    """Not tried again before then."""
    message: str = ""
    """How the last one ended, for a person."""


@dataclass(frozen=True, slots=True)
class ServerInputs:
    """The input files of one server, by `InputFile.name`."""

    stored: Mapping[str, StoredInput] = field(default_factory=dict)
    troubles: Mapping[str, UploadTrouble] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)
    """Files that this server never gets, and why."""
    uploaded_at: float = -inf
    """When the last upload got there, loop's clock."""

    # -- what it allows

    def names(self, files: Iterable[InputFile], now: float) -> tuple[tuple[str, str], ...] | None:
        """Return (our name, the server's) of each file; None if one is not known to be there at `now`."""
        found = []
        for file in files:
            known = self.stored.get(file.name)
            if known is None or now - known.seen_at >= _CONFIRMED_FOR:
                return None
            found.append((file.name, known.name))
        return tuple(found)

    def may_get(self, files: Iterable[InputFile], now: float) -> bool:
        """Whether none of these files was refused, and none has just failed."""
        return not any(file.name in self.refused or now < self.rests_until(file.name) for file in files)

    def rests_until(self, name: str) -> float:
        """Return when a file may be uploaded again."""
        return self.troubles[name].until if name in self.troubles else -inf

    def next_at(self, now: float) -> float | None:
        """Return when the next file may be uploaded again, None if none rests."""
        return min((trouble.until for trouble in self.troubles.values() if trouble.until > now), default=None)

    def trouble(self) -> UploadTrouble | None:
        """Return what has failed most often in a row, None if nothing failed more than twice."""
        worst = max(self.troubles.values(), key=lambda trouble: trouble.failures, default=None)
        return worst if worst and worst.failures >= _TOLD_FROM else None

    def refusal(self, files: Iterable[InputFile]) -> str:
        """Return why one of these files never gets there, or ""."""
        return next((self.refused[file.name] for file in files if file.name in self.refused), "")

    def is_hopeless(self, name: str, now: float, *, denied: bool) -> bool:
        """Whether one more failed upload is the file's own failure, and not the server's.

        It is, after many in ten minutes, if another file got there since the first one; or if it was `denied` by
        something before the server, and no other file fails there.
        """
        trouble = self.troubles.get(name)
        if trouble is None or trouble.failures + 1 < _HOPELESS_TRIES or now - trouble.since < _HOPELESS_FOR:
            return False
        return self.uploaded_at > trouble.since or (denied and len(self.troubles) == 1)

    # -- what follows

    def stored_as(self, note: InputStored) -> ServerInputs:
        """Take in that a file is there."""
        before, known = self.stored.get(note.file), StoredInput(note.name, note.etag, note.now)
        only_seen = before is not None and (before.name, before.etag) == (note.name, note.etag)
        return replace(
            self,
            uploaded_at=self.uploaded_at if only_seen else note.now,
            stored={**self.stored, note.file: known},
            troubles={name: trouble for name, trouble in self.troubles.items() if name != note.file},
        )

    def failed(self, server: str, note: UploadFailed) -> ServerInputs:
        """Take in that an upload failed: it rests, doubling to a minute, or for as long as the server asked."""
        before = self.troubles.get(note.file, UploadTrouble(0, note.now, note.now))
        failures = before.failures + 1
        pause = backoff(f"{server}/{note.file}", failures, _RETRY, _RETRY_CAP)
        until = note.now + max(pause, note.failure.retry_after or 0.0)
        return replace(
            self,
            troubles={**self.troubles, note.file: UploadTrouble(failures, before.since, until, note.failure.message)},
        )

    def refused_for(self, name: str, message: str) -> ServerInputs:
        """Take in that a file never gets there."""
        return replace(self, refused={**self.refused, name: message})

    def lost(self, names: Iterable[str] | None = None) -> ServerInputs:
        """Take in that these files, or all, may be gone or others."""
        gone = self.stored.keys() if names is None else set(names)
        return replace(self, stored={name: known for name, known in self.stored.items() if name not in gone})

    def doubted(self) -> ServerInputs:
        """Have every file looked for before the next prompt: the server was away."""
        return replace(self, stored={name: replace(known, seen_at=-inf) for name, known in self.stored.items()})
