"""`GET /api/jobs/{id}` as 0.33.0 was recorded to answer it (docs/comfyui.md §21)."""

from __future__ import annotations

import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from bench import bench, shot

from batchrunner.sim.machine import Pace
from batchrunner.sim.record import What

if TYPE_CHECKING:
    from bench import Bench

RECORDED: dict[str, Any] = json.loads((Path(__file__).parent / "fixtures" / "jobs.json").read_text("utf-8"))
ID = str(uuid.UUID(int=7))
WORKFLOW = {"extra_pnginfo": {"workflow": {"id": "wf-1", "nodes": []}}}
UNSURE = {"preview_output", "workflow_id", "execution_error"}
"""Fields that depend on the workflow; the recorded failure's error is cut."""


async def job(here: Bench, name: str = ID) -> tuple[int, Any]:
    """Ask for a job."""
    return await here.ask("GET", f"/api/jobs/{name}")


async def test_a_job_on_its_way_has_the_recorded_fields(tmp_path: Path) -> None:
    """A pending and a running job are their head alone; what is deleted while it waits is unknown."""
    async with bench(tmp_path, pace=Pace(step=5.0), jobs_api=True, new_server=True) as here:
        await here.post(shot(1), prompt_id=ID, extra_data=WORKFLOW)
        waits = await here.post(shot(2))
        await here.sim.record.until(What.STARTED)
        for name, status in ((ID, "in_progress"), (waits, "pending")):
            code, found = await job(here, name)
            assert (code, found["id"], found["status"], list(found)) == (200, name, status, list(RECORDED[status]))
        await here.ask("POST", "/queue", json={"delete": [waits]})
        assert await job(here, waits) == (404, {"error": "Job not found"})


async def test_an_ended_job_has_the_recorded_fields(tmp_path: Path) -> None:
    """Completed, failed and cancelled: the head, the history's status and outputs, and the workflow."""
    async with bench(tmp_path, jobs_api=True, new_server=True) as here:
        entry = await here.run(shot(), prompt_id=ID)
        _, found = await job(here)
        assert found.keys() - UNSURE == RECORDED["completed"].keys() - UNSURE
        assert (found["status"], found["outputs_count"]) == ("completed", 1)
        assert (found["outputs"], found["execution_status"]) == (entry["outputs"], entry["status"])
        assert found["workflow"] == {"prompt": entry["prompt"][2], "extra_data": entry["prompt"][3]}
        assert found["preview_output"]["nodeId"] == "15"


@pytest.mark.parametrize(("message", "status"), [("error", "failed"), ("interrupted", "cancelled")])
async def test_a_bad_end_is_told_by_its_last_message(tmp_path: Path, message: str, status: str) -> None:
    """`error` in the history's status is a failed or a cancelled job."""
    async with bench(tmp_path, jobs_api=True, new_server=True) as here:
        await here.run(shot(), prompt_id=ID)
        end = {"timestamp": 5, "node_id": "1"}
        kept: Any = here.sim.prompts.history[ID]
        kept["outputs"], kept["status"] = {}, {"status_str": "error", "messages": [[f"execution_{message}", end]]}
        _, found = await job(here)
        assert found["status"] == status
        assert found.keys() - UNSURE <= RECORDED[status].keys()
        assert found.get("execution_error") == (end if status == "failed" else None)


@pytest.mark.parametrize("poison", [{"extra_pnginfo": None}, {"extra_pnginfo": {"workflow": "text"}}])
async def test_a_job_with_odd_extra_data_is_a_500(tmp_path: Path, poison: dict[str, Any]) -> None:
    """It is one for itself alone, as long as it is in queue or history; any other job is told of as ever."""
    async with bench(tmp_path, jobs_api=True, new_server=True) as here:
        name = await here.post(shot(1), extra_data=poison)
        await here.run(shot(2), prompt_id=ID)
        assert (await job(here, name))[0] == 500
        assert (await job(here))[0] == 200
        await here.ask("POST", "/history", json={"delete": [name]})
        assert (await job(here, name))[0] == 404


async def test_an_older_server_has_no_such_route(tmp_path: Path) -> None:
    """0.3.64: an empty 404 to the GET, 405 to a POST; and there is none without /api."""
    async with bench(tmp_path) as here:
        name = await here.post(shot())
        assert await job(here, name) == (404, "")
        assert (await here.ask("POST", f"/api/jobs/{name}/cancel"))[0] == 405
        here.sim.jobs_api = True
        assert (await job(here, name))[0] == 200
        assert await here.ask("GET", f"/jobs/{name}") == (404, "")
