"""When a prompt that no poll finds is lost: in neither queue nor history, often enough and for long enough.

Before it is lost, the file that it should have made is tried under its predictable name: a server that restarted has
forgotten the prompt, and its file may lie there all the same.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from batchrunner.core.attempts import lose
from batchrunner.core.facts import Why
from batchrunner.core.lifecycle import Sending
from batchrunner.core.notes import Track
from batchrunner.core.tracking import Guess

if TYPE_CHECKING:
    from batchrunner.core.attempts import Attempt
    from batchrunner.core.facts import Fact
    from batchrunner.core.notes import Note
    from batchrunner.core.server import Server
    from batchrunner.core.tracking import Absence, Tracked

_ABSENCES = 3


@dataclass(frozen=True, slots=True)
class MissedBy:
    """One good poll that did not find a prompt. All times are seconds on the loop's clock."""

    server: Server
    began: float
    answered_at: float
    """When the server first answered in this run."""
    restarted_at: float | None
    """When it restarted and forgot everything, as far as this poll shows; None if it did not."""
    guessable: bool
    """Whether the name of a prompt's file can be guessed."""


def interpret_missing(attempt: Attempt, record: Tracked, poll: MissedBy) -> tuple[list[Fact], list[Note]]:
    """Count a poll that did not find a prompt, and take the prompt for lost once that is proof."""
    job = attempt.job
    if record.withdrawn:
        message = "cancelled because the run was stopping; it will be sent again next time"
        return [lose(attempt, Why.WITHDRAWN, message)], [Track(job, record.found())]
    if record.sent_at is not None and record.sent_at > poll.began:
        return [], []
    absence = record.missed(poll.began)
    record = replace(record, absence=absence)
    if not _is_lost(attempt, record.sent_at, absence, poll):
        return [], [Track(job, record)]
    if record.guess is Guess.FAILED or not poll.guessable:
        facts, record = _resend_or_lose(attempt, record, poll.server)
        return facts, [Track(job, record)]
    return [], [Track(job, replace(record, guess=Guess.DUE))]


def _is_lost(attempt: Attempt, sent_at: float | None, absence: Absence, poll: MissedBy) -> bool:
    """Whether it has been missing for long enough, a restart of the server counted in."""
    rules = poll.server.rules
    if isinstance(attempt.state, Sending):
        return poll.began >= (poll.answered_at if sent_at is None else sent_at) + rules.settle
    restarted = poll.restarted_at is not None and (sent_at is None or sent_at <= poll.restarted_at)
    return absence.count >= _ABSENCES and (restarted or poll.began - absence.since >= rules.grace)


def _resend_or_lose(attempt: Attempt, record: Tracked, server: Server) -> tuple[list[Fact], Tracked]:
    """Return what follows when a prompt is lost and its file is not there either.

    One that was never acknowledged is posted again where that server is still named, same id and body: if both arrive,
    they are recognised, and one is removed. Any other is lost and gets another attempt: the same body would meet the
    server's cache (docs/comfyui.md §10).
    """
    if isinstance(attempt.state, Sending) and server.named:
        return [], replace(record, resend=True)
    ran = record.seen_running
    message = "in neither queue nor history, three polls in a row" + (", and it was running" if ran else "")
    return [lose(attempt, Why.FORGOTTEN, message, burns=ran)], record.found()
