"""Real, playable videos with PyAV: a moving picture per text and seed, a tone per seed, the workflow inside."""

from __future__ import annotations

import io
import json
import math
from array import array
from hashlib import sha256
from typing import TYPE_CHECKING, cast

from batchrunner.sim.media import BoxRenderer, pitch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from av import AudioFrame, VideoFrame
    from av.container import OutputContainer
    from av.video.stream import VideoStream

    from batchrunner.sim.graph import Shot
    from batchrunner.sim.media import Order, Renderer

_RATE = 24000
_BLOCK = 1024
SIMULATED = '{"simulated": true}'
"""Stands in every video: it is small and short, whatever was asked for (`download.verify`)."""
_QUALITY = {"libx264": {"preset": "veryfast", "crf": "32"}}


PLAIN = "PyAV is not installed, so the simulator's videos are plain stand-ins: pip install 'batchrunner[video]'"
"""What is said where there are no real videos."""


def renderer(tell: Callable[[str], None]) -> Renderer:
    """Return what makes real videos, else what makes plain stand-ins; `tell` is told so."""
    try:
        return PyavRenderer()
    except ImportError:
        tell(PLAIN)
        return BoxRenderer()


class PyavRenderer:
    """H.264 and AAC in MP4, at most `side` pixels a side and `frames` long. Raises ImportError without PyAV."""

    def __init__(self, side: int = 256, frames: int = 25) -> None:
        import av  # noqa: PLC0415 - the extra `video` may be missing, and then only this class must complain

        self._av = av
        self._side = side
        self._frames = frames
        self._boxes = BoxRenderer()

    def render(self, order: Order) -> bytes:
        """Return a playable MP4 or WebM; anything else as the box renderer makes it."""
        if order.form == "mp4":
            return self._film(order, "libx264", sound=order.shot.sound is not None)
        if order.form == "webm":
            return self._film(order, "libvpx-vp9", sound=False)
        return self._boxes.render(order)

    def _film(self, order: Order, codec: str, *, sound: bool) -> bytes:
        file = io.BytesIO()
        flags = {"movflags": "use_metadata_tags"} if order.form == "mp4" else {}
        with self._av.open(file, "w", format=order.form, options=flags) as made:
            for key, value in order.metadata.items():
                made.metadata[key] = json.dumps(value)
            made.metadata["simulated"] = SIMULATED
            self._write(made, order.shot, codec, sound=sound)
        return file.getvalue()

    def _write(self, made: OutputContainer, shot: Shot, codec: str, *, sound: bool) -> None:
        frames = min(shot.frames * shot.batch, self._frames)
        rate = max(1, round(shot.fps))
        picture = cast("VideoStream", made.add_stream(codec, rate=rate, options=_QUALITY.get(codec, {})))
        picture.width, picture.height = self._size(shot)
        picture.pix_fmt = "yuv420p"
        picture.thread_count = 1
        voice = made.add_stream("aac", rate=_RATE, layout="mono") if sound else None
        for index in range(frames):
            made.mux(picture.encode(self._picture(shot, index)))
        made.mux(picture.encode(None))
        if voice is not None:
            for frame in self._tone(shot, min(shot.sound or 0.0, frames / rate)):
                made.mux(voice.encode(frame))
            made.mux(voice.encode(None))

    def _size(self, shot: Shot) -> tuple[int, int]:
        """Return even sides in the shot's proportion, none longer than allowed."""
        scale = min(1.0, self._side / max(shot.width, shot.height))
        return max(16, int(shot.width * scale) // 2 * 2), max(16, int(shot.height * scale) // 2 * 2)

    def _picture(self, shot: Shot, index: int) -> VideoFrame:
        """Return one frame: diagonal bands that wander, in colours and widths that come from the text and the seed."""
        salt = sha256(f"{shot.text}/{shot.seed}".encode("utf-8", "surrogatepass")).digest()
        frame = self._av.VideoFrame(*self._size(shot), "yuv420p")
        frame.pts = index
        for plane, low, high in zip(frame.planes, salt[0:3], salt[3:6], strict=True):
            band = 4 + salt[6] % 12 if plane is frame.planes[0] else 2 + salt[7] % 6
            step = 1 + salt[8] % 3
            row = (bytes([low]) * band + bytes([high]) * band) * (plane.line_size // band + 2)
            shifts = ((line + index * step) % (2 * band) for line in range(plane.height))
            plane.update(b"".join(row[shift : shift + plane.line_size] for shift in shifts))
        return frame

    def _tone(self, shot: Shot, seconds: float) -> Iterator[AudioFrame]:
        """Yield blocks of a sine at the seed's pitch."""
        turn = 2 * math.pi * pitch(shot.seed) / _RATE
        for start in range(0, int(seconds * _RATE), _BLOCK):
            count = min(_BLOCK, int(seconds * _RATE) - start)
            frame = self._av.AudioFrame(format="fltp", layout="mono", samples=count)
            frame.sample_rate = _RATE
            frame.pts = start
            wave = array("f", (0.2 * math.sin(turn * (start + index)) for index in range(count)))
            frame.planes[0].update(wave.tobytes().ljust(frame.planes[0].buffer_size, b"\0"))
            yield frame
