"""The simulated GPU box: how long nodes take, how prompts fail, and the parts that executing uses."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, TypeAlias
from zlib import crc32

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from batchrunner.core.job import Json
    from batchrunner.sim.files import Folders
    from batchrunner.sim.graph import NodeCache
    from batchrunner.sim.media import Renderer
    from batchrunner.sim.nodes import Catalogue
    from batchrunner.sim.prompts import SimPrompt
    from batchrunner.sim.record import Record
    from batchrunner.sim.sockets import Sockets

Fault: TypeAlias = "Callable[[SimPrompt, str], NodeFailure | None]"
"""Called before each node that runs, with the prompt and the node's id: return a failure to make it fail."""
Hold: TypeAlias = "Callable[[SimPrompt, str], Awaitable[None]]"
"""Awaited before each node that runs, with the prompt and the node's id: the node hangs until it returns."""
REFERENCE = 768 * 512 * 25
"""The volume (width x height x frames x batch) at which `Pace.step` is measured."""
REFERENCE_STEPS = 20


class NodeFailure(Exception):  # noqa: N818 - it is how a prompt ends, no error of the program
    """A node raised: the prompt ends in execution_error with this type and message."""

    def __init__(self, kind: str, message: str) -> None:
        self.kind = kind
        self.message = message
        super().__init__(f"{kind}: {message}")

    @classmethod
    def out_of_memory(cls) -> NodeFailure:
        """Return the failure of a GPU without enough memory; the server continues (docs/comfyui.md §18)."""
        message = "CUDA out of memory. Tried to allocate 12.50 GiB (simulated)\n\n"
        message += "TIPS: a smaller batch_size or size may fit."
        return cls("torch.OutOfMemoryError", message)


class InterruptedPromptError(Exception):
    """/interrupt was posted: the prompt ends in execution_interrupted."""


class WedgedError(Exception):
    """A request ended the thread that executes prompts (docs/comfyui.md §4); the text says why."""


class InternalServerError(Exception):
    """ComfyUI raises here, and answers 500 in plain text."""


@contextmanager
def system_failures() -> Iterator[None]:
    """Turn errors of the file system into failures of a node."""
    try:
        yield
    except ValueError:
        raise NodeFailure("ValueError", "Could not determine output format\n") from None
    except OSError as error:
        raise NodeFailure("OSError", f"[Errno {error.errno}] {error.strerror}\n") from None


@dataclass(frozen=True, slots=True)
class Pace:
    """How long each kind of node runs, in seconds. The default suits demonstrations: 1.5 s for 768x512x25, 20 steps."""

    step: float = 1.5 / REFERENCE_STEPS
    """One sampler step at the reference volume."""
    exponent: float = 1.0
    """A step's time grows with this power of the volume."""
    fixed: float = 0.0
    """A sampler before its first step."""
    load: float = 0.0
    """A model loader."""
    encode: float = 0.0
    """A text encoder, per text."""
    decode: float = 0.0
    """A VAE decoder."""
    save: float = 0.1
    """Writing a file, during which only its first 48 bytes exist (docs/comfyui.md §13)."""
    lag: float = 0.002
    """From `execution_success` until the history entry appears (docs/comfyui.md §6)."""
    noise: float = 0.1
    """The share by which a sampler is at most slower or faster than the rule; decided by its inputs, not by chance."""
    longest: float | None = 20.0
    """The longest a sampler takes; None for no limit."""
    speed: float = 1.0
    """2 is a GPU twice as fast."""

    @classmethod
    def night(cls, speed: float = 1.0) -> Pace:
        """Return the pace of the deployed server: 5 minutes for 768x512 in 20 steps to 17 for 1920x1088 in 40.

        One minute plus 12 s a step at 768x512x121 fits the published times within a minute (docs/comfyui.md §17).
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


_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF", b"BM", b"II*\x00", b"MM\x00*")
"""How picture files begin; RIFF is a WebP, and a WAV too."""
_RECORDINGS = (*_PICTURES, b"fLaC", b"ID3", b"\xff\xfb", b"OggS", b"\x1aE\xdf\xa3")
"""How files begin that can be opened as sound or video; an MP4 has `ftyp` after four bytes."""


@dataclass(slots=True)
class Machine:
    """Everything that executing a prompt uses; `pace`, `renderer`, `fault` and `hold` may be changed at any time."""

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
    strict: bool = True
    """Whether a model must be one of those listed."""
    fault: Fault | None = None
    hold: Hold | None = None
    interrupted: bool = False
    """Set by /interrupt, checked between nodes and sampler steps, cleared when a prompt starts."""
    owners: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Which prompt (id, prefix) wrote a file, by its path below its folder."""

    def state_of(self, value: str, media: str) -> list[Json] | float:
        """Return the `is_changed` of a loader: the file's hash or, for a video, its time; NaN if it is not there."""
        path = self.folders.named(value)
        try:
            return [path.stat().st_mtime] if media == "video" else [sha256(path.read_bytes()).hexdigest()]
        except OSError:
            return math.nan

    def read_media(self, value: str, media: str) -> str:
        """Read a media file as a loader does; return its sha256 (hex).

        Raises NodeFailure if it is missing, a folder or of another kind. To a server that is not strict a missing file
        is one that holds its own name.
        """
        path = self.folders.named(value)
        if not self.strict and not path.exists():
            return sha256(value.encode()).hexdigest()
        told = str(path).replace(str(self.folders.root), "/ComfyUI", 1)  # the same wherever the simulator runs
        try:
            content = path.read_bytes()
        except OSError as error:
            kind = type(error).__name__
            raise NodeFailure(kind, f"[Errno {error.errno}] {error.strerror}: '{told}'\n") from None
        if content.startswith(_PICTURES if media == "image" else _RECORDINGS):
            return sha256(content).hexdigest()
        if media != "image" and content[4:8] == b"ftyp":
            return sha256(content).hexdigest()
        if media == "image":
            raise NodeFailure("PIL.UnidentifiedImageError", f"cannot identify image file '{told}'\n")
        message = f"[Errno 1094995529] Invalid data found when processing input: '{told}'\n"
        raise NodeFailure("av.error.InvalidDataError", message)
