"""One upload: whole, under the name that the server tells, or nothing that counts."""

from __future__ import annotations

import asyncio
import os
from contextlib import asynccontextmanager
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from answering import PATIENT, answering, raw

from batchrunner.comfy.client import Client, session
from batchrunner.comfy.exchange import Timeouts
from batchrunner.core.actions import Cause, Failure, NotUploaded, Upload, Uploaded
from batchrunner.core.job import InputFile, upload_name
from batchrunner.sim.machine import Pace
from batchrunner.sim.record import What
from batchrunner.sim.server import Simulator, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

LARGE = bytes(range(256)) * 2500
"""More than two pieces."""
PAGE = "<html><head><title>413 Request Entity Too Large</title></head></html>"


def kept(folder: Path, content: bytes = LARGE, suffix: str = ".png") -> InputFile:
    """Keep a copy of an input file, as a batch's folder does."""
    digest = sha256(content).hexdigest()
    file = InputFile(digest, len(content), upload_name(digest, suffix))
    (folder / file.name).write_bytes(content)
    return file


@asynccontextmanager
async def uploading(url: str, folder: Path, waits: Timeouts = PATIENT) -> AsyncIterator[Client]:
    """Yield a client that uploads from a folder."""
    async with session() as http:
        yield Client(url, http, waits=waits, inputs=folder)


@asynccontextmanager
async def simulated(folder: Path) -> AsyncIterator[tuple[Client, Simulator]]:
    """Yield a client, and the simulator it uploads to."""
    sim = Simulator(folder / "sim", pace=Pace.instant())
    async with serve(sim) as url, uploading(url, folder) as comfy:
        yield comfy, sim


async def test_a_file_arrives_whole_under_its_name(tmp_path: Path) -> None:
    """The bytes that lie there are ours; the same again changes nothing, and the ETag tells that it is the same."""
    file = kept(tmp_path)
    async with simulated(tmp_path) as (comfy, sim):
        first = await comfy.upload(Upload("s", file))
        assert isinstance(first, Uploaded)
        assert (first.name, bool(first.etag)) == (file.name, True)
        assert (sim.folder / "input" / file.name).read_bytes() == LARGE
        assert await comfy.upload(Upload("s", file)) == first


@pytest.mark.parametrize("theirs", [b"short", LARGE[::-1]])
async def test_a_strangers_file_under_our_name_is_left_alone(theirs: bytes, tmp_path: Path) -> None:
    """What lies under our name with other bytes, be it as long, stays; ours gets the name that the answer tells."""
    file = kept(tmp_path)
    async with simulated(tmp_path) as (comfy, sim):
        (sim.folder / "input" / file.name).write_bytes(theirs)
        stored = await comfy.upload(Upload("s", file))
        assert isinstance(stored, Uploaded)
        assert stored.name == file.name.replace(".png", " (1).png")
        assert (sim.folder / "input" / file.name).read_bytes() == theirs
        assert (sim.folder / "input" / stored.name).read_bytes() == LARGE


async def test_what_is_still_there_is_not_sent_again(tmp_path: Path) -> None:
    """With the name and ETag of an earlier upload a HEAD is enough; a file that is gone or another is sent again."""
    file = kept(tmp_path)
    async with simulated(tmp_path) as (comfy, sim):
        first = await comfy.upload(Upload("s", file))
        assert isinstance(first, Uploaded)
        again = Upload("s", file, first.name, first.etag)
        assert await comfy.upload(again) == first
        assert len(sim.record.of(What.UPLOADED)) == 1
        place = sim.folder / "input" / file.name
        place.write_bytes(LARGE[::-1])
        os.utime(place, (1, 1))
        other = await comfy.upload(again)
        assert isinstance(other, Uploaded)
        assert other.name != first.name
        place.unlink()
        back = await comfy.upload(again)
        assert isinstance(back, Uploaded)
        assert (back.name, place.read_bytes()) == (file.name, LARGE)


async def test_a_name_without_a_suffix_and_an_empty_read_ahead(tmp_path: Path) -> None:
    """A file of one byte without a suffix is a file too."""
    file = kept(tmp_path, b"x", "")
    async with simulated(tmp_path) as (comfy, sim):
        assert isinstance(await comfy.upload(Upload("s", file)), Uploaded)
        assert (sim.folder / "input" / file.name).read_bytes() == b"x"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (web.Response, "127.0.0.1:{port}, or a proxy before it, takes no file of 0.6 MB"),
        (lambda **given: web.Response(text=PAGE, content_type="text/html", **given), "client_max_body_size"),
        (lambda **given: web.Response(text="Maximum request body size", **given), "--max-upload-size"),
    ],
)
async def test_who_takes_no_file_of_this_size(answer: Callable[..., web.Response], says: str, tmp_path: Path) -> None:
    """A page is the proxy's 413, plain text ComfyUI's: the message names who it is, the size, and what to raise."""
    file = kept(tmp_path)

    async def refuse(_request: web.Request) -> web.Response:
        return answer(status=413)

    async with answering(refuse) as place, uploading(place.url, tmp_path) as comfy:
        end = await comfy.upload(Upload("s", file))
    assert isinstance(end, NotUploaded)
    assert says.format(port=place.url.split(":")[2].strip("/")) in end.message
    assert "0.6 MB" in end.message


