"""The live board: it fits, it is harmless, and it follows the engine's board."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings, strategies as st
from rich.cells import cell_len
from rich.console import Console

from batchrunner.core.actions import Cause, Failure, PollResult, Row, Upload
from batchrunner.core.board import Board
from batchrunner.core.facts import Accepted, Claimed, File, Lost, Rendered, Saved, Why
from batchrunner.core.health import Breaker
from batchrunner.core.job import InputFile, Job, upload_name
from batchrunner.core.link import Link
from batchrunner.core.notes import Polled, PollFailed, PollRefused, UploadFailed
from batchrunner.core.settings import Rules
from batchrunner.show.events import bug_event, fact_event, note_event
from batchrunner.show.listeners import JsonLines, Listeners, Reporter
from batchrunner.show.live import BoardView, DownloadView, LiveBoard, ServerView, board_view, server_state
from batchrunner.show.log import StreamOutput
from batchrunner.text import moment

if TYPE_CHECKING:
    from batchrunner.core.facts import Fact

URL = "http://gpu:8188"
HOSTILE = "a\x1b]52;c;eA==\x07\n\u202e[bold]b[/bold]"
SERVERS = st.builds(
    ServerView,
    st.text(max_size=60),
    st.sampled_from(["up", "away", "asking", "denied", "stalled", "pausing"]),
    st.none() | st.floats(0, 1e6),
    st.text(max_size=90),
    st.text(max_size=90),
    st.none() | st.floats(0, 1e6),
    st.integers(0, 2),
    st.integers(0, 400),
)
DOWNLOADS = st.builds(DownloadView, st.text(max_size=120), st.integers(0, 10**12), st.integers(-1, 10**10))
VIEWS = st.builds(
    BoardView,
    st.text(max_size=64),
    st.just(0.0),
    st.floats(0, 1e6),
    st.fixed_dictionaries(dict.fromkeys(("waiting", "done", "failed"), st.integers(0, 100_000))),
    st.lists(SERVERS, max_size=12).map(tuple),
    st.lists(DOWNLOADS, max_size=70).map(tuple),
    st.none() | st.floats(-1e6, 1e6),
    st.none() | st.floats(0, 1e6),
    st.lists(st.text(max_size=300), max_size=5).map(tuple),
)


def _console(width: int = 80, height: int = 24) -> Console:
    return Console(
        file=io.StringIO(),
        width=width,
        height=height,
        force_terminal=True,
        color_system=None,
        markup=False,
        emoji=False,
    )


def _written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def _drawn(view: BoardView, width: int, height: int) -> list[str]:
    """Return the lines of the board on a terminal of that size."""
    console = _console(width, height)
    board = LiveBoard(console)
    board.tick(view)
    written = re.sub(r"\x1b\[\??[0-9;]*[a-zA-Z]", "", _written(console)).replace("\r", "")
    board.close()
    return [line.rstrip() for line in written.split("\n")]


@settings(max_examples=60, deadline=None)
@given(VIEWS, st.integers(20, 200), st.integers(3, 60))
def test_any_view_fits_any_terminal(view: BoardView, width: int, height: int) -> None:
    """However much there is to show, it is no higher and no wider than the terminal, and plain text."""
    lines = _drawn(view, width, height)
    assert len(lines) <= height
    assert all(cell_len(line) <= width and line.isprintable() for line in lines)


def test_a_board_shows_what_matters() -> None:
    """Counts, times, each server's doing, downloads, the nearest deadline and urgent words are all there."""
    shown = BoardView(
        "cats",
        0.0,
        3900.0,
        {"waiting": 7, "done": 3, "failed": 1, "queued": 1},
        (
            ServerView(URL, "up", running="cats/one", running_for=200.0, pending=1, foreign=2),
            ServerView("https://two", "away", since=300.0, message="connection refused"),
            ServerView("http://three", "up", running_for=3.0),
            ServerView("http://four", "up"),
        ),
        (DownloadView("cats/one.mp4", 3_200_000, 13_200_000), DownloadView("cats/two.mp4", 5, -1)),
        deadline=430.0,
        left=12_000.0,
        messages=("the disk is nearly full",),
    )
    assert _drawn(shown, 80, 24) == [
        "cats  ━━━━━                 3 done, 1 failed, 8 left of 12",
        f"running for 1 h 5 min, done about {moment(12_000.0, 0.0)} (3 h 20 min)",
        "  gpu:8188  renders cats/one for 3 min 20 s, 1 waiting, 2 of other users",
        "  two       away for 5 min: connection refused",
        "  three     renders another user's job for 3 s",
        "  four      idle",
        "  ↓ cats/one.mp4  ━━╸           3.2 MB of 13.2 MB",
        "  ↓ cats/two.mp4                5 bytes",
        "  the oldest file on a server may be deleted in 7 min 10 s",
        "! the disk is nearly full",
    ]


