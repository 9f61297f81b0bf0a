"""Faults in real time: what a script lets go wrong on a real port costs no video, and nonsense is refused."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from batches import Batch
from comfyui import free_port
from evidence import assert_home
from processes import Running, ended

from tests.lab.faults import KINDS, Where

_ROOT = Path(__file__).parents[2]
_EXAMPLE = _ROOT / "tests" / "lab" / "example.yaml"
_FAULTY = (
    sys.executable,
    "-c",
    f"import sys; sys.path[0] = {str(_ROOT)!r}; from tests.lab import faulty; sys.exit(faulty.main(sys.argv[1:]))",
)
_RULES = {"settle": "2s", "grace": "1s", "patience": "30s"}


def serving(folder: Path, port: int, script: Path) -> Running:
    """Start a server on which a script happens."""
    where = ("--port", str(port), "--dir", str(folder / "server"), "--record", "record.jsonl")
    return Running(folder, str(script), *where, "--seconds", "0.3", command=_FAULTY)


def test_a_batch_on_a_bad_evening(tmp_path: Path) -> None:
    """The example's lost answers, 502s, broken film, login page and restart: four jobs, four videos, each right."""
    port = free_port()
    batch = Batch(tmp_path / "ours", (f"http://127.0.0.1:{port}",), ("cat-1", "cat-2"), rules=_RULES)
    with serving(tmp_path, port, _EXAMPLE) as server:
        server.hear("listens on")
        end = batch.run()
    assert end.code == 0, end.err
    assert_home(batch.home, batch.wanted)
    assert '"restarted"' in (tmp_path / "record.jsonl").read_text(encoding="utf-8")


@pytest.mark.parametrize("do", [do for do, kind in KINDS.items() if kind.where is Where.RUNNER][::3])
def test_what_happens_to_a_runner_is_refused(tmp_path: Path, do: str) -> None:
    """A fault that needs the runner's own machine is refused in one line that names it, with exit 2."""
    script = tmp_path / "script.yaml"
    script.write_text(f"- {{do: restart}}\n- {{at: 1, do: {do}}}\n", encoding="utf-8")
    refused = ended(tmp_path, "script.yaml", "--port", "0", command=_FAULTY)
    assert refused.code == 2
    assert refused.err == f"script.yaml: fault 2: {do} happens to a runner, in simulated nights only\n"
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"- {do: rain}", "script.yaml: fault 1: `do` is one of "),
        (b"- [", "script.yaml:1: this is neither YAML nor JSON"),
        (b"\xff\xfe", "script.yaml: this is not UTF-8"),
        (None, "script.yaml: No such file or directory"),
    ],
)
def test_a_script_that_cannot_be_read(tmp_path: Path, content: bytes | None, message: str) -> None:
    """A script that is none is refused in one line that says where, with exit 2."""
    if content is not None:
        (tmp_path / "script.yaml").write_bytes(content)
    refused = ended(tmp_path, "script.yaml", "--port", "0", command=_FAULTY)
    assert refused.code == 2
    assert message in refused.err
    assert refused.err.count("\n") == 1
