"""Files that a manifest names: read safely; prompt lists and tables row by row, each with its place.

Rows come one at a time, so that a file of millions is counted against `max_jobs` without being held.
"""

from __future__ import annotations

import csv
import json
import os
import re
import stat
from collections import Counter
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

from batchrunner.manifest.yamltree import Location, ScalarNode, resolve_scalar
from batchrunner.text import did_you_mean, listing, quote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from batchrunner.core.job import Json, Scalar
    from batchrunner.manifest.diagnostics import Diagnostics

    Choose = Callable[[Mapping[str, Location]], Mapping[str, Sequence[str]]]
    """From columns, with where each is named, to the names that those wanted are used under."""

MANIFEST_BYTES = 2 * 2**20
NAMED_BYTES = 16 * 2**20
"""The most that a prompt list, a table of rows or a workflow may hold."""
MAX_LINES, MAX_ROWS = 1_000_000, 200_000
"""Of one file; it is counted no further."""
MAX_COLUMNS = 1000
MAX_VALUES = 2_000_000
"""Values taken from all files of one manifest."""
_MAX_ROW = 2**20
"""Characters of one row of JSON."""
CHOOSE = "choose columns with rows: {file: …, columns: {…}}, or call it _name to keep it as a variable"
"""What to do about columns that set nothing."""
_TABLES = (".csv", ".tsv", ".jsonl", ".json")
_SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")
_SPREADSHEET_ERRORS = frozenset({"#NAME?", "#REF!", "#VALUE!", "#DIV/0!", "#N/A", "#NUM!", "#NULL!", "#ERROR!"})
_DELIMITER_LINE = re.compile(r'"?sep=([,;|\t])"?[ \t,;|]*(?:\r\n|\r|\n|$)', re.IGNORECASE)
"""Excel's own first line, which names the delimiter."""
_DOCUMENTS = (b"PK\x03\x04", b"\xd0\xcf\x11\xe0", b"%PDF-", b"{\\rtf", b"\x1f\x8b")
"""How spreadsheets and documents begin (of today, of old Office, PDF, RTF), and archives."""
_WEB_PAGE = re.compile(r"\s*<(!doctype html|html|head|body)\b", re.IGNORECASE)
_JSON_CURES = {
    **dict.fromkeys("“”„‟«»", 'write straight quotes, "'),
    **dict.fromkeys("'\u2018\u2019", 'keys and texts stand in double quotes, "'),
    **dict.fromkeys("}]", "remove the comma before it"),
    **dict.fromkeys("/#", "JSON takes no comments"),
    **dict.fromkeys("NTF", "write null, true and false in small letters"),
}
"""What was not expected -> what to do about it: chat programs write what looks like JSON."""
_WRAPPED = re.compile(r'\{\s*"([^"\\]{1,60})"\s*:\s*\[')
_BLANK = re.compile(r"[ \t\r\n]*")


class Cell(ScalarNode):
    """A value from a file: a cell of a table, or a line."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Row:
    """What one row sets, by the names its columns were given; an empty cell is left out, so that defaults apply."""

    location: Location
    values: Mapping[str, Scalar]
    typed: bool
    """Whether the values have types, as JSON's do; a text is read as YAML's unquoted scalars are."""

    def cells(self) -> dict[str, Cell]:
        """Return the values with their place."""
        found = {}
        for name, value in self.values.items():
            text = value if isinstance(value, str) else json.dumps(value)
            found[name] = Cell(self.location, value if self.typed else resolve_scalar(text), text)
        return found


class SourceError(Exception):
    """A file cannot be used; the message says why, `line` and `column` where if that is inside it."""

    def __init__(self, message: str, line: int = 1, column: int = 1) -> None:
        super().__init__(message)
        self.line = line
        self.column = column


class TableError(Exception):
    """A table or a list cannot be used; says where, about which column, and why."""

    def __init__(self, location: Location, path: str, message: str) -> None:
        super().__init__(message)
        self.location = location
        self.path = path


def read_text(path: Path, most: int) -> str:
    """Return a file's text without its byte order mark.

    Raises SourceError if it is missing, unreadable, no regular file, longer than `most` bytes, or not UTF-8.
    """
    raw = _read(path, most)
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise SourceError("this is UTF-16 text; save it as UTF-8 (Excel: CSV UTF-8)")
    if raw.startswith(_DOCUMENTS):
        raise SourceError("this is a spreadsheet, a document or an archive, not text; save it as CSV UTF-8 or as text")
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = raw[: error.start].decode("utf-8-sig", "replace")
        column = len(before) - before.rfind("\n")
        text = "this is not UTF-8 text; save it as UTF-8 (Excel: CSV UTF-8)"
        raise SourceError(text, before.count("\n") + 1, column) from None


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


def table_suffix(name: str) -> str:
    """Return the kind of table that a file's name promises, `.csv`; empty if it is none."""
    return next((suffix for suffix in _TABLES if name.lower().endswith(suffix)), "")