def test_a_long_name_is_cut_before_a_number_is() -> None:
    """On a narrow terminal names lose their middle; seeds, counts, sizes and times stay whole."""
    shown = BoardView(
        "b" * 64,
        0.0,
        1.0,
        {"done": 3, "waiting": 9},
        (ServerView(f"http://{'s' * 90}", "up", running=f"{'j' * 60}-s7", running_for=200.0, pending=2),),
        (DownloadView(f"{'f' * 120}-s7.mp4", 3_200_000, 13_200_000),),
    )
    lines = _drawn(shown, 72, 24)
    assert lines[0].endswith("3 done, 9 left of 12")
    assert lines[2].startswith(f"  {'s' * 21}…  renders j")
    assert lines[2].endswith("-s7 for 3 min 20 s, 2 waiting")
    assert lines[3].startswith("  ↓ ffff")
    assert "-s7.mp4  " in lines[3]
    assert lines[3].endswith("3.2 MB of 13.2 MB")


def test_sixty_columns() -> None:
    """On 60 columns the seed and the time of what is rendered stay, and what is less important is left out."""
    name = f"rain/{'a-cat-' * 9}high-s4294967295"
    shown = BoardView(
        "cats",
        0.0,
        1.0,
        {"done": 120, "failed": 2, "waiting": 78},
        (
            ServerView(
                "http://gpu-box-one.example.net:8188", "up", running=name, running_for=312.0, pending=1, foreign=3
            ),
        ),
        (DownloadView(f"{name}.mp4", 3_200_000, 13_200_000),),
    )
    lines = _drawn(shown, 60, 24)
    assert lines[0].endswith("120 done, 2 failed, 78 left of 200")
    assert lines[2] == "  gpu-box-one.examp…  renders rain/a-…4967295 for 5 min 12 s"
    assert lines[3].startswith("  ↓ rain/a-c")
    assert "4294967295.mp4  " in lines[3]
    assert lines[3].endswith("3.2 MB of 13.2 MB")


def test_what_does_not_fit_is_counted() -> None:
    """Many servers and downloads end in a line that says how many more there are; both keep a place."""
    shown = BoardView(
        "cats",
        0.0,
        0.0,
        {},
        tuple(ServerView(f"http://s{n}", "up") for n in range(30)),
        tuple(DownloadView(f"v{n}", 0) for n in range(64)),
        deadline=-1.0,
    )
    lines = _drawn(shown, 80, 24)
    assert len(lines) == 16
    assert "  … and 64 more downloads" in lines
    assert "  … and 19 more servers" in lines
    assert lines[-1] == "  the oldest file on a server may be deleted at any moment"


def test_the_board_draws_news_above_and_leaves_the_terminal_as_it_was() -> None:
    """News are printed once above the board, details are not, and the cursor is back at the end."""
    console = _console()
    board = LiveBoard(console)
    board.tick(BoardView(HOSTILE, 0.0, 0.0, {"done": 1}, (ServerView(HOSTILE, "away", message=HOSTILE),)))
    board.event(fact_event(Saved("j", 1, 0.0, "x", "cats/one.mp4", 5, "0"), "cats/one"))
    board.event(fact_event(Accepted("j", 1, 0.0, "id", "p", URL), "cats/one"))
    board.event(note_event(0.0, HOSTILE))
    board.tick(BoardView("cats", 0.0, 61.0, {"done": 1}))
    board.close()
    written = _written(console)
    assert "cats/one: saved, 5 bytes" in written
    assert "queued on" not in written
    assert "[bold]b[/bold]" in written
    assert written.count("\x1b[?25l") == written.count("\x1b[?25h") == 1
    assert "\x1b]52" not in written
    assert "\u202e" not in written


