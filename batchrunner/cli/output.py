"""What the verbs say: lines for people to stderr, data to stdout. That nobody listens costs the words only."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from io import TextIOWrapper
from typing import TYPE_CHECKING

from rich.console import Console

from batchrunner.errors import LocalError
from batchrunner.show.status import print_lines
from batchrunner.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.text import Text

_STDOUT, _STDERR = 1, 2
_LONGEST = 2000


class People(Console):
    """A console that does not end the program when its reader goes away."""

    def on_broken_pipe(self) -> None:
        """Leave it to the caller."""
        raise BrokenPipeError


def open_ends() -> None:
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
    """Tell people one line."""
    with suppress(OSError, ValueError):
        sys.stderr.write(printable(text, limit=_LONGEST) + "\n")


def show(view: Iterable[Text]) -> None:
    """Show people a view of many lines."""
    with suppress(OSError, ValueError):
        print_lines(People(stderr=True, highlight=False), view)


def tell(text: str) -> None:
    """Write data to stdout. Raises BrokenPipeError if its reader has seen enough, LocalError if it can't be written."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except OSError as error:
        _close_stdout()
        if isinstance(error, BrokenPipeError):
            raise
        raise LocalError(f"stdout: {error.strerror}") from None


def _close_stdout() -> None:
    """Have nothing left to be written when the interpreter ends."""
    not_found = os.open(os.devnull, os.O_WRONLY)
    os.dup2(not_found, sys.stdout.fileno())
    os.close(not_found)
