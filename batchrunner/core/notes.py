"""Notes: what the result of an action says of a server, of an open prompt, or of this machine.

Servers are treated as jobs are. Interpreting a result changes nothing: it returns an `Outcome`, and only the engine
applies it. Facts change jobs and are kept in the ledger; notes change what this run thinks of a server or of a prompt
that is under way, and are gone when it ends. Notes are applied first, in their order, then the facts.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, auto
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from batchrunner.core.actions import Failure, PollResult
    from batchrunner.core.facts import Fact
    from batchrunner.core.health import BurnedLoss
    from batchrunner.core.tracking import Tracked


@dataclass(frozen=True, slots=True)
class Moment:
    """When an action began and ended."""

    began: float
    """Loop's clock, seconds."""
    now: float
    """Loop's clock, seconds."""
    at: float
    """Wall clock at `now`, seconds since the epoch: for facts."""


class Leaving(Enum):
    """How far we have got in taking our pending prompts off a server."""

    NO = auto()
    ASKING = auto()
    """One more poll is due: what is rendered, what is still pending?"""
    TAKING = auto()
    """The pending ones are being deleted."""
    CONFIRMING = auto()
    """Another poll: the deleted are gone, and one may have started just before."""
    GONE = auto()


class Resource(Enum):
    """What of this machine can fail."""

    DISK = auto()
    SOCKETS = auto()
    INPUTS = auto()
    """The batch folder's copies of input files."""


# -- a server


@dataclass(frozen=True, slots=True)
class Polled:
    """A poll that began at `began` was good; `ours` are the prompts in its queue that belong to this batch."""

    server: str
    result: PollResult
    ours: frozenset[str]
    began: float
    now: float
    hung: bool = False
    """A prompt of ours runs on though it was interrupted."""
    asked: tuple[str, ...] = ()
    """Where only prompts of ours were asked for: all of them there, in the order in which they run."""


@dataclass(frozen=True, slots=True)
class Surveyed:
    """A good poll read the queue and the last history entries: what the server holds of this batch is known."""

    server: str


@dataclass(frozen=True, slots=True)
class PollFailed:
    """The server is unavailable; `holding` while prompts or files of ours are there."""

    server: str
    failure: Failure
    now: float
    holding: bool


@dataclass(frozen=True, slots=True)
class PollRefused:
    """401 or 403 on a poll; `holding` as above."""

    server: str
    failure: Failure
    now: float
    holding: bool


@dataclass(frozen=True, slots=True)
class PostTaken:
    """A POST that began at `began` was queued with this number."""

    server: str
    number: float
    began: float
    now: float


@dataclass(frozen=True, slots=True)
class PostRefused:
    """401 or 403 on a POST."""

    server: str
    failure: Failure
    now: float


@dataclass(frozen=True, slots=True)
class PostsWait:
    """The server wants no POST before `until` (429)."""

    server: str
    until: float


@dataclass(frozen=True, slots=True)
class TransferFailed:
    """A POST or a download failed, or an upload."""

    server: str
    now: float
    upload: bool = False


@dataclass(frozen=True, slots=True)
class TransferWorked:
    """A POST or a download got through after all."""

    server: str


@dataclass(frozen=True, slots=True)
class InputStored:
    """The server has an input file, whole."""

    server: str
    file: str
    """`InputFile.name`."""
    name: str
    """What a workflow calls it there."""
    etag: str
    now: float


@dataclass(frozen=True, slots=True)
class InputsLost:
    """The server may have lost these input files, whatever it says of them: they are to be uploaded again."""

    server: str
    files: frozenset[str]


@dataclass(frozen=True, slots=True)
class UploadFailed:
    """An upload failed; it is tried again after a pause."""

    server: str
    file: str
    failure: Failure
    now: float


@dataclass(frozen=True, slots=True)
class UploadRefused:
    """This server never gets this file."""

    server: str
    file: str
    message: str


@dataclass(frozen=True, slots=True)
class Finished:
    """The history says that this prompt of ours was rendered."""

    server: str
    prompt: str


@dataclass(frozen=True, slots=True)
class JobWell:
    """A file that this server rendered is saved."""

    server: str


@dataclass(frozen=True, slots=True)
class JobBurned:
    """An attempt was rendered here in vain."""

    server: str
    loss: BurnedLoss
    now: float


@dataclass(frozen=True, slots=True)
class GivenUp:
    """What it holds is rendered elsewhere; if it comes back, it is surveyed again."""

    server: str
    now: float


@dataclass(frozen=True, slots=True)
class Remove:
    """Pending prompts of ours that are to be deleted by id, once."""

    server: str
    prompts: frozenset[str]


@dataclass(frozen=True, slots=True)
class Removed:
    """The server was told to delete them."""

    server: str
    prompts: frozenset[str]


@dataclass(frozen=True, slots=True)
class MustNotRender:
    """Prompts of ours that must not be rendered: deleted while they wait, interrupted by id if they run."""

    server: str
    prompts: frozenset[str]


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The server was told to interrupt this prompt of ours."""

    server: str
    prompt: str


@dataclass(frozen=True, slots=True)
class Leave:
    """The next step of leaving a server is reached."""

    server: str
    stage: Leaving


@dataclass(frozen=True, slots=True)
class PollAt:
    """The next poll is due then."""

    server: str
    at: float


@dataclass(frozen=True, slots=True)
class PollLater:
    """The next poll is due when there is something to learn (`polling.next_poll`)."""

    server: str
    now: float


@dataclass(frozen=True, slots=True)
class StatusHeard:
    """A `status` came over the server's socket."""

    server: str
    now: float
    greeting: bool
    """It is the first of its connection, which every connection gets."""
    dropped: int
    """How many prompts fewer remain than before: so many have ended, or were deleted."""


@dataclass(frozen=True, slots=True)
class SocketClosed:
    """The server's socket, which was begun to be opened at `began`, has closed or was never open."""

    server: str
    began: float
    now: float


ServerNote: TypeAlias = (
    Polled
    | Surveyed
    | PollFailed
    | PollRefused
    | PostTaken
    | PostRefused
    | TransferFailed
    | TransferWorked
    | PostsWait
    | InputStored
    | InputsLost
    | UploadFailed
    | UploadRefused
    | Finished
    | JobWell
    | JobBurned
    | GivenUp
    | Remove
    | Removed
    | MustNotRender
    | Interrupted
    | Leave
    | PollAt
    | StatusHeard
    | SocketClosed
)

# -- a job


@dataclass(frozen=True, slots=True)
class Track:
    """What is known of an open prompt now."""

    job: str
    record: Tracked


@dataclass(frozen=True, slots=True)
class AttemptSeen:
    """An attempt of this number was seen somewhere: the next one must be higher."""

    job: str
    attempt: int


@dataclass(frozen=True, slots=True)
class PostAnswered:
    """A server took a POST of this run, or refused its workflow for this reason."""

    refusal: str
    """Empty if it was taken."""


# -- this machine


@dataclass(frozen=True, slots=True)
class LocalFailed:
    """Something of this machine failed."""

    resource: Resource
    message: str
    now: float


@dataclass(frozen=True, slots=True)
class LocalWorked:
    """Something of this machine works."""

    resource: Resource


Note: TypeAlias = ServerNote | PollLater | Track | AttemptSeen | PostAnswered | LocalFailed | LocalWorked


@dataclass(frozen=True, slots=True)
class Outcome:
    """What follows from the result of one action."""

    facts: tuple[Fact, ...] = ()
    notes: tuple[Note, ...] = ()
