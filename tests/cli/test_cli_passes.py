"""Several manifests, one after another: what each takes from the last, and when the next one does not run."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from short_runs import URL_OF_SERVER, run_once, serving
from typer.testing import CliRunner

from batchrunner.cli.app import app
from batchrunner.core.job import prefixes
from batchrunner.download import verify as media
from batchrunner.errors import ManifestError, YoursError
from batchrunner.manifest import Options, load
from batchrunner.options import RunOptions
from batchrunner.passes import run_passes
from batchrunner.sim.record import What
from batchrunner.sim.video import PyavRenderer
from tests.lab.clock import run
from tests.lab.disk import watched

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from batchrunner.sim.server import Simulator
    from tests.lab.clock import VirtualLoop
    from tests.lab.process import Process

_DRAFTS = f"""
name: drafts
server: {URL_OF_SERVER}
workflow: ltx2
defaults: {{length: 9, size: 64x64}}
sweep: {{prompt: [a cat, a dog], seed: 1}}
files: "{{prompt}}-{{seed}}"
"""
_FINALS = f"""
name: finals
server: {URL_OF_SERVER}
workflow: up.json
params: {{video: 1.file}}
sweep: {{rows: {{batch: drafts}}, video: "${{_file}}"}}
files: "{{_prompt}}-{{_seed}}-big"
"""
_NEXT = f"""
name: next
server: {URL_OF_SERVER}
workflow: next.json
params: {{image: 1.image, seed: 4.seed}}
sweep: {{rows: {{batch: drafts, frame: last}}, image: "${{_file}}", seed: "${{_seed}}"}}
files: "{{_prompt}}-{{_seed}}-next"
"""
_UPSCALE: Mapping[str, Any] = {
    "1": {"class_type": "LoadVideo", "inputs": {"file": "x.mp4"}},
    "7": {
        "class_type": "SaveVideo",
        "inputs": {"filename_prefix": "x", "video": ["1", 0], "format": "auto", "codec": "auto"},
    },
}
_CONTINUE: Mapping[str, Any] = {
    "1": {"class_type": "LoadImage", "inputs": {"image": "x.png"}},
    "4": {"class_type": "SaveImage", "inputs": {"filename_prefix": "x", "images": ["1", 0], "seed": 1}},
}


def _write(folder: Path) -> None:
    """Write three manifests and their workflows."""
    for name, text in (("a.yaml", _DRAFTS), ("b.yaml", _FINALS), ("c.yaml", _NEXT)):
        (folder / name).write_text(text, encoding="utf-8")
    for name, graph in (("up.json", _UPSCALE), ("next.json", _CONTINUE)):
        (folder / name).write_text(json.dumps(graph), encoding="utf-8")


async def _pass(loop: VirtualLoop, folder: Path, name: str) -> int:
    """Read one manifest, as its turn comes, and run it."""
    batch = load(folder / name, Options(out=folder))
    return await run_once(loop, batch, folder / batch.name)


def _kill_at(loop: VirtualLoop, victim: Process, commit: int) -> None:
    """Kill a process before its commit of this number."""
    commits = 0

    def passed(process: Process, point: str) -> None:
        nonlocal commits
        if process is victim and point == "commit":
            commits += 1
            if commits == commit:
                victim.kill()

    loop.on_point = passed


def _renders(server: Simulator) -> dict[str, int]:
    """Return how many files each batch's jobs saved on the server."""
    found: dict[str, int] = {}
    for event in server.record.of(What.SAVED):
        batch = event.prefix.split("-")[0]
        found[batch] = found.get(batch, 0) + 1
    return found


def _loaded(path: Path) -> str:
    """Return the uploaded file that the workflow in a saved file names."""
    workflow = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["workflow"]
    (name,) = [value for value in workflow["1"]["inputs"].values() if value.startswith("batchrunner-")]
    return str(name)


