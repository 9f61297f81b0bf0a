"""Files that a manifest names: read safely, and prompt lists and tables cell by cell with their places."""

from __future__ import annotations

import csv
import json
import os
import stat
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from batchrunner.manifest.yamltree import Location, ScalarNode, resolve_scalar
from batchrunner.text import did_you_mean, listing, quote

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchrunner.core.job import Json
    from batchrunner.manifest.diagnostics import Diagnostics

MANIFEST_BYTES = 2 * 2**20
NAMED_BYTES = 16 * 2**20
"""The most that a prompt list, a table of rows or a workflow may hold."""
_TABLES = (".csv", ".jsonl")

Row: TypeAlias = dict[str, ScalarNode]
"""Column -> cell; an empty cell of a CSV is left out, so that the defaults apply."""


class SourceError(Exception):
    """A file cannot be used; the message says why, `line` and `column` where if that is inside it."""

    def __init__(self, message: str, line: int = 1, column: int = 1) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


def read_text(path: Path, most: int) -> str:
    """Return a file's text without its byte order mark.

    Raises SourceError if it is missing, unreadable, no regular file, longer than `most` bytes, or not UTF-8.
    """
    raw = _read(path, most)
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8-sig", "replace")
        column = len(before) - before.rfind("\n")
        raise SourceError("this is not UTF-8 text", before.count("\n") + 1, column) from None


