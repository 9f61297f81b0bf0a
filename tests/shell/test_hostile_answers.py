"""A server that says anything at all: each answer ends in a verdict with a name, and no path leaves the folder.

`BATCHRUNNER_STORM=50000` gives it that many answers, and a twentieth of that many file names per run.
"""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web
from hypothesis import given, settings, strategies as st

from batchrunner.comfy.client import Client, session
from batchrunner.comfy.secret import Secret
from batchrunner.core.actions import Fetch, LookAt
from batchrunner.core.facts import File
from batchrunner.core.looks import Gone, Got, Look, Refused, Taken, Trouble, Unfit
from batchrunner.fetch import Downloads
from batchrunner.sim.clock import VirtualLoop, run

if TYPE_CHECKING:
    from collections.abc import Iterator

STORM = int(os.environ.get("BATCHRUNNER_STORM", "500"))
BATCH, JOB, TOKEN = "cats", "0123456789ab", "tok-5f3a-secret"
PREFIX = f"{BATCH}-{JOB}-a1"
ID = "6197ab7d-13af-5b88-b023-d96a0a27aaaf"
FETCH = Fetch(JOB, 1, PREFIX, "s", File(f"{PREFIX}_00001_.mp4"))
_ANSWERS = 5
"""What one example asks for: queue, history, last entries, a POST, a file."""
_NAMES = ("queue_running", "queue_pending", "outputs", "images", "filename", "type", "status", "messages", "prompt_id")
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.just(ID),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from((*_NAMES, ID)), inner, max_size=4),
    max_leaves=20,
)
_bodies = (
    _json.map(lambda value: json.dumps(value).encode())
    | st.binary(max_size=60)
    | st.sampled_from(
        [
            b'{"queue_running": [], "queue_pending": []}',
            b"{}",
            b"[" * 3_000,
            b"<html>Login</html>",
            b'{"prompt_id": "%s", "number": 1, "node_errors": {}}' % ID.encode(),
            b"\x00\x00\x00\x10ftypisom\x00\x00\x02\x00",
        ]
    )
)
_answers = st.tuples(
    st.sampled_from([200, 200, 200, 200, 206, 301, 400, 401, 404, 413, 416, 429, 500, 502, 504]),
    st.sampled_from(["application/json", "text/html", "video/mp4", "application/octet-stream"]),
    _bodies,
    st.dictionaries(
        st.sampled_from(["Retry-After", "Date", "ETag", "Content-Encoding", "Content-Range", "Location"]),
        st.sampled_from(
            ["1", "-1", "99999999999", '"e"', "gzip", "bytes 0-1/2", "bytes */x", "http://elsewhere/", "nonsense"]
        ),
        max_size=2,
    ),
)


def _said(answers: Iterator[tuple[int, str, bytes, dict[str, str]]]) -> web.Application:
    """Return a server that gives each request the next answer."""

    async def answer(_request: web.Request) -> web.Response:
        status, kind, body, headers = next(answers)
        return web.Response(status=status, body=body, headers={"Content-Type": kind, **headers})

    application = web.Application()
    application.router.add_route("*", "/{any:.*}", answer)
    return application


async def _ask(folder: Path, answers: list[tuple[int, str, bytes, dict[str, str]]]) -> list[Any]:
    """Look, post and fetch; return how each ended."""
    given_ = iter(answers * 3)
    runner = web.AppRunner(_said(given_), access_log=None)
    await runner.setup()
    await web.UnixSite(runner, "hostile").start()
    connector = aiohttp.UnixConnector("hostile", force_close=True, limit=0)
    async with session(connector) as http:
        client = Client("http://hostile", http, Secret(TOKEN))
        downloads = Downloads(folder, "boot")
        ends = [
            await client.look(LookAt("s", (ID,), 100)),
            await client.submit(b"{}"),
            await downloads.fetch(FETCH, client, "night/cat", lambda *_: None),
            await client.withdraw([ID]),
            await client.object_info(),
        ]
    await runner.cleanup()
    return ends


@settings(max_examples=max(1, STORM // _ANSWERS), deadline=None, database=None)
@given(st.lists(_answers, min_size=_ANSWERS, max_size=_ANSWERS))
def test_every_answer_ends_in_a_verdict(answers: list[tuple[int, str, bytes, dict[str, str]]]) -> None:
    """Whatever a server answers, a look, a POST and a download end in one of their verdicts, and in nothing else."""
    with TemporaryDirectory() as place:
        folder = Path(place) / "out"
        folder.mkdir()

        async def ask(_: VirtualLoop) -> list[Any]:
            return await _ask(folder, answers)

        look, post, fetch, withdraw, _ = run(ask, seed=0)
        assert isinstance(look, Look | Trouble)
        assert isinstance(post, Taken | Refused | Trouble)
        assert isinstance(fetch, Got | Gone | Unfit | Trouble)
        assert withdraw is None or isinstance(withdraw, Trouble)
        assert TOKEN not in repr((look, post, fetch, withdraw))
        assert [path.name for path in Path(place).iterdir()] == ["out"]


class _Shop:
    """A source that has nothing, under whatever name."""

    def view(self, file: File, start: int = 0, etag: str = "") -> Any:
        """Never be asked for a name that is none."""
        raise OSError(f"asked for {file.name!r} from {start} of {etag}")


_parts = st.sampled_from(
    ["..", ".", "/", "\\", "\0", "~", "%2e", "con", "\u202e", "\n", "a", ".mp4", "-rf", ":", "\ud800"]
)


@settings(max_examples=max(50, STORM // 50), deadline=None, database=None)
@given(st.lists(_parts, min_size=1, max_size=8).map("".join), st.lists(_parts, max_size=4).map("".join))
def test_no_name_of_a_server_becomes_a_path(name: str, subfolder: str) -> None:
    """Whatever a server calls its file, nothing is created outside the batch's folder, and nothing raises."""
    with TemporaryDirectory() as place:
        folder = Path(place) / "out"
        folder.mkdir()

        async def fetch(_: VirtualLoop) -> Any:
            action = replace(FETCH, file=File(name, subfolder))
            return await Downloads(folder, "boot").fetch(action, _Shop(), "night/cat", lambda *_: None)

        assert isinstance(run(fetch, seed=0), Unfit | Trouble)
        assert [path.name for path in Path(place).iterdir()] == ["out"]