@pytest.mark.parametrize("killed", [(4, 99), (99, 7)])
def test_all_drafts_through_another_workflow_killed_in_between(tmp_path: Path, killed: tuple[int, int]) -> None:
    """Killed in either pass and started again, every draft comes through the second one once, none with another's."""
    _write(tmp_path)

    async def main(loop: VirtualLoop) -> tuple[list[int], dict[str, int]]:
        async with serving(loop, tmp_path / "gpu") as server:
            codes = []
            with watched(loop):
                for name, commit in zip(("a.yaml", "b.yaml"), killed, strict=True):
                    first = loop.spawn("first")
                    _kill_at(loop, first, commit)
                    await asyncio.wait([first.start(_pass(loop, tmp_path, name))])
                    await loop.elapse(5.0)
                    codes.append(await loop.spawn("second").start(_pass(loop, tmp_path, name)))
            return codes, _renders(server)

    codes, renders = run(main, seed=1)
    assert codes == [0, 0]
    assert renders == {"drafts": 2, "finals": 2}
    for draft in (tmp_path / "drafts").glob("*.mp4"):
        final = tmp_path / "finals" / f"{draft.stem}-big.mp4"
        assert (tmp_path / "finals" / "inputs" / _loaded(final)).read_bytes() == draft.read_bytes()
        assert media.inspect(final).prefixes == prefixes(json.loads(final.with_suffix(".json").read_text())["workflow"])


def test_picks_go_through_another_workflow(tmp_path: Path) -> None:
    """Drafts, picks, `promote --workflow`, and the finals of the picked videos alone."""
    _write(tmp_path)
    runner = CliRunner()

    async def drafts(loop: VirtualLoop) -> int:
        async with serving(loop, tmp_path / "gpu"):
            return await _pass(loop, tmp_path, "a.yaml")

    assert run(drafts, seed=1) == 0
    jobs = load(tmp_path / "a.yaml", Options()).jobs
    picked = {"batch": "drafts", "manifest": str(tmp_path / "a.yaml"), "picks": [{"job": jobs[1].id}]}
    (tmp_path / "mine.json").write_text(json.dumps(picked), encoding="utf-8")
    command = ["promote", str(tmp_path / "mine.json"), "--workflow", str(tmp_path / "up.json")]
    command += ["--input", "video=1.file", "--out", str(tmp_path), "-o", str(tmp_path / "big.yaml")]
    ended = runner.invoke(app, command)
    assert ended.exit_code == 0, ended.stderr
    assert "wrote " in ended.output + ended.stderr

    async def finals(loop: VirtualLoop) -> int:
        async with serving(loop, tmp_path / "gpu"):
            return await _pass(loop, tmp_path, "big.yaml")

    assert run(finals, seed=2) == 0
    (final,) = (tmp_path / "big").glob("*.mp4")
    assert (tmp_path / "big" / "inputs" / _loaded(final)).read_bytes() == (
        tmp_path / "drafts" / f"{jobs[1].file}.mp4"
    ).read_bytes()
    assert runner.invoke(app, command).exit_code == 2


def test_the_last_frame_of_each_clip_starts_the_next(tmp_path: Path) -> None:
    """The picture that is uploaded is the last frame, one for each clip; a second run finds nothing to do."""
    pytest.importorskip("av", reason="frames need PyAV (extra: video)")
    _write(tmp_path)

    async def main(loop: VirtualLoop) -> tuple[list[int], dict[str, int]]:
        async with serving(loop, tmp_path / "gpu") as server:
            server.machine.renderer = PyavRenderer(64, 9)
            codes = [await _pass(loop, tmp_path, name) for name in ("a.yaml", "c.yaml", "c.yaml")]
            return codes, _renders(server)

    codes, renders = run(main, seed=1)
    assert (codes, renders) == ([0, 0, 0], {"drafts": 2, "next": 2})
    pictures = {_loaded(path) for path in (tmp_path / "next").glob("*.png")}
    assert len(pictures) == 2
    for name in pictures:
        assert media.inspect(tmp_path / "next" / "inputs" / name).kind == "png"


# -- `run a.yaml b.yaml` itself.


class _Runner:
    """Ends each pass with the code that a test wants."""

    def __init__(self, *codes: int) -> None:
        self._codes = list(codes)
        self.ran: list[str] = []
        self.agreed: list[int] = []

    def __call__(self, options: RunOptions) -> int:
        self.ran.append(options.manifest.name)
        self.agreed.append(len(options.agreed))
        return self._codes.pop(0)


def _options(folder: Path, *names: str) -> list[RunOptions]:
    return [RunOptions(folder / name, Options(out=folder), folder) for name in names]


