"""One server as this run knows it: its health, what its queue shows, what is to be taken off it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import inf
from typing import TYPE_CHECKING, assert_never

from batchrunner.core.facts import Why
from batchrunner.core.health import Breaker, Health
from batchrunner.core.hint import HINT_PAUSE, Hint
from batchrunner.core.inputs import ServerInputs
from batchrunner.core.jobs_api import JobsRoute
from batchrunner.core.link import Link
from batchrunner.core.notes import (
    Finished,
    GivenUp,
    InputsLost,
    InputStored,
    Interrupted,
    JobBurned,
    JobWell,
    Leave,
    Leaving,
    MustNotRender,
    PollAt,
    Polled,
    PollFailed,
    PollRefused,
    PostRefused,
    PostsWait,
    PostTaken,
    Remove,
    Removed,
    SocketClosed,
    StatusHeard,
    Surveyed,
    TransferFailed,
    TransferWorked,
    UploadFailed,
    UploadRefused,
)
from batchrunner.core.settings import Rules, backoff

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from batchrunner.core.notes import ServerNote
    from batchrunner.core.tracking import Tracked

# -- What others do on one server, as our polls see it: how long what they run takes.


@dataclass(frozen=True, slots=True)
class OtherUsersLoad:
    """Prompts of others, on one server. Times in seconds on the loop's clock."""

    running: Mapping[str, float] = field(default_factory=dict)
    """Those that run, with the start of the poll that first saw them."""
    ran: int = 0
    took: float = 0.0
    """How many were seen to begin and to end, and how long they took together: from one poll to another."""

    def updated(self, running: Collection[str], began: float) -> OtherUsersLoad:
        """Take in a good poll that began at `began` and saw others' prompts `running`."""
        ended = [began - since for prompt, since in self.running.items() if prompt not in running]
        return OtherUsersLoad(
            {prompt: self.running.get(prompt, began) for prompt in running},
            self.ran + len(ended),
            self.took + sum(ended),
        )

    def left(self, queued: int, guess: float, now: float) -> float:
        """Return how long their `queued` prompts will still take, if one takes `guess` where none was seen yet."""
        each = self.took / self.ran if self.ran else guess
        ran = sum(min(each, now - since) for since in self.running.values())
        return max(0.0, queued * each - ran)


# -- One server as this run knows it: its health, what its queue shows, what is to be taken off it.
#
# None of it is persisted and none of it changes a job. Only `apply` changes it, note by note. All times are seconds on
# the loop's clock unless said otherwise.


SIM = "sim"
"""The built-in ComfyUI: its memory ends with the run that started it."""
OUR_DISK = "this disk"
"""Stands for a server in the facts of a file that was found on this disk; nobody ever asks it anything."""
FASTEST_POLL = 1.0
"""Seconds between two polls where every moment counts."""
_UNAVAILABLE_CAP = 60.0
_UNAVAILABLE_CAP_HOLDING = 5.0
"""While prompts or files of ours are there: they may finish, or be deleted, at any moment."""
_LONGEST_OBEYED = 60.0
"""Seconds of a Retry-After that are waited for while prompts or files of ours are there."""


@dataclass(frozen=True, slots=True)
class QueueSeen:
    """What the last good poll saw of everybody's prompts."""

    running: Mapping[str, float] = field(default_factory=dict)
    """Prompts running there, with the start of the poll that first saw them."""
    pending: tuple[str, ...] = ()
    foreign: int = 0
    """Entries that are not ours."""
    others: OtherUsersLoad = field(default_factory=OtherUsersLoad)
    skew: float | None = None
    """Server's clock minus the loop's."""
    whole_at: float = -inf
    """Start of the last good poll that read all of the queue."""

    def updated(self, note: Polled) -> QueueSeen:
        """Take in a good poll."""
        if note.asked:
            return self._with_ours(note)
        rows = note.result.queue
        running = {row.prompt: self.running.get(row.prompt, note.began) for row in rows if row.running}
        date = note.result.date
        return QueueSeen(
            running=running,
            pending=tuple(row.prompt for row in rows if not row.running),
            foreign=sum(row.prompt not in note.ours for row in rows),
            others=self.others.updated(set(running) - note.ours, note.began),
            skew=self.skew if date is None else date - note.now,
            whole_at=note.began,
        )

    def _with_ours(self, note: Polled) -> QueueSeen:
        """Take in what became of prompts of ours; what others have there is as the last whole poll saw it.

        Behind those that have ended the next one runs, unless others had prompts there.
        """
        rows, ended = note.result.queue, note.result.history.keys()
        alive = [prompt for prompt in note.asked if prompt not in ended]
        seen = [row.prompt for row in rows if row.running]
        runs = seen or ([] if rows or self.foreign else alive[:1])
        began = {prompt: self.running.get(prompt, note.began) for prompt in runs}
        others = {prompt: at for prompt, at in self.running.items() if prompt not in note.asked}
        running = began or others
        return replace(
            self,
            running=running,
            pending=tuple(p for p in dict.fromkeys((*self.pending, *alive)) if p not in running and p not in ended),
            skew=self.skew if note.result.date is None else note.result.date - note.now,
        )

    def has_ended(self, note: Polled) -> bool:
        """Whether something that ran at the last poll had ended at this one."""
        if note.asked:
            return not self.running.keys().isdisjoint(note.result.history)
        return not self.running.keys() <= {row.prompt for row in note.result.queue}


