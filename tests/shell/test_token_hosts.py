"""The token goes to the servers that this manifest names, and not to one that only an old state remembers."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import TYPE_CHECKING

from aiohttp import web
from answering import TOKEN, answering

from batchrunner.core.facts import Accepted, Claimed
from batchrunner.core.job import file_prefix, prompt_id
from batchrunner.ledger import Ledger
from batchrunner.manifest import load

if TYPE_CHECKING:
    from pathlib import Path

_PATIENCE = 30.0


async def test_a_host_of_the_state_alone_gets_no_token(tmp_path: Path) -> None:
    """A prompt that an edited manifest left on another host is looked for there without the token, and that is told."""
    asked = {"named": asyncio.Event(), "remembered": asyncio.Event()}

    def empty(who: str) -> web.Response:
        asked[who].set()
        return web.json_response({"queue_running": [], "queue_pending": []})

    async def named(_request: web.Request) -> web.Response:
        return empty("named")

    async def remembered(_request: web.Request) -> web.Response:
        return empty("remembered")

    async with answering(named) as new, answering(remembered) as old:
        manifest = tmp_path / "cats.yaml"
        manifest.write_text(
            f"name: cats\nserver: {new.url}\nworkflow: ltx2\nsweep: {{prompt: a cat}}\n", encoding="utf-8"
        )
        (job,) = load(manifest).jobs
        prompt, prefix, gone = prompt_id("cats", job.id, 1), file_prefix("cats", job.id, 1), old.url.rstrip("/")
        with Ledger.open(tmp_path / "outputs" / "cats", "cats") as ledger:
            ledger.keep([job])
            ledger.append(Claimed(job.id, 1, 1.0, prompt, prefix, gone, "0" * 64))
            ledger.append(Accepted(job.id, 1, 2.0, prompt, prefix, gone))
        command = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "batchrunner", "run", "cats.yaml", "-v"),
            cwd=tmp_path,
            env={**os.environ, "BATCHRUNNER_TOKEN": TOKEN},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(_PATIENCE):
                await asyncio.gather(*(event.wait() for event in asked.values()))
        finally:
            command.kill()
            _, said = await command.communicate()
        headers = [[request.headers.get("Authorization") for request in place.asked] for place in (new, old)]
    assert set(headers[0]) == {f"Bearer {TOKEN}"}
    assert set(headers[1]) == {None}
    assert f"{gone} is in the state of an earlier run and not in the manifest" in said.decode()


async def test_cancel_finds_a_server_that_lost_its_name(tmp_path: Path) -> None:
    """Prompts on a server that an earlier run knew by name are removed where it was, with the token it is named for."""

    async def empty(_request: web.Request) -> web.Response:
        return web.json_response({"queue_running": [], "queue_pending": []})

    async with answering(empty) as place:
        url = place.url.rstrip("/")
        manifest = tmp_path / "cats.yaml"
        manifest.write_text(f"name: cats\nserver: {url}\nworkflow: ltx2\nsweep: {{prompt: a cat}}\n", encoding="utf-8")
        (job,) = load(manifest).jobs
        prompt, prefix = prompt_id("cats", job.id, 1), file_prefix("cats", job.id, 1)
        with Ledger.open(tmp_path / "outputs" / "cats", "cats") as ledger:
            ledger.keep([job])
            ledger.mark("server pod", value=url)
            ledger.append(Claimed(job.id, 1, 1.0, prompt, prefix, "pod", "0" * 64))
            ledger.append(Accepted(job.id, 1, 2.0, prompt, prefix, "pod"))
        command = await asyncio.create_subprocess_exec(
            sys.executable,
            *("-m", "batchrunner", "cancel", "cats.yaml"),
            cwd=tmp_path,
            env={**os.environ, "BATCHRUNNER_TOKEN": TOKEN},
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )
        async with asyncio.timeout(_PATIENCE):
            await command.communicate()
    assert {request.headers.get("Authorization") for request in place.asked} == {f"Bearer {TOKEN}"}
