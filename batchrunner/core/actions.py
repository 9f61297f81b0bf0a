"""Actions: what should be started now. One action is one attempt and ends in at most one final fact."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchrunner.core.facts import File, Opened
    from batchrunner.core.job import InputFile


@dataclass(frozen=True, slots=True)
class Poll:
    """Read one server's queue, then the history of `ids`, then (if `recent`) its last entries.

    With `ends` it is enough to ask for `ids` themselves, one after the other as they run, until so many have ended or
    one has not: behind that one nothing has ended either. Where the server can't be asked so, the poll is as usual.
    By `/api/jobs/{id}`, or with `history` by `/history/{id}`, which knows only what has ended.
    """

    server: str
    ids: tuple[str, ...] = ()
    recent: int = 0
    ends: int = 0
    history: bool = False


@dataclass(frozen=True, slots=True)
class Submit:
    """POST one attempt."""

    job: str
    attempt: int
    prompt: str
    prefix: str
    server: str
    again: bool = False
    """Same id, same body as before: its claim is written already. Only the names in `inputs` may be others."""
    inputs: tuple[tuple[str, str], ...] = ()
    """Every input file of the job: (`InputFile.name`, the name under which the server has it)."""


@dataclass(frozen=True, slots=True)
class Upload:
    """Bring one input file to a server, or see that it still has what this run brought there."""

    server: str
    file: InputFile
    stored: str = ""
    """The name under which the server stored it for this run; empty if it did not, or may have lost it."""
    etag: str = ""
    """Of what lay there then; empty if the server gave none."""


@dataclass(frozen=True, slots=True)
class Download:
    """Download one file, or prove that it can't be."""

    job: str
    attempt: int
    prefix: str
    server: str
    file: File
    opened: Opened | None = None
    """Where an earlier attempt got to."""
    probe: bool = False
    """The name is a guess: only a whole file that carries our prefix counts."""
    index: int = 0
    """Which of the prompt's files this is, from 0."""
    number: int = 0
    """Which of its node's files it is, from 0."""
    deadline: float | None = None
    """When clean-up may delete it, on the server's clock, seconds since the epoch."""


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Delete pending prompts of ours by id."""

    server: str
    prompts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Stop a running prompt of ours, by id."""

    server: str
    prompt: str


@dataclass(frozen=True, slots=True)
class Listen:
    """Open a server's websocket and listen for hints, until it closes."""

    server: str


Action: TypeAlias = Poll | Submit | Upload | Download | Withdraw | Interrupt | Listen


# -- What the shell brings back: polls of a server, answers to a POST, ends of a download.
#
# These are observations, not judgements: what follows from them is decided in `poll_results`, `post_results`,
# `upload_results` and `download_results`.


class Cause(StrEnum):
    """What kind of failure ended an exchange."""

    UNAVAILABLE = "unavailable"
    """Refused, DNS, time-out, 5xx, 429, 3xx, HTML, or an answer of the wrong shape: wait and ask again."""
    UNAUTHORIZED = "unauthorized"
    """401 or 403."""
    LOCAL = "local"
    """This machine: no space, no file handles, a failing disk."""


@dataclass(frozen=True, slots=True)
class Failure:
    """An exchange that told us nothing about the job."""

    cause: Cause
    message: str
    """One line for a person; holds no secret."""
    sent: bool = True
    """False if not a byte of the request can have left."""
    retry_after: float | None = None
    """Seconds the server asked us to wait, 0 to 600; None if it did not."""
    not_found: bool = False
    """404: there is nothing at this address."""
    page: bool = False
    """What answered was no ComfyUI but something before it: an HTML page, whatever its status."""
    needs_person: bool = False
    """Waiting does not help: a name that does not resolve, or a certificate that is not trusted."""
    status: int | None = None
    """The HTTP status of the answer; None if no answer came, or one of the wrong shape."""
    timed_out: bool = False
    """The server took the connection and did not answer in time."""
    handles: bool = False
    """With `LOCAL`: this machine has no file handles or sockets left, which says nothing about its disk."""


class Ended(Enum):
    """How a prompt ended, by the last message of its history entry (docs/comfyui.md §6)."""

    SUCCESS = "execution_success"
    ERROR = "execution_error"
    INTERRUPTED = "execution_interrupted"


