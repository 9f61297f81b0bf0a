"""The race against clean-up, and strangers on the same server."""

from __future__ import annotations

import json
from threading import Event, Thread
from typing import TYPE_CHECKING, Self
from urllib.request import Request, urlopen

from batches import Batch
from comfyui import Server
from evidence import assert_home, renders
from ltx2graph import ltx2

if TYPE_CHECKING:
    from pathlib import Path


class Stranger:
    """Somebody who posts the prompts of one batch with the prefix that all the world uses, until the block ends."""

    def __init__(self, url: str, workflow: dict[str, object]) -> None:
        self._url = url
        self._workflow = workflow
        self._over = Event()
        self._posting = Thread(target=self._post)

    def _post(self) -> None:
        for seed in range(1000):
            workflow = json.loads(json.dumps(self._workflow))
            workflow["10"]["inputs"]["seed"] = seed % 5
            workflow["15"]["inputs"]["filename_prefix"] = "generated-video"
            body = json.dumps({"prompt": workflow}).encode()
            request = Request(f"{self._url}/prompt", body, {"Content-Type": "application/json"})  # noqa: S310 - loopback
            with urlopen(request):  # noqa: S310 - the same
                if self._over.wait(0.8):
                    return

    def __enter__(self) -> Self:
        self._posting.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._posting.join()


def test_strangers_and_clean_up(tmp_path: Path) -> None:
    """With clean-up after five seconds and a stranger's files under one shared name, every video is ours and right."""
    with Server(tmp_path / "server", seconds=0.3, ttl=5) as server:
        batch = Batch(tmp_path, (server.url,), ("cat-1", "cat-2", "cat-3", "cat-4"), ttl="5s")
        with Stranger(server.url, ltx2(seed=1)):
            ended = batch.run()
        assert ended.code == 0, ended.err
        assert_home(batch.home, batch.wanted)
        strangers = [event for event in server.events("swept") if event["prefix"] == "generated-video"]
        assert len(server.events("posted")) > 8
        assert strangers


def test_too_late(tmp_path: Path) -> None:
    """A file that was cleaned up while no runner ran is rendered again under another name, and nothing else is."""
    with Server(tmp_path / "server", seconds=0.1, ttl=1) as server:
        batch = Batch(tmp_path, (server.url,), ttl="1s")
        with batch.start() as running:
            server.until("started", 2)
            running.kill()
        server.until("swept", 2)
        ended = batch.run()
        assert ended.code == 0, ended.err
        assert_home(batch.home, batch.wanted)
        lost = {event["prefix"] for event in server.events("swept")} - _at_home(batch)
        attempts = [job["attempts"] for job in batch.status()["jobs"]]
        assert (len(lost) > 0, sum(attempts)) == (True, 6 + len(lost))
        assert sum(renders(server.events()).values()) <= 6 + len(lost)


def _at_home(batch: Batch) -> set[str]:
    texts = "".join(path.read_text("latin-1") for path in batch.home.glob("*.mp4"))
    return {word for word in texts.split('"') if word.startswith("night-")}
