"""The recovery table: what is decided for every state the ledger may hold and everything a server may then show.

`decision` plays one cell on the real board: a run begins with the persisted facts, polls the server as often as the
evidence says, answers the download if one is asked for, and says what was noted and what would be started next.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from boards import (
    AT,
    JOB,
    UNAUTHORIZED,
    UNAVAILABLE,
    done,
    failure,
    fetch,
    fetching,
    interrupted,
    lost,
    new_board,
    queued,
    row,
    sending,
    success,
    take_poll,
)

from batchrunner.core.actions import Download, Downloaded, NotFound, Poll, Rejected, Submit, Withdraw
from batchrunner.core.facts import Dropped, Lost, Why
from batchrunner.core.scheduler import plan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from batchrunner.core.actions import DownloadEnd, Entry, Failure, Row
    from batchrunner.core.facts import Fact

PERSISTED: dict[str, Sequence[Fact]] = {
    "nothing": (),
    "Sending": sending(),
    "Queued": queued(),
    "Fetching": fetching(),
    "Done": done(),
    "Failed": [*queued(), lost(why=Why.REFUSED, final=True)],
    "Unwanted": [Dropped(JOB, 0, 0.0, "cancelled")],
}
"""What the ledger holds of the one job when a run begins; `nothing` stands for a lost ledger too."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What the polls at a server show, and when each of them begins (seconds after the run began)."""

    queue: tuple[Row, ...] = ()
    history: tuple[Entry, ...] = ()
    trouble: Failure | None = None
    polls: tuple[float, ...] = (0.0,)


ONCE, LONG = (0.0,), (0.0, 30.0, 80.0)
POLLS: dict[str, Shown] = {
    "away": Shown(trouble=UNAVAILABLE),
    "401 twice": Shown(trouble=UNAUTHORIZED, polls=(0.0, 2.0)),
    "pending": Shown((row(),)),
    "running": Shown((row(running=True),)),
    "twice under its id": Shown((row(running=True), row(number=1))),
    "success": Shown(history=(success(),)),
    "success, no file of ours": Shown(history=(success(files=[]),)),
    "node error": Shown(history=(failure(),)),
    "out of memory": Shown(history=(failure(exception="torch.OutOfMemoryError"),)),
    "interrupted": Shown(history=(interrupted(),)),
    "absent once": Shown(polls=ONCE),
    "absent for 80 s": Shown(polls=LONG),
}
"""What GET /queue, then GET /history show."""

FILES: dict[str, DownloadEnd] = {
    "whole and ours": Downloaded("cat.mp4", 9, "0" * 64),
    "404": NotFound(),
    "another attempt's": Rejected("it carries another attempt's workflow", "etag", foreign=True),
    "no video": Rejected("no moov", "etag"),
    "400": Rejected("its name is refused", never=True),
    "broken off": UNAVAILABLE,
    "401": UNAUTHORIZED,
}
"""How a GET /view ends, where one follows."""
AFTERWARDS = ("", "a good poll")
"""What comes after the download: a 404 is proof only together with a good poll that began later."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What follows for the job."""

    facts: tuple[str, ...]
    state: str
    steps: tuple[str, ...]
    """What would be started next for it; none to wait for the next poll."""

    def __str__(self) -> str:
        """Render as `facts; state; steps`."""
        return f"{', '.join(self.facts) or '-'}; {self.state}; {', '.join(self.steps) or 'wait'}"


def decision(persisted: str, shown_poll: str, file: str = "", then: str = "") -> Decision | None:
    """Return what follows; with a `file`, after its download was answered so, None if none is asked for.

    With `then`, after one more good poll at the same.
    """
    board = new_board(PERSISTED[persisted], jobs=1)
    shown = POLLS[shown_poll]
    told: list[Fact] = []
    for now in shown.polls:
        board.tick(now, AT + now)
        told += take_poll(board, queue=shown.queue, history=shown.history, now=now, trouble=shown.trouble)
    now = shown.polls[-1]
    if file:
        asked = [action for action in plan(board, now) if isinstance(action, Download)]
        if not asked:
            return None
        told += fetch(board, FILES[file], now=now, probe=asked[0].probe)
    if then:
        now += 5.0
        board.tick(now, AT + now)
        told += take_poll(board, queue=shown.queue, history=shown.history, now=now)
    steps = {_step(action) for action in plan(board, now) if not isinstance(action, Poll)}
    return Decision(tuple(map(_name, told)), type(board.states[JOB]).__name__, tuple(sorted(steps)))


PAGE = Path(__file__).parents[2] / "docs" / "recovery.md"
_HEAD = """# After an interruption

What is decided for every state that the ledger may hold of a job and everything a server may then show: the facts that
are noted; the state that follows; and what is started next. Computed from the code by `python tests/core/recovery.py`,
and a test keeps it current. Each poll reads the queue first, then the history; `absent for 80 s` stands for three good
polls over more than `grace` (60 s) and `settle` (70 s). A download may be followed by one more good poll, 5 s later:
that a file is not there counts only then, since any proxy answers 404.

"""


def document() -> str:
    """Return the page as it stands under `docs/`."""
    return _HEAD + page()


def page() -> str:
    """Return the whole table as Markdown, computed from the code."""
    lines = ["| the ledger holds | the polls show | what follows |", "|---|---|---|"]
    lines += [f"| {held} | {shown_poll} | {decision(held, shown_poll)} |" for held in PERSISTED for shown_poll in POLLS]
    lines += ["", "| and the download | ends | then comes | what follows |", "|---|---|---|---|"]
    for held, shown_poll in GETS.values():
        for file in FILES:
            lines += [
                f"| {held}, {shown_poll} | {file} | {then or '-'} | {decision(held, shown_poll, file, then)} |"
                for then in AFTERWARDS
            ]
    return "\n".join(lines) + "\n"


GETS = {
    "GET its file": ("Fetching", "success"),
    "GET the predictable file, Sending": ("Sending", "absent for 80 s"),
    "GET the predictable file, Queued": ("Queued", "absent for 80 s"),
}
"""One cell for each kind of download: how it ends means the same wherever it is asked for."""


def _name(fact: Fact) -> str:
    if isinstance(fact, Lost):
        return f"Lost({fact.why}{'' if fact.burns else ' for free'})"
    return type(fact).__name__


def _step(action: Download | Submit | Withdraw) -> str:
    match action:
        case Download(probe=True):
            return "GET the predictable file"
        case Download():
            return "GET its file"
        case Submit(again=True):
            return "POST the same again"
        case Submit():
            return f"POST attempt {action.attempt}"
        case Withdraw():
            return "delete one entry by id"


if __name__ == "__main__":
    PAGE.write_text(document(), encoding="utf-8")
