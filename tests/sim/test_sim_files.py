"""Files: what is in them, and how they look while they are written (docs/comfyui.md §13)."""

from __future__ import annotations

import io
import json
import struct
import sys
from typing import TYPE_CHECKING, Any

import pytest
from bench import Wall, bench, edited, ending, file_of, node, shot

from batchrunner.sim.graph import Shot
from batchrunner.sim.media import BoxRenderer, Order
from batchrunner.sim.record import What
from batchrunner.sim.video import PyavRenderer, renderer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TEXTS = ["a cat", "ein Hund \U0001f3ac", 'quote " and \\ and \n', "no", "עברית"]


def boxes(content: bytes) -> Iterator[tuple[str, int]]:
    """Yield (kind, size) of the boxes of an MP4, which must fill it exactly."""
    at = 0
    while at < len(content):
        size, kind = struct.unpack(">I4s", content[at : at + 8])
        yield kind.decode(), size
        at += size
    assert at == len(content)


class Peeking:
    """A renderer that looks at the output folder before it answers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seen: list[tuple[str, int]] = []

    def render(self, order: Order) -> bytes:
        """Note names and sizes, then render boxes."""
        self.seen += [(path.name, path.stat().st_size) for path in self.folder.iterdir()]
        return BoxRenderer().render(order)


class Emptying(Peeking):
    """A renderer during whose work everything is cleaned up."""

    def render(self, order: Order) -> bytes:
        """Delete what lies there, then render boxes."""
        for path in self.folder.iterdir():
            path.unlink()
        return BoxRenderer().render(order)


class Full:
    """A renderer that finds the disk full."""

    def render(self, order: Order) -> bytes:
        """Fail."""
        raise OSError(28, f"No space left on device: {order.form}")


@pytest.mark.parametrize("renderer", [BoxRenderer(), PyavRenderer()], ids=["boxes", "pyav"])
async def test_video_has_the_recorded_boxes_and_the_workflow_last(renderer: Any, tmp_path: Path) -> None:
    """Both renderers write ftyp, free, mdat and moov in this order, with the workflow and extra_pnginfo in moov."""
    async with bench(tmp_path, renderer=renderer) as here:
        entry = await here.run(shot(7), extra_data={"extra_pnginfo": {"job": "J-17"}})
        _, content, _ = await here.view(file_of(entry))
        assert [kind for kind, _ in boxes(content)] == ["ftyp", "free", "mdat", "moov"]
        moov = content[content.index(b"moov") :]
        assert json.dumps(entry["prompt"][2]).encode() in moov
        assert b'"J-17"' in moov
        assert b"mdtaprompt" in moov
        assert b"mdtajob" in moov


@pytest.mark.parametrize("text", TEXTS)
async def test_real_video_plays_and_says_what_it_is(text: str, tmp_path: Path) -> None:
    """PyAV's video has 25 pictures and sound, and its metadata hold the workflow with its own text and seed."""
    av = pytest.importorskip("av")
    async with bench(tmp_path, renderer=PyavRenderer()) as here:
        entry = await here.run(edited({"7": {"text": text}, "10": {"seed": 2**64 - 1}}))
        _, content, _ = await here.view(file_of(entry))
    with av.open(io.BytesIO(content)) as film:
        inside = json.loads(film.metadata["prompt"])
        assert inside["7"]["inputs"]["text"] == text
        assert inside["10"]["inputs"]["seed"] == 2**64 - 1
        assert [stream.type for stream in film.streams] == ["video", "audio"]
        picture = film.streams.video[0]
        assert (picture.codec_context.name, picture.width, picture.height) == ("h264", 256, 170)
        assert len(list(film.decode(picture))) == 25
    assert len(content) < 200_000


def test_pictures_differ_by_text_and_by_seed() -> None:
    """Another text, another seed: another file; the same again: the same file."""
    made = [
        PyavRenderer().render(Order("mp4", Shot(width=64, height=64, frames=9, text=text, seed=seed, sound=0.3)))
        for text, seed in [("a", 1), ("a", 2), ("b", 1), ("a", 1)]
    ]
    assert len(set(made)) == 3
    assert made[0] == made[3]


