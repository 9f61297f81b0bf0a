"""What to start now, and when to think again.

Pure: it reads the board and the time and returns the actions; the engine starts them. Files come first, by deadline:
what counts in the race against clean-up is the moment the GET opens, so nothing ever queues behind a slow transfer.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, cast

from batchrunner.core.actions import Download, Interrupt, Listen, Poll, Submit, Withdraw
from batchrunner.core.eta import ends_at, fits, stuck_job
from batchrunner.core.facts import File
from batchrunner.core.giveup import frees_at
from batchrunner.core.holdback import admits_at, admitted, turn
from batchrunner.core.job import file_prefix, prompt_id
from batchrunner.core.jobs_api import ends, has_route, own_prompts
from batchrunner.core.lifecycle import Fetching, Sending
from batchrunner.core.notes import Leaving
from batchrunner.core.order import offers
from batchrunner.core.poll_results import DOUBT, SURVEY
from batchrunner.core.polling import depth
from batchrunner.core.tracking import Guess
from batchrunner.core.uploads import AHEAD, UploadPlan

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batchrunner.core.actions import Action, Upload
    from batchrunner.core.board import Board
    from batchrunner.core.lifecycle import Queued
    from batchrunner.core.server import Server

_AHEAD = 200
"""How many waiting jobs are looked through for one that is short enough, or has not failed on a sick server yet."""
_CLOCK_CHECK = 60.0
"""Seconds within which it is noticed that the wall clock was turned, or this machine has slept."""
_SURVEY_LIMIT = 60.0


def plan(board: Board, now: float) -> list[Action]:
    """Return the actions to start now; starting none of them and asking again returns the same."""
    room = board.rules.downloads - board.in_flight.downloads()
    visited = [board.servers[name] for name in board.attention.names()]
    files = sorted(_fetches(board, visited, room, now), key=lambda pair: pair[0])[: max(room, 0)]
    return [
        *(action for _, action in files),
        *_questions(board, visited, now),
        *(Listen(server.name) for server in visited if _is_to_hear(board, server) and server.hint.again_at <= now),
        *_submissions(board, visited, now),
    ]


def file_away(board: Board, now: float) -> None:
    """End a turn: what was visited is visited again when something happens to it, or when its time has come."""
    board.shorten_rests(now)
    for name in board.attention.names():
        server = board.servers[name]
        most = _most(board, server, now) if server.takes_prompts(now) else 0
        room = admitted(board, server, most, now)
        turn(board, server, now, held=most > 0 and not room)
        if room:
            board.roomy[name] = None
        else:
            board.roomy.pop(name, None)
        board.attention.file_away(name, _due(board, server, now))
    board.looked_through = not board.jobs_moved and bool(board.roomy) and _may_submit(board, now)


def wake(board: Board, now: float) -> float | None:
    """Return when something postponed becomes possible, or must be concluded; None if nothing is postponed."""
    times = [board.rests_until(), board.disk.calms_at(), board.inputs.calms_at(), board.attention.next_at()]
    if board.until is not None:
        times += [board.until, now + _CLOCK_CHECK]
    if board.hours is not None:
        times += [board.hours.opens, board.hours.closes, now + _CLOCK_CHECK]
    if board.leaving_at is not None:
        times.append(board.leaving_at + leaving_time(board))
    if board.unsurveyed:
        times.append(board.started_at + survey_limit(board))
    touched = (board.servers[name] for name in board.attention.names())
    times += [_due(board, server, now) for server in touched]
    return min((at for at in times if at is not None and at > now), default=None)


def _due(board: Board, server: Server, now: float) -> float | None:
    """Return the next moment at which time alone makes a difference to a server."""
    idle = is_idle(board, server)
    times = (
        None if idle or board.in_flight.is_asking(server.name) else server.poll_at,
        server.hint.again_at if _is_to_hear(board, server) else None,
        server.breaker.paused_until,
        server.health.posts_at,
        server.inputs.next_at(now),
        admits_at(board, server, now),
        None if idle else server.health.out_at(server.rules, holding=board.holds_any()),
        None if idle else frees_at(board, server),
    )
    return min((at for at in times if at is not None and at > now), default=None)


def leaving_time(board: Board) -> float:
    """Return for how many seconds files may still be downloaded after a first Ctrl-C."""
    kept = [server.rules.ttl for server in board.servers.values() if server.named]
    return max((600.0 if ttl is None else ttl for ttl in kept), default=600.0)


# -- polls


def _questions(board: Board, visited: Sequence[Server], now: float) -> Iterator[Withdraw | Interrupt | Poll]:
    """Yield what each server is to be asked: one thing at a time, and what is to be deleted or interrupted first."""
    for server in visited:
        if board.in_flight.is_asking(server.name):
            continue
        if server.health.is_up() and server.to_remove:
            yield Withdraw(server.name, tuple(sorted(server.to_remove)))
        elif server.health.is_up() and (prompt := _to_interrupt(board, server, now)):
            yield Interrupt(server.name, prompt)
        elif server.poll_at <= now and not is_idle(board, server):
            yield _poll(board, server, now)


def _is_to_hear(board: Board, server: Server) -> bool:
    """Whether a server's socket is to be opened: it answers, and nobody listens."""
    wanted = server.rules.hint and server.named and server.health.is_up()
    return wanted and Listen(server.name) not in board.in_flight


