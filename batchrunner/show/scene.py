"""The scene: all that the live board shows, as one frozen value folded from the board."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batchrunner.core.eta import overdue
from batchrunner.core.health import Condition
from batchrunner.core.lifecycle import Fetching
from batchrunner.core.scheduler import is_surveyed
from batchrunner.text import duration

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchrunner.core.board import Board
    from batchrunner.core.job import Job
    from batchrunner.core.server import Server


_TWICE = 2
"""A server is called away when it failed twice running: one look may fail any time."""


@dataclass(frozen=True, slots=True)
class Stand:
    """One server, as people see it. Times in seconds."""

    url: str
    state: str
    """`up`, `asking` (not yet answered), `away`, `denied`, `stalled`, `pausing`, `stuck`."""
    since: float | None = None
    """How long it has been in trouble."""
    message: str = ""
    """Why, if it is not up."""
    running: str = ""
    """Local name of the job of ours that it renders."""
    running_for: float | None = None
    """How long it has run what it runs now, ours or not."""
    ready: int = 0
    """Prompts of ours that wait there."""
    foreign: int = 0
    """Queue entries that are not ours."""


@dataclass(frozen=True, slots=True)
class Transfer:
    """One download."""

    file: str
    got: int
    """Bytes so far."""
    total: int = -1
    """Bytes in all; -1 if the server does not say."""


@dataclass(frozen=True, slots=True)
class Scene:
    """A batch at one moment. Times in seconds."""

    batch: str
    at: float
    """Wall clock, seconds since the epoch."""
    elapsed: float
    """Since this run began."""
    counts: Mapping[str, int]
    """Wanted jobs in each of the six states."""
    servers: tuple[Stand, ...] = ()
    transfers: tuple[Transfer, ...] = ()
    deadline: float | None = None
    """Until the oldest file not yet home may be deleted; negative if that time is over."""
    left: float | None = None
    """Until everything is done, as far as anybody can tell."""
    messages: tuple[str, ...] = ()
    """What people must know now, most urgent first."""

    @property
    def total(self) -> int:
        """Wanted jobs."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class Around:
    """What the board does not know and the scene shows."""

    at: float
    """Wall clock, seconds since the epoch."""
    elapsed: float
    transfers: tuple[Transfer, ...] = ()
    left: float | None = None
    messages: tuple[str, ...] = field(default=())


def scene(board: Board, jobs: Mapping[str, Job], now: float, around: Around) -> Scene:
    """Return the scene of a board at `now` (the loop's clock). Costs what is open, not what is in the batch."""
    return Scene(
        batch=board.batch,
        at=around.at,
        elapsed=around.elapsed,
        counts=board.tally(),
        servers=tuple(_stand(board, server, jobs, now) for server in board.servers.values()),
        transfers=around.transfers,
        deadline=min(_deadlines(board, now), default=None),
        left=around.left,
        messages=around.messages,
    )


def health(board: Board, server: Server, now: float) -> tuple[str, float | None]:  # noqa: PLR0911 - a row a state
    """Return the word for a server's state and since when it is in trouble (the loop's clock)."""
    if server.health.condition is Condition.UNAUTHORIZED:
        return "denied", server.health.refused_since
    if server.health.failures >= _TWICE or server.health.condition is Condition.GONE:
        return "away", server.health.good_at
    if server.health.answered_at is None:
        return "asking", server.health.good_at
    if server.health.is_wedged(now, board.rules):
        return "stalled", server.health.stalled_since
    if server.breaker.paused_until > now:
        return "pausing", None
    if overdue(board, server.name, now):
        return "stuck", min(server.queue.running.values())
    return "up", None


def reason(server: Server, state: str, now: float) -> str:
    """Return why a server is in that state, in words for people; nothing for one that is up."""
    match state:
        case "up":
            return ""
        case "stalled":
            return "prompts wait there and none runs; ComfyUI may have to be restarted"
        case "pausing":
            rest = duration(server.breaker.paused_until - now)
            return f"{server.breaker.kind} on job after job; it gets one more in {rest}"
        case "stuck":
            ran = duration(now - min(server.queue.running.values()))
            return f"one prompt has run for {ran}, several times as long as expected"
        case _:
            return server.health.message


def _stand(board: Board, server: Server, jobs: Mapping[str, Job], now: float) -> Stand:
    ours = {state.prompt.id: job for job, state in board.open_on(server.name)}
    running = next((ours[prompt] for prompt in server.queue.running if prompt in ours), "")
    began = min(server.queue.running.values(), default=None)
    state, since = health(board, server, now)
    message = [reason(server, state, now)]
    holds_up = server.name in board.unsurveyed and not is_surveyed(board, now)
    if holds_up and board.waiting and state in ("away", "denied"):
        message.append("the first prompts wait for it, a minute at most: it may hold some of this batch")
    return Stand(
        url=server.name,
        state=state,
        since=None if since is None else now - since,
        message="; ".join(filter(None, message)),
        running=jobs[running].file if running in jobs else running,
        running_for=None if began is None else now - began,
        ready=sum(prompt in ours for prompt in server.queue.pending),
        foreign=server.queue.foreign,
    )


def _deadlines(board: Board, now: float) -> list[float]:
    """Return the seconds left of every file not yet home, by the clock of its server."""
    found = []
    for url, server in board.servers.items():
        for job in board.fetching_on(url):
            state = board.states[job]
            if isinstance(state, Fetching) and state.deadline is not None and server.queue.skew is not None:
                found.append(state.deadline - server.queue.skew - now)
    return found
