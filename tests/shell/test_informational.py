"""A server that sends «wait a moment» for ever holds up nobody: not its own exchange for long, not another server's."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import pytest
from answering import Place, answering, client, tells

from batchrunner.comfy.exchange import Timeouts
from batchrunner.core.actions import Cause, Failure, Poll, PollResult
from batchrunner.core.facts import File

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

_SHORT = Timeouts(connect=5.0, call=2.0, post=2.0, stall=2.0)
_FLOOD = b"HTTP/1.1 102 Processing\r\n\r\n" * 1_000


@asynccontextmanager
async def flooding() -> AsyncIterator[Place]:
    """Serve every connection with informational answers and nothing else."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.CancelledError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            while True:
                writer.write(_FLOOD)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(speak, "127.0.0.1", 0)
    try:
        yield Place(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    finally:
        server.close()


@pytest.mark.parametrize("what", ["poll", "submit", "view"])
async def test_informational_answers_are_bounded(what: str) -> None:
    """The exchange ends in its time as any that is not answered, and another server is polled meanwhile."""
    async with (
        flooding() as hostile,
        answering(tells({"queue_running": [], "queue_pending": []})) as well,
        client(hostile, waits=_SHORT) as one,
        client(well) as other,
    ):

        async def view() -> object:
            async with one.view(File("a.mp4")) as opened:
                return opened

        flood = asyncio.create_task(
            {"poll": lambda: one.poll(Poll("s")), "submit": lambda: one.submit(b"{}")}.get(what, view)()
        )
        polls = [await other.poll(Poll("s")) for _ in range(3)]
        end = await flood
    assert all(isinstance(poll, PollResult) for poll in polls)
    assert isinstance(end, Failure)
    assert end.cause is Cause.UNAVAILABLE