def _storing(**head: object) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """Return a server that takes every upload, and answers HEAD as said."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.method == "POST":
            return web.json_response({"name": "x.png", "subfolder": "sub", "type": "input"})
        return web.Response(**head)  # type: ignore[arg-type] # as said

    return answer


@pytest.mark.parametrize(
    ("head", "ok"),
    [
        ({"status": 200, "headers": {"Content-Length": str(len(LARGE))}}, Uploaded),
        ({"status": 200, "headers": {"Content-Length": "5"}}, Failure),
        ({"status": 404}, Failure),
        ({"status": 405}, Uploaded),
        ({"status": 502, "text": PAGE, "content_type": "text/html"}, Failure),
    ],
)
async def test_only_what_lies_there_whole_counts(head: dict[str, object], ok: type, tmp_path: Path) -> None:
    """A 200 is not enough: the length must be right. Only a server that passes on no HEAD is believed."""
    file = kept(tmp_path)
    async with answering(_storing(**head)) as place, uploading(place.url, tmp_path) as comfy:
        end = await comfy.upload(Upload("s", file))
    assert isinstance(end, ok)
    assert place.asked[-1].path == "/view?filename=x.png&type=input&subfolder=sub"
    if isinstance(end, Uploaded):
        assert end.name == "sub/x.png"


@pytest.mark.parametrize(
    "answer", [{}, {"name": ""}, {"name": 5}, {"name": "x", "type": "output"}, {"name": "x" * 5000}]
)
async def test_an_answer_without_a_name_is_a_failure(answer: dict[str, object], tmp_path: Path) -> None:
    """What the workflow is to call the file must be told."""
    file = kept(tmp_path)

    async def tell(_request: web.Request) -> web.Response:
        return web.json_response(answer)

    async with answering(tell) as place, uploading(place.url, tmp_path) as comfy:
        end = await comfy.upload(Upload("s", file))
    assert isinstance(end, Failure)
    assert end.cause is Cause.UNAVAILABLE


async def test_a_copy_that_changed_never_arrives(tmp_path: Path) -> None:
    """A copy with other bytes, too few or none at all is our machine's failure, and nothing is stored."""
    file = kept(tmp_path)
    async with simulated(tmp_path) as (comfy, sim):
        for content in (bytes(len(LARGE)), LARGE[:300_000], None):
            if content is None:
                (tmp_path / file.name).unlink()
            else:
                (tmp_path / file.name).write_bytes(content)
            end = await comfy.upload(Upload("s", file))
            assert isinstance(end, Failure)
            assert (end.cause, str(tmp_path / file.name) in end.message) == (Cause.LOCAL, True)
        assert list((sim.folder / "input").iterdir()) == []


async def test_a_server_that_reads_nothing_ends_the_upload(tmp_path: Path) -> None:
    """There is no limit on the whole, but on every pause: a server that takes no more bytes, or gives no answer."""
    file = kept(tmp_path, bytes(2**24))
    waits = Timeouts(connect=0.1, call=0.1, stall=0.1)
    async with raw(hang=True) as place, uploading(place.url, tmp_path, waits) as comfy:
        end = await comfy.upload(Upload("s", file))
    assert isinstance(end, Failure)
    assert end.timed_out


async def test_uploads_do_not_hold_up_the_loop(tmp_path: Path) -> None:
    """A file is read and sent in pieces: others run in between."""
    file = kept(tmp_path)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    async with simulated(tmp_path) as (comfy, _):
        counting = asyncio.create_task(count())
        assert isinstance(await comfy.upload(Upload("s", file)), Uploaded)
        counting.cancel()
    assert turns > 10


@pytest.mark.parametrize(
    ("answer", "limit"),
    [({"max_upload_size": 104857600}, 104856576.0), ({"max_upload_size": 5e6}, 4998976.0), ({}, None), ([], None)],
)
async def test_the_limit_that_a_server_tells(answer: object, limit: float | None, tmp_path: Path) -> None:
    """`max_upload_size` may be a float or missing, and counts the whole body; without features nothing is known."""

    async def tell(_request: web.Request) -> web.Response:
        return web.json_response(answer)

    async with answering(tell) as place, uploading(place.url, tmp_path) as comfy:
        assert await comfy.largest_upload() == limit