def _to_interrupt(board: Board, server: Server, now: float) -> str | None:
    """Return a prompt that must not run, or has run far too long and was not interrupted yet."""
    if server.to_interrupt:
        return min(server.to_interrupt)
    job = stuck_job(board, server.name, now)
    if job is None or board.tracked[job].interrupted_at is not None:
        return None
    return cast("Queued", board.states[job]).prompt.id


def _poll(board: Board, server: Server, now: float) -> Poll:
    held = [(job, state) for job, state in board.open_on(server.name) if not board.in_flight.is_posting(job)]
    if own := own_prompts(board, server, held, now):
        return Poll(server.name, tuple(own), ends=ends(server, own), history=not has_route(server, now))
    ids = [state.prompt.id for _, state in held]
    last = server.memory.last_finished
    if last and any(board.tracked[job].absence for job, _ in board.open_on(server.name)):
        ids.append(last)
    doubt = DOUBT if any(_is_doubtful(board, job, state) for job, state in held) else 0
    recent = SURVEY if server.health.answered_at is None or not server.surveyed else doubt
    return Poll(server.name, tuple(ids), recent)


def _is_doubtful(board: Board, job: str, state: Sending | Queued) -> bool:
    """Whether a prompt may go by an id that we don't know, or missed under the one a server chose for it."""
    chosen = state.prompt.id != prompt_id(board.batch, job, state.prompt.attempt)
    return isinstance(state, Sending) or (chosen and board.tracked[job].absence is not None)


# -- files


def _fetches(board: Board, visited: Sequence[Server], room: int, now: float) -> Iterator[tuple[float, Download]]:
    for name in board.with_files():
        # Where polls fail there is one shared back-off: the next good one opens the way again.
        if name in board.servers and board.servers[name].health.gives_files():
            for job, key in board.next_files(name, room, now):
                yield _fetch(board, job, key)
    for server in visited:
        yield from _probes(board, server)


def _fetch(board: Board, job: str, key: str) -> tuple[float, Download]:
    state = cast("Fetching", board.states[job])  # no other is offered
    index, item = next((i, item) for i, item in enumerate(state.items) if item.file.key == key)
    number = sum(other.file.node == item.file.node for other in state.items[:index])
    prompt, opened, deadline = state.prompt, item.opened, state.deadline
    fetch = Download(
        *(job, prompt.attempt, prompt.prefix, prompt.server, item.file),
        opened=opened,
        index=index,
        number=number,
        deadline=deadline,
    )
    return (state.deadline or 0.0), fetch


def _probes(board: Board, server: Server) -> Iterator[tuple[float, Download]]:
    for job, state in board.open_on(server.name):
        if board.tracked[job].guess is Guess.DUE and server.health.is_up():
            file = File(f"{state.prompt.prefix}{board.first_files[board.tracked[job].guessed]}")
            fetch = Download(job, state.prompt.attempt, state.prompt.prefix, server.name, file, probe=True)
            if fetch not in board.in_flight:
                yield 0.0, fetch


# -- prompts


def _submissions(board: Board, visited: Sequence[Server], now: float) -> Iterator[Submit | Upload]:
    """Yield the POSTs to start, and the uploads of input files that others wait for."""
    if _holds_back(board):
        return
    uploads = UploadPlan(board, now)
    for server in visited:
        if server.takes_prompts(now):
            yield from _again(board, server, uploads)
    if _may_submit(board, now):
        rooms = {}
        roomy = () if board.looked_through else board.roomy
        ahead = AHEAD if board.input_files else 0
        for name in dict.fromkeys([*(server.name for server in visited), *roomy]):
            server = board.servers[name]
            room = _room(board, server, now) if server.takes_prompts(now) else 0
            if room or (ahead and server.takes_prompts(now)):
                rooms[name] = room
        for job, name in _given(board, rooms, uploads, now):
            attempt, inputs = board.next_attempt(job), uploads.names(job, name) or ()
            prompt, prefix = prompt_id(board.batch, job, attempt), file_prefix(board.batch, job, attempt)
            yield Submit(job, attempt, prompt, prefix, name, inputs=inputs)
    yield from uploads.actions


def _room(board: Board, server: Server, now: float) -> int:
    """Return how many more prompts a server may get that takes some, as fast as its files are downloaded."""
    return admitted(board, server, _most(board, server, now), now)


def _most(board: Board, server: Server, now: float) -> int:
    """Return how many more prompts a server could hold that takes some."""
    return server.room(board.load_on(server.name), depth(board, server, now))


