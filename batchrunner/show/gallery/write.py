"""The page and its data on disk: each whole or not at all, whoever looks and whenever."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from batchrunner.errors import LocalError
from batchrunner.show.gallery.page import DATA, RECEIVER, page
from batchrunner.show.gallery.poster import poster, poster_path

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from batchrunner.core.identity import Json

PAGE = "index.html"
REPORT = "report.md"
_HEAD = 256
"""Bytes of the data file in which its key stands."""
_UNSAFE = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\x7f"}


def write_page(folder: Path, batch: str) -> Path:
    """Write the page into a batch's folder; return its path. Once is enough. LocalError if it can't be written."""
    return _put(folder / PAGE, page(batch).encode())


def write_data(folder: Path, content: Mapping[str, Json]) -> Path:
    """Write what the page shows; an open page finds it by itself. LocalError if it can't be written.

    Costs about a millisecond for ten cells: let a second pass between two calls, and ten for a big batch.
    """
    return _put(folder / DATA, script(content).encode())


def stands(folder: Path, batch: str, key: str) -> bool:
    """Whether the page of this version, data with this key and a report stand in a batch's folder."""
    try:
        with (folder / DATA).open("rb") as file:
            found = f'"key":"{key}"'.encode() in file.read(_HEAD)
        return found and (folder / REPORT).is_file() and (folder / PAGE).read_bytes() == page(batch).encode()
    except OSError:
        return False


def write_report(folder: Path, text: str) -> Path:
    """Write `report.md` into a batch's folder; return its path. LocalError if it can't be written."""
    return _put(folder / REPORT, text.encode("utf-8", "replace"))


def script(content: Mapping[str, Json]) -> str:
    """Return the data file's text: one call, in ASCII, with nothing in it that could end a script element."""
    text = json.dumps(content, separators=(",", ":")).translate(_UNSAFE)
    return f"window.{RECEIVER}?.({text});\n"


def write_poster(folder: Path, path: str) -> str | None:
    """Make the poster of the saved file at `path`, unless it is there; return its path, both below the batch folder.

    None where there can be none: no PyAV, no film, no room, a link in its folder's place. Blocks; a poster is never
    worth an error.
    """
    made = poster_path(path)
    if (folder / made).parent.is_symlink():
        return None
    if (folder / made).is_file():
        return made
    picture = poster(folder / path)
    if picture is None:
        return None
    try:
        (folder / made).parent.mkdir(exist_ok=True)
        _put(folder / made, picture)
    except (OSError, LocalError):
        return None
    return made


def posters(folder: Path, paths: Iterable[str]) -> dict[str, str]:
    """Return the posters that are there: the path of a saved file -> the path of its poster."""
    found = {path: poster_path(path) for path in paths}
    return {path: made for path, made in found.items() if (folder / made).is_file()}


def _put(path: Path, content: bytes) -> Path:
    """Replace a file in one step; a link in its place is replaced, never followed.

    Not synced: after a power cut the next run, or `gallery`, writes it again.
    """
    part = path.with_name(f".{path.name}.part")
    try:
        part.unlink(missing_ok=True)
        opened = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
        try:
            with os.fdopen(opened, "wb") as file:
                file.write(content)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise LocalError(f"{path}: can't be written: {error.strerror}") from error
    return path