@dataclass(frozen=True, slots=True)
class Row:
    """One entry of a server's queue, ours or not."""

    prompt: str
    number: float
    running: bool
    prefixes: tuple[str, ...] = ()
    """Every `filename_prefix` in its workflow."""
    digest: str = ""
    """What its workflow renders (`job.render_digest`); empty if no prefix of it can be one of ours."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a server's history."""

    prompt: str
    ended: Ended
    files: tuple[File, ...] = ()
    """Output files of type `output`, whatever key the node lists them under, as listed."""
    prefixes: tuple[str, ...] = ()
    node: str = ""
    """What raised, as `class #id`."""
    exception: str = ""
    """The exception's type, `torch.OutOfMemoryError` for one."""
    message: str = ""
    """The exception's message, capped."""
    began: float | None = None
    """Server's clock, seconds since the epoch."""
    finished: float | None = None
    from_cache: bool = False
    """Everything but the saving nodes came out of the server's cache: how long it took says nothing."""
    digest: str = ""
    """As in `Row`."""


@dataclass(frozen=True, slots=True)
class PollResult:
    """One whole poll of one server: the queue was read before the history, else a finish slips between.

    docs/comfyui.md §7: the other order called 134 of 300 jobs lost.
    """

    queue: tuple[Row, ...]
    history: Mapping[str, Entry | None]
    """For ids asked for that the queue does not show: the entry, or None where the server answered `{}`.

    An id whose entry could not be read is not in it: nothing is known of that prompt.
    """
    recent: tuple[Entry, ...] = ()
    """The last entries of the history, of anyone, where they were asked for and the server has such a list."""
    date: float | None = None
    """The server's clock (`Date`), seconds since the epoch."""
    unread: Failure | None = None
    """The first failure to read the history, though the queue was read well."""
    own: bool = False
    """Only prompts of ours were asked for: an id in neither `queue` nor `history` was not, and nobody else's is."""
    by_jobs: bool = False
    """The jobs API told of them."""
    jobs: Failure | None = None
    """Why our prompts could not be asked for one by one, if that was tried; the rest was read as usual."""


@dataclass(frozen=True, slots=True)
class NodeError:
    """What a server says of one node of a refused workflow."""

    node: str
    """As `class #id`."""
    input: str
    message: str
    outputs: tuple[str, ...] = ()
    """Ids of the output nodes that can't run because of it."""


@dataclass(frozen=True, slots=True)
class Taken:
    """200: the server queued it."""

    prompt: str
    number: float
    node_errors: tuple[NodeError, ...] = ()
    """Not empty if some of the outputs were left out."""


@dataclass(frozen=True, slots=True)
class Refused:
    """400, 413 or 422: this workflow can't run there."""

    message: str
    """Node, input and message for a person."""
    node_errors: tuple[NodeError, ...] = ()


@dataclass(frozen=True, slots=True)
class Uploaded:
    """The server has the file, whole."""

    name: str
    """What a workflow calls it: `x.png`, `x (1).png` where the name was taken, `sub/x.png`."""
    etag: str = ""


@dataclass(frozen=True, slots=True)
class NotUploaded:
    """413: the server, or a proxy before it, takes no file of this size."""

    message: str
    """Who it was, and what to change there."""


@dataclass(frozen=True, slots=True)
class Downloaded:
    """The file is saved."""

    path: str
    """Relative to the batch folder."""
    size: int
    sha256: str
    warning: str = ""
    """As in `Saved`."""


@dataclass(frozen=True, slots=True)
class NotFound:
    """404 on the file, and our own disk does not have it either."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """Every byte came, and it is not what it should be; or the server will never hand it out (400)."""

    message: str
    etag: str = ""
    foreign: bool = False
    """It carries a workflow, and our prefix is not in it; or, under a guessed name, one that renders something else."""
    never: bool = False
    """400 on /view: asking again is pointless (docs/comfyui.md §14)."""


@dataclass(frozen=True, slots=True)
class LocalFile:
    """A file of this batch found on our own disk."""

    prefix: str
    path: str
    size: int
    sha256: str
    digest: str = ""
    """What the workflow in it renders; empty where it carries none that we could read whole."""


PollEnd: TypeAlias = PollResult | Failure
PostEnd: TypeAlias = Taken | Refused | Failure
UploadEnd: TypeAlias = Uploaded | NotUploaded | Failure
DownloadEnd: TypeAlias = Downloaded | NotFound | Rejected | Failure