def _read(path: Path, most: int) -> bytes:
    try:
        # Without O_NONBLOCK a named pipe would be waited for until somebody writes to it.
        with open(path, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise SourceError("is not a regular file")
            raw = file.read(most + 1)
    except FileNotFoundError:
        raise SourceError("there is no such file") from None
    except IsADirectoryError:
        raise SourceError("is not a regular file") from None
    except ValueError:
        raise SourceError("is not a file name") from None
    except OSError as error:
        raise SourceError(f"cannot be read: {(error.strerror or 'unknown reason').lower()}") from None
    if len(raw) > most:
        raise SourceError(f"is larger than {most // 2**20} MiB")
    return raw


@dataclass(frozen=True, slots=True)
class Table:
    """Rows, and where each column is named (in JSON lines, where it first occurs)."""

    rows: list[Row]
    columns: dict[str, Location]


class Files:
    """Reads the files that one manifest names; records what is wrong with them."""

    def __init__(self, folder: Path, diagnostics: Diagnostics, *, allow_outside: bool) -> None:
        self._folder = folder
        self._allow_outside = allow_outside
        self._report = diagnostics.add

    def path(self, name: str, location: Location, path: str) -> Path | None:
        """Return where a file is that the manifest may name, or None; whether there is one is not checked."""
        if not name or not name.isprintable():
            self._report(location, path, f"{quote(name)}: is not a file name")
            return None
        root, found = os.path.realpath(self._folder), os.path.realpath(self._folder / name)
        if not self._allow_outside and not Path(found).is_relative_to(root):
            text = f"{quote(name)}: leads outside the manifest's folder; --allow-outside permits that"
            self._report(location, path, text)
            return None
        return Path(found)

    def text(self, name: str, location: Location, path: str, near: str = "") -> tuple[str, str] | None:
        """Return a file's text and its name in diagnostics, or None; `near` is a suggestion if it is missing."""
        found, shown = self.path(name, location, path), str(self._folder / name)
        if found is None:
            return None
        try:
            return read_text(found, NAMED_BYTES), shown
        except SourceError as error:
            if (error.line, error.column) == (1, 1):
                self._report(location, path, f"{quote(name)}: {error}{near}")
            else:
                self._report(Location(shown, error.line, error.column), "", str(error))
            return None

    def column(self, name: str, column: str | None, location: Location, path: str) -> list[ScalarNode] | None:
        """Return the values of a list's lines or of a table's column, or None."""
        if not name.endswith(_TABLES):
            if column is None:
                return self._lines(name, location, path)
            self._report(location, path, f"{quote(name)} has no columns; only .csv and .jsonl have")
            return None
        table = self.table(name, location, path)
        if table is None:
            return None
        nodes = [row[column] for row in table.rows if column in row] if column is not None else []
        if column is None:
            text = f"name a column of {quote(name)}: it has {listing(table.columns)}"
        elif column not in table.columns:
            near = did_you_mean(column, table.columns)
            text = f"{quote(name)} has no column {quote(column)}, only {listing(table.columns)}{near}"
        elif not nodes:
            text = f"column {quote(column)} of {quote(name)} is empty, which makes no jobs"
        else:
            return nodes
        self._report(location, path, text)
        return None

    def table(self, name: str, location: Location, path: str) -> Table | None:
        """Return the table in a .csv or .jsonl file, or None."""
        if not name.endswith(_TABLES):
            self._report(location, path, f"{quote(name)} is not a table ({', '.join(_TABLES)})")
            return None
        read = self.text(name, location, path)
        if read is None:
            return None
        try:
            table = _csv_table(*read) if name.endswith(".csv") else _json_table(*read)
        except _RowError as error:
            self._report(error.location, error.path, str(error))
            return None
        if not table.rows:
            self._report(location, path, f"{quote(name)} has no rows, which makes no jobs")
        return table if table.rows else None

    def _lines(self, name: str, location: Location, path: str) -> list[ScalarNode] | None:
        read = self.text(name, location, path)
        if read is None:
            return None
        text, shown = read
        lines = enumerate(text.replace("\r\n", "\n").split("\n"), 1)
        kept = [(number, line) for number, line in lines if line.strip() and not line.lstrip().startswith("#")]
        if not kept:
            self._report(location, path, f"{quote(name)} has no lines, which makes no jobs")
        return [ScalarNode(Location(shown, number, 1), resolve_scalar(line), line) for number, line in kept] or None


class _RowError(Exception):
    def __init__(self, location: Location, path: str, message: str) -> None:
        super().__init__(message)
        self.location = location
        self.path = path


def _csv_table(text: str, file: str) -> Table:
    lines = _csv_lines(text, file)
    location, first = next(lines, (Location(file, 1, 1), []))
    names = [cell.strip() for cell in first]
    for index, name in enumerate(names):
        if not name:
            raise _RowError(location, "", f"column {index + 1} has no name")
        if name in names[:index]:
            raise _RowError(location, "", f"two columns are called {quote(name)}")
    rows: list[Row] = []
    for at, cells in lines:
        if len(cells) != len(names):
            raise _RowError(at, "", f"has {len(cells)} cells where the first line has {len(names)}")
        pairs = zip(names, cells, strict=True)
        rows.append({name: ScalarNode(at, resolve_scalar(cell), cell) for name, cell in pairs if cell})
    return Table(rows, dict.fromkeys(names, location))


def _csv_lines(text: str, file: str) -> Iterator[tuple[Location, list[str]]]:
    """Yield every line that is not empty, with the place where it begins: a cell may hold line breaks."""
    reader = csv.reader(StringIO(text, newline=""), strict=True)
    line = 1
    try:
        for cells in reader:
            location, line = Location(file, line, 1), reader.line_num + 1
            if any(cells):
                yield location, cells
    except csv.Error as error:
        raise _RowError(Location(file, line, 1), "", f"this is not CSV: {error}") from None


def _json_table(text: str, file: str) -> Table:
    lines = enumerate(text.split("\n"), 1)
    rows = [_json_row(line, Location(file, number, 1)) for number, line in lines if line.strip()]
    return Table(rows, {name: node.location for row in reversed(rows) for name, node in reversed(row.items())})


def _json_row(line: str, location: Location) -> Row:
    try:
        pairs: Json = json.loads(line, object_pairs_hook=lambda pairs: [list(pair) for pair in pairs])
    except json.JSONDecodeError as error:
        at = Location(location.file, location.line, error.colno)
        raise _RowError(at, "", f"this is not JSON: {error.msg}") from None
    except (RecursionError, ValueError):
        raise _RowError(location, "", "this JSON cannot be read") from None
    if not isinstance(pairs, list) or not line.lstrip().startswith("{"):
        raise _RowError(location, "", "a line must be one JSON object")
    row: Row = {}
    for pair in pairs:
        match pair:
            case [str(name), _] if name in row:
                raise _RowError(location, name, "stands twice in one row")
            case [str(name), str(value)]:
                if any("\ud800" <= char <= "\udfff" for char in value):
                    raise _RowError(location, name, "half of a surrogate pair is no character")
                row[name] = ScalarNode(location, value, value)
            case [str(name), None | int() | float() as value]:
                row[name] = ScalarNode(location, value, json.dumps(value))
            case [name, *_]:
                raise _RowError(location, str(name), "must be a single value")
    return row
