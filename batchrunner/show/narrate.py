"""The narrator: what the engine does, told to the audience."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchrunner.show.scene import Around, health, reason, scene

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from batchrunner.core.board import Board
    from batchrunner.core.facts import Fact
    from batchrunner.core.job import Job
    from batchrunner.core.server import Server
    from batchrunner.show.scene import Scene
    from batchrunner.show.watch import Audience

EVERY = 1.0
"""Seconds between two looks at the board, for a live one; for a heartbeat a minute, more will do."""


class Narrator:
    """Watches the engine: tells facts as they come, servers as they change, and the whole scene every second."""

    def __init__(
        self,
        audience: Audience,
        jobs: Mapping[str, Job],
        wall: Callable[[], float],
        around: Callable[[Board, float], Around],
        *,
        every: float = EVERY,
    ) -> None:
        """`wall` is the clock for people, `around(board, now)` what the scene shows and the board does not know."""
        self._every = every
        self._audience = audience
        self._jobs = jobs
        self._wall = wall
        self._around = around
        self._health: dict[str, str] = {}
        self._next = float("-inf")

    def fact(self, fact: Fact) -> None:
        """Tell of a fact that changed something."""
        job = self._jobs.get(fact.job)
        self._audience.fact(fact, job.file if job else "")

    def pulse(self, board: Board, now: float) -> float:
        """Tell which servers changed, show the scene if it is time; return when to be shown the board again.

        Looks at the servers that something happened to since the last turn, and at all of them with every scene: time
        alone changes some.
        """
        shows = now >= self._next
        for name in board.servers if shows else board.attention.names():
            if name in board.servers:
                self._tell(board, board.servers[name], now)
        if shows:
            self._next = now + self._every
            self._audience.tick(self._wall(), lambda: self._scene(board, now))
        return self._next

    def _tell(self, board: Board, server: Server, now: float) -> None:
        """Tell of a server whose state changed."""
        state, _ = health(board, server, now)
        if state != self._health.setdefault(server.name, "asking"):
            self._health[server.name] = state
            self._audience.server(self._wall(), server.name, state, reason(server, state, now))

    def bug(self, error: Exception) -> None:
        """Tell of an error that should not be."""
        self._audience.bug(self._wall(), error)

    def _scene(self, board: Board, now: float) -> Scene:
        return scene(board, self._jobs, now, self._around(board, now))
