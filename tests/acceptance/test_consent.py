"""What a manifest from anybody may do: nothing that runs or sends without a person's consent."""

from __future__ import annotations

import os
import pty
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from processes import COMMAND, LIMIT, ended

from batchrunner.ledger import Ledger

_TOKEN = "t0p-s3cret-t0ken"
_COMMAND = "env > seen.txt; cat /proc/$PPID/environ >> seen.txt 2>&1; true"
_MANIFEST = """\
name: t
server: sim
workflow: ltx2
notify: {{command: [sh, -c, '{}'], on: [finished]}}
defaults: {{length: 9, size: 768x512, steps: 1}}
sweep: {{prompt: a cat}}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder with a manifest that has a command run."""
    (tmp_path / "m.yaml").write_text(_MANIFEST.format(_COMMAND), encoding="utf-8")
    return tmp_path


def test_a_command_needs_consent_once(folder: Path) -> None:
    """Without consent nothing is run, sent or created; it is given by an option, and remembered for this command."""
    refused = ended(folder, "run", "m.yaml")
    assert refused.code == 2
    assert "run this command to notify you: sh -c" in refused.err
    assert "--allow-commands" in refused.err
    assert [path.name for path in folder.iterdir()] == ["m.yaml"]
    assert ended(folder, "run", "m.yaml", "--allow-commands").code == 0
    assert (folder / "seen.txt").exists()
    (folder / "seen.txt").unlink()
    assert ended(folder, "run", "m.yaml").code == 0
    assert (folder / "seen.txt").exists()
    (folder / "m.yaml").write_text(_MANIFEST.format("echo other"), encoding="utf-8")
    changed = ended(folder, "run", "m.yaml")
    assert changed.code == 2
    assert "echo other" in changed.err


def test_plan_says_what_needs_consent(folder: Path) -> None:
    """Who reads the plan of a manifest from elsewhere sees what it would have run."""
    plan = ended(folder, "plan", "m.yaml")
    assert plan.code == 0
    assert "asks for consent to run this command to notify you: sh -c" in plan.out + plan.err


def test_no_command_reads_the_token(folder: Path) -> None:
    """The token is neither in a command's environment nor in that of the process that started it."""
    end = ended(folder, "run", "m.yaml", "--allow-commands", token=_TOKEN)
    assert end.code == 0, end.err
    seen = (folder / "seen.txt").read_bytes()
    assert b"PATH=" in seen
    assert _TOKEN.encode() not in seen


def test_a_token_file_is_no_way_round(folder: Path) -> None:
    """A token that stands in a file and in the environment is in no command's environment either."""
    (folder / "token").write_text(_TOKEN, encoding="ascii")
    (folder / "token").chmod(0o600)
    end = ended(folder, "run", "m.yaml", "--allow-commands", "--token-file", "token", token=_TOKEN)
    assert end.code == 0, end.err
    assert _TOKEN.encode() not in (folder / "seen.txt").read_bytes()


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("\n", 2), ("no\n", 2)])
def test_a_terminal_is_asked(folder: Path, answer: str, code: int) -> None:
    """On a terminal a person is asked once, and only a yes is one."""
    main, other = pty.openpty()
    with os.fdopen(other, "rb") as terminal, os.fdopen(main, "r+b", buffering=0) as person:
        process = subprocess.Popen(
            [*COMMAND, "run", "m.yaml"], cwd=folder, stdin=terminal, stdout=subprocess.DEVNULL, stderr=terminal
        )
        said = b""
        while b"[y/N]" not in said:
            said += person.read(1024)
        assert b"run this command to notify you" in said
        person.write(answer.encode())
        assert process.wait(LIMIT) == code
    assert (folder / "seen.txt").exists() == (code == 0)


def test_the_environment_is_what_it_was() -> None:
    """A process that began anew to hide its token still has it, and all else of its environment."""
    code = """\
import os, sys
from batchrunner.process import environment, hide_secrets
hide_secrets(("BATCHRUNNER_TOKEN",))
print(environment()["BATCHRUNNER_TOKEN"], "BATCHRUNNER_TOKEN" in os.environ, os.environ["OTHER"], *sys.argv[1:])
"""
    own = {**os.environ, "BATCHRUNNER_TOKEN": _TOKEN, "OTHER": "kept"}
    done = subprocess.run([sys.executable, "-c", code, "a b", "c"], env=own, capture_output=True, text=True, check=True)
    assert done.stdout == f"{_TOKEN} False kept a b c\n"


@pytest.mark.parametrize("verb", [("plan", "--ask"), ("cancel",)])
def test_no_verb_sends_a_variable_without_consent(tmp_path: Path, verb: tuple[str, ...]) -> None:
    """Whatever asks a server sends a manifest's variable there only with consent; nothing is asked before."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0.0)
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        (tmp_path / "m.yaml").write_text(
            f'name: t\nserver: {{url: "{url}", headers: {{X-Api-Key: "${{OTHER}}"}}}}\n'
            "workflow: ltx2\nsweep: {prompt: a cat}\n",
            encoding="utf-8",
        )
        with Ledger.open(tmp_path / "outputs" / "t", "t"):
            pass
        refused = ended(tmp_path, verb[0], "m.yaml", *verb[1:])
        assert refused.code == 2
        assert "send the environment variable OTHER to http://127.0.0.1:" in refused.err
        with pytest.raises(BlockingIOError):
            listening.accept()


def test_a_redo_restarts_before_it_changes_anything(folder: Path) -> None:
    """With a token to hide, `verify --redo` renders what is missing, though its process begins anew."""
    assert ended(folder, "run", "m.yaml", "--allow-commands", token=_TOKEN).code == 0
    (video,) = (folder / "outputs" / "t").glob("*.mp4")
    video.unlink()
    again = ended(folder, "verify", "m.yaml", "--redo", token=_TOKEN)
    assert (again.code, video.exists()) == (0, True), again.err


def test_a_folder_of_a_stranger_runs_no_code_in_the_gallery(folder: Path) -> None:
    """A package of our name beside the manifest is not what the child process of the posters starts."""
    assert ended(folder, "run", "m.yaml", "--allow-commands").code == 0
    (folder / "batchrunner").mkdir()
    (folder / "batchrunner" / "__init__.py").write_text("open('planted.txt', 'w').close()\n", encoding="utf-8")
    command = (str(Path(sys.executable).with_name("batchrunner")),)
    assert ended(folder, "gallery", "m.yaml", command=command).code == 0
    assert not (folder / "planted.txt").exists()
    assert list((folder / "outputs" / "t" / ".posters").iterdir())
