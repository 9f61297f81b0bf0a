"""The last words of a run: what is done, what failed and why, and what to do next."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

from batchrunner.core.lifecycle import Queued
from batchrunner.show.retold import lines
from batchrunner.show.text import clock, safe
from batchrunner.show.words import of_finish

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchrunner.cli.gallery import Gallery
    from batchrunner.cli.onlooker import Onlooker
    from batchrunner.cli.watching import Watching
    from batchrunner.core.board import Board
    from batchrunner.core.exit import Exit
    from batchrunner.notify import Notifier


@dataclass(frozen=True, slots=True)
class LastWords:
    """Everybody who is told that a run is over."""

    watchers: Watching
    notifier: Notifier | None = None
    gallery: Gallery | None = None

    async def say(self, board: Board, onlooker: Onlooker, ending: Exit, code: int) -> None:
        """Write the report, tell everybody that the run is over, and people in a few lines what that means."""
        if self.notifier:
            # The last line of `run --json` is the end: whoever is told by other ways is told before it.
            self.notifier.event(of_finish(time.time(), board.tally(), code))
            await self.notifier.drain()
        told = self._report(board, onlooker)
        self.watchers.audience.finished(time.time(), board.tally(), code)
        self.watchers.audience.close()
        for line in (*ending.says.splitlines(), *told, *_staying(board, onlooker)):
            self.watchers.console.write(safe(line, limit=1000))

    def _report(self, board: Board, onlooker: Onlooker) -> list[str]:
        if self.gallery is None:
            return []
        looked_back = self.gallery.end(board, onlooker.jobs, anyio.current_time())
        return lines(looked_back)


def _staying(board: Board, onlooker: Onlooker) -> Iterator[str]:
    """Say what still renders for us, and until when its video will be there."""
    if board.leaving_at is None:
        return
    now = anyio.current_time()
    for url, server in board.servers.items():
        for job, state in board.open_on(url):
            if isinstance(state, Queued) and state.prompt.id in server.queue.running:
                until = _until(board, onlooker, onlooker.until_rendered(url, job, now))
                yield f"{url} goes on rendering {onlooker.jobs[job].file}: run the same command again{until}"


def _until(board: Board, onlooker: Onlooker, rendering: float) -> str:
    if board.rules.ttl is None:
        return " and it is brought home"
    return f" before {clock(onlooker.wall() + rendering + board.rules.ttl)} and it is brought home"
