"""One runner per batch, with real processes and real kills."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest

from batchrunner.core.facts import Reopened
from batchrunner.errors import BusyError, LocalError
from batchrunner.ledger import Ledger, hold, holder, is_held_by
from batchrunner.stop_run import stop_run

if TYPE_CHECKING:
    from collections.abc import Iterator

HOLDER = """
import sys
from pathlib import Path
from batchrunner.ledger import hold
with hold(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
WRITER = """
import sys
from itertools import count
from pathlib import Path
from batchrunner.core.facts import Reopened
from batchrunner.ledger import Ledger, hold
with hold(Path(sys.argv[1])), Ledger.open(Path(sys.argv[1]), "cats") as ledger:
    for attempt in count(int(sys.argv[2])):
        ledger.append(Reopened("a" * 12, attempt, 0.0))
        print(attempt, flush=True)
"""


@contextmanager
def _running(script: str, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-c", script, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def _out(process: subprocess.Popen[str]) -> IO[str]:
    assert process.stdout is not None
    return process.stdout


def test_a_run_is_stopped_from_elsewhere(tmp_path: Path) -> None:
    """Whoever really holds a batch is interrupted and waited for; a process that only has its number is left alone."""
    told: list[str] = []
    stop_run(tmp_path / "nothing", told.append)
    with _running(HOLDER, str(tmp_path)) as process, _running("import sys; sys.stdin.read()") as other:
        _out(process).readline()
        found = holder(tmp_path)
        assert found is not None
        assert (found.pid, is_held_by(tmp_path, found)) == (process.pid, True)
        assert not is_held_by(tmp_path, replace(found, pid=other.pid))
        assert not is_held_by(tmp_path, replace(found, host="elsewhere"))
        stop_run(tmp_path, told.append)
        assert process.wait(60) not in (0, None)
        assert other.poll() is None
    assert (told[0].startswith(f"stopping the run (process {found.pid})"), len(told)) == (True, 1)
    assert holder(tmp_path) is None


def test_a_second_runner_is_told_who_holds_the_batch(tmp_path: Path) -> None:
    """The second runner on a batch is refused, and learns the first one's process; killing that one frees it."""
    folder = tmp_path / "outputs" / "cats"
    with _running(HOLDER, str(folder)) as holder:
        assert _out(holder).readline() == "held\n"
        with (
            pytest.raises(BusyError, match=rf"another runner holds this batch \(process {holder.pid} on "),
            hold(folder),
        ):
            pass
        holder.kill()
        holder.wait()
        with hold(folder):
            pass


def test_the_lock_is_free_again_after_its_block(tmp_path: Path) -> None:
    """Leaving the block, also by an error, frees the batch; the lock file stays, private."""
    with pytest.raises(ZeroDivisionError), hold(tmp_path):
        raise ZeroDivisionError
    with hold(tmp_path), pytest.raises(BusyError), hold(tmp_path):
        pass
    assert (tmp_path / "state.lock").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("text", [b"", b"pid 7 on a\x1b[2J" + b" " * 100 + b"\n", b"\xff" * 500])
def test_what_the_lock_file_says_decides_nothing(tmp_path: Path, text: bytes) -> None:
    """Left-over or hostile text in the lock file neither blocks a run nor reaches the message."""
    with hold(tmp_path):
        (tmp_path / "state.lock").write_bytes(text)
        with pytest.raises(BusyError, match=r"holds this batch$"), hold(tmp_path):
            pass
    with hold(tmp_path):
        assert f"pid {os.getpid()} on" in (tmp_path / "state.lock").read_text(errors="replace")


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    """A link in the lock's place is refused, and nothing appears where it points to."""
    (tmp_path / "state.lock").symlink_to(tmp_path / "victim")
    with pytest.raises(LocalError, match="a link"), hold(tmp_path):
        pass
    assert not (tmp_path / "victim").exists()


def test_a_second_name_of_another_file_is_not_written(tmp_path: Path) -> None:
    """A hard link in the lock's place locks, but what it names keeps its content."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    (tmp_path / "state.lock").hardlink_to(victim)
    with hold(tmp_path):
        assert victim.read_text() == "precious"


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    """A pipe or a folder in the lock's place is refused at once instead of being waited for, and not kept open."""
    os.mkfifo(tmp_path / "state.lock")
    before = len(list(Path("/dev/fd").iterdir()))
    with pytest.raises(LocalError, match="not a plain file"), hold(tmp_path):
        pass
    assert len(list(Path("/dev/fd").iterdir())) == before
    (tmp_path / "state.lock").unlink()
    (tmp_path / "state.lock").mkdir()
    with pytest.raises(LocalError, match="can't be opened"), hold(tmp_path):
        pass


def test_where_the_lock_does_not_hold_the_first_runner_stops(tmp_path: Path) -> None:
    """With its lock file deleted, or where locks do nothing, whoever came second writes and the first one ends."""
    fact = Reopened("a" * 12, 1, 0.0)
    with hold(tmp_path), Ledger.open(tmp_path, "cats") as first:
        first.append(fact)
        (tmp_path / "state.lock").unlink()
        with hold(tmp_path), Ledger.open(tmp_path, "cats") as second:
            with pytest.raises(BusyError, match="another runner took over this batch"):
                first.append(fact)
            second.append(fact)
            assert list(first.facts()) == [fact, fact]
        with pytest.raises(BusyError):
            first.append(fact)
    with Ledger.open(tmp_path, "cats") as third:
        third.append(fact)
        assert (list(third.facts()), third.marks()) == ([fact] * 3, {"batch": "cats"})


@pytest.mark.parametrize("after", [0, 1, 7, 40, 200])
def test_kill_9_never_loses_an_acknowledged_fact(tmp_path: Path, after: int) -> None:
    """Killed in the middle of its commits, twice, a writer leaves every fact it had acknowledged, in order."""
    acknowledged = 0
    for _ in range(2):
        begin = acknowledged + 1000
        with _running(WRITER, str(tmp_path), str(begin)) as writer:
            said = [int(_out(writer).readline()) for _ in range(after + 1)]
            writer.kill()
            said += [int(line) for line in _out(writer) if line.endswith("\n")]
        acknowledged = said[-1]
        with hold(tmp_path), Ledger.open(tmp_path, "cats") as ledger:
            kept = list(ledger.facts())
        assert {Reopened("a" * 12, attempt, 0.0) for attempt in said} <= set(kept)
        assert kept == sorted(kept, key=lambda fact: fact.attempt)
