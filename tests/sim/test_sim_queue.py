"""Queue, history, interrupt and restart as recorded (docs/comfyui.md §5 to §9)."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
from aiohttp import ClientConnectionError
from bench import bench, ending, file_of, shot

from batchrunner.sim.machine import Pace
from batchrunner.sim.prompts import HISTORY_LIMIT, Prompts, SimPrompt
from batchrunner.sim.record import What

if TYPE_CHECKING:
    from pathlib import Path

SLOW = Pace(step=5.0)
BRISK = dataclasses.replace(Pace.instant(), step=0.02)
TROUBLE = "500 Internal Server Error\n\nServer got itself in trouble"


async def test_a_prompt_on_its_way(tmp_path: Path) -> None:
    """Running and pending prompts are rows of five in /queue, and `{}` in /history, as unknown ones are."""
    async with bench(tmp_path, pace=SLOW) as here:
        running = await here.post(shot(1), prompt_id="a")
        waiting = await here.post(shot(2), prompt_id="b", client_id="me", extra_data={"k": "v"})
        await here.sim.record.until(What.STARTED)
        _, queue = await here.ask("GET", "/queue")
        assert [row[:2] + row[3:] for row in queue["queue_running"]] == [[0, "a", {}, ["15"]]]
        assert [row[:2] + row[3:] for row in queue["queue_pending"]] == [
            [1, "b", {"k": "v", "client_id": "me"}, ["15"]]
        ]
        for name in (running, waiting, "unknown"):
            assert await here.ask("GET", f"/history/{name}") == (200, {})
        assert await here.ask("GET", "/prompt") == (200, {"exec_info": {"queue_remaining": 2}})


async def test_history_entry_has_the_recorded_shape(tmp_path: Path) -> None:
    """An entry holds the row, outputs under `images` with `animated`, status with stamped messages, and meta."""
    async with bench(tmp_path) as here:
        entry = await here.run(shot(), prompt_id="a")
        number, name, workflow, extra, outputs = entry["prompt"]
        assert (number, name, list(workflow), extra, outputs) == (0, "a", [str(n) for n in range(1, 16)], {}, ["15"])
        file = {"filename": "generated-video_00001_.mp4", "subfolder": "", "type": "output"}
        assert entry["outputs"] == {"15": {"images": [file], "animated": [True]}}
        assert {key: entry["status"][key] for key in ("status_str", "completed")} == {
            "status_str": "success",
            "completed": True,
        }
        said = [message for message, _ in entry["status"]["messages"]]
        assert said == ["execution_start", "execution_cached", "execution_success"]
        assert all(isinstance(details["timestamp"], int) for _, details in entry["status"]["messages"])
        meta = {"node_id": "15", "display_node": "15", "parent_node": None, "real_node_id": "15"}
        assert entry["meta"] == {"15": meta}


async def test_order_of_the_heap(tmp_path: Path) -> None:
    """Prompts run by number, then id; `front` is the negative counter, which right after a start is no jump."""
    async with bench(tmp_path, pace=SLOW) as here:
        await here.post(shot(0), prompt_id="first")
        await here.sim.record.until(What.STARTED)
        for name, members in [
            ("n0", {}),
            ("front1", {"front": True}),
            ("n1", {}),
            ("front2", {"front": True}),
            ("num3.5", {"number": "3.5"}),
            ("num-1000", {"number": -1000}),
            ("num0", {"number": 0}),
            ("front=false", {"front": False}),
        ]:
            await here.post(shot(), prompt_id=name, **members)
        await here.ask("POST", "/interrupt")
        order = [prompt.id for prompt in sorted(here.sim.prompts.pending)]
        assert order == ["num-1000", "front2", "front1", "num0", "n0", "n1", "num3.5", "front=false"]
        _, queue = await here.ask("GET", "/queue")
        assert [row[1] for row in queue["queue_pending"]] != order


async def test_same_id_again_runs_again(tmp_path: Path) -> None:
    """The server does not deduplicate ids: each runs, history keeps one entry, a delete takes one of them out."""
    async with bench(tmp_path, pace=SLOW) as here:
        await here.post(shot(0))
        await here.sim.record.until(What.STARTED)
        for seed in (1, 2, 3):
            await here.post(shot(seed), prompt_id="twin")
        assert await here.ask("POST", "/queue", json={"delete": ["twin"]}) == (200, "")
        assert len(here.sim.prompts.pending) == 2
    async with bench(tmp_path / "b") as here:
        await here.run(shot(1), prompt_id="twin")
        entry = await here.run(shot(2), prompt_id="twin")
        assert entry["prompt"][2]["10"]["inputs"]["seed"] == 2
        assert len(here.sim.prompts.history) == 1


async def test_a_second_post_of_the_same_prompt_is_harmless(tmp_path: Path) -> None:
    """The same id and body posted twice in a row is rendered once and names one file."""
    async with bench(tmp_path) as here:
        first = await here.run(shot(), prompt_id="a")
        assert file_of(await here.run(shot(), prompt_id="a")) == file_of(first)
        assert list(here.sim.record.renders().values()) == [1]


async def test_deleting_and_clearing_the_queue(tmp_path: Path) -> None:
    """Delete takes pending ids only, clear takes everybody's; neither touches what runs, nor leaves a trace."""
    async with bench(tmp_path, pace=SLOW) as here:
        for name in "abcd":
            await here.post(shot(), prompt_id=name)
        await here.sim.record.until(What.STARTED)
        assert await here.ask("POST", "/queue", json={"delete": ["b", "a", "nope"]}) == (200, "")
        assert sorted(prompt.id for prompt in here.sim.prompts.pending) == ["c", "d"]
        assert await here.ask("POST", "/queue", json={}) == (200, "")
        assert await here.ask("POST", "/queue", json={"clear": True}) == (200, "")
        assert here.sim.prompts.remaining == 1
        assert await here.ask("GET", "/history/b") == (200, {})
        assert await here.ask("POST", "/queue", data=b"") == (500, TROUBLE)
        assert [event.prompt_id for event in here.sim.record.of(What.DELETED)] == ["b", "c", "d"]


