"""The node cache, the file counter and clean-up: success may name a wrong file, or none (docs/comfyui.md §10, §12)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from bench import ALL, Wall, bench, cached, edited, ending, file_of, shot

from batchrunner.sim.graph import NodeCache
from batchrunner.sim.machine import NodeFailure
from batchrunner.sim.record import What

if TYPE_CHECKING:
    from pathlib import Path

    from bench import Bench

    from batchrunner.sim.prompts import SimPrompt

LOADED = ["1", "2", "3", "4", "5", "6", "7", "8", "9"]


async def prefix_inside(here: Bench, file: dict[str, str]) -> tuple[int, str]:
    """Return the seed and the prefix that a downloaded file carries."""
    _, content, _ = await here.view(file)
    start = content.index(b'{"1"')
    workflow, _ = json.JSONDecoder().raw_decode(content[start:].decode("latin-1"))
    return workflow["10"]["inputs"]["seed"], workflow["15"]["inputs"]["filename_prefix"]


@pytest.mark.parametrize(
    ("second", "kept"),
    [
        (shot(1, "a"), ALL),
        (shot(1, "b"), ALL[:-1]),
        (shot(2, "a"), LOADED),
        (edited({"10": {"seed": 1}, "15": {"filename_prefix": "a"}, "7": {"text": "a dog"}}), [*"123456", "8"]),
        (edited({"10": {"seed": 1}, "15": {"filename_prefix": "a"}, "14": {"fps": 25}}), ALL[:-2]),
        (edited({"10": {"seed": "1"}, "15": {"filename_prefix": "a"}}), ALL),
        (edited({"10": {"seed": 1}, "15": {"filename_prefix": "a", "bogus": 1}}), ALL[:-1]),
        (edited({"10": {"seed": 1}, "15": {"filename_prefix": "a"}, "4": {"batch_size": 2}}), [*"123", "5", *"789"]),
    ],
    ids=["identical", "prefix", "seed", "text", "fps", "seed as text", "unknown input", "batch_size"],
)
async def test_only_what_changed_runs_again(second: Any, kept: list[str], tmp_path: Path) -> None:
    """After one prompt, another runs exactly the nodes whose inputs or ancestry differ."""
    async with bench(tmp_path) as here:
        assert cached(await here.run(shot(1, "a"))) == []
        assert cached(await here.run(second)) == kept


async def test_node_ids_and_extra_data_do_not_matter_to_the_cache(tmp_path: Path) -> None:
    """The same graph under other node ids, with other extra data, is answered from the cache under its new ids."""
    other = json.loads(json.dumps(shot(1, "a")))
    for item in other.values():
        for key, value in item["inputs"].items():
            if isinstance(value, list):
                item["inputs"][key] = ["x" + value[0], value[1]]
    async with bench(tmp_path) as here:
        await here.run(shot(1, "a"))
        entry = await here.run({f"x{name}": item for name, item in other.items()}, extra_data={"k": 1}, client_id="c")
        assert cached(entry) == [f"x{name}" for name in ALL]
        assert file_of(entry, "x15")["filename"] == "a_00001_.mp4"


@pytest.mark.parametrize(("mode", "kept"), [("classic", 9), ("lru", 15), ("none", 0)])
async def test_how_much_survives_another_prompt(mode: Any, kept: int, tmp_path: Path) -> None:
    """After A, B, A the classic cache renders A again, an LRU names A's old file, and without a cache all runs."""
    async with bench(tmp_path, cache=NodeCache(mode)) as here:
        for seed in (1, 2):
            await here.run(shot(seed, "a"))
        entry = await here.run(shot(1, "a"))
        assert len(cached(entry)) == kept
        assert file_of(entry)["filename"] == ("a_00001_.mp4" if mode == "lru" else "a_00003_.mp4")


async def test_success_that_points_to_a_missing_file(tmp_path: Path) -> None:
    """An identical prompt after clean-up succeeds without running anything and names a file that is 404."""
    wall = Wall()
    async with bench(tmp_path, wall=wall, ttl=600) as here:
        file = file_of(await here.run(shot()))
        wall.now += 601
        here.sim.sweep()
        again = await here.run(shot())
        assert (ending(again)[0], file_of(again), cached(again)) == ("execution_success", file, ALL)
        assert (await here.view(file))[0] == 404
        assert [event.note for event in here.sim.record.of(What.CACHED)] == [file["filename"]]
        assert [event.note for event in here.sim.record.of(What.SWEPT)] == [file["filename"]]


