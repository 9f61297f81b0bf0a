"""Where the token comes from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from batchrunner.errors import YoursError
from batchrunner.options import TOKEN_VARIABLE, read_token, token_warning


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
    """A file open to others is used, and the warning names the command that closes it."""
    file = _file(tmp_path / "token", mode)
    found = read_token(file, {TOKEN_VARIABLE: "abc"})
    assert found is not None
    assert found.reveal() == "from-the-file"
    assert token_warning(file) == f"--token-file {file}: other users can access it; run chmod 600 {file}"
    assert token_warning(_file(file)) == token_warning(None) == token_warning(tmp_path / "missing") == ""


def test_a_link_and_a_pipe(tmp_path: Path) -> None:
    """A link is followed, as mounted secrets are; a pipe is read to its end, as `<(pass show token)` is."""
    (tmp_path / "link").symlink_to(_file(tmp_path / "token"))
    reader, writer = os.pipe()
    os.write(writer, b"from-the-pipe\n")
    os.close(writer)
    for path, text in ((tmp_path / "link", "from-the-file"), (Path(f"/dev/fd/{reader}"), "from-the-pipe")):
        found = read_token(path, {})
        assert found is not None
        assert found.reveal() == text
        assert token_warning(path) == ""
    os.close(reader)


def test_no_file(tmp_path: Path) -> None:
    """A folder and a missing file are refused, each in a line."""
    for name, reason in (("", "Is a directory"), ("missing", "No such file or directory")):
        with pytest.raises(YoursError) as caught:
            read_token(tmp_path / name, {})
        assert str(caught.value) == f"--token-file {tmp_path / name}: {reason}"
