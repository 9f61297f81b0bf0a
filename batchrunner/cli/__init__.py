"""The command: a module per group of verbs. `app` lists the verbs; `parameters` holds their shared options."""

from __future__ import annotations

from batchrunner.cli.app import main

__all__ = ["main"]
