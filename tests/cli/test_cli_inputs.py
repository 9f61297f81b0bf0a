"""Copies of input files: made before anything is sent, whole, and only of what is still to be rendered."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from batchrunner.core.job import INPUTS
from batchrunner.core.lifecycle import AttemptHistory, Done, Prompt, Waiting
from batchrunner.errors import LocalError, YoursError
from batchrunner.inputs import copy_inputs
from batchrunner.manifest import Options, load
from batchrunner.manifest.hashes import MEMORY

if TYPE_CHECKING:
    from batchrunner.manifest import Batch

GRAPH = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "cat.png"}},
    "9": {"class_type": "SaveImage", "inputs": {"filename_prefix": "x", "images": ["1", 0]}},
}
HEAD = "name: t\nserver: sim\nworkflow: w.json\nparams: {image: 1.image}\n"
PNG = b"\x89PNG\r\n\x1a\n"


def _loaded(folder: Path, sweep: str = "{image: {files: '*.png'}}", options: Options | None = None) -> Batch:
    """Write a manifest and two pictures into a folder; return the batch of both."""
    (folder / "w.json").write_text(json.dumps(GRAPH))
    (folder / "m.yaml").write_text(f"{HEAD}sweep: {sweep}")
    for name in ("a", "b"):
        if not (folder / f"{name}.png").exists():
            (folder / f"{name}.png").write_bytes(PNG + name.encode())
    return load(folder / "m.yaml", options or Options(out=folder))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Yield an empty batch folder; the manifest belongs beside it."""
    (tmp_path / "t").mkdir()
    return tmp_path / "t"


def _copies(home: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (home / INPUTS).iterdir() if path.name != MEMORY}


async def test_every_input_is_copied_once(home: Path) -> None:
    """A copy lies under the name that is uploaded; it and what is remembered are private. It is left alone later."""
    batch = _loaded(home.parent)
    await copy_inputs(home, batch, {})
    assert _copies(home) == {file.name: PNG + letter for file, letter in zip(batch.inputs, (b"a", b"b"), strict=True)}
    assert {stat.S_IMODE(path.stat().st_mode) for path in (home / INPUTS).iterdir()} == {0o600}
    before = {path.name: path.stat().st_ino for path in (home / INPUTS).iterdir() if path.name != MEMORY}
    await copy_inputs(home, _loaded(home.parent), {})
    assert {path.name: path.stat().st_ino for path in (home / INPUTS).iterdir() if path.name != MEMORY} == before


async def test_only_what_is_still_to_do_is_copied(home: Path) -> None:
    """Neither the inputs of done jobs are copied, nor those of jobs that are not chosen; none makes no folder."""
    batch = _loaded(home.parent)
    first, second = batch.jobs
    done = Done(AttemptHistory(), Prompt(1, "id", "t-a1", "gpu", claimed=True), ())
    await copy_inputs(home, batch, {first.id: done, second.id: done})
    assert not (home / INPUTS).exists()
    await copy_inputs(home, batch, {first.id: done, second.id: Waiting()})
    assert list(_copies(home)) == [second.inputs[0].name]
    chosen = _loaded(home.parent, options=Options(only=(("image", "a"),), out=home.parent))
    await copy_inputs(home, chosen, {})
    assert set(_copies(home)) == {first.inputs[0].name, second.inputs[0].name}


async def test_a_file_that_changes_is_not_sent(home: Path) -> None:
    """What is no longer what the jobs were made of stops the run; the next one takes it as it is now."""
    batch = _loaded(home.parent)
    (home.parent / "a.png").write_bytes(PNG + b"c")
    with pytest.raises(YoursError, match=r"a\.png: was changed while it was copied"):
        await copy_inputs(home, batch, {})
    assert _copies(home) == {}
    (home.parent / "a.png").unlink()
    with pytest.raises(YoursError, match=r"a\.png: was changed while it was copied"):
        await copy_inputs(home, batch, {})
    (home.parent / "a.png").write_bytes(PNG + b"c")
    again = _loaded(home.parent)
    await copy_inputs(home, again, {})
    assert PNG + b"c" in _copies(home).values()


async def test_a_broken_copy_is_replaced(home: Path) -> None:
    """A copy that is cut off, other bytes of the same length, and what a killed run left: all become the content."""
    batch = _loaded(home.parent)
    (home / INPUTS).mkdir()
    first, second = batch.inputs
    (home / INPUTS / first.name).write_bytes(PNG)
    (home / INPUTS / second.name).write_bytes(PNG + b"x")
    (home / INPUTS / f"{second.name}.part").write_bytes(b"half")
    await copy_inputs(home, batch, {})
    assert _copies(home) == {first.name: PNG + b"a", second.name: PNG + b"b"}


async def test_no_link_is_followed(home: Path) -> None:
    """A planted link costs nobody a file: one at a copy's name is replaced, one in the folder's place stops the run."""
    batch = _loaded(home.parent)
    victim = home.parent / "victim"
    victim.write_bytes(b"precious")
    (home / INPUTS).mkdir()
    (home / INPUTS / batch.inputs[0].name).symlink_to(victim)
    await copy_inputs(home, batch, {})
    assert victim.read_bytes() == b"precious"
    assert (home / INPUTS / batch.inputs[0].name).read_bytes() == PNG + b"a"
    other = home.parent / "other"
    other.mkdir()
    (other / INPUTS).symlink_to(home.parent)
    with pytest.raises(LocalError, match="a link stands where a folder should be"):
        await copy_inputs(other, batch, {})


async def test_a_folder_that_cannot_be_written_stops_the_run(home: Path) -> None:
    """A file in the folder's place is said, with where."""
    (home / INPUTS).write_text("")
    with pytest.raises(LocalError, match=INPUTS):
        await copy_inputs(home, _loaded(home.parent), {})


@pytest.mark.skipif(not os.access("/dev/shm", os.W_OK), reason="needs a second disk")  # noqa: S108 - one in memory
async def test_a_file_of_another_disk_is_copied(home: Path) -> None:
    """Where a disk can't copy by reference, bytes are read and written."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        batch = _loaded(Path(folder))
        await copy_inputs(home, batch, {})
    assert {sha256(content).hexdigest() for content in _copies(home).values()} == {one.sha256 for one in batch.inputs}
