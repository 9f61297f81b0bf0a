"""Batches from Python: the page's example, events beside somebody's own loop, and what is raised."""

from __future__ import annotations

import asyncio
import json
import re
import signal
import subprocess
import sys
from contextlib import aclosing, chdir
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

import pytest

import batchrunner
from batchrunner import process
from batchrunner.core.facts import Accepted, File, Rendered, Saved
from batchrunner.ledger import Ledger, holder
from batchrunner.manifest import load
from batchrunner.process import stop_signals
from batchrunner.sim.machine import Pace

if TYPE_CHECKING:
    from collections.abc import Iterator

_PAGE = Path(__file__).parents[2] / "docs" / "python.md"
_NIGHT = """
name: night
server: {server}
workflow: ltx2
defaults: {{size: 64x64, length: 9, steps: 2}}
sweep: {{prompt: a cat, seed: [1, 2]}}
files: "cat-s{{seed}}"
"""


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Iterator[Path]:
    """Stand in a folder with a manifest in it, whose server does not answer."""
    (tmp_path / "night.yaml").write_text(_NIGHT.format(server="http://127.0.0.1:1"), encoding="utf-8")
    with chdir(tmp_path):
        yield tmp_path


def test_the_example_of_the_page(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The page's example plans a batch, hears its events, runs it to its end, and says how it ended."""
    monkeypatch.setattr(process, "_SIM_PACE", Pace(fixed=0.05))
    (folder / "night.yaml").write_text(_NIGHT.format(server="sim"), encoding="utf-8")
    (example,) = re.findall(r"^```python\n(.*?)^```", _PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    before = [signal.getsignal(number) for number in stop_signals()]
    exec(compile(example, "docs/python.md", "exec"), {})  # noqa: S102 - our own page
    told = capsys.readouterr()
    lines = told.out.splitlines()
    assert (float(lines[0]) > 0, lines[1], lines[-2], told.err) == (True, "started None", "finished None", "")
    assert "saved cat-s1" in lines
    assert lines[-1] == f"0 2 {folder}/outputs/night"
    assert [signal.getsignal(number) for number in stop_signals()] == before
    assert holder(folder / "outputs" / "night") is None


async def _until_started(kinds: list[str]) -> None:
    async with aclosing(batchrunner.events("night.yaml")) as events:
        async for event in events:
            kinds.append(str(event["event"]))
            if event["event"] == "started":
                break


def test_closing_events_is_the_first_ctrl_c(folder: Path) -> None:
    """Left early, on a thread that is not the main one, the run ends as after Ctrl-C, and the batch is free then."""
    kinds: list[str] = []
    thread = Thread(target=lambda: asyncio.run(_until_started(kinds)))
    thread.start()
    thread.join(60.0)
    assert not thread.is_alive()
    assert kinds[-1] == "started"
    assert holder(folder / "outputs" / "night") is None
    assert '"exit": 130' in (folder / "outputs" / "night" / "run.log").read_text(encoding="utf-8")


def test_what_is_wrong_is_raised(folder: Path) -> None:
    """A wrong manifest, a command without consent and an option that there is not are raised, and nothing is asked."""
    with pytest.raises(batchrunner.ManifestError) as caught:
        batchrunner.plan("missing.yaml")
    assert str(caught.value).startswith("missing.yaml:1:1: ")
    (folder / "bold.yaml").write_text(_NIGHT.format(server="sim") + "on_saved: [touch, x]\n", encoding="utf-8")
    with pytest.raises(batchrunner.YoursError, match="--allow-commands"):
        batchrunner.run("bold.yaml")
    with pytest.raises(TypeError, match="unknown options: sest"):
        batchrunner.plan("night.yaml", sest={})  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="sets and only are mappings"):
        batchrunner.plan("night.yaml", only=["seed=2"])  # type: ignore[typeddict-item]
    with pytest.raises(TypeError, match="servers is a list"):
        batchrunner.plan("night.yaml", servers="sim")

    async def listen() -> None:
        async for _ in batchrunner.events("missing.yaml"):
            pass

    with pytest.raises(batchrunner.ManifestError):
        asyncio.run(listen())

    async def block() -> None:
        batchrunner.run("night.yaml")

    with pytest.raises(TypeError, match=r"use events\(\)"):
        asyncio.run(block())


def test_a_plan(folder: Path) -> None:
    """A plan has every job with its parameters, as the options set them."""
    plan = batchrunner.plan(folder / "night.yaml", sets={"steps": 4, "negative": "blur"}, only={"seed": 2})
    assert [(job.file, job.state, job.params["steps"], job.params["seed"]) for job in plan.jobs] == [
        ("cat-s2", "new", 4, 2)
    ]
    assert plan.jobs[0].params["negative"] == "blur"
    assert plan.seconds > 0


def test_importing_is_cheap() -> None:
    """Importing the package loads no manifest reader, no network and no command, and knows its version."""
    loaded = "sorted({'pydantic', 'aiohttp', 'typer'} & {*sys.modules})"
    code = f"import batchrunner, sys; print(batchrunner.__version__, {loaded})"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert re.fullmatch(r"\d+\.\d+\.\d+\S* \[\]\n", told)
    with pytest.raises(AttributeError, match="no attribute 'rnu'"):
        _ = batchrunner.rnu  # type: ignore[attr-defined]


def test_on_saved_until_it_was_handled(folder: Path) -> None:
    """Files that no command has handled yet are handed over by the next run, once; one that fails stays to be done."""
    command = "on_saved: [sh, -c, 'test -e ok && cat >> seen']\n"
    (folder / "night.yaml").write_text(_NIGHT.format(server="http://127.0.0.1:1") + command, encoding="utf-8")
    batch = load(folder / "night.yaml")
    with Ledger.open(folder / "outputs" / "night", "night") as ledger:
        ledger.keep(batch.jobs)
        for job in batch.jobs:
            for fact in (
                Accepted(job.id, 1, 1.0, "id", "p", "http://127.0.0.1:1"),
                Rendered(job.id, 1, 2.0, (File("x.mp4"),), None),
                Saved(job.id, 1, 3.0, "x.mp4", f"{job.file}.mp4", 5, "f" * 64),
            ):
                ledger.append(fact)
    log = folder / "outputs" / "night" / "run.log"
    assert batchrunner.run("night.yaml", allow_commands=True).counts["done"] == 2
    assert "on_saved: 2 files left for the next run" in log.read_text(encoding="utf-8")
    (folder / "ok").touch()
    for _ in range(2):
        assert batchrunner.run("night.yaml").counts["done"] == 2
        seen = [json.loads(line)["path"] for line in (folder / "seen").read_text(encoding="utf-8").splitlines()]
        assert sorted(seen) == ["cat-s1.mp4", "cat-s2.mp4"]