async def test_history_pages_and_deletes(tmp_path: Path) -> None:
    """max_items is the last ones, with an offset the first ones; delete and clear forget entries, files stay."""
    async with bench(tmp_path) as here:
        for name in "abc":
            await here.run(shot(ord(name), name), prompt_id=name)
        for query, names in [
            ("", "abc"),
            ("?max_items=2", "bc"),
            ("?max_items=9", "abc"),
            ("?max_items=1&offset=0", "a"),
            ("?max_items=0", ""),
            ("?max_items=-1", ""),
            ("?offset=1", "bc"),
        ]:
            assert "".join((await here.ask("GET", f"/history{query}"))[1]) == names
        assert await here.ask("GET", "/history?max_items=abc") == (500, TROUBLE)
        assert await here.ask("POST", "/history", json={"delete": ["b", "nope"]}) == (200, "")
        assert "".join((await here.ask("GET", "/history"))[1]) == "ac"
        assert await here.ask("POST", "/history", json={"clear": True}) == (200, "")
        assert await here.ask("GET", "/history") == (200, {})
        assert len(list((tmp_path / "output").iterdir())) == 3


def test_history_keeps_ten_thousand_and_one() -> None:
    """History drops its oldest entry for each new one once it holds 10001."""
    prompts = Prompts()
    for number in range(HISTORY_LIMIT + 5):
        dropped = prompts.finish(SimPrompt(number, str(number), {}, {}, []), {})
    assert dropped == ["3"]
    assert len(prompts.history) == HISTORY_LIMIT + 1


async def test_interrupt_of_the_running_prompt(tmp_path: Path) -> None:
    """An interrupt by id ends that prompt in the sampler, as an error that says interrupted; the next one runs."""
    async with bench(tmp_path, pace=BRISK) as here:
        await here.post(shot(1, steps=20), prompt_id="a")
        await here.post(shot(2, steps=1), prompt_id="b")
        await here.sim.record.until(What.ENCODED, 2)
        for other in ("b", "nope"):
            assert await here.ask("POST", "/interrupt", json={"prompt_id": other}) == (200, "")
        assert await here.ask("POST", "/interrupt", json={"prompt_id": "a"}) == (200, "")
        await here.sim.idle()
        first, second = await here.entry("a"), await here.entry("b")
        event, details = ending(first)
        assert (event, first["status"]["status_str"], first["status"]["completed"]) == (
            "execution_interrupted",
            "error",
            False,
        )
        assert (details["node_id"], details["node_type"]) == ("10", "KSampler")
        assert ending(second)[0] == "execution_success"


