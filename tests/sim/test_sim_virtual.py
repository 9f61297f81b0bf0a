"""The simulator in virtual time: a night passes at once, the same for the same seed."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from aiohttp import ClientSession, UnixConnector, web
from bench import MODELS, file_of, shot

from batchrunner.sim.machine import Pace
from batchrunner.sim.record import SimEvent, What
from batchrunner.sim.server import Simulator
from tests.lab.clock import VirtualLoop, run

if TYPE_CHECKING:
    from pathlib import Path

JOBS = 40
HOUR = timedelta(hours=1).total_seconds()


async def night(loop: VirtualLoop, folder: Path) -> list[SimEvent]:
    """Render forty videos at the real pace and fetch each when it is there."""
    simulator = Simulator(folder, pace=Pace.night(), wall=loop.wall, models=MODELS)
    runner = web.AppRunner(simulator.application(), access_log=None)
    await runner.setup()
    await web.UnixSite(runner, "server").start()
    await simulator.start()
    async with ClientSession("http://server", connector=UnixConnector("server")) as session:
        for seed in range(JOBS):
            body: dict[str, Any] = {"prompt": shot(seed, f"job{seed}", steps=20), "prompt_id": f"id{seed}"}
            async with session.post("/prompt", json=body) as answer:
                assert answer.status == 200
            await simulator.idle()
            async with session.get(f"/history/id{seed}") as answer:
                entry = (await answer.json())[f"id{seed}"]
            async with session.get("/view", params=file_of(entry)) as answer:
                assert answer.status == 200
                assert len(await answer.read()) == int(answer.headers["Content-Length"])
    await loop.elapse(HOUR)
    await simulator.stop()
    await runner.cleanup()
    return list(simulator.record)


def test_a_night_passes_at_once_and_repeats(tmp_path: Path) -> None:
    """Forty renders of minutes each run in virtual time with true stamps, are all cleaned up, and repeat by seed."""
    first, second = (run(lambda loop, at=at: night(loop, tmp_path / at), seed=3) for at in ("a", "b"))
    assert first == second
    kinds = [event.what for event in first]
    assert [kinds.count(what) for what in (What.RENDERED, What.SAVED, What.VIEWED, What.SWEPT)] == [JOBS] * 4
    assert first[-1].at - first[0].at > 2 * HOUR
    assert not list((tmp_path / "a" / "output").iterdir())
