"""Where lines go. Writing one never raises: what people see must never cost a video."""

from __future__ import annotations

import os
from typing import IO, TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from pathlib import Path


class Sink(Protocol):
    """Something to write lines to."""

    lost: int
    """Lines that could not be written."""

    def write(self, text: str) -> None:
        """Write one line, without its end."""


class FileSink:
    """`run.log`: appended to, private, never through a link. A line is one write, so that a kill tears none."""

    def __init__(self, path: Path) -> None:
        self.lost = 0
        self._torn = False
        self._file = _append_to(path)

    def write(self, text: str) -> None:
        """Append one line; a line cut short by a full disk is ended before the next one."""
        line = ("\n" * self._torn + text + "\n").encode("utf-8", "backslashreplace")
        try:
            written = os.write(self._file, line)
        except OSError:
            written = 0
        self.lost += written != len(line)
        self._torn = (self._torn and not written) or 0 < written < len(line)

    def close(self) -> None:
        """Close the file."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class StreamSink:
    """A terminal or a pipe, which may be gone by now: nobody reads it, or the ssh session ended."""

    def __init__(self, stream: IO[str]) -> None:
        self.lost = 0
        self._stream = stream

    def write(self, text: str) -> None:
        """Write one line and flush it."""
        try:
            self._stream.write(f"{text}\n")
            self._stream.flush()
        except (OSError, ValueError):
            self.lost += 1


def lost_words(what: str, sink: Sink) -> str:
    """Return what to tell at the end about lines that could not be written; empty if none."""
    return f"{sink.lost} line(s) could not be written to {what}" if sink.lost else ""


def _append_to(path: Path) -> int:
    """Return a file to append to, -1 if there can be none."""
    try:
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK, 0o600)
    except OSError:
        return -1
