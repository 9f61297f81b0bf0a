"""Boards, facts and polls to test with, in as few words as a case needs."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from batchrunner.core.actions import (
    Cause,
    Download,
    Ended,
    Entry,
    Failure,
    Interrupt,
    Listen,
    Poll,
    PollResult,
    Row,
    Submit,
    Upload,
    Withdraw,
)
from batchrunner.core.board import Board
from batchrunner.core.download_results import interpret_download
from batchrunner.core.facts import Accepted, Claimed, File, Lost, Rendered, Saved, Why
from batchrunner.core.giveup import give_up_servers
from batchrunner.core.job import file_prefix, prompt_id
from batchrunner.core.notes import GivenUp, Moment, Outcome, SocketClosed
from batchrunner.core.poll_results import interpret_poll
from batchrunner.core.post_results import interpret_interrupt, interpret_post, interpret_withdrawal
from batchrunner.core.settings import Rules
from batchrunner.core.upload_results import interpret_upload

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from batchrunner.core.actions import Action, DownloadEnd, PollEnd, PostEnd
    from batchrunner.core.facts import Fact

BATCH = "cats"
A, B = "http://a:8188", "http://b:8188"
AT = 1_700_000_000.0
"""The wall clock at second 0 of the loop's clock."""
JOBS = tuple(f"{number:012x}" for number in range(12))
JOB, OTHER = JOBS[:2]
RULES = Rules(ttl=600.0)
UNAVAILABLE = Failure(Cause.UNAVAILABLE, "502")
UNSENT = Failure(Cause.UNAVAILABLE, "connection refused", sent=False)
UNAUTHORIZED = Failure(Cause.UNAUTHORIZED, "401")
LOCAL = Failure(Cause.LOCAL, "no space left on device")


def prefix(job: str = JOB, attempt: int = 1) -> str:
    """Return the file prefix of an attempt."""
    return file_prefix(BATCH, job, attempt)


def ident(job: str = JOB, attempt: int = 1) -> str:
    """Return the prompt id of an attempt."""
    return prompt_id(BATCH, job, attempt)


def mp4(job: str = JOB, attempt: int = 1) -> File:
    """Return the file an attempt makes."""
    return File(f"{prefix(job, attempt)}_00001_.mp4")


def claimed(job: str = JOB, attempt: int = 1, server: str = A) -> Claimed:
    """Return the claim of an attempt."""
    return Claimed(job, attempt, AT, ident(job, attempt), prefix(job, attempt), server, "0" * 64)


def accepted(job: str = JOB, attempt: int = 1, server: str = A, highest: int = 0) -> Accepted:
    """Return that a server has an attempt."""
    return Accepted(job, attempt, AT, ident(job, attempt), prefix(job, attempt), server, highest)


def rendered(
    job: str = JOB, attempt: int = 1, files: Sequence[File] | None = None, deadline: float | None = AT + 600
) -> Rendered:
    """Return that an attempt succeeded."""
    return Rendered(job, attempt, AT, tuple(files or [mp4(job, attempt)]), deadline)


def saved(job: str = JOB, attempt: int = 1, file: File | None = None) -> Saved:
    """Return that a file is home."""
    return Saved(job, attempt, AT, (file or mp4(job, attempt)).key, f"{job}.mp4", 9, "0" * 64)


def lost(
    job: str = JOB, attempt: int = 1, why: Why = Why.FORGOTTEN, *, burns: bool = True, final: bool = False
) -> Lost:
    """Return that an attempt is over."""
    return Lost(job, attempt, AT, why, "evidence", burns=burns, final=final)


def sending(job: str = JOB, attempt: int = 1, server: str = A) -> list[Fact]:
    """Return the facts of an attempt that was claimed."""
    return [claimed(job, attempt, server)]


def queued(job: str = JOB, attempt: int = 1, server: str = A) -> list[Fact]:
    """Return the facts of an attempt that the server has."""
    return [claimed(job, attempt, server), accepted(job, attempt, server)]


def fetching(job: str = JOB, attempt: int = 1, server: str = A) -> list[Fact]:
    """Return the facts of an attempt that was rendered."""
    return [*queued(job, attempt, server), rendered(job, attempt)]


def done(job: str = JOB, attempt: int = 1, server: str = A) -> list[Fact]:
    """Return the facts of an attempt that is home."""
    return [*fetching(job, attempt, server), saved(job, attempt)]


def new_board(
    facts: Iterable[Fact] = (),
    *,
    jobs: int = 3,
    servers: Sequence[str] = (A,),
    rules: Rules = RULES,
    now: float = 0.0,
    chosen: frozenset[str] | None = None,
    hint: bool = False,
) -> Board:
    """Return a board as a run begins with it; `hint`: it opens sockets."""
    board = Board(BATCH, replace(rules, hint=hint), servers, now)
    board.load(JOBS[:jobs], facts, now)
    board.want(JOBS[:jobs], chosen, now)
    return board


def ready_board(
    facts: Iterable[Fact] = (),
    *,
    jobs: int = 3,
    servers: Sequence[str] = (A,),
    rules: Rules = RULES,
    now: float = 0.0,
    hint: bool = False,
) -> Board:
    """Return a board all of whose servers have just answered a first, empty poll."""
    board = new_board(facts, jobs=jobs, servers=servers, rules=rules, now=now, hint=hint)
    for url in servers:
        take_poll(board, url, now=now)
    return board


def note(board: Board, facts: Iterable[Fact], now: float = 0.0) -> list[Fact]:
    """Apply facts as the engine does; return those that changed something."""
    told = []
    for fact in facts:
        state = board.follow(fact)
        if state is not None:
            board.put(fact.job, state, now, fact)
            told.append(fact)
    return told


