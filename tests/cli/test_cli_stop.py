"""Stopping a run with the first Ctrl-C: what is said, and how the run ends."""

from __future__ import annotations

import io
import signal
from typing import TYPE_CHECKING, Any

import pytest
from short_runs import URL_OF_SERVER, serving

from batchrunner.ledger import Ledger
from batchrunner.manifest import Options, load
from batchrunner.process import CANCEL
from batchrunner.progress import Displays
from batchrunner.servers import ServerAccess
from batchrunner.show.listeners import Listener, Listeners
from batchrunner.show.log import StreamOutput
from tests.lab.clock import run
from tests.lab.nights.memory import MemoryNight

if TYPE_CHECKING:
    from pathlib import Path

    from batchrunner.show.events import RunEvent
    from tests.lab.clock import VirtualLoop

_MANIFEST = f"""
name: cats
server: {URL_OF_SERVER}
workflow: ltx2
sweep: {{prompt: a cat, seed: [1, 2, 3]}}
"""


class _Stopping(Listener):
    """A listener that stops the run at the first event of one kind, and keeps what is said to people."""

    run: MemoryNight

    def __init__(self, name: str, number: signal.Signals = signal.SIGTERM) -> None:
        self.messages: list[str] = []
        self._name = name
        self._number = number
        self.ending: Any = []

    def event(self, event: RunEvent) -> None:
        """Stop the run, or keep the message."""
        if event.name == self._name:
            self._name = ""
            self.run.stop(self._number)
        if event.name == "finished":
            self.ending = event.fields["message"]
        elif event.name == "note":
            self.messages.append(event.message)


def _stopped(folder: Path, listener: _Stopping) -> tuple[int, list[str]]:
    """Run a batch of three jobs that `listener` stops; return the exit code and the last lines."""
    (folder / "cats.yaml").write_text(_MANIFEST, encoding="utf-8")
    batch, console = load(folder / "cats.yaml", Options()), io.StringIO()

    async def main(loop: VirtualLoop) -> int:
        async with serving(loop, folder / "gpu"):
            with Ledger.open(folder / "cats", batch.name) as ledger:
                displays = Displays(Listeners([listener]), StreamOutput(console), 60.0)
                listener.run = MemoryNight(batch, folder / "cats", ServerAccess(batch, None, {}), ledger, displays)
                return await listener.run.run()

    return run(main, seed=1), console.getvalue().splitlines()


@pytest.mark.parametrize(
    ("when", "message", "exit_code", "last"),
    [
        ("rendered", "Finishing downloads. Press Ctrl-C again to quit now.", 128 + signal.SIGTERM, "to download it"),
        ("finished", "Sending notifications. Press Ctrl-C again to quit now.", 0, "every job is done"),
    ],
)
def test_the_first_signal(tmp_path: Path, when: str, message: str, exit_code: int, last: str) -> None:
    """With jobs left it says that downloads are finished, and what still renders; at the end, that it notifies."""
    listener = _Stopping(when)
    code, said = _stopped(tmp_path, listener)
    assert code == exit_code
    assert listener.messages == [message]
    assert len(list((tmp_path / "cats").glob("*.mp4"))) == (3 if when == "finished" else 1)
    assert said[-1].endswith(last)
    if when == "rendered":
        assert said[0] == "stopped"
        assert f"{URL_OF_SERVER} is still rendering a-cat-" in said[-1]
        assert ": run the same command again before " in said[-1]
    assert listener.ending[0] == said[0]
    assert listener.ending[-1] == (said[-1] if when == "rendered" else "every job is done")


def test_a_run_that_is_cancelled(tmp_path: Path) -> None:
    """It says that it was cancelled and how to render its jobs, not when to download what is removed next."""
    listener = _Stopping("rendered", CANCEL)
    code, said = _stopped(tmp_path, listener)
    assert (code, said[0]) == (130, "stopped by cancel; its jobs are rendered when the batch is run again")
    assert listener.ending == said[:1]
    assert "still rendering" not in "".join(said)
