"""Ctrl-C once: finish what is rendered and go. Twice: out at once. The state is valid either way."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable

    from anyio.abc import TaskStatus


def wanted() -> list[signal.Signals]:
    """Return the signals to listen to; a hang-up that is ignored already (nohup) stays ignored."""
    signals = [signal.SIGINT, signal.SIGTERM]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    return signals


async def listen(
    leave: Callable[[signal.Signals], None],
    out: Callable[[], None],
    *,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Call `leave` on the first signal; on the second call `out` to tidy the terminal, and end the process."""
    first = True
    with anyio.open_signal_receiver(*wanted()) as signals:
        task_status.started()
        async for number in signals:
            if not first:
                out()
                os._exit(128 + number)
            first = False
            leave(signal.Signals(number))
