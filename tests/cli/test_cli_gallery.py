"""The page is kept up while a batch runs, and costs it nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from batchrunner.core.actions import Cause, Failure
from batchrunner.core.board import Board
from batchrunner.core.facts import Accepted, Claimed, Fact, File, Rendered, Saved
from batchrunner.core.job import Job
from batchrunner.core.notes import PollFailed
from batchrunner.core.settings import Rules
from batchrunner.show.gallery import Gallery
from batchrunner.show.report import RunContext

if TYPE_CHECKING:
    from pathlib import Path

GPU = "http://gpu:8188"
JOBS = {name: Job(name, "", {"prompt": name}, name, 1e9) for name in ("0" * 12, "1" * 12)}
ONE = "0" * 12
STORY: tuple[Fact, ...] = (
    Claimed(ONE, 1, 1.0, "id", "p", GPU, ""),
    Accepted(ONE, 1, 1.0, "id", "p", GPU),
    Rendered(ONE, 1, 9.0, (File("x.mp4"),), None, 8.0),
    Saved(ONE, 1, 9.0, "x.mp4", f"{ONE}.mp4", 5, "f" * 64),
)


def _board() -> Board:
    board = Board("night", Rules(), (GPU,), 0.0)
    board.load(JOBS, (), 0.0)
    board.want(JOBS, None, 0.0)
    return board


def _gallery(folder: Path, warned: list[str]) -> Gallery:
    return Gallery(folder, "night", RunContext(), lambda: 100.0, warned.append)


def _happened(gallery: Gallery, board: Board, fact: Fact, now: float) -> None:
    state = board.follow(fact)
    assert state is not None
    board.put(fact.job, state, now, fact)
    gallery.fact(fact)


def test_the_page_is_there_from_the_first_moment(tmp_path: Path) -> None:
    """Before anything happened the page stands, with every job that is to come."""
    _gallery(tmp_path, []).update(_board(), JOBS, 0.0)
    assert (tmp_path / "index.html").exists()
    assert all(job in (tmp_path / "gallery-data.js").read_text(encoding="ascii") for job in JOBS)


def test_it_follows_at_its_own_pace(tmp_path: Path) -> None:
    """What happens shows within two seconds; nothing new is no reason to write, nor are two facts at once."""
    board, gallery, data = _board(), _gallery(tmp_path, []), tmp_path / "gallery-data.js"
    gallery.update(board, JOBS, 0.0)
    data.unlink()
    gallery.update(board, JOBS, 30.0)
    assert not data.exists()
    for fact in STORY[:3]:
        _happened(gallery, board, fact, 30.0)
    gallery.update(board, JOBS, 30.0)
    assert data.exists()
    data.unlink()
    _happened(gallery, board, STORY[3], 30.5)
    gallery.update(board, JOBS, 30.5)
    assert not data.exists()
    gallery.update(board, JOBS, 32.0)
    assert f"{ONE}.mp4" in data.read_text(encoding="ascii")


def test_the_end_is_always_told(tmp_path: Path) -> None:
    """Whatever was written a moment ago, the end is written, with a report beside it."""
    board, gallery = _board(), _gallery(tmp_path, [])
    gallery.update(board, JOBS, 0.0)
    for fact in STORY:
        _happened(gallery, board, fact, 0.1)
    told = gallery.finish(board, JOBS, 0.1)
    assert (told.done, told.left) == (1, 1)
    assert "1 of 2 done" in (tmp_path / "report.md").read_text(encoding="utf-8")
    assert "1 of 2 done" in (tmp_path / "gallery-data.js").read_text(encoding="ascii")


def test_a_page_that_cannot_be_written(tmp_path: Path) -> None:
    """A folder that takes no page is told of once, and the run goes on."""
    warned: list[str] = []
    board, gallery = _board(), _gallery(tmp_path / "missing", warned)
    gallery.update(board, JOBS, 0.0)
    for place, fact in enumerate(STORY):
        _happened(gallery, board, fact, 10.0 * place)
        gallery.update(board, JOBS, 10.0 * place)
    assert len(warned) == 1
    assert gallery.finish(board, JOBS, 99.0).done == 1
    assert [line for line in warned if line.startswith("couldn't update the gallery: ")] == warned[:1]
    assert len(warned) == 2


def test_a_forecast_is_held_against_what_it_was_of(tmp_path: Path) -> None:
    """What was expected at a batch's beginning is in its report; what was expected of a rest is not."""
    board = _board()
    whole = _gallery(tmp_path, [])
    whole.update(board, JOBS, 0.0)
    context = whole.finish(board, JOBS, 9.0).context
    assert context.expected is not None
    assert context.guessed
    rest = Gallery(tmp_path, "night", RunContext(), lambda: 100.0, [].append, list(STORY))
    rest.update(board, JOBS, 0.0)
    assert rest.finish(board, JOBS, 9.0).context.expected is None


def _data(folder: Path) -> Any:
    text = (folder / "gallery-data.js").read_text(encoding="ascii")
    return json.loads(text[text.index("(") + 1 : text.rindex(")")])


def test_a_sign_of_life_while_nothing_happens(tmp_path: Path) -> None:
    """While a run is on its page is written every minute at least, and says by when: so a killed run can be told."""
    board, gallery = _board(), _gallery(tmp_path, [])
    gallery.update(board, JOBS, 0.0)
    assert (_data(tmp_path)["live"], _data(tmp_path)["next_at"]) == (True, 160.0)
    (tmp_path / "gallery-data.js").unlink()
    gallery.update(board, JOBS, 59.0)
    assert not (tmp_path / "gallery-data.js").exists()
    gallery.update(board, JOBS, 60.5)
    assert _data(tmp_path)["live"]


def test_the_page_tells_of_servers_in_trouble(tmp_path: Path) -> None:
    """A server that is not up any more stands on the page within two seconds, and is gone from it as soon."""
    board, gallery = _board(), _gallery(tmp_path, [])
    gallery.update(board, JOBS, 0.0)
    assert _data(tmp_path)["trouble"] == []
    for now in (1.0, 2.0):
        board.apply(PollFailed(GPU, Failure(Cause.UNAVAILABLE, "connection refused"), now, holding=False))
    gallery.update(board, JOBS, 3.0)
    (line,) = _data(tmp_path)["trouble"]
    assert line.startswith(f"{GPU}: unavailable since ")
    assert line.endswith(": connection refused")


def test_after_the_end_nothing_is_promised(tmp_path: Path) -> None:
    """A run that ended with jobs left leaves a page without a forecast, which says how to go on."""
    board, gallery = _board(), _gallery(tmp_path, [])
    gallery.update(board, JOBS, 0.0)
    assert _data(tmp_path)["left"] is not None
    gallery.finish(board, JOBS, 1.0)
    told = _data(tmp_path)
    assert (told["live"], told["left"], told["until"], told["trouble"]) == (False, None, None, [])
    assert {(cell["seconds"], cell["ready"]) for cell in told["cells"]} == {(None, None)}
    assert told["commands"]["resume"] == "batchrunner run MANIFEST"
