"""What a run finds on its own disk when its ledger is gone: a job is home with all its files, or it is not."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pytest

from batchrunner.build_board import build_board
from batchrunner.core.facts import Accepted, Saved
from batchrunner.core.job import file_prefix
from batchrunner.download.folder import digest
from batchrunner.download.transfer import Downloader
from batchrunner.ledger import Ledger
from batchrunner.manifest import Batch, Options, load
from batchrunner.show.sidecar import beside, sidecar, write
from tests.shell.films import mesh, picture

if TYPE_CHECKING:
    from batchrunner.core.job import Job

VIDEO = {"class_type": "SaveVideo", "inputs": {"filename_prefix": "a", "video": ["1", 0]}}
TEXT = {"class_type": "SaveText", "inputs": {"filename_prefix": "a", "text": ["1", 0]}}
MESH = {"class_type": "SaveGLB", "inputs": {"filename_prefix": "a", "mesh": ["1", 0]}}
PREVIEW = {
    "class_type": "VHS_VideoCombine",
    "inputs": {"filename_prefix": "a", "images": ["1", 0], "save_output": False},
}


def batch_of(*savers: dict[str, Any], more: str = "") -> Batch:
    """Return a batch of one job whose workflow ends in these nodes, numbered from 2."""
    graph = {"1": {"class_type": "Draw", "inputs": {"seed": 1}}, **{str(2 + i): node for i, node in enumerate(savers)}}
    with TemporaryDirectory() as folder:
        Path(folder, "w.json").write_text(json.dumps(graph), encoding="utf-8")
        path = Path(folder, "m.yaml")
        path.write_text(
            f"name: n\nserver: sim\nworkflow: w.json\nfiles: cat\n{more}sweep: {{_a: 1}}\n", encoding="utf-8"
        )
        return load(path, Options())


def put(folder: Path, job: Job, path: str, body: bytes, attempt: int = 1) -> None:
    """Bring a file home as a run does: the file, then its sidecar, and nothing in the ledger."""
    (folder / path).write_bytes(body)
    with (folder / path).open("rb") as file:
        size, sha256 = digest(file)
    saved = Saved(job.id, attempt, 2.0, path, path, size, sha256)
    prefix = file_prefix("n", job.id, attempt)
    accepted = Accepted(job.id, attempt, 1.0, "id", prefix, "http://gpu:8188")
    write(folder / beside(path), sidecar("n", job, [accepted], saved, None))


def drawn(batch: Batch, job: Job) -> bytes:
    """Return a picture that carries a job's workflow, of its first attempt."""
    prefix = file_prefix("n", job.id, 1)
    return picture(prefix, workflow=batch.graph(job, prefix))


async def found(batch: Batch, folder: Path) -> dict[str, list[str]]:
    """Return the files that a run with a new ledger takes as home, by job."""
    with Ledger.open(folder, batch.name) as ledger:
        board = await build_board(batch, ledger, ledger.content(), Downloader(folder, "boot"), 0.0)
    return {job: sorted(home.path for home in local_files) for job, (_, local_files) in board.local_files.items()}


async def test_a_job_that_also_saved_a_text_is_home_with_both(tmp_path: Path) -> None:
    """A text carries no workflow: its sidecar says whose it is, and the job is not rendered a second time."""
    batch = batch_of(VIDEO, TEXT)
    (job,) = batch.jobs
    put(tmp_path, job, "cat.png", drawn(batch, job))
    put(tmp_path, job, "cat-2.txt", b"a cat")
    assert await found(batch, tmp_path) == {job.id: ["cat-2.txt", "cat.png"]}


async def test_a_job_of_meshes_and_texts_alone_is_home(tmp_path: Path) -> None:
    """Where no file carries a workflow, the sidecars are enough."""
    batch = batch_of(MESH, TEXT)
    (job,) = batch.jobs
    put(tmp_path, job, "cat.glb", mesh())
    put(tmp_path, job, "cat-2.txt", b"a cat")
    assert await found(batch, tmp_path) == {job.id: ["cat-2.txt", "cat.glb"]}


@pytest.mark.parametrize("missing", ["cat.png", "cat-2.txt", "cat-2.json"])
async def test_a_job_with_a_file_missing_is_not_home(tmp_path: Path, missing: str) -> None:
    """Of a video and a text one alone is not the job: the server may have the other, else it is rendered again."""
    batch = batch_of(VIDEO, TEXT)
    (job,) = batch.jobs
    put(tmp_path, job, "cat.png", drawn(batch, job))
    put(tmp_path, job, "cat-2.txt", b"a cat")
    (tmp_path / missing).unlink()
    assert await found(batch, tmp_path) == {}


async def test_files_of_two_attempts_do_not_make_one(tmp_path: Path) -> None:
    """The video of one attempt and the text of another are not a job that is home."""
    batch = batch_of(VIDEO, TEXT)
    (job,) = batch.jobs
    put(tmp_path, job, "cat.png", drawn(batch, job))
    put(tmp_path, job, "cat-2.txt", b"a cat", attempt=2)
    assert await found(batch, tmp_path) == {}


async def test_a_text_that_was_changed_is_no_proof(tmp_path: Path) -> None:
    """A sidecar vouches for the bytes it was written for; another file under that name is somebody's own."""
    batch = batch_of(TEXT)
    (job,) = batch.jobs
    put(tmp_path, job, "cat.txt", b"a cat")
    (tmp_path / "cat.txt").write_bytes(b"a dog")
    assert await found(batch, tmp_path) == {}


async def test_a_node_that_keeps_nothing_owes_no_file(tmp_path: Path) -> None:
    """A VHS_VideoCombine with save_output: false brings no file home, so none of it is waited for."""
    batch = batch_of(VIDEO, PREVIEW)
    (job,) = batch.jobs
    put(tmp_path, job, "cat.png", drawn(batch, job))
    assert await found(batch, tmp_path) == {job.id: ["cat.png"]}


async def test_only_the_wanted_nodes_owe_a_file(tmp_path: Path) -> None:
    """With `outputs`, a job is home with the files of those nodes."""
    batch = batch_of(VIDEO, TEXT, more="outputs: [2]\n")
    (job,) = batch.jobs
    put(tmp_path, job, "cat.png", drawn(batch, job))
    assert await found(batch, tmp_path) == {job.id: ["cat.png"]}
