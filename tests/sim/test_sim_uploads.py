"""Input files: uploads and their names, and the loaders that read them (docs/comfyui.md §22)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import FormData
from bench import bench, cached, ending, node

from batchrunner.sim.record import What

if TYPE_CHECKING:
    from pathlib import Path

    from bench import Bench

    from batchrunner.sim.prompts import SimPrompt

PNG = b"\x89PNG\r\n\x1a\n"
MP4 = b"\x00\x00\x00\x20ftypisom"


async def upload(here: Bench, name: str, content: bytes, **fields: str) -> tuple[int, Any]:
    """Upload a file; return status and answer."""
    form = FormData(quote_fields=False)
    form.add_field("image", content, filename=name)
    for key, value in fields.items():
        form.add_field(key, value)
    return await here.ask("POST", "/upload/image", data=form)


def stored(name: str, subfolder: str = "", kind: str = "input") -> tuple[int, dict[str, str]]:
    """Return the answer for a file that was taken."""
    return 200, {"name": name, "subfolder": subfolder, "type": kind}


def loading(loader: str, key: str, value: object) -> dict[str, Any]:
    """Return a workflow that loads a file and saves what is in it."""
    save = {
        "LoadImage": node("SaveImage", filename_prefix="copy", images=["1", 0]),
        "LoadVideo": node("SaveVideo", filename_prefix="copy", format="auto", codec="auto", video=["1", 0]),
        "LoadAudio": node("SaveAudio", filename_prefix="copy", audio=["1", 0]),
    }
    return {"1": node(loader, **{key: value}), "2": save[loader]}


async def test_a_taken_name_with_other_bytes_gets_a_number(tmp_path: Path) -> None:
    """The same bytes keep their name, other bytes get `(1)`, `(2)`, and the answer says which."""
    async with bench(tmp_path) as here:
        names = [(await upload(here, "a.png", content))[1]["name"] for content in (b"1", b"1", b"2", b"2", b"3", b"1")]
        assert names == ["a.png", "a.png", "a (1).png", "a (1).png", "a (2).png", "a.png"]
        assert (tmp_path / "input" / "a (1).png").read_bytes() == b"2"
        assert [event.note for event in here.sim.record.of(What.UPLOADED)] == names


@pytest.mark.parametrize(("value", "name"), [("true", "a.png"), ("1", "a.png"), ("True", "a (1).png")])
async def test_overwrite_is_true_or_1(value: str, name: str, tmp_path: Path) -> None:
    """Only two texts overwrite a file of the same name."""
    async with bench(tmp_path) as here:
        await upload(here, "a.png", b"1")
        assert await upload(here, "a.png", b"2", overwrite=value) == stored(name)
        assert (tmp_path / "input" / name).read_bytes() == b"2"


@pytest.mark.parametrize(
    ("name", "fields", "answer"),
    [
        ("s.png", {"subfolder": "a/b"}, stored("s.png", "a/b")),
        ("s.png", {"subfolder": "a/b/"}, stored("s.png", "a/b/")),
        ("s.png", {"subfolder": "./a/../c"}, stored("s.png", "./a/../c")),
        ("s.png", {"type": "output"}, stored("s.png", kind="output")),
        ("s.png", {"type": "temp"}, stored("s.png", kind="temp")),
        ("Grüße 🐱.png", {}, stored("Grüße 🐱.png")),
        ("s.png", {"subfolder": ".."}, (400, "")),
        ("s.png", {"subfolder": "../output"}, (400, "")),
        ("s.png", {"subfolder": "/etc"}, (400, "")),
        ("../s.png", {}, (400, "")),
    ],
)
async def test_where_an_upload_goes(name: str, fields: dict[str, str], answer: tuple[int, Any], tmp_path: Path) -> None:
    """The subfolder is made and echoed as it was sent; what leaves the folder is refused with an empty body."""
    async with bench(tmp_path) as here:
        assert await upload(here, name, b"1", **fields) == answer


@pytest.mark.parametrize(
    ("name", "fields"),
    [("sub/x.png", {}), ("/abs/x.png", {}), ("n" * 252 + ".png", {}), ("", {}), ("x.png", {"type": "nosuch"})],
)
async def test_what_a_real_server_stumbles_over(name: str, fields: dict[str, str], tmp_path: Path) -> None:
    """A folder that is not there, an absolute, empty or too long name, and an unknown type are a 500."""
    async with bench(tmp_path) as here:
        assert (await upload(here, name, b"1", **fields))[0] == 500
        assert list((tmp_path / "input").iterdir()) == []


async def test_without_an_image_there_is_nothing_to_store(tmp_path: Path) -> None:
    """JSON, an empty body and a form without `image` are 400 with an empty body; GET is 404."""
    async with bench(tmp_path) as here:
        assert await here.ask("POST", "/upload/image", json={}) == (400, "")
        assert await here.ask("POST", "/upload/image") == (400, "")
        assert await here.ask("POST", "/api/upload/image", data=FormData({"type": "input"})) == (400, "")
        assert (await here.ask("GET", "/upload/image"))[0] == 404


async def test_head_tells_the_size_of_an_input(tmp_path: Path) -> None:
    """HEAD /view of an uploaded file has its length and ETag; a missing one, or one with its folder, is 404."""
    async with bench(tmp_path) as here:
        await upload(here, "a.png", b"12345", subfolder="b")
        wanted = {"filename": "a.png", "type": "input", "subfolder": "b"}
        async with here.session.head("/view", params=wanted) as answer:
            assert (answer.status, answer.headers["Content-Length"]) == (200, "5")
            assert answer.headers["ETag"]
        for missing in ({**wanted, "filename": "b.png"}, {"filename": "b/a.png", "type": "input"}):
            async with here.session.head("/view", params=missing) as answer:
                assert answer.status == 404
        assert here.sim.record.of(What.VIEWED) == []


@pytest.mark.parametrize(
    ("loader", "key", "media"),
    [("LoadImage", "image", "image"), ("LoadVideo", "file", "video"), ("LoadAudio", "audio", "audio")],
)
async def test_a_loader_refuses_what_is_not_there(loader: str, key: str, media: str, tmp_path: Path) -> None:
    """A value that names no file is a 400 with the real texts; a value that is no text raises there."""
    async with bench(tmp_path) as here:
        status, answer = await here.ask("POST", "/prompt", json={"prompt": loading(loader, key, "nope.x")})
        reason = answer["node_errors"]["1"]["errors"][0]
        assert (status, reason["type"]) == (400, "custom_validation_failed")
        assert reason["details"] == f"{key} - Invalid {media} file: nope.x"
        status, answer = await here.ask("POST", "/prompt", json={"prompt": loading(loader, key, 5)})
        reason = answer["node_errors"]["1"]["errors"][0]
        assert (status, reason["type"]) == (400, "exception_during_inner_validation")
        assert reason["details"] == "'int' object has no attribute 'endswith'"


@pytest.mark.parametrize(
    ("value", "ends"),
    [
        ("a.png", "execution_success"),
        ("sub/a.png", "execution_success"),
        ("./sub/a.png", "execution_success"),
        ("a.png [input]", "execution_success"),
        ("o.png [output]", "execution_success"),
        ("", "IsADirectoryError"),
        ("sub", "IsADirectoryError"),
        ("zero.png", "PIL.UnidentifiedImageError"),
        ("v.mp4", "PIL.UnidentifiedImageError"),
    ],
)
async def test_posting_only_checks_that_a_path_exists(value: str, ends: str, tmp_path: Path) -> None:
    """A folder, an empty file and another kind of file are accepted and fail when the prompt runs."""
    async with bench(tmp_path) as here:
        for name, content, fields in (
            ("a.png", PNG, {}),
            ("a.png", PNG, {"subfolder": "sub"}),
            ("o.png", PNG, {"type": "output"}),
            ("zero.png", b"", {}),
            ("v.mp4", MP4, {}),
        ):
            await upload(here, name, content, **fields)
        event, details = ending(await here.run(loading("LoadImage", "image", value)))
        assert details.get("exception_type", event) == ends


async def test_a_file_that_is_deleted_while_its_prompt_waits(tmp_path: Path) -> None:
    """The prompt was accepted and fails with FileNotFoundError at its loader."""
    async with bench(tmp_path) as here:

        async def clean_up(_prompt: SimPrompt, _node: str) -> None:
            (tmp_path / "input" / "a.png").unlink()

        await upload(here, "a.png", PNG)
        here.sim.machine.hold = clean_up
        _, details = ending(await here.run(loading("LoadImage", "image", "a.png")))
        assert (details["node_id"], details["exception_type"]) == ("1", "FileNotFoundError")
        assert details["exception_message"] == "[Errno 2] No such file or directory: '/ComfyUI/input/a.png'\n"


async def test_other_bytes_are_loaded_again_but_not_with_is_changed(tmp_path: Path) -> None:
    """A changed file is no hit in the cache; posted with the stored `is_changed`, the old result is served."""
    async with bench(tmp_path) as here:
        await upload(here, "a.png", PNG)
        first = await here.run(loading("LoadImage", "image", "a.png"))
        assert cached(await here.run(loading("LoadImage", "image", "a.png"))) == ["1", "2"]
        await upload(here, "a.png", PNG + b"2", overwrite="1")
        assert cached(await here.run(loading("LoadImage", "image", "a.png"))) == []
        stale = first["prompt"][2]
        assert len(stale["1"]["is_changed"][0]) == 64
        await here.run(stale)
        await upload(here, "a.png", PNG + b"3", overwrite="1")
        assert cached(await here.run(stale)) == ["1", "2"]


async def test_loaders_list_the_input_folder(tmp_path: Path) -> None:
    """/object_info lists files of the kind at the top of the input folder, afresh, with the flag for uploads."""
    async with bench(tmp_path) as here:
        for name in ("b.png", "a.mp4", "c.wav"):
            await upload(here, name, b"1")
        await upload(here, "d.png", b"1", subfolder="sub")
        _, shown = await here.ask("GET", "/object_info")
        assert shown["LoadImage"]["input"]["required"]["image"] == [["b.png"], {"image_upload": True}]
        assert shown["LoadAudio"]["input"]["required"]["audio"] == [["c.wav"], {"audio_upload": True}]
        assert shown["LoadVideo"]["input"]["required"]["file"] == [
            "COMBO",
            {"multiselect": False, "options": ["a.mp4"], "video_upload": True},
        ]