def test_without_pyav_the_message_says_what_to_install() -> None:
    """Where PyAV is missing, plain stand-ins take the place of real videos, and it is said how to get those."""
    told: list[str] = []
    known = {name: sys.modules.pop(name) for name in [name for name in sys.modules if name.split(".")[0] == "av"]}
    sys.modules["av"] = None  # type: ignore[assignment] # this is how Python spells a module that cannot be imported
    try:
        assert isinstance(renderer(told.append), BoxRenderer)
    finally:
        del sys.modules["av"]
        sys.modules.update(known)
    assert [line.partition("pip install ")[2] for line in told] == ["'batchrunner[video]'"]
    assert isinstance(renderer(told.append), PyavRenderer)
    assert len(told) == 1


async def test_file_is_a_stump_while_it_is_written(tmp_path: Path) -> None:
    """While a video is being encoded, 48 bytes lie under its final name."""
    renderer = Peeking(tmp_path / "output")
    async with bench(tmp_path, renderer=renderer) as here:
        await here.run(shot())
        assert renderer.seen == [("generated-video_00001_.mp4", 48)]


async def test_clean_up_while_writing_leaves_success_without_a_file(tmp_path: Path) -> None:
    """A file that is deleted while it is written stays gone, and the prompt succeeds all the same."""
    async with bench(tmp_path, renderer=Emptying(tmp_path / "output")) as here:
        entry = await here.run(shot())
        assert ending(entry)[0] == "execution_success"
        assert (await here.view(file_of(entry)))[0] == 404


async def test_full_disk_is_an_error_of_the_save_node(tmp_path: Path) -> None:
    """No space on the server ends the prompt in execution_error, and the server goes on."""
    async with bench(tmp_path, renderer=Full()) as here:
        event, details = ending(await here.run(shot()))
        assert (event, details["node_id"], details["exception_type"]) == ("execution_error", "15", "OSError")


async def test_metadata_can_be_off(tmp_path: Path) -> None:
    """A server with metadata disabled writes videos that do not say what they are."""
    async with bench(tmp_path, metadata=False) as here:
        _, content, _ = await here.view(file_of(await here.run(shot())))
        assert b"class_type" not in content


OUTPUTS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    (
        node("SaveImage", images=["12", 0], filename_prefix="img"),
        {"images": [{"filename": f"img_{n:05}_.png", "subfolder": "", "type": "output"} for n in range(1, 26)]},
    ),
    (
        node("PreviewImage", images=["12", 0]),
        {
            "images": [
                {"filename": f"ComfyUI_temp_simul_{n:05}_.png", "subfolder": "", "type": "temp"} for n in range(1, 26)
            ]
        },
    ),
    (
        node("SaveWEBM", images=["12", 0], filename_prefix="webm", codec="vp9", fps=24.0, crf=32.0),
        {"images": [{"filename": "webm_00001_.webm", "subfolder": "", "type": "output"}], "animated": [True]},
    ),
    (
        node(
            "SaveAnimatedWEBP",
            images=["12", 0],
            filename_prefix="webp",
            fps=6.0,
            lossless=True,
            quality=80,
            method="default",
        ),
        {"images": [{"filename": "webp_00001_.webp", "subfolder": "", "type": "output"}], "animated": [True]},
    ),
    (
        node("SaveAudio", audio=["13", 0], filename_prefix="aud"),
        {"audio": [{"filename": "aud_00001_.flac", "subfolder": "", "type": "output"}]},
    ),
    (
        node("PreviewAudio", audio=["13", 0]),
        {"audio": [{"filename": "ComfyUI_temp_simul_00001_.flac", "subfolder": "", "type": "temp"}]},
    ),
]