def health(board: Board, url: str = A, **changes: Any) -> None:
    """Set what is known of a server's health."""
    server = board.servers[url]
    server.health = replace(server.health, **changes)
    board.touch(url)


def track(board: Board, job: str = JOB, **changes: Any) -> None:
    """Set what is known of an open prompt."""
    board.tracked[job] = replace(board.tracked[job], **changes)


def interpret(board: Board, action: Action, end: Any, now: float, epoch: float = AT) -> list[Fact]:
    """Interpret the result of an action that has begun, apply its notes, and return its facts."""
    moment = Moment(board.in_flight.began(action), now, epoch + now)
    outcome: Outcome
    match action:
        case Poll():
            outcome = interpret_poll(board, action, end, moment)
        case Submit():
            outcome = interpret_post(board, action, end, moment)
        case Upload():
            outcome = interpret_upload(board, action, end, moment)
        case Download():
            outcome = interpret_download(board, action, end, moment)
        case Withdraw():
            outcome = interpret_withdrawal(board, action, end, moment)
        case Interrupt():
            outcome = interpret_interrupt(board, action, end, moment)
        case Listen():
            outcome = Outcome(notes=(SocketClosed(action.server, moment.began, now),))
    for one in outcome.notes:
        board.apply(one)
    return list(outcome.facts)


def take_poll(
    board: Board,
    url: str = A,
    queue: Sequence[Row] = (),
    history: Iterable[Entry] = (),
    *,
    now: float = 0.0,
    took: float = 0.0,
    trouble: Failure | None = None,
    unread: Failure | None = None,
    action: Poll | None = None,
) -> list[Fact]:
    """Poll a server that shows this, as `plan` would ask; apply and return what follows.

    `unread`: the history could not be read but for these entries.
    """
    asked = action or due_poll(board, url, now)
    entries = {entry.prompt: entry for entry in history}
    found = {prompt: entries.get(prompt) for prompt in asked.ids if unread is None or prompt in entries}
    recent = tuple(entries.values())[-asked.recent :] if asked.recent and unread is None else ()
    end: PollEnd = trouble or PollResult(tuple(queue), found, recent, AT + now, unread)
    board.start(asked, now - took)
    facts = note(board, interpret(board, asked, end, now), now)
    board.end(asked, now)
    return facts


def due_poll(board: Board, url: str = A, now: float = 0.0) -> Poll:
    """Return the poll that `plan` would ask for."""
    from batchrunner.core.scheduler import _poll  # noqa: PLC0415 - only here is a poll wanted before it is due

    return _poll(board, board.servers[url], now)


def post(board: Board, end: PostEnd, action: Submit, *, now: float = 0.0, took: float = 0.0) -> list[Fact]:
    """Claim and post an attempt, and hear how that ended."""
    if not action.again:
        note(board, [claimed(action.job, action.attempt, action.server)], now - took)
    board.start(action, now - took)
    facts = note(board, interpret(board, action, end, now), now)
    board.end(action, now)
    return facts


def gone(board: Board, url: str = A, *, now: float = 600.0) -> list[Fact]:
    """Give a server up, and return what was lost with it."""
    (outcome,) = [one for one in give_up_servers(board, now, AT + now) if GivenUp(url, now) in one.notes]
    for one in outcome.notes:
        board.apply(one)
    return note(board, outcome.facts, now)


def submit(job: str = JOB, attempt: int = 1, server: str = A, *, again: bool = False) -> Submit:
    """Return the POST of an attempt."""
    return Submit(job, attempt, ident(job, attempt), prefix(job, attempt), server, again)


def fetch(
    board: Board,
    end: DownloadEnd,
    *,
    job: str = JOB,
    attempt: int = 1,
    now: float = 0.0,
    probe: bool = False,
    file: File | None = None,
    server: str = A,
) -> list[Fact]:
    """Download a file, and hear how that ended."""
    action = Download(job, attempt, prefix(job, attempt), server, file or mp4(job, attempt), probe=probe)
    board.start(action, now)
    facts = note(board, interpret(board, action, end, now), now)
    board.end(action, now)
    return facts


def row(job: str = JOB, attempt: int = 1, number: float = 0, *, running: bool = False, prompt: str = "") -> Row:
    """Return a queue entry of ours."""
    return Row(prompt or ident(job, attempt), number, running, (prefix(job, attempt),))


def stranger(prompt: str = "stranger", number: float = 0, *, running: bool = False) -> Row:
    """Return a queue entry of somebody else."""
    return Row(prompt, number, running, ("generated-video",))


def success(job: str = JOB, attempt: int = 1, *, prompt: str = "", files: Sequence[File] | None = None) -> Entry:
    """Return a history entry of ours that rendered its file."""
    made = tuple([mp4(job, attempt)] if files is None else files)
    return Entry(prompt or ident(job, attempt), Ended.SUCCESS, made, (prefix(job, attempt),), finished=AT + 10)


def failure(job: str = JOB, attempt: int = 1, exception: str = "ValueError") -> Entry:
    """Return a history entry of ours that raised."""
    return Entry(
        ident(job, attempt), Ended.ERROR, (), (prefix(job, attempt),), "KSampler #3", exception, "it is too small"
    )


def interrupted(job: str = JOB, attempt: int = 1) -> Entry:
    """Return a history entry of ours that somebody stopped."""
    return Entry(ident(job, attempt), Ended.INTERRUPTED, (), (prefix(job, attempt),))


def kinds(actions: Iterable[Action]) -> list[str]:
    """Return the names of the actions."""
    return [type(action).__name__ for action in actions]
