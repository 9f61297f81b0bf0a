"""The table of all saved files."""

from __future__ import annotations

import csv
import io

from batchrunner.core.facts import Accepted, Claimed, Fact, File, Lost, Rendered, Saved, Why
from batchrunner.core.job import Job
from batchrunner.core.lifecycle import folded
from batchrunner.show.table import results_csv

GPU = "http://gpu:8188"
JOBS = [
    Job("0" * 12, "", {"prompt": 'a cat, "purring"', "seed": 2**64 - 1, "cfg": 4.5, "path": "x"}, "one", 1.0),
    Job("1" * 12, "", {"prompt": "=HYPERLINK(1)", "seed": 7, "_on": True}, "two", 1.0),
    Job("2" * 12, "", {"prompt": "-", "seed": 8}, "three", 1.0),
]


def _story(job: str, attempt: int, *paths: str) -> list[Fact]:
    return [
        Claimed(job, attempt, 1.0, "id", "p", GPU, ""),
        Rendered(job, attempt, 9.5, tuple(map(File, paths)), None, 8.12345),
        *(Saved(job, attempt, 10.0, path, f"{job[0]}/{path}", 5, "f" * 64) for path in paths),
    ]


def _rows(facts: list[Fact]) -> list[dict[str, str]]:
    states = folded([job.id for job in JOBS], facts)
    return list(csv.DictReader(io.StringIO(results_csv(JOBS, states, facts))))


def test_a_row_for_each_file() -> None:
    """Every saved file has a row: where it is, its job's parameters, its seed whole, its sum, and its times."""
    lost = [Claimed("0" * 12, 1, 0.0, "id", "p", "http://b", ""), Lost("0" * 12, 1, 0.5, Why.ERROR, "no")]
    rows = _rows([*lost, *_story("0" * 12, 2, "a.mp4", "b.png"), Accepted("1" * 12, 1, 3.0, "id", "p", GPU)])
    assert [row["path"] for row in rows] == ["0/a.mp4", "0/b.png"]
    assert rows[0] == {
        "path": "0/a.mp4",
        "job": "0" * 12,
        "seed": str(2**64 - 1),
        "prompt": 'a cat, "purring"',
        "cfg": "4.5",
        "param.path": "x",
        "bytes": "5",
        "sha256": "f" * 64,
        "server": GPU,
        "attempt": "2",
        "submitted": "1970-01-01T00:00:01.000Z",
        "rendered": "1970-01-01T00:00:09.500Z",
        "saved": "1970-01-01T00:00:10.000Z",
        "render_seconds": "8.123",
    }


def test_what_is_not_known_is_empty() -> None:
    """A render that was taken over was not submitted here; a parameter that a job does not have is an empty cell."""
    one, two = "0" * 12, "1" * 12
    adopted = [Accepted(two, 3, 3.0, "id", "p", GPU), *_story(two, 3, "c.mp4")[1:]]
    first, second = _rows([*_story(one, 1, "a.mp4"), *adopted])
    assert (second["submitted"], second["server"], second["cfg"], second["_on"]) == ("", GPU, "", "true")
    assert first["_on"] == ""


def test_no_formulas() -> None:
    """A text that a spreadsheet would run as a formula is marked as a text; a negative number stays one."""
    rows = _rows([*_story("1" * 12, 1, "c.mp4"), *_story("2" * 12, 1, "d.mp4")])
    assert [row["prompt"] for row in rows] == ["'=HYPERLINK(1)", "'-"]


def test_nothing_saved() -> None:
    """Before anything is saved the table has its header."""
    assert results_csv(JOBS, {}, []).startswith("path,job,seed,bytes,")
