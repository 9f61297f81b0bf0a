"""POST /prompt, request by request as a real 0.3.64 answered (docs/comfyui.md §3)."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest
from bench import bench, edited, ending, shot

from batchrunner.sim.record import What

CASES: list[dict[str, Any]] = [
    json.loads(line) for line in (Path(__file__).parent / "fixtures/posts.jsonl").read_text("utf-8").splitlines()
]
TROUBLE = "500 Internal Server Error\n\nServer got itself in trouble"


def body_of(case: dict[str, Any]) -> Any:
    """Return the body that a case posts."""
    return case["body"] if "body" in case else {"prompt": edited(case.get("edit")), **case.get("members", {})}


def complaints(answer: dict[str, Any]) -> dict[str, Any]:
    """Return what an answer says of each node, in the fixtures' words."""
    return {
        name: {
            "errors": [
                [one["type"], one["message"], one["details"], sorted(one["extra_info"])] for one in found["errors"]
            ],
            "outputs": found["dependent_outputs"],
        }
        for name, found in answer["node_errors"].items()
    }


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["label"])
async def test_post_is_answered_as_recorded(case: dict[str, Any], tmp_path: Path) -> None:
    """Every recorded POST gets the recorded status, error and complaints, down to their texts."""
    async with bench(tmp_path) as here:
        status, answer = await here.ask("POST", "/prompt", json=body_of(case))
    assert status == case["status"]
    if status == 500:
        assert answer == TROUBLE
        return
    assert complaints(answer) == case.get("nodes", {})
    if status == 200:
        assert set(answer) == {"prompt_id", "number", "node_errors"}
    else:
        said = answer["error"]
        assert [said["type"], said["message"], said["details"]] == case["error"]
        assert set(answer) == {"error", "node_errors"}


@pytest.mark.parametrize("case", [case for case in CASES if "ends" in case], ids=lambda case: case["label"])
async def test_accepted_prompt_ends_as_recorded(case: dict[str, Any], tmp_path: Path) -> None:
    """What was accepted in the recordings ends there and here in the same success, or the same node's error."""
    async with bench(tmp_path) as here:
        entry = await here.run(**_split(body_of(case)))
    assert entry["status"]["completed"] is (case["ends"] == "success")
    if case["ends"] != "success":
        _, details = ending(entry)
        said = [details[key] for key in ("node_id", "node_type", "exception_type", "exception_message")]
        assert said[: len(case["ends"])] == case["ends"]


@pytest.mark.parametrize("case", [case for case in CASES if "lives" in case], ids=lambda case: case["label"])
async def test_poison_kills_what_it_killed(case: dict[str, Any], tmp_path: Path) -> None:
    """After a poisoned request the next ordinary prompt runs, or never does, as it was recorded."""
    async with bench(tmp_path) as here:
        await here.ask("POST", "/prompt", json=body_of(case))
        if case["lives"]:
            entry = await here.run(shot(7, "afterwards"))
            assert entry["status"]["status_str"] == "success"
        else:
            await here.sim.record.until(What.WEDGED)
            assert here.sim.prompts.remaining == 1


@pytest.mark.parametrize("raw", [b"", b"hello", b'{"prompt": \xff\xfe}', b"null", b"3", b"[" * 100_000])
async def test_malformed_json_is_500_in_plain_text(raw: bytes, tmp_path: Path) -> None:
    """What is no JSON object gets 500 and text/plain, not 400."""
    async with bench(tmp_path) as here, here.session.post("/prompt", data=raw) as answer:
        assert answer.status == 500
        assert answer.content_type == "text/plain"
        assert await answer.text() == TROUBLE


async def test_content_type_is_not_looked_at(tmp_path: Path) -> None:
    """JSON sent as text/plain is taken as JSON."""
    async with bench(tmp_path) as here:
        raw = json.dumps({"prompt": shot()})
        status, _ = await here.ask("POST", "/prompt", data=raw, headers={"Content-Type": "text/plain"})
        assert status == 200


async def test_numbers_are_used_up_by_refusals(tmp_path: Path) -> None:
    """The counter counts refused prompts too, and a number that was sent comes back as a float."""
    async with bench(tmp_path) as here:
        await here.ask("POST", "/prompt", json={"foo": 1})
        await here.ask("POST", "/prompt", json={"prompt": {}})
        _, third = await here.ask("POST", "/prompt", json={"prompt": shot()})
        _, sent = await here.ask("POST", "/prompt", json={"prompt": shot(), "number": "3.5"})
        assert [third["number"], sent["number"]] == [2, 3.5]


