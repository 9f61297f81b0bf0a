"""The open files of this process: as many as its servers need, if the system lets us."""

from __future__ import annotations

import resource
import sys

from batchrunner.core.handles import Allotment, allot


def take_handles(servers: int, downloads: int) -> Allotment:
    """Raise the soft limit of open files as far as that many servers need; return what it allows."""
    soft, hard = (_number(limit) for limit in resource.getrlimit(resource.RLIMIT_NOFILE))
    wanted = allot(servers, downloads, soft, hard)
    if wanted.limit > soft:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted.limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        except (OSError, ValueError):  # macOS has a lower limit of its own beside an infinite one
            return allot(servers, downloads, soft, soft)
    return wanted


def _number(limit: int) -> int:
    return sys.maxsize if limit == resource.RLIM_INFINITY else limit
