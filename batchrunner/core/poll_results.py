"""What one poll of one server implies for the prompts of ours that it holds or may hold.

Start-up, reconnect, a missed message, a restart of the server and a crash of ours all end here: there is no second
way to find out. A prompt is missing only if a whole good poll that began after its POST had ended did not find it,
neither in the queue nor, read after that, in the history.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from batchrunner.core.actions import Cause, Ended, Failure
from batchrunner.core.adoption import adopt
from batchrunner.core.attempts import Attempt, accept, classify, lose, misses_input
from batchrunner.core.facts import Rendered, Why
from batchrunner.core.job import parse_prefix
from batchrunner.core.jobs_api import asked_for
from batchrunner.core.lifecycle import Fetching, Sending
from batchrunner.core.missing import MissedBy, interpret_missing
from batchrunner.core.notes import (
    Finished,
    Leave,
    Leaving,
    LocalFailed,
    LocalWorked,
    Outcome,
    PollAt,
    Polled,
    PollFailed,
    PollLater,
    PollRefused,
    Remove,
    Resource,
    Surveyed,
    Track,
    TransferWorked,
)
from batchrunner.core.server import FASTEST_POLL
from batchrunner.core.settings import backoff

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchrunner.core.actions import Entry, Poll, PollEnd, PollResult, Row
    from batchrunner.core.board import Board
    from batchrunner.core.facts import Fact, Lost
    from batchrunner.core.lifecycle import Queued
    from batchrunner.core.notes import Moment, Note
    from batchrunner.core.server import Server
    from batchrunner.core.tracking import Tracked

SURVEY = 100
"""How many of the last history entries a first poll reads, to find what an earlier ledger sent."""
DOUBT = 64
"""How many are read while a POST of ours got no answer: an old server may have chosen an id of its own."""
_UNREAD_CAP = 5.0
"""Seconds between two polls at most while the history can not be read whole."""
_LOCAL_PAUSE = 5.0
"""Seconds until a server is asked again after this machine had no room to."""


def interpret_poll(board: Board, action: Poll, end: PollEnd, moment: Moment) -> Outcome:
    """Return what follows from a poll that has ended."""
    if not isinstance(end, Failure):
        return _Reading(board, board.servers[action.server], action, end, moment).outcome()
    if end.cause is Cause.UNAUTHORIZED:
        return Outcome(
            notes=(PollRefused(action.server, end, moment.now, holding=board.open_count(action.server) > 0),)
        )
    return Outcome(notes=failed(board, action.server, end, moment.now))


def failed(board: Board, server: str, failure: Failure, now: float) -> tuple[Note, ...]:
    """Return what a failure says, whoever met it, of the server or of this machine."""
    if failure.cause is Cause.LOCAL:
        return LocalFailed(Resource.SOCKETS, failure.message, now), PollAt(server, now + _LOCAL_PAUSE)
    return (PollFailed(server, failure, now, holding=board.open_count(server) > 0),)


@dataclass(slots=True)
class _Reading:
    """One good poll, read prompt by prompt; what it finds is collected, and nothing else is changed."""

    board: Board
    server: Server
    action: Poll
    result: PollResult
    moment: Moment
    answered_at: float = field(init=False)
    restarted_at: float | None = field(init=False)

    def outcome(self) -> Outcome:
        """Return the facts in the order they are to be noted, and the notes."""
        now, began = self.moment.now, self.moment.began
        ours = frozenset(row.prompt for row in self.result.queue if self._is_ours(row))
        whole = self.result.unread is None
        asked = asked_for(self.action, self.result)
        polled = Polled(self.server.name, self.result, ours, began, now, hung=self._is_hung(), asked=asked)
        self.answered_at = self.server.health.answered_at if self.server.health.answered_at is not None else now
        self.restarted_at = self.server.memory.polled(polled).restarted_at
        facts: list[Fact] = []
        notes: list[Note] = [LocalWorked(Resource.SOCKETS), polled]
        if self.action.recent >= SURVEY and whole:
            found, said = adopt(self.board, self.server, self.result, self.moment)
            facts += found
            notes += [*said, Surveyed(self.server.name)]
        for job, state in self.board.open_on(self.server.name):
            if state.prompt.id in self.action.ids and not self.board.in_flight.is_posting(job):
                record = self.board.tracked[job]
                found, said = self._prompt(
                    Attempt(job, state, self.moment.at, self.server.rules, self.board.nodes), record
                )
                facts += found
                notes += said or self._next_runs(polled, job, state, record)
        facts += self._gone_files()
        if whole:
            notes += self._leave()
        notes.append(self._next())
        return Outcome(tuple(facts), tuple(notes))

    def _next_runs(self, polled: Polled, job: str, state: Sending | Queued, record: Tracked) -> list[Note]:
        """Note that a prompt of ours runs because those before it have ended: it may end the server unseen."""
        if not polled.asked or state.prompt.id not in self.server.queue.updated(polled).running:
            return []
        return [Track(job, replace(record, seen_running=True))]

    def _is_hung(self) -> bool:
        """Whether a prompt of ours still runs long after it was interrupted: then nothing else will run there."""
        running = {row.prompt for row in self.result.queue if row.running}
        limit = self.moment.began - self.server.rules.grace
        records = ((state.prompt.id, self.board.tracked[job]) for job, state in self.board.open_on(self.server.name))
        return any(
            prompt in running and record.interrupted_at is not None and record.interrupted_at < limit
            for prompt, record in records
        )

    # -- one prompt

    def _prompt(self, attempt: Attempt, record: Tracked) -> tuple[list[Fact], list[Note]]:
        """Find a prompt by its id; only then by its prefix, which a server that chose its own id leaves us.

        That order matters: whoever queues our workflow once more, prefix and all, must not hide that ours has ended.
        And whoever queues another one under our prefix must not be taken for us.
        """
        prompt = attempt.state.prompt
        rows = [row for row in self.result.queue if row.prompt == prompt.id]
        entry = self.result.history.get(prompt.id)
        if not rows and not entry:
            duplicates = [row for row in self.result.queue if self._is_copy(attempt, row)]
            rows = sorted(duplicates, key=lambda row: not row.running)[:1]
            entry = next((entry for entry in reversed(self.result.recent) if self._is_copy(attempt, entry)), None)
        if rows:
            return self._alive(attempt, record, rows)
        if entry:
            return self._ended(attempt, record, entry)
        if prompt.id not in self.result.history:
            return [], []
        missed = MissedBy(
            self.server, self.moment.began, self.answered_at, self.restarted_at, bool(self.board.first_files)
        )
        return interpret_missing(attempt, record, missed)

    def _alive(self, attempt: Attempt, record: Tracked, rows: list[Row]) -> tuple[list[Fact], list[Note]]:
        """Note that a prompt is in the queue; `rows` are its entries there, at least one.

        Two under one id: a POST that was given up arrived after all, and one of them is to be deleted. Deleting by id
        takes one pending entry away, never a running one (docs/comfyui.md §9).
        """
        running = any(row.running for row in rows)
        notes = self._found(attempt, replace(record, seen_running=running))
        if len(rows) > 1 and rows[0].prompt not in self.server.removed:
            notes.append(Remove(self.server.name, frozenset({rows[0].prompt})))
        if not isinstance(attempt.state, Sending):
            return [], notes
        return [accept(attempt.job, attempt.state.prompt, rows[0].prompt, attempt.at)], notes

    def _ended(self, attempt: Attempt, record: Tracked, entry: Entry) -> tuple[list[Fact], list[Note]]:
        """Note how a prompt ended."""
        notes = self._found(attempt, record)
        facts: list[Fact] = []
        if isinstance(attempt.state, Sending):
            facts.append(accept(attempt.job, attempt.state.prompt, entry.prompt, attempt.at))
        if entry.ended is Ended.INTERRUPTED and record.interrupted_at is not None:
            facts.append(stuck(attempt))
            return facts, notes
        facts.append(self._classified(attempt, entry))
        if entry.ended is Ended.SUCCESS:
            notes.append(Finished(self.server.name, entry.prompt))
        return facts, notes

    def _classified(self, attempt: Attempt, entry: Entry) -> Rendered | Lost:
        """Return what an entry says of a prompt that this ledger sent.

        A workflow that is not ours any more is kept all the same: we sent it, so it was rewritten on the server.
        """
        lost = misses_input(self.board, attempt.job, entry)
        fact = classify(attempt, entry, self.result.date, excused=self._is_sick(), input_lost=lost)
        if isinstance(fact, Rendered) and entry.digest and not self.board.is_own(attempt.job, entry.digest):
            return replace(fact, differs=True)
        return fact

    def _is_copy(self, attempt: Attempt, one: Row | Entry) -> bool:
        """Whether this carries an attempt's prefix and renders its job."""
        return attempt.state.prompt.prefix in one.prefixes and self.board.is_own(attempt.job, one.digest)

    def _found(self, attempt: Attempt, record: Tracked) -> list[Note]:
        """Note that a prompt was found; one that was only sent proves that a POST arrives."""
        notes: list[Note] = [Track(attempt.job, record.found())]
        if isinstance(attempt.state, Sending):
            notes.append(TransferWorked(self.server.name))
        return notes

    def _is_sick(self) -> bool:
        """Whether a server only raises, and another does not: what it says of a job is then nothing of the job."""
        if not self.server.breaker.trips:
            return False
        others = (one for one in self.board.servers.values() if one is not self.server and not one.breaker.jobs)
        return any(other.takes_prompts(self.moment.now) for other in others)

    # -- the rest of a poll

    def _is_ours(self, row: Row) -> bool:
        return any(parse_prefix(self.board.batch, prefix) for prefix in row.prefixes)

    def _gone_files(self) -> Iterator[Fact]:
        """Yield the loss of files that a GET did not find: this poll began after it, and the server itself answered."""
        for job in self.board.fetching_on(self.server.name):
            state, record = self.board.states[job], self.board.tracked[job]
            if isinstance(state, Fetching) and any(at <= self.moment.began for at in record.not_found.values()):
                yield expired(Attempt(job, state, self.moment.at, self.server.rules), self.board)

    def _leave(self) -> Iterator[Note]:
        """Take the next step off this server, if we are on our way out and no POST to it is still under way."""
        board, name = self.board, self.server.name
        held = {job: state.prompt.id for job, state in board.open_on(name)}
        if board.leaving_at is None or self._is_older() or any(map(board.in_flight.is_posting, held)):
            return
        if self.server.leaving is Leaving.ASKING:
            waiting = {row.prompt for row in self.result.queue if not row.running}
            pending = frozenset(held.values()) & waiting
            yield Leave(name, Leaving.TAKING if pending else Leaving.GONE)
            yield Remove(name, pending)
        elif self.server.leaving is Leaving.CONFIRMING:
            yield Leave(name, Leaving.GONE)

    def _next(self) -> Note:
        """Say when to poll again: at once if this one began before we were asked to leave, soon if it was not whole."""
        name, now = self.server.name, self.moment.now
        if self.result.unread is not None:
            pause = backoff(f"{name}/unread", self.server.health.unread + 1, FASTEST_POLL, _UNREAD_CAP)
            return PollAt(name, now + pause)
        return PollAt(name, now) if self._is_older() else PollLater(name, now)

    def _is_older(self) -> bool:
        """Whether this poll began before we were asked to leave."""
        return self.board.leaving_at is not None and self.moment.began < self.board.leaving_at


def expired(attempt: Attempt, board: Board) -> Lost:
    """Return the loss of a file that is on its server no more."""
    if attempt.state.prompt.id in board.inherited:
        return lose(attempt, Why.WITHDRAWN, "the built-in ComfyUI ended with its run; it is rendered again")
    return lose(attempt, Why.EXPIRED, "404: clean-up deleted the file before it was downloaded")


def stuck(attempt: Attempt) -> Lost:
    """Return the loss of a prompt that we interrupted because it ran far too long; a second one is final."""
    message = "it ran far longer than it should, without an end, and was interrupted"
    return lose(attempt, Why.STUCK, message, error="stuck")
