"""Where the token comes from: a file only its owner can read, or the environment. Never the command line."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

from batchrunner.comfy.secret import Secret
from batchrunner.errors import YoursError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

VARIABLE = "BATCHRUNNER_TOKEN"
_LARGEST = 8192


def token(file: Path | None, environment: Mapping[str, str]) -> Secret | None:
    """Return the token of `--token-file`, else that of BATCHRUNNER_TOKEN, None if there is neither.

    Raises YoursError if the file can't be read, is a link, or may be read by others.
    """
    if file is not None:
        return Secret(_read(file))
    text = environment.get(VARIABLE, "").strip()
    return Secret(text) if text else None


def _read(file: Path) -> str:
    try:
        opened = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise YoursError(f"--token-file {file}: {error.strerror}") from None
    try:
        mode = os.fstat(opened).st_mode
        if not stat.S_ISREG(mode):
            raise YoursError(f"--token-file {file}: not a regular file")
        if mode & 0o077:
            raise YoursError(f"--token-file {file}: others may read it; run chmod 600 {file}")
        return os.read(opened, _LARGEST).decode("ascii", "replace")
    finally:
        os.close(opened)
