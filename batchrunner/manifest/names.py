"""The names a block may use, and what a value means under each: parameters, presets, shared values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from batchrunner.manifest.diagnostics import join
from batchrunner.text import did_you_mean, listing, quote
from batchrunner.workflow.values import Limit, UnfitError, fit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchrunner.core.job import Scalar
    from batchrunner.manifest.diagnostics import Complaints
    from batchrunner.manifest.yamltree import Leaf, Spot
    from batchrunner.workflow.params import Param

# -- Named sets of values: those that come with ltx2 (API.md, "Generation Quality", "Common Resolutions").


BUILT_IN: Mapping[str, Mapping[str, Mapping[str, Scalar]]] = {
    "quality": {
        "fast": {"steps": 20, "cfg": 4.0},
        "balanced": {"steps": 30, "cfg": 5.0},
        "high": {"steps": 40, "cfg": 6.0},
    },
    "size": {
        "sd": {"width": 768, "height": 512},
        # 1280x720, as people call it, is rendered 704 high (PROTOCOL.md §1, 13).
        "720p": {"width": 1280, "height": 704},
        "1080p": {"width": 1920, "height": 1088},
    },
}
_SIZE = re.compile(r"([0-9]{1,5})x([0-9]{1,5})")


def size_point(text: str) -> dict[str, int] | None:
    """Return what `WxH` sets, or None when it is not that."""
    found = _SIZE.fullmatch(text)
    return {"width": int(found[1]), "height": int(found[2])} if found else None


# -- The names a block may use, and what a written value means under each: parameters, presets, own variables.


RESERVED = frozenset({"zip", "rows", "job"})
MOST_OWN = 64
_OWN = re.compile(r"_[A-Za-z0-9_]{0,63}")


@dataclass(frozen=True, slots=True)
class Fill:
    """A text with `${…}` in it, filled in once the job's other values are known."""

    text: str
    spot: Spot
    path: str


@dataclass(frozen=True, slots=True)
class Derived:
    """A seed that depends on the job's own `per`."""

    base: int
    index: int
    per: str
    spot: Spot
    path: str


Value: TypeAlias = "Scalar | Fill | Derived"
Point: TypeAlias = "Mapping[str, Value]"
"""What one value of an axis sets: one name, or several when it is a preset or a row."""


class Vocabulary:
    """Reads values; says what is wrong with them as it goes."""

    def __init__(self, params: Mapping[str, Param], complaints: Complaints) -> None:
        self.params = params
        self.presets: dict[str, dict[str, Point]] = {}
        self.complaints = complaints
        self.own: set[str] = set()
        """Every own variable met so far."""

    def names(self) -> list[str]:
        """Return every name that could stand in a block."""
        return [*self.params, *self.presets, *sorted(self.own)]

    def knows(self, name: str, spot: Spot, path: str) -> bool:
        """Tell whether `name` may be set, and complain if it may not."""
        if name in self.params or name in self.presets:
            return True
        if _OWN.fullmatch(name):
            if name not in self.own and len(self.own) == MOST_OWN:
                self.complaints.add(spot, path, f"is one more than {MOST_OWN} variables of your own")
            self.own.add(name)
            return True
        return self.refers(name, spot, path)

    def refers(self, name: str, spot: Spot, path: str) -> bool:
        """Tell whether `name` is one that some job may have, and complain if it is not."""
        if name in self.names():
            return True
        near = did_you_mean(name, [*self.names(), "zip", "rows"])
        self.complaints.add(spot, path, f"unknown parameter{near or f'; there is {listing(self.names())}'}")
        return False

    def limit(self, name: str) -> Limit:
        """Return what fits a parameter or an own variable."""
        return self.params[name].limit if name in self.params else Limit("any")

    def point(self, name: str, leaf: Leaf, path: str) -> Point | None:
        """Return what `name: leaf` sets, or None after complaining."""
        if name in self.presets and name not in self.params:
            return self._preset(name, leaf, path)
        try:
            return {name: self.value(name, leaf, path)}
        except UnfitError as error:
            self.complaints.add(leaf.spot, path, str(error))
            return None

    def value(self, name: str, leaf: Leaf, path: str) -> Value:
        """Return the value of a parameter or own variable.

        Raises:
            UnfitError: `leaf` does not fit it.

        """
        limit = self.limit(name)
        # 1984 is as good a prompt as any: a text is what was written.
        written = leaf.text if limit.kind == "text" and leaf.value is not None else leaf.value
        fitted = fit(limit, written)
        return Fill(fitted, leaf.spot, path) if isinstance(fitted, str) and "${" in fitted else fitted

    def _preset(self, group: str, leaf: Leaf, path: str) -> Point | None:
        options = self.presets[group]
        point = options.get(leaf.text)
        if point is None and group == "size" and {"width", "height"} <= self.params.keys():
            point = size_point(leaf.text)
            for name in point or ():
                if not self._fits(name, leaf, join(path, name), point):
                    return None
        if point is None:
            near = did_you_mean(leaf.text, options)
            free = " or WxH" if group == "size" else ""
            self.complaints.add(
                leaf.spot, path, f"must be one of {listing(options)}{free}, not {quote(leaf.text)}{near}"
            )
            return None
        return {group: leaf.text, **point}

    def _fits(self, name: str, leaf: Leaf, path: str, point: Mapping[str, int] | None) -> bool:
        try:
            fit(self.limit(name), (point or {})[name])
        except UnfitError as error:
            self.complaints.add(leaf.spot, path, str(error))
            return False
        return True
