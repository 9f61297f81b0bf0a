"""Queues and histories too large to be built whole: their bytes are cut into rows, and one row is built at a time.

Other people's prompts carry the whole workflow of their editor, 100 to 200 kB each, and a hundred of them must not hide
two of ours. Where one row alone would be too large, only its number and its id are read. The bytes are scanned once,
without backtracking; this takes a few 100 ms for 20 MiB, so it belongs into a thread.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING

from batchrunner.comfy.wire import TooLargeError, WrongShapeError, estimated_memory, history_entry, parse, queue_row
from batchrunner.core.actions import Row

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from batchrunner.core.actions import Entry

LARGEST_ROW = 16 * 2**20
"""Bytes of memory that one row may take once it is built; a workflow of 200 kB takes about 4 MiB."""
_MOST_ROWS = 250_000
"""More rows than real ones would fit into the largest body."""
_DEEPEST = 100_000
"""Levels beyond which no server could have written the JSON."""
_LONGEST_HEAD = 2**16
"""Bytes within which a row's number and id, or a key, must stand."""

_SPACE = rb"[ \t\n\r]*+"
_TEXT = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_PLAIN = rb"[^][{}\",: \t\n\r]++"
_BRACKET = re.compile(rb'[^][{}"]*+(?:' + _TEXT + rb'[^][{}"]*+){0,1000}+(?:([\[{])|([\]}]))?', re.DOTALL)
"""Everything up to the next bracket outside a text, at most 1,000 texts: a thread holds the interpreter that long."""
_SCALAR = re.compile(rb"%s|%s" % (_TEXT, _PLAIN), re.DOTALL)
_KEY = re.compile(rb"%s(%s)%s:%s" % (_SPACE, _TEXT, _SPACE, _SPACE), re.DOTALL)
_HEAD = re.compile(rb"\[%s((?:%s|%s)%s,%s(?:%s|%s))%s[],]" % (
    _SPACE, _TEXT, _PLAIN, _SPACE, _SPACE, _TEXT, _PLAIN, _SPACE
), re.DOTALL)  # fmt: skip
_OPEN_OBJECT, _OPEN_ARRAY, _END = (re.compile(_SPACE + sign + _SPACE) for sign in (rb"\{", rb"\[", rb"\Z"))
_NO_MEMBER, _NO_ITEM = re.compile(rb"\}"), re.compile(rb"\]")
_AFTER_MEMBER, _AFTER_ITEM = (re.compile(_SPACE + sign + _SPACE) for sign in (rb"(?:,|(\}))", rb"(?:,|(\]))"))


def queue(body: bytes | bytearray, *, cut: bool = False) -> tuple[Row, ...]:
    """Return the rows of GET /queue as `wire.queue` does; of a body that is `cut` off, those that came.

    Raises WrongShapeError, also where a body was cut off before any list of rows began.
    """
    scan = _Scan(body)
    rows: dict[str, list[Row]] = {}
    try:
        _read_queue(scan, rows)
    except _EndError:
        if not cut or not rows:
            raise
        _add_last(scan, rows)
    return (*rows.get("queue_running", ()), *rows.get("queue_pending", ()))


def recent(body: bytes | bytearray, nodes: Collection[str] | None = None) -> tuple[Entry, ...]:
    """Return the entries of GET /history?max_items=n as `wire.recent` does, without those too large to be built."""
    scan = _Scan(body)
    entries: dict[str, Entry | None] = {}
    for prompt in scan.members():
        start, end = scan.skip()
        if prompt in entries or len(entries) > _MOST_ROWS:
            raise WrongShapeError("history: a key twice, or more entries than a server can have")
        try:
            entries[prompt] = history_entry(prompt, parse(_light(body, start, end), LARGEST_ROW), nodes)
        except TooLargeError:
            entries[prompt] = None
    scan.take(_END)
    return tuple(entry for entry in entries.values() if entry is not None)


class _EndError(WrongShapeError):
    """The body ends where something else had to follow."""


