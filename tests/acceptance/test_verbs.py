"""The operator's verbs on a batch that has a past: cancel, retry, verify, why."""

from __future__ import annotations

import json
import sys
import urllib.request
from typing import TYPE_CHECKING

from batches import Batch
from comfyui import Server
from evidence import assert_home, assert_right, twice
from processes import Ended, ended, until

if TYPE_CHECKING:
    from pathlib import Path


def _verb(batch: Batch, verb: str, *options: str) -> Ended:
    told = ended(batch.folder, verb, "night.yaml", *options)
    assert "Traceback" not in told.err
    return told


def _strangers_prompt(server: Server) -> str:
    """Post what somebody else might: our own workflow under another prefix; return its id."""
    with urllib.request.urlopen(f"{server.url}/queue") as answer:  # noqa: S310 - the simulator's address
        queue = json.load(answer)
    graph = (queue["queue_running"] + queue["queue_pending"])[0][2]
    graph["15"]["inputs"]["filename_prefix"] = "stranger"
    graph["10"]["inputs"]["seed"] = 99
    body = json.dumps({"prompt": graph}).encode()
    asked = urllib.request.Request(f"{server.url}/prompt", body, {"Content-Type": "application/json"})  # noqa: S310 - the same
    with urllib.request.urlopen(asked) as answer:  # noqa: S310 - the same
        return str(json.load(answer)["prompt_id"])


def test_cancel(tmp_path: Path) -> None:
    """Cancel stops a run first; ours leave the server by id, a stranger's stays, and a later run goes on."""
    with Server(tmp_path / "slow", seconds=30.0) as server:
        batch = Batch(tmp_path, (server.url,), ("cat-1",), (7, 8, 9))
        with batch.start() as running:
            server.until("posted", 2)
            server.until("started")
            mine = [event["prompt_id"] for event in server.events("posted")]
            stranger = _strangers_prompt(server)
            cancelled = _verb(batch, "cancel")
            assert cancelled.code == 0, cancelled.err
            assert running.end().code == 130
        assert cancelled.err.startswith(f"stopping the run (process {running.pid})")
        assert cancelled.err.endswith(
            f"\ncancelled: 3 jobs\nto continue: {sys.executable} -m batchrunner run night.yaml\n"
        )
        until(lambda: server.events("started")[1:], "the stranger's prompt went as well")
        ended_by_us = {event["prompt_id"]: event["what"] for event in server.events("interrupted", "deleted")}
        assert ended_by_us == dict(zip(mine, ("interrupted", "deleted"), strict=True))
        assert server.events("started")[-1]["prompt_id"] == stranger
    assert batch.status()["counts"]["waiting"] == 0
    with Server(tmp_path / "quick", seconds=0.1) as server:
        last = batch.run("--server", server.url)
        assert last.code == 0, last.err
        assert_home(batch.home, batch.wanted)
        assert twice(server.events()) == {}


def test_cancel_what_is_rendered(tmp_path: Path) -> None:
    """What was rendered before cancel came is kept to be downloaded, and is rendered once only."""
    with Server(tmp_path / "server", seconds=0.2) as server:
        batch = Batch(tmp_path, (server.url,), ("cat-1", "cat-2"))
        with batch.start() as running:
            server.until("posted", 2)
            running.kill()
        server.until("succeeded", len(server.events("posted")))
        cancelled = _verb(batch, "cancel")
        assert cancelled.code == 0, cancelled.err
        assert "; the next run downloads the files\n" in cancelled.err
        assert server.events("interrupted", "deleted") == []
        assert batch.run().code == 0
        assert_home(batch.home, batch.wanted)
        assert twice(server.events()) == {}


def test_cancel_without_the_server(tmp_path: Path) -> None:
    """Where the server is away, cancel says so and exits with 3; once it answers again, cancel ends well."""
    with Server(tmp_path / "server", seconds=0.5) as server:
        batch = Batch(tmp_path, (server.url,), ("cat-1",))
        with batch.start() as running:
            server.until("started")
            running.kill()
        server.kill()
        away = _verb(batch, "cancel")
        assert (away.code, "; cancel again, or run the batch to finish them" in away.err) == (3, True)
        server.start()
        assert _verb(batch, "cancel").code == 0
        assert batch.run().code == 0
        assert_home(batch.home, batch.wanted)


