"""What is said before the first POST."""

from __future__ import annotations

import asyncio
import json
import os
import socket
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from importlib.resources import files
from typing import TYPE_CHECKING, NoReturn

import pytest
from aiohttp import TCPConnector, UnixConnector, web
from aiohttp.abc import AbstractResolver
from aiohttp.test_utils import TestServer

from batchrunner.comfy import client as comfy
from batchrunner.manifest import Batch, Options, load
from batchrunner.preflight import AFTER_GOOD, LIMIT, check_servers
from batchrunner.sim.nodes import Models
from batchrunner.sim.server import Simulator, serve
from tests.lab.clock import VirtualLoop, run
from tests.lab.nights.memory import serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

_MANIFEST = """
name: night
server: {server}
workflow: ltx2
sweep: {{prompt: [a cat, a dog], seed: [1, 2]}}
"""


def _batch(folder: Path, *servers: str) -> Batch:
    path = folder / "night.yaml"
    path.write_text(_MANIFEST.format(server=json.dumps(servers)), encoding="utf-8")
    return load(path, Options())


async def _asked(batch: Batch, *, first: bool = False) -> tuple[list[str], list[str]]:
    async with comfy.session() as http:
        return await check_servers(batch, partial(comfy.Client, http=http), first=first)


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


async def test_an_input_file_is_larger_than_the_server_takes(tmp_path: Path) -> None:
    """A file over the limit that the server tells is named, with its size and what to change; a smaller one is not."""
    graph = json.loads(files("batchrunner.workflow").joinpath("ltx2.json").read_text("utf-8"))
    graph["picture"] = {"class_type": "LoadImage", "inputs": {"image": "a.png"}}
    (tmp_path / "own.json").write_text(json.dumps(graph), encoding="utf-8")
    for name, length in (("small.png", 1_000), ("large.png", 105_000_000)):
        (tmp_path / name).write_bytes(b"\x89PNG\r\n\x1a\n")
        os.truncate(tmp_path / name, length)
    async with serve(Simulator(tmp_path / "sim")) as url:
        path = tmp_path / "night.yaml"
        path.write_text(
            f"name: n\nserver: {url}\nworkflow: own.json\nparams: {{image: picture.image}}\n"
            "sweep: {image: [small.png, large.png]}\n",
            encoding="utf-8",
        )
        (missing,), unknown = await _asked(load(path, Options()))
    assert unknown == []
    assert missing.startswith(f"{url}: large.png has 105.0 MB, and it takes uploads of 104.9 MB: ")
    assert "--max-upload-size" in missing


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


@pytest.mark.parametrize(("strict", "count"), [(False, 0), (True, 3)])
async def test_a_simulator_rehearses_any_workflow(tmp_path: Path, count: int, *, strict: bool) -> None:
    """A simulator on a port takes node classes and models that it does not have, unless it is strict."""
    node = {"class_type": "SomebodysVideoSaver", "inputs": {"filename_prefix": "x", "model": ["1", 0]}}
    loader = {"class_type": "CheckpointLoaderSimple", "inputs": {"ckpt_name": "mine.safetensors"}}
    picture = {"class_type": "LoadImage", "inputs": {"image": "cat.png"}}
    (tmp_path / "w.json").write_text(json.dumps({"1": loader, "2": node, "3": picture}), encoding="utf-8")
    async with serve(Simulator(tmp_path / "sim", strict=strict)) as url:
        text = f"name: night\nserver: {url}\nworkflow: w.json\nsweep: {{_take: 1}}\n"
        (tmp_path / "night.yaml").write_text(text, encoding="utf-8")
        missing, unknown = await _asked(load(tmp_path / "night.yaml"))
    assert (len(missing), unknown) == (count, [])


@pytest.mark.parametrize("status", [404, 403, 401, 500, 302])
async def test_a_server_that_does_not_tell(tmp_path: Path, status: int) -> None:
    """Where the list of nodes can't be had nothing counts as missing, and that it was not checked is said."""
    async with _answering(status) as url:
        missing, unknown = await _asked(_batch(tmp_path, url))
    assert missing == []
    assert len(unknown) == 1
    assert unknown[0].startswith(f"{url}: couldn't check nodes and models: ")


@pytest.mark.parametrize(("status", "is_wrong"), [(404, True), (500, False), (401, False)])
async def test_an_address_where_nothing_is(tmp_path: Path, status: int, *, is_wrong: bool) -> None:
    """An address without a queue is mistyped and ends a first run; one that is down or wants a token does not."""
    async with _answering(status) as url:
        stopping, warnings = await _asked(_batch(tmp_path, url), first=True)
        later = await _asked(_batch(tmp_path, url))
    assert (len(stopping), len(warnings)) == ((1, 0) if is_wrong else (0, 1))
    wrong = f"{url}: no ComfyUI at this address: {url}/queue answered 404; check the URL"
    assert stopping == ([wrong] if is_wrong else [])
    assert (len(later[0]), len(later[1])) == (0, 1)


