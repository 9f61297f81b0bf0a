"""Errors by blame: yours (the command or the manifest), theirs (the server), local (this machine), ours (a bug).

A class's docstring is its default message, so that none can be mute. The command prints the message on one line
and exits with `exit_code`; it never shows a traceback for the first three.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from inspect import cleandoc
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


class BatchrunnerError(Exception):
    """Something is wrong inside batchrunner; this is a bug, please report it with the run.log."""

    exit_code: ClassVar[int] = 70

    def __init__(self, message: str | None = None) -> None:
        super().__init__(message or cleandoc(type(self).__doc__ or ""))


class YoursError(BatchrunnerError):
    """The command line or the manifest is wrong."""

    exit_code = 2


class TheirsError(BatchrunnerError):
    """The server stopped the batch."""

    exit_code = 3


class BusyError(BatchrunnerError):
    """Another runner holds this batch."""

    exit_code = 4


class LocalError(BatchrunnerError):
    """This machine stopped the batch: its disk is full or the state cannot be used."""

    exit_code = 5


@dataclass(frozen=True, slots=True, order=True)
class Diagnostic:
    """One thing that is wrong in a file a person wrote; `line` and `column` count from 1."""

    file: str
    line: int
    column: int
    path: str
    text: str

    def __str__(self) -> str:
        """Render as `file:line:col: path: text`, which editors can jump to; an option of the command has no lines."""
        if self.file.startswith("--"):
            return f"{self.file} {self.path}: {self.text}" if self.path else self.text
        where = f"{self.file}:{self.line}:{self.column}: "
        return f"{where}{self.path}: {self.text}" if self.path else where + self.text


class ManifestError(YoursError):
    """The manifest is wrong."""

    def __init__(self, diagnostics: Iterable[Diagnostic]) -> None:
        self.diagnostics = tuple(sorted(diagnostics))
        super().__init__("\n".join(map(str, self.diagnostics)))


@contextmanager
def unwrapped() -> Iterator[None]:
    """Raise the only error of a task group as itself, so that its class says whose fault it is."""
    try:
        yield
    except BaseExceptionGroup as group:
        if len(group.exceptions) == 1:
            raise group.exceptions[0] from None
        raise
