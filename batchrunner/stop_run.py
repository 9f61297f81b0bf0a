"""A run in another process, stopped by `cancel` as its first Ctrl-C would stop it."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from batchrunner.ledger import holder, is_held_by
from batchrunner.process import CANCEL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_INTERVAL = 0.2
"""Seconds between two looks at whether it has ended."""


def stop_run(folder: Path, tell: Callable[[str], None]) -> None:
    """Stop the run that holds the batch in `folder`, if one does, and wait until it has ended.

    `tell` is told whom it waits for: a run downloads what is rendered before it ends. Of what can't be proven to be
    that run, no process is stopped: taking the lock will say who holds the batch.
    """
    found = holder(folder)
    if found is None or found.pid == os.getpid() or not is_held_by(folder, found):
        return
    tell(f"stopping the run (process {found.pid}); it downloads first what is already rendered")
    try:
        os.kill(found.pid, CANCEL)
    except ProcessLookupError:
        return
    while holder(folder) == found:
        time.sleep(_INTERVAL)
