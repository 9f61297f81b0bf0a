"""The board as a run begins with it: what the ledger remembers, what the manifest wants, what lies at home."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from batchrunner.cli.books import renders, sound
from batchrunner.core.board import Board
from batchrunner.core.identity import parse_prefix
from batchrunner.core.lifecycle import Done
from batchrunner.core.notes import AttemptSeen, Surveyed
from batchrunner.core.server import SIM
from batchrunner.download.transfer import final_stem
from batchrunner.engine import SETTLED_IN, settled_in, surveyed
from batchrunner.workflow.suffix import expected_file

if TYPE_CHECKING:
    from batchrunner.core.job import Job
    from batchrunner.core.results import LocalFile
    from batchrunner.core.settings import Rules
    from batchrunner.download.transfer import Downloader
    from batchrunner.ledger import Ledger, Snapshot
    from batchrunner.manifest import Batch

_BUILT_IN_POLL = 0.2


async def board_of(
    batch: Batch, ledger: Ledger, downloads: Downloader, now: float, content: Snapshot | None = None
) -> Board:
    """Return the board of `batch`; its jobs are in the ledger from now on. `content` is what it held, if it was read.

    Raises StateError if they can't be kept, or if what the ledger holds can't be true.
    """
    board = Board(batch.name, _rules(batch), batch.servers, now)
    board.first_file = expected_file(batch.template.graph)
    board.outputs = batch.outputs
    board.renders = renders(batch)
    board.costs = {job.id: job.cost for job in batch.jobs}
    content = content or ledger.content()
    with sound(batch.name):
        board.load(content.jobs, content.facts, now)
    if list(content.jobs.values()) != list(batch.jobs):
        ledger.keep(batch.jobs)
    board.want([job.id for job in batch.jobs], batch.chosen, now)
    for name in list(board.servers):
        if surveyed(content.marks, name):
            board.apply(Surveyed(name))
    board.settled_in = settled_in(content.marks)
    await _find_at_home(board, downloads, batch)
    if board.settled_in and board.homes:
        board.settled_in = False
        ledger.mark(SETTLED_IN, value=False)
    return board


async def _find_at_home(board: Board, downloads: Downloader, batch: Batch) -> None:
    """Find the files on our own disk that the ledger does not know, by the prefix they carry or their sidecar names.

    A new ledger looks at every file. One that has settled in may still be older than what lies there, as a backup is:
    it looks under the names of what it believes is not home, for attempts that it has not heard of. An attempt of which
    not every save node has a file here is left for its server to tell, else for another attempt. A file that carries
    our prefix and another workflow than its job's is somebody else's; its attempt number is not used.
    """
    missing = [job for job in batch.jobs if not isinstance(board.states[job.id], Done)]
    if board.settled_in and not missing:
        return
    least = {job.id: _least(batch, job) for job in batch.jobs}
    names = {final_stem(job.file, index) for job in missing for index in range(least[job.id])}
    stems = names if board.settled_in else None
    found: dict[str, dict[str, LocalFile]] = {}
    for home in await asyncio.get_running_loop().run_in_executor(None, downloads.scan, board.batch, stems):
        if _is_own(board, home):
            found.setdefault(home.prefix, {})[home.sha256] = home
    for prefix, homes in found.items():
        match = parse_prefix(board.batch, prefix)
        if match is None or len(homes) < least.get(match[0], len(homes) + 1):
            continue
        if not (board.settled_in and _has_heard(board, *match)):
            board.homes[match[0]] = (match[1], tuple(homes.values()))


def _is_own(board: Board, home: LocalFile) -> bool:
    """Whether a file renders its job as far as that can be told; if not, its attempt is noted as seen."""
    job, attempt = parse_prefix(board.batch, home.prefix) or ("", 0)
    if not home.digest or board.is_own(job, home.digest):
        return True
    board.apply(AttemptSeen(job, max(board.seen.get(job, 0), attempt)))
    return False


def _least(batch: Batch, job: Job) -> int:
    """Return how many files a render of a job has at least: one of each node that keeps what it saves."""
    kept = batch.template.keeps(job.params)
    return max(1, sum(batch.outputs is None or node in batch.outputs for node in kept))


def _has_heard(board: Board, job: str, attempt: int) -> bool:
    return job not in board.states or attempt <= board.states[job].past.highest


def _rules(batch: Batch) -> Rules:
    """Return the manifest's rules; the built-in server renders in seconds, so it is looked at often."""
    often = batch.rules.poll is None and batch.servers == (SIM,)
    return replace(batch.rules, poll=_BUILT_IN_POLL) if often else batch.rules
