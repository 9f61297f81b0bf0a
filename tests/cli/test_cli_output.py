"""What stdout can't encode."""

from __future__ import annotations

import json
from contextlib import chdir, redirect_stdout
from io import BytesIO, TextIOWrapper
from typing import TYPE_CHECKING

import pytest

from batchrunner.cli.app import app
from batchrunner.cli.output import open_streams
from batchrunner.core.job import Job
from batchrunner.ledger import Ledger
from batchrunner.manifest.schema import manifest_schema

if TYPE_CHECKING:
    from pathlib import Path

_CAT = "\u732b"
_FILM = "\U0001f3ac"


def _printed(encoding: str, *arguments: str) -> str:
    """Call the command with a stdout of that encoding; return what it printed, fail unless it ended well."""
    paper = BytesIO()
    out = TextIOWrapper(paper, encoding=encoding, write_through=True)
    with redirect_stdout(out):
        open_streams()
        with pytest.raises(SystemExit) as ended:
            app(arguments, prog_name="batchrunner")
    assert ended.value.code == 0
    return paper.getvalue().decode(encoding)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_that_cannot_show_it(tmp_path: Path, encoding: str) -> None:
    """What a terminal's encoding can't say stands there as an escape: no traceback, and JSON stays JSON."""
    job = Job("a" * 12, "a" * 64, {"prompt": "a cat"}, f"{_FILM}-{_CAT}", 1.0)
    with Ledger.open(tmp_path / "outputs" / "night", "night") as ledger:
        ledger.keep([job])
    with chdir(tmp_path):
        told = _printed(encoding, "why", job.id)
    shown = (_CAT, _FILM) if encoding == "utf-8" else ("\\u732b", "\\U0001f3ac")
    assert all(each in told for each in shown)
    assert json.loads(_printed(encoding, "schema")) == manifest_schema()
