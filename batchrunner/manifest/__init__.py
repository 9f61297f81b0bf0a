"""The manifest: one small YAML file that says what to render, read with places, checked whole, expanded into jobs."""

from batchrunner.manifest.batch import Batch, Options
from batchrunner.manifest.load import load
from batchrunner.manifest.schema import manifest_schema

__all__ = ["Batch", "Options", "load", "manifest_schema"]
