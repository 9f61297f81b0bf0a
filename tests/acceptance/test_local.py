"""This machine's own side: who may read what, a disk that is full, a state that cannot be used."""

from __future__ import annotations

import asyncio
import sys
from typing import TYPE_CHECKING

import pytest
from batches import Batch
from comfyui import Doorbell, Server
from evidence import assert_home, assert_right, twice
from processes import Ended, ended

from batchrunner.sim.machine import Pace
from batchrunner.sim.media import BoxRenderer
from batchrunner.sim.server import Simulator, serve

if TYPE_CHECKING:
    from pathlib import Path

_LIMITED = """\
import os, resource, sys
limit = int(sys.argv.pop(1))
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
os.execv(sys.executable, [sys.executable, "-B", "-m", "batchrunner", *sys.argv[1:]])
"""
"""With `-B`: a compiled module that the limit cuts short would be left to every later process."""


def cramped(batch: Batch, limit: int) -> Ended:
    """Run a batch where no file may grow beyond `limit` bytes."""
    command = (sys.executable, "-c", _LIMITED, str(limit))
    return ended(batch.folder, "run", "night.yaml", command=command)


def test_private_files(tmp_path: Path) -> None:
    """State, log and lock are their owner's alone, also where the umask would let everybody in."""
    with Server(tmp_path / "server", seconds=0.1) as server:
        batch = Batch(tmp_path, (server.url,), ("cat-1",))
        assert ended(tmp_path, "run", "night.yaml", umask=0).code == 0
        private = [*batch.home.glob("state*"), *batch.home.glob("*.log")]
        assert {path.name for path in private} >= {"state.sqlite3", "state.lock", "run.log"}
        assert {oct(path.stat().st_mode & 0o777) for path in private} == {"0o600"}
        assert_home(batch.home, batch.wanted)


async def test_no_room_for_the_videos(tmp_path: Path) -> None:
    """Where no video fits a run exits with 5 and leaves nothing partial; with room the next one fetches them all."""
    simulator = Simulator(tmp_path / "server", pace=Pace(step=0.02), ttl=None, renderer=BoxRenderer(3_000_000))
    async with serve(simulator) as url:
        batch = Batch(tmp_path, (url,))
        full = await asyncio.to_thread(cramped, batch, 2_000_000)
        assert full.code == 5, full.err
        assert "run the same command again" in full.err
        assert "Traceback" not in full.err
        assert [path.name for path in batch.home.iterdir() if path.suffix in (".mp4", ".part")] == []
        assert len(simulator.record.renders()) < 6, "it went on submitting"
        roomy = await asyncio.to_thread(batch.run)
        assert roomy.code == 0, roomy.err
    assert_home(batch.home, batch.wanted)
    assert set(simulator.record.renders().values()) == {1}


@pytest.mark.parametrize("limit", [4_000, 60_000])
def test_no_room_for_the_state(tmp_path: Path, limit: int) -> None:
    """Where the state can't grow a run exits with 5 at once; what is home is whole, and the next one goes on."""
    with Server(tmp_path / "server", seconds=0.05) as server:
        batch = Batch(tmp_path, (server.url,))
        full = cramped(batch, limit)
        assert full.code == 5, full.err
        assert "state.sqlite3: " in full.err
        assert "run the same command again" in full.err
        assert "Traceback" not in full.err
        for path in batch.home.glob("*.mp4"):
            assert_right(path.read_bytes(), *batch.wanted[path.name])
        roomy = batch.run()
        assert roomy.code == 0, roomy.err
        assert_home(batch.home, batch.wanted)
        assert twice(server.events()) == {}


def test_a_state_that_is_none(tmp_path: Path) -> None:
    """A state that is damaged is left as it is: exit 5, what to do in one line, no request."""
    with Doorbell() as bell:
        batch = Batch(tmp_path, (bell.url,))
        batch.home.mkdir(parents=True)
        (batch.home / "state.sqlite3").write_bytes(b"no database at all\n" * 500)
        end = batch.run()
        assert (end.code, len(end.err.splitlines()), bell.rang()) == (5, 1, False)
        assert "move it away and run the same command again" in end.err
        assert (batch.home / "state.sqlite3").read_bytes() == b"no database at all\n" * 500
