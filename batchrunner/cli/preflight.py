"""What can be said before the first POST: a token on an open road, and what would fail at four in the morning."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from batchrunner.core.actions import Poll
from batchrunner.core.results import Failure
from batchrunner.core.server import SIM

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from batchrunner.comfy.client import Client
    from batchrunner.comfy.secret import Secret
    from batchrunner.manifest import Batch

_ENOUGH = 20
"""Findings on one server: more say nothing new."""


def open_roads(servers: Iterable[str], secret: Secret | None) -> Iterator[str]:
    """Yield a warning for every server that would get the token where others can read it."""
    for url in servers:
        parts = urlsplit(url)
        if secret and parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
            yield f"the token goes to {url} unencrypted: anybody on the way can read it; prefer https"


async def ask_nodes(batch: Batch, client: Callable[[str], Client]) -> tuple[list[str], list[str]]:
    """Ask every server's `/object_info` whether it can run the batch; return what is missing, and what can't be told.

    The built-in one is not asked: it can run what it must.
    """
    missing: list[str] = []
    unknown: list[str] = []
    for url in batch.servers:
        if url != SIM:
            lacks, why = await _asked(batch, url, client(url))
            missing += lacks
            unknown += why
    return missing, unknown


async def _asked(batch: Batch, url: str, client: Client) -> tuple[list[str], list[str]]:
    """Return the same of one server. Apart, so that no answer is kept while the next comes."""
    answer = await client.object_info()
    if isinstance(answer, Failure):
        return [], [f"{url} does not tell what it can run ({answer.says}): not checked beforehand"]
    return [f"{url}: {finding}" for finding in batch.refusals(answer)[:_ENOUGH]], []


async def not_found(batch: Batch, client: Callable[[str], Client]) -> list[str]:
    """Ask every server for its queue; return a complaint about each address that has none: it is mistyped."""
    looks = [(url, await client(url).poll(Poll(url))) for url in batch.servers if url != SIM]
    wrong = [url for url, look in looks if isinstance(look, Failure) and look.not_found]
    return [f"{url}: no ComfyUI is there, {url}/queue is not found (404): is the address complete?" for url in wrong]


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
