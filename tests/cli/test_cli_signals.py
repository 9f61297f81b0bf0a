"""Which signals end a run."""

from __future__ import annotations

import signal

from batchrunner.process import stop_signals


def test_a_hang_up_that_nohup_ignores_stays_ignored() -> None:
    """SIGINT and SIGTERM are listened to always, SIGHUP unless it was ignored when we were started."""
    before = signal.getsignal(signal.SIGHUP)
    try:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        assert stop_signals() == [signal.SIGINT, signal.SIGTERM]
        signal.signal(signal.SIGHUP, signal.SIG_DFL)
        assert stop_signals() == [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    finally:
        signal.signal(signal.SIGHUP, before)