async def test_a_new_prefix_brings_the_last_prompts_file_back(tmp_path: Path) -> None:
    """After clean-up, the same prompt under another prefix only saves: the sampler does not run again."""
    wall = Wall()
    async with bench(tmp_path, wall=wall) as here:
        await here.run(shot(1, "a1"))
        wall.now += 601
        here.sim.sweep()
        assert (await here.view(file_of(await here.run(shot(1, "a2")))))[0] == 200
        assert list(here.sim.record.renders().values()) == [1]


async def test_the_wrong_video_under_the_right_name(tmp_path: Path) -> None:
    """With a shared prefix, clean-up makes the counter start again: the first entry then serves the second video."""
    wall = Wall()
    async with bench(tmp_path, wall=wall) as here:
        first = file_of(await here.run(shot(4001)))
        wall.now += 601
        here.sim.sweep()
        second = file_of(await here.run(shot(4002)))
        assert first == second
        assert await prefix_inside(here, first) == (4002, "generated-video")


@pytest.mark.parametrize(
    ("lying", "prefix", "name"),
    [
        ([], "v", "v_00001_.mp4"),
        (["v_00001_.mp4", "v_00003_.mp4"], "v", "v_00004_.mp4"),
        (["v_00500_.txt"], "v", "v_00501_.mp4"),
        (["v_99999_.mp4"], "v", "v_100000_.mp4"),
        (["job1_2_00001_.mp4"], "job1", "job1_00003_.mp4"),
        (["job1_00007_.mp4"], "job1_2", "job1_2_00001_.mp4"),
        (["job1_00007_.mp4"], "JOB1", "JOB1_00001_.mp4"),
        (["v_final.mp4"], "v", "v_00001_.mp4"),
    ],
)
async def test_counter_is_the_highest_file_plus_one(lying: list[str], prefix: str, name: str, tmp_path: Path) -> None:
    """The number of the next file comes from whatever files lie there, other people's included."""
    async with bench(tmp_path) as here:
        for file in lying:
            (tmp_path / "output" / file).touch()
        assert file_of(await here.run(shot(prefix=prefix)))["filename"] == name


async def test_clean_up_goes_by_the_end_of_writing(tmp_path: Path) -> None:
    """A file goes when it is `ttl` old, whatever was fetched or cached since; `ttl` may change, and None keeps all."""
    wall = Wall()
    async with bench(tmp_path, wall=wall, ttl=None) as here:
        file = file_of(await here.run(shot()))
        wall.now += 10_000
        here.sim.sweep()
        assert (await here.view(file))[0] == 200
        await here.run(shot())
        here.sim.ttl = 10_001
        here.sim.sweep()
        assert (await here.view(file))[0] == 200
        here.sim.ttl = 10_000
        here.sim.sweep()
        assert (await here.view(file))[0] == 404


async def test_free_memory_empties_the_cache(tmp_path: Path) -> None:
    """POST /free with free_memory makes the next prompt run in full; unload_models alone does not."""
    async with bench(tmp_path) as here:
        await here.run(shot())
        assert await here.ask("POST", "/free", json={"unload_models": True}) == (200, "")
        assert cached(await here.run(shot())) == ALL
        assert await here.ask("POST", "/free", json={"free_memory": True}) == (200, "")
        assert cached(await here.run(shot())) == []


async def test_a_failure_leaves_what_was_done_and_a_retry_goes_on_from_there(tmp_path: Path) -> None:
    """Out of memory in the sampler is an error with the node's inputs; the retry takes the rest from the cache."""

    def once(prompt: SimPrompt, name: str) -> NodeFailure | None:
        return NodeFailure.out_of_memory() if name == "10" and prompt.number == 0 else None

    async with bench(tmp_path) as here:
        here.sim.machine.fault = once
        failed = await here.run(shot())
        event, details = ending(failed)
        assert (event, failed["status"]["status_str"], failed["outputs"]) == ("execution_error", "error", {})
        assert (details["node_id"], details["node_type"]) == ("10", "KSampler")
        assert details["exception_type"] == "torch.OutOfMemoryError"
        assert details["current_inputs"]["seed"] == [42]
        assert set(details["executed"]) == set(LOADED)
        assert {"traceback", "current_outputs", "exception_message", "timestamp"} < set(details)
        assert cached(await here.run(shot())) == LOADED


async def test_a_failed_prompt_shows_the_outputs_it_finished(tmp_path: Path) -> None:
    """When the second of two save nodes fails, history still lists the first one's file."""
    bad = {"filename_prefix": "../x", "format": "mp4", "codec": "h264", "video": ["14", 0]}
    async with bench(tmp_path) as here:
        entry = await here.run(edited({"16": {"=": {"inputs": bad, "class_type": "SaveVideo"}}}))
        assert ending(entry)[1]["node_id"] == "16"
        assert list(entry["outputs"]) == ["15"]
