"""The run's log, through structlog: JSON lines in `run.log`, plain lines on a console.

Three promises. A record is one line, whatever it quotes: event names are constants, the rest is fields. The token is in
none of them: an exception is a plain traceback without locals, and every text passes `redactor` all the same. And
a log that can't be written costs a count, never a video.
"""

from __future__ import annotations

import io
import logging
import time
import traceback
from functools import partial
from typing import TYPE_CHECKING, cast

import structlog

from batchrunner.show.redact import redactor
from batchrunner.show.text import json_text, stamp, told

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping
    from types import TracebackType

    from structlog.typing import FilteringBoundLogger, Processor

    from batchrunner.core.identity import Json
    from batchrunner.show.sink import Sink

_HIDDEN = frozenset({"event", "at", "label", "says", "level", "job", "exception"})


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
    says = str(record.get("says") or f"{record['event']} {fields}".strip())
    if exception:
        says += f" [{str(exception).strip().splitlines()[-1]}; the traceback is in run.log]"
    who = str(record.get("label") or record.get("job") or "")
    return told(at if isinstance(at, float) else 0.0, who, says)
