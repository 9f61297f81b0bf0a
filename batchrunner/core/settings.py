"""The knobs of a batch, and the back-off that every failure shares."""

from __future__ import annotations

from dataclasses import dataclass
from zlib import crc32


@dataclass(frozen=True, slots=True)
class Rules:
    """How a batch behaves; all times in seconds. The defaults are those of a real night."""

    attempts: int = 3
    """Renders per job before it fails."""
    depth: int = 2
    """Prompts of ours on one server: one running, one ready."""
    max_depth: int = 16
    """The same where jobs are so short that a server would have nothing to do before the next poll."""
    ttl: float | None = 600.0
    """How long the server keeps a file after it was written; None where it keeps them."""
    patience: float = 8 * 3600.0
    """How long a server that does not answer, or makes no progress, is waited for."""
    settle: float = 70.0
    """How long a POST without an answer may still arrive: longer than any timeout between us and the server."""
    grace: float = 60.0
    """How long a failure that may pass must last before it counts."""
    poll: float | None = None
    """Seconds between polls; None polls as `polling.next_poll` says."""
    hint: bool = True
    """Whether a server's websocket says when to poll."""
    stuck: float | None = 3.0
    """How many times the upper end of its forecast a job may run before it is interrupted; None for ever."""
    downloads: int = 64
    """Files that are downloaded at once, at least; two per server where there are more (`handles`)."""


def backoff(key: str, failures: int, base: float, cap: float) -> float:
    """Return the pause in seconds after `failures` (1 or more) in a row: doubling, capped, with jitter of 12.5 %.

    The jitter is a property of `key`, not of luck: the same batch waits the same on every machine.
    """
    jitter = 0.875 + crc32(f"{key}/{failures}".encode()) / 2**34
    return min(cap, base * 2.0 ** min(failures - 1, 32)) * jitter
