"""`on_saved`: the user's own command for each saved file, beside the engine and never in its way.

At least once per file: a file counts as handled when the command has ended with 0, and that is recorded; what was not
is handed to it again by the next run. A command that fails or hangs costs a line, never a video.
"""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from batchrunner.errors import BatchrunnerError
from batchrunner.text import counted, json_text, stamp

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from batchrunner.core.facts import Saved
    from batchrunner.core.job import Job, Json
    from batchrunner.notify.notifier import Deliver

_AT_ONCE = 2
"""Commands that run at the same time: they share this machine with the downloads."""
LIMIT = 600.0
"""Seconds that one may take."""
DRAIN = 60.0
"""Seconds to wait at the end of a run for all that are left."""


def handled_mark(saved: Saved) -> str:
    """Return the ledger's key for «the command has handled this file»."""
    return f"on_saved {saved.job} {saved.attempt} {saved.file}"


def saved_json(batch: str, folder: str, job: Job, saved: Saved) -> dict[str, Json]:
    """Return what the command reads: which file it is, of which batch and job, with all parameters."""
    return {
        "version": 1,
        "event": "saved",
        "at": stamp(saved.at),
        "batch": batch,
        "job": job.id,
        "folder": folder,
        "path": saved.path,
        "bytes": saved.size,
        "sha256": saved.sha256,
        "warning": saved.warning or None,
        "params": {**job.params},
    }


class SavedCommands:
    """Runs the command of one batch for its files.

    `document` returns what it reads about a file, `run` hands that over as JSON within so many seconds, `record` keeps
    a mark in the ledger, `tell` takes one line; the end of a run waits for `drain` seconds.
    """

    def __init__(
        self,
        document: Callable[[Saved], Mapping[str, Json]],
        run: Deliver,
        record: Callable[[str], None],
        tell: Callable[[str], None],
        *,
        drain: float = DRAIN,
    ) -> None:
        self._document = document
        self._run = run
        self._record = record
        self._tell = tell
        self._drain = drain
        self._waiting: asyncio.Queue[Saved] = asyncio.Queue()
        self._left: dict[str, None] = {}
        self._told = False

    def put(self, saved: Saved) -> None:
        """Take in a saved file; never waits."""
        mark = handled_mark(saved)
        if mark not in self._left:
            self._left[mark] = None
            self._waiting.put_nowait(saved)

    @property
    def left(self) -> int:
        """How many files are not handled yet."""
        return len(self._left)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run commands while the block runs; after it wait for the rest, as long as is allowed, and tell what is left.

        If an error ends the block, nothing is waited for.
        """
        workers = [asyncio.create_task(self._work()) for _ in range(_AT_ONCE)]
        try:
            yield
            with suppress(TimeoutError):
                async with asyncio.timeout(self._drain):
                    await self._waiting.join()
            if self._left:
                self._tell(f"on_saved: {counted(len(self._left), 'file')} left for the next run")
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.wait(workers)

    async def _work(self) -> None:
        while True:
            saved = await self._waiting.get()
            try:
                await self._handle(saved)
            finally:
                self._waiting.task_done()

    async def _handle(self, saved: Saved) -> None:
        try:
            failure = await self._run(f"{json_text(self._document(saved))}\n".encode(), LIMIT)
            reason = failure.reason if failure else ""
            if not failure:
                self._record(handled_mark(saved))
                del self._left[handled_mark(saved)]
        except BatchrunnerError as error:
            reason = str(error)
        except Exception as error:  # noqa: BLE001 - no failed command may cost a video
            reason = f"was not run, by a bug in batchrunner ({type(error).__name__})"
        if reason and not self._told:
            self._told = True
            self._tell(f"on_saved: for {saved.path} the command {reason}; the batch goes on")
