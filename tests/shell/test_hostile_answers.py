"""A server that says anything at all, in a process of its own: its memory is part of the promise.

`BATCHRUNNER_STORM=50000:1000 pytest -s tests/shell/test_hostile_answers.py` gives it so many answers and so many names.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

_STORM = Path(__file__).with_name("storm.py")
_ANSWERS, _NAMES = map(int, os.environ.get("BATCHRUNNER_STORM", "1000:100").split(":"))


def test_a_storm_of_hostile_answers() -> None:
    """Whatever a server answers or calls its files ends in a verdict, inside our folder, and in less than 300 MiB."""
    command = [sys.executable, str(_STORM), str(_ANSWERS), str(_NAMES)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    print(ended.stdout)  # noqa: T201 - figures for whoever runs with -s
    assert (ended.returncode, ended.stderr) == (0, "")
    answers, names, floods, _ = ended.stdout.splitlines()
    assert int(answers.split()[0]) >= _ANSWERS
    assert int(names.split()[0]) == _NAMES
    for verdict in (
        "pollresult",
        "taken",
        "refused",
        "downloaded",
        "notfound",
        "rejected",
        "failure: unavailable",
        "failure: unauthorized",
        "told",
    ):
        assert f" {verdict}" in answers, "the storm met only some of what can happen"
    assert " downloaded" in names
    assert "failure" in floods
