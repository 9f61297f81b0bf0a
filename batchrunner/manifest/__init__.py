"""The manifest: one small YAML file that says what to render, read with places, checked whole, expanded into jobs."""

from batchrunner.manifest.batch import Batch, Options
from batchrunner.manifest.load import load

__all__ = ["Batch", "Options", "load"]
