"""The board as a run begins with it: what the ledger remembers, what the manifest wants, what lies at home."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from batchrunner.core.board import Board
from batchrunner.core.identity import parse_prefix
from batchrunner.core.server import SIM
from batchrunner.engine import settled_in, surveyed
from batchrunner.workflow.suffix import expected_suffix

if TYPE_CHECKING:
    from batchrunner.core.rules import Rules
    from batchrunner.fetch import Downloads
    from batchrunner.ledger import Ledger
    from batchrunner.manifest import Batch

_BUILT_IN_POLL = 0.2


async def board_of(batch: Batch, ledger: Ledger, downloads: Downloads, now: float) -> Board:
    """Return the board of `batch`; its jobs are in the ledger from now on. Raises StateError if they can't be kept."""
    board = Board(batch.name, _rules(batch), batch.servers, now)
    board.suffix = expected_suffix(batch.template.graph, batch.outputs)
    board.outputs = batch.outputs
    board.costs = {job.id: job.cost for job in batch.jobs}
    board.load(ledger.jobs(), ledger.facts(), now)
    ledger.keep(batch.jobs)
    board.want([job.id for job in batch.jobs], batch.chosen, now)
    marks = ledger.marks()
    for url, server in board.servers.items():
        server.surveyed = surveyed(marks, url)
    board.settled_in = settled_in(marks)
    if not board.settled_in:
        await _find_at_home(board, downloads)
    return board


async def _find_at_home(board: Board, downloads: Downloads) -> None:
    """Find the videos of an earlier ledger on our own disk, by the prefix they carry."""
    for home in await asyncio.get_running_loop().run_in_executor(None, downloads.scan, board.batch):
        if match := parse_prefix(board.batch, home.prefix):
            board.homes[match[0]] = (match[1], home)


def _rules(batch: Batch) -> Rules:
    """Return the manifest's rules; the built-in server renders in seconds, so it is looked at often."""
    often = batch.rules.poll is None and batch.servers == (SIM,)
    return replace(batch.rules, poll=_BUILT_IN_POLL) if often else batch.rules
