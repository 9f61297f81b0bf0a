"""Run overnight batches of ComfyUI prompts: every video home, none twice, none lost, none the wrong one."""

from __future__ import annotations

from batchrunner.core.job import Job
from batchrunner.core.settings import Rules
from batchrunner.errors import BatchrunnerError, BusyError, LocalError, ManifestError, TheirsError, YoursError
from batchrunner.manifest import Batch, Options, load

__all__ = [
    "Batch",
    "BatchrunnerError",
    "BusyError",
    "Job",
    "LocalError",
    "ManifestError",
    "Options",
    "Rules",
    "TheirsError",
    "YoursError",
    "load",
]
