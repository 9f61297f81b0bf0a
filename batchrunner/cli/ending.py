"""The last words of a run: what is done, what failed and why, and what to do next."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

import anyio

from batchrunner.core.states import Failed, Queued
from batchrunner.show.text import clock, safe

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batchrunner.cli.onlooker import Onlooker
    from batchrunner.cli.watching import Watching
    from batchrunner.core.board import Board
    from batchrunner.core.conclude import Ending
    from batchrunner.core.job import Job

_SHOWN = 10


def tell(watchers: Watching, board: Board, onlooker: Onlooker, ending: Ending, code: int) -> None:
    """Tell everybody that the run is over, and people in a few lines what that means."""
    watchers.audience.finished(time.time(), board.tally(), code)
    watchers.audience.close()
    for line in (*_failures(board, onlooker.jobs), *ending.says.splitlines(), *_staying(board, onlooker)):
        watchers.console.write(safe(line, limit=1000))


def _failures(board: Board, jobs: Mapping[str, Job]) -> Iterator[str]:
    failed = [(job, state) for job in board.positions if isinstance(state := board.states[job], Failed)]
    for job, state in failed[:_SHOWN]:
        yield f"failed: {jobs[job].file}: {state.why}: {state.says}"
    if len(failed) > _SHOWN:
        rest = Counter(str(state.why) for _, state in failed[_SHOWN:])
        yield "failed too: " + ", ".join(f"{count} x {why}" for why, count in rest.most_common())


def _staying(board: Board, onlooker: Onlooker) -> Iterator[str]:
    """Say what still renders for us, and until when its video will be there."""
    if board.leaving_at is None:
        return
    now = anyio.current_time()
    for url, server in board.servers.items():
        for job, state in board.open_on(url):
            if isinstance(state, Queued) and state.prompt.id in server.running:
                until = _until(board, onlooker, onlooker.until_rendered(url, job, now))
                yield f"{url} goes on rendering {onlooker.jobs[job].file}: run the same command again{until}"


def _until(board: Board, onlooker: Onlooker, rendering: float) -> str:
    if board.rules.ttl is None:
        return " and it is brought home"
    return f" before {clock(onlooker.wall() + rendering + board.rules.ttl)} and it is brought home"
