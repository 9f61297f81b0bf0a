"""`promote --workflow`: what it writes, and what it refuses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from batchrunner.cli.app import app
from batchrunner.core.facts import Accepted, File, Rendered, Saved
from batchrunner.core.job import Job
from batchrunner.ledger import Ledger
from batchrunner.manifest import Options, load

if TYPE_CHECKING:
    from pathlib import Path

GRAPH: dict[str, Any] = {
    "1": {"class_type": "LoadVideo", "inputs": {"file": "x.mp4"}},
    "2": {"class_type": "KSampler", "inputs": {"seed": 1, "of": ["1", 0]}, "_meta": {"title": "Second"}},
    "3": {"class_type": "SomeLoader", "inputs": {"path": "x.mp4", "seed": 1}},
    "4": {"class_type": "SaveVideo", "inputs": {"filename_prefix": "x", "video": ["2", 0], "of": ["3", 0]}},
}
JOB = Job("a" * 12, "", {"prompt": "a cat", "seed": 2**63, "_look": "noir"}, "cat", 0.0)


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a folder with a finished batch, its manifest and another workflow."""
    (tmp_path / "up.json").write_text(json.dumps(GRAPH), encoding="utf-8")
    (tmp_path / "a.yaml").write_text(
        "name: drafts\nserver: [http://a:1, http://b:2]\nttl: 5m\nworkflow: ltx2\nsweep: {prompt: x}\n", "utf-8"
    )
    with Ledger.open(tmp_path / "out" / "drafts", "drafts") as ledger:
        ledger.keep([JOB])
        ledger.append(Accepted(JOB.id, 1, 0.0, "id", "p", "http://a:1"))
        ledger.append(Rendered(JOB.id, 1, 0.0, (File("x.mp4"),), None))
        ledger.append(Saved(JOB.id, 1, 0.0, "x.mp4", "cat.mp4", 9, "0" * 64))
    (tmp_path / "out" / "drafts" / "cat.mp4").write_bytes(b"\0\0\0\x18ftypisom")
    return tmp_path


def _promote(home: Path, *words: str, source: str = "out/drafts") -> tuple[int, str]:
    command = ["promote", str(home / source), "--out", str(home / "out"), "--workflow", str(home / "up.json"), *words]
    ended = CliRunner().invoke(app, command)
    return ended.exit_code, (ended.output + ended.stderr).replace(f"{home}/", "")


def test_all_finished_jobs_of_a_folder(home: Path) -> None:
    """Without picks every finished job is a row; servers and rules are the batch's, and values go where it is said."""
    words = ("--input", "video=1.file", "--input", "seed=@Second.seed", "--input", "seed=3.seed")
    code, said = _promote(home, *words, "--manifest", str(home / "a.yaml"))
    assert (code, "wrote drafts-up.yaml with the finished jobs" in said) == (0, True), said
    text = (home / "drafts-up.yaml").read_text(encoding="utf-8")
    assert "  rows: {batch: drafts}\n" in text
    batch = load(home / "drafts-up.yaml", Options(out=home / "out"))
    assert (batch.name, batch.servers, batch.rules.ttl) == ("drafts-up", ("http://a:1", "http://b:2"), 300.0)
    (job,) = batch.jobs
    assert (job.params["seed"], job.params["_look"], job.file) == (2**63, "noir", f"a-cat-s{2**63}-{job.id}")
    graph: Any = batch.graph(job, "p")
    assert (graph["2"]["inputs"]["seed"], graph["3"]["inputs"]["seed"]) == (2**63, 2**63)
    assert graph["1"]["inputs"]["file"] == job.uploads["video"]


def test_picks_lie_with_their_batch(home: Path) -> None:
    """Picks that were saved elsewhere are copied into the batch's folder; those that lie there are named."""
    picks = json.dumps({"batch": "drafts", "manifest": str(home / "a.yaml"), "picks": [{"job": JOB.id}]})
    (home / "mine.json").write_text(picks, encoding="utf-8")
    code, said = _promote(home, "--input", "video=1.file", "-o", str(home / "one.yaml"), source="mine.json")
    assert (code, "with 1 pick" in said) == (0, True), said
    assert (home / "out" / "drafts" / "one.picks.json").read_text(encoding="utf-8") == picks
    assert len(load(home / "one.yaml", Options(out=home / "out")).jobs) == 1
    (home / "out" / "drafts" / "picks.json").write_text(picks, encoding="utf-8")
    words = ("--manifest", str(home / "a.yaml"), "-o", str(home / "two.yaml"))
    code, said = _promote(home, "--input", "video=1.file", *words)
    assert "picks: picks.json}" in (home / "two.yaml").read_text(encoding="utf-8")


def test_a_loader_that_nobody_knows_gets_the_file_of_the_first_input(home: Path) -> None:
    """Where no input is a known loader's, the first one takes the file, and --set what the batch does not have."""
    words = ("--input", "clip=3.path", "--input", "steps=2.seed", "--set", "steps=7", "--server", "sim")
    assert _promote(home, *words)[0] == 0
    (job,) = load(home / "drafts-up.yaml", Options(out=home / "out")).jobs
    assert (job.params["clip"], job.params["steps"], list(job.uploads)) == ("cat.mp4", 7, ["clip"])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--server", "sim"), "--workflow needs --input, such as --input video=1.file"),
        (("--input", "video=1.file"), "on which server? add --server URL"),
        (("--server", "sim", "--input", "video=1.fil"), 'has no input "fil", only file'),
        (("--server", "sim", "--input", "video=1.file", "--input", "steps=2.seed"), 'have no "steps", only _look'),
        (("--server", "sim", "--input", "a b=1.file"), '"a b" is not a name'),
        (("--server", "sim", "--input", "v=1.file", "-o", "HOME/out/x.yaml"), "leads outside"),
        (("--server", "ftp://x", "--input", "v=1.file"), "must be sim, or begin with http://"),
        (("--manifest", "nowhere.yaml", "--input", "v=1.file"), "nowhere.yaml:1:1: there is no such file"),
    ],
)
def test_what_does_not_fit_is_refused_and_nothing_is_written(home: Path, words: tuple[str, ...], said: str) -> None:
    """A wrong selector, a value that is nowhere, a workflow elsewhere: exit 2, and no file."""
    before = sorted(home.rglob("*"))
    code, text = _promote(home, *(word.replace("HOME", str(home)) for word in words))
    assert (code, said in text) == (2, True), text
    assert [path for path in sorted(home.rglob("*")) if "sqlite3-" not in path.name] == before


def test_a_workflow_that_is_none_is_named(home: Path) -> None:
    """A file without a workflow is a mistake of the command line."""
    (home / "up.json").write_text("[]", encoding="utf-8")
    code, text = _promote(home, "--server", "sim", "--input", "v=1.file")
    assert (code, "--workflow up.json: this is no workflow" in text) == (2, True), text
