"""What we remember of one server while we run: its health, its breaker, who was missing when.

None of it is persisted and none of it changes a job: it decides when to ask, when to wait and when to stop asking.
All times are seconds on the loop's clock unless said otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum, auto
from math import inf
from typing import TYPE_CHECKING

from batchrunner.core.otherload import OtherUsersLoad
from batchrunner.core.settings import backoff

if TYPE_CHECKING:
    from batchrunner.core.results import Failure, PollResult
    from batchrunner.core.settings import Rules

SIM = "sim"
"""The built-in ComfyUI: its memory ends with the run that started it."""
OUR_DISK = "this disk"
"""Stands for a server in the facts of a file that was found at home; nobody ever asks it anything."""
_BREAKER_JOBS = 3
_BREAKER_CAP = 900.0
FASTEST_LOOK = 1.0
"""Seconds between two looks where every moment counts."""
_AWAY_CAP = 60.0
_AWAY_CAP_IN_RACE = 5.0
_TWICE = 2


class Leaving(Enum):
    """How far we have got in taking our pending prompts off a server."""

    NO = auto()
    ASKING = auto()
    """One more look is due: what is rendered, what is still pending?"""
    TAKING = auto()
    """The pending ones are being deleted."""
    CONFIRMING = auto()
    """Another look: the deleted are gone, and one may have started just before."""
    GONE = auto()


@dataclass(frozen=True, slots=True)
class Absence:
    """A prompt of ours in neither queue nor history, look after look."""

    count: int
    since: float
    """Start of the first look that missed it."""


@dataclass(slots=True)
class Breaker:
    """Pauses a server on which job after job ends with the same class of error."""

    kind: str = ""
    jobs: frozenset[str] = frozenset()
    """Those that ended so; after a trip, since one of them did a second time."""
    trips: int = 0
    paused_until: float = 0.0

    def failed(self, url: str, kind: str, job: str, now: float, rest: float) -> bool:
        """Count one execution error; return whether the server's submissions pause now."""
        round_over = self.trips and job in self.jobs
        self.jobs = self.jobs | {job} if kind == self.kind and not round_over else frozenset({job})
        self.kind = kind
        if len(self.jobs) < _BREAKER_JOBS and not self.trips:
            return False
        self.trips += 1
        self.paused_until = now + backoff(url, self.trips, rest, _BREAKER_CAP)
        return True

    def most(self, depth: int) -> int:
        """Return how many prompts the server may hold: one after a trip, before it no more than it still takes to."""
        if not self.jobs:
            return depth
        return 1 if self.trips else min(depth, _BREAKER_JOBS - len(self.jobs))

    def worked(self) -> None:
        """Forget everything: a job went through."""
        self.kind, self.jobs, self.trips, self.paused_until = "", frozenset(), 0, 0.0


