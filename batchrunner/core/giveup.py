"""When what a server holds is rendered elsewhere: it is gone, or others have nothing left to do.

A prompt is no longer waited for on its server if that is not named any more and does not answer for `grace`; if it has
brought nothing for ten minutes while another server stands idle; or if it has brought nothing for `patience` and
another server works. It costs no attempt. Should the server come back, what it rendered after all is taken over as long
as nobody else began it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from batchrunner.core.attempts import Attempt, lose
from batchrunner.core.facts import Why
from batchrunner.core.notes import GivenUp, Moment, Outcome, Remove

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from batchrunner.core.board import Board
    from batchrunner.core.lifecycle import Open
    from batchrunner.core.notes import Note
    from batchrunner.core.server import Server

_MINUTES_FROM = 120
"""Seconds from which on minutes are easier to read."""
AWAY_TOO_LONG = 600.0
"""Seconds that a named server may bring nothing while another server stands idle."""


def give_up_servers(board: Board, now: float, at: float) -> Iterator[Outcome]:
    """Yield what follows for every server that is given up at `now`; `at` is the wall clock, for facts."""
    if board.leaving_at is not None or not board.stuck:
        return
    # Only the end of the work elsewhere frees servers that nothing happened to.
    names = [name for name in board.attention.names() if name in board.stuck] if board.waiting else list(board.stuck)
    for name in names:
        server = board.servers[name]
        frees = frees_at(board, server)
        # What is under way at this moment tells more than the clock.
        free = [job for job in board.held_by(name) if not board.in_flight.concerns(job)]
        if frees is not None and now >= frees and free:
            yield _give_up(board, server, free, Moment(cast("float", server.health.stuck_since()), now, at))


def frees_at(board: Board, server: Server) -> float | None:
    """Return when what a server holds is free for others, or was; None if there is no reason to think so."""
    since = server.health.stuck_since()
    if since is None or not board.open_count(server.name):
        return None
    if not server.named:
        return since + board.rules.grace
    if not board.working:
        return None  # a server that brings nothing is not among them
    idle = not board.waiting and bool(board.unoccupied)
    return since + (min(AWAY_TOO_LONG, board.rules.patience) if idle else board.rules.patience)


def _give_up(board: Board, server: Server, jobs: Iterable[str], moment: Moment) -> Outcome:
    """Lose the `jobs` that a server holds since `moment` began; what waits in a queue that answers is deleted there."""
    seconds = round(moment.now - moment.began)
    lasted = f"{seconds} s" if seconds < _MINUTES_FROM else f"{round(seconds / 60)} min"
    why = f" ({server.health.message})" if server.health.message else ""
    message = f"{server.name} has brought nothing for {lasted}{why}: rendered elsewhere"
    states = [(job, cast("Open", board.states[job])) for job in jobs]
    facts = tuple(lose(Attempt(job, state, moment.at, server.rules), Why.SERVER_GONE, message) for job, state in states)
    notes: list[Note] = [GivenUp(server.name, moment.now)]
    if server.health.is_up():
        waiting = frozenset(state.prompt.id for _, state in states).intersection(server.queue.pending)
        notes.append(Remove(server.name, waiting))
    return Outcome(facts, tuple(notes))
