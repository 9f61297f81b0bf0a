"""What a person got wrong, told in a line each before anything is sent or created."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from comfyui import Doorbell
from processes import ended, telling

if TYPE_CHECKING:
    from pathlib import Path

_GOOD = """\
name: night
server: {url}
workflow: ltx2
sweep:
  prompt: a cat
  seed: 1
"""
_WRONG = {
    "an unknown key": ("workflow: ltx2", "workflow: ltx2\nworkflw: x", "5:1: ", "did you mean workflow"),
    "a wrong type": ("workflow: ltx2", "workflow: ltx2\nattempts: many", "5:11: ", "attempts"),
    "an unknown parameter": ("  seed: 1", "  sed: 1", "7:3: ", "did you mean seed"),
    "a file that is not there": ("prompt: a cat", "prompt: {{file: none.txt}}", "6:18: ", "none.txt"),
    "an empty axis": ("prompt: a cat", "prompt: []", "6:11: ", "sweep.prompt"),
    "bad YAML": ("  seed: 1", "  seed: [1", "", ""),
    "a negative seed": ("seed: 1", "seed: -1", "7:9: ", "sweep.seed"),
    "a seed that is too large": ("seed: 1", "seed: 18446744073709551616", "7:9: ", "sweep.seed"),
    "a name with a slash": ("name: night", "name: ni/ght", "2:7: ", "name"),
    "a sweep of nothing": ("  prompt: a cat\n  seed: 1\n", "  {{}}\n", "6:3: ", "makes no jobs"),
}
_WRONG_COMMANDS = {
    "run none.yaml": "none.yaml",
    "run good.yaml --server gpu-box": "--server",
    "run good.yaml --set seed=-1": "--set",
    "run good.yaml --only colour=red": "--only",
    "run good.yaml --limit 0": "--limit",
    "run good.yaml --token-file none": "--token-file",
    "run good.yaml --tokn-file none": "--tokn-file",
}


@pytest.mark.parametrize("name", telling(_WRONG, ("an unknown key", "a file that is not there", "bad YAML")))
def test_one_clear_line(tmp_path: Path, name: str) -> None:
    """A mistake is one line with file, line and column and exit 2; no traceback, nothing sent, nothing created."""
    old, new, place, message = _WRONG[name]
    with Doorbell() as bell:
        text = "# a night\n" + _GOOD.replace(old, new).format(url=bell.url)
        (tmp_path / "night.yaml").write_text(text, encoding="utf-8")
        end = ended(tmp_path, "run", "night.yaml")
        lines = end.err.splitlines()
        assert (end.code, end.out, len(lines)) == (2, "", 1), end.err
        assert lines[0].startswith(f"night.yaml:{place}")
        assert all(part.isdigit() for part in lines[0].split(":")[1:3])
        assert message in lines[0]
        assert not bell.rang()
        assert [path.name for path in tmp_path.iterdir()] == ["night.yaml"]


def test_all_at_once(tmp_path: Path) -> None:
    """Every mistake is told in one go, in the order of the file."""
    text = """\
name: ni/ght
server: sim
workflow: ltx2
attempts: many
workflw: x
defaults: {cfg: high}
sweep:
  prompt: {file: none.txt}
  sed: 1
  seed: [-1, 18446744073709551616]
"""
    (tmp_path / "night.yaml").write_text(text, encoding="utf-8")
    end = ended(tmp_path, "run", "night.yaml")
    assert end.code == 2
    places = [tuple(map(int, line.split(":")[1:3])) for line in end.err.splitlines()]
    assert [line for line, _ in places] == [1, 4, 5, 6, 8, 9, 10, 10]
    assert places == sorted(places)
    assert [path.name for path in tmp_path.iterdir()] == ["night.yaml"]


@pytest.mark.parametrize("words", telling(_WRONG_COMMANDS, ("run none.yaml", "run good.yaml --set seed=-1")))
def test_a_wrong_command_line(tmp_path: Path, words: str) -> None:
    """A mistake on the command line is exit 2 and names what is wrong; nothing sent, nothing created."""
    with Doorbell() as bell:
        (tmp_path / "good.yaml").write_text(_GOOD.format(url=bell.url), encoding="utf-8")
        end = ended(tmp_path, *words.split())
        assert (end.code, end.out) == (2, "")
        assert _WRONG_COMMANDS[words] in end.err
        assert "Traceback" not in end.err
        assert not bell.rang()
        assert [path.name for path in tmp_path.iterdir()] == ["good.yaml"]
