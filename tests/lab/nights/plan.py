"""What is to happen in one night: to whom, with which batch, and what goes wrong."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.lab.faults import Script

SERVER = "gpu"
"""What the first server is called; the next are `gpu-2`, `gpu-3`."""


@dataclass(frozen=True, slots=True)
class Host:
    """What one server is like."""

    script: Script = ()
    """What happens to it, beside the plan's own script if it is the first."""
    own_ids: bool = False
    """It is old, and chooses prompt ids itself."""
    jobs_api: bool = False
    """It has `GET /api/jobs/{id}`."""
    skew: float = 0.0
    """Seconds by which its clock is wrong."""
    speed: float = 1.0
    """A GPU twice as fast has 2."""
    encode: float = 1.0
    """Seconds that its text encoder takes for a text."""


@dataclass(frozen=True, slots=True)
class Axes:
    """What the jobs of a batch differ in: prompts, sizes, qualities and clips multiply, the rest is seeds."""

    prompts: int = 1
    sizes: tuple[str, ...] = ("sd",)
    qualities: tuple[str, ...] = ("fast",)
    clips: tuple[int, ...] = (1,)
    order: str = "breadth"
    saves: int = 1
    """Save nodes in the workflow: with 2 it is no longer the built-in one, and every job has two files."""

    pictures: int = 0
    """Input files: each job loads one of them."""

    @property
    def kinds(self) -> int:
        """How many jobs share a seed."""
        return self.prompts * len(self.sizes) * len(self.qualities) * len(self.clips) * max(1, self.pictures)


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to happen in one night."""

    seed: int
    jobs: int = 12
    script: Script = ()
    """What happens to the runner, and to the first server."""
    crash: Callable[[str], bool] | None = None
    """Asked at every named point of the runner: shall it die here?"""
    power: bool = False
    """Whether it dies because the power goes."""
    aftermath: Script = ()
    """What happens to the first server right after such a death."""
    again: float = 600.0
    """After how many seconds somebody starts a runner again that died so, or gave up."""
    hosts: tuple[Host, ...] = (Host(),)
    axes: Axes = Axes()
    hint: bool = True
    """Whether the runner opens sockets."""
    strangers: bool = False
    """Under the names of our input files lie others' on every server, as long as ours."""

    def servers(self) -> dict[str, Host]:
        """Return every server by its name, each with all that happens to it."""
        first, *others = self.hosts
        named = {f"{SERVER}-{number}": host for number, host in enumerate(others, 2)}
        return {SERVER: replace(first, script=(*self.script, *first.script)), **named}


def url_of(name: str) -> str:
    """Return the address of a server, as the ledger has it."""
    return f"http://{name}:8188"
