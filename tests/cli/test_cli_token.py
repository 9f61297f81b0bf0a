"""Where the token comes from."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from batchrunner.errors import YoursError
from batchrunner.options import TOKEN_VARIABLE, read_token

if TYPE_CHECKING:
    from pathlib import Path


def _file(path: Path, mode: int = 0o600) -> Path:
    path.write_text("from-the-file\n", encoding="ascii")
    path.chmod(mode)
    return path


def test_without_a_token() -> None:
    """Without a file and without the variable, or with an empty one, there is no token."""
    assert read_token(None, {}) is None
    assert read_token(None, {TOKEN_VARIABLE: "  "}) is None


def test_from_the_environment() -> None:
    """The variable's text is the token, without the blanks around it."""
    found = read_token(None, {TOKEN_VARIABLE: " abc\n"})
    assert found is not None
    assert found.reveal() == "abc"


def test_the_file_comes_first(tmp_path: Path) -> None:
    """A file that is named wins over the environment."""
    found = read_token(_file(tmp_path / "token"), {TOKEN_VARIABLE: "abc"})
    assert found is not None
    assert found.reveal() == "from-the-file"


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o666])
def test_a_file_that_others_may_touch(tmp_path: Path, mode: int) -> None:
    """A file open to others is refused, with the command that closes it, even where the environment has a token."""
    with pytest.raises(YoursError, match="chmod 600"):
        read_token(_file(tmp_path / "token", mode), {TOKEN_VARIABLE: "abc"})


def test_no_plain_file(tmp_path: Path) -> None:
    """A link, a folder, a pipe (which would be waited for) and a missing file are refused, each in a line."""
    (tmp_path / "link").symlink_to(_file(tmp_path / "token"))
    os.mkfifo(tmp_path / "pipe", 0o600)
    (tmp_path / "folder").mkdir(mode=0o700)
    for name in ("link", "pipe", "folder", "missing"):
        with pytest.raises(YoursError) as caught:
            read_token(tmp_path / name, {})
        assert str(caught.value).startswith(f"--token-file {tmp_path / name}: ")
        assert "\n" not in str(caught.value)
