"""Files a manifest names: read safely, prompt lists and tables cell by cell."""

from __future__ import annotations

import csv
import json
import os
import stat
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from batchrunner.manifest.yamltree import Leaf, Spot, resolve
from batchrunner.text import did_you_mean, listing, quote

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchrunner.core.job import Json
    from batchrunner.manifest.diagnostics import Complaints

# -- Reading a file that a manifest is or names: regular, inside the folder, of bearable size, UTF-8.


MANIFEST_BYTES = 2 * 2**20
NAMED_BYTES = 16 * 2**20
"""The most that a prompt list, a table of rows or a workflow may hold."""


class SourceError(Exception):
    """A file cannot be used; the message says why, `line` and `column` where if that is inside it."""

    def __init__(self, message: str, line: int = 1, column: int = 1) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


def named(folder: Path, name: str, *, allow_outside: bool) -> Path:
    """Return the file that a manifest in `folder` calls `name`.

    Raises:
        SourceError: it is no usable name, or leads outside the folder and that is not allowed.

    """
    if not name or not name.isprintable():
        raise SourceError("is no file name")
    root, path = os.path.realpath(folder), os.path.realpath(folder / name)
    if not allow_outside and not Path(path).is_relative_to(root):
        raise SourceError("leads outside the manifest's folder; --allow-outside permits that")
    return Path(path)


def read_text(path: Path, most: int) -> str:
    """Return a file's text without its byte order mark.

    Raises:
        SourceError: missing, unreadable, no regular file, longer than `most` bytes, or not UTF-8.

    """
    raw = _read(path, most)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8-sig", "replace")
        line = before.count("\n") + 1
        column = len(before) - before.rfind("\n")
        raise SourceError("this is not UTF-8 text", line, column) from None


def _read(path: Path, most: int) -> bytes:
    try:
        # Without O_NONBLOCK a named pipe would be waited for until somebody writes to it.
        number = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise SourceError("there is no such file") from None
    except ValueError:
        raise SourceError("is no file name") from None
    except OSError as error:
        raise SourceError(_because(error)) from None
    try:
        if not stat.S_ISREG(os.fstat(number).st_mode):
            raise SourceError("is not a regular file")
        with os.fdopen(number, "rb", closefd=False) as file:
            raw = file.read(most + 1)
    except OSError as error:
        raise SourceError(_because(error)) from None
    finally:
        os.close(number)
    if len(raw) > most:
        raise SourceError(f"is larger than {most // 2**20} MiB")
    return raw


def _because(error: OSError) -> str:
    return f"cannot be read: {(error.strerror or 'unknown reason').lower()}"


# -- Prompt lists and tables beside the manifest: TXT, CSV and JSONL, cell by cell with their places.


Row: TypeAlias = dict[str, Leaf]
"""Column -> cell; an empty cell of a CSV is not there, so that the defaults stand."""


@dataclass(frozen=True, slots=True)
class Rows:
    """A table: its rows, and where each column is named (in JSON lines, where it first occurs)."""

    rows: list[Row]
    columns: dict[str, Spot]


class Files:
    """Reads the files that one manifest names."""

    def __init__(self, folder: Path, complaints: Complaints, *, allow_outside: bool) -> None:
        self._folder = folder
        self._allow_outside = allow_outside
        self._complaints = complaints

    def text(self, name: str, spot: Spot, path: str, near: str = "") -> tuple[str, str] | None:
        """Return a file's text and the name complaints use for it, or None after complaining."""
        try:
            found = named(self._folder, name, allow_outside=self._allow_outside)
        except SourceError as error:
            self._complaints.add(spot, path, f"{quote(name)}: {error}")
            return None
        shown = str(self._folder / name)
        try:
            return read_text(found, NAMED_BYTES), shown
        except SourceError as error:
            if (error.line, error.column) == (1, 1):
                self._complaints.add(spot, path, f"{quote(name)}: {error}{near}")
            else:
                self._complaints.add(Spot(shown, error.line, error.column), "", str(error))
            return None

    def column(self, name: str, column: str | None, spot: Spot, path: str) -> list[Leaf] | None:
        """Return an axis' values from a file, or None after complaining."""
        if not name.endswith((".csv", ".jsonl")):
            if column is not None:
                self._complaints.add(spot, path, f"{quote(name)} has no columns; only .csv and .jsonl have")
                return None
            return self._lines(name, spot, path)
        rows = self.rows(name, spot, path)
        if rows is None:
            return None
        names = list(rows.columns)
        if column is None:
            self._complaints.add(spot, path, f"name a column of {quote(name)}: it has {listing(names)}")
            return None
        if column not in names:
            near = did_you_mean(column, names)
            self._complaints.add(
                spot, path, f"{quote(name)} has no column {quote(column)}, only {listing(names)}{near}"
            )
            return None
        leaves = [row[column] for row in rows.rows if column in row]
        if not leaves:
            self._complaints.add(spot, path, f"column {quote(column)} of {quote(name)} is empty, which makes no jobs")
        return leaves or None

    def rows(self, name: str, spot: Spot, path: str) -> Rows | None:
        """Return the table in a .csv or .jsonl file, or None after complaining."""
        if not name.endswith((".csv", ".jsonl")):
            self._complaints.add(spot, path, f"{quote(name)} is no table: rows come from .csv or .jsonl")
            return None
        read = self.text(name, spot, path)
        if read is None:
            return None
        text, shown = read
        try:
            rows = _csv_rows(text, shown) if name.endswith(".csv") else _json_rows(text, shown)
        except _RowError as error:
            self._complaints.add(error.spot, error.path, str(error))
            return None
        if not rows.rows:
            self._complaints.add(spot, path, f"{quote(name)} has no rows, which makes no jobs")
        return rows if rows.rows else None

    def _lines(self, name: str, spot: Spot, path: str) -> list[Leaf] | None:
        read = self.text(name, spot, path)
        if read is None:
            return None
        text, shown = read
        lines = enumerate(text.replace("\r\n", "\n").split("\n"), 1)
        kept = [(number, line) for number, line in lines if line.strip() and not line.lstrip().startswith("#")]
        leaves = [_cell(Spot(shown, number, 1), line) for number, line in kept]
        if not leaves:
            self._complaints.add(spot, path, f"{quote(name)} has no lines, which makes no jobs")
        return leaves or None


