"""Which files on our own disk a run looks at before it begins."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from batchrunner.build_board import build_board
from batchrunner.core.facts import Accepted, File, Rendered, Saved
from batchrunner.core.job import file_prefix, render_digest
from batchrunner.core.server import OUR_DISK
from batchrunner.download.transfer import Downloader, final_stem
from batchrunner.engine import IMPORTED, imported
from batchrunner.ledger import Ledger
from batchrunner.manifest import Batch, Options, load
from tests.shell.films import film

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from batchrunner.core.board import Board
    from batchrunner.core.job import Job

_NIGHT = """
name: night
server: http://gpu:8188
workflow: ltx2
sweep: {prompt: [a cat, a dog], seed: [1, 2]}
"""


class Place:
    """A batch folder and its ledger, with four jobs."""

    def __init__(self, folder: Path, ledger: Ledger, batch: Batch) -> None:
        self.folder = folder
        self.ledger = ledger
        self.batch = batch

    async def board(self) -> Board:
        """Return the board as the next run begins with it."""
        return await build_board(
            self.batch, self.ledger, self.ledger.content(), Downloader(self.folder, "boot"), 7000.0
        )

    async def found(self) -> dict[str, int]:
        """Return which attempt of which job that run finds on our own disk."""
        return {job: attempt for job, (attempt, _) in (await self.board()).local_files.items()}

    def put(self, job: Job, attempt: int = 1, name: str = "", like: Job | None = None) -> None:
        """Put the film of an attempt into the folder, under the job's own name or another; `like` is what it shows."""
        path = self.folder / f"{name or final_stem(job.file, 0)}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        prefix = file_prefix(self.batch.name, job.id, attempt)
        path.write_bytes(film(prefix, workflow=self.batch.graph(like or job, prefix)))

    def done(self, job: Job) -> None:
        """Let the ledger know that a job is done."""
        prefix, file = file_prefix(self.batch.name, job.id, 1), File(f"{job.file}.mp4")
        self.ledger.append(Accepted(job.id, 1, 0.0, "id", prefix, "http://gpu:8188"))
        self.ledger.append(Rendered(job.id, 1, 0.0, (file,), None))
        self.ledger.append(Saved(job.id, 1, 0.0, file.key, file.key, 9, "0" * 64))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Open the state of a batch that never ran."""
    (tmp_path / "night.yaml").write_text(_NIGHT, encoding="utf-8")
    with Ledger.open(tmp_path / "night", "night") as ledger:
        yield Place(tmp_path / "night", ledger, load(tmp_path / "night.yaml", Options()))


async def test_a_new_ledger_looks_at_every_file(place: Place) -> None:
    """Until the files on this disk were taken in, each is looked at, whatever its name."""
    first, second, *_ = place.batch.jobs
    place.put(first, name="renamed/by a person")
    place.put(second, attempt=3)
    assert await place.found() == {first.id: 1, second.id: 3}
    assert not imported(place.ledger.marks())


async def test_afterwards_only_what_misses_is_looked_for(place: Place) -> None:
    """Once they were taken in, a run looks under the names of jobs that are not done, and at no other file."""
    first, second, third, _ = place.batch.jobs
    place.done(first)
    place.ledger.mark(IMPORTED, value=True)
    place.put(first, attempt=5)
    place.put(second, name="renamed/by a person")
    board = await place.board()
    assert (board.local_files, board.imported) == ({}, True)
    assert imported(place.ledger.marks())
    place.put(third)
    assert await place.found() == {third.id: 1}


async def test_what_an_old_copy_of_the_ledger_misses_is_taken_in_again(place: Place) -> None:
    """A film of an attempt that the ledger never heard of means that files are to be taken in once more."""
    first = place.batch.jobs[0]
    place.ledger.mark(IMPORTED, value=True)
    place.put(first, attempt=2)
    board = await place.board()
    assert (list(board.local_files), board.imported) == ([first.id], False)
    assert not imported(place.ledger.marks())


async def test_a_film_of_an_attempt_that_is_known_is_no_news(place: Place) -> None:
    """What is on this disk of an attempt that the ledger has heard of is left to the server that holds it."""
    first = place.batch.jobs[0]
    place.ledger.mark(IMPORTED, value=True)
    prefix = file_prefix(place.batch.name, first.id, 2)
    place.ledger.append(Accepted(first.id, 2, 0.0, "id", prefix, "http://gpu:8188"))
    place.put(first, attempt=2)
    board = await place.board()
    assert (board.local_files, board.imported) == ({}, True)


async def test_a_run_that_was_killed_while_it_took_files_in(place: Place) -> None:
    """Until every file was taken in, one of an attempt that the ledger has heard of is still found."""
    first = place.batch.jobs[0]
    prefix = file_prefix(place.batch.name, first.id, 2)
    place.ledger.append(Accepted(first.id, 2, 0.0, prefix, prefix, OUR_DISK))
    place.put(first, attempt=2)
    assert await place.found() == {first.id: 2}


async def test_a_film_that_renders_another_job_is_not_taken_in(place: Place) -> None:
    """What is on this disk under a job's prefix with the workflow of another is somebody's; its number is not used."""
    first, second, *_ = place.batch.jobs
    place.put(first, attempt=4, like=second)
    place.put(second)
    board = await place.board()
    assert {job: attempt for job, (attempt, _) in board.local_files.items()} == {second.id: 1}
    assert (board.next_attempt(first.id), board.next_attempt(second.id)) == (5, 1)


async def test_the_board_knows_what_its_jobs_render(place: Place) -> None:
    """Asked, a job of the manifest has a digest, the same whatever its prefix; others have none."""
    board = await place.board()
    assert board.renders is not None
    first, second, *_ = place.batch.jobs
    assert board.renders(first.id) == render_digest(place.batch.graph(first, "whatever"))
    assert board.renders(first.id) != board.renders(second.id)
    assert board.renders("0" * 12) == ""
