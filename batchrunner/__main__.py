"""`python -m batchrunner` is the command."""

from __future__ import annotations

from batchrunner.cli import main

main()
