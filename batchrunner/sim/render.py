"""What a renderer is: it turns a shot into the bytes of a file."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchrunner.core.identity import Json
    from batchrunner.sim.graph import Shot


@dataclass(frozen=True, slots=True)
class Order:
    """One file to make."""

    form: str
    """`mp4`, `webm`, `webp`, `png`, `flac`, or another extension."""
    shot: Shot
    metadata: Mapping[str, Json] = field(default_factory=dict)
    """What the file says about itself: `prompt` is the workflow as it was queued (PROTOCOL.md §4)."""
    frame: int = 0
    """Which frame, for a picture."""


class Renderer(Protocol):
    """Makes files. Called in a thread; must not wait for anything."""

    def render(self, order: Order) -> bytes:
        """Return the whole file."""
        ...
