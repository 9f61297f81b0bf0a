"""What the verbs print: answers on stdout, progress and complaints on stderr.

A reader of stderr that is gone ends no verb's work; one of stdout ends it, for the answer was all that was asked.
"""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from typing import TYPE_CHECKING

from rich.console import Console

from batchrunner.errors import LocalError, YoursError
from batchrunner.show.status import print_lines
from batchrunner.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from rich.text import Text

_STDOUT, _STDERR = 1, 2
_MAX_LINE = 2000


class _StdoutConsole(Console):
    """A console that does not end the program when its reader is gone."""

    def on_broken_pipe(self) -> None:
        """Leave it to the caller."""
        raise BrokenPipeError


def open_streams() -> None:
    """Open what was handed to us closed (`2>&-`): else the state file would become stderr, and be written into."""
    while (opened := os.open(os.devnull, os.O_RDWR)) <= _STDERR:
        pass
    os.close(opened)
    for name, number in (("stdout", _STDOUT), ("stderr", _STDERR)):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", closefd=False))
    if isinstance(sys.stdout, TextIOWrapper):
        # Not every terminal can show every prompt; stderr shows an escape for what it can't by itself.
        sys.stdout.reconfigure(errors="backslashreplace")


def say(text: str) -> None:
    """Print one line of progress or complaint."""
    with suppress(OSError, ValueError):
        sys.stderr.write(printable(text, limit=_MAX_LINE) + "\n")


def answer(text: str) -> None:
    """Print one line of an answer for people. Raises as `write`."""
    write(printable(text, limit=_MAX_LINE))


def show(view: Iterable[Text], *, clear: bool = False) -> None:
    """Print an answer of many lines, on a terminal that is cleared before if `clear`. Raises as `write`."""
    with _written():
        console = _StdoutConsole(highlight=False)
        if clear and console.is_terminal:
            console.clear()
        print_lines(console, view)
        sys.stdout.flush()


def write(text: str) -> None:
    """Print to stdout. Raises BrokenPipeError if its reader is gone, LocalError if it can't be written."""
    with _written():
        sys.stdout.write(text + "\n")
        sys.stdout.flush()


@contextmanager
def _written() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        # Have nothing left to be written when the interpreter ends.
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, sys.stdout.fileno())
        os.close(devnull)
        if isinstance(error, BrokenPipeError):
            raise
        raise LocalError(f"stdout: {error.strerror}") from None


def write_new(path: Path, text: str) -> None:
    """Write a file that is not there yet. Raises YoursError if it is, LocalError if it can't be written."""
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise YoursError(f"{path} already exists; rename it, or edit it") from None
    except OSError as error:
        raise LocalError(f"{path}: {error.strerror}") from None