def same_column(wanted: str, columns: Iterable[str]) -> str | None:
    """Return the column that is called `wanted`, or else the first that is so in other case."""
    known = list(columns)
    return wanted if wanted in known else next((each for each in known if each.casefold() == wanted.casefold()), None)


def no_column(file: str, column: str, known: Sequence[str]) -> str:
    """Return the message about a column that a table lacks."""
    return f"{quote(file)} has no column {quote(column)}, only {listing(known)}{did_you_mean(column, known)}"


class Files:
    """Reads the files that one manifest names; records what is wrong with them."""

    def __init__(self, folder: Path, diagnostics: Diagnostics, *, allow_outside: bool, max_rows: int) -> None:
        self.max_rows = max_rows
        """How many rows of one file are built; the others are only counted, for they make too many jobs."""
        self._folder = folder
        self._allow_outside = allow_outside
        self.report = diagnostics.add
        self._warn = diagnostics.warn
        self._values = 0

    def path(
        self, name: str, location: Location, path: str, beside: Path | None = None, root: Path | None = None
    ) -> Path | None:
        """Return where a file is that the manifest may name, or None; whether there is one is not checked.

        It is relative to the folder `beside`, and may not leave `root`; both are the manifest's folder unless given.
        """
        if not name or not name.isprintable():
            self.report(location, path, f"{quote(name)}: is not a file name")
            return None
        within, found = os.path.realpath(root or self._folder), os.path.realpath((beside or self._folder) / name)
        if (root or not self._allow_outside) and not Path(found).is_relative_to(within):
            cure = "its folder" if root else "the manifest's folder; --allow-outside permits that"
            self.report(location, path, f"{quote(name)}: leads outside {cure}")
            return None
        return Path(found)

    def beside(self, location: Location) -> Path:
        """Return the folder that a path written there is relative to; the manifest's for the command line."""
        return self._folder if location.file.startswith("--") else Path(location.file).parent

    def text(self, name: str, location: Location, path: str, near: str = "") -> tuple[str, str] | None:
        """Return a file's text and its name in diagnostics, or None; `near` is a suggestion if it is missing."""
        found, shown = self.path(name, location, path), str(self._folder / name)
        if found is None:
            return None
        try:
            return read_text(found, NAMED_BYTES), shown
        except SourceError as error:
            if (error.line, error.column) == (1, 1):
                self.report(location, path, f"{quote(name)}: {error}{near}")
            else:
                self.report(Location(shown, error.line, error.column), "", str(error))
            return None

    def rows(self, name: str, location: Location, path: str, choose: Choose) -> Iterator[Row]:
        """Yield the rows of a table, with the columns that `choose` wants; nothing once its file is reported.

        Raises TableError if it is no table, or has no rows.
        """
        suffix = table_suffix(name)
        if not suffix:
            cure = "; save the spreadsheet as CSV UTF-8" if name.lower().endswith(_SPREADSHEETS) else ""
            raise TableError(location, path, f"{quote(name)} is not a table ({', '.join(_TABLES)}){cure}")
        read = self._lines(name, location, path)
        if read is None:
            return
        if read[0].lstrip().startswith("```"):
            raise TableError(Location(read[1], 1, 1), "", "remove the lines with ``` around the table")
        number = 0
        for number, row in enumerate(_READERS[suffix](*read, choose), 1):
            if number > MAX_ROWS:
                text = f"{quote(name)} has more than {MAX_ROWS:,} rows; max_jobs is {self.max_rows:,}"
                raise TableError(location, path, text)
            self._values += len(row.values) if number <= self.max_rows else 0
            if self._values > MAX_VALUES:
                raise TableError(location, path, f"all tables together hold more than {MAX_VALUES:,} values")
            yield row
        if not number:
            raise TableError(location, path, f"{quote(name)} has no rows, which makes no jobs")

    def texts(self, name: str, split: str, location: Location, path: str, column: str) -> Iterator[Row]:
        """Yield the texts of a list as rows of one `column`: its lines, its paragraphs, or what `split` separates.

        Behind `max_rows` the last one stands for every other: they are counted.
        Warns how many lines were skipped; nothing is yielded once its file is reported.
        Raises TableError if there are no texts.
        """
        read = self._lines(name, location, path)
        if read is None:
            return
        skipped: Counter[str] = Counter()
        found = 0
        row = Row(location, {}, typed=False)
        for found, (number, text) in enumerate(_split(read[0], split, skipped), 1):
            if found <= self.max_rows:
                row = Row(Location(read[1], number, 1), {column: text}, typed=False)
            yield row
        if not found:
            raise TableError(location, path, f"{quote(name)} has no lines, which makes no jobs")
        counts = " and ".join(f"{skipped[kind]} {kind}" for kind in ("blank", "#") if skipped[kind])
        if counts:
            hint = "; every other line is a value (split: blank takes paragraphs)" if skipped["blank"] else ""
            lines = "line" if skipped.total() == 1 else "lines"
            self._warn(location, path, f"{quote(name)}: {counts} {lines} skipped{hint}")

    def _lines(self, name: str, location: Location, path: str) -> tuple[str, str] | None:
        """Return a file's text and name, or None after reporting it.

        Raises TableError if it has too many lines, is a web page, or holds a character 0.
        """
        read = self.text(name, location, path)
        if read is None:
            return None
        text, shown = read
        if max(text.count("\n"), text.count("\r")) > MAX_LINES:
            text = f"{quote(name)} has more than {MAX_LINES:,} lines; max_jobs is {self.max_rows:,}"
            raise TableError(location, path, text)
        if _WEB_PAGE.match(text):
            raise TableError(location, path, f"{quote(name)} is a web page; download or export the table itself")
        if (zero := text.find("\0")) >= 0:
            at = Location(shown, text.count("\n", 0, zero) + 1, zero - text.rfind("\n", 0, zero))
            raise TableError(at, "", "holds the character U+0000; if this is UTF-16 text, save it as UTF-8")
        return text, shown