def _holds_back(board: Board) -> bool:
    """Whether nothing at all is to be submitted."""
    ailing = board.disk.failed_at is not None or board.sockets.failed_at is not None
    if board.leaving_at is not None or ailing or board.is_closed():
        return True
    return bool(board.refused_alike() or board.hopeless_loss())


def _may_submit(board: Board, now: float) -> bool:
    """Whether there is a job that may go to a server, if one can take it."""
    return not _holds_back(board) and bool(board.next_jobs(1, now)) and is_surveyed(board, now)


def _given(board: Board, rooms: dict[str, int], uploads: UploadPlan, now: float) -> Iterator[tuple[str, str]]:
    """Yield the next jobs and who gets them: the server with most room, if they can be saved in time.

    A job whose input files are not there yet has them uploaded to that server, and lets the next one go first.
    """
    spots = {name: room + AHEAD for name, room in rooms.items()}
    room, left = sum(rooms.values()), sum(spots.values()) if board.input_files else 0
    tripped = any(board.servers[name].breaker.trips for name in rooms)
    picky = ends_at(board) is not None or tripped or bool(board.input_files)
    ahead = min(room + left, 1) * _AHEAD if picky else room
    taken = dict.fromkeys(rooms, 0.0)
    fit: dict[str, dict[float, bool]] = {name: {} for name in rooms}

    def nearest(name: str) -> tuple[bool, int, bool]:
        return rooms[name] > 0, spots[name], uploads.is_near(job, name)

    def is_in_time(name: str, job: str) -> bool:
        cost, known = board.costs.get(job, 0.0), fit[name]
        if cost not in known:
            known[cost] = fits(board, name, job, now + taken[name])
        return known[cost]

    for job, names in offers(board, spots if board.input_files else rooms, ahead, now):
        if room <= 0 and left <= 0:
            break
        files = job in board.input_files
        able = [name for name in names if rooms[name] or (files and spots[name] > 0)]
        able = [name for name in able if _probes_with(board, name, job)]
        able = [name for name in able if name != board.states[job].past.stuck_on] or able
        free = [name for name in able if (not files or uploads.may_go(job, name)) and is_in_time(name, job)]
        if not free:
            continue
        name = max(free, key=nearest if files else rooms.__getitem__)
        if rooms[name] and uploads.names(job, name) is not None:
            rooms[name], room = rooms[name] - 1, room - 1
            spots[name], left = spots[name] - 1, left - 1
            fit[name].clear()
            taken[name] += board.forecast.seconds(name, board.costs.get(job, 0.0))
            yield job, name
        elif spots[name] > 0:
            uploads.want(job, name, confirmed=rooms[name] > 0)
            spots[name], left = spots[name] - 1, left - 1


def _probes_with(board: Board, name: str, job: str) -> bool:
    """Whether a job may go to a server after a trip: one that has not failed there, as long as there is one.

    It may be the job that is too large; and if it is the server, no job must spend all its attempts on finding out.
    """
    breaker = board.servers[name].breaker
    return not breaker.trips or job not in breaker.jobs or breaker.jobs >= board.waiting


def _again(board: Board, server: Server, uploads: UploadPlan) -> Iterator[Submit]:
    """Yield the POSTs that never arrived; where POSTs are refused, one at a time, to try.

    The server may have lost their input files meanwhile, or it was another run that uploaded them.
    """
    held = board.open_on(server.name)
    if server.health.refused_posts and any(board.in_flight.is_posting(job) for job, _ in held):
        return
    due = ((job, state) for job, state in held if board.tracked[job].resend and not board.in_flight.is_posting(job))
    for job, state in islice(due, 1 if server.health.refused_posts else None):
        prompt, inputs = state.prompt, uploads.names(job, server.name)
        if inputs is None:
            uploads.want(job, server.name, confirmed=True)
        else:
            yield Submit(job, prompt.attempt, prompt.id, prompt.prefix, server.name, again=True, inputs=inputs)


def is_surveyed(board: Board, now: float) -> bool:
    """Whether every server that may hold prompts of an earlier ledger was asked, or was waited for long enough.

    One that was asked in an earlier run is asked once more all the same, as long as it answers: the ledger may be an
    old copy of itself. One that can't be asked within a minute holds up nobody; what it turns out to hold when it
    comes back is adopted then. A rare double render costs less than a night.
    """
    if not board.unsurveyed or now >= board.started_at + survey_limit(board):
        return True
    return all(board.is_out(board.servers[name], now) for name in board.unsurveyed)


def survey_limit(board: Board) -> float:
    """Return for how many seconds after the start servers are waited for that were not asked yet."""
    return min(_SURVEY_LIMIT, board.rules.grace)


def is_idle(board: Board, server: Server) -> bool:
    """Whether a server has nothing to do with us any more: nobody names it, and it holds nothing of ours."""
    return not server.named and not board.open_count(server.name)


def is_gone(board: Board, server: Server) -> bool:
    """Whether nothing more is to be learned from a server before we leave."""
    silent = not server.health.is_up() and not board.in_flight.is_asking(server.name)
    return server.leaving is Leaving.GONE or silent or is_idle(board, server)
