"""The loader against documents and tables that mean it no good."""

from __future__ import annotations

import json
import os
import resource
import sys
from time import process_time
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from hostile import SOUND, case

from batchrunner.errors import Diagnostic, ManifestError
from batchrunner.manifest import load

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FUZZ = os.environ.get("BATCHRUNNER_FUZZ", "")
"""`BATCHRUNNER_FUZZ=20000` looks longer, and at time and memory: run it alone, with -n 0 -s."""
CASES = int(FUZZ or "2000")
MAX_SECONDS = 2.0
MAX_MEMORY = 300 * 2**20
"""Bytes that the process has ever held."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the files that hostile documents like to name."""
    found = tmp_path_factory.mktemp("hostile")
    (found / "p.txt").write_text("one ${_animal}\n# no\ntwo\n", "utf-8")
    (found / "p.csv").write_text('prompt,seed\n"a,b",1\n', "utf-8")
    (found / "p.jsonl").write_text('{"prompt": "a"}\n', "utf-8")
    return found


def diagnostics_of(path: Path) -> tuple[Diagnostic, ...]:
    """Return what loading says; nothing where it gives a batch."""
    try:
        load(path)
    except ManifestError as error:
        return error.diagnostics
    return ()


@pytest.mark.parametrize("part", range(10))
def test_no_document_breaks_the_loader(folder: Path, part: int) -> None:
    """Whatever files hold, loading them gives a batch or diagnostics with a place, printable, each on its own line."""
    slowest = (0.0, 0)
    for seed in range(part, CASES, 10):
        for name, raw in case(seed).items():
            (folder / name).write_bytes(raw)
        began = process_time()
        found = diagnostics_of(folder / "m.yaml")
        slowest = max(slowest, (process_time() - began, seed))
        for diagnostic in found:
            assert min(diagnostic.line, diagnostic.column) >= 1, seed
            assert str(diagnostic).isprintable(), seed
    if FUZZ:
        # Linux counts in KiB.
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        sys.stdout.write(f"slowest: case {slowest[1]}, {slowest[0]:.2f} s; peak: {peak / 2**20:.0f} MiB\n")
        assert slowest[0] < MAX_SECONDS
        assert peak < MAX_MEMORY


@pytest.mark.parametrize("made", ["folder", "pipe", "missing", "unreadable"])
def test_what_is_no_file(tmp_path: Path, made: str) -> None:
    """A path that is no readable file is reported, and never waited for."""
    path = tmp_path / "m.yaml"
    match made:
        case "folder":
            path.mkdir()
        case "pipe":
            os.mkfifo(path)
        case "unreadable":
            path.symlink_to(path)
        case _:
            path = tmp_path / "no\0such"
    with pytest.raises(ManifestError) as caught:
        load(path)
    assert len(caught.value.diagnostics) == 1
    assert str(caught.value).isprintable()


def places(tree: Any, overrides: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the way to everything in a document."""
    for key in list(tree) if isinstance(tree, dict) else range(len(tree)) if isinstance(tree, list) else ():
        yield (*overrides, key)
        yield from places(tree[key], (*overrides, key))


@pytest.mark.parametrize("left", [None, "", [], {}, 0, [None]], ids=repr)
def test_whatever_a_person_left_out(folder: Path, left: object) -> None:
    """Every value of a sound manifest may be empty, nothing or zero: that is a batch or a diagnostic."""
    path = folder / "blank.yaml"
    for place in places(SOUND):
        tree = json.loads(json.dumps(SOUND))
        at = tree
        for key in place[:-1]:
            at = at[key]
        at[place[-1]] = left
        path.write_text(yaml.safe_dump(tree, sort_keys=False), "utf-8")
        assert all(str(diagnostic).isprintable() for diagnostic in diagnostics_of(path)), place
