"""Run overnight batches of ComfyUI prompts: every video downloaded, none twice, none lost, none the wrong one.

`run`, `events` and `plan` are the command for programs (docs/python.md). Importing this package loads nothing of them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from batchrunner.errors import BatchrunnerError, BusyError, LocalError, ManifestError, TheirsError, YoursError

if TYPE_CHECKING:
    from batchrunner.api import Plan, PlannedJob, Result, events, plan, run

    __version__: str

__all__ = [
    "BatchrunnerError",
    "BusyError",
    "LocalError",
    "ManifestError",
    "Plan",
    "PlannedJob",
    "Result",
    "TheirsError",
    "YoursError",
    "events",
    "plan",
    "run",
]


def __getattr__(name: str) -> object:
    if name == "__version__":
        return import_module("importlib.metadata").version("batchrunner")
    if name in __all__:
        return getattr(import_module("batchrunner.api"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
