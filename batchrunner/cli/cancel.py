"""`cancel` and `forget`: our prompts are removed from the servers, or a server that is gone is given up."""

from __future__ import annotations

import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import anyio
import typer

from batchrunner import consent
from batchrunner.cli.output import say, write
from batchrunner.cli.parameters import AsJson, Commands, Out, Outside, Place, Servers, Sets, TokenFile
from batchrunner.comfy import client as comfy
from batchrunner.core.actions import Ended, Failure, Poll
from batchrunner.core.facts import CANCELLED, Dropped, Lost, Why
from batchrunner.core.lifecycle import Fetching, Queued, Sending, Waiting
from batchrunner.core.server import OUR_DISK, SIM
from batchrunner.errors import YoursError
from batchrunner.find_job import batch_folder
from batchrunner.manifest import Options
from batchrunner.manifest.forms import server_url
from batchrunner.options import OUT, RunOptions, read_token, token_warning
from batchrunner.process import environment
from batchrunner.remembered import resume_command
from batchrunner.servers import ServerAccess
from batchrunner.state import open_batch, render_digests
from batchrunner.stop_run import stop_run
from batchrunner.text import counted, json_text

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batchrunner.comfy.client import Client
    from batchrunner.core.actions import PollResult, Row
    from batchrunner.core.lifecycle import Prompt
    from batchrunner.state import OpenBatch

_MAX_POLLS = 60
_POLL_INTERVAL = 0.5
"""Seconds. A server acts on an interrupt when it begins its next step, which can take many of them."""
REMOVED, RENDERED, LEFT = "removed", "rendered", "left"
"""What becomes of a prompt: it is on no server any more, it was rendered before, or it is still there."""


def cancel(
    batch: Place,
    out: Out = OUT,
    sets: Sets = [],
    server: Servers = [],
    token_file: TokenFile = None,
    allow_outside: Outside = False,
    allow_commands: Commands = False,
) -> int:
    """Remove this batch's prompts from the servers.

    Pending ones are deleted and the running one is interrupted, each by its id; other people's prompts are not
    touched. Files that are already rendered are downloaded by the next `run`. A run of this batch is stopped first.
    """
    own = Options(tuple(server), tuple(sets), allow_outside=allow_outside, out=out)
    stop_run(batch_folder(batch, out), say)
    with ExitStack() as stack:
        opened = open_batch(RunOptions(batch, own, out, token_file), stack)
        wanted = opened.load()
        requests = tuple(consent.sending_requests(wanted))
        for mark in consent.obtain(requests, opened.content.marks, allowed=allow_commands):
            opened.ledger.mark(mark, value=True)
        access = ServerAccess(wanted, read_token(opened.options.token_file, environment()), environment())
        if warning := token_warning(opened.options.token_file):
            say(warning)
        access.remember(opened.content.marks)
        counts = anyio.run(_remove_prompts, opened, access, render_digests(wanted))
        waiting = [job for job, state in opened.states.items() if isinstance(state, Waiting)]
        for job in waiting:
            opened.append(Dropped(job, opened.states[job].past.highest, time.time(), CANCELLED))
        rendered = counts[RENDERED] + sum(isinstance(state, Fetching) for state in opened.states.values())
    if rendered:
        say(f"already rendered: {counted(rendered, 'job')}; the next run downloads the files")
    if counts[LEFT]:
        left = counted(counts[LEFT], "job")
        say(f"not removed from the server: {left}; cancel again, or run the batch to finish them")
    say(f"cancelled: {counted(len(waiting), 'job')}" if waiting else "nothing to cancel")
    if waiting or rendered or counts[LEFT]:
        say(f"to continue: {resume_command(opened.going_on)}")
    return 3 if counts[LEFT] else 0


async def _remove_prompts(batch: OpenBatch, access: ServerAccess, digests: Callable[[str], str]) -> Counter[str]:
    """Remove our prompts from every server, record those that are gone, and return how many became what."""
    servers: dict[str, dict[str, Prompt]] = {}
    for job, state in batch.states.items():
        if isinstance(state, Sending | Queued):
            servers.setdefault(state.prompt.server, {})[job] = state.prompt
    counts: Counter[str] = Counter()
    async with comfy.session() as http:
        for url, prompts in servers.items():
            ended = dict.fromkeys(prompts, REMOVED)  # the built-in simulator is gone with its run
            if url != SIM:
                poll = await _empty_queue(
                    comfy.Client(access.url(url), http, access.credentials(url)), prompts, digests
                )
                if isinstance(poll, Failure):
                    say(poll.message)
                    ended = dict.fromkeys(prompts, LEFT)
                else:
                    if poll.unread is not None:
                        say(poll.unread.message)
                    ended = prompt_ends(poll, prompts, digests)
            counts.update(ended.values())
            for job, prompt in prompts.items():
                if ended[job] == REMOVED:
                    at = time.time()
                    batch.append(Lost(job, prompt.attempt, at, Why.WITHDRAWN, CANCELLED, burns=False))
    return counts


