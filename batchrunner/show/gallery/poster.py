"""Posters: a picture that stands for a film until it plays. Only where PyAV is (the extra `video`)."""

from __future__ import annotations

import io
from hashlib import sha256
from itertools import islice
from typing import TYPE_CHECKING, cast

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

FOLDER = ".posters"
"""Below the batch folder; safe to delete."""
_SIDE = 640
_MOST_FRAMES = 500
"""Decoded in search of the middle."""


def poster_path(path: str) -> str:
    """Return where the poster of a saved file lies, below the batch folder, by the file's own path there."""
    return f"{FOLDER}/{sha256(path.encode('utf-8', 'surrogatepass')).hexdigest()[:24]}.jpg"


def poster(film: Path) -> bytes | None:
    """Return a JPEG of the film's middle, at most 640 pixels wide; None without PyAV, or for what is no film.

    First frames are often black; the middle says more. Takes up to a second for a large film: call it in a thread.
    """
    try:
        import av  # noqa: PLC0415 - the extra `video` may be missing, and then there are no posters
    except ImportError:
        return None
    try:
        with av.open(film) as opened:
            frame = _middle(opened)
            return _jpeg(av, frame) if frame else None
    except (av.FFmpegError, OSError):
        return None


def _middle(film: InputContainer) -> VideoFrame | None:
    """Return the frame in the middle, or the last one that was worth the wait."""
    stream = next(iter(film.streams.video), None)
    if stream is None:
        return None
    middle = (stream.start_time or 0) + (stream.duration or 0) // 2
    if middle:
        # Lands on the key frame before it, which is often the first one.
        film.seek(middle, stream=stream)
    frame = None
    for frame in islice(film.decode(stream), _MOST_FRAMES):
        if frame.pts is None or frame.pts >= middle:
            break
    return frame


def _jpeg(av: ModuleType, frame: VideoFrame) -> bytes:
    scale = min(1.0, _SIDE / frame.width)
    width, height = max(2, int(frame.width * scale) // 2 * 2), max(2, int(frame.height * scale) // 2 * 2)
    file = io.BytesIO()
    with av.open(file, "w", format="mjpeg") as made:
        stream = cast("VideoStream", made.add_stream("mjpeg", rate=1, options={"qmin": "4", "qmax": "6"}))
        stream.width, stream.height, stream.pix_fmt = width, height, "yuvj420p"
        made.mux(stream.encode(frame.reformat(width, height, "yuvj420p")))
        made.mux(stream.encode(None))
    return file.getvalue()
