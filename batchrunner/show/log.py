"""The run's log, and where lines go."""

from __future__ import annotations

import io
import logging
import os
import time
import traceback
from functools import partial
from typing import IO, TYPE_CHECKING, Protocol, cast

import structlog

from batchrunner.text import json_text, stamp, told

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping
    from pathlib import Path
    from types import TracebackType

    from structlog.typing import FilteringBoundLogger, Processor

    from batchrunner.core.job import Json

# -- Belt and braces: the token is kept out of everything by construction, and taken out here if it got in.


REDACTED = "***"


def redactor(secret: str) -> Processor:
    """Return a processor that replaces `secret` wherever it stands in a record, however deep."""

    def redact(_: object, __: str, record: MutableMapping[str, object]) -> Mapping[str, object]:
        return {key: clean(value, secret) for key, value in record.items()}

    return redact


def clean(value: object, secret: str) -> Json:
    """Return `value` as plain JSON without `secret`: nothing is left to be turned into text behind our back."""
    if isinstance(value, bool | int | float | None):
        return value
    if isinstance(value, dict):
        return {str(clean(str(key), secret)): clean(item, secret) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [clean(item, secret) for item in value]
    text = str(value)
    return text.replace(secret, REDACTED) if secret else text


# -- Where lines go. Writing one never raises: what people see must never cost a video.


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


# -- The run's log, through structlog: JSON lines in `run.log`, plain lines on a console.
#
# Three promises. A record is one line, whatever it quotes: event names are constants, the rest is fields. The token is
# in none of them: an exception is a plain traceback without locals, and every text passes `redactor` all the same. And
# a log that can't be written costs a count, never a video.


_HIDDEN = frozenset({"event", "at", "label", "message", "level", "job", "exception"})


def file_log(sink: Sink, secret: str = "", now: Callable[[], float] = time.time) -> FilteringBoundLogger:
    """Return a logger that writes every record as one JSON line. `secret` is what must never be in one."""
    return _logger(
        sink, logging.DEBUG, [structlog.processors.add_log_level, partial(_dated, now), *_common(secret)], _json
    )


def console_log(
    sink: Sink, secret: str = "", now: Callable[[], float] = time.time, *, verbose: bool = False
) -> FilteringBoundLogger:
    """Return a logger that writes plain lines for people; only a verbose one tells details."""
    level = logging.DEBUG if verbose else logging.INFO
    return _logger(sink, level, [partial(_dated, now), *_common(secret)], _plain)


def _logger(sink: Sink, level: int, processors: list[Processor], render: Processor) -> FilteringBoundLogger:
    bound = structlog.make_filtering_bound_logger(level)
    made: object = structlog.wrap_logger(_Lines(sink), [*processors, render], wrapper_class=bound)
    return cast("FilteringBoundLogger", made)


class _Lines:
    """What structlog hands its finished lines to: every level goes the same way."""

    def __init__(self, sink: Sink) -> None:
        self.debug = self.info = self.warning = self.error = self.critical = sink.write


def _common(secret: str) -> list[Processor]:
    return [structlog.processors.ExceptionRenderer(_plain_traceback), redactor(secret)]


def _plain_traceback(exc_info: tuple[type[BaseException], BaseException, TracebackType | None]) -> str:
    """Render without the values of any variable: one of them is the token."""
    text = io.StringIO()
    traceback.print_exception(*exc_info, file=text)
    return text.getvalue()


def _dated(now: Callable[[], float], _: object, __: str, record: MutableMapping[str, object]) -> Mapping[str, object]:
    return {"at": now(), **record}


def _json(_: object, __: str, record: MutableMapping[str, object]) -> str:
    at = record.pop("at")
    dated = {"at": stamp(at) if isinstance(at, float) else at, **record}
    return json_text(cast("Mapping[str, Json]", dated))


def _plain(_: object, __: str, record: MutableMapping[str, object]) -> str:
    at, exception = record.get("at"), record.get("exception")
    fields = " ".join(f"{key}={value}" for key, value in record.items() if key not in _HIDDEN)
    message = str(record.get("message") or f"{record['event']} {fields}".strip())
    if exception:
        message += f" [{str(exception).strip().splitlines()[-1]}; the traceback is in run.log]"
    who = str(record.get("label") or record.get("job") or "")
    return told(at if isinstance(at, float) else 0.0, who, message)