@dataclass(slots=True)
class Server:
    """One server as this run knows it."""

    url: str
    good_at: float
    """Start of the last good look; before the first one, when the run began."""
    look_at: float
    """When the next look is due."""
    named: bool = True
    """In the manifest or on the command line; others are only watched while they hold prompts of ours."""
    answered_at: float | None = None
    """End of the first good look."""
    surveyed: bool = False
    """Somebody of this ledger has seen its queue and last history entries."""
    failures: int = 0
    says: str = ""
    """The latest trouble, for a person."""
    denied_looks: int = 0
    denied_posts: int = 0
    denied_at: float | None = None
    """When a POST was last denied."""
    stalled_at: float | None = None
    """Since when prompts wait and nothing runs."""
    fruitless_at: float | None = None
    """Since when every POST and every download fails, though looks may be good."""
    number: float = -1.0
    """The queue number that the last POST of ours got, and when we heard it."""
    numbered_at: float = 0.0
    restarted_at: float | None = None
    rendered_at: float | None = None
    """When a look saw the last render of ours."""
    ailed_at: float = -inf
    """When it last met trouble: how long anything took across that, nobody knows."""
    anchor: str | None = None
    """A finished prompt of ours: gone from the history means the server forgot everything."""
    skew: float | None = None
    """Server's clock minus the loop's."""
    running: dict[str, float] = field(default_factory=dict)
    """Prompts running there, anybody's, with the start of the look that first saw them."""
    ran: set[str] = field(default_factory=set)
    """Prompts of ours seen running there, or taken when nothing was in front of them."""
    pending: tuple[str, ...] = ()
    foreign: int = 0
    """Queue entries that are not ours."""
    others: OtherUsersLoad = field(default_factory=OtherUsersLoad)
    absences: dict[str, Absence] = field(default_factory=dict)
    posted_at: dict[str, float] = field(default_factory=dict)
    """Per job: the end of its last POST attempt."""
    probes: dict[str, bool] = field(default_factory=dict)
    """Jobs whose predictable file is to be tried (False) or was tried in vain (True)."""
    repost: set[str] = field(default_factory=set)
    twins: set[str] = field(default_factory=set)
    """Prompts to be deleted by id, once."""
    untwinned: set[str] = field(default_factory=set)
    withdrawn: set[str] = field(default_factory=set)
    """Prompts taken back because we are leaving."""
    doubted: dict[tuple[str, str], float] = field(default_factory=dict)
    """When the download of (job, file) was first denied: if looks are not, it is the file's trouble."""
    breaker: Breaker = field(default_factory=Breaker)
    leaving: Leaving = Leaving.NO

    # -- health

    def is_up(self) -> bool:
        """Whether the last look was good."""
        return self.answered_at is not None and not self.failures and not self.denied_looks

    def is_heard(self) -> bool:
        """Whether a look has ended, well or not: before that we don't even know whether it answers."""
        return self.answered_at is not None or self.failures > 0 or self.denied_looks > 0

    def is_denied(self) -> bool:
        """Whether it refused our token twice running."""
        return self.denied_looks >= _TWICE or self.denied_posts >= _TWICE

    def is_wedged(self, now: float, rules: Rules) -> bool:
        """Whether prompts have waited for `grace` and nothing runs (PROTOCOL.md §1, 9)."""
        return self.stalled_at is not None and now - self.stalled_at >= rules.grace

    def stuck_since(self) -> float | None:
        """Return since when this server has brought us nothing; None if it is fine."""
        away = self.good_at if not self.is_up() else None
        since = [at for at in (away, self.stalled_at, self.fruitless_at) if at is not None]
        return min(since, default=None)

    def is_out(self, now: float, rules: Rules) -> bool:
        """Whether we no longer wait for it: unauthorised, or stuck for longer than `patience`."""
        return self.is_denied() or self.is_given_up(now, rules)

    def is_given_up(self, now: float, rules: Rules) -> bool:
        """Whether it has brought us nothing for longer than `patience`."""
        stuck = self.stuck_since()
        return stuck is not None and now >= stuck + rules.patience

    def takes_prompts(self, now: float, rules: Rules) -> bool:
        """Whether a POST may go there now; after a denied one a good look comes first."""
        healthy = self.is_up() and not self.is_out(now, rules) and not self.is_wedged(now, rules)
        doubted = self.denied_at is not None and self.good_at <= self.denied_at
        return self.named and healthy and not doubted and now >= self.breaker.paused_until

    def room(self, load: int, rules: Rules) -> int:
        """Return how many more prompts it may get while it holds `load` of ours."""
        return max(0, self.breaker.most(rules.depth) - load)

    # -- looks

    def looked(self, look: PollResult, ours: frozenset[str], began: float, now: float) -> None:
        """Take in a good look that began at `began`; `ours` are the queue's prompts that belong to this batch."""
        self.good_at, self.failures, self.denied_looks, self.says = began, 0, 0, ""
        if self.answered_at is None:
            self.answered_at = now
        self.running = {row.prompt: self.running.get(row.prompt, began) for row in look.queue if row.running}
        self.pending = tuple(row.prompt for row in look.queue if not row.running)
        self.foreign = sum(row.prompt not in ours for row in look.queue)
        self.others.looked({row.prompt for row in look.queue if row.running} - ours, began)
        stalled = self.pending and not self.running
        self.stalled_at = None if not stalled else began if self.stalled_at is None else self.stalled_at
        if look.date is not None:
            self.skew = look.date - now
        if self.anchor and self.anchor in look.history and look.history[self.anchor] is None:
            self.restarted_at, self.anchor = began, None

    def ailed(self, trouble: Failure, now: float, rules: Rules, *, racing: bool) -> None:
        """Take in trouble that was the server's: one shared back-off, whoever met it."""
        self.failures += 1
        self.ailed_at, self.says = now, trouble.says
        cap = _AWAY_CAP_IN_RACE if racing else _AWAY_CAP
        pause = backoff(self.url, self.failures, min(rules.poll or FASTEST_LOOK, cap), cap)
        asked = min(trouble.retry_after or 0.0, _AWAY_CAP if racing else inf)
        self.look_at = now + max(pause, asked)

    def denied(self, trouble: Failure, now: float, rules: Rules) -> None:
        """Take in a 401 or 403 on a look: one more look confirms it; after that, looks get rare."""
        self.denied_looks += 1
        self.says = trouble.says
        self.look_at = now + backoff(self.url, self.denied_looks, min(rules.poll or FASTEST_LOOK, _AWAY_CAP), _AWAY_CAP)

    def denied_post(self, trouble: Failure, began: float, now: float) -> None:
        """Take in a 401 or 403 on a POST that began at `began`; a look comes next, and a second one confirms it."""
        if self.denied_at is None or began >= self.denied_at:
            self.denied_posts += 1
        self.denied_at, self.look_at, self.says = now, now, trouble.says

    # -- prompts

    def accepted(self, number: float, began: float, now: float, rules: Rules) -> None:
        """Take in the queue number of a POST of ours that began at `began`, and look soon how it does.

        One that fell back means a restart, before this POST (PROTOCOL.md §1, 4); of two POSTs at a time the answers
        may overtake each other.
        """
        overtaken = began < self.numbered_at
        if number < self.number and not overtaken:
            self.restarted_at = began
        self.number, self.numbered_at = max(number, self.number) if overtaken else number, now
        self.denied_posts, self.denied_at, self.fruitless_at = 0, None, None
        if not self.failures:
            self.look_at = min(self.look_at, now + (rules.poll or FASTEST_LOOK))

    def ready_since(self, job: str) -> float | None:
        """Return since when a prompt of ours has had only others' before it; None if nobody knows."""
        known = [at for at in (self.rendered_at, self.posted_at.get(job)) if at is not None]
        return max((at for at in known if at > self.ailed_at), default=None)

    def rendered(self, job: str, now: float) -> float | None:
        """Take in that a prompt of ours was rendered; return how long that took with all that others had before it."""
        since, self.rendered_at = self.ready_since(job), now
        return None if since is None else now - since

    def fruitless(self, now: float) -> None:
        """Take in that a POST or a download failed."""
        self.fruitless_at = now if self.fruitless_at is None else self.fruitless_at

    def missed(self, job: str, began: float) -> Absence:
        """Count one more good look without this job's prompt."""
        before = self.absences.get(job)
        absence = Absence(before.count + 1, before.since) if before else Absence(1, began)
        self.absences[job] = absence
        return absence

    def found(self, job: str, *, arrived: bool) -> None:
        """Take in that a look found a job's prompt; `arrived` if that tells that a POST did after all."""
        self.settled(job)
        if arrived:
            self.fruitless_at = None

    def settled(self, job: str) -> None:
        """Forget what we were unsure of: the job's prompt was found, or is over."""
        for kept in (self.absences, self.probes):
            kept.pop(job, None)
        self.repost.discard(job)
