"""The websocket: who hears what (docs/comfyui.md §20)."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from bench import ALL, bench, edited, shot

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from aiohttp import ClientWebSocketResponse
    from bench import Bench


async def heard(socket: ClientWebSocketResponse, last: str) -> list[dict[str, Any]]:
    """Return the messages up to and with the first of type `last`."""
    messages: list[dict[str, Any]] = []
    while not messages or messages[-1]["type"] != last:
        messages.append(await socket.receive_json(timeout=5))
    return messages


async def heard_to_the_end(socket: ClientWebSocketResponse) -> list[dict[str, Any]]:
    """Return the messages up to `executing` with node null, which says that history is there."""
    messages: list[dict[str, Any]] = []
    while not messages or messages[-1]["data"].get("node", "") is not None:
        messages += await heard(socket, "executing")
    return messages


@asynccontextmanager
async def listening(here: Bench, name: str) -> AsyncIterator[ClientWebSocketResponse]:
    """Connect as a client and take the greeting."""
    async with here.session.ws_connect("/ws", params={"clientId": name}) as socket:
        hello = await socket.receive_json(timeout=5)
        assert hello["type"] == "status"
        assert hello["data"]["sid"] == name
        yield socket


def kinds(messages: list[dict[str, Any]]) -> list[str]:
    """Return the types, without progress and repeated ones."""
    types = [message["type"] for message in messages if not message["type"].startswith("progress")]
    return [kind for index, kind in enumerate(types) if index == 0 or types[index - 1] != kind]


async def test_the_client_hears_its_prompt_in_order(tmp_path: Path) -> None:
    """The one that posted hears start, cached, nodes, output, success, and last that nothing executes any more."""
    async with bench(tmp_path) as here, listening(here, "me") as socket:
        name = await here.post(shot(), client_id="me")
        messages = await heard_to_the_end(socket)
        story = ["status", "execution_start", "execution_cached", "executing", "executed"]
        assert kinds(messages) == [*story, "execution_success", "status", "executing"]
        nodes = [message["data"]["node"] for message in messages if message["type"] == "executing"]
        assert sorted(nodes[:-1], key=int) == ALL
        steps = [message["data"] for message in messages if message["type"] == "progress"]
        assert [(step["value"], step["max"], step["node"]) for step in steps] == [(n, 4, "10") for n in range(1, 5)]
        assert (await here.entry(name))["status"]["completed"]


async def test_others_hear_status_only(tmp_path: Path) -> None:
    """Another client hears that the queue changed; of prompts without a client id everybody hears the progress."""
    async with bench(tmp_path) as here, listening(here, "other") as other:
        await here.run(shot(), client_id="me")
        await here.run(shot(2))
        messages = await heard(other, "progress")
        assert "executing" not in kinds(messages)
        assert "execution_start" not in kinds(messages)


async def test_errors_and_interrupts_are_told(tmp_path: Path) -> None:
    """A failing prompt ends with execution_error for its client; an interrupt is told to everybody."""
    async with bench(tmp_path) as here, listening(here, "me") as socket, listening(here, "other") as other:
        await here.post(edited({"15": {"format": "avi"}}), client_id="me")
        assert (await heard(socket, "execution_error"))[-1]["data"]["node_id"] == "15"
        await here.post(shot(5, steps=90), client_id="me")
        await heard(socket, "progress")
        here.sim.interrupt()
        assert (await heard(other, "execution_interrupted"))[-1]["data"]["node_type"] == "KSampler"


async def test_the_same_id_twice_goes_deaf(tmp_path: Path) -> None:
    """When an old socket closes after a new one opened under its id, the new one hears nothing more."""
    async with bench(tmp_path) as here, listening(here, "me") as old, listening(here, "me") as new:
        await old.close()
        await here.run(shot(), client_id="me")
        assert len(here.sim.sockets) == 0
        await new.close()


async def test_feature_flags_are_answered(tmp_path: Path) -> None:
    """A client that names its features is told the server's."""
    async with bench(tmp_path) as here, listening(here, "me") as socket:
        await socket.send_json({"type": "feature_flags", "data": {}})
        assert (await heard(socket, "feature_flags"))[-1]["data"]["max_upload_size"] == 104857600
