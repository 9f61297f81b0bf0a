"""Frames of videos, decoded in a child process: what a crafted file does to PyAV costs that one picture.

The child gets one JSON line per request on stdin and answers with one on stdout. It may use 1 GiB of memory, open few
files, write none and start nothing; it is killed after 30 seconds on one file, and started again for the next.
"""

from __future__ import annotations

import base64
import io
import json
import os
import resource
import selectors
import subprocess
import sys
from collections import deque
from fractions import Fraction
from importlib.util import find_spec
from itertools import islice
from typing import IO, TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pathlib import Path

    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

_PATIENCE = 30.0
"""Seconds for one picture."""
_MEMORY = 2**30
_FILES = 64
_LONGEST = 128 * 2**20
"""Bytes of an answer: a PNG of 8K has 100 MB at most, a JPEG at most 640 pixels wide a few hundred kilobytes."""
_SIDE = 640
_MOST_FRAMES = 500
"""Decoded in search of the middle."""


class Frames:
    """Makes pictures in a child process; a context manager. Blocks. Without PyAV (extra `video`) there are none."""

    def __init__(self, patience: float = _PATIENCE) -> None:
        self._patience = patience
        self._child: subprocess.Popen[bytes] | None = None
        self._there = find_spec("av") is not None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def poster(self, video: Path) -> bytes | None:
        """Return a JPEG of the video's middle, at most 640 pixels wide; None for what is no video that we can read.

        First frames are often black; the middle says more.
        """
        return self._picture(video, "")

    def frame(self, video: Path, frame: str) -> bytes | None:
        """Return a PNG of one frame, `first`, `last` or a number from 0, in its own size; None where there is none."""
        return self._picture(video, frame)

    def _picture(self, video: Path, frame: str) -> bytes | None:
        if not self._there:
            return None
        answer = self._asked(json.dumps({"video": os.fspath(video.absolute()), "frame": frame}))
        return base64.b64decode(answer) if answer else None

    def _asked(self, line: str) -> bytes | None:
        """Send one request and return the answer, without its line end; None if it got none."""
        try:
            child = self._child = self._child or _started()
            _pipe(child.stdin).write(line.encode() + b"\n")
            _pipe(child.stdin).flush()
            answer = _line(_pipe(child.stdout), self._patience)
        except OSError:
            answer = b""
        if not answer.endswith(b"\n"):
            self._end()
            return None
        return answer[:-1]

    def _end(self) -> None:
        if self._child is not None:
            self._child.kill()
            for pipe in (self._child.stdin, self._child.stdout):
                _pipe(pipe).close()
            self._child.wait()
            self._child = None


def _started() -> subprocess.Popen[bytes]:
    """Start the child with nothing of our environment but what Python needs: no secret is handed on."""
    kept = {name: os.environ[name] for name in ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT") if name in os.environ}
    return subprocess.Popen(  # noqa: S603 - this very file, without the package around it, which would take a second
        [sys.executable, "-P", __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**kept, "PYTHONPATH": os.pathsep.join(filter(os.path.isabs, sys.path))},
        bufsize=0,
    )


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None  # noqa: S101 - all three are asked for
    return pipe


def _line(pipe: IO[bytes], patience: float) -> bytes:
    """Read up to the end of a line; what came by then if it does not end in time."""
    found = bytearray()
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while not found.endswith(b"\n") and len(found) < _LONGEST and selector.select(patience):
            piece = os.read(pipe.fileno(), 2**16)
            if not piece:
                break
            found += piece
    return bytes(found)


# -- The child.


def _serve() -> None:
    """Answer requests until stdin ends; an empty line is «none»."""
    for limit, most in (
        (resource.RLIMIT_AS, _MEMORY),
        (resource.RLIMIT_NOFILE, _FILES),
        (resource.RLIMIT_FSIZE, 0),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (most, most))
    for line in sys.stdin.buffer:
        try:
            wanted = json.loads(line)
            picture = _frame(**wanted) if wanted["frame"] else _poster(wanted["video"])
        except Exception:  # noqa: BLE001 - whatever a file makes PyAV raise
            picture = None
        sys.stdout.buffer.write(base64.b64encode(picture or b"") + b"\n")
        sys.stdout.buffer.flush()


def _poster(path: str) -> bytes | None:
    import av  # noqa: PLC0415 - only the child needs it, and only where it is installed

    with av.open(path, metadata_errors="replace") as opened:
        frame = _middle(opened)
        if frame is None:
            return None
        scale = min(1.0, _SIDE / frame.width)
        width, height = max(2, int(frame.width * scale) // 2 * 2), max(2, int(frame.height * scale) // 2 * 2)
        file = io.BytesIO()
        with av.open(file, "w", format="mjpeg") as made:
            stream = made.add_stream("mjpeg", rate=1, options={"qmin": "4", "qmax": "6"})
            stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p"
            made.mux(stream.encode(frame.reformat(width, height, "yuvj420p")))
            made.mux(stream.encode(None))
        return file.getvalue()


def _frame(video: str, frame: str) -> bytes | None:
    import av  # noqa: PLC0415 - as above

    with av.open(video, metadata_errors="replace") as opened:
        stream = next(iter(opened.streams.video), None)
        if stream is None:
            return None
        stream.thread_count = 1
        if frame == "last":
            found = _last(opened, stream)
        else:
            found = next(islice(opened.decode(stream), int(frame.replace("first", "0")), None), None)
        if found is None:
            return None
        codec = av.CodecContext.create("png", "w")
        codec.width, codec.height, codec.pix_fmt, codec.time_base = found.width, found.height, "rgb24", Fraction(1, 25)
        picture = found.reformat(format="rgb24")
        picture.pts = None
        return b"".join(bytes(packet) for packet in [*codec.encode(picture), *codec.encode(None)])


def _last(video: InputContainer, stream: VideoStream) -> VideoFrame | None:
    """Return the last frame, from the last key frame on if the file says where it ends."""
    found = deque["VideoFrame"](maxlen=1)
    if stream.duration:
        video.seek((stream.start_time or 0) + stream.duration, stream=stream)
        found.extend(video.decode(stream))
    if not found:
        video.seek(0)
        found.extend(video.decode(stream))
    return found[0] if found else None


def _middle(video: InputContainer) -> VideoFrame | None:
    """Return the frame in the middle, or the last one that was worth the wait."""
    stream = next(iter(video.streams.video), None)
    if stream is None:
        return None
    stream.thread_count = 1
    middle = (stream.start_time or 0) + (stream.duration or 0) // 2
    if middle:
        # Lands on the key frame before it, which is often the first one.
        video.seek(middle, stream=stream)
    frame = None
    for frame in islice(video.decode(stream), _MOST_FRAMES):
        if frame.pts is None or frame.pts >= middle:
            break
    return frame


if __name__ == "__main__":
    _serve()
