"""A failure of this machine's own: no new prompt while it lasts, exit 5 when it lasts too long."""

from __future__ import annotations

from dataclasses import dataclass

_FORGOTTEN = 120.0
"""Seconds without a new failure after which the old one is over; twice the longest pause between two tries."""


@dataclass(slots=True)
class LocalFault:
    """What those who meet it tell of one such failure. All times in seconds on the loop's clock."""

    failed_at: float | None = None
    """When the failure began that still lasts."""
    again_at: float = 0.0
    """When somebody met it last."""
    message: str = ""

    def failed(self, message: str, now: float) -> None:
        """Take in that somebody met it."""
        self.failed_at = now if self.failed_at is None else self.failed_at
        self.again_at, self.message = now, message

    def worked(self) -> None:
        """Take in that a try went well, or that there is nothing left to try it with."""
        self.failed_at = None

    def calms_at(self) -> float | None:
        """Return when the failure is over if nobody meets it again."""
        return None if self.failed_at is None else self.again_at + _FORGOTTEN

    def is_out(self, grace: float) -> bool:
        """Whether it was met for `grace`: only another try can tell that it lasts."""
        return self.failed_at is not None and self.again_at - self.failed_at >= grace


# -- How many downloads are open at once: enough for all servers, and no more than this process may open files.
#
# What counts in the race against clean-up is the moment the GET opens, so the number grows with the servers. Every
# download holds a connection and a file; running out of either would stop polls and POSTs as well.


_PER_SERVER = 2
"""Downloads per server: the file of the last render, and one that is still on its way."""
_PER_DOWNLOAD = 2
"""Handles of a download: its connection and its file."""
_REQUESTS = 3
"""Handles of a server: a poll, a POST and its socket."""
_RESERVED = 64
"""Handles for everything else: the ledger, the log, the page, folders, who is told elsewhere."""


@dataclass(frozen=True, slots=True)
class Allotment:
    """What this process may open."""

    downloads: int
    """Files that are downloaded at once."""
    limit: int
    """Open files that it needs to be allowed (`ulimit -Sn`)."""
    warning: str = ""
    """What to say if that is less than the servers deserve."""


def allot(servers: int, downloads: int, soft: int, hard: int) -> Allotment:
    """Return how many downloads may be open: `downloads` or two per server, or what `hard` leaves room for.

    `soft` and `hard` are how many files this process may open now, and how many it may ask for.
    """
    wanted = max(downloads, _PER_SERVER * servers)
    others = _RESERVED + _REQUESTS * servers
    limit = max(soft, min(hard, others + _PER_DOWNLOAD * wanted))
    fit = max(1, min(wanted, (limit - others) // _PER_DOWNLOAD))
    if fit == wanted:
        return Allotment(wanted, limit)
    needs = others + _PER_DOWNLOAD * wanted
    message = f"this machine allows {limit} open files and {servers} servers need {needs} (ulimit -n)"
    return Allotment(fit, limit, f"{message}: downloads at once are limited to {fit}")
