"""What a command line asks for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from batchrunner.manifest import Options


@dataclass(frozen=True, slots=True)
class Asked:
    """The options every verb shares."""

    manifest: Path
    options: Options
    out: Path = Path("outputs")
    token_file: Path | None = None
    until: str | None = None
    """A time of day by which everything must be home."""
    ask: bool = False
    """Whether `plan` asks the servers what they can run."""
    as_json: bool = False
    verbose: bool = False
