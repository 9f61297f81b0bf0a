"""`on_saved`: the command runs at least once for each file that is home, and never harms the batch."""

from __future__ import annotations

import asyncio
import json
import sys
from typing import TYPE_CHECKING

import pytest

from batchrunner.core.facts import Saved
from batchrunner.core.job import Job
from batchrunner.errors import LocalError
from batchrunner.notify import SavedCommands, Undelivered, handled_mark, run_program, saved_json
from batchrunner.text import stamp

if TYPE_CHECKING:
    from pathlib import Path

    from batchrunner.core.job import Json
    from batchrunner.notify import Deliver

JOBS = {name: Job(name, "", {"prompt": "a cat", "seed": 2**64 - 1}, name, 1.0) for name in ("0" * 12, "1" * 12)}
ONE, TWO = (Saved(job, 1, 9.0, "x.mp4", f"{job}.mp4", 5, "f" * 64) for job in JOBS)


def _document(saved: Saved) -> dict[str, Json]:
    return saved_json("cats", "/out/cats", JOBS[saved.job], saved)


class _Seen:
    """What came of the commands."""

    def __init__(self, run: Deliver) -> None:
        self.marks: list[str] = []
        self.told: list[str] = []
        self.commands = SavedCommands(_document, run, self.marks.append, self.told.append, drain=0.2)


async def test_each_file_once(tmp_path: Path) -> None:
    """The command reads the facts of each file as JSON, and each is recorded once the command has ended well."""
    code = "import sys; open(sys.argv[1], 'a').write(sys.stdin.read())"
    command = (sys.executable, "-c", code, str(tmp_path / "seen"))
    seen = _Seen(lambda body, _: run_program(command, {}, body, 60.0))
    seen.commands._drain = 60.0
    async with seen.commands.running():
        for saved in (ONE, TWO, ONE):
            seen.commands.put(saved)
    documents = [json.loads(line) for line in (tmp_path / "seen").read_text("utf-8").splitlines()]
    assert sorted(document["path"] for document in documents) == [ONE.path, TWO.path]
    assert next(document for document in documents if document["job"] == ONE.job) == {
        "version": 1,
        "event": "saved",
        "at": stamp(9.0),
        "batch": "cats",
        "job": ONE.job,
        "folder": "/out/cats",
        "path": ONE.path,
        "bytes": 5,
        "sha256": "f" * 64,
        "warning": None,
        "params": {"prompt": "a cat", "seed": 2**64 - 1},
    }
    assert (sorted(seen.marks), seen.told) == ([handled_mark(ONE), handled_mark(TWO)], [])


@pytest.mark.parametrize("failing", ["ends with exit 1", "raises", "cannot be recorded"])
async def test_a_command_that_fails(failing: str) -> None:
    """A failure is told once, the file is not recorded, and the end says how many are left for the next run."""

    async def run(_: bytes, __: float) -> Undelivered | None:
        if failing == "raises":
            raise RuntimeError
        return None if failing == "cannot be recorded" else Undelivered("ended with exit 1")

    seen = _Seen(run)
    if failing == "cannot be recorded":

        def full(_: str) -> None:
            raise LocalError("the disk is full")

        seen.commands._record = full
    async with seen.commands.running():
        seen.commands.put(ONE)
        seen.commands.put(TWO)
    assert (seen.marks, len(seen.told)) == ([], 2)
    assert seen.told[0].startswith(f"on_saved: for {ONE.path} the command ")
    assert seen.told[1] == "on_saved: 2 files left for the next run"
    assert seen.commands.left == 2


async def test_a_command_that_hangs() -> None:
    """The end of a run waits for a command no longer than it may, and says what is left."""

    async def run(_: bytes, __: float) -> Undelivered | None:
        await asyncio.Event().wait()
        return None

    seen = _Seen(run)
    async with seen.commands.running():
        seen.commands.put(ONE)
    assert (seen.marks, seen.told) == ([], ["on_saved: 1 file left for the next run"])


async def test_a_run_that_breaks_off() -> None:
    """An error that ends the run is raised at once, without waiting for commands."""

    async def run(_: bytes, __: float) -> Undelivered | None:
        await asyncio.Event().wait()
        return None

    seen = _Seen(run)

    async def broken() -> None:
        async with seen.commands.running():
            seen.commands.put(ONE)
            raise LocalError

    with pytest.raises(LocalError):
        await broken()
    assert seen.told == []