def _split(text: str, split: str, skipped: Counter[str]) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of every text in a list; counts the lines left out, as `blank` and `#`."""
    separator = {"line": None, "blank": ""}.get(split, split)
    start = 0
    part: list[str] = []
    for number, line in enumerate(StringIO(text, None), 1):
        bare = line.strip()
        if bare.startswith("#") and bare != separator:
            skipped["#"] += 1
        elif bare and separator is None:
            yield number, line.removesuffix("\n")
        elif bare == separator:
            if part:
                yield start, "".join(part).rstrip()
            part = []
        elif bare or part:
            start = start if part else number
            part.append(line)
        else:
            skipped["blank"] += separator is None
    if part:
        yield start, "".join(part).rstrip()


# -- CSV, as spreadsheets write it.


def _csv_rows(text: str, file: str, choose: Choose) -> Iterator[Row]:
    named = _DELIMITER_LINE.match(text)
    delimiter = named[1] if named else _delimiter(text, "\t,;" if table_suffix(file) == ".tsv" else ",;\t")
    lines = _csv_lines(text[named.end() :] if named else text, file, delimiter, 2 if named else 1)
    location, header = _csv_header(next(lines, (Location(file, 1, 1), [])))
    chosen = choose({name: location for name in header if name})
    wanted = [(index, name) for index, column in enumerate(header) for name in chosen.get(column, ())]
    for position, (index, name) in enumerate(wanted):
        if any(name == other for _, other in wanted[:position]):
            raise TableError(location, "", f"two columns are called {quote(header[index])}")
    # Where some columns were chosen, one without a name is like any other that was not.
    unnamed = [index for index, name in enumerate(header) if not name] if len(chosen) == len(set(header) - {""}) else []
    for at, cells in lines:
        while len(cells) > len(header) and not cells[-1]:
            cells.pop()
        if len(cells) != len(header):
            raise TableError(at, "", _miscounted(cells, len(header), delimiter))
        values: dict[str, Scalar] = {name: cell for index, name in wanted if (cell := cells[index])}
        nameless = next((index for index in unnamed if cells[index]), None)
        if nameless is not None:
            raise TableError(location, "", f"column {nameless + 1} has no name; {CHOOSE}")
        if not _SPREADSHEET_ERRORS.isdisjoint(values.values()):
            broken = next(name for name, value in values.items() if value in _SPREADSHEET_ERRORS)
            text = f"{values[broken]} is an error of the spreadsheet; correct the cell there"
            raise TableError(at, broken, text)
        yield Row(at, values, typed=False)


def _csv_header(line: tuple[Location, list[str]]) -> tuple[Location, list[str]]:
    """Return the place and the names of the columns, without empty ones at the end."""
    location, cells = line
    names = [cell.strip("\u200b\ufeff") for cell in cells]
    while names and not names[-1]:
        names.pop()
    if names and names[0].startswith(("{", "[")):
        raise TableError(location, "", "this is JSON: call the file .json, or .jsonl if each line is an object")
    if len(names) > MAX_COLUMNS:
        raise TableError(location, "", f"has {len(names):,} columns; at most {MAX_COLUMNS:,} are read")
    if len(names) == 1 and "|" in names[0]:
        raise TableError(location, "", "cells are separated by `,`, `;` or a tab, not by |")
    return location, names


def _miscounted(cells: list[str], width: int, delimiter: str) -> str:
    shown = "a tab" if delimiter == "\t" else f"`{delimiter}`"
    text = f"has {len(cells)} cells where the first line has {width}"
    if len(cells) < width:
        return f"{text}; an empty cell needs its {shown} too"
    curly = ', straight ones (") and not “”' if any("“" in cell or "”" in cell for cell in cells) else ""
    return f"{text}; a cell with {shown} in it needs quotes around it{curly}"


def _delimiter(text: str, candidates: str) -> str:
    """Return the delimiter that makes the most cells of the first line."""

    def cells(delimiter: str) -> int:
        reader = csv.reader(StringIO(text[:100_000], newline=""), delimiter=delimiter, skipinitialspace=True)
        try:
            return len(next((found for found in reader if any(found)), ()))
        except csv.Error:
            return 0

    return max(candidates, key=cells)


def _csv_lines(text: str, file: str, delimiter: str, line: int) -> Iterator[tuple[Location, list[str]]]:
    """Yield every line that is not empty, with the place where it begins: a cell may hold line breaks."""
    reader = csv.reader(StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)
    before = line
    try:
        for found in reader:
            begun, line = line, reader.line_num + before
            cells = [cell.strip() for cell in found]
            if any(cells):
                yield Location(file, begun, 1), cells
    except csv.Error as error:
        cure = '; a quote inside a cell is written ""' if "expected after" in str(error) else ""
        text = str(error).replace("\t", "\\t")
        raise TableError(Location(file, line, 1), "", f"this is not CSV: {text}{cure}") from None


# -- JSON, one row at a time.


class _Pairs(list[tuple[str, "Json"]]):
    """The keys and values of a JSON object, a key that stands twice included."""


_DECODER = json.JSONDecoder(object_pairs_hook=_Pairs)


def _json_lines(text: str, file: str, choose: Choose) -> Iterator[Row]:
    names: dict[str, Sequence[str]] = {}
    for number, ended in enumerate(StringIO(text, None), 1):
        line, location = ended.removesuffix("\n"), Location(file, number, 1)
        if len(line) > _MAX_ROW:
            raise TableError(location, "", f"is longer than {_MAX_ROW:,} characters")
        if line.strip():
            try:
                found: Json = _DECODER.decode(line)
            except json.JSONDecodeError as error:
                at = Location(file, number, error.colno)
                part = line.strip() in ("{", "[") or line.startswith(",", error.pos)
                cure = "; a line is one whole object, without a comma behind it" if part else _json_cure(line, error)
                raise TableError(at, "", f"this is not JSON: {error.msg}{cure}") from None
            except (RecursionError, ValueError):
                raise TableError(location, "", "this JSON cannot be read") from None
            if not isinstance(found, _Pairs):
                cure = "; an array of objects is a .json" if line.lstrip().startswith("[") else ""
                raise TableError(location, "", f"a line must be one JSON object{cure}")
            yield _json_row(found, location, names, choose)


class _Places:
    """Finds the lines of positions that grow: counted from the start, a long file would be counted once per row."""

    def __init__(self, text: str, file: str) -> None:
        self._text = text
        self._file = file
        self._line, self._begin, self._counted = 1, 0, 0

    def at(self, position: int) -> Location:
        """Return the place of a position."""
        self._line += self._text.count("\n", self._counted, position)
        self._begin = max(self._begin, self._text.rfind("\n", self._counted, position) + 1)
        self._counted = max(self._counted, position)
        return Location(self._file, self._line, position - self._begin + 1)


def _json_array(text: str, file: str, choose: Choose) -> Iterator[Row]:
    places = _Places(text, file)
    names: dict[str, Sequence[str]] = {}
    position = _after_blanks(text, 0)
    if not text.startswith("[", position):
        cure = "; one object per line is a .jsonl" if text.startswith("{", position) else ""
        if wrapped := _WRAPPED.match(text, position):
            cure = f"; keep only the array under {quote(wrapped[1])}"
        raise TableError(places.at(position), "", f"must be an array of objects, [{{…}}, {{…}}]{cure}")
    position = _after_blanks(text, position + 1)
    # Only a part is given to the decoder at a time, so that no row can be larger than that.
    start, part = 0, text[: 2 * _MAX_ROW]
    while not text.startswith("]", position):
        if position - start > _MAX_ROW:
            start, part = position, text[position : position + 2 * _MAX_ROW]
        location = places.at(position)
        found, end = _decode(part, position - start, places, base=start, whole=start + len(part) == len(text))
        yield _json_row(found, location, names, choose)
        position = _after_blanks(text, start + end)
        if text.startswith(",", position):
            position = _after_blanks(text, position + 1)
        elif not text.startswith("]", position):
            raise TableError(places.at(position), "", "this is not JSON: Expecting ',' delimiter")
    if (position := _after_blanks(text, position + 1)) < len(text):
        raise TableError(places.at(position), "", "this is not JSON: Extra data")


def _decode(part: str, position: int, places: _Places, *, base: int, whole: bool) -> tuple[_Pairs, int]:
    """Return the object at `position` of `part`, which begins at `base`, and its end; `whole`: nothing follows."""
    location = places.at(base + position)
    try:
        found, end = _DECODER.raw_decode(part, position)
    except json.JSONDecodeError as error:
        if error.pos >= len(part) and not whole:
            raise TableError(location, "", f"a row is longer than {_MAX_ROW:,} characters") from None
        cure = _json_cure(part, error)
        raise TableError(places.at(base + error.pos), "", f"this is not JSON: {error.msg}{cure}") from None
    except (RecursionError, ValueError):
        raise TableError(location, "", "this JSON cannot be read") from None
    if not isinstance(found, _Pairs):
        cure = "; keep texts in a .txt, a line each" if isinstance(found, str) else ""
        raise TableError(location, "", f"must be an object, {{…}}{cure}")
    return found, end


def _json_cure(text: str, error: json.JSONDecodeError) -> str:
    found = text[error.pos : error.pos + 1]
    if found in {"}", "]"} and not text[: error.pos].rstrip().endswith(","):
        return ""
    cure = _JSON_CURES.get(found, "")
    return cure and f"; {cure}"


def _after_blanks(text: str, position: int) -> int:
    found = _BLANK.match(text, position)
    return found.end() if found else position


def _json_row(pairs: _Pairs, location: Location, names: dict[str, Sequence[str]], choose: Choose) -> Row:
    """Return a row; `names` holds the names of every column met so far, none if it is not wanted."""
    new = {column: location for column, _ in pairs if column not in names}
    if new:
        if len(names) + len(new) > MAX_COLUMNS:
            raise TableError(location, "", f"this is column {MAX_COLUMNS + 1:,}; at most {MAX_COLUMNS:,} are read")
        chosen = choose(new)
        names |= {column: chosen.get(column, ()) for column in new}
    values: dict[str, Scalar] = {}
    given: set[str] = set()
    for column, value in pairs:
        wanted = names[column]
        if not wanted:
            continue
        if not given.isdisjoint(wanted):
            raise TableError(location, column, "stands twice in one row")
        given.update(wanted)
        if isinstance(value, list | dict):
            raise TableError(location, column, "must be a single value")
        if isinstance(value, str) and not value.isascii() and any("\ud800" <= char <= "\udfff" for char in value):
            raise TableError(location, column, "half of a surrogate pair is no character")
        if value is not None:
            values |= dict.fromkeys(wanted, value)
    return Row(location, values, typed=True)


_READERS: Mapping[str, Callable[[str, str, Choose], Iterator[Row]]] = {
    ".csv": _csv_rows,
    ".tsv": _csv_rows,
    ".jsonl": _json_lines,
    ".json": _json_array,
}
