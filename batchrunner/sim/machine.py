"""What a prompt is executed on: the folders, the cache, the GPU's pace, and the switches that others may press."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from batchrunner.sim.cache import NodeCache
    from batchrunner.sim.catalogue import Catalogue
    from batchrunner.sim.failures import NodeFailure
    from batchrunner.sim.files import Folders
    from batchrunner.sim.pace import Pace
    from batchrunner.sim.progress import Sockets
    from batchrunner.sim.prompts import Prompt
    from batchrunner.sim.record import Record
    from batchrunner.sim.render import Renderer

Fault: TypeAlias = "Callable[[Prompt, str], NodeFailure | None]"
"""Asked before each node that runs, with the prompt and the node's id: return a failure to make it fail."""
Hold: TypeAlias = "Callable[[Prompt, str], Awaitable[None]]"
"""Waited for before each node that runs, with the prompt and the node's id: it hangs for as long as this takes."""


@dataclass(slots=True)
class Machine:
    """One GPU box."""

    folders: Folders
    cache: NodeCache
    pace: Pace
    renderer: Renderer
    record: Record
    sockets: Sockets
    catalogue: Catalogue
    wall: Callable[[], float]
    metadata: bool = True
    """Whether files carry their workflow; False is `--disable-metadata`."""
    fault: Fault | None = None
    hold: Hold | None = None
    interrupted: bool = False
    """Set by /interrupt, looked at between nodes and sampler steps, cleared when a prompt starts."""
    owners: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Which prompt (id, prefix) wrote a file, by its path below its folder."""
