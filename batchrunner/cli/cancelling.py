"""`cancel`: our prompts leave the servers. Pending ones are deleted by id, the running one is interrupted by id."""

from __future__ import annotations

import os
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import anyio

from batchrunner.cli.token import token
from batchrunner.comfy import client as comfy
from batchrunner.core.actions import LookAt
from batchrunner.core.facts import Dropped, Lost, Why
from batchrunner.core.folding import folded
from batchrunner.core.looks import Trouble
from batchrunner.core.server import SIM
from batchrunner.core.states import Queued, Sending, Waiting, advance
from batchrunner.ledger import Ledger, hold
from batchrunner.manifest import load
from batchrunner.show.text import safe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchrunner.cli.asked import Asked
    from batchrunner.comfy.client import Client
    from batchrunner.comfy.secret import Secret
    from batchrunner.core.facts import Fact
    from batchrunner.core.looks import Look
    from batchrunner.core.states import State

_LOOKS = 30
_BETWEEN = 1.0


def cancel(asked: Asked) -> int:
    """Take a batch off its servers; return 0, or 3 if a server could not be asked. Raises BusyError while it runs.

    What is rendered already stays to be brought home by the next `run`; what waits is left out until then.
    """
    batch = load(asked.manifest, asked.options)
    secret = token(asked.token_file, os.environ)
    folder = asked.out / batch.name
    with ExitStack() as stack:
        stack.enter_context(hold(folder))
        ledger = stack.enter_context(Ledger.open(folder, batch.name))
        states = folded(ledger.jobs(), ledger.facts())
        left = anyio.run(_take_back, states, ledger, secret)
        waiting = [job for job, state in states.items() if isinstance(state, Waiting)]
        for job in waiting:
            ledger.append(Dropped(job, states[job].past.highest, time.time(), "cancelled"))
        _say(f"{len(waiting)} jobs cancelled; batchrunner run {asked.manifest} takes them up again")
    return 3 if left else 0


async def _take_back(states: dict[str, State], ledger: Ledger, secret: Secret | None) -> int:
    """Empty every server of our prompts; return how many could not be taken back."""
    servers: dict[str, dict[str, str]] = {}
    for job, state in states.items():
        if isinstance(state, Sending | Queued):
            servers.setdefault(state.prompt.server, {})[job] = state.prompt.id
    left = 0
    async with comfy.session() as http:
        for url, prompts in servers.items():
            gone = set(prompts) if url == SIM else await _empty(comfy.Client(url, http, secret), prompts)
            left += len(prompts) - len(gone)
            for job in gone:
                _lose(states, ledger, job)
    return left


def _lose(states: dict[str, State], ledger: Ledger, job: str) -> None:
    state = states[job]
    if isinstance(state, Sending | Queued):
        fact: Fact = Lost(job, state.prompt.attempt, time.time(), Why.WITHDRAWN, "cancelled", burns=False)
        ledger.append(fact)
        states[job] = advance(state, fact)


async def _empty(client: Client, prompts: Mapping[str, str]) -> set[str]:
    """Delete and interrupt until a look finds none of `prompts` (job -> id) any more; return the jobs that are gone.

    A prompt that ended with success meanwhile is not gone: its video is to be brought home.
    """
    ids = tuple(prompts.values())
    for _ in range(_LOOKS):
        look = await client.look(LookAt("", ids))
        if isinstance(look, Trouble):
            _say(f"{look.says}: its prompts stay there")
            return set()
        running = [row.prompt for row in look.queue if row.running and row.prompt in ids]
        pending = [row.prompt for row in look.queue if not row.running and row.prompt in ids]
        if not running and not pending:
            return _ended(look, prompts)
        await client.withdraw(pending)
        for prompt in running:
            await client.interrupt(prompt)
        await anyio.sleep(_BETWEEN)
    _say("the server goes on rendering one of our prompts: it acts on an interrupt at its next step only")
    return set()


def _ended(look: Look, prompts: Mapping[str, str]) -> set[str]:
    def is_rendered(prompt: str) -> bool:
        entry = look.history.get(prompt)
        return entry is not None and entry.ended.value == "execution_success"

    return {job for job, prompt in prompts.items() if not is_rendered(prompt)}


def _say(text: str) -> None:
    sys.stderr.write(safe(text, limit=1000) + "\n")
