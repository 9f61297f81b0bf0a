"""Facts: what the world told us about one attempt of one job. The ledger holds these and nothing else.

A fact is keyed by (job, attempt), never by prompt id alone: an old server chooses ids of its own. `at` is the wall
clock in seconds since the epoch; it is for the story only, no decision reads it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias


class Why(StrEnum):
    """The proof that an attempt is over without its video."""

    REFUSED = "refused"
    """The server answered 400: this workflow can't run there."""
    ERROR = "error"
    """A node raised; the server is fine."""
    INTERRUPTED = "interrupted"
    """Somebody else stopped it."""
    FORGOTTEN = "forgotten"
    """In neither queue nor history, three times over: a restart, or a cleared queue."""
    EXPIRED = "expired"
    """404: clean-up was faster."""
    WRONG_CONTENT = "wrong content"
    """The file carries another attempt's workflow, or the success names no file of ours."""
    UNUSABLE = "unusable"
    """The file can't be fetched at all, or is whole and still not what it claims to be."""
    WITHDRAWN = "withdrawn"
    """We took it back ourselves."""
    DENIED = "denied"
    """Something before the server refuses this prompt, a firewall for one, while it lets others pass."""
    STUCK = "stuck"
    """It ran far longer than it should and was interrupted by us."""
    INPUT_LOST = "input lost"
    """The server had lost a file that the workflow reads: it is uploaded again."""
    INPUT_REFUSED = "input refused"
    """No server takes a file that the workflow reads."""
    SERVER_GONE = "server gone"
    """Its server was given up: it is rendered elsewhere."""


@dataclass(frozen=True, slots=True)
class File:
    """An output as the server names it. All three are opaque request parameters, never local paths."""

    name: str
    subfolder: str = ""
    kind: str = "output"
    node: str = field(default="", compare=False)
    """The id of the node that saved it; empty where the name was guessed."""

    @property
    def key(self) -> str:
        """Name within one prompt."""
        return f"{self.subfolder}/{self.name}" if self.subfolder else self.name


@dataclass(frozen=True, slots=True)
class Claimed:
    """Written before the first byte of a POST leaves: from here on the server may have it."""

    job: str
    attempt: int
    at: float
    prompt: str
    prefix: str
    server: str
    body: str
    """sha256 (hex) of the POST body."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The server has it: on the 200, or because a poll found it, also for a job that still waits here (adoption)."""

    job: str
    attempt: int
    at: float
    prompt: str
    """The server's id, which an old server may have chosen itself."""
    prefix: str
    server: str
    highest: int = 0
    """The highest attempt number of this job seen anywhere; the next attempt is one more."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """The history says success."""

    job: str
    attempt: int
    at: float
    files: tuple[File, ...]
    deadline: float | None
    """When clean-up may delete the files: seconds since the epoch on the server's clock; None where it keeps them."""
    seconds: float | None = None
    """How long the server rendered, by its own clock; None if it does not say."""
    differs: bool = False
    """The server shows another workflow than the one we sent: some nodes rewrite it there."""
    left_out: int = 0
    """Files beyond the first 1,000, which stay on the server."""


@dataclass(frozen=True, slots=True)
class Opened:
    """The headers of a download are in; no byte is written yet."""

    job: str
    attempt: int
    at: float
    file: str
    """`File.key`."""
    etag: str
    size: int
    """Bytes; -1 if the server does not say."""
    part: str
    """Path of the unfinished file, relative to the batch folder."""
    boot: str
    """Boot id of this machine: after a power cut a `.part` can hold zeros."""


@dataclass(frozen=True, slots=True)
class Saved:
    """The file is saved: verified, under its final name, durable."""

    job: str
    attempt: int
    at: float
    file: str
    path: str
    """Relative to the batch folder."""
    size: int
    sha256: str
    warning: str = ""
    """How it is not what was asked for (`video.differences`); empty if nothing is known to be wrong."""


@dataclass(frozen=True, slots=True)
class DownloadFailed:
    """A download attempt ended without the file; another may follow."""

    job: str
    attempt: int
    at: float
    file: str
    message: str
    whole: str = ""
    """The ETag if every byte came and it was no video all the same; else empty."""


@dataclass(frozen=True, slots=True)
class Lost:
    """This attempt will bring no video, with the evidence."""

    job: str
    attempt: int
    at: float
    why: Why
    message: str
    """The evidence in the server's own words, escaped when shown."""
    burns: bool = True
    """Counts against `attempts`."""
    final: bool = False
    """No further attempt can help."""
    error: str = ""
    """What raised: `node: exception`. The same twice is final; an out of memory has none, it may pass."""


@dataclass(frozen=True, slots=True)
class Reopened:
    """A person wants a settled job rendered again, or a dropped one back."""

    job: str
    attempt: int
    at: float


@dataclass(frozen=True, slots=True)
class Dropped:
    """A person no longer wants this job."""

    job: str
    attempt: int
    at: float
    message: str


CANCELLED = "cancelled"
"""The message of a job that `cancel` took out of its batch; the next run takes it up again."""

Fact: TypeAlias = Claimed | Accepted | Rendered | Opened | Saved | DownloadFailed | Lost | Reopened | Dropped


def fact_name(kind: type) -> str:
    """Return what a kind of fact is called in the state file and in events: `download_failed`."""
    return re.sub(r"(?<!^)(?=[A-Z])", "_", kind.__name__).lower()
