"""When a server gets no new prompt because its files are downloaded too slowly.

A download that has begun survives the deletion of its file, but one that breaks off afterwards can't be continued
(docs/comfyui.md §14). Where files are downloaded slower than they are rendered, ever more of them would be under way,
each slower than the one before. So the next prompt waits while, by the time it is rendered, all files under way with
its own would take more than half of `ttl`: so long one of them takes, for they share the line. It never waits longer
than until the line would be idle at that time, so the line is always in use and a batch takes as long as its bytes do.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import takewhile
from math import inf
from typing import TYPE_CHECKING

from batchrunner.core.eta import bytes_of, progress, under_way

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchrunner.core.board import Board
    from batchrunner.core.server import Server

_SHARE = 0.5
"""Of `ttl`, for what is to be downloaded: a line that becomes half as fast still brings everything in time."""
_SOONEST = 1.0


def admitted(board: Board, server: Server, room: int, now: float) -> int:
    """Return how many prompts a server may get now that has room for so many."""
    waits = list(_waits(board, server, room, now))
    if not any(waits):
        return room
    least = _gave_up(server, now) and not board.load_on(server.name)
    return max(sum(1 for _ in takewhile(lambda wait: not wait, waits)), int(least))


def admits_at(board: Board, server: Server, now: float) -> float | None:
    """Return when a server is to be thought of again that gets no prompt now; None if none is held back."""
    if server.link.held_since is None:
        return None
    wait = next(_waits(board, server, 1, now), 0.0)
    return min(now + max(_SOONEST, wait), server.link.gives_up_at(server.rules.ttl or inf))


def turn(board: Board, server: Server, now: float, *, held: bool) -> None:
    """Note at the end of a turn whether prompts are held back on a server."""
    idle = next(board.fetching_on(server.name), None) is None
    if _gave_up(server, now) and board.load_on(server.name):
        server.link = replace(server.link, held_since=now)  # one was sent: the next one waits as long again
    if held:
        board.held_back[server.name] = None
    else:
        board.held_back.pop(server.name, None)
    server.link = server.link.turned(now, server.rules.ttl or 0.0, held=held, idle=idle)


def is_slow(board: Board, server: Server) -> bool:
    """Whether what waits is held back on this server, time and again."""
    return bool(board.waiting) and board.leaving_at is None and server.link.slow_since is not None


def _gave_up(server: Server, now: float) -> bool:
    """Whether a prompt was held back in vain: files that never come must not hold up a night."""
    return now >= server.link.gives_up_at(server.rules.ttl or inf)


def _waits(board: Board, server: Server, room: int, now: float) -> Iterator[float]:
    """Yield for each of the next prompts how many seconds it must wait, as if those before it were sent now."""
    ttl, speed = server.rules.ttl, server.link.speed()
    if not room or ttl is None or speed is None:
        return
    ran, limit = progress(board, server.name, now), speed * ttl * _SHARE
    left, whole = under_way(board, server.name)
    jobs = [job for job, _ in board.open_on(server.name)]
    for place, job in enumerate([*jobs, *board.next_jobs(room, now)]):
        comes, size = speed * (_seconds(board, server, job) - ran), bytes_of(board, job)
        before, ran = max(0.0, left - comes), 0.0
        left, whole = before + size, max(0.0, whole - comes) + size
        if place >= len(jobs):
            wait = min(before, max(0.0, whole - limit))
            yield wait / speed if speed else inf if wait else 0.0


def _seconds(board: Board, server: Server, job: str) -> float:
    return board.forecast.seconds(server.name, board.costs.get(job, 0.0))
