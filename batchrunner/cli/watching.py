"""Who watches a run: `run.log` always, a live board on a terminal, plain lines elsewhere, JSON if asked for."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.console import Console

from batchrunner.errors import BatchrunnerError
from batchrunner.show.live import LiveBoard
from batchrunner.show.log import console_log, file_log
from batchrunner.show.sink import FileSink, StreamSink, lost_words
from batchrunner.show.watch import Audience, Journal, JsonLines, Lines

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from structlog.typing import FilteringBoundLogger

    from batchrunner.cli.asked import Asked
    from batchrunner.comfy.secret import Secret
    from batchrunner.show.watch import Observer

_LOG = "run.log"
_BEAT_ON_TERMINAL = 0.5
_BEAT_IN_LOG = 5.0


@dataclass(frozen=True, slots=True)
class Watching:
    """The audience of one run, and what the run writes to itself."""

    audience: Audience
    log: FilteringBoundLogger
    """`run.log`, for what is no event."""
    console: StreamSink
    """Lines for people, below or instead of the live board."""
    beat: float
    """Seconds between two scenes."""


@contextmanager
def watching(asked: Asked, batch: str, folder: Path, secret: Secret | None) -> Iterator[Watching]:
    """Open every display and the log; close them when the run ends, however it ends. Raises LocalError."""
    hidden = secret.reveal() if secret else ""
    lines = StreamSink(sys.stderr)
    file = FileSink(folder / _LOG)
    log = file_log(file, hidden)
    live = sys.stderr.isatty()
    observers: list[Observer] = [Journal(log)]
    if asked.as_json:
        observers.append(JsonLines(StreamSink(sys.stdout), batch))
    if live and not asked.verbose:
        observers.append(LiveBoard(Console(stderr=True, highlight=False)))
    else:
        observers.append(Lines(console_log(lines, hidden, verbose=asked.verbose)))
    audience = Audience(observers, hidden)
    try:
        yield Watching(audience, log, lines, _BEAT_ON_TERMINAL if live else _BEAT_IN_LOG)
    except BatchrunnerError:
        raise
    except Exception as error:
        log.exception("crash", exc_info=error)
        raise BatchrunnerError(
            f"a bug in batchrunner ({type(error).__name__}): the state is sound, run it again; "
            f"please report it with {folder / _LOG}"
        ) from None
    finally:
        audience.close()
        file.close()
        if file.lost:
            lines.write(lost_words(str(folder / _LOG), file))
