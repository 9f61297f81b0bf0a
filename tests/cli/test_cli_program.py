"""The words with which printed commands begin: those that started this program."""

from __future__ import annotations

import pytest

from batchrunner.program import command_line, started_by

_VENV = "/home/me/.venv/bin/batchrunner"


@pytest.mark.parametrize(
    ("script", "on_path", "words"),
    [
        (_VENV, _VENV, ["batchrunner"]),
        (_VENV, None, [_VENV]),
        (_VENV, "/usr/bin/batchrunner", [_VENV]),
        (".venv/bin/batchrunner", None, [".venv/bin/batchrunner"]),
        ("/lib/batchrunner/__main__.py", _VENV, ["python3", "-m", "batchrunner"]),
        ("/lib/pytest/__main__.py", None, ["batchrunner"]),
        ("", None, ["batchrunner"]),
    ],
)
def test_how_it_was_started(script: str, on_path: str | None, words: list[str]) -> None:
    """A printed command starts the same program; the plain name only where it means that one, or no other is known."""
    assert list(started_by(script, "python3", on_path)) == words


def test_commands_for_other_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    """A command that is read elsewhere names the program by its whole path, and is quoted for a shell."""
    monkeypatch.setattr("sys.argv", ["my venv/batchrunner"])
    monkeypatch.chdir(str(tmp_path))
    monkeypatch.setenv("PATH", "")
    assert command_line("run", "a b") == "'my venv/batchrunner' run 'a b'"
    assert command_line("run", absolute=True) == f"'{tmp_path}/my venv/batchrunner' run"
