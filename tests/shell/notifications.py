"""What tests of notifications share: events of a batch, and a server that collects what is posted to it."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiohttp import web
from answering import Place, answering

from batchrunner.core.facts import Lost, Why
from batchrunner.manifest.batch import Recipient
from batchrunner.notify import Kind, Notifier, Target, Timing, targets
from batchrunner.show.events import RunEvent, fact_event, finished_event, server_event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping

AT = 1_769_844_605.0
"""2026-01-31T07:30:05.000Z."""
QUICK = Timing(delivery=5.0, retries=(0.01, 0.01, 0.01), gather=0.01, drain=5.0)
ALL = frozenset(Kind)
COUNTS = {"waiting": 8, "done": 3, "failed": 1}


def failed(job: str, message: str = "CUDA out of memory") -> RunEvent:
    """Return that a job failed for good."""
    return fact_event(Lost(job, 1, AT, Why.ERROR, message, final=True), f"cats/{job}")


def finished(code: int = 0) -> RunEvent:
    """Return the last event of a run."""
    return finished_event(AT, COUNTS, code)


def server(state: str, message: str = "why", at: float = AT) -> RunEvent:
    """Return that the server is now `state`."""
    return server_event(at, "http://gpu-box:8188", state, message)


class Inbox:
    """A server to post to, and what arrives there."""

    def __init__(self) -> None:
        self.place = Place("")
        self._arrived: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def next(self) -> dict[str, Any]:
        """Return the next message, waiting for it."""
        return await self._arrived.get()

    def all(self) -> list[dict[str, Any]]:
        """Return every message that arrived, in order."""
        return [json.loads(asked.body) for asked in self.place.asked]

    async def answer(self, request: web.Request) -> web.Response:
        """Take a message."""
        self._arrived.put_nowait(json.loads(await request.read()))
        return web.Response()


@asynccontextmanager
async def inbox() -> AsyncIterator[Inbox]:
    """Yield an inbox that listens."""
    box = Inbox()
    async with answering(box.answer) as place:
        box.place = place
        yield box


def to_url(url: str, on: frozenset[str] = ALL) -> Target:
    """Return a webhook."""
    return targets([Recipient("HOOK", "", (), "", on)], {"HOOK": url})[0]


def to_command(*command: str, environment: Mapping[str, str] | None = None, token: str = "") -> Target:
    """Return a command; its environment is empty unless given."""
    return targets([Recipient("", "", command, "", ALL)], environment or {}, (token,) if token else ())[0]


def notifier(told: list[str], *to: Target | str, timing: Timing = QUICK) -> Notifier:
    """Return a notifier of the batch `t` that tells what goes wrong to `told`; a text is a webhook's URL."""
    found = [to_url(each) if isinstance(each, str) else each for each in to]
    return Notifier("t", found, told.append, timing, lambda: AT)