async def test_interrupt_of_whatever_runs(tmp_path: Path) -> None:
    """Without an id whatever runs is interrupted, a body that is no JSON counts as none, and idle it does no harm."""
    async with bench(tmp_path, pace=BRISK) as here:
        for body in (b"", b"hello", b"{}"):
            name = await here.post(shot(steps=20))
            await here.sim.record.until(What.STARTED, len(here.sim.prompts.history) + 1)
            assert await here.ask("POST", "/interrupt", data=body) == (200, "")
            await here.sim.idle()
            assert ending(await here.entry(name))[0] == "execution_interrupted"
        assert await here.ask("POST", "/interrupt") == (200, "")
        assert ending(await here.run(shot(3)))[0] == "execution_success"
        for body in (b"[1]", b"null"):
            assert await here.ask("POST", "/interrupt", data=body) == (500, TROUBLE)


async def test_interrupt_while_saving_is_too_late(tmp_path: Path) -> None:
    """An interrupt that arrives in the save node changes nothing: the prompt succeeds."""
    async with bench(tmp_path, pace=dataclasses.replace(Pace.instant(), save=0.2)) as here:
        name = await here.post(shot())
        await here.sim.record.until(What.RENDERED)
        await here.ask("GET", "/prompt")
        await here.ask("POST", "/interrupt")
        await here.sim.idle()
        assert ending(await here.entry(name))[0] == "execution_success"


async def test_restart_forgets_everything_but_files(tmp_path: Path) -> None:
    """A restart loses queue, running prompt, history, cache and counter at once; finished files can still be viewed."""
    async with bench(tmp_path) as here:
        file = file_of(await here.run(shot(1, "kept")))
        here.sim.machine.pace = SLOW
        for seed in (2, 3):
            await here.post(shot(seed))
        await here.sim.record.until(What.STARTED, 2)
        here.sim.restart()
        assert await here.ask("GET", "/queue") == (200, {"queue_running": [], "queue_pending": []})
        assert await here.ask("GET", "/history") == (200, {})
        assert (await here.view(file))[0] == 200
        here.sim.machine.pace = Pace.instant()
        entry = await here.run(shot(1, "kept"))
        assert entry["prompt"][0] == 0
        assert file_of(entry)["filename"] == "kept_00002_.mp4"
        assert here.sim.record.of(What.RESTARTED)[0].note == "2 prompts lost"


async def test_restart_in_the_save_node_leaves_a_stump(tmp_path: Path) -> None:
    """Killed while saving, the server leaves 48 bytes under the final name, which are served, and the counter skips."""
    async with bench(tmp_path, pace=dataclasses.replace(Pace.instant(), save=5.0)) as here:
        await here.post(shot())
        await here.sim.record.until(What.RENDERED)
        while not list((tmp_path / "output").iterdir()):
            await here.ask("GET", "/prompt")
        here.sim.restart()
        status, stump, headers = await here.view({"filename": "generated-video_00001_.mp4"})
        assert (status, len(stump), headers["Content-Length"]) == (200, 48, "48")
        here.sim.machine.pace = Pace.instant()
        assert file_of(await here.run(shot()))["filename"] == "generated-video_00002_.mp4"


async def test_down_with_and_without_a_proxy(tmp_path: Path) -> None:
    """While the server is down a proxy answers 502 in HTML, and without one the connection is reset."""
    async with bench(tmp_path, token="t") as here:
        here.sim.restart(down=60.0)
        allowed = {"Authorization": "Bearer t"}
        async with here.session.get("/queue", headers=allowed) as answer:
            assert (answer.status, answer.content_type) == (502, "text/html")
        async with here.session.get("/queue") as answer:
            assert answer.status == 401
        here.sim.restart()
        assert (await here.ask("GET", "/queue", headers=allowed))[0] == 200
    async with bench(tmp_path / "b") as here:
        here.sim.restart(down=60.0)
        with pytest.raises(ClientConnectionError):
            await here.ask("GET", "/queue")