@pytest.mark.parametrize(
    ("codes", "ran", "code"),
    [
        ([0, 0, 0], 3, 0),
        ([1, 0, 0], 3, 1),
        ([0, 1, 0], 3, 1),
        ([3], 1, 3),
        ([1, 3], 2, 3),
        ([5], 1, 5),
        ([0, 130], 2, 130),
        ([143], 1, 143),
    ],
)
def test_the_next_one_runs_unless_the_last_was_stopped(tmp_path: Path, codes: list[int], ran: int, code: int) -> None:
    """Failed jobs stop nothing; a server, this machine or a signal stops all; the exit code is the highest."""
    _write(tmp_path)
    runner = _Runner(*codes)
    assert run_passes(_options(tmp_path, "a.yaml", "b.yaml", "c.yaml"), runner=runner) == code
    assert runner.ran == ["a.yaml", "b.yaml", "c.yaml"][:ran]


def test_all_are_checked_before_the_first_one_runs(tmp_path: Path) -> None:
    """What is wrong with a later manifest, or with its values, is told while nothing was sent."""
    _write(tmp_path)
    runner = _Runner()
    (tmp_path / "bad.yaml").write_text(_NEXT.replace("_seed}", "_prompt}"), encoding="utf-8")
    with pytest.raises(ManifestError, match="seed: must be a whole number"):
        run_passes(_options(tmp_path, "a.yaml", "b.yaml", "bad.yaml"), runner=runner)
    with pytest.raises(YoursError, match="an earlier manifest of this run is called 'drafts' too"):
        run_passes(_options(tmp_path, "a.yaml", "a.yaml"), runner=runner)
    with pytest.raises(ManifestError, match="no batch in"):
        run_passes(_options(tmp_path, "b.yaml", "a.yaml"), runner=runner)
    assert runner.ran == []


def test_consent_is_asked_for_all_at_the_beginning(tmp_path: Path) -> None:
    """A command of a later manifest is asked about before the first one runs, and not again when its turn comes."""
    _write(tmp_path)
    with (tmp_path / "b.yaml").open("a", encoding="utf-8") as file:
        file.write("notify: {command: [tell, me]}\n")
    runner = _Runner(0, 0)
    with pytest.raises(YoursError, match="add --allow-commands"):
        run_passes(_options(tmp_path, "a.yaml", "b.yaml"), runner=runner)
    allowed = [replace(options, allow_commands=True) for options in _options(tmp_path, "a.yaml", "b.yaml")]
    assert run_passes(allowed, runner=runner) == 0
    assert runner.agreed == [0, 2]


def test_a_later_manifest_sends_an_earlier_one_to_its_servers_alone_without_consent(tmp_path: Path) -> None:
    """Servers of the earlier manifest need no consent, not even where it will have used none; any other one does."""
    _write(tmp_path)
    runner = _Runner(0, 0)
    assert run_passes(_options(tmp_path, "a.yaml", "b.yaml"), runner=runner) == 0
    assert runner.agreed == [0, 1]
    (tmp_path / "b.yaml").write_text(_FINALS.replace(URL_OF_SERVER, "http://evil:8188"), encoding="utf-8")
    with pytest.raises(YoursError, match="send values and files of the batch drafts to http://evil:8188"):
        run_passes(_options(tmp_path, "a.yaml", "b.yaml"), runner=runner)


def test_options_that_choose_are_for_one_manifest(tmp_path: Path) -> None:
    """`--set`, `--only` and `--limit` with two manifests are a mistake of the command line."""
    _write(tmp_path)
    for option in (["--set", "seed=1"], ["--only", "seed=1"], ["--limit", "1"]):
        ended = CliRunner().invoke(app, ["run", str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml"), *option])
        assert ended.exit_code == 2
        assert "--set, --only and --limit are for a single manifest" in ended.stderr


def test_two_manifests_in_one_command(tmp_path: Path) -> None:
    """Each has its own folder and ends with its own `finished`; the second is what came home from the first."""
    pytest.importorskip("av", reason="the built-in simulator makes videos with PyAV (extra: video)")
    _write(tmp_path)
    (tmp_path / "a.yaml").write_text(_DRAFTS.replace("[a cat, a dog]", "a cat"), encoding="utf-8")
    words = ["run", *(str(tmp_path / name) for name in ("a.yaml", "b.yaml"))]
    ended = CliRunner().invoke(app, [*words, "--server", "sim", "--out", str(tmp_path), "--json"])
    assert ended.exit_code == 0, ended.stderr
    told = [json.loads(line) for line in ended.stdout.splitlines()]
    assert [(one["batch"], one["exit"]) for one in told if one["event"] == "finished"] == [("drafts", 0), ("finals", 0)]
    assert (tmp_path / "finals" / "a-cat-1-big.mp4").exists()
