"""What tests of notifications share: events as they are told, and a place that hands on what arrives there."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from aiohttp import web
from answering import Place, answering

from batchrunner.core.facts import Lost, Why
from batchrunner.notify import Notifier, Target, Waits
from batchrunner.notify.notice import Kind
from batchrunner.notify.webhook import Webhook
from batchrunner.show.events import RunEvent, fact_event, finished_event, server_event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from batchrunner.notify.webhook import Way

AT = 1_769_844_605.0
"""2026-01-31T07:30:05Z."""
QUICK = Waits(delivery=5.0, retries=(0.01, 0.01, 0.01), gather=0.01, drain=5.0)
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
    """A place to post to, and what arrives there."""

    def __init__(self) -> None:
        self.place = Place("")
        self._arrived: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

    async def next(self) -> dict[str, Any]:
        """Return the next notice, waiting for it."""
        return await self._arrived.get()

    def all(self) -> list[dict[str, Any]]:
        """Return every notice that arrived, in order."""
        return [json.loads(asked.body) for asked in self.place.asked]

    async def answer(self, request: web.Request) -> web.Response:
        """Take a notice."""
        self._arrived.put_nowait(json.loads(await request.read()))
        return web.Response()


@asynccontextmanager
async def inbox() -> AsyncIterator[Inbox]:
    """Yield an inbox that listens."""
    box = Inbox()
    async with answering(box.answer) as place:
        box.place = place
        yield box


class Told(list[str]):
    """What a notifier says of itself."""


def notifier(told: Told, *ways: Way | str, waits: Waits = QUICK, on: frozenset[str] = ALL) -> Notifier:
    """Return a notifier of the batch `t` that tells by `ways`; a text is a URL."""
    made = [Webhook(way) if isinstance(way, str) else way for way in ways]
    return Notifier("t", [Target(way, on) for way in made], told.append, waits, lambda: AT)
