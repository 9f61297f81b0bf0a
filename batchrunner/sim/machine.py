"""What a prompt is executed on: the GPU's pace, the folders, the cache, and how it can fail."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from batchrunner.sim.files import Folders
    from batchrunner.sim.graph import NodeCache
    from batchrunner.sim.media import Renderer
    from batchrunner.sim.nodes import Catalogue
    from batchrunner.sim.prompts import Prompt
    from batchrunner.sim.record import Record, Sockets

# -- How a prompt can end other than well. None of these leaves the simulator: each becomes an answer or an entry.


class NodeFailure(Exception):  # noqa: N818 - it is an ending of a prompt, no error of the program
    """A node raised: the prompt ends in execution_error with this type and message."""

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        self.message = message
        super().__init__(f"{kind}: {message}")

    @classmethod
    def out_of_memory(cls) -> NodeFailure:
        """Return what a GPU says that has no room: the server goes on (PROTOCOL.md §5)."""
        said = (
            "CUDA out of memory. Tried to allocate 12.50 GiB (simulated)\n\nTIPS: a smaller batch_size or size may fit."
        )
        return cls("torch.OutOfMemoryError", said)


class InterruptedPromptError(Exception):
    """Somebody posted /interrupt: the prompt ends in execution_interrupted."""


class WedgedError(Exception):
    """A request killed the thread that executes prompts (PROTOCOL.md §1, 9); the text says how."""


class TroubleError(Exception):
    """Something raised where ComfyUI raises: 500, text/plain."""


@contextmanager
def system_failures() -> Iterator[None]:
    """Turn what the system says about a name or a disk into the failure of a node."""
    try:
        yield
    except ValueError:
        raise NodeFailure("ValueError", "Could not determine output format\n") from None
    except OSError as error:
        raise NodeFailure("OSError", f"[Errno {error.errno}] {error.strerror}\n") from None


# -- How long things take on the simulated GPU. All times are seconds.


REFERENCE = 768 * 512 * 25
"""The volume (width x height x frames x batch) at which `Pace.step` is measured."""
REFERENCE_STEPS = 20


@dataclass(frozen=True, slots=True)
class Pace:
    """What each kind of node costs, in seconds. The default is a demonstration: 1.5 s for 768x512x25 in 20 steps."""

    step: float = 1.5 / REFERENCE_STEPS
    """One sampler step at the reference volume."""
    exponent: float = 1.0
    """How a step grows with the volume: 1 is in proportion."""
    fixed: float = 0.0
    """What a sampler costs before its first step."""
    load: float = 0.0
    """A model loader."""
    encode: float = 0.0
    """A text encoder, per text."""
    decode: float = 0.0
    """A VAE decoder."""
    save: float = 0.1
    """Writing a file: for so long its first 48 bytes are all there is of it (PROTOCOL.md §1, 7)."""
    lag: float = 0.002
    """How long after `execution_success` the history entry appears (PROTOCOL.md §1, 17)."""
    noise: float = 0.1
    """Spread between samplers: up to so much longer or shorter, as a share. A property of the inputs, not of luck."""
    longest: float | None = 20.0
    """No sampler takes longer than this; None where there is no such mercy."""
    speed: float = 1.0
    """A GPU twice as fast has 2."""

    @classmethod
    def night(cls, speed: float = 1.0) -> Pace:
        """Return the pace of the deployed server: 5 minutes for 768x512 in 20 steps to 17 for 1920x1088 in 40.

        A minute to begin with and 12 s a step at 768x512x121 fit the figures of its document within a minute.
        """
        per_step = 12.0 * (25 / 121) ** 0.42
        return cls(
            step=per_step,
            exponent=0.42,
            fixed=60.0,
            load=5.0,
            encode=1.0,
            decode=8.0,
            save=4.0,
            longest=None,
            speed=speed,
        )

    @classmethod
    def instant(cls) -> Pace:
        """Return a pace at which nothing takes any time."""
        return cls(step=0.0, save=0.0, lag=0.0)

    def sampling(self, volume: int, steps: int, salt: str) -> float:
        """Return how long a sampler runs over `volume` in `steps`; equal `salt`, equal time."""
        wobble = 1.0 + self.noise * (crc32(salt.encode()) / 2**31 - 1.0)
        seconds = self.fixed + steps * self.step * math.pow(volume / REFERENCE, self.exponent) * wobble
        if self.longest is not None:
            seconds = min(seconds, self.longest)
        return seconds / self.speed

    def fixed_cost(self, kind: str) -> float:
        """Return how long a node of this kind (`load`, `encode`, `decode` or `save`) runs; any other takes no time."""
        costs = {"load": self.load, "encode": self.encode, "decode": self.decode, "save": self.save}
        return costs.get(kind, 0.0) / self.speed


# -- What a prompt is executed on: the folders, the cache, the GPU's pace, and the switches that others may press.


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
