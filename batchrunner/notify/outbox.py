"""What one target is still to be told. Each target has its own, so that none waits for another's."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchrunner.notify.webhook import Miss

if TYPE_CHECKING:
    from collections.abc import Callable

    from batchrunner.notify.notice import Notice
    from batchrunner.notify.webhook import Way

_MOST = 32
"""Notices that wait; beyond, the oldest makes room, for it is the least true."""


@dataclass(frozen=True, slots=True)
class Waits:
    """How long things may take; all in seconds."""

    delivery: float = 10.0
    """One try."""
    retries: tuple[float, ...] = (1.0, 10.0, 60.0)
    """Before each further try, where one may help."""
    gather: float = 60.0
    """Between two messages about failed jobs."""
    drain: float = 10.0
    """At the end of the run, for all that is left."""


@dataclass(frozen=True, slots=True)
class Target:
    """Whom to tell."""

    way: Way
    on: frozenset[str]
    """Of which kinds."""
    topic: str = ""
    """For ntfy."""


class Outbox:
    """Delivers to one target, one notice after the other. `tell` is told of trouble, once; it must not raise."""

    def __init__(self, target: Target, waits: Waits, tell: Callable[[str], None]) -> None:
        self._target = target
        self._waits = waits
        self._tell = tell
        self._waiting: asyncio.Queue[Notice] = asyncio.Queue(_MOST)
        self._hurry = asyncio.Event()
        self._put = self._delivered = self._told = 0

    def put(self, notice: Notice) -> None:
        """Take in a notice, if this target asked for such; never waits."""
        if notice.kind(self._target.on) is None:
            return
        if self._waiting.full():
            self._waiting.get_nowait()
            self._waiting.task_done()
        self._waiting.put_nowait(notice)
        self._put += 1

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            notice = await self._waiting.get()
            try:
                await self._deliver(notice)
            finally:
                self._waiting.task_done()

    async def empty(self) -> None:
        """Return once everything is delivered or given up; pauses are cut short from now on."""
        self._hurry.set()
        await self._waiting.join()

    def account(self) -> None:
        """Tell how many notices did not arrive, unless that was told."""
        missed = self._put - self._delivered
        if missed > self._told:
            self._told = missed
            self._tell(f"notify: {missed} of {self._put} messages did not reach {self._target.way.name}")

    async def _deliver(self, notice: Notice) -> None:
        miss = await self._attempt(notice)
        for pause in self._waits.retries:
            # In a hurry, the last notice alone is worth a second try: it tells what the others did, and how it ended.
            if miss is None or not miss.again or (self._hurry.is_set() and not self._waiting.empty()):
                break
            await self._pause(pause)
            miss = await self._attempt(notice)
        if miss is None:
            self._delivered += 1
        elif not self._told:
            self._told = 1
            self._tell(f"notify: {self._target.way.name} {miss.message}; the batch goes on")

    async def _attempt(self, notice: Notice) -> Miss | None:
        try:
            body = notice.body(self._target.on, self._target.topic)
            return await self._target.way.deliver(body, self._waits.delivery)
        except Exception as error:  # noqa: BLE001 - a message that fails, however, must not cost a video
            return Miss(f"was not told, by a bug in batchrunner ({type(error).__name__})", again=False)

    async def _pause(self, seconds: float) -> None:
        if self._hurry.is_set():
            await asyncio.sleep(min(seconds, self._waits.retries[0]))
            return
        try:
            async with asyncio.timeout(seconds):
                await self._hurry.wait()
        except TimeoutError:
            return
