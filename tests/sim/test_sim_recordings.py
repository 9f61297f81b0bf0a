"""The raw recordings of a real server, where COMFYUI_RECORDINGS says they lie, against the simulator."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from bench import bench, ending, file_of

RECORDINGS = Path(os.environ.get("COMFYUI_RECORDINGS", "/nonexistent"))
OURS = {"input_config", "traceback", "current_inputs", "current_outputs", "extra_info"}
"""Whose insides differ: the simulator shows no tooltips, no source lines and no tensors."""

pytestmark = pytest.mark.skipif(not RECORDINGS.is_dir(), reason="COMFYUI_RECORDINGS names no folder")


def recorded(name: str, path: str = "") -> list[dict[str, Any]]:
    """Return the exchanges of one recording, or those with one path."""
    try:
        rows = json.loads(next(RECORDINGS.glob(f"{name}_*.json")).read_text("utf-8"))
    except StopIteration:
        return []
    return [row for row in rows if "method" in row and path in ("", row["path"])]


def shape(value: Any, key: str = "") -> Any:
    """Return what is compared: keys and types, and no values."""
    if key in OURS:
        return "..."
    if isinstance(value, dict):
        return {name: shape(item, name) for name, item in sorted(value.items())}
    return [shape(item) for item in value] if isinstance(value, list) else type(value).__name__


async def test_every_recorded_post_gets_the_recorded_answer(tmp_path: Path) -> None:
    """Statuses and shapes of all answers to POST /prompt are those of the real server."""
    wrong: list[tuple[str, Any, Any]] = []
    async with bench(tmp_path) as here:
        for row in [*recorded("01", "/prompt"), *recorded("02", "/prompt"), *recorded("14", "/prompt")]:
            if isinstance(row["request_body"], str):
                continue
            status, answer = await here.ask("POST", "/prompt", json=row["request_body"])
            got, wanted = (status, shape(answer)), (row["status"], shape(row["response_body"]))
            wrong += [(row["label"], got, wanted)] if got != wanted else []
            await here.sim.idle()
            if here.sim.wedged:
                here.sim.restart()
                await here.ask("GET", "/queue")
    assert not wrong


async def test_the_documents_workflow_leaves_the_recorded_entry(tmp_path: Path) -> None:
    """The deployed document's own graph runs to a history entry of the recorded shape."""
    posted, kept = recorded("01")
    async with bench(tmp_path) as here:
        entry = await here.run(posted["request_body"]["prompt"])
        (wanted,) = kept["response_body"].values()
        assert shape(entry) == shape(wanted)
        assert entry["prompt"][2:] == wanted["prompt"][2:]
        assert file_of(entry) == file_of(wanted)


async def test_errors_leave_entries_of_the_recorded_shape(tmp_path: Path) -> None:
    """The last message of a failed prompt has the recorded keys."""
    (row,) = [row for row in recorded("04") if "two outputs, second fails" in row["label"]]
    (wanted,) = row["response_body"].values()
    async with bench(tmp_path) as here:
        entry = await here.run(wanted["prompt"][2])
        assert shape(entry["outputs"]) == shape(wanted["outputs"])
        assert set(ending(wanted)[1]) <= set(ending(entry)[1])
        assert ending(entry)[1]["executed"][-1] == "15"


async def test_plain_gets_answer_as_recorded(tmp_path: Path) -> None:
    """Every recorded GET of a fixed path has the same status and the same kind of body."""
    wanted = {"/queue", "/prompt", "/api/queue", "/api/prompt", "/history/", "/api/jobs", "/features", "/nope"}
    async with bench(tmp_path) as here:
        for row in recorded("04"):
            if row["method"] == "GET" and row["path"] in wanted:
                status, answer = await here.ask("GET", row["path"])
                assert status == row["status"]
                assert type(answer) is type(row["response_body"])
