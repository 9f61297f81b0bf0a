"""How many downloads are open at once: enough for all servers, and no more than this process may open files.

What counts in the race against clean-up is the moment the GET opens, so the number grows with the servers. Every
download holds a connection and a file; running out of either would stop polls and POSTs as well.
"""

from __future__ import annotations

from dataclasses import dataclass

_PER_SERVER = 2
"""Downloads per server: the file of the last render, and one that is still on its way."""
_PER_DOWNLOAD = 2
"""Handles of a download: its connection and its file."""
_REQUESTS = 2
"""Handles of a server: a poll and a POST."""
_RESERVED = 64
"""Handles for everything else: the ledger, the log, the page, folders, who is told elsewhere."""


@dataclass(frozen=True, slots=True)
class Allotment:
    """What this process may open."""

    downloads: int
    """Files that come home at once."""
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
    says = f"this machine allows {limit} open files and {servers} servers need {needs} (ulimit -n)"
    return Allotment(fit, limit, f"{says}: downloads at once are limited to {fit}")
