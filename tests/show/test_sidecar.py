"""What stands beside each video."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from batchrunner.core.facts import Accepted, Claimed, Fact, File, Lost, Rendered, Saved, Why
from batchrunner.core.job import InputFile, Job
from batchrunner.errors import LocalError
from batchrunner.show.sidecar import beside, sidecar, write

if TYPE_CHECKING:
    from pathlib import Path

    from batchrunner.core.job import Json

JOB = Job("a" * 12, "a" * 64, {"prompt": "A cat", "seed": 2**64 - 1}, "cats/one", 1.0)
SAVED = Saved(JOB.id, 2, 50.0, "x.mp4", "cats/one.mp4", 123, "f" * 64)
FACTS: tuple[Fact, ...] = (
    Claimed(JOB.id, 1, 1.0, "id1", "c-a1", "http://one:1", "b"),
    Lost(JOB.id, 1, 2.0, Why.FORGOTTEN, "the server restarted"),
    Claimed(JOB.id, 2, 3.0, "id2", "c-a2", "http://two:2", "b"),
    Accepted(JOB.id, 2, 4.0, "other", "c-a2", "http://two:2"),
    Accepted(JOB.id, 2, 9.0, "other", "c-a2", "http://two:2"),
    Rendered(JOB.id, 2, 40.0, (File("x.mp4", node="9"),), None, 35.5),
    SAVED,
)


def test_a_sidecar_tells_how_the_video_came_to_be() -> None:
    """Parameters, seed, server, times, earlier attempts, hash and workflow stand in it, exactly."""
    told = sidecar("cats", JOB, FACTS, SAVED, {"1": {"class_type": "KSampler"}})
    assert isinstance(told.pop("batchrunner"), str)
    assert told == {
        "version": 1,
        "batch": "cats",
        "job": JOB.id,
        "attempt": 2,
        "server": "http://two:2",
        "prompt_id": "other",
        "prefix": "c-a2",
        "file": {"path": "cats/one.mp4", "bytes": 123, "sha256": "f" * 64, "node": "9", "title": None},
        "warning": None,
        "params": {"prompt": "A cat", "seed": 2**64 - 1},
        "seed": 2**64 - 1,
        "inputs": [],
        "times": {
            "claimed": "1970-01-01T00:00:03.000Z",
            "accepted": "1970-01-01T00:00:04.000Z",
            "rendered": "1970-01-01T00:00:40.000Z",
            "saved": "1970-01-01T00:00:50.000Z",
            "render_seconds": 35.5,
        },
        "lost": [
            {"attempt": 1, "at": "1970-01-01T00:00:02.000Z", "why": "forgotten", "message": "the server restarted"}
        ],
        "workflow": {"1": {"class_type": "KSampler"}},
        "workflow_differs": False,
    }


def test_a_sidecar_says_that_the_server_rewrote_the_workflow() -> None:
    """Where another workflow was rendered than the one that was sent, whoever renders from the sidecar is warned."""
    facts = [replace(fact, differs=True) if isinstance(fact, Rendered) else fact for fact in FACTS]
    assert sidecar("cats", JOB, facts, SAVED, {})["workflow_differs"] is True


def test_a_sidecar_names_the_node_and_what_is_not_as_asked() -> None:
    """Of several saving nodes one can tell which made a file, by its id and its title; a warning stands in it too."""
    sent: Json = {"9": {"class_type": "SaveVideo", "_meta": {"title": "Save upscaled"}}}
    told = sidecar("cats", JOB, FACTS, replace(SAVED, warning="no sound"), sent)
    assert isinstance(told["file"], dict)
    assert (told["file"]["node"], told["file"]["title"], told["warning"]) == ("9", "Save upscaled", "no sound")


def test_what_nobody_saw_is_null() -> None:
    """A video found on this disk by a fresh ledger has a sidecar that claims nothing it does not know."""
    told = sidecar("cats", Job(JOB.id, "", {}, "one", 0.0), [SAVED], SAVED, {})
    assert (told["server"], told["prompt_id"], told["seed"], told["lost"]) == (None, None, None, [])
    assert told["times"] == {
        "claimed": None,
        "accepted": None,
        "rendered": None,
        "saved": "1970-01-01T00:00:50.000Z",
        "render_seconds": None,
    }


def test_it_lies_beside_the_video() -> None:
    """Only the extension differs from the video's name."""
    assert beside("cats/one.v2.mp4") == "cats/one.v2.json"


def test_it_is_whole_private_and_alone(tmp_path: Path) -> None:
    """A sidecar is complete JSON that only its owner can read, replaces an older one and leaves nothing half-done."""
    path = tmp_path / "one.json"
    path.write_text("older")
    (tmp_path / "one.json.part").write_text("left by a kill")
    before = os.umask(0o022)
    try:
        write(path, {"seed": 2**64 - 1, "message": "\ud800\x7f"})
    finally:
        os.umask(before)
    assert json.loads(path.read_text()) == {"seed": 2**64 - 1, "message": "\ud800\x7f"}
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_planted_link_is_replaced_not_followed(tmp_path: Path) -> None:
    """A link in the sidecar's place gives way; what it points to stays as it was."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    for name in ("one.json", "one.json.part"):
        (tmp_path / name).symlink_to(victim)
    write(tmp_path / "one.json", {})
    assert victim.read_text() == "precious"
    assert (tmp_path / "one.json").read_text() == "{}\n"


def test_a_sidecar_that_cannot_be_written_is_a_local_error(tmp_path: Path) -> None:
    """A vanished folder, or a folder in its place, is named without a traceback and leaves no half file."""
    with pytest.raises(LocalError, match="can't be written"):
        write(tmp_path / "gone" / "one.json", {})
    (tmp_path / "one.json").mkdir()
    with pytest.raises(LocalError, match="can't be written"):
        write(tmp_path / "one.json", {})
    assert [item.name for item in tmp_path.iterdir()] == ["one.json"]


def test_a_sidecar_names_each_input() -> None:
    """Every parameter that is a local file: its path as written, its content, and where the copy lies."""
    files = tuple(InputFile(letter * 64, 5, f"batchrunner-{letter}.png") for letter in "ab")
    job = replace(JOB, params={"image": "shots/a.png", "mask": "m.png", "end": "shots/a.png"}, inputs=files)
    job = replace(job, uploads={"image": files[0].name, "mask": files[1].name, "end": files[0].name})
    told = sidecar("cats", job, [], Saved(job.id, 1, 1.0, "k", "a.mp4", 1, "c" * 64), None)["inputs"]
    first = {"path": "shots/a.png", "copy": "inputs/batchrunner-a.png", "bytes": 5, "sha256": "a" * 64}
    second = {"path": "m.png", "copy": "inputs/batchrunner-b.png", "bytes": 5, "sha256": "b" * 64}
    assert told == [{"param": "image", **first}, {"param": "mask", **second}, {"param": "end", **first}]