async def _empty_queue(
    client: Client, prompts: Mapping[str, Prompt], digests: Callable[[str], str]
) -> PollResult | Failure:
    """Delete and interrupt until a poll finds none of `prompts` (by job) in the queue; return the last poll."""
    ids = tuple(prompt.id for prompt in prompts.values())
    polls = 0
    while True:
        poll = await client.poll(Poll("", ids))
        polls += 1
        if isinstance(poll, Failure) or polls == _MAX_POLLS or not (rows := _queued(poll, prompts, digests)):
            return poll
        failure = await client.withdraw([row.prompt for row in rows.values() if not row.running])
        for row in rows.values():
            if row.running and failure is None:
                failure = await client.interrupt(row.prompt)
        if failure:
            return failure
        await anyio.sleep(_POLL_INTERVAL)


def prompt_ends(poll: PollResult, prompts: Mapping[str, Prompt], digests: Callable[[str], str]) -> dict[str, str]:
    """Return what became of `prompts`, by job, as the last poll of their server saw it.

    What it could not read may still be there. `digests` gives a job's `render_digest`, or "".
    """
    rows = _queued(poll, prompts, digests)
    ends: dict[str, str] = {}
    for job, prompt in prompts.items():
        entry = poll.history.get(prompt.id)
        if job in rows or prompt.id not in poll.history:
            ends[job] = LEFT
        else:
            ends[job] = RENDERED if entry is not None and entry.ended is Ended.SUCCESS else REMOVED
    return ends


def _queued(poll: PollResult, prompts: Mapping[str, Prompt], digests: Callable[[str], str]) -> dict[str, Row]:
    """Return the queue's rows of `prompts`, by job: by id, or by prefix where the server chose another id.

    Another workflow under that prefix is somebody else's.
    """
    found: dict[str, Row] = {}
    for job, prompt in prompts.items():
        for row in poll.queue:
            copy = prompt.prefix in row.prefixes and digests(job) in ("", row.digest)
            if row.prompt == prompt.id or copy:
                found[job] = row
    return found


def forget(
    batch: Place,
    server: Annotated[str, typer.Argument(metavar="SERVER", help="Its URL, or sim.")],
    out: Out = OUT,
    as_json: AsJson = False,
) -> None:
    """Give up a server that is gone for good.

    The next `run` renders its jobs on another server. No attempt is counted, and no server is contacted.
    """
    with ExitStack() as stack:
        opened = open_batch(RunOptions(batch, out=out), stack)
        named = opened.load().servers
        holders: dict[str, dict[str, int]] = {}
        for job, state in opened.states.items():
            if isinstance(state, Sending | Queued | Fetching) and state.prompt.server != OUR_DISK:
                holders.setdefault(state.prompt.server, {})[job] = state.prompt.attempt
        url = _chosen_server(server, holders)
        for job, attempt in holders[url].items():
            message = "the server was given up with `forget`"
            opened.append(Lost(job, attempt, time.time(), Why.SERVER_GONE, message, burns=False))
    freed = list(holders[url])
    if as_json:
        write(json_text({"version": 1, "batch": opened.name, "server": url, "freed": [*freed]}))
        return
    options, others = opened.options, tuple(other for other in named if other != url)
    if url in named:
        options = replace(options, manifest_options=replace(options.manifest_options, servers=others))
    command = resume_command(options) + ("" if others else " --server URL (of another server)")
    say(f"released from {url}: {counted(len(freed), 'job')}; to render elsewhere: {command}")


def _chosen_server(server: str, holders: Mapping[str, Mapping[str, int]]) -> str:
    """Return the one of `holders` that a person means. Raises YoursError."""
    named = ", ".join(f"{url} ({counted(len(held), 'job')})" for url, held in holders.items()) or "none"
    others = f"servers that hold jobs: {named}"
    if server in holders:
        return server
    try:
        url = server_url(server)
    except ValueError as error:
        raise YoursError(f"SERVER {error}; {others}") from None
    if url not in holders:
        raise YoursError(f"{url} holds no jobs of this batch; {others}")
    return url
