"""`forget`: what a server held is given up, so that it is rendered elsewhere. No server is asked."""

from __future__ import annotations

import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

from batchrunner.cli.books import held
from batchrunner.cli.speaking import say, tell
from batchrunner.core.facts import Lost, Why
from batchrunner.core.lifecycle import Fetching, Queued, Sending
from batchrunner.core.server import OUR_DISK
from batchrunner.errors import YoursError
from batchrunner.manifest.servers import server_url
from batchrunner.show.text import json_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchrunner.cli.asked import Asked
    from batchrunner.cli.books import Books

_DETAIL = "the server was given up by hand: forget"


def forget(asked: Asked, server: str) -> int:
    """Let every job that `server` holds, or may hold, wait again; no attempt is spent.

    If the server comes back and is used again, what it holds is adopted as always. Raises YoursError, naming the
    servers that hold something, if this one holds nothing, and BusyError while the batch runs.
    """
    with ExitStack() as stack:
        books = held(asked, stack)
        holders = _holders(books)
        url = _chosen(server, holders)
        for job, attempt in holders[url].items():
            books.ledger.append(Lost(job, attempt, time.time(), Why.SERVER_GONE, _DETAIL, burns=False))
    freed = list(holders[url])
    if asked.as_json:
        tell(json_text({"version": 1, "batch": books.batch, "server": url, "freed": [*freed]}))
    else:
        wait = "waits" if len(freed) == 1 else "wait"
        say(f"{_jobs(len(freed))} that {url} held {wait} again; now {_command(asked, url, books.servers)}")
    return 0


def _holders(books: Books) -> dict[str, dict[str, int]]:
    """Return by server the jobs that it holds or may hold, each with its attempt."""
    holders: dict[str, dict[str, int]] = {}
    for job, state in books.states.items():
        if isinstance(state, Sending | Queued | Fetching) and state.prompt.server != OUR_DISK:
            holders.setdefault(state.prompt.server, {})[job] = state.prompt.attempt
    return holders


def _chosen(server: str, holders: Mapping[str, Mapping[str, int]]) -> str:
    """Return the one of `holders` that a person means. Raises YoursError."""
    named = ", ".join(f"{url} ({_jobs(len(jobs))})" for url, jobs in holders.items())
    others = f"these do: {named}" if named else "no server does"
    try:
        url = server_url(server)
    except ValueError as error:
        raise YoursError(f"SERVER {error}; servers that hold jobs of this batch: {named or 'none'}") from None
    if url not in holders:
        raise YoursError(f"{url} holds no job of this batch; {others}")
    return url


def _command(asked: Asked, url: str, servers: tuple[str, ...]) -> str:
    """Return what to type to go on without `url`."""
    command = f"batchrunner run {asked.manifest}"
    if url not in servers:
        return command
    others = [f" --server {other}" for other in servers if other != url]
    return command + ("".join(others) or " --server URL, with another server's URL")


def _jobs(number: int) -> str:
    return "1 job" if number == 1 else f"{number} jobs"
