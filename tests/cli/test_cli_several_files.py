"""What a single runner with one video per job does not show: several files of a prompt, and a second runner."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from importlib.resources import files
from typing import TYPE_CHECKING

import pytest
from short_runs import URL_OF_SERVER, run_once, serving

from batchrunner.download import verify as media
from batchrunner.manifest import Batch, Options, load
from batchrunner.sim.record import What
from tests.lab.clock import run
from tests.lab.disk import watched

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from batchrunner.sim.server import Simulator
    from tests.lab.clock import VirtualLoop
    from tests.lab.process import Process

_TWO = """
name: two
server: {server}
workflow: two.json
params: {{prompt: 7.text, seed: 10.seed}}
sweep: {{prompt: a cat, seed: 1}}
files: cat
"""
_NIGHT = """
name: night
server: {server}
workflow: ltx2
sweep: {{prompt: [a cat, a dog], seed: [1, 2, 3]}}
"""


def _two_films(folder: Path) -> Batch:
    """Return a batch of one job whose workflow saves its film at two speeds."""
    graph = json.loads(files("batchrunner.workflow").joinpath("ltx2.json").read_text("utf-8"))
    slow = {**graph["14"], "inputs": {**graph["14"]["inputs"], "fps": 12}}
    graph |= {"16": slow, "17": {**graph["15"], "inputs": {**graph["15"]["inputs"], "video": ["16", 0]}}}
    folder.mkdir()
    (folder / "two.json").write_text(json.dumps(graph), encoding="utf-8")
    (folder / "two.yaml").write_text(_TWO.format(server=URL_OF_SERVER), encoding="utf-8")
    return load(folder / "two.yaml", Options())


def _killed(folder: Path, commit: int, aftermath: Callable[[Simulator], object], pause: float) -> tuple[int, int]:
    """Kill a runner before its commit number `commit`, and let another go on; return its exit code and the renders."""
    batch = _two_films(folder)

    async def main(loop: VirtualLoop) -> tuple[int, int]:
        async with serving(loop, folder / "gpu") as server:
            first = loop.spawn("first")
            commits: list[str] = []

            def passed(process: Process, point: str) -> None:
                if process is first and point == "commit":
                    commits.append(point)
                    if len(commits) == commit:
                        first.kill()

            loop.on_point = passed
            with watched(loop):
                await asyncio.wait([first.start(run_once(loop, batch, folder / "home"))])
                assert first.dead
                aftermath(server)
                await loop.elapse(pause)
                code = await loop.spawn("second").start(run_once(loop, batch, folder / "home"))
            return code, len(server.record.of(What.RENDERED))

    return run(main, seed=commit)


@pytest.mark.parametrize(
    ("aftermath", "pause"),
    [
        pytest.param(lambda _: None, 20.0, id="the server goes on"),
        pytest.param(lambda server: server.restart(5.0), 20.0, id="it was restarted"),
        pytest.param(lambda server: server.prompts.history.clear(), 400.0, id="its history was cleared"),
        pytest.param(lambda _: None, 1800.0, id="its files were cleaned up"),
    ],
)
def test_a_job_of_two_files_is_done_when_both_are_home(
    tmp_path: Path, aftermath: Callable[[Simulator], object], pause: float
) -> None:
    """Killed at any commit, whatever the server forgets: both films and their sidecars are there, of one attempt."""
    for commit in range(1, 8):
        folder = tmp_path / str(commit)
        code, renders = _killed(folder, commit, aftermath, pause)
        assert (code, renders in (1, 2)) == (0, True), commit
        films = sorted((folder / "home").glob("*.mp4"))
        carried = Counter(prefix for film in films for prefix in media.inspect(film).prefixes or ())
        assert max(carried.values()) == 2, (commit, carried)
        assert len(list((folder / "home").glob("*.json"))) == len(films), commit


@pytest.mark.parametrize("kept", ["cat-15.mp4", "cat-17.mp4", "both"])
def test_half_of_what_a_job_makes_is_not_the_job(tmp_path: Path, kept: str) -> None:
    """With the state lost and the server restarted, a job with one of its two videos on this disk is rendered again."""
    folder = tmp_path / "run"

    def forget(server: Simulator) -> None:
        for path in [*(folder / "home").glob("state*"), *(folder / "home").glob("*.mp4")]:
            if path.name != kept and not (kept == "both" and path.suffix == ".mp4"):
                path.unlink()
        server.restart(5.0)

    code, renders = _killed(folder, 7, forget, 20.0)
    assert (code, renders) == (0, 1 if kept == "both" else 2)
    films = [media.inspect(film).prefixes for film in (folder / "home").glob("*.mp4")]
    assert max(Counter(films).values()) == 2


def test_what_a_person_threw_away_stays_away(tmp_path: Path) -> None:
    """A job that is done stays done: its deleted film is neither fetched nor rendered again, by `run` at least."""
    batch = _two_films(tmp_path / "batch")

    async def main(loop: VirtualLoop) -> tuple[list[int], int, int]:
        async with serving(loop, tmp_path / "gpu") as server:
            codes = [await run_once(loop, batch, tmp_path / "home")]
            (tmp_path / "home" / "cat-15.mp4").unlink()
            codes.append(await run_once(loop, batch, tmp_path / "home"))
            return codes, len(server.record.of(What.POSTED)), len(server.record.of(What.VIEWED))

    assert run(main, seed=1) == ([0, 0], 1, 2)
    assert [path.name for path in (tmp_path / "home").glob("*.mp4")] == ["cat-17.mp4"]


@pytest.mark.parametrize("later", [0.0, 700.0])
def test_two_runners_of_one_batch_share_what_is_rendered(tmp_path: Path, later: float) -> None:
    """Started twice, with a folder each, a batch is rendered once: each finds the other's prompts for its own."""
    (tmp_path / "night.yaml").write_text(_NIGHT.format(server=URL_OF_SERVER), encoding="utf-8")
    batch = load(tmp_path / "night.yaml", Options())

    async def main(loop: VirtualLoop) -> Counter[str]:
        async with serving(loop, tmp_path / "gpu") as server:

            async def runner(name: str, after: float) -> int:
                await loop.elapse(after)
                return await run_once(loop, batch, tmp_path / name)

            assert await asyncio.gather(runner("one", 0.0), runner("other", later)) == [0, 0]
            return Counter(event.prefix for event in server.record.of(What.RENDERED))

    renders = run(main, seed=1)
    assert sorted(renders.values()) == [1] * len(batch.jobs)
    for name in ("one", "other"):
        assert len(list((tmp_path / name).glob("*.mp4"))) == len(batch.jobs)


def test_a_token_that_one_server_refuses_later_stops_only_that_server(tmp_path: Path) -> None:
    """Killed and started again, a batch goes on where its token is taken, also with what the other held."""
    servers = f"[{URL_OF_SERVER}, http://other:8188]"
    (tmp_path / "night.yaml").write_text(_NIGHT.format(server=servers), encoding="utf-8")
    batch = load(tmp_path / "night.yaml", Options())

    async def main(loop: VirtualLoop) -> tuple[int, int, int]:
        async with serving(loop, tmp_path / "gpu") as server, serving(loop, tmp_path / "b", name="other") as other:
            first = loop.spawn("first")
            with watched(loop):
                life = first.start(run_once(loop, batch, tmp_path / "home"))
                await loop.elapse(60.0)
                first.kill()
                await asyncio.wait([life])
                other.token = "new"
                code = await loop.spawn("second").start(run_once(loop, batch, tmp_path / "home"))
            return code, len(server.record.of(What.RENDERED)), len(other.record.of(What.POSTED))

    code, rendered, held = run(main, seed=1)
    assert (code, held, rendered) == (0, 2, len(batch.jobs))
    assert len(list((tmp_path / "home").glob("*.mp4"))) == rendered
