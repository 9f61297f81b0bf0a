"""The page and its data on disk: each whole or not at all, whoever looks and whenever."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from batchrunner.errors import LocalError
from batchrunner.show.gallery.page import DATA, RECEIVER, page

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from batchrunner.core.identity import Json

PAGE = "index.html"
_UNSAFE = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\x7f"}


def write_page(folder: Path, batch: str) -> Path:
    """Write the page into a batch's folder; return its path. Once is enough. LocalError if it can't be written."""
    return _put(folder / PAGE, page(batch))


def write_data(folder: Path, content: Mapping[str, Json]) -> Path:
    """Write what the page shows; an open page finds it by itself. LocalError if it can't be written.

    Costs about a millisecond for ten cells: let a second pass between two calls, and ten for a big batch.
    """
    return _put(folder / DATA, script(content))


def script(content: Mapping[str, Json]) -> str:
    """Return the data file's text: one call, in ASCII, with nothing in it that could end a script element."""
    text = json.dumps(content, separators=(",", ":")).translate(_UNSAFE)
    return f"window.{RECEIVER}?.({text});\n"


def _put(path: Path, text: str) -> Path:
    """Replace a file in one step; a link in its place is replaced, never followed.

    Not synced: after a power cut the next run, or `gallery`, writes it again.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        part.unlink(missing_ok=True)
        opened = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
        try:
            with os.fdopen(opened, "w", encoding="utf-8") as file:
                file.write(text)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise LocalError(f"{path}: can't be written: {error.strerror}") from error
    return path