async def test_nan_goes_through_and_comes_back_bare(tmp_path: Path) -> None:
    """A cfg of NaN is accepted, and history then holds what a strict parser refuses."""
    async with bench(tmp_path) as here:
        await here.run(shot(cfg=float("nan")))
        async with here.session.get("/history") as answer:
            assert '"cfg": NaN' in await answer.text()


async def test_history_holds_coerced_values(tmp_path: Path) -> None:
    """Numbers sent as text, or as another kind of number, are stored as what their input takes."""
    async with bench(tmp_path) as here:
        entry = await here.run(edited({"4": {"width": "768"}, "10": {"seed": "12", "cfg": 5}, "7": {"text": 12}}))
        stored = entry["prompt"][2]
        values = [stored["4"]["inputs"]["width"], stored["10"]["inputs"]["seed"], stored["10"]["inputs"]["cfg"]]
        assert values == [768, 12, 5.0]
        assert isinstance(stored["10"]["inputs"]["cfg"], float)
        assert stored["7"]["inputs"]["text"] == "12"


async def test_extra_outputs_of_two_are_run_and_named(tmp_path: Path) -> None:
    """With one of two outputs wrong the answer is 200, names the wrong one, and the good one runs."""
    twin = {"=": {"class_type": "SaveVideo", "inputs": {"filename_prefix": "x", "format": "mp4", "codec": "h264"}}}
    async with bench(tmp_path) as here:
        _, answer = await here.ask("POST", "/prompt", json={"prompt": edited({"16": twin})})
        await here.sim.idle()
        entry = await here.entry(answer["prompt_id"])
        assert list(answer["node_errors"]) == ["16"]
        assert entry["prompt"][4] == ["15"]
        assert list(entry["outputs"]) == ["15"]


async def test_new_server_takes_canonical_ids_only(tmp_path: Path) -> None:
    """A newer server refuses ids that are no canonical UUID, chooses one for null, and checks every choice."""
    async with bench(tmp_path, new_server=True) as here:
        good = "0b35fd5c-ba6e-4f2a-9d5f-3a2b1c0d9e8f"
        assert await here.post(shot(), prompt_id=good) == good
        for bad in (good.upper(), "job-1", 17, good.replace("-", "")):
            status, answer = await here.ask("POST", "/prompt", json={"prompt": shot(), "prompt_id": bad})
            assert (status, answer["error"]["type"]) == (400, "invalid_prompt_id")
        assert await here.post(shot(), prompt_id=None) not in ("None", good)
        status, _ = await here.ask("POST", "/prompt", json={"prompt": edited({"15": {"format": "avi"}})})
        assert status == 400
        status, _ = await here.ask("POST", "/prompt", json={"prompt": shot(), "extra_data": 5})
        assert status == 500


async def test_old_server_chooses_its_own_ids(tmp_path: Path) -> None:
    """A server told to do so answers with an id of its own, the same for the same seed."""
    first, second = [], []
    for answers in (first, second):
        async with bench(tmp_path, own_ids=True, seed=7) as here:
            answers.append(await here.post(shot(), prompt_id="mine"))
    assert first == second != ["mine"]


def _split(body: dict[str, Any]) -> dict[str, Any]:
    return {"workflow": body["prompt"], **{key: value for key, value in body.items() if key != "prompt"}}


ODD: list[Any] = [None, True, 0, -1, 1e308, float("nan"), float("inf"), 10**400, "", "x" * 5000, [], ["1", 0], ["1", 9]]
ODD += [["nope", 0], {}, {"__value__": 3}, [["1"], 0], "\ud800", "\x00", "../", "%year%"]


async def test_odd_values_never_end_the_executing(tmp_path: Path) -> None:
    """Whatever stands in an input is refused, or runs to an entry in history, and the server goes on."""
    dice = Random(1)  # noqa: S311 - dice that fall the same every time
    async with bench(tmp_path) as here:
        for _ in range(200):
            workflow = edited()
            for name in dice.sample(list(workflow), 2):
                key = dice.choice([*workflow[name]["inputs"], "fps", "seed", "steps", "text", "bogus"])
                workflow[name]["inputs"][key] = dice.choice(ODD)
            status, answer = await here.ask("POST", "/prompt", json={"prompt": workflow})
            assert status in (200, 400)
            if status == 200:
                await here.sim.idle()
                assert await here.entry(answer["prompt_id"])
        assert not here.sim.wedged
        assert ending(await here.run(shot(9)))[0] == "execution_success"