@dataclass(frozen=True, slots=True)
class Memory:
    """Signs of a restart, after which the server has forgotten everything."""

    number: float = -1.0
    """The queue number that the last POST of ours got, and when we heard it."""
    numbered_at: float = 0.0
    last_finished: str | None = None
    """A finished prompt of ours: gone from the history means a restart."""
    restarted_at: float | None = None

    def posted(self, note: PostTaken) -> Memory:
        """Take in a queue number: one that fell back means a restart, before that POST (docs/comfyui.md §8).

        Of two POSTs at a time the answers may overtake each other.
        """
        overtaken = note.began < self.numbered_at
        fell_back = note.number < self.number and not overtaken
        return replace(
            self,
            number=max(note.number, self.number) if overtaken else note.number,
            numbered_at=note.now,
            restarted_at=note.began if fell_back else self.restarted_at,
        )

    def polled(self, note: Polled) -> Memory:
        """Take in whether the last finished prompt is still known."""
        last, history = self.last_finished, note.result.history
        if last and last in history and history[last] is None:
            return replace(self, restarted_at=note.began, last_finished=None)
        return self


@dataclass(slots=True)
class Server:
    """One server as this run knows it."""

    name: str
    """What facts call it; by default its URL."""
    health: Health
    poll_at: float
    """When the next poll is due."""
    rules: Rules = field(default_factory=Rules)
    """The batch's, with what the manifest says of this server alone."""
    named: bool = True
    """In the manifest or on the command line; others are only watched while they hold prompts of ours."""
    surveyed: bool = False
    """Somebody of this ledger has seen its queue and last history entries."""
    breaker: Breaker = field(default_factory=Breaker)
    queue: QueueSeen = field(default_factory=QueueSeen)
    memory: Memory = field(default_factory=Memory)
    hint: Hint = field(default_factory=Hint)
    jobs: JobsRoute = field(default_factory=JobsRoute)
    inputs: ServerInputs = field(default_factory=ServerInputs)
    leaving: Leaving = Leaving.NO
    to_remove: frozenset[str] = frozenset()
    """Pending prompts of ours to be deleted by id, once."""
    removed: frozenset[str] = frozenset()
    unwanted: frozenset[str] = frozenset()
    """Prompts of ours that must not be rendered."""
    to_interrupt: frozenset[str] = frozenset()
    """Prompts of ours that are to be interrupted by id."""
    link: Link = field(default_factory=Link)
    rendered_at: float | None = None
    """When a poll saw the last render of ours."""

    def apply(self, note: ServerNote) -> None:  # noqa: C901, PLR0912, PLR0915 - it is a table: a case a note
        """Put what a note says in place."""
        match note:
            case Polled():
                self.hint = self.hint.polled(note.began, ended=self.queue.has_ended(note))
                self.jobs = self.jobs.polled(self.name, note.result, note.now)
                self.queue = self.queue.updated(note)
                waits = bool(self.queue.pending) and not self.queue.running and not note.asked
                stalled = note.hung or waits
                tripped, whole = self.breaker.trips > 0, note.result.unread is None
                self.health = self.health.polled(note.began, note.now, stalled=stalled, tripped=tripped, whole=whole)
                self._find_unwanted(note)
                self._remember(self.memory.polled(note))
            case Surveyed():
                self.surveyed = True
            case PollFailed():
                self.health = self.health.poll_failed(note.failure, note.now)
                self.jobs = JobsRoute()
                self.inputs = self.inputs.doubted()
                self.poll_at = note.now + self._pause_after(note)
            case PollRefused():
                self.health = self.health.poll_refused(note.failure, note.now)
                self.poll_at = note.now + self._pause_after(note)
            case PostTaken():
                self._remember(self.memory.posted(note))
                self.health = self.health.post_taken()
                if self.breaker.kind == Why.DENIED:
                    self.breaker = Breaker()
                if not self.health.failures and not self.is_heard():
                    self.poll_at = min(self.poll_at, note.now + (self.rules.poll or FASTEST_POLL))
            case PostRefused():
                self.health = self.health.post_refused(self.name, note.failure, note.now)
                self.poll_at = note.now
            case PostsWait():
                self.health = self.health.posts_wait(note.until)
            case TransferFailed():
                self.health = self.health.transfer_failed(note.now, upload=note.upload)
            case TransferWorked():
                self.health = self.health.transfer_worked()
            case InputStored():
                self.inputs = self.inputs.stored_as(note)
                self.health = self.health.upload_worked()
            case InputsLost():
                self.inputs = self.inputs.lost(note.files)
            case UploadFailed():
                self.inputs = self.inputs.failed(self.name, note)
            case UploadRefused():
                self.inputs = self.inputs.refused_for(note.file, note.message)
            case Finished():
                self.memory = replace(self.memory, last_finished=note.prompt)
            case JobWell():
                self.breaker, self.health = Breaker(), self.health.job_well()
            case JobBurned():
                self.breaker = self.breaker.failed(self.name, note.loss, note.now, self.rules.grace)
                if self.breaker.trips:
                    self.health = self.health.tripped()
            case GivenUp():
                self.health, self.surveyed = self.health.given_up(self.name, note.now, self.rules.grace), False
            case Remove():
                self.to_remove |= note.prompts
            case Removed():
                self.to_remove -= note.prompts
                self.removed |= note.prompts
            case MustNotRender():
                self.unwanted |= note.prompts
                self.to_remove |= note.prompts
            case Interrupted():
                self.to_interrupt -= {note.prompt}
                self.unwanted -= {note.prompt}
            case Leave():
                self.leaving = note.stage
            case PollAt():
                self.poll_at = note.at
            case StatusHeard():
                self.hint = self.hint.heard(note)
                if note.dropped and self.health.is_up():
                    self.poll_at = min(self.poll_at, self.hinted_poll(note.now))
            case SocketClosed():
                if self.hint.live and self.health.is_up():
                    self.poll_at = min(self.poll_at, note.now + (self.rules.poll or FASTEST_POLL))
                self.hint = self.hint.closed(self.name, note)
            case _:
                assert_never(note)

    def _remember(self, memory: Memory) -> None:
        """Take in signs of a restart, after which input files may be gone too: a container begins without them.

        It may be another version that was started.
        """
        if memory.restarted_at != self.memory.restarted_at:
            self.inputs, self.jobs = self.inputs.lost(), JobsRoute()
        self.memory = memory

    def _find_unwanted(self, note: Polled) -> None:
        """Have what must not be rendered interrupted if it runs, and forget what the queue no longer shows."""
        if note.asked:
            return
        there = {row.prompt: row.running for row in note.result.queue if row.prompt in self.unwanted}
        self.to_interrupt |= {prompt for prompt, running in there.items() if running}
        self.unwanted &= there.keys() | self.to_remove

    def _pause_after(self, note: PollFailed | PollRefused) -> float:
        """Return how long to wait after a failure: one shared back-off, whoever met it."""
        cap = _UNAVAILABLE_CAP_HOLDING if note.holding else _UNAVAILABLE_CAP
        pause = backoff(self.name, self.health.failures, min(self.rules.poll or FASTEST_POLL, cap), cap)
        return max(pause, min(note.failure.retry_after or 0.0, _LONGEST_OBEYED if note.holding else inf))

    def is_heard(self) -> bool:
        """Whether a hint will tell of the end of what runs here."""
        return self.hint.live and bool(self.queue.running)

    def hinted_poll(self, now: float) -> float:
        """Return when to poll because of a hint that was heard at `now` or before."""
        return max(now, self.health.good_at + HINT_PAUSE)

    def takes_prompts(self, now: float) -> bool:
        """Whether a POST may go there now."""
        return self.named and self.health.takes_prompts(now, self.rules) and now >= self.breaker.paused_until

    def room(self, load: int, depth: int) -> int:
        """Return how many more prompts it may get while it holds `load` of `depth`; where POSTs are refused, one."""
        most = 1 if self.health.refused_posts else self.breaker.most(depth)
        return max(0, most - load)

    def is_cold(self) -> bool:
        """Whether it rendered nothing of ours in this run, or since its last restart."""
        restarted = self.memory.restarted_at
        return self.rendered_at is None or (restarted is not None and restarted > self.rendered_at)

    def ready_since(self, record: Tracked | None) -> float | None:
        """Return since when a prompt of ours has had only others' before it; None if nobody knows."""
        known = [at for at in (self.rendered_at, record.sent_at if record else None) if at is not None]
        return max((at for at in known if at > self.health.failed_at), default=None)
