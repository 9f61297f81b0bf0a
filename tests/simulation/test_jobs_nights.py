"""Runs against servers with a jobs API: how much is asked and brought, and what it changes, which is nothing else."""

from __future__ import annotations

import asyncio
import io
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from aiohttp import web

from batchrunner.ledger import hold
from batchrunner.manifest import load
from batchrunner.progress import Displays
from batchrunner.servers import ServerAccess
from batchrunner.show.listeners import Listeners
from batchrunner.show.log import StreamOutput
from batchrunner.sim.machine import Pace
from batchrunner.sim.server import Simulator
from tests.lab import other_user
from tests.lab.clock import VirtualLoop, run
from tests.lab.faults import KINDS, Fault
from tests.lab.nights.memory import BusyLedger, MemoryNight
from tests.lab.nights.night import pass_night
from tests.lab.nights.plan import Host, Plan

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from aiohttp.typedefs import Handler

    from batchrunner.sim.prompts import SimPrompt

JOBS = 10
_MANIFEST = """
name: short
server: http://gpu
workflow: ltx2
hint: {hint}
defaults: {{width: 64, height: 64, length: 9, steps: 4}}
sweep: {{prompt: a cat, seed: {{count: {jobs}}}}}
"""


@dataclass
class Asked:
    """What one run asked its server for, by the first part of the path, and how many bytes of JSON came."""

    requests: Counter[str] = field(default_factory=Counter)
    bytes: Counter[str] = field(default_factory=Counter)
    paths: list[str] = field(default_factory=list)
    hours: float = 0.0

    @web.middleware
    async def watch(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Count a request and its answer."""
        kind = request.path.removeprefix("/api").split("/")[1]
        self.requests[kind] += 1
        self.paths.append(request.path)
        response = await handler(request)
        if isinstance(response, web.Response) and isinstance(response.body, bytes):
            self.bytes[kind] += len(response.body)
        return response

    @property
    def a_job(self) -> float:
        """Requests a job, without the socket and what is asked once."""
        kinds = ("prompt", "queue", "history", "jobs", "view")
        return sum(self.requests[kind] for kind in kinds) / JOBS


def rendered(folder: Path, *, jobs_api: bool, hint: bool = True, neighbours: int = 0) -> Asked:
    """Let a run render 10 jobs of 2 s; `neighbours`: heavy prompts of others that wait behind ours."""
    folder.mkdir(exist_ok=True)
    (folder / "m.yaml").write_text(_MANIFEST.format(hint="auto" if hint else "off", jobs=JOBS), encoding="utf-8")
    batch, asked = load(folder / "m.yaml"), Asked()

    async def main(loop: VirtualLoop) -> None:
        server = Simulator(folder / "server", pace=Pace.instant(), wall=loop.wall, jobs_api=jobs_api)
        server.machine.hold = _rendering()
        for number in range(neighbours):
            body = {**other_user.heavy_prompt(number), "number": 1_000_000 + number}
            assert server.submit(body)[0] == 200
        application = server.application()
        application.middlewares.insert(0, asked.watch)
        site = web.AppRunner(application, access_log=None)
        await site.setup()
        await web.UnixSite(site, "gpu").start()
        await server.start()
        with loop.under_way():
            assert await loop.spawn("runner").start(_run()) == 0
        asked.hours = loop.now / 3600
        await server.stop()
        await site.cleanup()

    async def _run() -> int:
        displays = Displays(Listeners([]), StreamOutput(io.StringIO()), 60.0, None)
        with ExitStack() as stack:
            stack.enter_context(hold(folder / "home"))
            ledger = stack.enter_context(BusyLedger.open(folder / "home", batch.name))
            return await MemoryNight(batch, folder / "home", ServerAccess(batch, None, {}), ledger, displays).run()

    run(main, seed=1)
    return asked


def _rendering() -> Callable[[SimPrompt, str], Awaitable[None]]:
    """Return what keeps every prompt for 2 s."""
    begun = set()

    async def hold(prompt: SimPrompt, _node: str) -> None:
        if prompt.id not in begun:
            begun.add(prompt.id)
            await asyncio.sleep(2.0)

    return hold


def test_a_finished_job_is_one_request(tmp_path: Path) -> None:
    """POST, jobs or history, view: about three requests a job with a socket, with the route and without."""
    old, new = rendered(tmp_path / "old", jobs_api=False), rendered(tmp_path / "new", jobs_api=True)
    assert new.a_job < 3.6
    assert old.a_job < 3.8
    assert old.requests["queue"] < 5
    assert new.requests["jobs"] < JOBS + 4
    assert old.requests["jobs"] == 1
    assert new.hours <= old.hours + 0.1 / 3600


def test_the_list_is_never_asked_for(tmp_path: Path) -> None:
    """Whatever is asked of the jobs API is asked by id; without a socket too."""
    asked = rendered(tmp_path, jobs_api=True, hint=False)
    paths = [path for path in asked.paths if path.startswith("/api/jobs")]
    assert len(paths) > JOBS
    assert all(len(path.removeprefix("/api/jobs/")) == 36 for path in paths)
    assert asked.requests["history"] < 4


def test_others_workflows_are_not_brought(tmp_path: Path) -> None:
    """Two prompts of others with 90 to 200 kB each wait there: a queue now and then, not one for each job."""
    old = rendered(tmp_path / "old", jobs_api=False, neighbours=2)
    new = rendered(tmp_path / "new", jobs_api=True, neighbours=2)
    assert new.bytes["queue"] < old.bytes["queue"] / 2


@pytest.mark.parametrize("how", KINDS["no-jobs"].words["how"])
def test_an_api_that_fails_costs_nothing(tmp_path: Path, how: str) -> None:
    """From the start or while the first job renders, for half the night: all is rendered once, nothing is late."""
    script = (Fault("no-jobs", lasts=900.0, how=how), Fault("no-jobs", 1500.0, lasts=86_400.0, how=how))
    outcome = pass_night(tmp_path, Plan(1, 4, script, hosts=(Host(jobs_api=True),)))
    assert (outcome.broken, outcome.done, outcome.renders, outcome.exits) == ((), 4, 4, (0,))
