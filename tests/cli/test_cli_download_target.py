"""A video is downloaded, and its sidecar is written."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest

from batchrunner.cli.verify import file_fault
from batchrunner.core.actions import Download, Downloaded, DownloadEnd, NotFound
from batchrunner.core.facts import Claimed, File, Saved
from batchrunner.core.job import Job
from batchrunner.download_target import BatchFolder
from batchrunner.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

JOB = Job("a" * 12, "a" * 64, {"prompt": "A cat", "seed": 7}, "cats/one", 1.0)
ACTION = Download(JOB.id, 1, "night-a1", "http://gpu:8188", File("night-a1_00001_.mp4"))
GOT = Downloaded("cats/one.mp4", 123, "f" * 64)


class _Downloads:
    """Ends every download as it is told to."""

    def __init__(self, end: DownloadEnd) -> None:
        self._end = end

    async def fetch(
        self, action: Download, _source: object, stem: str, opened: Callable[[str, int, str], None], _renders: str
    ) -> DownloadEnd:
        assert (action, stem) == (ACTION, JOB.file)
        opened("etag", 123, "part")
        return self._end


def _target(folder: Path, ledger: Ledger, end: DownloadEnd, warned: list[str]) -> BatchFolder:
    return BatchFolder(
        "night",
        folder,
        _Downloads(end),  # type: ignore[arg-type]
        lambda url: url,  # type: ignore[arg-type, return-value]
        {JOB.id: JOB},
        ledger,
        lambda _job, prefix: {"15": {"inputs": {"filename_prefix": prefix}}},
        lambda: 50.0,
        warned.append,
    )


async def test_the_sidecar_is_there_before_the_file_counts(tmp_path: Path) -> None:
    """When a download ends with the file, its sidecar is beside it, with the workflow as it was sent."""
    (tmp_path / "cats").mkdir()
    warned: list[str] = []
    with Ledger.open(tmp_path, "night") as ledger:
        ledger.append(Claimed(JOB.id, 1, 1.0, "id", "night-a1", "http://gpu:8188", ""))
        assert await _target(tmp_path, ledger, GOT, warned).fetch(ACTION, lambda *_: None) == GOT
    told = json.loads((tmp_path / "cats" / "one.json").read_text(encoding="utf-8"))
    assert (told["seed"], told["file"]["sha256"]) == (7, "f" * 64)
    assert told["workflow"]["15"]["inputs"]["filename_prefix"] == "night-a1"
    assert warned == []


async def test_a_sidecar_that_cannot_be_written(tmp_path: Path) -> None:
    """Where no sidecar can be written the video still counts, and somebody is told."""
    (tmp_path / "cats" / "one.json").mkdir(parents=True)
    warned: list[str] = []
    with Ledger.open(tmp_path, "night") as ledger:
        assert await _target(tmp_path, ledger, GOT, warned).fetch(ACTION, lambda *_: None) == GOT
    assert len(warned) == 1
    assert "one.json" in warned[0]


async def test_no_file_no_sidecar(tmp_path: Path) -> None:
    """A download that brings nothing leaves nothing."""
    with Ledger.open(tmp_path, "night") as ledger:
        assert await _target(tmp_path, ledger, NotFound(), []).fetch(ACTION, lambda *_: None) == NotFound()
    assert not (tmp_path / "cats").exists()


@pytest.mark.parametrize(("name", "body", "whole"), [("t.txt", b"", True), ("m.glb", b"glTF", False)])
def test_verify_asks_of_a_file_what_its_kind_promises(tmp_path: Path, name: str, body: bytes, *, whole: bool) -> None:
    """A text as it was saved is sound, whatever is in it; a mesh must still be as long as it says."""
    (tmp_path / name).write_bytes(body)
    fault = file_fault(tmp_path, Saved(JOB.id, 1, 1.0, name, name, len(body), sha256(body).hexdigest()))
    assert (not fault) is whole
