"""Whoever listens may go: streams that are closed, full or no longer read, and a last look at the clock."""

from __future__ import annotations

import json
import re
import sys
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

import pytest
from batches import Batch
from comfyui import Server
from processes import COMMAND, Ended, ended

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SCRIPT = '{{ "$@" {redirect}; echo $? >&3; }} 3>code {reader}'


@pytest.fixture(scope="module")
def batch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Batch]:
    """Return a batch that is done."""
    folder = tmp_path_factory.mktemp("batch")
    with Server(folder / "server", seconds=0.05) as server:
        done = Batch(folder, (server.url,), ("cat-1",))
        assert done.run().code == 0
        yield done


def _redirected(folder: Path, redirect: str, reader: str, *words: str) -> tuple[int, Ended]:
    """Call the command from a shell; return its exit code, and what was still heard."""
    script = _SCRIPT.format(redirect=redirect, reader=reader)
    heard = ended(folder, *COMMAND, *words, command=("sh", "-c", script, "sh"))
    return int((folder / "code").read_text(encoding="ascii")), heard


@pytest.mark.parametrize(
    ("how", "words", "code", "message"),
    [
        (("", "| true"), ["status", "night.yaml", "--json"], 141, ""),
        (("2>&1", "| true"), ["status", "night.yaml"], 141, ""),
        ((">/dev/full", ""), ["status", "night.yaml", "--json"], 5, "stdout: No space left on device"),
        ((">&- 2>&-", ""), ["verify", "night.yaml"], 0, ""),
        (("2>/dev/full", ""), ["verify", "night.yaml"], 0, ""),
        (("<&- >&- 2>&-", ""), ["run", "night.yaml", "--json"], 0, ""),
        (("", "| true"), ["run", "night.yaml", "--json"], 0, "every job is done"),
    ],
)
def test_nobody_listens(batch: Batch, how: tuple[str, str], words: list[str], code: int, message: str) -> None:
    """A verb does its work for closed ears too, says in a line if data was lost, and shows no traceback."""
    found, heard = _redirected(batch.folder, *how, *words)
    assert (found, message in heard.err) == (code, True), heard.err
    assert "Traceback" not in heard.err
    assert "Exception ignored" not in heard.err


def test_a_closed_stderr_is_not_the_state(batch: Batch) -> None:
    """With stderr closed, what would be said goes nowhere, and not into the first file that is opened."""
    before = {path.name for path in batch.home.iterdir()}
    found, _ = _redirected(batch.folder, "2>&-", "", "run", "nomanifest.yaml")
    assert found == 2
    assert (batch.home / "state.sqlite3").read_bytes().startswith(b"SQLite format 3\0")
    assert {path.name for path in batch.home.iterdir()} == before


def test_until(tmp_path: Path) -> None:
    """A run whose jobs can't be home in time says until when, names them, submits none, and exits with 0."""
    with Server(tmp_path / "server") as server:
        batch = Batch(tmp_path, (server.url,), ("cat-1", "cat-2"))
        soon = f"{datetime.now().astimezone() + timedelta(minutes=2):%H:%M}"
        ran = batch.run("--until", soon)
        assert ran.code == 0, ran.err
        assert re.search(
            rf"^\d\d:\d\d:\d\d until (\w+ \d+ \w+ )?{soon} \(in (\d+ s|[12] min.*)\)$", ran.err, re.MULTILINE
        )
        assert "4 of 4 jobs will not be finished in time: cat-1-s7, cat-2-s7, cat-1-s8, cat-2-s8" in ran.err
        assert f"next: {sys.executable} -m batchrunner run night.yaml" in ran.err
        assert server.events("posted") == []
        manifest = tmp_path / "night.yaml"
        manifest.write_text(f"until: '{soon}'\n{manifest.read_text(encoding='utf-8')}", encoding="utf-8")
        told = ended(tmp_path, "run", "night.yaml", "--json")
        assert told.code == 0, told.err
        last = json.loads(told.out.splitlines()[-1])
        assert (last["event"], last["exit"], last["counts"]["waiting"]) == ("finished", 0, 4)
        assert server.events("posted") == []
