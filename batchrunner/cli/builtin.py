"""The built-in ComfyUI of `server: sim`: in this very process, on a loopback port, gone with it."""

from __future__ import annotations

import shutil
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from batchrunner.errors import LocalError
from batchrunner.sim.pace import Pace
from batchrunner.sim.server import Simulator, serve
from batchrunner.sim.video import PyavRenderer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from batchrunner.core.settings import Rules

_FOLDER = ".sim"
_PACE = Pace(fixed=0.8)
"""Slow enough to watch, fast enough to try things out."""


@asynccontextmanager
async def built_in(folder: Path, rules: Rules) -> AsyncIterator[str]:
    """Run a simulator with its files under the batch's own `folder`; yield its URL.

    Raises LocalError if that can't be, NoVideoError if PyAV, with which it makes real videos, is not installed.
    """
    own = folder / _FOLDER
    renderer = PyavRenderer()
    shutil.rmtree(own, ignore_errors=True)
    try:
        own.mkdir(parents=True)
        simulator = Simulator(own, pace=_PACE, renderer=renderer, ttl=rules.ttl)
    except OSError as error:
        raise LocalError(f"{own}: can't create this folder: {error.strerror or error}") from None
    try:
        async with serve(simulator) as url:
            yield url
    finally:
        shutil.rmtree(own, ignore_errors=True)
