"""The body of an upload: one local file as `multipart/form-data`, read piece by piece while it is sent.

Its length is known before, so that a proxy can refuse it at once. What is read is hashed on the way: a copy that is no
longer what its name says (a disk full of zeros after a power cut) never gets its end, and of a body without its end
nothing is stored (docs/comfyui.md §22).
"""

from __future__ import annotations

import asyncio
from hashlib import sha256
from typing import TYPE_CHECKING, Protocol

from batchrunner.comfy.errors import OURS
from batchrunner.core.actions import Cause, Failure

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from batchrunner.core.job import InputFile

_PORTION = 2**18
OVERHEAD = 1024
"""Bytes of a body, at most, that are not the file's."""


class Progress(Protocol):
    """Called before each piece that is handed out; `over` with the last."""

    def __call__(self, *, over: bool) -> None:
        """Note that the one before it has left."""


class InputBody:
    """The body that uploads the file at `path`, which is to have the length and the content of `file`."""

    def __init__(self, path: Path, file: InputFile) -> None:
        boundary = f"batchrunner{file.sha256[:32]}"
        kind = f'--{boundary}\r\nContent-Disposition: form-data; name="type"\r\n\r\ninput\r\n'
        image = f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{file.name}"\r\n'
        self._start = f"{kind}{image}Content-Type: application/octet-stream\r\n\r\n".encode("ascii")
        self._end = f"\r\n--{boundary}--\r\n".encode("ascii")
        self._path, self._file = path, file
        self.headers = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(len(self._start) + file.size + len(self._end)),
        }
        self.failure: Failure | None = None
        """Why the file could not be read to its end; then the rest of the body is never sent."""

    async def pieces(self, progress: Progress) -> AsyncIterator[bytes]:
        """Yield the body, at most 256 KiB at a time. Raises OSError, and sets `failure`, where it can't be read."""
        progress(over=False)
        yield self._start
        loop, digest, left = asyncio.get_running_loop(), sha256(), self._file.size
        try:
            file = await loop.run_in_executor(None, self._path.open, "rb")
            try:
                while left and (piece := await loop.run_in_executor(None, file.read, min(_PORTION, left))):
                    digest.update(piece)
                    left -= len(piece)
                    progress(over=False)
                    yield piece
            finally:
                file.close()
        except OSError as error:
            self._fail(f"can't be read: {error.strerror}", handles=error.errno in OURS)
            raise
        if left or digest.hexdigest() != self._file.sha256:
            self._fail("is not what it was when it was copied")
            raise OSError(self.failure)
        progress(over=True)
        yield self._end

    def _fail(self, message: str, *, handles: bool = False) -> None:
        self.failure = Failure(Cause.LOCAL, f"{self._path}: {message}", handles=handles)
