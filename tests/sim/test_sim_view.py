"""GET /view as recorded: ranges, conditions, refusals, names (docs/comfyui.md §14)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import ClientConnectionError
from bench import BASE, Wall, bench, edited, ending, file_of, node, shot

from batchrunner.sim.media import BoxRenderer
from batchrunner.sim.record import What

if TYPE_CHECKING:
    from pathlib import Path

NAME = "view test ünï_00001_.mp4"
BIG = BoxRenderer(body=5000)
OLD, NEW = "Mon, 01 Jan 2024 00:00:00 GMT", "Sun, 22 Nov 2037 05:16:17 GMT"

RANGES: list[tuple[str, dict[str, str], int, str]] = [
    ("whole", {}, 200, ""),
    ("from and to", {"Range": "bytes=0-99"}, 206, "bytes 0-99/{size}"),
    ("from", {"Range": "bytes=1000-"}, 206, "bytes 1000-{last}/{size}"),
    ("the last", {"Range": "bytes=-100"}, 206, "bytes {tail}-{last}/{size}"),
    ("past the end", {"Range": "bytes=10-999999"}, 206, "bytes 10-{last}/{size}"),
    ("already complete", {"Range": "bytes={size}-"}, 416, "bytes */{size}"),
    ("beyond", {"Range": "bytes=999999-"}, 416, "bytes */{size}"),
    ("two ranges", {"Range": "bytes=0-9,20-29"}, 416, "bytes */{size}"),
    ("another unit", {"Range": "items=0-9"}, 416, "bytes */{size}"),
    ("If-Range with its ETag", {"Range": "bytes=10-19", "If-Range": "{etag}"}, 206, "bytes 10-19/{size}"),
    ("If-Range with a stale ETag", {"Range": "bytes=10-19", "If-Range": '"deadbeef"'}, 206, "bytes 10-19/{size}"),
    ("If-Range with its date", {"Range": "bytes=10-19", "If-Range": "{date}"}, 206, "bytes 10-19/{size}"),
    ("If-Range with an older date", {"Range": "bytes=10-19", "If-Range": OLD}, 200, ""),
    ("If-Match with its ETag", {"Range": "bytes=10-19", "If-Match": "{etag}"}, 206, "bytes 10-19/{size}"),
    ("If-Match with a stale ETag", {"Range": "bytes=10-19", "If-Match": '"nope"'}, 412, ""),
    ("If-None-Match", {"If-None-Match": "{etag}"}, 304, ""),
    ("If-Modified-Since", {"If-Modified-Since": NEW}, 304, ""),
    ("If-Unmodified-Since", {"If-Unmodified-Since": OLD}, 412, ""),
    ("gzip is not applied", {"Accept-Encoding": "gzip, br"}, 200, ""),
]

REFUSALS: list[tuple[str, int]] = [
    ("filename=nope.mp4&type=output&subfolder=", 404),
    ("type=output", 404),
    ("filename=&type=output", 400),
    ("filename=a.mp4&type=weird", 400),
    ("filename={name}&type=output", 404),
    ("filename=big%2F{name}&type=output", 404),
    ("filename=..%2Fmain.py&type=output", 400),
    ("filename=%2Fetc%2Fpasswd&type=output", 400),
    ("filename=main.py&type=output&subfolder=..%2FComfyUI", 403),
    ("filename=passwd&type=output&subfolder=%2Fetc", 403),
    ("filename=a..b_00001_.mp4&type=output", 400),
    ("filename=x.mp4+%5Boutput%5D", 404),
    ("filename=a.mp4&type=output&subfolder=%00", 404),
    ("filename=%00a.mp4&type=output", 404),
    ("filename=big&type=output", 404),
    ("filename={name}&type=output&subfolder=big&preview=webp", 500),
    ("filename={name}&type=output&subfolder=big&channel=rgb", 500),
    ("filename={name}&type=output&subfolder=big", 200),
    ("filename={name}&subfolder=big", 200),
    ("filename={name}+%5Boutput%5D&subfolder=big", 200),
]

NAMES: list[tuple[str, str, str, int]] = [
    ("sp ace", "sp ace_00001_.mp4", "", 200),
    ("pct%41", "pct%41_00001_.mp4", "", 200),
    ("hash#x", "hash#x_00001_.mp4", "", 200),
    ("amp&y", "amp&y_00001_.mp4", "", 200),
    ('quote"q', 'quote"q_00001_.mp4', "", 200),
    ("plus+p", "plus+p_00001_.mp4", "", 200),
    ("semi;s", "semi;s_00001_.mp4", "", 200),
    ("back\\b", "back\\b_00001_.mp4", "", 200),
    ("ünï/ço dé", "ço dé_00001_.mp4", "ünï", 200),
    ("a..b", "a..b_00001_.mp4", "", 400),
    ("x" * 200, "x" * 200 + "_00001_.mp4", "", 200),
    ("%date:yyyy-MM-dd%", "%date:yyyy-MM-dd%_00001_.mp4", "", 200),
    ("%year%-%month%-%day%/%hour%%minute%%second%", "080000_00001_.mp4", "2027-01-15", 200),
    ("%width%x%height%", "768x512_00001_.mp4", "", 200),
    ("a/b/c/d", "d_00001_.mp4", "a/b/c", 200),
    ("trail/", "trail_00001_.mp4", "", 200),
    ("~/home", "home_00001_.mp4", "~", 200),
    ("dot.", "dot._00001_.mp4", "", 200),
    ("", "._00001_.mp4", "", 200),
    ("..", ".._00001_.mp4", "", 400),
    ("emoji🎬", "emoji🎬_00001_.mp4", "", 200),
]


@pytest.mark.parametrize(
    ("headers", "status", "content_range"), [row[1:] for row in RANGES], ids=[r[0] for r in RANGES]
)
async def test_ranges_and_conditions(headers: dict[str, str], status: int, content_range: str, tmp_path: Path) -> None:
    """Every recorded combination of Range and condition gets the recorded status and Content-Range."""
    async with bench(tmp_path, renderer=BIG) as here:
        file = file_of(await here.run(shot(prefix="big/view test ünï")))
        _, whole, seen = await here.view(file)
        known = {"size": len(whole), "last": len(whole) - 1, "tail": len(whole) - 100}
        known |= {"etag": seen["Etag"], "date": seen["Last-Modified"]}
        got, body, answer = await here.view(file, **{key: value.format(**known) for key, value in headers.items()})
        assert got == status
        assert answer.get("Content-Range", "") == content_range.format(**known)
        assert answer["Content-Type"] == "video/mp4"
        assert answer["Content-Disposition"] == f'filename="{NAME}"'
        if status == 200:
            assert body == whole
            assert answer["Accept-Ranges"] == "bytes"


@pytest.mark.parametrize(("query", "status"), REFUSALS)
async def test_refusals(query: str, status: int, tmp_path: Path) -> None:
    """Every recorded way to ask for the wrong file gets the recorded status, with an empty body."""
    async with bench(tmp_path) as here:
        await here.run(shot(prefix="big/view test ünï"))
        url = f"{here.url}/view?{query.format(name=NAME.replace(' ', '+'))}"
        async with here.session.get(url) as answer:
            assert answer.status == status
            assert status in (200, 500) or await answer.read() == b""


@pytest.mark.parametrize(("prefix", "name", "subfolder", "status"), NAMES)
async def test_names_from_prefixes(prefix: str, name: str, subfolder: str, status: int, tmp_path: Path) -> None:
    """Every recorded prefix makes the recorded file, which can be viewed or, with `..` in it, never can."""
    async with bench(tmp_path, wall=Wall()) as here:
        file = file_of(await here.run(shot(prefix=prefix)))
        assert file == {"filename": name, "subfolder": subfolder, "type": "output"}
        got, _, _ = await here.view(file)
        assert got == status


@pytest.mark.parametrize(
    ("prefix", "kind"),
    [("../x", "Exception"), ("/abs/path", "Exception"), ("x" * 300, "OSError"), ("nul\x00x", "ValueError")],
)
async def test_bad_prefixes_fail_after_all_sampling(prefix: str, kind: str, tmp_path: Path) -> None:
    """A prefix that no file can have is found out by the save node, when everything is rendered."""
    async with bench(tmp_path) as here:
        event, details = ending(await here.run(shot(prefix=prefix)))
        assert event == "execution_error"
        assert (details["node_id"], details["exception_type"]) == ("15", kind)
        assert len(here.sim.record.of(What.RENDERED)) == 1


async def test_head_tells_the_length(tmp_path: Path) -> None:
    """HEAD gets the Content-Length and no body, and nothing is recorded as viewed."""
    async with bench(tmp_path) as here:
        file = file_of(await here.run(shot()))
        async with here.session.head("/view", params=file) as answer:
            size = (tmp_path / "output" / file["filename"]).stat().st_size
            assert (answer.status, answer.headers["Content-Length"]) == (200, str(size))
        assert not here.sim.record.of(What.VIEWED)


async def test_every_route_is_also_under_api(tmp_path: Path) -> None:
    """`/api/...` answers as `/...` does, and what does not exist is an empty 404."""
    async with bench(tmp_path) as here:
        file = file_of(await here.run(shot()))
        for path in ("queue", "prompt", "history", "object_info", "system_stats", "features"):
            assert (await here.ask("GET", f"/api/{path}")) == (await here.ask("GET", f"/{path}"))
        async with here.session.get("/api/view", params=file) as answer:
            assert answer.status == 200
        for path in ("/history/", "/api/jobs", "/nope"):
            assert await here.ask("GET", path) == (404, "")


async def test_deleted_file_is_sent_to_its_end(tmp_path: Path) -> None:
    """A download that was open when its file was deleted completes; the next one is 404."""
    async with bench(tmp_path, renderer=BoxRenderer(body=20_000_000)) as here:
        file = file_of(await here.run(shot()))
        path = tmp_path / "output" / file["filename"]
        size = path.stat().st_size
        async with here.session.get("/view", params=file) as answer:
            path.unlink()
            assert len(await answer.read()) == size
        assert (await here.view(file, Range="bytes=10-"))[0] == 404


async def test_replaced_file_has_another_etag(tmp_path: Path) -> None:
    """After another prompt took the name, If-Match says 412 and If-Range splices the two."""
    wall = Wall()
    async with bench(tmp_path, renderer=BIG, wall=wall) as here:
        file = file_of(await here.run(shot(1)))
        _, _, first = await here.view(file)
        (tmp_path / "output" / file["filename"]).unlink()
        wall.now += 5
        assert file_of(await here.run(shot(2))) == file
        assert (await here.view(file, **{"Range": "bytes=9-", "If-Match": first["Etag"]}))[0] == 412
        assert (await here.view(file, **{"Range": "bytes=9-", "If-Range": first["Etag"]}))[0] == 206
        assert (await here.view(file, **{"Range": "bytes=9-", "If-Unmodified-Since": first["Last-Modified"]}))[0] == 412


async def test_dates_follow_the_servers_clock(tmp_path: Path) -> None:
    """Date, Last-Modified, the ETag and the timestamps in history all come from the wall clock it was given."""
    wall = Wall()
    async with bench(tmp_path, wall=wall) as here:
        entry = await here.run(shot())
        wall.now += 90
        _, _, headers = await here.view(file_of(entry))
        assert headers["Last-Modified"] == "Fri, 15 Jan 2027 08:00:00 GMT"
        assert headers["Date"] == "Fri, 15 Jan 2027 08:01:30 GMT"
        assert headers["Etag"].startswith(f'"{1_800_000_000_000_000_000:x}-')
        assert ending(entry)[1]["timestamp"] == 1_800_000_000_000


async def test_newline_in_a_name_drops_the_connection(tmp_path: Path) -> None:
    """A file whose name has a newline exists, and asking for it ends the connection without an answer."""
    async with bench(tmp_path) as here:
        file = file_of(await here.run(shot(prefix="new\nline")))
        assert file["filename"] == "new\nline_00001_.mp4"
        with pytest.raises(ClientConnectionError):
            await here.view(file)


def test_the_workflow_is_the_documents() -> None:
    """The workflow that these tests post has the fifteen nodes of the deployed server's document."""
    kinds: dict[str, Any] = {name: item["class_type"] for name, item in BASE.items()}
    assert len(kinds) == 15
    assert edited()["15"] == node("SaveVideo", **BASE["15"]["inputs"])


@pytest.mark.parametrize("prefix", ["x" * 300 + "/a", "nul\x00/a", "kept_00001_.mp4/a"])
async def test_a_folder_that_cannot_be_is_a_failure_of_the_node(prefix: str, tmp_path: Path) -> None:
    """A prefix whose folder cannot be made fails that prompt, and the server goes on."""
    async with bench(tmp_path) as here:
        await here.run(shot(prefix="kept"))
        assert ending(await here.run(shot(prefix=prefix)))[0] == "execution_error"
        assert ending(await here.run(shot(prefix="next")))[0] == "execution_success"
