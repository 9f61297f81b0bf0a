"""How one server does: what its answers say of it, when it is asked again, and when it is no longer waited for.

Frozen records; `server.Server.apply` puts the next one in place. All times are seconds on the loop's clock.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf
from typing import TYPE_CHECKING

from batchrunner.core.settings import backoff

if TYPE_CHECKING:
    from batchrunner.core.results import Failure
    from batchrunner.core.settings import Rules

_BREAKER_JOBS = 3
_BREAKER_CAP = 900.0
_TWICE = 2


@dataclass(frozen=True, slots=True)
class Breaker:
    """Pauses a server on which job after job ends with the same class of error."""

    kind: str = ""
    jobs: frozenset[str] = frozenset()
    """Those that ended so; after a trip, since one of them did a second time."""
    trips: int = 0
    paused_until: float = 0.0

    def failed(self, url: str, kind: str, job: str, now: float, rest: float) -> Breaker:
        """Count one execution error; the third job alike pauses the server's submissions, and each one after it."""
        round_over = self.trips and job in self.jobs
        jobs = self.jobs | {job} if kind == self.kind and not round_over else frozenset({job})
        if len(jobs) < _BREAKER_JOBS and not self.trips:
            return replace(self, kind=kind, jobs=jobs)
        trips = self.trips + 1
        return Breaker(kind, jobs, trips, now + backoff(url, trips, rest, _BREAKER_CAP))

    def most(self, depth: int) -> int:
        """Return how many prompts the server may hold: one after a trip, before it no more than it still takes to."""
        if not self.jobs:
            return depth
        return 1 if self.trips else min(depth, _BREAKER_JOBS - len(self.jobs))


@dataclass(frozen=True, slots=True)
class Health:
    """What the polls, POSTs and downloads of a server told."""

    good_at: float
    """Start of the last good poll; before the first one, when the run began."""
    answered_at: float | None = None
    """End of the first good poll."""
    failures: int = 0
    """Failed polls since the last good one."""
    says: str = ""
    """The latest failure, for a person."""
    denied_polls: int = 0
    denied_posts: int = 0
    denied_at: float | None = None
    """When a POST was last refused."""
    stalled_at: float | None = None
    """Since when prompts wait and nothing runs."""
    failing_since: float | None = None
    """Since when every POST and every download fails, though polls may be good."""
    failed_at: float = -inf
    """When it last failed: how long anything took across that, nobody knows."""

    # -- what it allows

    def is_up(self) -> bool:
        """Whether the last poll was good."""
        return self.answered_at is not None and not self.failures and not self.denied_polls

    def is_heard(self) -> bool:
        """Whether a poll has ended, well or not: before that we don't even know whether it answers."""
        return self.answered_at is not None or self.failures > 0 or self.denied_polls > 0

    def is_denied(self) -> bool:
        """Whether it refused our token twice running."""
        return self.denied_polls >= _TWICE or self.denied_posts >= _TWICE

    def is_wedged(self, now: float, rules: Rules) -> bool:
        """Whether prompts have waited for `grace` and nothing runs (PROTOCOL.md §1, 9)."""
        return self.stalled_at is not None and now - self.stalled_at >= rules.grace

    def stuck_since(self) -> float | None:
        """Return since when this server has brought us nothing; None if it is fine."""
        away = self.good_at if not self.is_up() else None
        since = [at for at in (away, self.stalled_at, self.failing_since) if at is not None]
        return min(since, default=None)

    def is_out(self, now: float, rules: Rules) -> bool:
        """Whether we no longer wait for it: unauthorised, or stuck for longer than `patience`."""
        return self.is_denied() or self.is_given_up(now, rules)

    def is_given_up(self, now: float, rules: Rules) -> bool:
        """Whether it has brought us nothing for longer than `patience`."""
        stuck = self.stuck_since()
        return stuck is not None and now >= stuck + rules.patience

    def takes_prompts(self, now: float, rules: Rules) -> bool:
        """Whether a POST may go there now; after a refused one a good poll comes first."""
        healthy = self.is_up() and not self.is_out(now, rules) and not self.is_wedged(now, rules)
        doubted = self.denied_at is not None and self.good_at <= self.denied_at
        return healthy and not doubted

    # -- what follows

    def polled(self, began: float, now: float, *, stalled: bool) -> Health:
        """Take in a good poll that began at `began`; `stalled` if prompts wait and nothing runs."""
        since = began if self.stalled_at is None else self.stalled_at
        return replace(
            self,
            good_at=began,
            answered_at=now if self.answered_at is None else self.answered_at,
            failures=0,
            denied_polls=0,
            says="",
            stalled_at=since if stalled else None,
        )

    def poll_failed(self, failure: Failure, now: float) -> Health:
        """Take in that it did not answer properly."""
        return replace(self, failures=self.failures + 1, failed_at=now, says=failure.says)

    def poll_refused(self, failure: Failure) -> Health:
        """Take in a 401 or 403 on a poll: one more confirms it."""
        return replace(self, denied_polls=self.denied_polls + 1, says=failure.says)

    def post_taken(self) -> Health:
        """Take in that a POST was queued."""
        return replace(self, denied_posts=0, denied_at=None, failing_since=None)

    def post_refused(self, failure: Failure, began: float, now: float) -> Health:
        """Take in a 401 or 403 on a POST that began at `began`; of several at a time only the first counts."""
        counts = self.denied_at is None or began >= self.denied_at
        return replace(self, denied_posts=self.denied_posts + counts, denied_at=now, says=failure.says)

    def transfer_failed(self, now: float) -> Health:
        """Take in that a POST or a download failed."""
        return replace(self, failing_since=now if self.failing_since is None else self.failing_since)

    def transfer_worked(self) -> Health:
        """Take in that a POST or a download got through."""
        return replace(self, failing_since=None)
