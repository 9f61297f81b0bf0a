"""Whether the run is over, and with which exit code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchrunner.core.actions import Fetch, Submit
from batchrunner.core.judge import template_refusal
from batchrunner.core.plan import is_gone, leaving_time
from batchrunner.core.states import Failed, Waiting

if TYPE_CHECKING:
    from batchrunner.core.board import Board
    from batchrunner.core.server import Server

DONE, FAILED, STOPPED, LOCAL = 0, 1, 3, 5


@dataclass(frozen=True, slots=True)
class Ending:
    """How a run ended."""

    exit: int
    says: str
    """What happened and what to do next, for a person; several lines if there is more than one reason."""


def conclude(board: Board, now: float) -> Ending | None:
    """Return how the run ends, None while there is something left to do or to wait for."""
    if board.disk_at is not None and now - board.disk_at >= board.rules.grace:
        return Ending(LOCAL, f"{board.disk_says}: free some space, then run the same command again")
    if board.leaving_at is not None:
        return _left(board, now)
    if refusal := template_refusal(board):
        return None if _busy(board) else Ending(STOPPED, _template(refusal))
    if board.is_settled():
        return _settled(board)
    return _stopped(board, now)


def _settled(board: Board) -> Ending:
    failed = sum(isinstance(board.states[job], Failed) for job in board.chosen)
    if failed:
        return Ending(FAILED, f"{failed} of {len(board.chosen)} jobs failed")
    return Ending(DONE, "every job is done")


def _left(board: Board, now: float) -> Ending | None:
    """Leave once every server was asked and everything rendered is home, or clean-up must have had the rest."""
    out_of_time = board.leaving_at is not None and now - board.leaving_at >= leaving_time(board)
    gone = all(is_gone(server, looking=board.is_looking(url)) for url, server in board.servers.items())
    coming = _downloading(board) or any(
        server.is_up() and any(True for _ in board.fetching_on(url)) for url, server in board.servers.items()
    )
    posting = any(isinstance(action, Submit) for action in board.flying)
    return Ending(130, "stopped") if out_of_time or (gone and not coming and not posting) else None


def _stopped(board: Board, now: float) -> Ending | None:
    """Stop if every server that could do or give us anything is no longer waited for."""
    if _busy(board):
        return None
    live = [server for server in board.servers.values() if not server.is_out(now, board.rules)]
    waits = any(isinstance(board.states[job], Waiting) for job in board.unsettled)
    if any(server.named and waits for server in live) or any(_owes(board, server) for server in live):
        return None
    return Ending(STOPPED, "\n".join(_reason(board, server) for server in board.servers.values() if server not in live))


def _owes(board: Board, server: Server) -> bool:
    """Whether a server holds prompts or files of ours."""
    return board.load_on(server.url) > 0 or any(True for _ in board.fetching_on(server.url))


def _busy(board: Board) -> bool:
    """Whether something is under way that may still bring a fact home."""
    return _downloading(board) or any(isinstance(action, Submit) for action in board.flying)


def _downloading(board: Board) -> bool:
    return any(isinstance(action, Fetch) for action in board.flying)


def _reason(board: Board, server: Server) -> str:
    left = board.load_on(server.url) + sum(1 for _ in board.fetching_on(server.url))
    holds = f"; it holds {left} of our prompts" if left else ""
    if server.is_denied():
        return f"{server.url} refuses the token ({server.says}){holds}: set BATCHRUNNER_TOKEN and run it again"
    if server.stalled_at is not None:
        return f"{server.url} has prompts waiting and runs none{holds}: restart ComfyUI and run it again"
    return f"{server.url} does not answer ({server.says or 'no answer'}){holds}: run it again when it does"


def _template(refusal: str) -> str:
    return f"the server refuses the workflow itself, the first three jobs alike: {refusal}"