def test_forget(tmp_path: Path) -> None:
    """What a server that is gone for good held is rendered by another one, and no attempt is spent on the first."""
    with Server(tmp_path / "gone", seconds=30.0) as gone, Server(tmp_path / "other", seconds=0.4) as other:
        batch = Batch(tmp_path, (gone.url,), ("cat-1", "cat-2"), rules={"attempts": "2"})
        with batch.start() as running:
            gone.until("posted", 2)
            gone.until("started")
            busy = _verb(batch, "forget", gone.url)
            assert (busy.code, len(busy.err.splitlines())) == (4, 1)
            running.kill()
        gone.kill()
        held = [job["id"] for job in batch.status()["jobs"] if job["state"] in ("sending", "queued")]
        forgotten = _verb(batch, "forget", gone.url, "--json")
        assert forgotten.code == 0, forgotten.err
        document = {"version": 1, "batch": "night", "server": gone.url, "freed": held}
        assert (json.loads(forgotten.out), len(held)) == (document, 2)
        status = batch.status()
        assert status["counts"]["waiting"] == len(status["jobs"]) == 4
        with batch.start("--server", other.url) as running:
            # One more attempt is lost here. Had the first one counted, these jobs would have none left.
            other.until("started")
            other.kill()
            other.start()
            last = running.end()
        assert last.code == 0, last.err
        assert_home(batch.home, batch.wanted)
        assert twice(other.events()) == {}
        jobs = batch.status()["jobs"]
        assert {job["state"] for job in jobs} == {"done"}
        assert {job["attempts"] for job in jobs if job["id"] in held} <= {2, 3}


def test_retry(tmp_path: Path) -> None:
    """A job that failed waits again when somebody says so, that one only if picked, and the next run renders it."""
    with Server(tmp_path / "server", seconds=0.4) as server:
        batch = Batch(tmp_path, (server.url,), ("cat-1", "cat-2"), (7,), rules={"attempts": "1"})
        with batch.start() as running:
            server.until("started")
            server.kill()
            server.start()
            assert running.end().code == 1
        failed = [job for job in batch.status()["jobs"] if job["state"] == "failed"]
        picked = _verb(batch, "retry", "--only", f"job={failed[0]['id']}")
        assert picked.err == f"to be tried again: 1 job; now run: {sys.executable} -m batchrunner run night.yaml\n"
        assert {job["id"] for job in batch.status()["jobs"] if job["state"] == "waiting"} == {failed[0]["id"]}
        assert _verb(batch, "retry").code == 0
        assert batch.run().code == 0
        assert_home(batch.home, batch.wanted)
        assert twice(server.events()) == {}


def test_verify(tmp_path: Path) -> None:
    """Missing, cut and changed files are found; with --redo they are rendered again, and what was there is kept."""
    with Server(tmp_path / "server", seconds=0.1) as server:
        batch = Batch(tmp_path, (server.url,), ("cat-1", "cat-2"))
        assert batch.run().code == 0
        fine = _verb(batch, "verify")
        assert (fine.code, fine.out) == (0, "4 jobs checked: all files are intact\n")
        missing, cut, changed = (batch.home / name for name in ("cat-1-s7.mp4", "cat-1-s8.mp4", "cat-2-s7.mp4"))
        missing.unlink()
        cut.write_bytes(cut.read_bytes()[:-100])
        changed.write_bytes(changed.read_bytes()[:-1] + b"!")
        damaged = {cut.read_bytes(), changed.read_bytes()}
        found = _verb(batch, "verify")
        assert found.code == 1
        assert "cat-1-s7.mp4: missing" in found.out
        assert "cat-1-s8.mp4: " in found.out
        assert "cat-2-s7.mp4: the content was changed" in found.out
        assert "4 jobs checked: 3 with missing or damaged files" in found.out
        assert len(server.events("posted")) == 4
        redone = _verb(batch, "verify", "--redo")
        assert redone.code == 0, redone.err
        assert len(server.events("posted")) == 7
        assert {path.read_bytes() for path in batch.home.glob("*.damaged-*")} == damaged
        assert_home(batch.home, batch.wanted)
        assert _verb(batch, "verify").code == 0


def test_why(tmp_path: Path) -> None:
    """A job that a restart lost, that expired, and that was rendered again is told in order, by any of its names."""
    with Server(tmp_path / "server", seconds=0.5, ttl=1.0) as server:
        batch = Batch(tmp_path, (server.url,), ("cat-1",), (7,), ttl="1s", rules={"grace": "300ms"})
        with batch.start() as running:
            server.until("started")
            server.kill()
            server.start()
            server.until("started", 2)
            running.kill()
        server.until("swept")
        assert batch.run().code == 0
        (job,) = batch.status()["jobs"]
    film = batch.home / "cat-1-s7.mp4"
    story = ended(tmp_path, "why", str(film)).out
    assert story == ended(tmp_path, "why", job["id"][:5]).out
    plot = (
        "Attempt 1 is sent to",
        "Attempt 1 ended without a video: the server does not know it any more",
        "Details: ",
    )
    plot += ("Attempt 2 is sent to", "The server finished rendering", "Attempt 2 ended without a video: the server")
    plot += ("deleted its file", "Details: 404", "Attempt 3 is sent to", "The server finished rendering")
    plot += ("Saved as cat-1-s7.mp4", "Now: done")
    place = 0
    for turn in plot:
        place = story.index(turn, place) + 1
    assert_right(film.read_bytes(), "cat-1", 7)
