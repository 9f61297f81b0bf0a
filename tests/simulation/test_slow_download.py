"""Downloads that hardly move, in virtual time: broken off, told, and never the last byte of the disk."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

from batchrunner.core.actions import Cause, Download, Downloaded, Failure
from batchrunner.core.facts import File
from batchrunner.download.pace import TransferSpeed
from batchrunner.download.transfer import Downloader
from tests.lab.clock import run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from batchrunner.core.actions import DownloadEnd
    from tests.lab.clock import VirtualLoop

ACTION = Download("0123456789ab", 1, "cats-0123456789ab-a1", "s", File("cats-0123456789ab-a1_00001_.bin"))
DATE = 1_790_000_000.0


@dataclass
class Trickle:
    """A file of `size` bytes of which `piece` bytes come every `every` seconds."""

    size: int
    piece: int
    every: float
    status: int = 200
    etag: str = '"e"'
    start: int = 0
    content_type: str = "application/octet-stream"
    date: float | None = DATE
    sent: int = field(default=0)

    async def read(self) -> bytes:
        """Return the next piece in its time."""
        await asyncio.sleep(self.every)
        some = min(self.piece, self.size - self.sent) if self.size >= 0 else self.piece
        self.sent += some
        return b"x" * some

    @asynccontextmanager
    async def view(self, _file: File, _start: int = 0, _etag: str = "") -> AsyncIterator[Trickle]:
        """Open it."""
        yield self


def fetched(
    folder: Path, source: Trickle, deadline: float | None = None, **limits: int
) -> tuple[DownloadEnd, float, list[str]]:
    """Fetch in virtual time; return how it ended, after how many seconds, and what a person was told."""
    told: list[str] = []

    async def main(loop: VirtualLoop) -> tuple[DownloadEnd, float, list[str]]:
        action = Download(
            *(getattr(ACTION, name) for name in ("job", "attempt", "prefix", "server", "file")), deadline=deadline
        )
        downloads = Downloader(folder, "boot", warn=told.append, **limits)
        end = await downloads.fetch(action, source, "cat", lambda *_: None)
        return end, loop.time(), told

    return run(main, seed=1)


@pytest.mark.parametrize("size", [-1, 10_000_000])
def test_a_byte_every_five_seconds_is_broken_off_after_ten_minutes(tmp_path: Path, size: int) -> None:
    """A server that keeps a download going with a byte now and then holds nobody up for longer."""
    end, seconds, _ = fetched(tmp_path, Trickle(size, 1, 5.0))
    assert isinstance(end, Failure)
    assert end.cause is Cause.UNAVAILABLE
    assert "1 kB/s" in end.message
    assert 600 <= seconds <= 605


def test_a_slow_link_is_not_broken_off(tmp_path: Path) -> None:
    """Two kilobytes a second for an hour are slow and fine."""
    end, seconds, told = fetched(tmp_path, Trickle(7_200_000, 10_000, 5.0))
    assert isinstance(end, Downloaded)
    assert seconds >= 3600
    assert told == []


def test_a_download_that_will_be_late_is_told_once(tmp_path: Path) -> None:
    """When at the speed of the last minute clean-up will be first, a person learns it, and the download goes on."""
    _, seconds, told = fetched(tmp_path, Trickle(7_200_000, 10_000, 5.0), deadline=DATE + 600)
    assert told == ["cat: at this speed the server may delete it before the download is complete"]
    assert seconds >= 3600


def test_a_download_in_time_is_not_told(tmp_path: Path) -> None:
    """Nothing is said of a file that will be home long before clean-up."""
    _, _, told = fetched(tmp_path, Trickle(1_000_000, 10_000, 2.0), deadline=DATE + 600)
    assert told == []


def test_space_on_the_disk_is_left_free(tmp_path: Path) -> None:
    """A file that would fill the disk is this machine's trouble, told with figures, before it is written."""
    end, seconds, _ = fetched(tmp_path, Trickle(5_000_000, 1_000_000, 1.0), kept_free=2**60)
    assert isinstance(end, Failure)
    assert end.cause is Cause.LOCAL
    assert "the file needs 4 MiB" in end.message
    assert seconds < 2.0
    assert [path.stat().st_size for path in tmp_path.iterdir()] in ([], [0])


def test_pace_forgets_what_is_older_than_ten_minutes() -> None:
    """A transfer that was fast and has come to a standstill is too slow ten minutes later."""
    pace = TransferSpeed(0.0, 0)
    got = 0
    for second in range(1, 101):
        got += 1_000_000
        pace.take(float(second), got)
    assert not pace.is_too_slow(100.0, got)
    for second in range(101, 720):
        pace.take(float(second), got)
    assert not pace.is_too_slow(690.0, got)
    assert pace.is_too_slow(720.0, got)
