"""A server that refuses the token: at the start, in mid-night, and what the right token then finds; a wrong address."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batches import Batch
from comfyui import Server
from evidence import assert_home, twice

if TYPE_CHECKING:
    from pathlib import Path

_RIGHT, _WRONG = "the-right-t0ken", "the-wrong-t0ken"


def test_refused_at_the_start(tmp_path: Path) -> None:
    """With a wrong token or none a run exits with 3 and says what to do; with the right one it finishes the batch."""
    with Server(tmp_path / "server", seconds=0.1, token=_RIGHT) as server:
        batch = Batch(tmp_path, (server.url,), ("cat-1",), token=_WRONG)
        for batch.token in (_WRONG, ""):
            refused = batch.run()
            assert refused.code == 3
            assert f"{server.url} refuses the token" in refused.err
            assert "correct BATCHRUNNER_TOKEN or the token file" in refused.err
            assert "Traceback" not in refused.err
        assert server.events() == []
        batch.token = _RIGHT
        assert batch.run().code == 0
        assert [job["attempts"] for job in batch.status()["jobs"]] == [1] * 2
        assert_home(batch.home, batch.wanted)


def test_refused_in_mid_night(tmp_path: Path) -> None:
    """When the token is changed in mid-night a run exits with 3 and burns nothing; the new token finishes the batch."""
    with Server(tmp_path / "server", seconds=0.4, token=_WRONG) as server:
        batch = Batch(tmp_path, (server.url,), ("cat-1", "cat-2"), token=_WRONG)
        with batch.start() as running:
            server.until("started", 2)
            server.kill()
            before = server.events()
            server.start(token=_RIGHT)
            refused = running.end()
        assert refused.code == 3
        assert "refuses the token" in refused.err
        assert "correct BATCHRUNNER_TOKEN or the token file" in refused.err
        batch.token = _RIGHT
        assert batch.run().code == 0
        assert_home(batch.home, batch.wanted)
        saved = {event["prompt_id"] for event in before if event["what"] == "saved"}
        lost = sum(event["what"] == "posted" and event["prompt_id"] not in saved for event in before)
        assert len(server.events("posted")) == 4 + lost
        assert sum(job["attempts"] for job in batch.status()["jobs"]) == 4 + lost
        assert twice(event for event in before if event["what"] == "rendered") == {}


def test_an_address_where_nothing_is(tmp_path: Path) -> None:
    """A mistyped address ends the first run at once, exit 2; a later one waits: a proxy may say so too."""
    with Server(tmp_path / "server", seconds=0.1) as server:
        mistyped = f"{server.url}/wrong"
        batch = Batch(tmp_path, (mistyped,), ("cat-1",), rules={"patience": "1s"})
        told = batch.run()
        assert told.code == 2
        assert f"{mistyped}/queue answered 404; check the URL" in told.err
        assert server.events() == []
        batch.servers = (server.url,)
        batch.write()
        assert batch.run().code == 0
        assert_home(batch.home, batch.wanted)
        batch.servers, batch.prompts = (mistyped,), ("cat-1", "cat-2")
        batch.write()
        assert batch.run().code == 3
