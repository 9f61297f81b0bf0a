"""The simulator without PyAV."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from batchrunner.sim.media import BoxRenderer
from batchrunner.sim.video import PLAIN, PyavRenderer, renderer

if TYPE_CHECKING:
    import pytest


def test_stand_ins_where_pyav_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    """With PyAV videos are real; without it they are plain stand-ins, and that is told with what to install."""
    told: list[str] = []
    assert isinstance(renderer(told.append), PyavRenderer)
    assert told == []
    monkeypatch.setitem(sys.modules, "av", None)
    assert isinstance(renderer(told.append), BoxRenderer)
    assert told == [PLAIN]
