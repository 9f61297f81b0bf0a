"""`.servers.json`: what one batch learned of its servers is what another begins with."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from batchrunner.cli.app import app
from batchrunner.core.board import Board
from batchrunner.core.forecast import Forecast
from batchrunner.core.sizes import JobSizes
from batchrunner.learned_speeds import FILE, SpeedFile, recall_speeds, workflow_key
from batchrunner.manifest import Options, load

if TYPE_CHECKING:
    from batchrunner.manifest import Batch

GPU, OTHER = "http://gpu:8188", "http://other:8188"
_MANIFEST = "{{name: {name}, server: [{servers}], workflow: ltx2, defaults: {{{defaults}}}, sweep: {{prompt: [a, b]}}}}"


def batch(folder: Path, name: str = "one", servers: str = GPU, defaults: str = "size: sd") -> Batch:
    """Return a batch of two jobs."""
    path = folder / f"{name}.yaml"
    path.write_text(_MANIFEST.format(name=name, servers=servers, defaults=defaults), encoding="utf-8")
    return load(path, Options())


def board_of(one: Batch) -> Board:
    """Return the board of a batch that knows nothing yet."""
    return Board(one.name, one.rules, one.servers, 0.0)


def teach(folder: Path, one: Batch, seconds: float = 700.0, server: str = GPU) -> None:
    """Let a batch render five jobs, and keep what that taught."""
    board = board_of(one)
    file = SpeedFile(folder, one, board, lambda: 0.0)
    board.sizes = JobSizes({one.jobs[0].cost: (2, 6e6)})
    for _ in range(5):
        board.forecast.learn(server, one.jobs[0].cost, seconds)
    file.update(last=True)


def recalled(folder: Path, one: Batch) -> Forecast:
    """Return the forecast that a batch begins with."""
    board = board_of(one)
    recall_speeds(folder, one, board)
    return board.forecast


def test_another_batch_begins_with_it(tmp_path: Path) -> None:
    """A second batch on a known server is forecast within 10 % before its first job, with another prompt and size."""
    teach(tmp_path, batch(tmp_path))
    second = batch(tmp_path, "two", defaults="size: sd, negative: dull")
    assert recalled(tmp_path, second).seconds(GPU, second.jobs[0].cost) == pytest.approx(700.0, rel=0.1)
    larger = batch(tmp_path, "three", defaults="size: 720p")
    guess = Forecast()
    ratio = guess.seconds(GPU, larger.jobs[0].cost) / guess.seconds(GPU, second.jobs[0].cost)
    assert recalled(tmp_path, larger).seconds(GPU, larger.jobs[0].cost) == pytest.approx(700.0 * ratio, rel=0.1)


def test_another_batch_knows_how_large_its_files_will_be(tmp_path: Path) -> None:
    """The bytes of a job, by its kind, are kept too: the disk's room is known to suffice, or not, before the first."""
    teach(tmp_path, batch(tmp_path))
    second = batch(tmp_path, "two", defaults="size: sd, negative: dull")
    board = board_of(second)
    recall_speeds(tmp_path, second, board)
    assert board.sizes.expected(second.jobs[0].cost) == 3e6


def test_another_model_server_or_workflow_is_unknown(tmp_path: Path) -> None:
    """What one model takes says nothing of another's, nor of another server."""
    one = batch(tmp_path)
    teach(tmp_path, one)
    model = batch(tmp_path, "two", defaults="size: sd, checkpoint: small.safetensors")
    elsewhere = batch(tmp_path, "three", servers=OTHER)
    assert workflow_key(one) != workflow_key(model)
    assert not recalled(tmp_path, model).has_experience(GPU)
    assert not recalled(tmp_path, elsewhere).has_experience(OTHER)


def test_runs_beside_each_other_keep_what_the_other_learned(tmp_path: Path) -> None:
    """Each writes its own server and workflow, and leaves the rest as it is; the file is private."""
    one, two = batch(tmp_path), batch(tmp_path, "two", servers=OTHER)
    teach(tmp_path, one)
    teach(tmp_path, two, 50.0, OTHER)
    both = batch(tmp_path, "three", servers=f"{GPU}, {OTHER}")
    forecast = recalled(tmp_path, both)
    assert forecast.seconds(GPU, both.jobs[0].cost) == pytest.approx(700.0, rel=0.1)
    assert forecast.seconds(OTHER, both.jobs[0].cost) == pytest.approx(50.0, rel=0.1)
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_it_is_written_once_a_minute_and_at_the_end(tmp_path: Path) -> None:
    """Nothing is written where nothing was learned; then a minute after the start, and when the run ends."""
    one, clock = batch(tmp_path), [0.0]
    board = board_of(one)
    forecast, file = board.forecast, SpeedFile(tmp_path, one, board, lambda: clock[0])
    file.update(last=True)
    assert not (tmp_path / FILE).exists()
    forecast.learn(GPU, one.jobs[0].cost, 10.0)
    file.update()
    assert not (tmp_path / FILE).exists()
    clock[0] = 61.0
    file.update()
    written = (tmp_path / FILE).read_bytes()
    forecast.learn(GPU, one.jobs[0].cost, 99.0)
    clock[0] = 62.0
    file.update()
    assert (tmp_path / FILE).read_bytes() == written
    file.update(last=True)
    assert (tmp_path / FILE).read_bytes() != written