class _Scan:
    """A place in a body, and steps over what stands there. Every step that does not fit raises WrongShapeError."""

    def __init__(self, body: bytes | bytearray) -> None:
        self.body = body
        self.at = 0

    def take(self, pattern: re.Pattern[bytes]) -> re.Match[bytes]:
        """Step over what `pattern` matches here."""
        found = pattern.match(self.body, self.at)
        if found is None:
            raise (_EndError if len(self.body) - self.at < _LONGEST_HEAD else WrongShapeError)("no JSON")
        self.at = found.end()
        return found

    def members(self) -> Iterator[str]:
        """Yield the keys of the object that begins here; the caller steps over each value."""
        self.take(_OPEN_OBJECT)
        if _NO_MEMBER.match(self.body, self.at):
            self.take(_NO_MEMBER)
            return
        while True:
            yield str(parse(self.take(_KEY)[1], LARGEST_ROW))
            if self.take(_AFTER_MEMBER)[1]:
                return

    def items(self) -> Iterator[tuple[int, int]]:
        """Yield where each item of the array that begins here begins and ends."""
        self.take(_OPEN_ARRAY)
        if _NO_ITEM.match(self.body, self.at):
            self.take(_NO_ITEM)
            return
        while True:
            yield self.skip()
            if self.take(_AFTER_ITEM)[1]:
                return

    def skip(self) -> tuple[int, int]:
        """Step over the value that begins here; return where it begins and ends."""
        start = self.at
        if self.body[start : start + 1] in (b"[", b"{"):
            self.at = self._closing(start)
        else:
            self.take(_SCALAR)
        return start, self.at

    def _closing(self, start: int) -> int:
        """Return the end of the array or object that begins at `start`. That brackets pair is for `parse` to see."""
        depth = 0
        for found in _BRACKET.finditer(self.body, start):
            if found.lastindex == 1:
                depth += 1
                if depth > _DEEPEST:
                    raise WrongShapeError("nested too deeply")
            elif found.lastindex == 2:
                depth -= 1
                if not depth:
                    return found.end()
            elif found.start() == found.end():
                break
        raise _EndError("no JSON")


def _read_queue(scan: _Scan, rows: dict[str, list[Row]]) -> None:
    """Add the rows to `rows`, by the key of their list."""
    keys: set[str] = set()
    for key in scan.members():
        if key in keys:
            raise WrongShapeError("a key twice")
        keys.add(key)
        if key in ("queue_running", "queue_pending"):
            found = rows[key] = []
            for start, end in scan.items():
                found.append(_row(scan.body, start, end, running=key == "queue_running"))
                if len(found) > _MOST_ROWS:
                    raise WrongShapeError("queue: more rows than a server can have")
        else:
            _checked(scan.body, *scan.skip())
    scan.take(_END)
    if len(rows) < 2:
        raise WrongShapeError("queue: not both lists of rows")


def _light(body: bytes | bytearray, start: int, end: int) -> bytes | bytearray:
    """Return a piece of the body, or raise TooLargeError before it is copied."""
    if estimated_memory(body, start, end) > LARGEST_ROW:
        raise TooLargeError("more values than would fit into memory")
    return body[start:end]


def _checked(body: bytes | bytearray, start: int, end: int) -> None:
    """Raise WrongShapeError where a value that nobody needs is no JSON."""
    with suppress(TooLargeError):
        parse(_light(body, start, end), LARGEST_ROW)


def _row(body: bytes | bytearray, start: int, end: int, *, running: bool) -> Row:
    try:
        return queue_row(parse(_light(body, start, end), LARGEST_ROW), running=running)
    except TooLargeError:
        return _head(body, start, running=running)


def _head(body: bytes | bytearray, start: int, *, running: bool) -> Row:
    """Return a row by its number and its id alone; without an id where that is longer than any of ours."""
    found = _HEAD.match(body, start)
    if found is None:
        raise WrongShapeError("queue row: no number and prompt_id")
    if found.end() - start > _LONGEST_HEAD:
        return Row("", 0.0, running)
    return queue_row(parse(b"[%s]" % found[1]), running=running)


def _add_last(scan: _Scan, rows: dict[str, list[Row]]) -> None:
    """Add the row at which a body was cut off, if its head came."""
    key = list(rows)[-1]
    with suppress(WrongShapeError):
        rows[key].append(_head(scan.body, scan.at, running=key == "queue_running"))
