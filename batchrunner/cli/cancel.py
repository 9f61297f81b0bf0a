"""`cancel` and `forget`: our prompts leave a server, or a server is given up."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio

from batchrunner.batch import held
from batchrunner.cli.output import say, tell
from batchrunner.comfy import client as comfy
from batchrunner.core.actions import Ended, Failure, Poll
from batchrunner.core.facts import Dropped, Lost, Why
from batchrunner.core.lifecycle import Fetching, Queued, Sending, Waiting, advance
from batchrunner.core.server import OUR_DISK, SIM
from batchrunner.errors import YoursError
from batchrunner.manifest.forms import server_url
from batchrunner.options import token
from batchrunner.text import json_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from batchrunner.batch import Books
    from batchrunner.comfy.client import Client
    from batchrunner.comfy.secret import Secret
    from batchrunner.core.actions import PollResult, Row
    from batchrunner.core.lifecycle import Prompt
    from batchrunner.options import Asked

# -- `cancel`: our prompts leave the servers. Pending ones are deleted by id, the running one is interrupted by id.


_LOOKS = 60
_BETWEEN = 0.5
"""Seconds. A server acts on an interrupt when it begins its next step, which can take many of them."""


@dataclass(slots=True)
class _Tally:
    """What became of the prompts that were out there."""

    gone: list[str] = field(default_factory=list)
    """Jobs whose prompts are on no server any more."""
    rendered: list[str] = field(default_factory=list)
    """Jobs that were rendered before we came."""
    left: list[str] = field(default_factory=list)
    """Jobs whose prompts stay where they are."""

    def sort(self, look: PollResult, prompts: Mapping[str, Prompt], there: Mapping[str, Row]) -> None:
        """Count `prompts` (by job) by what the last look at their server saw; what it could not read may be there.

        `there` are those in its queue.
        """
        for job, prompt in prompts.items():
            entry = look.history.get(prompt.id)
            if job in there or prompt.id not in look.history:
                self.left.append(job)
            elif entry is not None and entry.ended is Ended.SUCCESS:
                self.rendered.append(job)
            else:
                self.gone.append(job)


def cancel(asked: Asked) -> int:
    """Take a batch off its servers; return 0, or 3 if prompts of ours stay on one.

    What is rendered already stays to be brought home by the next `run`; what waits is left out until then. Raises
    BusyError while the batch runs, YoursError if it never did.
    """
    secret = token(asked.token_file, os.environ)
    with ExitStack() as stack:
        books = held(asked, stack)
        tally = anyio.run(_take_back, books, secret)
        waiting = [job for job, state in books.states.items() if isinstance(state, Waiting)]
        for job in waiting:
            books.ledger.append(Dropped(job, books.states[job].past.highest, time.time(), "cancelled"))
        rendered = len(tally.rendered) + sum(isinstance(state, Fetching) for state in books.states.values())
    _tell(asked, len(waiting), rendered, len(tally.left))
    return 3 if tally.left else 0


def _tell(asked: Asked, waiting: int, rendered: int, left: int) -> None:
    if rendered:
        say(f"{rendered} rendered already: their files are still to come home")
    if left:
        say(f"{left} of our prompts stay on a server: cancel again, or run brings them home")
    then = f": batchrunner run {asked.manifest} takes up what is not done" if waiting or rendered or left else ""
    say(f"{waiting or 'nothing'}{' cancelled' if waiting else ' to cancel'}{then}")


async def _take_back(books: Books, secret: Secret | None) -> _Tally:
    """Empty every server of our prompts, and note those that are gone."""
    servers: dict[str, dict[str, Prompt]] = {}
    for job, state in books.states.items():
        if isinstance(state, Sending | Queued):
            servers.setdefault(state.prompt.server, {})[job] = state.prompt
    tally = _Tally()
    async with comfy.session() as http:
        for url, prompts in servers.items():
            if url == SIM:
                tally.gone += prompts
                continue
            look = await _emptied(comfy.Client(url, http, secret), prompts, books.renders)
            if isinstance(look, Failure):
                say(look.message)
                tally.left += prompts
            else:
                if look.unread is not None:
                    say(look.unread.message)
                tally.sort(look, prompts, _queued(look, prompts, books.renders))
    for job in tally.gone:
        _lose(books, job)
    return tally


def _lose(books: Books, job: str) -> None:
    state = books.states[job]
    if isinstance(state, Sending | Queued):
        fact = Lost(job, state.prompt.attempt, time.time(), Why.WITHDRAWN, "cancelled", burns=False)
        books.ledger.append(fact)
        books.states[job] = advance(state, fact)


async def _emptied(
    client: Client, prompts: Mapping[str, Prompt], renders: Callable[[str], str]
) -> PollResult | Failure:
    """Delete and interrupt until a look finds none of `prompts` (by job) queued; return the last look."""
    ids = tuple(prompt.id for prompt in prompts.values())
    looks = 0
    while True:
        look = await client.poll(Poll("", ids))
        looks += 1
        if isinstance(look, Failure) or looks == _LOOKS or not (there := _queued(look, prompts, renders)):
            return look
        if trouble := await _withdraw(client, there.values()):
            return trouble
        await anyio.sleep(_BETWEEN)


async def _withdraw(client: Client, rows: Iterable[Row]) -> Failure | None:
    """Delete what is pending and interrupt what runs, by id; what is nobody's of ours is never named."""
    rows = list(rows)
    trouble = await client.withdraw([row.prompt for row in rows if not row.running])
    for row in rows:
        if row.running and trouble is None:
            trouble = await client.interrupt(row.prompt)
    return trouble


def _queued(look: PollResult, prompts: Mapping[str, Prompt], renders: Callable[[str], str]) -> dict[str, Row]:
    """Return the queue's rows of `prompts`, by job: by id, or by prefix where the server chose another id.

    Another workflow under that prefix is somebody else's.
    """
    found: dict[str, Row] = {}
    for job, prompt in prompts.items():
        for row in look.queue:
            copy = prompt.prefix in row.prefixes and renders(job) in ("", row.digest)
            if row.prompt == prompt.id or copy:
                found[job] = row
    return found


# -- `forget`: what a server held is given up, so that it is rendered elsewhere. No server is asked.


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
