"""A whole batch, from the manifest to the videos: how the servers are used, and what a second run does."""

from __future__ import annotations

import asyncio
import json
import shutil
import sysconfig
from pathlib import Path

import av
from batches import Batch
from comfyui import Server
from evidence import assert_home, most_at_once, ours, posted_twice, twice
from gated import Holds, gated
from processes import LIMIT, Running

from batchrunner.sim.record import What

_DEMO = Path(__file__).parents[2] / "jobs" / "demo.yaml"
_INSTALLED = (str(Path(sysconfig.get_path("scripts")) / "batchrunner"),)


def test_the_demo(tmp_path: Path) -> None:
    """README's first command makes six videos that play, with sound, each carrying its own text and seed."""
    with Running(tmp_path, "run", str(_DEMO), command=_INSTALLED) as running:
        ended = running.end()
    assert ended.code == 0, ended.err
    shots = {_shot(path) for path in (tmp_path / "outputs").rglob("*.mp4")}
    texts, seeds = {text for text, _ in shots}, {seed for _, seed in shots}
    assert (len(shots), len(texts), len(seeds)) == (6, 3, 2)
    assert all(text in _DEMO.read_text(encoding="utf-8") for text in texts)
    assert [path.name for path in tmp_path.iterdir()] == ["outputs"]


def _shot(path: Path) -> tuple[str, int]:
    """Play a video to its end; return the text and the seed in its metadata, which must be those of its sidecar."""
    with av.open(str(path)) as film:
        workflow = json.loads(film.metadata["prompt"])
        frames = sum(1 for _ in film.decode(video=0))
    with av.open(str(path)) as film:
        samples = sum(frame.samples for frame in film.decode(audio=0))
    sidecar = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    text, seed = workflow["7"]["inputs"]["text"], workflow["10"]["inputs"]["seed"]
    assert (frames, samples > 0) == (25, True)
    assert (sidecar["params"]["prompt"], sidecar["params"]["seed"]) == (text, seed)
    return text, seed


async def test_two_at_a_time_and_no_gap(tmp_path: Path) -> None:
    """Never more than two of our prompts are on the server, and while one renders the next one waits behind it."""
    async with gated(tmp_path / "server", Holds(films=1)) as (server, _):
        batch = Batch(tmp_path, (server.url,), ("cat-1", "cat-2", "cat-3", "cat-4"))
        with await asyncio.to_thread(batch.start) as running:
            async with asyncio.timeout(LIMIT):
                await server.until(What.POSTED, 3)  # the first is through, the second goes on rendering until let go
            assert len(server.simulator.record.of(What.SUCCEEDED)) == 1
            server.let_go()
            ended = await asyncio.to_thread(running.end)
        assert ended.code == 0, ended.err
        assert most_at_once(server.events()) == 2
        assert_home(batch.home, batch.wanted)


async def test_the_faster_of_two_servers_gets_more(tmp_path: Path) -> None:
    """Two servers share a batch: while one of them renders a single video, the other renders all that is left."""
    async with gated(tmp_path / "fast", Holds()) as (fast, _), gated(tmp_path / "slow", Holds(films=0)) as (slow, _):
        texts = ("cat-1", "cat-2", "cat-3", "cat-4", "cat-5")
        batch = Batch(tmp_path, (slow.url, fast.url), texts)
        with await asyncio.to_thread(batch.start) as running:
            async with asyncio.timeout(LIMIT):
                await fast.until(What.SUCCEEDED, 8)
            slow.let_go()
            ended = await asyncio.to_thread(running.end)
        assert ended.code == 0, ended.err
        assert [len(server.simulator.record.of(What.RENDERED)) for server in (fast, slow)] == [8, 2]
        assert max(most_at_once(fast.events()), most_at_once(slow.events())) == 2
        assert_home(batch.home, batch.wanted)