@pytest.mark.parametrize(("save", "shown"), OUTPUTS, ids=[save["class_type"] for save, _ in OUTPUTS])
async def test_what_each_save_node_shows(save: dict[str, Any], shown: dict[str, Any], tmp_path: Path) -> None:
    """Each save node lists its files under its own key, and every one of them can be viewed."""
    async with bench(tmp_path) as here:
        entry = await here.run(edited({"15": {"=": save}}))
        assert entry["outputs"] == {"15": shown}
        for file in next(iter(shown.values())):
            assert (await here.view(file))[0] == 200


async def test_vhs_lists_the_video_with_sound_under_gifs(tmp_path: Path) -> None:
    """VHS_VideoCombine writes three files, lists the one with sound, and keeps the workflow in its comment."""
    save = node(
        "VHS_VideoCombine",
        images=["12", 0],
        audio=["13", 0],
        frame_rate=24,
        loop_count=0,
        filename_prefix="vhs",
        format="video/h264-mp4",
        pingpong=False,
        save_output=True,
    )
    async with bench(tmp_path) as here:
        entry = await here.run(edited({"15": {"=": save}}))
        (listed,) = entry["outputs"]["15"]["gifs"]
        wanted = {"filename", "subfolder", "type", "format", "frame_rate", "workflow", "fullpath"}
        assert (set(listed), listed["filename"]) == (wanted, "vhs_00001-audio.mp4")
        names = sorted(path.name for path in (tmp_path / "output").iterdir())
        assert names == ["vhs_00001-audio.mp4", "vhs_00001.mp4", "vhs_00001.png"]
        _, content, _ = await here.view({key: listed[key] for key in ("filename", "subfolder", "type")})
        assert b"mdtacomment" in content
        assert b"vhs" in content
        entry = await here.run(edited({"15": {"=": save}, "10": {"seed": 9}}))
        assert entry["outputs"]["15"]["gifs"][0]["filename"] == "vhs_00002-audio.mp4"


@pytest.mark.parametrize("form", ["png", "flac", "webm", "mp4"])
def test_small_files_open(form: str) -> None:
    """Pictures, sounds and videos made for tests are what their names say."""
    av = pytest.importorskip("av")
    order = Order(form, Shot(width=128, height=64, frames=5, text="a", seed=3, sound=0.2), {"prompt": {"1": {}}})
    with av.open(io.BytesIO(PyavRenderer().render(order))) as file:
        (stream, *_) = file.streams
        assert len(list(file.decode(stream))) >= 1


async def test_png_carries_the_workflow(tmp_path: Path) -> None:
    """A PNG has the workflow as a text chunk, as the real SaveImage writes it."""
    async with bench(tmp_path) as here:
        entry = await here.run(edited({"15": {"=": node("SaveImage", images=["12", 0], filename_prefix="p")}}))
        _, content, headers = await here.view(file_of(entry))
        assert headers["Content-Type"] == "image/png"
        assert b"tEXtprompt\x00" + json.dumps(entry["prompt"][2]).encode() in content


async def test_record_tells_who_wrote_and_who_fetched(tmp_path: Path) -> None:
    """The record names prompt, prefix, file and peer of each thing that happened, in order, and can be listened to."""
    wall, lines = Wall(), []
    async with bench(tmp_path, wall=wall, listener=lines.append) as here:
        name = await here.post(shot(1, "mine"))
        await here.sim.idle()
        await here.view({"filename": "mine_00001_.mp4"})
        story = [What.POSTED, What.STARTED, What.ENCODED, What.ENCODED]
        story += [What.RENDERED, What.SAVED, What.SUCCEEDED, What.VIEWED]
        assert [event.what for event in here.sim.record] == story
        assert {(event.prompt_id, event.prefix, event.at) for event in here.sim.record} == {(name, "mine", wall.now)}
        assert (lines[-1].note, lines[-1].peer) == ("mine_00001_.mp4", "127.0.0.1")
        assert json.loads(lines[-1].line())["what"] == "viewed"
