"""One look at one server, and what it implies for the prompts of ours that it holds or may hold.

Start-up, reconnect, a missed message, a restart of the server and a crash of ours all end here: there is no second
way to find out. A prompt is missing only if a whole good look that began after its POST had ended did not find it,
neither in the queue nor, read after that, in the history.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchrunner.core.adopt import adopt
from batchrunner.core.attempts import Attempt, accept, classify, kind_of, lose
from batchrunner.core.facts import Why
from batchrunner.core.identity import parse_prefix
from batchrunner.core.lifecycle import Sending
from batchrunner.core.polling import next_look
from batchrunner.core.results import Ended
from batchrunner.core.server import Leaving

if TYPE_CHECKING:
    from batchrunner.core.board import Board
    from batchrunner.core.facts import Fact
    from batchrunner.core.results import Entry, Row, Seen
    from batchrunner.core.server import Server

SURVEY = 100
"""How many of the last history entries a first look reads, to find what an earlier ledger sent."""
DOUBT = 64
"""How many are read while a POST of ours got no answer: an old server may have chosen an id of its own."""
_ABSENCES = 3


def reconcile(board: Board, seen: Seen) -> list[Fact]:
    """Return the facts that a good look implies, in the order they are to be noted."""
    server = board.servers[seen.action.server]
    ours = frozenset(row.prompt for row in seen.look.queue if _of_batch(board, row))
    server.looked(seen.look, ours, seen.began, seen.now)
    surveying = seen.action.recent >= SURVEY
    facts = list(adopt(board, server, seen)) if surveying else []
    server.surveyed = server.surveyed or surveying
    for job, state in board.open_on(server.url):
        if state.prompt.id in seen.action.ids and job not in board.submitting:
            facts.extend(_find(board, server, seen, Attempt(job, state, seen.at, board.rules)))
    _leave(board, server, seen)
    _schedule(board, server, seen)
    return facts


def give_up(server: Server, case: Attempt) -> list[Fact]:
    """Return what follows when a prompt is in neither queue nor history and its file is not there either.

    One that was never acknowledged is posted again, same id and body: a late twin stays recognisable and costs
    nothing. One that was acknowledged is lost: its body would meet the server's cache (PROTOCOL.md §1, 2).
    """
    if isinstance(case.state, Sending) and server.named:
        server.repost.add(case.job)
        return []
    server.settled(case.job)
    ran = case.state.prompt.id in server.ran
    says = "in neither queue nor history, three looks running" + (", and it was running" if ran else "")
    return [lose(case, Why.FORGOTTEN, says, burns=ran)]


# -- one prompt


def _find(board: Board, server: Server, seen: Seen, case: Attempt) -> list[Fact]:
    """Find a prompt by its id; only then by its prefix, which a server that chose its own id leaves us.

    That order matters: whoever queues our workflow once more, prefix and all, must not hide that ours has ended.
    """
    prompt = case.state.prompt
    rows = [row for row in seen.look.queue if row.prompt == prompt.id]
    entry = seen.look.history.get(prompt.id)
    if not rows and not entry:
        twins = [row for row in seen.look.queue if prompt.prefix in row.prefixes]
        rows = sorted(twins, key=lambda row: not row.running)[:1]
        entry = _by_prefix(seen.look.recent, prompt.prefix)
    if rows:
        return _alive(server, seen, case, rows)
    if entry:
        return _ended(board, server, seen, case, entry)
    return _missing(board, server, seen, case)


def _alive(server: Server, seen: Seen, case: Attempt, rows: list[Row]) -> list[Fact]:
    """Note that a prompt is in the queue; `rows` are its entries there, at least one."""
    server.found(case.job, arrived=isinstance(case.state, Sending))
    if any(row.running for row in rows):
        server.ran.add(case.state.prompt.id)
    else:
        server.ran.discard(case.state.prompt.id)
    if len(rows) > 1:
        _late_twin(server, rows)
    return [accept(case.job, case.state.prompt, rows[0].prompt, seen.at)] if isinstance(case.state, Sending) else []


def _late_twin(server: Server, rows: list[Row]) -> None:
    """Have one of two entries under one id deleted: a POST that was given up arrived after all.

    Deleting by id takes one pending entry away, never a running one (PROTOCOL.md §2).
    """
    if rows[0].prompt not in server.untwinned:
        server.twins.add(rows[0].prompt)


def _ended(board: Board, server: Server, seen: Seen, case: Attempt, entry: Entry) -> list[Fact]:
    """Note how a prompt ended."""
    server.found(case.job, arrived=isinstance(case.state, Sending))
    facts: list[Fact] = []
    if isinstance(case.state, Sending):
        facts.append(accept(case.job, case.state.prompt, entry.prompt, seen.at))
    facts.append(classify(case, entry, seen.look.date, excused=_is_sick(board, server, seen.now)))
    if entry.ended is Ended.SUCCESS:
        server.breaker.worked()
        server.anchor = entry.prompt
    if entry.ended is Ended.ERROR:
        server.breaker.failed(server.url, kind_of(entry), case.job, seen.now, board.rules.grace)
    return facts


def _is_sick(board: Board, server: Server, now: float) -> bool:
    """Whether a server only raises, and another does not: what it says of a job is then nothing of the job."""
    others = (other for other in board.servers.values() if other is not server and not other.breaker.jobs)
    return bool(server.breaker.trips) and any(other.takes_prompts(now, board.rules) for other in others)


def _by_prefix(entries: tuple[Entry, ...], prefix: str) -> Entry | None:
    return next((entry for entry in reversed(entries) if prefix in entry.prefixes), None)


def _missing(board: Board, server: Server, seen: Seen, case: Attempt) -> list[Fact]:
    """Count a look that did not find a prompt, and give the prompt up once that is proof."""
    if case.state.prompt.id in server.withdrawn:
        server.settled(case.job)
        return [lose(case, Why.WITHDRAWN, "still pending when the run was stopped: taken back")]
    posted = server.posted_at.get(case.job)
    if posted is not None and posted > seen.began:
        return []
    absence = server.missed(case.job, seen.began)
    if isinstance(case.state, Sending):
        start = posted if posted is not None else server.answered_at
        due = start is not None and seen.began >= start + board.rules.settle
    else:
        restarted = server.restarted_at is not None and (posted is None or posted <= server.restarted_at)
        due = absence.count >= _ABSENCES and (restarted or seen.began - absence.since >= board.rules.grace)
    if not due:
        return []
    if server.probes.setdefault(case.job, False):
        return give_up(server, case)
    return []


# -- the rest of a look


def _of_batch(board: Board, row: Row) -> bool:
    return any(parse_prefix(board.batch, prefix) for prefix in row.prefixes)


def _leave(board: Board, server: Server, seen: Seen) -> None:
    """Take the next step off this server, if we are on our way out and no POST to it is still under way."""
    held = {job: state.prompt.id for job, state in board.open_on(server.url)}
    if board.leaving_at is None or seen.began < board.leaving_at or not board.submitting.isdisjoint(held):
        return
    if server.leaving is Leaving.ASKING:
        pending = set(held.values()).intersection(server.pending)
        server.leaving = Leaving.TAKING if pending else Leaving.GONE
        server.twins |= pending
    elif server.leaving is Leaving.CONFIRMING:
        server.leaving = Leaving.GONE


def _schedule(board: Board, server: Server, seen: Seen) -> None:
    """Say when to look again: at once if this look began before we were asked to leave."""
    server.look_at = next_look(board, server, seen.now)
    if board.leaving_at is not None and seen.began < board.leaving_at:
        server.look_at = seen.now
