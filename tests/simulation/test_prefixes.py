"""Any prefix of a ledger can be resumed to the same set of files, whatever the server still knows.

With films at home that the ledger does not know of yet, it is an older copy of itself, from a backup.
"""

from __future__ import annotations

import shutil
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from batchrunner.core.facts import Fact, Saved
from batchrunner.core.job import parse_prefix
from batchrunner.core.lifecycle import Done, folded
from batchrunner.download import verify as media
from batchrunner.engine import IMPORTED, survey_mark
from batchrunner.ledger import Ledger
from batchrunner.sim.record import What
from tests.lab.clock import run
from tests.lab.disk import watched
from tests.lab.faults import parse
from tests.lab.nights import night
from tests.lab.nights.plan import SERVER, Plan
from tests.lab.nights.world import World

if TYPE_CHECKING:
    from collections.abc import Collection
    from pathlib import Path

    from batchrunner.ledger import Snapshot
    from tests.lab.clock import VirtualLoop

JOBS = 3
STEP = 6
"""Of every so many prefixes one is tried."""
SCRIPT = parse(
    "[{do: drop-reply}, {at: 20, do: kill, for: 30}, {at: 150, do: out-of-memory}, {after: 30, do: truncate-film},"
    " {at: 400, do: restart}, {at: 500, do: clear-history}, {after: 60, do: reset-film}]",
    "a rich night",
)


@dataclass(frozen=True)
class Evening:
    """Where a night ended: its folder, its facts in their order, and what its server remembered then."""

    folder: Path
    state: Snapshot
    history: dict[str, Any]

    def films(self, facts: Collection[Fact]) -> set[str]:
        """Return the names of the films that `facts` say are home."""
        return {fact.path for fact in facts if isinstance(fact, Saved)}


@pytest.fixture(scope="module")
def evening(tmp_path_factory: pytest.TempPathFactory) -> Evening:
    """Return a night with faults in which every job was done."""
    folder = tmp_path_factory.mktemp("evening")
    worlds: list[World] = []
    outcome = night.pass_night(folder, Plan(1, JOBS, SCRIPT, again=60.0), worlds.append)
    assert (outcome.broken, outcome.done) == ((), JOBS)
    assert {"drop-reply", "kill", "out-of-memory", "restart", "clear-history"} <= outcome.faults.keys()
    state = Ledger.read(folder / "outputs" / "night")
    assert state is not None
    return Evening(folder, state, dict(worlds[0].invariants.sim.prompts.history))


def resumed(folder: Path, evening: Evening, length: int, kept: str) -> tuple[World, Path]:
    """Resume the first `length` facts in virtual time, with what is `kept` besides.

    "server": it still has every file and its history; else it knows nothing. "home": every film that came home later
    is there, too; else only those that the facts tell of. "marks": the ledger knows that it has settled in.
    """
    facts = evening.state.facts[:length]
    outputs = folder / "outputs" / "night"
    outputs.mkdir(parents=True)
    for path in (evening.folder / "outputs" / "night").glob("*.mp4"):
        if "home" in kept or path.name in evening.films(facts):
            shutil.copy2(path, outputs)
    if "server" in kept:
        shutil.copytree(evening.folder / SERVER, folder / SERVER)
    with Ledger.open(outputs, "night") as ledger:
        ledger.keep(evening.state.jobs.values())
        for fact in facts:
            ledger.append(fact)
        if "marks" in kept:
            ledger.mark(IMPORTED, value=True)
            ledger.mark(survey_mark(f"http://{SERVER}:8188"), value=True)

    async def main(loop: VirtualLoop) -> World:
        world = World(loop, Plan(1, JOBS), night.batch_of(folder, Plan(1, JOBS)), folder)
        if "server" in kept:
            world.invariants.sim.prompts.history.update(deepcopy(evening.history))
        with watched(loop):
            await world.live()
        world.close()
        return world

    return run(main, seed=1), outputs


@pytest.mark.parametrize(
    "kept",
    ["server, home, marks", "server, home", "server, marks", "server", "home, marks", "home", "marks", "nothing"],
)
def test_any_prefix_is_resumed_to_the_same_files(tmp_path: Path, evening: Evening, kept: str) -> None:
    """P10: whatever part of its facts a ledger still has, the run ends with the same films, each whole and its own."""
    wanted = evening.films(evening.state.facts)
    assert len(wanted) == JOBS
    for length in range(0, len(evening.state.facts) + 1, STEP):
        folder = tmp_path / str(length)
        world, outputs = resumed(folder, evening, length, kept)
        state = Ledger.read(outputs)
        assert state is not None
        states = folded(state.jobs, state.facts)
        where = f"after {length} facts"
        assert world.exits == [0], where
        films = {path.name for path in outputs.rglob("*.mp4")}
        assert films == wanted, where
        for job, ending in states.items():
            assert isinstance(ending, Done), where
            seen = [media.inspect(outputs / saved.path) for saved in ending.files]
            assert [(film.whole, _job(film)) for film in seen] == [(True, job)], where
        if "home" in kept:
            assert not world.invariants.sim.record.of(What.RENDERED), where


def _job(film: media.Inspection) -> str:
    """Return the job whose workflow a film carries."""
    ours = [parse_prefix("night", prefix) for prefix in film.prefixes or ()]
    return next((found[0] for found in ours if found), "")
