"""Every job and its state, indexed so that one fact costs O(log n) and the next action is found without a search.

The board is plain memory: `follow` says what a fact would change, `put` changes it. The engine writes the fact to the
ledger between the two. What the indexes hold is derivable from the states; they may hold more, never less: whatever
comes up stale is forgotten then (`PriorityQueue`).
"""

from __future__ import annotations

from collections import Counter
from math import inf
from typing import TYPE_CHECKING

from batchrunner.core.actions import Download, Submit
from batchrunner.core.attempts import burned_loss
from batchrunner.core.facts import Claimed, DownloadFailed, Lost, Rendered, Reopened, Saved, Why
from batchrunner.core.forecast import Forecast
from batchrunner.core.health import Health
from batchrunner.core.inflight import InFlight
from batchrunner.core.lifecycle import STATE_NAMES, Done, Fetching, Queued, Sending, Waiting, advance
from batchrunner.core.localfault import LocalFault
from batchrunner.core.notes import (
    AttemptSeen,
    InputsLost,
    InputStored,
    JobBurned,
    JobWell,
    Leave,
    Leaving,
    LocalFailed,
    LocalWorked,
    PollAt,
    PollLater,
    PostAnswered,
    Resource,
    Track,
    UploadFailed,
    UploadRefused,
)
from batchrunner.core.order import Groups, Turn, change_share
from batchrunner.core.polling import next_poll
from batchrunner.core.queues import Attention, Cooldowns, PriorityQueue
from batchrunner.core.server import OUR_DISK, SIM, Server
from batchrunner.core.settings import backoff
from batchrunner.core.sizes import JobSizes
from batchrunner.core.tracking import Tracked

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from batchrunner.core.actions import Action, LocalFile
    from batchrunner.core.facts import Fact
    from batchrunner.core.hours import Hours
    from batchrunner.core.job import InputFile
    from batchrunner.core.lifecycle import Open, State
    from batchrunner.core.link import Transfers
    from batchrunner.core.notes import Note
    from batchrunner.core.order import Group
    from batchrunner.core.settings import Rules

_WORKFLOW_JOBS = 3
_FREE_INPUT_LOSSES = 3
"""How often a job may lose an input file on a server before that costs attempts as any other error does."""
_RESTED = frozenset({Why.ERROR, Why.WRONG_CONTENT, Why.UNUSABLE, Why.DENIED})
"""Losses after which a job rests for `grace` before its next attempt."""
_SHORT_REST = 0.001
"""Seconds for which a job rests whose render failed while a server has nothing else to do for us."""
_OTHERS_AT_LEAST = 10.0
"""Seconds for which a prompt must have waited, in all, to have had somebody else's before it."""
_HELD_AT_ONCE, _HELD_PAUSE = 50, 0.1
"""So many servers on which a prompt is held back are visited in every turn; for each so many, so many seconds pass."""
_RETRY = 1.0
_RETRY_CAP = 60.0
_RETRY_CAP_IN_RACE = 5.0


