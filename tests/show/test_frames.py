"""Pictures of videos come from a child process that any file may kill, and that no file may use up."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import pytest

from batchrunner.download.verify import inspect_open
from batchrunner.show.gallery.frames import Frames
from batchrunner.sim.graph import Shot
from batchrunner.sim.media import Order
from batchrunner.sim.video import PyavRenderer

pytest.importorskip("av", reason="frames need PyAV (extra: video)")


@pytest.fixture(scope="module")
def video() -> bytes:
    """Return a small playable video."""
    return PyavRenderer(64, 12).render(Order("mp4", Shot(width=64, height=48, frames=12, text="a cat")))


def _png(side: int) -> bytes:
    """Return a PNG file of a few bytes that says it is `side` pixels wide and high."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def _is_jpeg(picture: bytes | None) -> bool:
    return picture is not None and picture[:2] == b"\xff\xd8" and picture[-2:] == b"\xff\xd9"


def test_one_child_makes_picture_after_picture(tmp_path: Path, video: bytes) -> None:
    """A video has a JPEG of its middle, whatever its name; what is no video has none."""
    (tmp_path / "a #?\n.mp4").write_bytes(video)
    (tmp_path / "b.mp4").write_bytes(b"no video")
    with Frames() as frames:
        assert _is_jpeg(frames.poster(tmp_path / "a #?\n.mp4"))
        assert frames.poster(tmp_path / "b.mp4") is None
        assert frames.poster(tmp_path / "gone.mp4") is None
        assert _is_jpeg(frames.poster(tmp_path / "a #?\n.mp4"))


def test_metadata_that_is_no_utf8_costs_nothing(tmp_path: Path, video: bytes) -> None:
    """One bad byte in a video's metadata is no reason to have no picture, of it or of any other."""
    assert b"Lavf" in video
    (tmp_path / "a.mp4").write_bytes(video.replace(b"Lavf", b"\xff\xfevf"))
    with Frames() as frames:
        assert _is_jpeg(frames.poster(tmp_path / "a.mp4"))


def test_a_file_that_wants_all_memory_gets_none(tmp_path: Path, video: bytes) -> None:
    """A picture of 60,000 by 60,000 pixels does not fit into what the child may use; the next one is made."""
    (tmp_path / "bomb.png").write_bytes(_png(60_000))
    (tmp_path / "a.mp4").write_bytes(video)
    with Frames() as frames:
        assert frames.poster(tmp_path / "bomb.png") is None
        assert _is_jpeg(frames.poster(tmp_path / "a.mp4"))


def test_a_file_that_is_never_read_to_its_end_is_given_up(tmp_path: Path, video: bytes) -> None:
    """A child that does not answer is killed, and another one makes the next picture."""
    os.mkfifo(tmp_path / "endless.mp4")
    (tmp_path / "a.mp4").write_bytes(video)
    with Frames(patience=1.0) as frames:
        assert frames.poster(tmp_path / "endless.mp4") is None
    with Frames() as frames:
        assert _is_jpeg(frames.poster(tmp_path / "a.mp4"))


def test_the_child_gets_no_secret(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, video: bytes) -> None:
    """The token of our environment is not in the child's."""
    monkeypatch.setenv("BATCHRUNNER_TOKEN", "tok-5f3a-secret")
    (tmp_path / "a.mp4").write_bytes(video)
    with Frames() as frames:
        assert _is_jpeg(frames.poster(tmp_path / "a.mp4"))
        environments = [(path / "environ").read_bytes() for path in _children()]
    assert environments
    assert all(b"tok-5f3a-secret" not in one for one in environments)


def _children() -> list[Path]:
    tasks = Path(f"/proc/{os.getpid()}/task")
    return [Path(f"/proc/{pid}") for task in tasks.iterdir() for pid in (task / "children").read_text().split()]


def test_any_frame_comes_as_a_picture_in_its_own_size(tmp_path: Path, video: bytes) -> None:
    """First, last and numbered frames are PNG files of the video's size; a number behind the last has none."""
    (tmp_path / "a.mp4").write_bytes(video)
    with Frames() as frames:
        found = {frame: frames.frame(tmp_path / "a.mp4", frame) for frame in ("first", "0", "5", "11", "last", "12")}
        (tmp_path / "b.mp4").write_bytes(b"no video")
        assert frames.frame(tmp_path / "b.mp4", "last") is None
    assert found["12"] is None
    assert found["first"] == found["0"] != found["5"] != found["11"] == found["last"]
    for picture in filter(None, found.values()):
        assert inspect_open(io.BytesIO(picture)).whole
        assert struct.unpack(">II", picture[16:24]) == (64, 48)
