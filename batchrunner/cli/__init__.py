"""The command: verbs parsed, parts built, results printed. The only place that knows everybody."""

from __future__ import annotations

from batchrunner.cli.app import main

__all__ = ["main"]
