"""Whether the run is over, and with which exit code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchrunner.core.eta import ends_at, is_hopeless
from batchrunner.core.giveup import frees_at
from batchrunner.core.health import Condition
from batchrunner.core.lifecycle import Done, Failed
from batchrunner.core.scheduler import is_gone, is_idle, is_surveyed, leaving_time

if TYPE_CHECKING:
    from batchrunner.core.board import Board
    from batchrunner.core.server import Server

DONE, FAILED, STOPPED, LOCAL, INTERRUPTED = 0, 1, 3, 5, 130


@dataclass(frozen=True, slots=True)
class Exit:
    """How a run ended."""

    exit: int
    message: str
    """What happened and what to do next, for a person; several lines if there is more than one reason."""


def exit_decision(board: Board, now: float) -> Exit | None:
    """Return how the run ends, None while there is something left to do or to wait for."""
    refusal = board.refused_alike()
    if board.is_settled() and not refusal:
        return None if _withdrawing(board) else _settled(board)
    if failure := _local_failure(board):
        return Exit(LOCAL, f"{failure}, then run the same command again")
    if board.leaving_at is not None:
        return _left(board, now, board.leaving_at)
    if reason := _template(refusal) if refusal else board.hopeless_loss():
        return None if _busy(board) or _withdrawing(board) else Exit(STOPPED, reason)
    return _in_time(board, now) or _stopped(board, now)


def _local_failure(board: Board) -> str:
    """Return what this machine has lacked for too long, and what to do about it; empty if nothing."""
    grace = board.rules.grace
    if board.disk.is_out(grace):
        return f"{board.disk.message}: free some space"
    if board.sockets.is_out(grace):
        return f"{board.sockets.message}: close what holds so many"
    # Other jobs need other files, and what is on the servers is downloaded first.
    return f"{board.inputs.message}: check it" if board.inputs.is_out(grace) and not board.holds_any() else ""


def _settled(board: Board) -> Exit:
    """Return how a run ends that is through with its jobs; other jobs of the batch may wait, or have failed."""
    total, chosen = len(board.positions), len(board.chosen)
    failed = [job for job in board.positions if isinstance(board.states[job], Failed)]
    waiting = sum(not isinstance(board.states[job], Done | Failed) for job in board.positions.keys() - board.chosen)
    own = sum(job in board.chosen for job in failed)
    rest = [f"{waiting} more {'waits' if waiting == 1 else 'wait'} for another run"] if waiting else []
    if own or (failed and not waiting):
        jobs = f"{own} of {_jobs(chosen)}" if own else f"{len(failed)} of {_jobs(total)}"
        return Exit(FAILED, "; ".join([f"{jobs} failed", *rest]))
    rest += [f"{len(failed)} more failed"] if failed else []
    if rest:
        return Exit(DONE, "; ".join([f"{_jobs(chosen)} {'is' if chosen == 1 else 'are'} done", *rest]))
    if board.missing_files:
        files = len(board.missing_files)
        some = "1 file is" if files == 1 else f"{files} files are"
        return Exit(DONE, f"every job was done, but {some} missing or changed on disk")
    return Exit(DONE, "every job is done")


def _jobs(count: int) -> str:
    return "1 job" if count == 1 else f"{count} jobs"


def _in_time(board: Board, now: float) -> Exit | None:
    """End well if nothing that waits can be saved in time, and nothing of ours is on a server any more.

    What an earlier ledger's runs left, on the servers and on this disk, is taken over first.
    """
    if board.local_files or not is_surveyed(board, now):
        return None
    if ends_at(board) is None or _busy(board) or any(board.open_count(name) for name in board.servers):
        return None
    if not is_hopeless(board, now):
        return None
    ending = _settled(board)
    are, they = ("is", "it") if len(board.waiting) == 1 else ("are", "they")
    left = f"{_jobs(len(board.waiting))} {are} left for the next run: {they} would not have been finished in time"
    return Exit(ending.exit, f"{ending.message}\n{left}" if ending.exit else left)


def _left(board: Board, now: float, since: float) -> Exit | None:
    """Leave once every server was asked and everything rendered is saved, or clean-up must have had the rest."""
    gone = all(is_gone(board, server) for server in board.servers.values())
    coming = any(
        any(True for _ in board.fetching_on(name)) and not board.is_out(server, now)
        for name, server in board.servers.items()
    )
    over = gone and not coming and not _busy(board)
    return Exit(INTERRUPTED, "stopped") if over or now >= since + leaving_time(board) else None


def _stopped(board: Board, now: float) -> Exit | None:
    """Stop if every server that could do or give us anything is no longer waited for."""
    if _busy(board) or any(_is_waited_for(board, server, now) for server in board.servers.values()):
        return None
    useful = [server for server in board.servers.values() if not is_idle(board, server)]
    if any(board.in_flight.is_asking(server.name) for server in useful):
        return None
    return Exit(STOPPED, "\n".join(_reason(board, server) for server in useful if board.is_out(server, now)))


def _is_waited_for(board: Board, server: Server, now: float) -> bool:
    """Whether a server may still take what waits, or give us what it holds."""
    open_count = board.open_count(server.name) > 0
    if frees_at(board, server) is not None:
        return True  # what it holds will be rendered elsewhere
    if board.is_closed() and not board.held_by(server.name) and server.health.condition is not Condition.UNAUTHORIZED:
        return server.named and bool(board.waiting)  # it may be off until the hours begin
    if board.is_out(server, now):
        # One that refuses new prompts may still give us what it has.
        stuck = server.health.stuck_since()
        patient = stuck is None or now < stuck + board.rules.patience
        return open_count and patient and server.health.is_up() and server.health.gives_files()
    return open_count or (server.named and bool(board.waiting))


def _busy(board: Board) -> bool:
    """Whether something is under way that may still bring a fact."""
    return board.in_flight.may_bring()


def _withdrawing(board: Board) -> bool:
    """Whether a prompt of ours is still to be taken off a server that answers, or to be seen off it."""
    held = (server for server in board.servers.values() if server.to_remove or server.unwanted)
    return any(server.health.is_up() for server in held)


def _reason(board: Board, server: Server) -> str:
    left = board.open_count(server.name)
    holds = f"; it holds {left} of our prompts" if left else ""
    if server.health.condition is Condition.UNAUTHORIZED:
        refuses = f"{server.name} refuses the token ({server.health.message}){holds}"
        return f"{refuses}: correct BATCHRUNNER_TOKEN or the token file, and run it again"
    if server.health.stalled_since is not None:
        return f"{server.name} has prompts waiting and runs none{holds}: restart ComfyUI and run it again"
    if server.health.is_up():
        return f"{server.name} answers, but no prompt and no file gets through{holds}: see run.log, then run it again"
    return f"{server.name} does not answer ({server.health.message or 'no answer'}){holds}: run it again when it does"


def _template(refusal: str) -> str:
    return f"the server refuses the workflow itself, the first three jobs alike: {refusal}"
