"""Whose render comes home: strangers under our prefix, and nodes that rewrite what we sent."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING

import pytest
from short_runs import URL_OF_SERVER, run_once, serving

from batchrunner.core.facts import Rendered
from batchrunner.core.job import file_prefix, prompt_id, render_digest
from batchrunner.core.lifecycle import folded
from batchrunner.download import verify as media
from batchrunner.ledger import Ledger
from batchrunner.manifest import Batch, Options, load
from batchrunner.show.report import report, report_lines, report_markdown
from batchrunner.sim.machine import Pace
from batchrunner.sim.record import What
from batchrunner.sim.server import Simulator
from tests.lab.clock import run
from tests.lab.nights import memory

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Any

    from batchrunner.core.job import Json
    from batchrunner.sim.prompts import SimPrompt
    from tests.lab.clock import VirtualLoop

_NIGHT = """
name: night
server: {server}
workflow: ltx2
defaults: {{size: sd, length: 25}}
sweep: {{prompt: a cat, seed: 1}}
files: cat
"""


def _batch(folder: Path) -> Batch:
    """Return a batch of one job."""
    folder.mkdir(exist_ok=True)
    (folder / "night.yaml").write_text(_NIGHT.format(server=URL_OF_SERVER), encoding="utf-8")
    return load(folder / "night.yaml", Options())


def _graph(batch: Batch, attempt: int = 1, **inputs: Json) -> Any:
    """Return the workflow of an attempt, its sampler's inputs changed."""
    (job,) = batch.jobs
    graph: Any = copy.deepcopy(batch.graph(job, file_prefix(batch.name, job.id, attempt)))
    graph["10"]["inputs"] |= inputs
    return graph


def _films(home: Path) -> dict[str, media.Inspection]:
    return {path.name: media.inspect(path) for path in home.glob("*.mp4")}


@pytest.mark.parametrize("own_id", [True, False], ids=["our very id", "an id of his own"])
@pytest.mark.parametrize("wait", [0.0, 300.0], ids=["still queued", "rendered"])
def test_another_workflow_under_our_prefix_stays_where_it_is(tmp_path: Path, wait: float, *, own_id: bool) -> None:
    """With a fresh ledger and a stranger's changed copy under our first prefix, our job is rendered and comes home."""
    batch = _batch(tmp_path)
    (job,) = batch.jobs
    theirs = _graph(batch, cfg=7.5)
    body: dict[str, Json] = {"prompt": theirs}
    if own_id:
        body["prompt_id"] = prompt_id(batch.name, job.id, 1)

    async def main(loop: VirtualLoop) -> tuple[int, list[str], list[str]]:
        async with serving(loop, tmp_path / "gpu", ttl=None) as server:
            assert server.submit(body)[0] == 200
            await loop.elapse(wait)
            code = await run_once(loop, batch, tmp_path / "home")
            deleted = [event.prompt_id for event in server.record.of(What.DELETED, What.INTERRUPTED)]
            return code, [event.prefix for event in server.record.of(What.RENDERED)], deleted

    code, rendered, deleted = run(main, seed=1)
    assert (code, rendered, deleted) == (0, [file_prefix("night", job.id, attempt) for attempt in (1, 2)], [])
    (film,) = _films(tmp_path / "home").values()
    assert film.prefixes == (file_prefix("night", job.id, 2),)
    assert film.digest == render_digest(batch.graph(job, ""))


def test_the_jobs_own_workflow_is_taken_over(tmp_path: Path) -> None:
    """A prompt under our prefix that renders the job is not rendered a second time, however its numbers are written."""
    batch = _batch(tmp_path)

    async def main(loop: VirtualLoop) -> tuple[int, int]:
        async with serving(loop, tmp_path / "gpu", ttl=None) as server:
            assert server.submit({"prompt": _graph(batch, seed="1", cfg="5")})[0] == 200
            await loop.elapse(1.0)
            code = await run_once(loop, batch, tmp_path / "home")
            return code, len(server.record.of(What.RENDERED))

    assert run(main, seed=1) == (0, 1)


def test_a_strangers_film_at_home_is_not_ours(tmp_path: Path) -> None:
    """A film in our folder under our prefix and name that renders something else is left there; ours lies beside it."""
    batch = _batch(tmp_path)
    (job,) = batch.jobs

    async def main(loop: VirtualLoop) -> int:
        async with serving(loop, tmp_path / "gpu", ttl=None) as server:
            server.submit({"prompt": _graph(batch, cfg=7.5)})
            await loop.elapse(300.0)
            (made,) = (tmp_path / "gpu").rglob("*.mp4")
            (tmp_path / "home").mkdir()
            made.rename(tmp_path / "home" / "cat.mp4")
            server.restart(5.0)
            await loop.elapse(60.0)
            return await run_once(loop, batch, tmp_path / "home")

    assert run(main, seed=1) == 0
    own = render_digest(batch.graph(job, ""))
    found = {name: film.digest == own for name, film in _films(tmp_path / "home").items()}
    assert found == {"cat.mp4": False, f"cat-{job.id}.mp4": True}


class Rewriting(Simulator):
    """A server with a node that rewrites the text of every prompt as it is queued, as Impact's wildcards do."""

    def accept(self, prompt: SimPrompt, peer: str) -> None:
        """Queue a prompt with another text."""
        node: Any = prompt.workflow["7"]
        node["inputs"]["text"] = "a red cat"
        super().accept(prompt, peer)


def test_a_workflow_rewritten_on_the_server_is_kept_and_told(tmp_path: Path) -> None:
    """What this ledger sent comes home at the first attempt; sidecar and report say that it differs."""
    batch = _batch(tmp_path)
    home = tmp_path / "home"

    async def main(loop: VirtualLoop) -> tuple[int, int]:
        server = Rewriting(tmp_path / "gpu", pace=Pace.night(), wall=loop.wall, ttl=600.0)
        async with memory.serving(server, "gpu"):
            code = await run_once(loop, batch, home)
            return code, len(server.record.of(What.POSTED))

    assert run(main, seed=1) == (0, 1)
    sidecar = json.loads((home / "cat.json").read_text("utf-8"))
    assert sidecar["workflow_differs"] is True
    assert sidecar["workflow"]["7"]["inputs"]["text"] == "a cat"
    snapshot = Ledger.read(home)
    assert snapshot is not None
    assert [fact.differs for fact in snapshot.facts if isinstance(fact, Rendered)] == [True]
    told = report("night", batch.jobs, folded(snapshot.jobs, snapshot.facts), snapshot.facts)
    assert told.differing == ("cat",)
    assert "Rewritten on the server" in report_markdown(told)
    assert any("rewrite" in line for line in report_lines(told))