class _RowError(Exception):
    def __init__(self, spot: Spot, path: str, message: str) -> None:
        super().__init__(message)
        self.spot = spot
        self.path = path


def _cell(spot: Spot, text: str) -> Leaf:
    return Leaf(spot, resolve(text), text)


def _csv_rows(text: str, file: str) -> Rows:
    lines = _csv_lines(text, file)
    spot, first = next(lines, (Spot(file, 1, 1), []))
    names = _header([cell.strip() for cell in first], spot)
    rows: list[Row] = []
    for at, cells in lines:
        if len(cells) != len(names):
            raise _RowError(at, "", f"has {len(cells)} cells where the first line has {len(names)}")
        rows.append({name: _cell(at, cell) for name, cell in zip(names, cells, strict=True) if cell})
    return Rows(rows, dict.fromkeys(names, spot))


def _csv_lines(text: str, file: str) -> Iterator[tuple[Spot, list[str]]]:
    """Yield every line that is not empty, with the place where it begins: a cell may hold line breaks."""
    reader = csv.reader(StringIO(text, newline=""), strict=True)
    line = 1
    try:
        for cells in reader:
            spot, line = Spot(file, line, 1), reader.line_num + 1
            if any(cells):
                yield spot, cells
    except csv.Error as error:
        raise _RowError(Spot(file, line, 1), "", f"this is not CSV: {error}") from None


def _header(names: list[str], spot: Spot) -> list[str]:
    for index, name in enumerate(names):
        if not name:
            raise _RowError(spot, "", f"column {index + 1} has no name")
        if name in names[:index]:
            raise _RowError(spot, "", f"two columns are called {quote(name)}")
    return names


def _json_rows(text: str, file: str) -> Rows:
    lines = enumerate(text.split("\n"), 1)
    rows = [_json_row(line, Spot(file, number, 1)) for number, line in lines if line.strip()]
    return Rows(rows, {name: leaf.spot for row in reversed(rows) for name, leaf in reversed(row.items())})


def _json_row(line: str, spot: Spot) -> Row:
    try:
        pairs: Json = json.loads(line, object_pairs_hook=lambda pairs: [list(pair) for pair in pairs])
    except json.JSONDecodeError as error:
        raise _RowError(Spot(spot.file, spot.line, error.colno), "", f"this is not JSON: {error.msg}") from None
    except (RecursionError, ValueError):
        raise _RowError(spot, "", "this JSON cannot be read") from None
    if not isinstance(pairs, list) or not line.lstrip().startswith("{"):
        raise _RowError(spot, "", "a line must be one JSON object")
    row: Row = {}
    for pair in pairs:
        match pair:
            case [str(name), None | str() | int() | float() as value] if name not in row:
                row[name] = Leaf(spot, value, _written(value, spot, name))
            case [str(name), *_] if name in row:
                raise _RowError(spot, name, "stands twice in one row")
            case [name, *_]:
                raise _RowError(spot, str(name), "must be a single value")
    return row


def _written(value: str | float | None, spot: Spot, name: str) -> str:
    if not isinstance(value, str):
        return json.dumps(value)
    if any("\ud800" <= char <= "\udfff" for char in value):
        raise _RowError(spot, name, "half of a surrogate pair is no character")
    return value
