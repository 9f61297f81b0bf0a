"""What a run needs of its process: which signals end it, and names that the system can write."""

from __future__ import annotations

import os
import signal

import anyio
import pytest

from batchrunner.errors import YoursError
from batchrunner.process import CANCEL, check_names, handle_signals, kept_signals, stop_signals


def test_a_hang_up_that_nohup_ignores_stays_ignored() -> None:
    """SIGINT, SIGTERM and the signal of `cancel` are handled, and, SIGHUP unless it was ignored at the start."""
    before = signal.getsignal(signal.SIGHUP)
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        assert stop_signals() == [signal.SIGINT, signal.SIGTERM, CANCEL]
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        assert stop_signals() == [signal.SIGINT, signal.SIGTERM, CANCEL, signal.SIGHUP]
    finally:
        signal.signal(signal.SIGHUP, before)


async def test_the_second_signal_ends_whatever_is_closing(monkeypatch: pytest.MonkeyPatch) -> None:
    """After the first signal the second one ends the process also when nobody listens; then all is as before."""
    before = [signal.getsignal(number) for number in stop_signals()]
    stopped: list[int] = []
    monkeypatch.setattr(os, "_exit", stopped.append)
    with kept_signals():
        async with anyio.create_task_group() as task_group:

            def stop(number: signal.Signals) -> None:
                stopped.append(number)
                task_group.cancel_scope.cancel()

            await task_group.start(handle_signals, stop, lambda: None)
            os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
    assert stopped == [signal.SIGTERM, 128 + signal.SIGINT]
    assert [signal.getsignal(number) for number in stop_signals()] == before


def test_names_that_the_locale_cannot_write() -> None:
    """A name that this system's encoding of file names lacks is told before anything is sent, with the cure."""
    check_names(["rain/cat-s7", "caf\u00e9"], "latin-1")
    check_names(["\u732b"])
    with pytest.raises(
        YoursError, match=r'the file name "\u732b-s7" can.t be written in this locale \(latin-1\); set LC_ALL'
    ):
        check_names(["cat", "\u732b-s7"], "latin-1")
