"""The token: wherever it might be written down, it is not."""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from batches import Batch
from comfyui import Server
from evidence import assert_home
from processes import Ended, ended, telling

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

_TOKEN = "t0p-s3cret-t0ken"
_INJURED = str(Path(__file__).with_name("injured.py"))
_LAYERS = {
    "batchrunner.run:load": 70,
    "batchrunner.progress:Displays.finish": 70,
    "batchrunner.comfy.client:Client.poll": 3,
    "batchrunner.comfy.client:Client.submit": 3,
    "batchrunner.engine:interpret_poll": 70,
    "batchrunner.engine:plan": 70,
    "batchrunner.download.transfer:Downloader.fetch": 3,
    "batchrunner.ledger.store:Ledger.append": 70,
    "batchrunner.show.listeners:RunLog.event": 0,
    "batchrunner.show.listeners:TextLines.event": 0,
}
_TELLING = (
    "batchrunner.run:load",
    "batchrunner.comfy.client:Client.submit",
    "batchrunner.ledger.store:Ledger.append",
    "batchrunner.show.listeners:TextLines.event",
)
"""Before the run, in an attempt, in the loop itself, and in what only watches: each is told by code of its own."""


def assert_unseen(folder: Path, end: Ended) -> None:
    """Fail if the token is in what a run said or in any file that it wrote, its state's included."""
    assert _TOKEN not in end.out + end.err
    written = [path for path in (folder / "outputs").rglob("*") if path.is_file()]
    assert [path for path in written if _TOKEN.encode() in path.read_bytes()] == []


def test_a_night_with_a_token(tmp_path: Path) -> None:
    """A run with every detail told leaves the token nowhere: no file, no line, no command line, killed or not."""
    with Server(tmp_path / "server", token=_TOKEN) as server:
        batch = Batch(tmp_path, (server.url,), ("cat-1", "cat-2"), token=_TOKEN)
        with batch.start("-v", "--json") as running:
            server.until("viewed")
            assert _TOKEN.encode() not in Path(f"/proc/{running.pid}/cmdline").read_bytes()
            assert_unseen(tmp_path, running.kill())
        end = batch.run("-v", "--json")
        assert end.code == 0, end.err
        assert_unseen(tmp_path, end)
        assert_home(batch.home, batch.wanted)
        assert _TOKEN not in server.record.read_text(encoding="utf-8")


def test_a_token_file(tmp_path: Path) -> None:
    """A token from a file that only its owner can read works as well; one that others can read is warned of."""
    file = tmp_path / "token"
    file.write_text(f"{_TOKEN}\n", encoding="utf-8")
    file.chmod(0o644)
    with Server(tmp_path / "server", seconds=0.1, token=_TOKEN) as server:
        batch = Batch(tmp_path, (server.url,), ("cat-1",))
        end = batch.run("--token-file", "token", "-v")
        assert (end.code, "run chmod 600 token" in end.err) == (0, True), end.err
        assert_unseen(tmp_path, end)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Return the URL of a server that asks for the token."""
    with Server(tmp_path_factory.mktemp("server"), seconds=0.1, token=_TOKEN) as server:
        yield server.url


@pytest.mark.parametrize("layer", telling(_LAYERS, _TELLING))
def test_a_crash_in_each_layer(tmp_path: Path, guarded: str, layer: str) -> None:
    """A bug that quotes the token is told without it, wherever it strikes, and the state stays sound."""
    code = _LAYERS[layer]
    batch = Batch(tmp_path, (guarded,), (layer,), (1,), rules={"patience": "300ms"}, token=_TOKEN)
    command = (sys.executable, _INJURED, layer)
    crashed = ended(tmp_path, "run", "night.yaml", "-v", "--json", command=command, token=_TOKEN)
    assert crashed.code == code, crashed.err
    assert code == 0 or "a bug in batchrunner" in crashed.err
    assert_unseen(tmp_path, crashed)
    if code == 70:
        assert batch.run().code == 0


@asynccontextmanager
async def echoing(status: int) -> AsyncIterator[str]:
    """Run a server that quotes the token in what it answers to a POST, or at 200 in the history; yield its URL."""
    posted: list[str] = []

    async def queue(_: web.Request) -> web.Response:
        return web.json_response({"queue_running": [], "queue_pending": []})

    async def history(request: web.Request) -> web.Response:
        said = {"exception_message": request.headers["Authorization"], "exception_type": f"Odd{_TOKEN}"}
        entry = {"prompt": [0, ""], "outputs": {}, "status": {"messages": [["execution_error", said]]}}
        mine = [name for name in posted if name == request.match_info.get("id")]
        return web.json_response({name: entry | {"prompt": [0, name]} for name in mine})

    async def post(request: web.Request) -> web.Response:
        said = request.headers["Authorization"]
        name = (await request.json())["prompt_id"]
        if status == 200:
            posted.append(name)
        error = {"error": {"type": "odd", "message": said, "details": said}, "node_errors": {}}
        answer = error if status == 400 else {"prompt_id": name, "number": len(posted)}
        return web.json_response(answer, status=status, headers={"Location": f"/login?{said}"}, reason=said)

    application = web.Application()
    application.router.add_get("/queue", queue)
    application.router.add_get("/history", history)
    application.router.add_get("/history/{id}", history)
    application.router.add_post("/prompt", post)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@pytest.mark.parametrize("status", [200, 302, 400, 500])
async def test_a_server_that_quotes_the_token(tmp_path: Path, status: int) -> None:
    """A server's answer that quotes our own header back at us is told, and kept, without the token."""
    async with echoing(status) as url:
        batch = Batch(tmp_path, (url,), ("cat-1",), rules={"patience": "1s", "attempts": "1"}, token=_TOKEN)
        end = await asyncio.to_thread(batch.run, "-v", "--json")
        assert end.code == (1 if status in (200, 400) else 3), end.err
        assert_unseen(tmp_path, end)
