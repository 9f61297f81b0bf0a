"""Https: a server that can't prove who it is hears nothing, and there is no way to have it trusted all the same."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import certificates
import pytest
from aiohttp import web
from answering import PATIENT, TOKEN

from batchrunner.comfy.client import Client, session
from batchrunner.comfy.secret import Credentials, Secret
from batchrunner.core.actions import Cause, Failure, Taken

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from batchrunner.core.actions import PostEnd


@asynccontextmanager
async def _secured(folder: Path, certificate: str) -> AsyncIterator[tuple[str, list[str]]]:
    """Serve with a certificate; yield the URL and what was asked."""
    asked: list[str] = []

    async def answer(request: web.Request) -> web.Response:
        asked.append(request.path)
        return web.json_response({"prompt_id": "a", "number": 1})

    (folder / "server.pem").write_text(certificates.KEY + certificate, encoding="ascii")
    shown = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    shown.load_cert_chain(folder / "server.pem")
    application = web.Application()
    application.router.add_route("*", "/{any:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=shown).start()
        yield f"https://127.0.0.1:{runner.addresses[0][1]}", asked
    finally:
        await runner.cleanup()


async def _posted(url: str, trusted: ssl.SSLContext | None) -> PostEnd:
    async with session(tls=trusted) as http:
        return await Client(url, http, Credentials.bearer(Secret(TOKEN)), waits=PATIENT).submit(b"{}")


@pytest.mark.parametrize(
    ("certificate", "knows"),
    [
        pytest.param(certificates.SOUND, False, id="signed by nobody known"),
        pytest.param(certificates.EXPIRED, True, id="expired"),
        pytest.param(certificates.ELSEWHERE, True, id="another host's"),
    ],
)
async def test_who_proves_nothing_is_told_nothing(tmp_path: Path, certificate: str, *, knows: bool) -> None:
    """A certificate of nobody known, out of date or for another host: no token, no prompt leaves, and why is said."""
    trusted = ssl.create_default_context(cadata=certificates.AUTHORITY) if knows else None
    async with _secured(tmp_path, certificate) as (url, asked):
        trouble = await _posted(url, trusted)
    assert isinstance(trouble, Failure)
    assert (trouble.cause, trouble.sent, trouble.needs_person, asked) == (Cause.UNAVAILABLE, False, True, [])
    assert "a certificate that can't be trusted" in trouble.message


async def test_a_handshake_that_ends_may_go_well_the_next_time() -> None:
    """A server that hangs up in the midst of the handshake, or speaks no TLS, is away: no certificate is blamed."""
    for answer in (b"", b"HTTP/1.1 400 Bad Request\r\n\r\n"):

        async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bytes = answer) -> None:
            await reader.read(1)
            writer.write(answer)
            writer.close()

        async with await asyncio.start_server(speak, "127.0.0.1", 0) as server:
            trouble = await _posted(f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}", None)
        assert isinstance(trouble, Failure)
        assert (trouble.cause, trouble.sent, trouble.needs_person) == (Cause.UNAVAILABLE, False, False)
        assert "certificate" not in trouble.message


async def test_who_proves_it_is_served(tmp_path: Path) -> None:
    """The same server with a sound certificate of a known authority gets the prompt."""
    trusted = ssl.create_default_context(cadata=certificates.AUTHORITY)
    async with _secured(tmp_path, certificates.SOUND) as (url, asked):
        assert await _posted(url, trusted) == Taken("a", 1.0)
    assert asked == ["/prompt"]
