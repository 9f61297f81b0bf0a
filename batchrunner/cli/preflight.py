"""What can be said before the first POST: a token on an open road, and what would fail at four in the morning."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from batchrunner.comfy.secret import Secret


def open_roads(servers: Iterable[str], secret: Secret | None) -> Iterator[str]:
    """Yield a warning for every server that would get the token where others can read it."""
    for url in servers:
        parts = urlsplit(url)
        if secret and parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
            yield f"the token goes to {url} unencrypted: anybody on the way can read it; prefer https"


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
