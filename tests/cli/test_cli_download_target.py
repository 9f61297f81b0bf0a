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
    from collections.abc import Callable, Mapping
    from pathlib import Path

JOB = Job("a" * 12, "a" * 64, {"prompt": "A cat", "seed": 7}, "cats/one", 1.0)
ACTION = Download(JOB.id, 1, "night-a1", "http://gpu:8188", File("night-a1_00001_.mp4"))
GOT = Downloaded("cats/one.mp4", 123, "f" * 64)


class _Downloads:
    """Ends every download as it is told to."""

    def __init__(self, end: DownloadEnd) -> None:
        self._end = end
        self.stems: list[str] = []

    async def fetch(
        self,
        _action: Download,
        _source: object,
        stem: str,
        opened: Callable[[str, int, str], None],
        named: Callable[[Downloaded], None],
    ) -> DownloadEnd:
        self.stems.append(stem)
        opened("etag", 123, "part")
        if isinstance(self._end, Downloaded):
            named(self._end)
        return self._end


def _target(
    folder: Path, ledger: Ledger, end: DownloadEnd, warned: list[str], labels: Mapping[str, str] | None = None
) -> BatchFolder:
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
        labels or {},
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


@pytest.mark.parametrize(
    ("labels", "node", "number", "stem"),
    [
        ({}, "9", 0, "cats/one"),
        ({}, "9", 1, "cats/one-2"),
        ({"9": "base", "12": "upscaled"}, "9", 0, "cats/one-base"),
        ({"9": "base", "12": "upscaled"}, "12", 0, "cats/one-upscaled"),
        ({"9": "base", "12": "upscaled"}, "12", 1, "cats/one-upscaled-2"),
        ({"9": "base", "12": "upscaled"}, "../7", 0, "cats/one-7"),
        ({"9": "base", "12": "upscaled"}, "", 0, "cats/one"),
    ],
)
async def test_names_say_which_of_several_nodes_saved_a_file(
    tmp_path: Path, labels: dict[str, str], node: str, number: int, stem: str
) -> None:
    """Files of one node are numbered; of several nodes each has what the node is called in its name."""
    action = Download(
        *(JOB.id, 1, "night-a1", "http://gpu:8188", File("x.mp4", node=node)), index=number, number=number
    )
    with Ledger.open(tmp_path, "night") as ledger:
        target = _target(tmp_path, ledger, NotFound(), [], labels)
        await target.fetch(action, lambda *_: None)
    assert target.downloader.stems == [stem]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("name", "body", "whole"), [("t.txt", b"", True), ("m.glb", b"glTF", False)])
def test_verify_asks_of_a_file_what_its_kind_promises(tmp_path: Path, name: str, body: bytes, *, whole: bool) -> None:
    """A text as it was saved is sound, whatever is in it; a mesh must still be as long as it says."""
    (tmp_path / name).write_bytes(body)
    fault = file_fault(tmp_path, Saved(JOB.id, 1, 1.0, name, name, len(body), sha256(body).hexdigest()))
    assert (not fault) is whole
