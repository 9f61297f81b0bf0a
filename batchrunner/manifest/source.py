"""Reading a file that a manifest is or names: regular, inside the folder, of bearable size, UTF-8."""

from __future__ import annotations

import os
import stat
from pathlib import Path

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
