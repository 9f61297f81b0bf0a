"""Proof that the nights can see: each defect, put in on purpose, is caught as a broken promise."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from defects import DEFECTS, PAGE, broken, put_in, rows

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_caught(tmp_path: Path, name: str) -> None:
    """A night that keeps every promise with sound code breaks one with the defect in it, the first time it is tried."""
    defect = DEFECTS[name]
    sound, unsound = tmp_path / "sound", tmp_path / "unsound"
    sound.mkdir()
    unsound.mkdir()
    assert broken(sound, defect, name) == ()
    with put_in(defect.changes()):
        promises = broken(unsound, defect, name)
    assert any(promise.startswith(defect.promise) for promise in promises), promises


def test_the_page_is_current() -> None:
    """`docs/defects.md` lists every defect as it is tried here, with the nights it took to find it unaimed."""
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")][1:]
    assert [line.rpartition(" | ")[0] + " |" for line in lines] == rows()
    assert all(nights == "-" or int(nights) > 0 for nights in (line.split(" | ")[-1].rstrip(" |") for line in lines))
