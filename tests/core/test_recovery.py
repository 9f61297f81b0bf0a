"""The recovery table is total, and every cell is what it should be (docs/recovery.md)."""

from __future__ import annotations

from itertools import product

import pytest
from recovery import AFTERWARDS, FILES, GETS, PAGE, PERSISTED, POLLS, decision, document, page

WAIT_IN = {state: f"-; {state}; wait" for state in ("Sending", "Queued", "Waiting")}
FETCH = "-; Fetching; GET its file"
LOST = "Waiting; POST attempt 2"
TWIN = "delete one entry by id"

EXPECTED: dict[str, dict[str, str]] = {
    "nothing": {
        "away": WAIT_IN["Waiting"],
        "401 twice": WAIT_IN["Waiting"],
        "pending": "Accepted; Queued; wait",
        "running": "Accepted; Queued; wait",
        "twice under its id": f"Accepted; Queued; {TWIN}",
        "success": "Accepted, Rendered; Fetching; GET its file",
        "success, no file of ours": "Accepted, Lost(wrong content); Waiting; wait",
        "node error": "Accepted, Lost(error); Waiting; wait",
        "out of memory": "Accepted, Lost(error); Waiting; wait",
        "interrupted": f"Accepted, Lost(interrupted for free); {LOST}",
        "absent once": "-; Waiting; POST attempt 1",
        "absent for 80 s": "-; Waiting; POST attempt 1",
    },
    "Sending": {
        "away": WAIT_IN["Sending"],
        "401 twice": WAIT_IN["Sending"],
        "pending": "Accepted; Queued; wait",
        "running": "Accepted; Queued; wait",
        "twice under its id": f"Accepted; Queued; {TWIN}",
        "success": "Accepted, Rendered; Fetching; GET its file",
        "success, no file of ours": "Accepted, Lost(wrong content); Waiting; wait",
        "node error": "Accepted, Lost(error); Waiting; wait",
        "out of memory": "Accepted, Lost(error); Waiting; wait",
        "interrupted": f"Accepted, Lost(interrupted for free); {LOST}",
        "absent once": WAIT_IN["Sending"],
        "absent for 80 s": "-; Sending; GET the predictable file",
    },
    "Queued": {
        "away": WAIT_IN["Queued"],
        "401 twice": WAIT_IN["Queued"],
        "pending": WAIT_IN["Queued"],
        "running": WAIT_IN["Queued"],
        "twice under its id": f"-; Queued; {TWIN}",
        "success": "Rendered; Fetching; GET its file",
        "success, no file of ours": "Lost(wrong content); Waiting; wait",
        "node error": "Lost(error); Waiting; wait",
        "out of memory": "Lost(error); Waiting; wait",
        "interrupted": f"Lost(interrupted for free); {LOST}",
        "absent once": WAIT_IN["Queued"],
        "absent for 80 s": "-; Queued; GET the predictable file",
    },
    "Fetching": dict.fromkeys(POLLS, FETCH)
    | dict.fromkeys(("away", "401 twice"), "-; Fetching; wait")
    | dict.fromkeys(("pending", "twice under its id"), f"{FETCH}, {TWIN}"),
    **{
        over: dict.fromkeys(POLLS, f"-; {over}; wait")
        | dict.fromkeys(("pending", "twice under its id"), f"-; {over}; {TWIN}")
        for over in ("Done", "Failed", "Unwanted")
    },
}

GONE = ("404", "another attempt's", "no video", "400")
"""How a file ends that is not there under its predictable name."""

DOWNLOADS: dict[str, dict[str, tuple[str, str]]] = {
    "GET its file": {
        "whole and ours": ("Saved; Done; wait", "Saved; Done; wait"),
        "404": ("-; Fetching; wait", f"Lost(expired); {LOST}"),
        "another attempt's": ("Lost(wrong content); Waiting; wait", "Lost(wrong content); Waiting; wait"),
        "no video": ("DownloadFailed; Fetching; wait", "DownloadFailed; Fetching; GET its file"),
        "400": ("Lost(unusable); Failed; wait", "Lost(unusable); Failed; wait"),
        "broken off": ("DownloadFailed; Fetching; wait", "DownloadFailed; Fetching; GET its file"),
        "401": ("DownloadFailed; Fetching; wait", "DownloadFailed; Fetching; GET its file"),
    },
    "GET the predictable file, Sending": {
        "whole and ours": ("Accepted, Rendered, Saved; Done; wait", "Accepted, Rendered, Saved; Done; wait"),
        "broken off": ("-; Sending; wait", "-; Sending; GET the predictable file"),
        "401": ("-; Sending; wait", "-; Sending; POST the same again"),
        **dict.fromkeys(GONE, ("-; Sending; wait", "-; Sending; POST the same again")),
    },
    "GET the predictable file, Queued": {
        "whole and ours": ("Rendered, Saved; Done; wait", "Rendered, Saved; Done; wait"),
        "broken off": ("-; Queued; wait", "-; Queued; GET the predictable file"),
        "401": ("-; Queued; wait", f"Lost(forgotten for free); {LOST}"),
        **dict.fromkeys(GONE, ("-; Queued; wait", f"Lost(forgotten for free); {LOST}")),
    },
}
"""What follows at once, and what after one more good poll."""


@pytest.mark.parametrize("poll", POLLS)
@pytest.mark.parametrize("held", PERSISTED)
def test_what_a_poll_decides(held: str, poll: str) -> None:
    """Whatever the ledger holds and whatever the server shows, one decision follows, and the right one."""
    assert str(decision(held, poll)) == EXPECTED[held][poll]


@pytest.mark.parametrize("poll", POLLS)
@pytest.mark.parametrize("held", PERSISTED)
def test_what_a_download_decides(held: str, poll: str) -> None:
    """How a download ends means the same wherever it is asked for; where none is asked for, none is answered."""
    before = decision(held, poll)
    assert before is not None
    for file, (place, then) in product(FILES, enumerate(AFTERWARDS)):
        after = decision(held, poll, file, then)
        if not any(step.startswith("GET") for step in before.steps):
            assert after is None
            continue
        assert after is not None
        kind = "GET its file" if "GET its file" in before.steps else f"GET the predictable file, {before.state}"
        facts, state, steps = DOWNLOADS[kind][file][place].split("; ")
        assert after.facts == before.facts + tuple(facts.split(", ") if facts != "-" else ())
        assert after.state == state
        assert set(after.steps) - {TWIN} == set(steps.split(", ")) - {"wait"}


def test_the_table_can_be_read() -> None:
    """The page has a line for every cell, and every kind of download has its own."""
    lines = page().splitlines()
    assert len(lines) == 2 + len(PERSISTED) * len(POLLS) + 3 + len(GETS) * len(FILES) * len(AFTERWARDS)
    assert "| Queued | away | -; Queued; wait |" in lines


def test_the_page_is_current() -> None:
    """`docs/recovery.md` says what the rules decide now; `python tests/core/recovery.py` writes it anew."""
    assert PAGE.read_text(encoding="utf-8") == document()
