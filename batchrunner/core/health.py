"""How one server does: the life of a server, as `lifecycle` is the life of a job.

A server is in one of seven conditions. What its answers say of it is an event, and `NEXT` is the whole table: every
event in every condition, and what each condition allows. `docs/health.md` shows it, printed from here by a test. Beside
the condition stands the evidence that a decision needs: since when, how often, in which words. Records are frozen;
`server.Server.apply` puts the next one in place. All times are seconds on the loop's clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from math import inf
from typing import TYPE_CHECKING

from batchrunner.core.settings import backoff

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchrunner.core.actions import Failure
    from batchrunner.core.settings import Rules

BREAKER_JOBS = 3
_BREAKER_CAP = 900.0
PROBE_PAUSE, _PROBE_CAP = 1.0, 60.0


class Condition(StrEnum):
    """What we think of a server."""

    UNKNOWN = "unknown"
    """No poll of this run has ended yet."""
    ANSWERING = "answering"
    """The last poll was good."""
    UNAVAILABLE = "unavailable"
    """The last poll failed: refused, timed out, 5xx, a page."""
    UNAUTHORIZED = "unauthorized"
    """It refuses our token, on polls or on POSTs."""
    STALLED = "stalled"
    """It answers, prompts wait there, and nothing runs."""
    FAILING = "failing"
    """It answers and renders, and job after job comes to nothing in the same way."""
    GONE = "gone"
    """Given up: what it held is rendered elsewhere."""


class Event(StrEnum):
    """What a result says of a server."""

    POLLED = "a good poll"
    POLLED_STALLED = "a good poll: prompts wait, nothing runs"
    POLLED_REFUSED = "a good poll, while POSTs are refused"
    POLLED_TRIPPED = "a good poll, while job after job fails"
    POLL_FAILED = "a failed poll"
    POLL_REFUSED = "401 or 403 on a poll"
    POST_TAKEN = "a POST is taken"
    POST_REFUSED = "401 or 403 on a POST"
    TRIPPED = "a third job alike comes to nothing"
    JOB_WELL = "a file is saved"
    GIVEN_UP = "it is given up"


_C, _E = Condition, Event
_ALWAYS: dict[Event, Condition] = {
    _E.POLLED: _C.ANSWERING,
    _E.POLLED_STALLED: _C.STALLED,
    _E.POLLED_REFUSED: _C.UNAUTHORIZED,
    _E.POLLED_TRIPPED: _C.FAILING,
    _E.POLL_FAILED: _C.UNAVAILABLE,
    _E.POLL_REFUSED: _C.UNAUTHORIZED,
    _E.POST_REFUSED: _C.UNAUTHORIZED,
    _E.GIVEN_UP: _C.GONE,
}
"""Where an event leads from any condition, unless the condition says otherwise."""
NEXT: Mapping[Condition, Mapping[Event, Condition]] = {
    _C.UNKNOWN: _ALWAYS,
    _C.ANSWERING: {**_ALWAYS, _E.TRIPPED: _C.FAILING},
    _C.UNAVAILABLE: {**_ALWAYS, _E.POST_REFUSED: _C.UNAVAILABLE},
    _C.UNAUTHORIZED: {**_ALWAYS, _E.POST_TAKEN: _C.ANSWERING},
    _C.STALLED: {**_ALWAYS, _E.TRIPPED: _C.FAILING},
    _C.FAILING: {**_ALWAYS, _E.JOB_WELL: _C.ANSWERING},
    _C.GONE: {**_ALWAYS, _E.POLL_FAILED: _C.GONE, _E.POLL_REFUSED: _C.GONE, _E.POST_REFUSED: _C.GONE},
}
"""What follows; an event that is not listed changes nothing."""


@dataclass(frozen=True, slots=True)
class Allowed:
    """What a condition allows; in words for `docs/health.md`."""

    polls: str
    posts: str
    downloads: bool


_PAUSED = "after a pause that doubles to 60 s (to 5 s while it holds something of ours)"
ALLOWED: Mapping[Condition, Allowed] = {
    _C.UNKNOWN: Allowed("at once", "none", downloads=False),
    _C.ANSWERING: Allowed(
        "every 1 to 10 s; with a live socket when it says so, and every 30 s", "up to `depth`", downloads=True
    ),
    _C.UNAVAILABLE: Allowed(_PAUSED, "none", downloads=False),
    _C.UNAUTHORIZED: Allowed(
        f"as usual while they are good, else {_PAUSED}",
        "one to try, after a pause that doubles, while polls are good",
        downloads=True,
    ),
    _C.STALLED: Allowed("every 1 to 10 s", "up to `depth` for `grace`, then none", downloads=True),
    _C.FAILING: Allowed("every 1 to 10 s", "one to try, after a pause that doubles", downloads=True),
    _C.GONE: Allowed(f"{_PAUSED}, if it is named", "none", downloads=False),
}


@dataclass(frozen=True, slots=True)
class Breaker:
    """Pauses a server on which job after job comes to nothing in the same way."""

    kind: str = ""
    """What they have in common."""
    jobs: frozenset[str] = frozenset()
    """Those that ended so; after a trip, since one of them did a second time."""
    trips: int = 0
    paused_until: float = 0.0
    message: str = ""
    """What the last of them ended with, for a person."""
    may_pass: bool = True
    """Waiting may help: memory, a restart. It does not help against a workflow that can't work."""

    def failed(self, name: str, loss: BurnedLoss, now: float, rest: float) -> Breaker:
        """Count one loss; the third job alike pauses the server's submissions, and each one after it."""
        round_over = self.trips and loss.job in self.jobs
        jobs = self.jobs | {loss.job} if loss.kind == self.kind and not round_over else frozenset({loss.job})
        after = replace(self, kind=loss.kind, jobs=jobs, message=loss.message, may_pass=loss.may_pass)
        if len(jobs) < BREAKER_JOBS and not self.trips:
            return after
        trips = self.trips + 1
        return replace(after, trips=trips, paused_until=now + backoff(name, trips, rest, _BREAKER_CAP))

    def most(self, depth: int) -> int:
        """Return how many prompts the server may hold: one after a trip, before it no more than it still takes to."""
        if not self.jobs:
            return depth
        return 1 if self.trips else min(depth, BREAKER_JOBS - len(self.jobs))

    def is_hopeless(self) -> bool:
        """Whether three different jobs came to nothing alike, in a way that waiting does not mend."""
        return len(self.jobs) >= BREAKER_JOBS and self.trips > 0 and not self.may_pass


