"""What goes over the wire, byte for byte, as a server sees it that writes down every request."""

from __future__ import annotations

import asyncio
import json
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from aiohttp import web
from ltx2graph import ltx2
from processes import Ended, ended

from batchrunner.sim.machine import Pace
from batchrunner.sim.server import Simulator

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

_MANIFEST = """
name: night
server: {url}
ttl: none
poll: 50ms
workflow: ltx2
defaults: {{negative: "blurry, silent", width: 1280, height: 704, length: 97, fps: 25, batch_size: 2}}
sweep: {{prompt: "Straße, “naïve” \\U0001f431 in the rain", steps: 25, cfg: 4.5, seed: [0, 18446744073709551615]}}
"""
_TEXT = "Straße, “naïve” \U0001f431 in the rain"


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes


@asynccontextmanager
async def recording(folder: Path, asked: list[Asked]) -> AsyncIterator[str]:
    """Run a server that appends every request to `asked`; yield its URL."""

    @web.middleware
    async def write_down(
        request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
    ) -> web.StreamResponse:
        body = await request.read()
        asked.append(Asked(request.method, request.path, request.query_string, dict(request.headers), body))
        return await handler(request)

    simulator = Simulator(folder, pace=Pace.instant())
    application = simulator.application()
    application.middlewares.insert(0, write_down)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    await simulator.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await simulator.stop()
        await runner.cleanup()


async def _night(tmp_path: Path, token: str = "") -> tuple[Ended, list[Asked]]:
    """Run two jobs against a server that writes down what is asked; return how that ended and all requests."""
    asked: list[Asked] = []
    async with recording(tmp_path / "server", asked) as url:
        (tmp_path / "night.yaml").write_text(_MANIFEST.format(url=url), encoding="utf-8")
        end = await asyncio.to_thread(ended, tmp_path, "run", "night.yaml", token=token)
    return end, asked


async def test_the_body(tmp_path: Path) -> None:
    """A POST is the document's graph field for field, our own ids beside it, and nothing else."""
    end, asked = await _night(tmp_path)
    assert end.code == 0, end.err
    posts = [json.loads(one.body) for one in asked if one.method == "POST"]
    assert [one.path for one in asked if one.method == "POST"] == ["/prompt"] * 2
    for post, seed in zip(posts, (0, 2**64 - 1), strict=True):
        assert post.keys() == {"prompt", "prompt_id", "client_id"}
        prefix = post["prompt"]["15"]["inputs"]["filename_prefix"]
        assert re.fullmatch(r"night-[0-9a-f]{12}-a1", prefix)
        assert post["prompt"] == ltx2(
            text=_TEXT,
            negative="blurry, silent",
            width=1280,
            height=704,
            length=97,
            fps=25,
            batch_size=2,
            seed=seed,
            steps=25,
            cfg=4.5,
            prefix=prefix,
        )
        assert str(UUID(post["prompt_id"])) == post["prompt_id"]
        assert str(UUID(post["client_id"])) == post["client_id"]
    assert len({post["prompt_id"] for post in posts}) == 2
    assert len({post["client_id"] for post in posts}) == 1


async def test_what_is_asked(tmp_path: Path) -> None:
    """Only what a batch needs is asked for; every request carries the token, in its header and nowhere else."""
    end, asked = await _night(tmp_path, token="t0p-s3cret-t0ken")
    assert end.code == 0, end.err
    wanted = re.compile(
        r"POST /prompt|GET (/queue|/history(/[0-9a-f-]{36})?|/view|/object_info(/\w+)?|/system_stats|/ws)"
    )
    assert [one for one in asked if not wanted.fullmatch(f"{one.method} {one.path}")] == []
    assert {one.headers.get("Authorization") for one in asked} == {"Bearer t0p-s3cret-t0ken"}
    assert all("t0p-s3cret" not in one.path + one.query for one in asked)
    assert all(b"t0p-s3cret" not in one.body for one in asked)