def test_a_server_of_short_jobs_says_how_many_prompts_it_holds() -> None:
    """Where two prompts would not last until the next poll, the state tells of more, and why."""
    board = Board("cats", Rules(), [URL], 100.0)
    board.apply(Polled(URL, PollResult((), {}), frozenset(), 100.0, 100.0))
    assert server_state(board, board.servers[URL], 100.0) == ("up", None, "")
    board.load(["j"], [], 100.0)
    board.want(["j"], None, 100.0)
    board.forecast.learn(URL, 0.0, 0.052)
    told = ("up", None, "up to 5 prompts at once: a job takes 0.052 s")
    assert server_state(board, board.servers[URL], 100.0) == told


def test_a_server_with_a_slow_line_says_so_and_what_it_renders() -> None:
    """That no prompt is sent before more files are home stands behind what the server does, and in its state."""
    board, jobs = _board()
    server = board.servers[URL]
    _apply(board, Claimed("a", 1, 0.0, "ida", "pa", URL, "h"), Accepted("a", 1, 0.0, "ida", "pa", URL))
    server.apply(Polled(URL, _poll(Row("ida", 1.0, running=True)), frozenset({"ida"}), 100.0, 100.0))
    server.link = Link(moved=1.2e8, busy=100.0, slow_since=110.0)
    view = board_view(board, jobs, 130.0, 0.0, 30.0)
    words = "1.2 MB/s, slower than it renders"
    assert (view.servers[0].state, view.servers[0].since) == ("waiting for downloads", 20.0)
    assert view.servers[0].message == words
    assert f"renders cats/a for 30 s; waiting for downloads: {words}" in _drawn(view, 140, 24)[2]


def test_a_resized_terminal_gets_a_clean_page() -> None:
    """After a change of size the board is drawn anew from the top instead of over its own remains."""
    console = _console()
    board = LiveBoard(console)
    board.tick(BoardView("cats", 0.0, 0.0, {}))
    assert "\x1b[2J" not in _written(console)
    console.size = console.size._replace(width=40)
    board.tick(BoardView("cats", 0.0, 0.0, {}))
    assert "\x1b[2J" in _written(console)
    board.close()


def _board() -> tuple[Board, dict[str, Job]]:
    jobs = {name: Job(name, "", {}, f"cats/{name}", 1.0) for name in "abcd"}
    board = Board("cats", Rules(), [URL, "http://b:2"], now=100.0)
    board.load(jobs, [], 100.0)
    board.want(jobs, None, 100.0)
    return board, jobs


def _apply(board: Board, *facts: Fact) -> None:
    for fact in facts:
        state = board.follow(fact)
        assert state is not None
        board.put(fact.job, state, 100.0, fact)


def _poll(*rows: Row, date: float | None = None) -> PollResult:
    return PollResult(rows, {}, date=date)


def test_the_view_is_a_fold_of_the_board() -> None:
    """What runs, what is ready, whose the rest is, and which deadline is nearest by the server's clock."""
    board, jobs = _board()
    _apply(
        board,
        Claimed("a", 1, 0.0, "ida", "pa", URL, "h"),
        Accepted("a", 1, 0.0, "ida", "pa", URL),
        Claimed("b", 1, 0.0, "idb", "pb", URL, "h"),
        Claimed("c", 1, 0.0, "idc", "pc", URL, "h"),
        Rendered("c", 1, 0.0, (File("c.mp4"),), deadline=5_600.0),
    )
    rows = (Row("ida", 1.0, running=True), Row("idb", 2.0, running=False), Row("other", 3.0, running=False))
    board.servers[URL].apply(Polled(URL, _poll(*rows, date=5_000.0), frozenset({"ida", "idb"}), 100.0, 100.0))
    seen = board_view(board, jobs, 130.0, 7.0, 30.0)
    assert seen.servers == (
        ServerView(URL, "up", running="cats/a", running_for=30.0, pending=1, foreign=1),
        ServerView("http://b:2", "asking", since=30.0),
    )
    assert (seen.deadline, seen.at, seen.elapsed) == (570.0, 7.0, 30.0)
    assert dict(seen.counts) == {"waiting": 1, "sending": 1, "queued": 1, "fetching": 1, "done": 0, "failed": 0}


