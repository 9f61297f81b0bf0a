"""What the log keeps, what it never keeps, and that it can't do harm."""

from __future__ import annotations

import io
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from batchrunner.show.log import FileOutput, StreamOutput, console_log, file_log

if TYPE_CHECKING:
    from collections.abc import Mapping

    from structlog.typing import FilteringBoundLogger

TOKEN = "sk-very-secret-0123456789"


class NotFound(io.StringIO):
    """A stream whose reader has left."""

    def write(self, _: str) -> int:
        """Fail as a closed pipe does."""
        raise BrokenPipeError(32, "Broken pipe")


def _refuse(token: str) -> None:
    header = {"Authorization": f"Bearer {token}"}
    raise OSError(f"refused with {header}")


def _raise(log: FilteringBoundLogger, token: str) -> None:
    try:
        _refuse(token)
    except OSError:
        log.exception(
            "request_failed", deep=[{"header": (f"Bearer {token}", token)}], odd=io.StringIO, token_key={token: 1}
        )


def _records(path: Path) -> list[Mapping[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_record_is_one_json_line(tmp_path: Path) -> None:
    """Whatever it quotes, a record is one line of ASCII with its time, its name and its level."""
    output = FileOutput(tmp_path / "run.log")
    file_log(output, now=lambda: 1.5).info("note", message='a\nb\u2028 \x1b[2J "')
    assert (tmp_path / "run.log").read_bytes().isascii()
    assert _records(tmp_path / "run.log") == [
        {"at": "1970-01-01T00:00:01.500Z", "message": 'a\nb\u2028 \x1b[2J "', "event": "note", "level": "info"}
    ]
    output.close()
    output.close()


def test_the_log_is_private_and_appended_to(tmp_path: Path) -> None:
    """A second run adds to the log; no other user reads it, whatever the umask."""
    before = os.umask(0)
    try:
        for name in ("first", "second"):
            output = FileOutput(tmp_path / "run.log")
            file_log(output).info(name)
            output.close()
    finally:
        os.umask(before)
    assert [record["event"] for record in _records(tmp_path / "run.log")] == ["first", "second"]
    assert (tmp_path / "run.log").stat().st_mode & 0o777 == 0o600


def test_a_crash_is_told_without_variables_and_without_the_token(tmp_path: Path) -> None:
    """A traceback shows its lines and no values; the token is taken out even of what quotes it."""
    stream = io.StringIO()
    output = FileOutput(tmp_path / "run.log")
    for log in (file_log(output, (TOKEN,)), console_log(StreamOutput(stream), (TOKEN,), verbose=True)):
        _raise(log, TOKEN)
    output.close()
    written = (tmp_path / "run.log").read_text()
    assert "Traceback (most recent call last)" in written
    assert "in _refuse" in written
    assert "header =" not in written
    assert TOKEN not in written + stream.getvalue()
    assert stream.getvalue().count("\n") == 1


def test_a_console_line_names_what_happened() -> None:
    """A console shows the words where there are some, else the fields; details only if asked for."""
    stream = io.StringIO()
    output = StreamOutput(stream)
    log = console_log(output, now=lambda: 0.0)
    log.info("saved", job="a1", label="cats/one", message="saved, 13.2 MB")
    log.info("moved", job="a1", steps=3)
    log.debug("asked", url="u")
    console_log(output, now=lambda: 0.0, verbose=True).debug("asked", at="early", url="u\x1b[0m")
    lines = [line.split(" ", 1)[1] for line in stream.getvalue().splitlines()]
    assert lines == ["cats/one: saved, 13.2 MB", "a1: moved steps=3", "asked url=u\\x1b[0m"]


def test_a_full_disk_costs_lines_and_nothing_else(tmp_path: Path) -> None:
    """A log that can't be written counts its losses and says so once; one that can has nothing to say."""
    assert not StreamOutput(io.StringIO()).failure_text("run.log")
    for output in (FileOutput(Path("/dev/full")), FileOutput(tmp_path / "no" / "folder"), StreamOutput(NotFound())):
        log = file_log(output)
        log.info("one")
        log.info("two")
        output.close()
        assert output.failure_text("run.log") == "writing to run.log failed 2 times: lines are missing there"


def test_a_torn_line_spoils_no_other(tmp_path: Path) -> None:
    """A line cut short for want of room is finished before the next one begins on a line of its own."""
    path = tmp_path / "run.log"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    output = FileOutput(path)
    output.write("x" * 500_000)
    assert output.failures == 1
    read = os.read(reader, 1_000_000)
    while not read.endswith(b"whole\n"):
        output.write("whole")
        read += os.read(reader, 1_000_000)
    assert read.startswith(b"x" * 500_000 + b"\nwhole\n")
    output.close()
    os.close(reader)


def test_a_hard_link_is_not_written_through(tmp_path: Path) -> None:
    """Another file's name in the log's place stays as it is; the lines count as lost."""
    (tmp_path / "victim").write_text("mine")
    (tmp_path / "run.log").hardlink_to(tmp_path / "victim")
    output = FileOutput(tmp_path / "run.log")
    file_log(output).info("note")
    output.close()
    assert (tmp_path / "victim").read_text() == "mine"
    assert output.failures == 1


def test_a_planted_link_is_not_followed(tmp_path: Path) -> None:
    """A link in the log's place is not written through; the lines count as lost."""
    (tmp_path / "run.log").symlink_to(tmp_path / "victim")
    output = FileOutput(tmp_path / "run.log")
    output.write("text")
    assert output.failures == 1
    assert not (tmp_path / "victim").exists()
