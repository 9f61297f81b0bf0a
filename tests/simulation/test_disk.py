"""The disk of a simulated process fails where it is told to, and forgets nothing that a dead process left."""

from __future__ import annotations

import asyncio
import errno
import os
from typing import TYPE_CHECKING

import aiofiles
import pytest

from tests.lab.clock import VirtualLoop, run
from tests.lab.disk import watched
from tests.lab.process import KilledError, Process

if TYPE_CHECKING:
    from pathlib import Path


async def write(folder: Path) -> None:
    """Write a file beside its final name and move it there, in one stretch of one thread at the end."""
    part, final = folder / "film.part", folder / "film.mp4"
    async with aiofiles.open(part, "wb") as file:
        await file.write(b"film")
        await file.flush()

    def publish() -> None:
        final.hardlink_to(part)
        part.unlink()

    await asyncio.to_thread(publish)


def points(folder: Path) -> list[str]:
    """Return every point that `write` passes."""
    passed: list[str] = []

    async def main(loop: VirtualLoop) -> None:
        loop.on_point = lambda _, point: passed.append(point)
        with watched(loop):
            await loop.spawn("writer").start(write(folder))

    run(main, seed=1)
    return passed


def left(folder: Path, number: int) -> set[str]:
    """Return which files are there when the process is killed at the point of this number."""
    folder.mkdir()

    async def main(loop: VirtualLoop) -> None:
        process = loop.spawn("writer")
        passed: list[str] = []

        def kill(who: Process, point: str) -> None:
            passed.append(point)
            if len(passed) == number:
                who.kill()

        loop.on_point = kill
        with watched(loop), pytest.raises(KilledError):
            await process.start(write(folder))

    run(main, seed=1)
    return {path.name for path in folder.iterdir()}


def test_every_step_of_a_file_is_a_named_point(tmp_path: Path) -> None:
    """Opening, writing, linking and removing are told, in their order, whoever does them."""
    told = points(tmp_path)
    kept = [point for point in told if point in ("disk open", "call write", "disk link", "disk unlink")]
    assert kept == ["disk open", "call write", "disk link", "disk unlink"]


def test_a_process_can_die_at_every_step_of_a_file(tmp_path: Path) -> None:
    """Killed anywhere, there is nothing, the part, both names, or the final name: never anything else."""
    count = len(points(tmp_path))
    seen = [left(tmp_path / str(number), number) for number in range(1, count + 1)]
    assert seen[0] == set()
    assert seen[-1] == {"film.mp4"}
    assert {frozenset(names) for names in seen} == {
        frozenset(),
        frozenset({"film.part"}),
        frozenset({"film.part", "film.mp4"}),
        frozenset({"film.mp4"}),
    }


@pytest.mark.parametrize("point", ["disk open", "call write", "disk link"])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EMFILE])
def test_every_step_of_a_file_can_fail(tmp_path: Path, point: str, number: int) -> None:
    """What is raised at a point is what the caller gets, as if the system had said it."""

    def fail(_: Process, passed: str) -> None:
        if passed == point:
            raise OSError(number, os.strerror(number))

    async def main(loop: VirtualLoop) -> None:
        loop.on_point = fail
        with watched(loop), pytest.raises(OSError, match=os.strerror(number)) as told:
            await write(tmp_path)
        assert told.value.errno == number

    run(main, seed=1)
    assert not (tmp_path / "film.mp4").exists()


def test_the_disk_is_watched_no_longer_than_asked(tmp_path: Path) -> None:
    """After the block nothing passes any point, here or in another loop."""
    points(tmp_path)
    passed: list[str] = []

    async def main(loop: VirtualLoop) -> None:
        loop.on_point = lambda _, point: passed.append(point)
        (tmp_path / "other").touch()

    run(main, seed=1)
    assert passed == []