class Board:
    """The jobs of one batch, the servers, and what is under way; see the module."""

    nodes: tuple[str, ...] = ()
    """Ids of the workflow's nodes, in its order."""
    groups: Groups = Groups()
    """Which jobs have the same costly inputs."""
    hours: Hours | None = None
    """When prompts may be submitted; None for always."""
    missing_files: tuple[str, ...] = ()
    """Paths of saved files that were not in the folder, or not whole, when this run began."""

    def __init__(
        self,
        batch: str,
        rules: Rules,
        servers: Iterable[str],
        now: float,
        server_rules: Mapping[str, Rules] | None = None,
    ) -> None:
        self.batch = batch
        self.rules = rules
        self.first_files: tuple[str, ...] = ("_00001_.mp4",)
        """What a server may append to a prefix for its first file; empty if nobody can tell."""
        self.outputs: frozenset[str] | None = None
        """Ids of the nodes whose files are wanted; None for all."""
        self.servers = {name: Server(name, Health(now), now, (server_rules or {}).get(name, rules)) for name in servers}
        self.states: dict[str, State] = {}
        self.positions: dict[str, int] = {}
        """Where each wanted job stands in the run order."""
        self.chosen: set[str] = set()
        """Wanted jobs that this run may submit (`--only`, `--limit`)."""
        self.counts: Counter[type[State]] = Counter()
        """Wanted jobs per state."""
        self.unsettled: set[str] = set()
        """Jobs this run still has to see through."""
        self.waiting: set[str] = set()
        """Those of them that nobody has."""
        self.in_flight = InFlight()
        self.local_files: dict[str, tuple[int, tuple[LocalFile, ...]]] = {}
        """Files found on our own disk by a ledger that has not settled in: (attempt, files) per job."""
        self.imported = False
        """Whether every server was asked, and the files on this disk were taken in, since this ledger was begun."""
        self.seen: dict[str, int] = {}
        """Highest attempt number of a job seen anywhere, beyond what its facts say."""
        self.inherited: frozenset[str] = frozenset()
        """Prompts that were fetching from the built-in ComfyUI when this run began."""
        self.refusals: list[str] = []
        """How the first POSTs of this run ended: the refusal, or "" if it was taken."""
        self.tracked: dict[str, Tracked] = {}
        """The live record of every open prompt, by job."""
        self.disk, self.sockets, self.inputs = LocalFault(), LocalFault(), LocalFault()
        """Trouble to write videos; to open one more connection; to read our own copies of input files."""
        self.forecast = Forecast()
        self.renders: Callable[[str], str] | None = None
        """Returns what a job's own workflow renders (`job.render_digest`), or "" if it is no longer wanted; None
        if that is not known, and nothing is compared."""
        self.costs: dict[str, float] = {}
        """Relative effort of each job (`Job.cost`)."""
        self.until_wall: float | None = None
        """When everything must be saved, in seconds since the epoch; nothing is submitted that would come later."""
        self.until: float | None = None
        """The same on the loop's clock, as of the last tick: that clock stands still while this machine sleeps."""
        self.started_at = now
        """When this run began."""
        self.well = False
        """Whether any file of this batch was ever saved."""
        self.leaving_at: float | None = None
        """Since when we are on our way out (Ctrl-C)."""
        self._index()
        for name in self.servers:
            self.touch(name)

    def _index(self) -> None:
        """Make the indexes: per server what it holds, and what comes next."""
        self._out: set[str] = set()
        self._open: dict[str, dict[str, None]] = {}
        self._fetching: dict[str, dict[str, None]] = {}
        self._with_files: dict[str, None] = {}
        self._ready: PriorityQueue[str] = PriorityQueue()
        self._ready_in: dict[Group, PriorityQueue[str]] = {}
        """The same per group, where servers choose by groups."""
        self.turns: dict[str, Turn] = {}
        """What each server was given last."""
        self._rendered_last: dict[str, Group | None] = {}
        """The group of the job that each server rendered last for us."""
        self._fetches: dict[str, PriorityQueue[tuple[str, int, str]]] = {}
        self._rests = Cooldowns()
        self._failed: dict[str, None] = {}
        """Jobs that rest after a failed render."""
        self.sizes = JobSizes()
        self.arrived: Mapping[tuple[str, str], int] = {}
        """Of each file under way, by job and `File.key`: how many of its bytes are here."""
        self.input_files: Mapping[str, tuple[InputFile, ...]] = {}
        """What each job's workflow reads, where it reads anything."""
        self.refused_files: dict[str, None] = {}
        """Names of input files that some server does not take."""
        self._input_losses: Counter[str] = Counter()
        self._jobs_with: dict[str, list[str]] | None = None
        self.attention = Attention()
        self.roomy: dict[str, None] = {}
        """Servers that had room for more prompts when they were last visited."""
        self.held_back: dict[str, None] = {}
        """Servers on which a prompt is held back: whatever happens anywhere may end that."""
        self._held_visited_at = -inf
        self.looked_through = False
        """Whether none of those could take any of the next jobs, and these are still the same."""
        self.jobs_moved = False
        """Whether a job was offered to them or taken since the turn began."""
        self.unsurveyed: dict[str, None] = {}
        """Named servers that were not asked yet what they hold of this batch."""
        self.working: dict[str, None] = {}
        """Named servers that answer and bring something."""
        self.unoccupied: dict[str, None] = {}
        """Those of them that hold no prompt of ours."""
        self.stuck: dict[str, None] = {}
        """Servers that hold something of ours and bring nothing."""
        self.tripped: dict[str, None] = {}
        """Named servers on which job after job comes to nothing."""

    def load(self, jobs: Iterable[str], facts: Iterable[Fact], now: float) -> None:
        """Fold the ledger: every job it knows, and all its facts in order."""
        states: dict[str, State] = {job: Waiting() for job in jobs}
        for fact in facts:
            state = advance(states.get(fact.job, Waiting()), fact)
            states[fact.job] = state
            self._count_input_loss(fact)
            self._learn(fact.job, state, fact, None)
        for job, state in states.items():
            if job in self.positions or isinstance(state, Sending | Queued | Fetching):
                self.put(job, state, now)
            else:
                self.states[job] = state  # `want` lists it
            self.sizes.learn(self.costs.get(job, 0.0), None, state)
            self.well = self.well or isinstance(state, Done)
        for name in self.servers:
            self.forecast.changes[name] = change_share(self.groups, self.forecast.change(name))
        held = (self.states[job] for job in self.fetching_on(SIM))
        self.inherited = frozenset(state.prompt.id for state in held if isinstance(state, Fetching))

    def want(self, jobs: Iterable[str], chosen: frozenset[str] | None, now: float) -> None:
        """Say which jobs the manifest wants, in run order, and which of them this run may submit."""
        for position, job in enumerate(jobs):
            self.positions[job] = position
            if chosen is None or job in chosen:
                self.chosen.add(job)
            state = self.states.setdefault(job, Waiting())
            self.counts[type(state)] += 1
            self._list(job, state, now)

    def follow(self, fact: Fact) -> State | None:
        """Return the state that `fact` leads to, None if it changes nothing; raises Contradiction."""
        before = self.states[fact.job]
        after = advance(before, fact)
        return None if after == before else after

    def put(self, job: str, state: State, now: float, fact: Fact | None = None) -> None:
        """Set a job's state and bring every index up to date."""
        before = self.states.get(job)
        if before is not None:
            self._unlist(job, before, state)
        self.states[job] = state
        self._track(job, state)
        if job in self.positions:
            self.counts[type(state)] += 1
        if fact is not None:
            self._rest(job, state, fact, now)
            self._learn(job, state, fact, now)
            self.sizes.learn(self.costs.get(job, 0.0), before, state)
            self._count_input_loss(fact)
            self._count_for_server(before, fact, now)
        self._list(job, state, now)
        for one in (before, state):
            if isinstance(one, Sending | Queued | Fetching):
                self.touch(one.prompt.server)

    def _list(self, job: str, state: State, now: float) -> None:
        match state:
            case Waiting() if job in self.chosen:
                self.waiting.add(job)
                self.unsettled.add(job)
                self._offer(job, now)
            case Sending() | Queued():
                self._open.setdefault(self._server(state, now), {})[job] = None
                self._out.add(job)
                self.unsettled.add(job)
            case Fetching():
                self._out.add(job)
                server = self._server(state, now)
                self._fetching.setdefault(server, {})[job] = None
                self._with_files[server] = None
                self.unsettled.add(job)
                self._offer(job, now)

    def _unlist(self, job: str, before: State, after: State) -> None:
        if job in self.positions:
            self.counts[type(before)] -= 1
        if job in self.waiting:
            self.waiting.remove(job)
            self._move_jobs()
        self.unsettled.discard(job)
        self._out.discard(job)
        match before:
            case Sending() | Queued() if not isinstance(after, Sending | Queued):
                # A prompt that is heard of keeps its place: the oldest of a server is the one that runs.
                self._open[before.prompt.server].pop(job)
            case Fetching():
                self._fetching[before.prompt.server].pop(job)
                if not self._fetching[before.prompt.server]:
                    self._with_files.pop(before.prompt.server)

    def _track(self, job: str, state: State) -> None:
        """Begin the record of an attempt with its claim or adoption, and drop it when the attempt is over."""
        if not isinstance(state, Sending | Queued | Fetching):
            self.tracked.pop(job, None)
        elif job not in self.tracked:
            self.tracked[job] = Tracked()

    def _server(self, state: Open, now: float) -> str:
        """Return the server of an open prompt, which is watched even if nobody names it any more."""
        name = state.prompt.server
        if name not in self.servers and name != OUR_DISK:
            self.servers[name] = Server(name, Health(now), now, self.rules, named=False)
            self.touch(name)
        return name

    def _rest(self, job: str, state: State, fact: Fact, now: float) -> None:
        """Let a job wait after an execution error, a file after a broken download."""
        if isinstance(state, Waiting) and isinstance(fact, Lost) and fact.why in _RESTED:
            self._rests.rest(job, "", now + self.rules.grace)
            if fact.why is not Why.DENIED:
                self._failed[job] = None
        if isinstance(state, Fetching) and isinstance(fact, DownloadFailed):
            broken = next(item.broken for item in state.items if item.file.key == fact.file)
            cap = _RETRY_CAP if state.deadline is None else _RETRY_CAP_IN_RACE
            self._rests.rest(job, fact.file, now + backoff(f"{job}/{fact.file}", broken, _RETRY, cap))

    def _count_input_loss(self, fact: Fact) -> None:
        if isinstance(fact, Lost) and fact.why is Why.INPUT_LOST:
            self._input_losses[fact.job] += 1
        elif isinstance(fact, Reopened):
            del self._input_losses[fact.job]

    def _count_for_server(self, before: State | None, fact: Fact, now: float) -> None:
        """Count against a server what it rendered in vain, and for it what is saved."""
        self.well = self.well or isinstance(fact, Saved)
        if not isinstance(before, Sending | Queued | Fetching) or before.prompt.server not in self.servers:
            return
        server = before.prompt.server
        if isinstance(fact, Saved):
            self.apply(JobWell(server))
        elif isinstance(fact, Lost) and fact.why is Why.INPUT_LOST:
            self.apply(InputsLost(server, frozenset(file.name for file in self.input_files.get(fact.job, ()))))
        elif isinstance(fact, Lost) and before.prompt.claimed and (loss := burned_loss(fact)):
            # What was adopted may have been lost hours ago: it says nothing of the server now.
            self.apply(JobBurned(server, loss, now))

    def _learn(self, job: str, state: State, fact: Fact, now: float | None) -> None:
        """Learn what a server was given, and from a render that has just ended how fast it is; None if that is past."""
        if isinstance(fact, Claimed):
            self.turns[fact.server] = self.turns.get(fact.server, Turn()).given(self.groups.of.get(job))
        if isinstance(state, Fetching) and isinstance(fact, Rendered) and fact.seconds is not None:
            name = state.prompt.server
            server = self.servers.get(name) if now is not None else None
            changed = self._changed(name, job, cold=server is not None and server.is_cold())
            passed = self._rendered(server, job, now) if server and now is not None else None
            if passed is not None and passed - fact.seconds > max(_OTHERS_AT_LEAST, fact.seconds / 4):
                changed = None
            self.forecast.learn(name, self.costs.get(job, 0.0), fact.seconds, passed, changed=changed)
            self.forecast.changes[name] = change_share(self.groups, self.forecast.change(name))

    def _changed(self, server: str, job: str, *, cold: bool) -> bool | None:
        """Return whether a job had other costly inputs than the one rendered before there; None if there is none.

        A `cold` server has none: what it keeps of an earlier run, if anything, nobody knows.
        """
        before, group = self._rendered_last.get(server), self.groups.of.get(job)
        self._rendered_last[server] = group
        return None if group is not None and (cold or before is None) else before != group

    def _rendered(self, server: Server, job: str, now: float) -> float | None:
        """Take in that a prompt of ours was rendered; return how long that took with all that others had before it."""
        since, server.rendered_at = server.ready_since(self.tracked.get(job)), now
        return None if since is None else now - since

    def _offer(self, job: str, now: float) -> None:
        """List a job for what it needs next; what still rests is offered again afterwards."""
        match self.states[job]:
            case Waiting() if job in self.chosen and self._rests.is_over(job, "", now):
                self._ready.add(self.positions[job], job)
                if self.groups.auto and (group := self.groups.of.get(job)) is not None:
                    self._ready_in.setdefault(group, PriorityQueue()).add(self.positions[job], job)
                self._move_jobs()
            case Fetching() as state:
                files = self._fetches.setdefault(state.prompt.server, PriorityQueue())
                for item in state.items:
                    if not item.saved and self._rests.is_over(job, item.file.key, now):
                        files.add(state.deadline or 0.0, (job, state.prompt.attempt, item.file.key))
            case _:
                pass

    def _move_jobs(self) -> None:
        """Have every server with room asked again which of the next jobs it can take."""
        self.looked_through, self.jobs_moved = False, True

    def touch(self, name: str) -> None:
        """Have a server visited in the next turn, and bring up to date what is known of all of them together."""
        server = self.servers.get(name)
        if server is None:
            return  # our own disk
        self.attention.touch(name)
        up, well = server.health.is_up(), server.health.stuck_since() is None
        for kept, belongs in (
            (self.unsurveyed, server.named and not (server.surveyed and server.health.is_heard())),
            (self.working, server.named and up and well),
            (self.unoccupied, server.named and up and well and not self.load_on(name)),
            (self.stuck, not well and self.open_count(name) > 0),
            (self.tripped, server.named and server.breaker.trips > 0),
        ):
            if belongs:
                kept[name] = None
            else:
                kept.pop(name, None)

    # -- what is under way

    def apply(self, note: Note) -> None:
        """Put what a note says in place; of a prompt that is over there is nothing left to note."""
        match note:
            case Track():
                state = self.states[note.job]
                if note.job in self.tracked and isinstance(state, Sending | Queued | Fetching):
                    self.tracked[note.job] = note.record
                    self.touch(state.prompt.server)
            case AttemptSeen():
                self.seen[note.job] = note.attempt
            case PostAnswered():
                self.refusals.append(note.refusal)
            case LocalFailed():
                self._fault(note.resource).failed(note.message, note.now)
            case LocalWorked():
                self._fault(note.resource).worked()
            case PollLater():
                server = self.servers[note.server]
                server.poll_at = next_poll(self, server, note.now)
                self.touch(note.server)
            case _:
                self.servers[note.server].apply(note)
                self.touch(note.server)
                if isinstance(note, InputStored | UploadFailed | UploadRefused):
                    self._move_jobs()  # what a job lacks decides where it may go
                if isinstance(note, UploadRefused):
                    self.refused_files[note.file] = None

    def _fault(self, resource: Resource) -> LocalFault:
        return {Resource.DISK: self.disk, Resource.SOCKETS: self.sockets, Resource.INPUTS: self.inputs}[resource]

    def start(self, action: Action, now: float) -> None:
        """Note that an action has begun."""
        if isinstance(action, Download) and action.server not in self.in_flight.senders():
            self.servers[action.server].link = self.servers[action.server].link.began(now)
        self.in_flight.start(action, now)
        self.attention.touch(action.server)
        if isinstance(action, Submit):
            self.tracked[action.job] = self.tracked.get(action.job, Tracked()).found()

    def end(self, action: Action, now: float) -> float:
        """Note that an action has ended, after its facts were applied; return when it began."""
        began = self.in_flight.end(action)
        self.attention.touch(action.server)
        if isinstance(action, Download):
            self._offer(action.job, now)
        return began

    def measure(self, seen: Transfers, now: float) -> None:
        """Take in what has come of the downloads under way, before any that ended since is noted as ended."""
        self.arrived = seen.here
        for name in self.in_flight.senders():
            server = self.servers[name]
            received, counts = seen.received.get(name, 0), server.health.is_up()
            server.link = server.link.measured(received, now, counts=counts)

    def tick(self, now: float, wall: float) -> None:
        """Offer again what has rested long enough, and forget trouble with our disk that nothing is left to try.

        `wall` is the wall clock at `now`: how far away `until` is has to be asked anew each time, because people turn
        their clocks and machines are suspended.
        """
        self.until = None if self.until_wall is None else self.until_wall - wall + now
        if self.hours is not None and self.hours.tick(now, wall):
            self._await_servers(now)
        self.jobs_moved = False
        self.attention.call_up(now)
        if now >= self._held_visited_at + len(self.held_back) // _HELD_AT_ONCE * _HELD_PAUSE:
            self._held_visited_at = now
            for name in self.held_back:
                self.attention.touch(name)
        for job in self._rests.over(now):
            self._offer(job, now)
        inputs_calm = self.inputs.calms_at()
        if inputs_calm is not None and now >= inputs_calm:
            self.inputs.worked()
        calm = self.disk.calms_at()
        if calm is not None and (now >= calm or not self._with_files):
            self.disk.worked()

    def shorten_rests(self, now: float) -> None:
        """Let no failed render rest while nothing else waits for a server that has nothing of ours to do."""
        if self._failed and self.unoccupied and not self.next_jobs(1, now):
            for job in self._failed:
                self._rests.rest(job, "", now + _SHORT_REST)
            self._failed.clear()

    def _await_servers(self, now: float) -> None:
        """Wait for all servers from now on: before the hours began, those that hold nothing had no reason to answer."""
        for name, server in self.servers.items():
            if not self.held_by(name):
                server.health = server.health.awaited(now)
                self.touch(name)

    # -- questions

    def is_closed(self) -> bool:
        """Whether prompts may not be submitted now, outside `hours`."""
        return self.hours is not None and self.hours.closed

    def open_on(self, name: str) -> list[tuple[str, Sending | Queued]]:
        """Return the prompts that a server holds or may hold, oldest first."""
        found = ((job, self.states[job]) for job in self._open.get(name, ()))
        return [(job, state) for job, state in found if isinstance(state, Sending | Queued)]

    def held_by(self, name: str) -> list[str]:
        """Return the jobs whose prompts or files a server holds or may hold, oldest first."""
        return [*self._open.get(name, ()), *self._fetching.get(name, ())]

    def with_files(self) -> list[str]:
        """Return the servers from which files are to be downloaded."""
        return list(self._with_files)

    def load_on(self, name: str) -> int:
        """Return how many prompts of ours a server holds or may hold."""
        return len(self._open.get(name, ()))

    def fetching_on(self, name: str) -> Iterator[str]:
        """Yield the jobs whose files are to be downloaded from a server."""
        return iter(self._fetching.get(name, ()))

    def next_jobs(self, limit: int, now: float, group: Group | None = None) -> list[str]:
        """Return the next jobs to submit, in run order; those of one group where there is one."""

        def wanted(job: str) -> bool:
            return isinstance(self.states[job], Waiting) and self._rests.is_over(job, "", now)

        ready = self._ready if group is None else self._ready_in.get(group)
        return ready.first(limit, wanted) if ready else []

    def next_files(self, name: str, limit: int, now: float) -> list[tuple[str, str]]:
        """Return the next (job, file) to download from a server, by deadline; none that a GET did not find."""

        def wanted(entry: tuple[str, int, str]) -> bool:
            job, attempt, key = entry
            state = self.states[job]
            if not isinstance(state, Fetching) or state.prompt.attempt != attempt:
                return False
            if self.in_flight.is_fetching(job, key) or key in self.tracked[job].not_found:
                return False
            open_files = (item.file.key for item in state.items if not item.saved)
            return self._rests.is_over(job, key, now) and key in open_files

        found = self._fetches[name].first(limit, wanted) if name in self._fetches else []
        return [(job, key) for job, _, key in found]

    def next_attempt(self, job: str) -> int:
        """Return the number of a waiting job's next attempt: higher than any ever seen."""
        return max(self.states[job].past.highest, self.seen.get(job, 0)) + 1

    def rests_until(self) -> float | None:
        """Return when the first resting job may go on."""
        return self._rests.next_at()

    def open_count(self, name: str) -> int:
        """Return how many prompts or renders of ours a server holds or may hold."""
        return len(self._open.get(name, ())) + len(self._fetching.get(name, ()))

    def refused_alike(self) -> str:
        """Return the refusal that the first three jobs of this run share, or "": then it is the workflow."""
        first = self.refusals[:_WORKFLOW_JOBS]
        alike = len(first) == _WORKFLOW_JOBS and len(set(first)) == 1
        return first[0] if alike else ""

    def hopeless_loss(self) -> str:
        """Return why rendering on is in vain, or "": on every server three different jobs came to nothing alike.

        Only where none of this batch was ever well, and waiting does not help: then it is the workflow.
        """
        if self.well or not self.tripped:
            return ""
        named = [one for one in self.servers.values() if one.named and one.health.is_up()]
        if not named or not all(server.breaker.is_hopeless() for server in named):
            return ""
        message = named[0].breaker.message
        return f"three different jobs came to nothing alike, and none of this batch ever succeeded: {message}"

    def rules_of(self, name: str) -> Rules:
        """Return the rules for a server; the batch's for one that nobody knows, as our own disk."""
        return self.servers[name].rules if name in self.servers else self.rules

    def misses_input(self, job: str, *texts: str) -> bool:
        """Whether a server's words name an input file of a job: it is uploaded again, but not for ever."""
        if self._input_losses[job] >= _FREE_INPUT_LOSSES:
            return False
        return any(file.is_named_in(text) for file in self.input_files.get(job, ()) for text in texts)

    def jobs_with(self, file: str) -> list[str]:
        """Return the jobs whose workflow reads an input file, by `InputFile.name`."""
        if self._jobs_with is None:
            self._jobs_with = {}
            for job, files in self.input_files.items():
                for name in dict.fromkeys(each.name for each in files):
                    self._jobs_with.setdefault(name, []).append(job)
        return self._jobs_with.get(file, [])

    def is_own(self, job: str, digest: str) -> bool:
        """Whether a workflow with this `render_digest` is the job's own; it is, where nothing can be compared."""
        own = self.renders(job) if self.renders else ""
        return own in ("", digest)

    def holds_any(self) -> bool:
        """Whether anything of this batch is on a server, or may be."""
        return bool(self._out)

    def is_out(self, server: Server, now: float) -> bool:
        """Whether a server is no longer waited for."""
        return server.health.is_out(now, server.rules, holding=self.holds_any())

    def is_settled(self) -> bool:
        """Whether there is nothing left to see through."""
        return not self.unsettled

    def tally(self) -> dict[str, int]:
        """Return how many wanted jobs are in each of the six states, by the names of `status --json`."""
        return {name: self.counts[kind] for kind, name in STATE_NAMES.items()}

    def leave(self, now: float) -> None:
        """Begin to go: nothing new is submitted, and every server that answers is asked once more."""
        if self.leaving_at is not None:
            return
        self.leaving_at = now
        for name in self.servers:
            self.apply(Leave(name, Leaving.ASKING))
            self.apply(PollAt(name, now))