_GOOD: dict[str, Any] = {"constant": 9.0, "slope": 1.0, "spread": 0.1, "change": None, "kinds": [[20.0, 3, 29.0]]}

_BAD_PARTS: tuple[dict[str, Any], ...] = (
    {"constant": -1.0},
    {"constant": True},
    {"constant": 0.0, "slope": 0.0},
    {"slope": "1"},
    {"slope": 1e999},
    {"spread": None},
    {"change": []},
    {"kinds": {}},
    {"kinds": [[1.0, 2]]},
    {"kinds": [7]},
    {"kinds": [[20.0, 3, 0.0]]},
    {"kinds": [[1e300, 3, 29.0]]},
    {"kinds": [[10**400, 3, 29.0]]},
    {"constant": 1e308},
    {"slope": "1", "bytes": [[1.0, 2]]},
    {"slope": "1", "bytes": [["a", 2, 3]]},
    {"slope": "1", "bytes": 7},
)


@pytest.mark.parametrize(
    "bad",
    [
        "nothing",
        "[]",
        "[" * 100_000,
        '{"version": 2, "servers": {}}',
        '{"version": 1, "servers": []}',
        *(json.dumps({"version": 1, "servers": {GPU: {"KEY": {**_GOOD, **part}}}}) for part in _BAD_PARTS),
        json.dumps({"version": 1, "servers": {GPU: {"KEY": []}}}),
        json.dumps({"version": 1, "servers": {GPU: 7}}),
    ],
)
def test_a_file_that_is_not_ours_is_no_experience(tmp_path: Path, bad: str) -> None:
    """Whatever stands there, a batch begins with the guess, and writes a sound file in its place."""
    one = batch(tmp_path)
    (tmp_path / FILE).write_text(bad.replace("KEY", workflow_key(one)), encoding="utf-8")
    assert not recalled(tmp_path, one).has_experience(GPU)
    teach(tmp_path, one)
    assert recalled(tmp_path, one).has_experience(GPU)


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    """A link in its place is not read, and is replaced, not written through."""
    victim = tmp_path / "victim"
    one = batch(tmp_path)
    teach(tmp_path, one)
    (tmp_path / FILE).rename(victim)
    (tmp_path / FILE).symlink_to(victim)
    before = victim.read_bytes()
    assert not recalled(tmp_path, one).has_experience(GPU)
    teach(tmp_path, one, 9.0)
    assert victim.read_bytes() == before
    assert not (tmp_path / FILE).is_symlink()


def test_a_pipe_in_its_place_is_no_experience(tmp_path: Path) -> None:
    """A pipe that somebody holds open brings nothing, and nobody waits for it."""
    one = batch(tmp_path)
    os.mkfifo(tmp_path / FILE)
    held = os.open(tmp_path / FILE, os.O_RDWR | os.O_NONBLOCK)
    try:
        assert not recalled(tmp_path, one).has_experience(GPU)
    finally:
        os.close(held)


def test_a_file_that_grew_too_large_can_be_read_again(tmp_path: Path) -> None:
    """It keeps the workflows that each server rendered last, and all servers."""
    one = batch(tmp_path)
    old = {f"{number:016x}": {"kinds": "0" * 524_230} for number in range(8)}
    text = json.dumps({"version": 1, "servers": {OTHER: old}})
    (tmp_path / FILE).write_text(text, encoding="utf-8")
    teach(tmp_path, one)
    assert recalled(tmp_path, one).has_experience(GPU)
    read = json.loads((tmp_path / FILE).read_bytes())["servers"]
    assert list(read[OTHER]) == list(old)[-5:]


def test_a_run_leaves_it_and_plan_reads_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`plan` of another batch on the same server knows what a run taught; one of an unknown server says it guesses."""
    monkeypatch.chdir(tmp_path)
    text = (
        "{{name: {name}, server: {server}, workflow: ltx2, defaults: {{width: 64, height: 64, length: 9, steps: 1}}, "
    )
    text += "sweep: {{prompt: [a, b]}}}}"
    for name, server in (("one", "sim"), ("two", "sim"), ("three", GPU)):
        Path(f"{name}.yaml").write_text(text.format(name=name, server=server), encoding="utf-8")

    def command(*words: str) -> str:
        with pytest.raises(SystemExit, match=r"^0$"):
            app(list(words), prog_name="batchrunner")
        return capsys.readouterr().out

    command("run", "one.yaml")
    assert recalled(Path("outputs"), load(Path("two.yaml"), Options())).has_experience("sim")
    teach(Path("outputs"), load(Path("two.yaml"), Options()), 700.0, "sim")
    assert json.loads(command("plan", "two.yaml", "--json"))["seconds"] == pytest.approx(1400.0, rel=0.1)
    assert "the time is a guess: no experience with this workflow yet" in command("plan", "three.yaml")
