"""A batch that is finished: what stands already is not made again, and what is missing is."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from batchrunner.core.board import Board
from batchrunner.core.facts import Accepted, Claimed, Fact, File, Rendered, Saved
from batchrunner.core.job import Job
from batchrunner.core.settings import Rules
from batchrunner.download.folder import Folder
from batchrunner.ledger import Ledger
from batchrunner.show.gallery import Gallery
from batchrunner.show.report import RunContext

if TYPE_CHECKING:
    from pathlib import Path

ONE = "0" * 12
JOBS = {ONE: Job(ONE, "", {"prompt": "a cat"}, "cat", 1e9)}
STORY: tuple[Fact, ...] = (
    Claimed(ONE, 1, 1.0, "id", "p", "http://gpu:8188", ""),
    Accepted(ONE, 1, 1.0, "id", "p", "http://gpu:8188"),
    Rendered(ONE, 1, 9.0, (File("x.mp4"),), None, 8.0),
    Saved(ONE, 1, 9.0, "x.mp4", "cat.mp4", 5, "f" * 64),
)


def _run(folder: Path, at: float, jobs: dict[str, Job] = JOBS, facts: tuple[Fact, ...] = STORY) -> tuple[str, str]:
    """Begin and end a run that has nothing to do; return the page's data and the report."""
    board = Board("night", Rules(), ("http://gpu:8188",), 0.0)
    board.load(jobs, facts, 0.0)
    board.want(jobs, None, 0.0)
    gallery = Gallery(folder, "night", RunContext(), lambda: at, [].append, list(facts))
    gallery.update(board, jobs, 0.0)
    gallery.finish(board, jobs, 1.0)
    return (folder / "gallery-data.js").read_text("ascii"), (folder / "report.md").read_text("utf-8")


def test_a_page_that_stands_is_not_made_again(tmp_path: Path) -> None:
    """A run of a finished batch leaves the page and the report of the run that finished it."""
    before = _run(tmp_path, 100.0)
    assert '"at":100.0' in before[0]
    assert _run(tmp_path, 200.0) == before


def test_a_page_of_something_else_is_made_again(tmp_path: Path) -> None:
    """Another name, a further fact, a page, its data or a report that are not there: all is written again."""
    _run(tmp_path, 100.0)
    renamed = {ONE: replace(JOBS[ONE], file="kitten")}
    assert '"at":101.0' in _run(tmp_path, 101.0, renamed)[0]
    assert '"at":102.0' in _run(tmp_path, 102.0)[0]
    for number, name in enumerate(("index.html", "gallery-data.js", "report.md")):
        (tmp_path / name).unlink()
        assert f'"at":{110 + number}' in _run(tmp_path, 110.0 + number)[0]
    (tmp_path / "index.html").write_text("of another version", "utf-8")
    assert '"at":120.0' in _run(tmp_path, 120.0)[0]


def test_a_page_of_an_unfinished_batch_is_always_made_again(tmp_path: Path) -> None:
    """As long as a job is open, forecasts change, and the page with them."""
    _run(tmp_path, 100.0, facts=STORY[:3])
    assert '"at":200.0' in _run(tmp_path, 200.0, facts=STORY[:3])[0]


def test_the_ledger_is_read_at_once(tmp_path: Path) -> None:
    """Jobs, facts and marks of an open ledger come in one piece."""
    with Ledger.open(tmp_path, "night") as ledger:
        ledger.keep(JOBS.values())
        for fact in STORY:
            ledger.append(fact)
        ledger.mark("seen", value=True)
        content = ledger.content()
    assert (content.batch, content.jobs, content.facts) == ("night", JOBS, STORY)
    assert content.marks["seen"] is True


def test_a_folder_lists_its_files_and_nothing_else(tmp_path: Path) -> None:
    """Regular files in order, folder by folder; links, hidden files and hidden folders are left out."""
    for name in ("b.mp4", "a.mp4", "z/c.mp4", "d/e/f.mp4", ".hidden/g.mp4", ".h.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "link.mp4").symlink_to("a.mp4")
    (tmp_path / "linked").symlink_to("z")
    assert list(Folder(tmp_path).files()) == ["a.mp4", "b.mp4", "d/e/f.mp4", "z/c.mp4"]
