"""What is said before the first POST."""

from __future__ import annotations

from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from batchrunner.cli.preflight import ask_nodes, not_found, open_roads
from batchrunner.comfy import client as comfy
from batchrunner.comfy.secret import Secret
from batchrunner.manifest import Batch, Options, load
from batchrunner.sim.nodes import Models
from batchrunner.sim.server import Simulator, serve

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_MANIFEST = """
name: night
server: {server}
workflow: ltx2
sweep: {{prompt: [a cat, a dog], seed: [1, 2]}}
"""


def _batch(folder: Path, server: str) -> Batch:
    path = folder / "night.yaml"
    path.write_text(_MANIFEST.format(server=server), encoding="utf-8")
    return load(path, Options())


async def _asked(batch: Batch) -> tuple[list[str], list[str]]:
    async with comfy.session() as http:
        return await ask_nodes(batch, lambda url: comfy.Client(url, http, None))


@asynccontextmanager
async def _answering(status: int) -> AsyncIterator[str]:
    """Run a server that answers everything with one status; yield its URL."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(status=status, text="no")

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_a_server_that_has_it_all(tmp_path: Path) -> None:
    """Nothing is missing on a server that can run the batch."""
    async with serve(Simulator(tmp_path / "sim")) as url:
        assert await _asked(_batch(tmp_path, url)) == ([], [])


async def test_a_model_is_missing(tmp_path: Path) -> None:
    """A model that is not there is named, with the server and what there is instead, each once."""
    async with serve(Simulator(tmp_path / "sim", models=Models(checkpoints=("other.safetensors",)))) as url:
        missing, unknown = await _asked(_batch(tmp_path, url))
    assert unknown == []
    assert missing
    assert len(set(missing)) == len(missing)
    assert all(line.startswith(f"{url}: ") and "other.safetensors" in line for line in missing)


async def test_a_node_is_missing(tmp_path: Path) -> None:
    """A node class that is not installed is named."""
    simulator = Simulator(tmp_path / "sim")
    del simulator.catalogue["LTXVAudioVAELoader"]
    async with serve(simulator) as url:
        missing, _ = await _asked(_batch(tmp_path, url))
    assert any("LTXVAudioVAELoader" in line for line in missing)


@pytest.mark.parametrize("status", [404, 403, 401, 500, 302])
async def test_a_server_that_does_not_tell(tmp_path: Path, status: int) -> None:
    """Where the list of nodes can't be had nothing counts as missing, and that it was not checked is said."""
    async with _answering(status) as url:
        missing, unknown = await _asked(_batch(tmp_path, url))
    assert missing == []
    assert len(unknown) == 1
    assert url in unknown[0]
    assert "not checked beforehand" in unknown[0]


async def test_an_address_where_nothing_is(tmp_path: Path) -> None:
    """An address without a queue is mistyped; a server that is down, or wants a token, is no such case."""
    for status, wrong in ((404, 1), (500, 0), (401, 0)):
        async with _answering(status) as url, comfy.session() as http:
            said = await not_found(_batch(tmp_path, url), partial(comfy.Client, http=http))
            assert len(said) == wrong
            assert all(f"{url}/queue" in line for line in said)


async def test_the_built_in_server_is_not_asked(tmp_path: Path) -> None:
    """`sim` has no address before the run, and can run what it must."""
    assert await _asked(_batch(tmp_path, "sim")) == ([], [])


def test_a_token_on_an_open_road() -> None:
    """Whoever sends a token over plain HTTP is told, unless it stays on this machine."""
    secret = Secret("abc")
    roads = ["http://gpu:8188", "https://gpu", "http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1", "sim"]
    warned = list(open_roads(roads, secret))
    assert len(warned) == 1
    assert "http://gpu:8188" in warned[0]
    assert "abc" not in warned[0]
    assert list(open_roads(roads, None)) == []
