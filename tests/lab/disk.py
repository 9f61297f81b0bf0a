"""The disk of simulated processes: where it may fail, and how a process may die between two of its steps.

What is possible without a seam in the product, and what is not. Every function given to a thread passes two named
points of the loop (`call write`, `called fsync`, ...), which reaches each write, flush, fsync and close of aiofiles.
But a thread may be given one function that does several things: link, then unlink, then fsync. Python tells an audit
hook of every open, link, rename, removal and folder before it happens, and what the hook raises is what the caller
gets: those become the points `disk open` (for writing), `disk link` and so on, wherever they are called, also in the
loop's own thread. `os.fsync` is replaced for the same, `disk fsync`. A process that is dead gets no further there, and
so nothing of it changes the disk any more.

Not reached are writes inside such a function, and what SQLite does by itself: a state on a full disk needs
a real full disk (tests/acceptance), and a commit is interrupted before or after, never within (SQLite's own tests do
that). Unsynced bytes are lost in a power cut only (`fake_disk`).
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.schedule import Schedule

_POINTS = {"os.link": "link", "os.rename": "rename", "os.remove": "unlink", "os.mkdir": "mkdir", "open": "open"}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_watched: list[Schedule] = []
_hooked: list[bool] = []


class DeadError(BaseException):
    """A dead process tried to change the disk. Not an Exception: nothing may catch it and go on."""


@contextmanager
def watched(loop: Schedule) -> Iterator[None]:
    """Let every change of the disk pass the loop's named points until the block ends."""
    if not _hooked:  # a hook is for good
        sys.addaudithook(_hook)
        _hooked.append(True)
    _watched.append(loop)
    plain = os.fsync

    def fsync(file: int) -> None:
        _pass("fsync")
        plain(file)

    vars(os)["fsync"] = fsync
    try:
        yield
    finally:
        vars(os)["fsync"] = plain
        _watched.remove(loop)


def _hook(event: str, args: tuple[object, ...]) -> None:
    point = _POINTS.get(event)
    if point is not None and _watched and (point != "open" or _writes(args)):
        _pass(point)


def _pass(point: str) -> None:
    loop = _watched[-1]
    if loop.is_running() and not loop.passes(f"disk {point}"):
        raise DeadError


def _writes(args: tuple[object, ...]) -> bool:
    flags = args[2] if len(args) > 2 else None
    return isinstance(flags, int) and bool(flags & _WRITES)
