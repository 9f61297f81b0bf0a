"""From the gallery to the next night: the page, its picks, promote, and first manifests."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from batches import Batch
from comfyui import Server
from processes import Ended, Running, ended, until

from batchrunner.manifest import load
from batchrunner.sim.nodes import Models
from batchrunner.sim.record import What
from batchrunner.sim.server import Simulator, serve

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batchrunner.core.job import Job

_JOBS = Path(__file__).parents[2] / "jobs"
_NAME = "own-image"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Return a server that renders at once."""
    with Server(tmp_path_factory.mktemp("server"), seconds=0.05) as server:
        yield server


def _status(folder: Path, name: str) -> list[dict[str, Any]]:
    told = ended(folder, "status", f"outputs/{name}", "--json")
    assert told.code == 0, told.err
    jobs: list[dict[str, Any]] = json.loads(told.out)["jobs"]
    return jobs


def _picks(folder: Path, batch: str, jobs: Sequence[Job], manifest: str) -> None:
    picks = [{"job": job.id, "note": "this one"} for job in jobs]
    text = json.dumps({"batch": batch, "manifest": manifest, "picks": picks})
    (folder / "picks.json").write_text(text, encoding="utf-8")


def test_promote(tmp_path: Path, server: Server) -> None:
    """Picks of ltx2 become a manifest that plan accepts as it is, and run renders their prompts and seeds, better."""
    batch = Batch(tmp_path, (server.url,), ("cat-1", "cat-2"))
    assert batch.run().code == 0
    picked = [job for job in load(tmp_path / "night.yaml").jobs if job.params["seed"] == 8]
    _picks(tmp_path, "night", picked, "night.yaml")
    made = ended(tmp_path, "promote", "picks.json", "--set", "quality=high")
    assert (made.code, "wrote night-picks.yaml with 2 picks" in made.err) == (0, True), made.err
    planned = ended(tmp_path, "plan", "night-picks.yaml", "--json")
    assert (planned.code, json.loads(planned.out)["total"]) == (0, 2)
    ran = ended(tmp_path, "run", "night-picks.yaml")
    assert ran.code == 0, ran.err
    better = [job["params"] for job in _status(tmp_path, "night-picks")]
    assert [(job["prompt"], job["seed"]) for job in better] == [("cat-1", 8), ("cat-2", 8)]
    assert {(job["steps"], job["cfg"]) for job in better} == {(40, 6.0)}


def test_promote_of_an_own_workflow(tmp_path: Path, server: Server) -> None:
    """Picks of a workflow of one's own are rendered again with their prompts and seeds, and what is set."""
    for name in (f"{_NAME}.yaml", "sdxl_api.json"):
        shutil.copy(_JOBS / name, tmp_path)
    assert ended(tmp_path, "run", f"{_NAME}.yaml", "--server", server.url, "--limit", "2").code == 0
    picked = load(tmp_path / f"{_NAME}.yaml").jobs[:2]
    _picks(tmp_path, _NAME, picked, f"{_NAME}.yaml")
    made = ended(tmp_path, "promote", "picks.json", "--set", "width=1024", "--server", server.url)
    assert made.code == 0, made.err
    ran = ended(tmp_path, "run", f"{_NAME}-picks.yaml")
    assert ran.code == 0, ran.err
    same = ("prompt", "seed", "steps", "height", "_animal")
    better = _status(tmp_path, f"{_NAME}-picks")
    wanted = [tuple(job.params[name] for name in same) for job in picked]
    assert [tuple(job["params"][name] for name in same) for job in better] == wanted
    assert {job["params"]["width"] for job in better} == {1024}
    assert all(job["files"] for job in better)


def test_the_page_while_it_runs(tmp_path: Path) -> None:
    """The page stands while the batch runs, follows it, and lists at its end what the report says."""
    with Server(tmp_path / "server", seconds=0.8) as server:
        batch = Batch(tmp_path, (server.url,), ("cat-1",), (7, 8, 9))
        with batch.start() as running:
            running.hear("saved")
            assert (batch.home / "index.html").exists()
            follows = batch.home / "gallery-data.js"
            until(lambda: "cat-1-s7.mp4" in follows.read_text(encoding="ascii") or None, "the page does not follow")
            assert running.end().code == 0
        data = (batch.home / "gallery-data.js").read_text(encoding="ascii")
        assert all(name in data for name in batch.wanted)
        assert "3 of 3 done" in data
        assert "3 of 3 done" in (batch.home / "report.md").read_text(encoding="utf-8")


def test_no_room_for_the_page(tmp_path: Path, server: Server) -> None:
    """Where the page can't be written one line says so, and every video comes home all the same."""
    batch = Batch(tmp_path, (server.url,), ("dog-1",))
    (batch.home / "index.html" / "taken").mkdir(parents=True)
    ran = batch.run()
    assert ran.code == 0, ran.err
    assert ran.err.count("couldn't update the gallery") == 1
    assert {path.name for path in batch.home.glob("*.mp4")} == set(batch.wanted)
    rebuilt = ended(tmp_path, "gallery", "night.yaml")
    assert (rebuilt.code, len(rebuilt.err.splitlines())) == (5, 1)


def test_serve(tmp_path: Path, server: Server) -> None:
    """--serve shows page and videos on loopback, answers ranges, keeps the state to itself, and Ctrl-C ends it well."""
    batch = Batch(tmp_path, (server.url,), ("owl-1",), (7,))
    assert batch.run().code == 0
    film = (batch.home / "owl-1-s7.mp4").read_bytes()
    with Running(tmp_path, "gallery", "night.yaml", "--serve") as serving:
        match = re.search(r"http://127\.0\.0\.1:\d+/[\w-]+/", serving.hear("gallery: "))
        assert match is not None
        asked = urllib.request.Request(f"{match[0]}owl-1-s7.mp4", headers={"Range": "bytes=10-19"})  # noqa: S310 - ours
        with urllib.request.urlopen(asked) as answer:  # noqa: S310 - loopback
            assert (answer.status, answer.read()) == (206, film[10:20])
        with urllib.request.urlopen(match[0]) as answer:  # noqa: S310 - loopback
            assert answer.read() == (batch.home / "index.html").read_bytes()
        with pytest.raises(urllib.error.HTTPError, match="404"):
            urllib.request.urlopen(f"{match[0]}state.sqlite3")  # noqa: S310 - loopback
        serving.signal(signal.SIGINT)
        assert serving.end().code == 0


async def test_what_a_server_lacks(tmp_path: Path) -> None:
    """A model that a server lacks is found by plan --ask, and run refuses with it before its first POST."""
    simulator = Simulator(tmp_path / "server", models=Models(checkpoints=("other.safetensors",)))
    async with serve(simulator) as url:
        batch = Batch(tmp_path, (url,))
        asked = await asyncio.to_thread(ended, tmp_path, "plan", "night.yaml", "--ask", "--json")
        warned = json.loads(asked.out)["warnings"]
        assert (asked.code, asked.err.splitlines()) == (2, warned)
        assert any("other.safetensors" in line for line in warned)
        ran: Ended = await asyncio.to_thread(batch.run)
        assert (ran.code, set(warned) <= set(ran.err.splitlines())) == (2, True), ran.err
        assert simulator.record.of(What.POSTED, What.REFUSED) == []
