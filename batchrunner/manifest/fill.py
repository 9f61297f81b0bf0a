"""`${name}`: a job's texts filled in from its own values, in one pass, and seeds that depend on another value.

One pass: what is put in is not read again, so a value with `${` in it arrives as it is. A lone `$` or `{` means itself.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING

from batchrunner.manifest.seeds import derive
from batchrunner.manifest.vocabulary import Derived, Fill
from batchrunner.workflow.values import LONGEST_TEXT, shown
from batchrunner.workflow.words import did_you_mean, listing, quote, shorten

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchrunner.core.job import Scalar
    from batchrunner.manifest.complaints import Complaints
    from batchrunner.manifest.vocabulary import Point

MOST_NAMES = 30
"""`${…}` in one text."""
MOST_CHARACTERS = 20_000_000
"""In all filled texts of a batch."""
_NAMES = re.compile(r"\$\{([^{}\n]*)\}")


@lru_cache(maxsize=1024)
def names_in(text: str) -> tuple[str, ...]:
    """Return the names that `text` wants filled in."""
    return tuple(_NAMES.findall(text))


class Filler:
    """Turns a job's written values into its final ones."""

    def __init__(self, complaints: Complaints) -> None:
        self._complaints = complaints
        self._kept: dict[tuple[str, ...], str] = {}
        self._seeds: dict[tuple[int, int, str], int] = {}
        self._left = MOST_CHARACTERS

    def fill(self, values: Point) -> dict[str, Scalar] | None:
        """Return the final values of one job, or None after complaining.

        Texts first, then the seeds derived from them, then the texts that name such a seed.
        """
        final: dict[str, Scalar] = {}
        fills: dict[str, Fill] = {}
        seeds: dict[str, Derived] = {}
        for name, value in values.items():
            if isinstance(value, Fill):
                fills[name], final[name] = value, None
            elif isinstance(value, Derived):
                seeds[name], final[name] = value, None
            else:
                final[name] = value
        return self._late(fills, seeds, final) if fills or seeds else final

    def _late(
        self, fills: dict[str, Fill], seeds: dict[str, Derived], final: dict[str, Scalar]
    ) -> dict[str, Scalar] | None:
        raw = {name: fill.text for name, fill in fills.items()}
        later = [name for name, fill in fills.items() if not seeds.keys().isdisjoint(names_in(fill.text))]
        for name, fill in fills.items():
            if name not in later:
                final[name] = self._text(fill, raw, final)
        for name, seed in seeds.items():
            final[name] = self._seed(seed, {*later, *seeds}, final)
        if any(final[name] is None for name in seeds):
            return None
        for name in later:
            final[name] = self._text(fills[name], raw, final)
        return None if any(final[name] is None for name in fills) else final

    def _text(self, fill: Fill, raw: Mapping[str, str], final: Mapping[str, Scalar]) -> str | None:
        names = names_in(fill.text)
        if len(names) > MOST_NAMES:
            self._complaints.add(fill.spot, fill.path, f"names more than {MOST_NAMES} values to fill in")
            return None
        unknown = [name for name in names if name not in final]
        for name in unknown:
            near = did_you_mean(name, final) or f"; there is {listing(final)}"
            self._complaints.add(fill.spot, fill.path, f"${{{shorten(name)}}} is not set here{near}")
        if unknown:
            return None
        words = tuple([raw[name] if name in raw else shown(final[name]) for name in names])
        return self._join(fill, (fill.text, *words))

    def _join(self, fill: Fill, key: tuple[str, ...]) -> str | None:
        if key not in self._kept:
            length = sum(map(len, key))
            self._left -= length
            if length > LONGEST_TEXT:
                self._complaints.add(fill.spot, fill.path, f"is longer than {LONGEST_TEXT:,} characters when filled in")
                return None
            if self._left < 0:
                text = f"all filled texts together are longer than {MOST_CHARACTERS:,} characters"
                self._complaints.add(fill.spot, fill.path, text)
                return None
            words = iter(key[1:])
            self._kept[key] = _NAMES.sub(lambda _: next(words), fill.text)
        return self._kept[key]

    def _seed(self, seed: Derived, late: set[str], final: Mapping[str, Scalar]) -> int | None:
        if seed.per not in final:
            self._complaints.add(seed.spot, seed.path, f"{quote(seed.per)} is not set here")
            return None
        if seed.per in late:
            self._complaints.add(seed.spot, seed.path, f"{quote(seed.per)} itself depends on a derived seed")
            return None
        key = seed.base, seed.index, shown(final[seed.per])
        if key not in self._seeds:
            self._seeds[key] = derive(*key)
        return self._seeds[key]