async def test_the_token_is_asked_for_and_may_change(tmp_path: Path) -> None:
    """Without the right bearer token everything is 401 in JSON; a token replaced while running counts at once."""
    async with bench(tmp_path, token="one") as here:
        for shown in ({}, {"Authorization": "Bearer two"}, {"Authorization": "one"}):
            for path in ("/queue", "/view?filename=a", "/nope", "/ws"):
                assert await here.ask("GET", path, headers=shown) == (401, {"error": "Unauthorized"})
        assert (await here.ask("GET", "/queue", headers={"Authorization": "Bearer one"}))[0] == 200
        here.sim.token = "two"
        assert (await here.ask("GET", "/queue", headers={"Authorization": "Bearer one"}))[0] == 401
        assert (await here.ask("GET", "/queue", headers={"Authorization": "Bearer two"}))[0] == 200


@pytest.mark.parametrize(("statuses", "ends"), [([200, 500], "lives"), ([200, 500, 500], "dies")])
async def test_ties_on_number_and_id(statuses: list[int], ends: str, tmp_path: Path) -> None:
    """Two workflows under one number and id survive, three end executing for good, while HTTP goes on."""
    async with bench(tmp_path, pace=BRISK) as here:
        await here.post(shot(1, steps=20))
        await here.sim.record.until(What.STARTED)
        ties = [
            {"prompt": shot(50 + index, steps=1), "number": 3, "prompt_id": "tie"} for index in range(len(statuses))
        ]
        assert [(await here.ask("POST", "/prompt", json=tie))[0] for tie in ties] == statuses
        await here.sim.idle()
        if ends == "lives":
            assert ending(await here.run(shot(3)))[0] == "execution_success"
        else:
            assert here.sim.wedged
            _, queue = await here.ask("GET", "/queue")
            assert (queue["queue_running"], len(queue["queue_pending"]) > 0) == ([], True)
            here.sim.restart()
            assert (await here.ask("GET", "/queue"))[0] == 200
            assert ending(await here.run(shot(4)))[0] == "execution_success"


async def test_equal_ties_are_no_ties(tmp_path: Path) -> None:
    """The very same body under the same number and id compares equal, and raises nothing."""
    async with bench(tmp_path, pace=SLOW) as here:
        for _ in range(4):
            await here.post(shot(), number=3, prompt_id="tie")


async def test_a_client_id_that_is_an_object_ends_the_server(tmp_path: Path) -> None:
    """A client_id that is no string is accepted, and then nothing answers until a restart."""
    async with bench(tmp_path) as here:
        await here.post(shot(), client_id={"a": 1})
        await here.sim.record.until(What.WEDGED)
        with pytest.raises(ClientConnectionError):
            await here.ask("GET", "/queue")
        here.sim.restart()
        assert (await here.ask("GET", "/queue"))[0] == 200


async def test_other_answers(tmp_path: Path) -> None:
    """HEAD, other methods, features and system_stats answer as recorded."""
    async with bench(tmp_path) as here:
        async with here.session.head("/queue") as answer:
            assert (answer.status, answer.headers["Content-Length"]) == (200, "42")
        assert await here.ask("PUT", "/queue") == (405, "405: Method Not Allowed")
        _, stats = await here.ask("GET", "/system_stats")
        assert stats["system"]["comfyui_version"] == "0.3.64"
        assert {"name", "type", "index", "vram_total", "vram_free"} < set(stats["devices"][0])


async def test_stop_leaves_no_task_behind(tmp_path: Path) -> None:
    """A stopped simulator can be started again, and history is still there."""
    async with bench(tmp_path) as here:
        entry = await here.run(shot())
        await here.sim.stop()
        await here.sim.start()
        assert await here.entry(entry["prompt"][1]) == entry
        assert ending(await here.run(shot(2)))[0] == "execution_success"