@dataclass(frozen=True, slots=True)
class BurnedLoss:
    """An attempt of a job that was rendered in vain."""

    job: str
    kind: str
    message: str
    may_pass: bool


@dataclass(frozen=True, slots=True)
class Health:
    """One server's condition, and the evidence for it."""

    good_at: float
    """Start of the last good poll; before the first one, when the run began."""
    condition: Condition = Condition.UNKNOWN
    message: str = ""
    """The latest failure, for a person."""
    answered_at: float | None = None
    """End of the first good poll."""
    failures: int = 0
    """Failed or refused polls since the last good one."""
    unread: int = 0
    """Polls since the last one that could read all of the history it asked for."""
    failed_at: float = -inf
    """When it last failed: how long anything took across that, nobody knows."""
    refused_since: float | None = None
    """Since when polls or POSTs are refused; a taken POST ends it, a good poll only what polls began."""
    refused_posts: int = 0
    """POSTs refused since the last one that was taken."""
    posts_at: float = -inf
    """No POST before then."""
    stalled_since: float | None = None
    """Since when prompts wait and nothing runs."""
    failing_since: float | None = None
    """Since when every POST and every download fails, though polls may be good."""
    uploads_failing_since: float | None = None
    """Since when every upload fails: its own time, for an upload that works tells nothing of POSTs that fail."""
    give_ups: int = 0
    """How often it was given up since the last POST or download that got through."""

    # -- what it allows

    def is_up(self) -> bool:
        """Whether the last poll was good."""
        return self.answered_at is not None and not self.failures

    def is_heard(self) -> bool:
        """Whether a poll has ended, well or not: before that we don't even know whether it answers."""
        return self.answered_at is not None or self.failures > 0

    def gives_files(self) -> bool:
        """Whether downloads are tried: never before the first good poll, nor while polls fail."""
        return self.answered_at is not None and ALLOWED[self.condition].downloads

    def takes_prompts(self, now: float, rules: Rules) -> bool:
        """Whether a POST may go there now."""
        return self.is_up() and now >= self.posts_at and not self.is_wedged(now, rules)

    def is_wedged(self, now: float, rules: Rules) -> bool:
        """Whether prompts have waited for `grace` and nothing runs: ComfyUI's executing thread has died."""
        return self.stalled_since is not None and now - self.stalled_since >= rules.grace

    # -- when it is no longer waited for

    def stuck_since(self) -> float | None:
        """Return since when this server has brought us nothing; None if it is fine."""
        away = None if self.is_up() else self.good_at
        times = (away, self.stalled_since, self.failing_since, self.uploads_failing_since)
        return min((at for at in times if at is not None), default=None)

    def out_at(self, rules: Rules, *, holding: bool) -> float | None:
        """Return when it is, or was, no longer waited for; None if it is fine.

        At once where it refuses us before anything of this batch is out (`holding`), after `grace` then; after
        `patience` where it brings us nothing.
        """
        ends = []
        if self.condition is Condition.GONE:
            ends.append(-inf)
        if self.condition is Condition.UNAUTHORIZED and self.refused_since is not None:
            ends.append(self.refused_since + (rules.grace if holding else 0.0))
        if (stuck := self.stuck_since()) is not None:
            ends.append(stuck + rules.patience)
        return min(ends, default=None)

    def is_out(self, now: float, rules: Rules, *, holding: bool) -> bool:
        """Whether it is no longer waited for."""
        at = self.out_at(rules, holding=holding)
        return at is not None and now >= at

    # -- what follows

    def _led(self, event: Event) -> Condition:
        """Return the condition after `event`."""
        return NEXT[self.condition].get(event, self.condition)

    def polled(self, began: float, now: float, *, stalled: bool, tripped: bool, whole: bool) -> Health:
        """Take in a good poll that began at `began`.

        `stalled`: prompts wait and nothing runs. `tripped`: the breaker has not closed. `whole`: all that was asked
        for could be read.
        """
        event = Event.POLLED
        if self.refused_posts:
            event = Event.POLLED_REFUSED
        elif stalled:
            event = Event.POLLED_STALLED
        elif tripped:
            event = Event.POLLED_TRIPPED
        since = began if self.stalled_since is None else self.stalled_since
        return replace(
            self,
            condition=self._led(event),
            good_at=began,
            answered_at=now if self.answered_at is None else self.answered_at,
            failures=0,
            unread=0 if whole else self.unread + 1,
            message=self.message if self.refused_posts else "",
            refused_since=self.refused_since if self.refused_posts else None,
            stalled_since=since if stalled else None,
        )

    def poll_failed(self, failure: Failure, now: float) -> Health:
        """Take in that it did not answer properly."""
        return replace(
            self,
            condition=self._led(Event.POLL_FAILED),
            failures=self.failures + 1,
            failed_at=now,
            message=failure.message,
        )

    def poll_refused(self, failure: Failure, now: float) -> Health:
        """Take in a 401 or 403 on a poll."""
        return replace(
            self,
            condition=self._led(Event.POLL_REFUSED),
            failures=self.failures + 1,
            message=failure.message,
            refused_since=now if self.refused_since is None else self.refused_since,
        )

    def post_taken(self) -> Health:
        """Take in that a POST was queued."""
        after = replace(self, condition=self._led(Event.POST_TAKEN), refused_posts=0, refused_since=None)
        return after.transfer_worked()

    def post_refused(self, name: str, failure: Failure, now: float) -> Health:
        """Take in a 401 or 403 on a POST: another is tried after a pause."""
        refused = self.refused_posts + 1
        return replace(
            self,
            condition=self._led(Event.POST_REFUSED),
            message=failure.message,
            refused_posts=refused,
            refused_since=now if self.refused_since is None else self.refused_since,
            posts_at=now + backoff(f"{name}/post", refused, PROBE_PAUSE, _PROBE_CAP),
        )

    def posts_wait(self, until: float) -> Health:
        """Take in that no POST is wanted before `until`."""
        return replace(self, posts_at=max(self.posts_at, until))

    def awaited(self, now: float) -> Health:
        """Take in that it is waited for from `now` on: how long it has been away before does not count."""
        return self if self.is_up() else replace(self, good_at=max(self.good_at, now))

    def transfer_failed(self, now: float, *, upload: bool = False) -> Health:
        """Take in that a POST or a download failed, or an upload."""
        if upload:
            began = self.uploads_failing_since
            return replace(self, uploads_failing_since=now if began is None else began)
        return replace(self, failing_since=now if self.failing_since is None else self.failing_since)

    def upload_worked(self) -> Health:
        """Take in that an input file is there."""
        return replace(self, uploads_failing_since=None)

    def transfer_worked(self) -> Health:
        """Take in that a POST or a download got through."""
        return replace(self, failing_since=None, uploads_failing_since=None, give_ups=0)

    def tripped(self) -> Health:
        """Take in that job after job comes to nothing."""
        return replace(self, condition=self._led(Event.TRIPPED))

    def job_well(self) -> Health:
        """Take in that a file is saved."""
        return replace(self, condition=self._led(Event.JOB_WELL)).transfer_worked()

    def given_up(self, name: str, now: float, rest: float) -> Health:
        """Take in that it is given up: if it answers all the same, it gets no prompt before a pause that doubles.

        Else a server whose polls are good and whose POSTs all fail would be given every job in turn, and none of them
        to the other servers.
        """
        times = self.give_ups + 1
        posts_at = max(self.posts_at, now + backoff(f"{name}/gone", times, rest, _BREAKER_CAP))
        return replace(self, condition=self._led(Event.GIVEN_UP), give_ups=times, posts_at=posts_at)