class _UnknownNames(AbstractResolver):
    """A resolver that knows no name."""

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> NoReturn:
        """Fail as the system's does."""
        raise socket.gaierror(socket.EAI_NONAME, f"{host}:{port} {family}")

    async def close(self) -> None:
        """Do nothing."""


async def _asked_without_names(batch: Batch) -> tuple[list[str], list[str]]:
    connector = TCPConnector(limit=0, force_close=True, resolver=_UnknownNames())
    async with comfy.session(connector) as http:
        return await check_servers(batch, partial(comfy.Client, http=http), first=True)


async def test_what_a_person_must_mend_stops_a_first_run(tmp_path: Path) -> None:
    """An unknown name and a mistyped address are told in one line each, and stop a run that has no good server."""
    async with _answering(404) as mistyped, _answering(500) as down:
        stopping, warnings = await _asked_without_names(_batch(tmp_path, "http://gpu-bxo:8188", mistyped, down))
    assert len(stopping) == 2
    assert stopping[0] == "http://gpu-bxo:8188: gpu-bxo:8188 has no address: the name is unknown"
    assert stopping[1].startswith(f"{mistyped}: ")
    assert len(warnings) == 1
    assert warnings[0].startswith(f"{down}: couldn't check nodes and models: ")


async def test_one_good_server_is_enough(tmp_path: Path) -> None:
    """Beside a server that can run the batch a wrong address is a warning: the others work."""
    async with serve(Simulator(tmp_path / "sim")) as good, _answering(404) as mistyped:
        stopping, warnings = await _asked_without_names(_batch(tmp_path, "http://gpu-bxo:8188", good, mistyped))
    assert stopping == []
    assert [line.partition(": ")[0] for line in warnings] == ["http://gpu-bxo:8188", mistyped]


async def test_a_server_with_a_queue_and_no_list_of_nodes_is_good(tmp_path: Path) -> None:
    """A server that offers only what its document says is no mistyped address."""

    async def answer(request: web.Request) -> web.Response:
        if request.path == "/queue":
            return web.json_response({"queue_running": [], "queue_pending": []})
        return web.Response(status=404)

    app = web.Application()
    app.router.add_get("/{path:.*}", answer)
    async with TestServer(app) as small:
        stopping, warnings = await _asked(_batch(tmp_path, str(small.make_url("")).rstrip("/")), first=True)
    assert stopping == []
    assert len(warnings) == 1


async def _checked(loop: VirtualLoop, folder: Path, *hosts: str) -> tuple[float, list[str]]:
    """Check servers in memory, all of which but `up` hang; return how long that took, and the warnings."""
    async with AsyncExitStack() as stack:
        clients: dict[str, comfy.Client] = {}
        for host in hosts:
            if host == "up":
                await stack.enter_async_context(serving(Simulator(folder / "sim"), host))
            else:
                await loop.create_unix_server(asyncio.Protocol, host)
            connector = UnixConnector(host, force_close=True, limit=0)
            http = await stack.enter_async_context(comfy.session(connector))
            clients[f"http://{host}:8188"] = comfy.Client(f"http://{host}:8188", http)
        began = loop.time()
        stopping, warnings = await check_servers(_batch(folder, *clients), clients.__getitem__, first=True)
        assert stopping == []
        return loop.time() - began, warnings


def test_servers_that_hang_are_not_waited_for_long(tmp_path: Path) -> None:
    """Servers that never answer cost 15 s together; what they can run is not checked."""
    took, warnings = run(lambda loop: _checked(loop, tmp_path, "a", "b", "c"), seed=1)
    assert took == pytest.approx(LIMIT, abs=0.1)
    assert [line.partition(": ")[0] for line in warnings] == [f"http://{host}:8188" for host in "abc"]
    assert all("couldn't check nodes and models: no answer in time" in line for line in warnings)


def test_a_server_that_hangs_does_not_hold_up_a_good_one(tmp_path: Path) -> None:
    """Beside a server that answers, one that hangs is waited for no longer than a few seconds."""
    took, warnings = run(lambda loop: _checked(loop, tmp_path, "up", "a"), seed=1)
    assert took < AFTER_GOOD + 1.0
    assert [line.partition(": ")[0] for line in warnings] == ["http://a:8188"]


async def test_the_built_in_server_is_not_asked(tmp_path: Path) -> None:
    """`sim` has no address before the run, and can run what it must."""
    assert await _asked(_batch(tmp_path, "sim")) == ([], [])