@pytest.mark.parametrize("state", ["away", "denied", "stalled", "pausing", "failing uploads", "up"])
def test_a_server_in_trouble_is_named_for_it(state: str) -> None:
    """Away, denied, stalled, pausing and uploads that fail each show as such; a single failed look does not."""
    board, jobs = _board()
    server, now = board.servers[URL], 100.0
    server.apply(Polled(URL, _poll(), frozenset(), now, now))
    trouble = Failure(Cause.UNAVAILABLE, "refused")
    match state:
        case "away":
            server.apply(PollFailed(URL, trouble, now, holding=False))
            server.apply(PollFailed(URL, trouble, now, holding=False))
        case "denied":
            server.apply(PollRefused(URL, trouble, now, holding=False))
            server.apply(PollRefused(URL, trouble, now, holding=False))
        case "stalled":
            server.apply(Polled(URL, _poll(Row("x", 1.0, running=False)), frozenset(), now, now))
            now += board.rules.grace
        case "pausing":
            server.breaker = Breaker(paused_until=now + 1)
        case "failing uploads":
            for _ in range(3):
                server.apply(UploadFailed(URL, "x.png", trouble, now))
        case _:
            server.apply(PollFailed(URL, trouble, now, holding=False))
    assert board_view(board, jobs, now, 0.0, 0.0).servers[0].state == state


def test_uploads_are_shown_while_they_last() -> None:
    """A server that renders nothing because its input files are still on their way says so."""
    board, jobs = _board()
    server = board.servers[URL]
    server.apply(Polled(URL, _poll(), frozenset(), 100.0, 100.0))
    for number in (1, 2):
        digest = str(number) * 64
        board.start(Upload(URL, InputFile(digest, 9, upload_name(digest, ".png"))), 100.0)
    view = board_view(board, jobs, 100.0, 0.0, 0.0)
    assert view.servers[0].uploads == 2
    console = _console()
    LiveBoard(console).tick(view)
    assert "idle, 2 uploads under way" in _written(console)


def test_the_reporter_tells_each_change_once() -> None:
    """A server that comes up, goes away and returns is told three times however often it is seen; facts at once."""
    board, jobs = _board()
    stream = io.StringIO()
    drawn: list[float] = []

    def view(board: Board, now: float) -> BoardView:
        drawn.append(now)
        return board_view(board, jobs, now, 0.0, now)

    reporter = Reporter(Listeners([JsonLines(StreamOutput(stream), "cats")]), jobs, lambda: 5.0, view, every=10.0)
    server = board.servers[URL]
    assert reporter.update(board, 100.0) == 110.0
    server.apply(Polled(URL, _poll(), frozenset(), 100.0, 100.0))
    assert reporter.update(board, 105.0) == 110.0
    for now in (106.0, 107.0, 108.0):
        server.apply(PollFailed(URL, Failure(Cause.UNAVAILABLE, "refused"), now, holding=False))
        reporter.update(board, now)
    server.apply(Polled(URL, _poll(), frozenset(), 109.0, 109.0))
    assert reporter.update(board, 110.0) == 120.0
    reporter.fact(Lost("a", 1, 6.0, Why.FORGOTTEN, "gone"))
    reporter.fact(Lost("unknown", 1, 6.0, Why.FORGOTTEN, "gone"))
    reporter.bug(ValueError("x"))
    told = stream.getvalue()
    assert [line.split('"state": ')[1].split(",")[0] for line in told.splitlines() if '"state"' in line] == [
        '"up"',
        '"away"',
        '"up"',
    ]
    until = moment(5.0 + 100.0 + Rules().patience - 108.0, 5.0)
    assert told.count(f"refused; it is waited for until {until} (patience)") > 0
    assert told.count('"event": "lost"') == 2
    assert told.count('"event": "bug"') == 1
    assert drawn == [100.0, 110.0]


def test_a_bug_is_told_by_its_kind_only() -> None:
    """The text of an unexpected error may quote anything, so people see its kind and where to look."""
    assert bug_event(0.0, ValueError("sk-secret")).message == (
        "a bug in batchrunner (ValueError); the traceback is in run.log, please report it"
    )


def test_a_server_that_keeps_the_first_prompts_waiting_says_so() -> None:
    """While new prompts wait for a server that can't be asked, the board says that and for how long at most."""
    board = Board("cats", Rules(), [URL], 100.0)
    board.want(["a"], None, 100.0)
    for _ in range(2):
        board.apply(PollFailed(URL, Failure(Cause.UNAVAILABLE, "refused"), 101.0, holding=False))
    for now, waits in ((102.0, True), (161.0, False)):
        (server,) = board_view(board, {}, now, 0.0, now).servers
        assert server.state == "away"
        assert ("the first prompts wait for it" in server.message) is waits
