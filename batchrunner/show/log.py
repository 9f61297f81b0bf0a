"""Where lines go, and the log of a run: JSON lines in `run.log`, plain lines on a console; by structlog and `logging`.

Three promises. A record is one line, whatever it quotes: event names are constants, the rest is fields. The token is in
none of them: a traceback is plain, without the values of variables, and every text is redacted all the same. And a line
that can't be written costs a count, never a video: writing raises nothing.
"""

from __future__ import annotations

import errno
import logging
import os
import time
from contextlib import suppress
from typing import IO, TYPE_CHECKING, TypeAlias

import structlog

from batchrunner.text import event_line, json_text, redact, stamp

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping
    from io import TextIOWrapper
    from pathlib import Path

    from structlog.typing import FilteringBoundLogger, Processor

    from batchrunner.core.job import Json

    Record: TypeAlias = MutableMapping[str, Json]

_BUFFER = 1 << 20
"""Bytes: every line is one write, and one cut short by a full disk is finished before the next."""
_HIDDEN = frozenset({"event", "at", "label", "message", "level", "job", "exception"})


class LineOutput(logging.Handler):
    """Something that takes lines."""

    failures = 0
    """How often writing failed."""

    def write(self, text: str) -> None:
        """Write one line, given without its end."""
        self.handle(logging.makeLogRecord({"msg": text}))

    debug = info = warning = error = critical = write
    """For `structlog`: a logger of `logging` would search the stack for its caller, for nothing."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: ARG002, N802 - the signature of `logging`
        """Count the failure."""
        self.failures += 1

    def failure_text(self, name: str) -> str:
        """Return what to say at the end about failures, of an output called `name`; empty if there were none."""
        times = "once" if self.failures == 1 else f"{self.failures} times"
        return f"writing to {name} failed {times}: lines are missing there" if self.failures else ""


class StreamOutput(LineOutput, logging.StreamHandler[IO[str]]):
    """A terminal or a pipe; it may be gone by now: nobody reads it, or the ssh session ended."""

    def width(self) -> int | None:
        """Return how many cells a line of the terminal has; None if it is no terminal."""
        try:
            return os.get_terminal_size(self.stream.fileno()).columns or None
        except (OSError, ValueError):
            return None


class FileOutput(LineOutput, logging.FileHandler):
    """A file that is appended to, readable by its owner only, and never opened through a link of any kind."""

    def __init__(self, path: Path) -> None:
        super().__init__(path, delay=True, encoding="utf-8", errors="backslashreplace")

    def _open(self) -> TextIOWrapper:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK
        opened = os.open(self.baseFilename, flags, 0o600)
        if os.fstat(opened).st_nlink != 1:
            os.close(opened)
            raise OSError(errno.EMLINK, "it has another name elsewhere")
        return open(opened, "a", _BUFFER, encoding=self.encoding, errors=self.errors)  # noqa: PTH123 - a descriptor

    def emit(self, record: logging.LogRecord) -> None:
        """Append a line; that the file can't be opened is a failure like any other."""
        try:
            super().emit(record)
        except OSError:
            self.handleError(record)

    def close(self) -> None:
        """Close the file; what a full disk still keeps back is lost."""
        with suppress(OSError):
            super().close()


def file_log(
    output: LineOutput, secrets: tuple[str, ...] = (), now: Callable[[], float] = time.time
) -> FilteringBoundLogger:
    """Return a logger that writes every record as one JSON line; `secrets` are what must never be in one."""
    return _logger(output, logging.DEBUG, secrets, now, _json_record)


def console_log(
    output: StreamOutput, secrets: tuple[str, ...] = (), now: Callable[[], float] = time.time, *, verbose: bool = False
) -> FilteringBoundLogger:
    """Return a logger that writes plain lines for people; details only if `verbose`."""

    def plain_record(_: object, __: str, record: Record) -> str:
        return _plain_line(record, output.width())

    return _logger(output, logging.DEBUG if verbose else logging.INFO, secrets, now, plain_record)


def _logger(
    output: LineOutput, level: int, secrets: tuple[str, ...], now: Callable[[], float], render: Processor
) -> FilteringBoundLogger:
    """Return a logger that writes to `output` alone; `logging`'s tree of loggers knows nothing of it."""

    def dated_and_redacted(_: object, __: str, record: Record) -> Record:
        return {key: redact(value, secrets) for key, value in {"at": now(), **record}.items()}

    bound: FilteringBoundLogger = structlog.wrap_logger(
        output,
        [structlog.processors.add_log_level, structlog.processors.format_exc_info, dated_and_redacted, render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
    )
    return bound


def _json_record(_: object, __: str, record: Record) -> str:
    at = record.pop("at")
    return json_text({"at": stamp(at) if isinstance(at, float) else at, **record})


def _plain_line(record: Record, width: int | None) -> str:
    at, exception = record.get("at"), record.get("exception")
    fields = " ".join(f"{key}={value}" for key, value in record.items() if key not in _HIDDEN)
    message = str(record.get("message") or f"{record['event']} {fields}".strip())
    if exception:
        message += f" [{str(exception).strip().splitlines()[-1]}; the traceback is in run.log]"
    about = str(record.get("label") or record.get("job") or "")
    return event_line(at if isinstance(at, float) else 0.0, about, message, width)
