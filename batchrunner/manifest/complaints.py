"""Collecting everything that is wrong, so that a person mends a manifest once and not line by line."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from batchrunner.errors import Complaint, ManifestError
from batchrunner.workflow.words import printable, shorten

if TYPE_CHECKING:
    from batchrunner.manifest.tree import Spot

_MOST = 500
"""A manifest with more is broken in another way than its author thinks."""


class Complaints:
    """What is wrong so far."""

    def __init__(self) -> None:
        self._found: dict[Complaint, None] = {}

    def add(self, spot: Spot, path: str, text: str) -> None:
        """Note that `text` is wrong with what stands at `spot` under `path`.

        Raises:
            ManifestError: these are too many to go on.

        """
        where = printable(spot.file), spot.line, spot.column
        self._found[Complaint(*where, shorten(path, 120), text)] = None
        if len(self._found) >= _MOST:
            self._found[Complaint(*where, "", f"{_MOST} complaints; the rest is not read")] = None
            self.fail()

    def settle(self) -> None:
        """Go on only if nothing is wrong.

        Raises:
            ManifestError: something is.

        """
        if self._found:
            self.fail()

    def fail(self) -> NoReturn:
        """Stop here, with everything that was said.

        Raises:
            ManifestError: always.

        """
        raise ManifestError(self._found)
