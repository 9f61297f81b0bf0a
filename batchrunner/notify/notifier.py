"""The notifier: hears everything that happens, and tells people who sleep what matters.

Nothing here may harm a batch. Hearing an event puts a notice into a bounded outbox and returns; delivering runs beside
the engine and survives whatever a target does; the end of a run waits for it no longer than `Waits.drain`.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from batchrunner.errors import BatchrunnerError, BusyError, YoursError
from batchrunner.notify.outbox import Outbox, Waits
from batchrunner.notify.sieve import Sieve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from batchrunner.notify.notice import Notice
    from batchrunner.notify.outbox import Target
    from batchrunner.notify.sieve import Heard

_DEFAULT = Waits()


class Notifier:
    """Watches one batch on behalf of `targets`; a `show.listeners.Listener`.

    `tell` is told, in one line that holds no secret, what could not be delivered: once per target, and how much at the
    end. `wall` is the clock for people.
    """

    def __init__(
        self,
        batch: str,
        targets: Iterable[Target],
        tell: Callable[[str], None],
        waits: Waits = _DEFAULT,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self._sieve = Sieve(batch)
        self._outboxes = [Outbox(target, waits, tell) for target in targets]
        self._waits = waits
        self._wall = wall
        self._failed = asyncio.Event()
        self._drained = False

    def event(self, event: Heard) -> None:
        """Hear what happened, until drained. Quick: nothing is sent here."""
        if self._drained:
            return
        self._post(self._sieve.hear(event))
        if self._sieve.failed:
            self._failed.set()

    def tick(self, scene: object) -> None:
        """Nothing: how things stand wakes nobody."""

    def close(self) -> None:
        """Nothing: `drain` delivers what is left."""

    async def run(self) -> None:
        """Deliver until cancelled, every target at its own pace."""
        async with asyncio.TaskGroup() as task_group:
            task_group.create_task(self._tell_failures())
            for outbox in self._outboxes:
                task_group.create_task(outbox.run())

    async def drain(self) -> None:
        """Deliver what is left, within `Waits.drain` seconds; then tell what was not. A second call does nothing.

        Hand it the last event and drain before the others hear that event, and `finished` stays the last line of all.
        """
        if self._drained:
            return
        self._drained = True
        self._post(self._sieve.failures(self._wall()))
        with suppress(TimeoutError):
            async with asyncio.timeout(self._waits.drain):
                await asyncio.gather(*(outbox.empty() for outbox in self._outboxes))
        for outbox in self._outboxes:
            outbox.account()

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Notifier]:
        """Deliver while the block runs, and drain after it. An error that ends the block is told too, and raised."""
        task_group = asyncio.create_task(self.run())
        try:
            yield self
        except (YoursError, BusyError):
            raise  # Nothing began, and whoever typed the command sits before it.
        except Exception as error:
            self._broke_off(error)
            await self.drain()
            raise
        else:
            await self.drain()
        finally:
            task_group.cancel()
            await asyncio.wait([task_group])

    def _broke_off(self, error: Exception) -> None:
        bug = not isinstance(error, BatchrunnerError)
        message = f"a bug in batchrunner ({type(error).__name__})" if bug else str(error)
        code = error.exit_code if isinstance(error, BatchrunnerError) else BatchrunnerError.exit_code
        self._post(self._sieve.broke_off(self._wall(), code, message))

    def _post(self, notice: Notice | None) -> None:
        if notice is not None:
            for outbox in self._outboxes:
                outbox.put(notice)

    async def _tell_failures(self) -> None:
        """Tell failed jobs at once, and those that follow within a minute together."""
        while True:
            await self._failed.wait()
            self._failed.clear()
            self._post(self._sieve.failures(self._wall()))
            await asyncio.sleep(self._waits.gather)