def test_again_and_more(tmp_path: Path) -> None:
    """A batch that is done posts nothing when it runs again; with a prompt more in its manifest only that one runs."""
    with Server(tmp_path / "server", seconds=0.1) as server:
        batch = Batch(tmp_path, (server.url,), ("cat-1", "cat-2"))
        assert batch.run().code == 0
        before = server.events()
        again = batch.run()
        assert again.code == 0, again.err
        assert server.events() == before
        batch.prompts = ("cat-1", "dog-1", "cat-2")
        batch.write()
        assert batch.run().code == 0
        assert len(server.events("posted")) == 6
        assert_home(batch.home, batch.wanted)
        assert twice(server.events()) == {}


def test_without_its_state(tmp_path: Path) -> None:
    """Killed and robbed of its state, a run adopts what is saved, in the history and in the queue."""
    with Server(tmp_path / "server", seconds=0.5) as server:
        batch = Batch(tmp_path, (server.url,))
        with batch.start() as running:
            server.until("viewed", 2)
            server.until("started", 3)
            running.kill()
        server.until("succeeded", 3)
        for path in batch.home.glob("state.sqlite3*"):
            path.unlink()
        last = batch.run()
        assert last.code == 0, last.err
        assert_home(batch.home, batch.wanted)
        assert (twice(server.events()), posted_twice(server.events())) == ({}, {})
        assert len(server.events("posted")) == 6


def test_without_its_folder(tmp_path: Path) -> None:
    """With everything it had downloaded gone, a run takes from the server what is still there."""
    with Server(tmp_path / "server", seconds=0.5) as server:
        batch = Batch(tmp_path, (server.url,))
        with batch.start() as running:
            server.until("viewed", 2)
            running.kill()
        shutil.rmtree(batch.home.parent)
        assert batch.run().code == 0
        assert_home(batch.home, batch.wanted)
        assert (twice(server.events()), posted_twice(server.events())) == ({}, {})


def test_one_of_two_servers_dies(tmp_path: Path) -> None:
    """When one of two servers dies for good the other renders what it held too, and that costs no attempt."""
    with Server(tmp_path / "one") as one, Server(tmp_path / "two", seconds=20) as two:
        batch = Batch(tmp_path, (one.url, two.url), rules={"patience": "2s"})
        with batch.start() as running:
            two.until("started")
            two.kill()
            ended = running.end()
        assert ended.code == 0, ended.err
        assert f"{two.url} has brought nothing for" in ended.err
        assert_home(batch.home, batch.wanted)
        assert twice([*one.events(), *two.events()]) == {}


def test_a_server_that_forgets_everything(tmp_path: Path) -> None:
    """A server killed and started again in mid-batch costs nothing but what it had not finished."""
    with Server(tmp_path / "server", seconds=0.4) as server:
        batch = Batch(tmp_path, (server.url,))
        with batch.start() as running:
            server.until("started", 3)
            server.kill()
            before = server.events()
            server.start()
            ended = running.end()
        assert ended.code == 0, ended.err
        assert_home(batch.home, batch.wanted)
        saved = {event["prompt_id"] for event in before if event["what"] == "saved"}
        unfinished = [event for event in before if event["what"] == "posted" and event["prompt_id"] not in saved]
        assert len(server.events("posted")) == 6 + len(unfinished)
        assert set(twice(server.events())) <= {event["note"] for event in before if event["prompt_id"] not in saved}
        assert len(ours(server.events("rendered"))) == 6 + len(twice(server.events()))


def test_waits_for_a_server(tmp_path: Path) -> None:
    """Where no server is, a run waits and says so, and goes on when one appears."""
    server = Server(tmp_path / "server", seconds=0.1)
    batch = Batch(tmp_path, (server.url,))
    with batch.start() as running:
        running.hear(f"{server.url} is away")
        with server:
            assert running.end().code == 0
    assert_home(batch.home, batch.wanted)
    assert twice(server.events()) == {}
