"""The manifest, a YAML file that says what to render: it is read, checked as a whole and expanded into jobs."""

from batchrunner.manifest.batch import Batch, Options
from batchrunner.manifest.load import load, matching, names_servers, read_name
from batchrunner.manifest.schema import manifest_schema

__all__ = ["Batch", "Options", "load", "manifest_schema", "matching", "names_servers", "read_name"]
