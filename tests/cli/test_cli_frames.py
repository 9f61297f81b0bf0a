"""Frames of another batch's videos, made as pictures before anything is sent."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from batchrunner.core.facts import Accepted, File, Rendered, Saved
from batchrunner.core.job import INPUTS, Job
from batchrunner.download.verify import inspect
from batchrunner.errors import LocalError, YoursError
from batchrunner.inputs import copy_inputs, make_frames
from batchrunner.ledger import Ledger
from batchrunner.manifest import Batch, Options, load
from batchrunner.sim.graph import Shot
from batchrunner.sim.media import Order
from batchrunner.sim.video import PyavRenderer

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("av", reason="frames need PyAV (extra: video)")

GRAPH = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "x.png"}},
    "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "x", "images": ["1", 0]}},
}
JOB = Job("a" * 12, "", {"prompt": "a cat"}, "cat", 0.0)


def _batch(folder: Path) -> Batch:
    """Return a batch of one job, which takes the last frame of the only video of another batch."""
    with Ledger.open(folder / "first", "first") as ledger:
        ledger.keep([JOB])
        ledger.append(Accepted(JOB.id, 1, 0.0, "id", "p", "http://gpu:8188"))
        ledger.append(Rendered(JOB.id, 1, 0.0, (File("x.mp4"),), None))
        ledger.append(Saved(JOB.id, 1, 0.0, "x.mp4", "cat.mp4", 9, "0" * 64))
    (folder / "first" / "cat.mp4").write_bytes(PyavRenderer(64, 9).render(Order("mp4", Shot(64, 48, 9))))
    (folder / "w.json").write_text(json.dumps(GRAPH), encoding="utf-8")
    (folder / "m.yaml").write_text(
        "name: t\nserver: sim\nworkflow: w.json\nparams: {image: 1.image}\n"
        "sweep: {rows: {batch: first, frame: last}, image: '${_file}'}\n",
        encoding="utf-8",
    )
    return load(folder / "m.yaml", Options(out=folder))


async def test_a_frame_is_made_once_and_is_the_input_of_its_job(tmp_path: Path) -> None:
    """It lies under the name that its job was identified by, whole, with the size and hash of what is in it."""
    batch = _batch(tmp_path)
    home = tmp_path / "t"
    home.mkdir()
    made = make_frames(home, batch)
    (file,) = made.jobs[0].inputs
    picture = home / INPUTS / file.name
    assert (file.name, made.jobs[0].id) == (batch.jobs[0].uploads["image"], batch.jobs[0].id)
    assert (file.size, inspect(picture).kind) == (picture.stat().st_size, "png")
    await copy_inputs(home, made, {})
    before = picture.stat().st_ino
    assert make_frames(home, batch).jobs == made.jobs
    assert picture.stat().st_ino == before
    picture.write_bytes(picture.read_bytes()[:-9])
    assert make_frames(home, batch).jobs == made.jobs
    assert inspect(picture).whole
    with pytest.raises(YoursError, match=r"cat\.mp4: has no frame 99 that can be read"):
        make_frames(home, replace(batch, frames={"other.png": "99"}, sources={"other.png": batch.sources[file.name]}))


def test_a_folder_that_cannot_be_written_is_a_local_error(tmp_path: Path) -> None:
    """A link or a file in place of the folder of inputs ends the run with its name, and is not followed."""
    batch = _batch(tmp_path)
    for home in (tmp_path / "a", tmp_path / "b"):
        home.mkdir()
    (tmp_path / "a" / INPUTS).symlink_to(tmp_path)
    (tmp_path / "b" / INPUTS).write_bytes(b"")
    for home in (tmp_path / "a", tmp_path / "b"):
        with pytest.raises(LocalError, match=INPUTS):
            make_frames(home, batch)
    assert not list(tmp_path.glob("*.png"))


def test_batches_without_frames_are_left_alone(tmp_path: Path) -> None:
    """Where no frame is wanted, nothing is made and no folder either."""
    batch = replace(_batch(tmp_path), frames={})
    assert make_frames(tmp_path / "t", batch) is batch
    assert not (tmp_path / "t").exists()
