"""The board as a run begins with it: what the ledger remembers, what the manifest wants, what is on our disk."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import TYPE_CHECKING

from batchrunner.core.board import Board
from batchrunner.core.job import parse_prefix
from batchrunner.core.lifecycle import Done
from batchrunner.core.notes import AttemptSeen, Surveyed
from batchrunner.core.server import SIM
from batchrunner.download.transfer import Downloader, final_stem
from batchrunner.engine import IMPORTED, imported, surveyed
from batchrunner.learned_speeds import recall_speeds
from batchrunner.state import chosen_ids, contradiction_is_damage, render_digests
from batchrunner.workflow.saving import expected_files

if TYPE_CHECKING:
    from pathlib import Path

    from batchrunner.core.actions import LocalFile
    from batchrunner.core.job import Job
    from batchrunner.ledger import Ledger, Snapshot
    from batchrunner.manifest import Batch

_SIM_POLL = 0.2


async def build_board(  # noqa: PLR0913 - what a run begins with
    batch: Batch,
    ledger: Ledger,
    content: Snapshot,
    downloader: Downloader,
    now: float,
    *,
    limit: int | None = None,
    speeds: Path | None = None,
) -> Board:
    """Return the board of `batch`, with `limit` jobs that are still to do. `content` is what the ledger holds.

    `speeds` is the folder where it is kept what servers taught other batches, if they are to be asked.

    Raises StateError if what the ledger holds can't be true.
    """
    rules = batch.rules
    if rules.poll is None and batch.servers == (SIM,):
        rules = replace(rules, poll=_SIM_POLL)  # the built-in simulator renders in seconds
    board = Board(batch.name, rules, batch.servers, now, batch.server_rules())
    board.first_files = expected_files(batch.template)
    board.nodes = tuple(batch.template.graph)
    board.outputs = batch.outputs
    board.renders = render_digests(batch)
    board.costs = {job.id: job.cost for job in batch.jobs}
    board.groups = batch.groups
    board.input_files = {job.id: job.inputs for job in batch.jobs if job.inputs}
    if speeds:
        recall_speeds(speeds, batch, board)
    with contradiction_is_damage(batch.name):
        board.load(content.jobs, content.facts, now)
    board.want([job.id for job in batch.jobs], chosen_ids(batch, board.states, limit), now)
    for name in list(board.servers):
        if surveyed(content.marks, name):
            board.apply(Surveyed(name))
    board.imported = imported(content.marks)
    await _find_local_files(board, downloader, batch)
    if board.imported and board.local_files:
        board.imported = False
        ledger.mark(IMPORTED, value=False)
    return board


async def _find_local_files(board: Board, downloader: Downloader, batch: Batch) -> None:
    """Find the files on our own disk that the ledger does not know, by the prefix they carry or by their sidecars.

    A new ledger scans every file. One that has imported them may still be older than the files, as a backup is: it
    scans the names of jobs that it believes not done, for attempts that it does not know. An attempt without a file of
    each node that saves is left for its server to tell, else for another attempt. A file that carries our prefix and
    another workflow than its job's is somebody else's; its attempt number is not used.
    """
    missing = [job for job in batch.jobs if not isinstance(board.states[job.id], Done)]
    if board.imported and not missing:
        return
    needed = {job.id: _files_needed(batch, job) for job in missing}
    stems = {stem for job in missing for stem in _stems(batch, job, needed[job.id])}
    names = stems if board.imported else None
    found: dict[tuple[str, int], dict[str, LocalFile]] = {}
    for file in await asyncio.get_running_loop().run_in_executor(None, downloader.scan, board.batch, names):
        job, attempt = parse_prefix(board.batch, file.prefix) or ("", 0)
        if file.digest and not board.is_own(job, file.digest):
            board.apply(AttemptSeen(job, max(board.seen.get(job, 0), attempt)))
        else:
            found.setdefault((job, attempt), {})[file.sha256] = file
    for (job, attempt), files in found.items():
        if job not in needed or len(files) < needed[job]:
            continue
        if not (board.imported and attempt <= board.states[job].past.highest):
            board.local_files[job] = (attempt, tuple(files.values()))


def _stems(batch: Batch, job: Job, files: int) -> list[str]:
    """Return the local paths, without suffix, of the first file of each node, or of the only node's files."""
    labelled = [final_stem(job.file, 0, label) for label in batch.labels.values()]
    return labelled or [final_stem(job.file, number) for number in range(files)]


def _files_needed(batch: Batch, job: Job) -> int:
    """Return how many files a render of a job has at least: one of each node that keeps what it saves."""
    kept = batch.template.keeps(job.params)
    return max(1, sum(batch.outputs is None or node in batch.outputs for node in kept))
