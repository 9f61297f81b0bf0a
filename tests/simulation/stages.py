"""What a defect may need beside faults to show: a power cut at the worst moment, a film that is rendered once more."""

from __future__ import annotations

import asyncio
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tests.lab.broken import Way
from tests.lab.fake_disk import FakeDisk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aiohttp import web

    from tests.lab.faults import Fault

Change = tuple[object, str, Any]
"""Whose attribute is replaced, its name, and by what."""


@dataclass(frozen=True)
class Stage:
    """What is there in a night with the defect and in one without it."""

    message: str = ""
    changes: tuple[Change, ...] = ()
    crash: Callable[[str], bool] | None = None
    judge: Callable[[], list[str]] = field(default=list)


def empty(_folder: Path) -> Stage:
    """Return a stage with nothing on it."""
    return Stage()


class PowerCut:
    """Kills when a film has just got its final name, and with the runner dies every byte that was not synced."""

    def __init__(self, folder: Path) -> None:
        self.fake_disk = FakeDisk()
        self._folder = folder
        self._named = False
        self._over = False

    def __call__(self, point: str) -> bool:
        """Tell whether the power goes here."""
        if self._over or not (self._named and point == "disk unlink"):
            self._named = self._named or point == "disk link"
            return False
        self._over = True
        self.fake_disk.cut([*self._folder.rglob("*.mp4"), *self._folder.rglob("*.part")])
        return True


def power_cut(folder: Path) -> Stage:
    """Return the stage on which the power goes in the middle of publishing a film."""
    cut = PowerCut(folder / "outputs")
    return Stage("a power cut", ((os, "fsync", cut.fake_disk.fsync),), cut)


def other_take(folder: Path) -> Stage:
    """Return the stage on which a film on its way is replaced by one of the same attempt, with other bytes all over."""
    takes: list[bytes] = []
    film = Way._film

    def retake(path: Path, now: float) -> None:
        first = path.read_bytes()
        takes.extend((first, first.replace(b"batchrunner", b"another one").replace(b"isom", b"iso2")))
        path.write_bytes(takes[-1])
        os.utime(path, (now, now))

    async def replaced(self: Way, request: web.Request, fault: Fault) -> web.StreamResponse:
        path = self._sim.folder / "output" / request.rel_url.query["filename"]
        asyncio.get_running_loop().call_later(1.0, retake, path, self._sim.wall())
        return await film(self, request, fault)

    def judge() -> list[str]:
        films = [path.read_bytes() for path in (folder / "outputs").rglob("*.mp4")]
        return [f"0 P7 a film of {len(film)} bytes is none that was rendered" for film in films if film not in takes]

    return Stage("another take of it", ((Way, "_film", replaced),), judge=judge)
