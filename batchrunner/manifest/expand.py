"""Blocks to jobs: the product of their axes, over the defaults, under what the command line sets."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from batchrunner.core.job import Scalar
    from batchrunner.manifest.blocks import Block
    from batchrunner.manifest.fill import Filler
    from batchrunner.manifest.vocabulary import Point


@dataclass(frozen=True, slots=True)
class Draft:
    """A job's values, before it has a name."""

    params: Mapping[str, Scalar]
    first: tuple[int, int]
    """(block, index on its first axis)."""


def expand(blocks: Sequence[Block], below: Point, above: Point, filler: Filler) -> Iterator[Draft]:
    """Yield the jobs of all blocks as listed: the last axis fastest.

    `below` holds the workflow's own values and the defaults; `above` wins always. Jobs whose texts cannot be filled
    in are left out, after complaining.
    """
    for number, block in enumerate(blocks):
        base = dict(below)
        for axis in block.axes:
            if axis.fixed:
                base.update(axis.points()[0])
        axes = [axis.points() for axis in block.axes if not axis.fixed]
        for index, values in _combinations(base, axes, above):
            params = filler.fill(values)
            if params is not None:
                yield Draft(params, (number, index))


def _combinations(base: Point, axes: Sequence[Sequence[Point]], above: Point) -> Iterator[tuple[int, Point]]:
    first: Sequence[Point] = axes[0] if axes else ({},)
    for index, point in enumerate(first):
        for rest in product(*axes[1:]):
            values = {**base, **point}
            for other in rest:
                values.update(other)
            values.update(above)
            yield index, values
