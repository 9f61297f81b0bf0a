"""Whole nights in plain Python: the core against `PureComfy`, in virtual time, with kills at any instant.

The loop is the engine's, without its I/O. What it asserts on the way are the promises: nothing lost, nothing twice,
nothing of others touched, nothing noted that is not true, no moment missed and none wasted.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from heapq import heappop, heappush
from math import inf
from random import Random
from typing import TYPE_CHECKING, Any

from boards import interpret
from pure_comfy import BEGIN, PureComfy

from batchrunner.core.actions import (
    Cause,
    Download,
    Downloaded,
    Ended,
    Failure,
    Listen,
    LocalFile,
    NotFound,
    Poll,
    PollResult,
    Rejected,
    Row,
    Submit,
    Taken,
    Withdraw,
)
from batchrunner.core.board import Board
from batchrunner.core.exit import Exit, exit_decision
from batchrunner.core.facts import Claimed, Lost, Opened, Saved, Why
from batchrunner.core.giveup import give_up_servers
from batchrunner.core.job import parse_prefix
from batchrunner.core.lifecycle import Done, Failed
from batchrunner.core.link import Transfers
from batchrunner.core.notes import StatusHeard, Surveyed
from batchrunner.core.scheduler import file_away, is_surveyed, plan, wake
from batchrunner.core.settings import Rules
from batchrunner.core.startup import import_local_files, startup_facts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pure_comfy import Posted

    from batchrunner.core.actions import Action, DownloadEnd, Entry, PollEnd, PostEnd
    from batchrunner.core.facts import Fact

BATCH = "cats"
UNAVAILABLE = Failure(Cause.UNAVAILABLE, "502")
UNAUTHORIZED = Failure(Cause.UNAUTHORIZED, "401")
UNSENT = Failure(Cause.UNAVAILABLE, "refused", sent=False)
_LONGEST = 400_000.0
_MOST_TURNS = 200


class Killed(Exception):  # noqa: N818 - it is what happened, not an error
    """The runner is gone in the middle of things."""


@dataclass
class Odds:
    """How likely each mishap is, drawn anew every night."""

    silent: float = 0.0
    """A POST is carried out and its answer lost."""
    unsent: float = 0.0
    away: float = 0.0
    """A poll, a delete or a download fails."""
    late: float = 0.0
    """A POST arrives up to 65 s later."""
    memory: float = 0.0
    broken: float = 0.0
    """A node raises, the same error each time."""
    local: float = 0.0
    killed: float = 0.0
    """The runner dies before a fact is kept, or after."""

    @classmethod
    def drawn(cls, rng: Random) -> Odds:
        """Draw a night: most mishaps do not happen in most nights."""
        return cls(*(rng.choice((0.0, 0.0, 0.05, 0.2)) * scale for scale in (1, 1, 1, 1, 0.6, 0.3, 0.3, 0.1)))


@dataclass
class Night:
    """One batch from the first command to the last; `run` plays it."""

    seed: int
    jobs: int = 8
    calm: bool = False
    rng: Random = field(init=False)
    now: float = 0.0
    journal: list[Fact] = field(default_factory=list)
    told: list[Fact] = field(default_factory=list)
    """Every fact ever kept, those of deleted ledgers too."""
    marks: set[str] = field(default_factory=set)
    forgot: bool = False
    """Whether a state file was lost."""
    home: dict[str, str] = field(default_factory=dict)
    """Path and prefix of every file on our own disk."""
    received: Counter[str] = field(default_factory=Counter)
    """Bytes that came from each server."""
    lives: int = 0
    polls: int = 0
    own_polls: int = 0
    """Those that asked for prompts of ours alone."""
    ends: int = 0

    def __post_init__(self) -> None:
        self.rng = rng = Random(self.seed)  # noqa: S311 - weather, not secrets
        self._waves = Random(f"{self.seed}/sockets")  # noqa: S311 - weather too
        self.odds = Odds() if self.calm else Odds.drawn(rng)
        self.rules = Rules(
            ttl=rng.choice((60.0, 600.0)), depth=rng.choice((1, 2, 2, 3)), attempts=rng.choice((1, 3, 3))
        )
        self.broken = {f"{number:012x}" for number in range(self.jobs) if rng.random() < self.odds.broken}
        self.names = [f"{number:012x}" for number in range(self.jobs)]
        count = rng.choice((1, 1, 2))
        self.servers = {
            url: PureComfy(
                url,
                rng,
                rng.choice((4.0, 30.0, 90.0)),
                self.rules.ttl or inf,
                rng.random() < 0.2,
                self._waves.random() < 0.6,
                self._outcome,
            )
            for url in [f"http://gpu{number}:8188" for number in range(count)]
        }
        self.renames = not self.calm and rng.random() < 0.3
        """Whether each command names other servers; then no state file is lost, which alone knows of those."""
        self._heap: list[tuple[float, int, int, Callable[[], None]]] = []
        self._turn = 0
        self._heard: list[StatusHeard] = []
        self._open: set[tuple[int, Submit]] = set()
        """POSTs whose answer is outstanding, each with the run that sent it."""
        self.given_up: set[str] = set()
        """Prefixes of attempts that were given up with their server: what it makes of them costs a render, no more."""
        self._ended: list[tuple[Action, Any]] = []
        if not self.calm:
            self._weather()

    def _outcome(self, posted: Posted) -> Ended | str:
        match = parse_prefix(BATCH, posted.prefix)
        if match and match[0] in self.broken:
            return "ValueError"
        return "torch.OutOfMemoryError" if match and self.rng.random() < self.odds.memory else Ended.SUCCESS

    def _weather(self) -> None:
        """Lay out what happens to the servers, whatever we do."""
        kinds = (self._restart, self._interrupt, self._clear, self._stranger, self._stranger, self._deny, self._wedge)
        for server in self.servers.values():
            for _ in range(self.rng.choice((0, 0, 1, 4))):
                happens = self.rng.choice(kinds)
                self._at(self.rng.uniform(0, 60.0 * self.jobs), lambda server=server, happens=happens: happens(server))

    def _restart(self, server: PureComfy) -> None:
        server.restart(self.now, self.rng.choice((0.5, 8.0, 200.0)))

    def _deny(self, server: PureComfy) -> None:
        server.denied_until = self.now + self.rng.choice((1.0, 30.0, 500.0))

    def _wedge(self, server: PureComfy) -> None:
        server.wedged = True
        self._at(self.now + self.rng.choice((10.0, 100.0, 3000.0)), lambda: self._restart(server))

    def _trouble(self, server: PureComfy) -> Failure | None:
        """Return what keeps a server from answering right now."""
        if not server.is_up(self.now) or self.rng.random() < self.odds.away:
            return UNAVAILABLE
        return UNAUTHORIZED if self.now < server.denied_until else None

    def _interrupt(self, server: PureComfy) -> None:
        server.interrupt(self.now)

    def _clear(self, server: PureComfy) -> None:
        server.clear(self.now)

    def _stranger(self, server: PureComfy) -> None:
        """Let somebody queue a prompt, at times a copy of one of ours, prefix and all."""
        copied = self.rng.choice(server.renders) if self.renames and server.renders else "generated-video"
        server.post(f"stranger-{self.rng.random()}", copied, self.now, ours=False)

    # -- the course of a night

    def run(self) -> Exit:
        """Start the runner again until the batch has ended; return how."""
        while True:
            self.lives += 1
            assert self.now < _LONGEST, "the night has no end"
            ending = self._live()
            if ending is not None and ending.exit in (0, 1):
                self._check(ending)
                return ending
            self._between()

    def _between(self) -> None:
        """Let time pass until the next start; sometimes somebody loses the state file."""
        self.now += self.rng.choice((0.0, 1.0, 30.0, 1000.0))
        if not self.renames and self.rng.random() < 0.2:
            self._pass(self.now + 66.0)  # what is under way arrives: a fresh ledger could not know of it
            self.journal, self.marks, self.forgot = [], set(), True

    def _pass(self, until: float) -> None:
        while self._heap and self._heap[0][0] <= until:
            self._happen()
        self.now = max(self.now, until)

    def _live(self) -> Exit | None:
        killed_at = inf if self.calm else self.now + self.rng.choice((inf, inf, 40.0, 300.0)) * self.rng.random()
        leaves_at = inf if self.calm else self.now + self.rng.choice((inf, inf, inf, 100.0)) * self.rng.random()
        self._ended, self._heard = [], []
        board = self._board()
        try:
            self._note_all(board, startup_facts(board, BEGIN + self.now))
            return self._loop(board, killed_at, leaves_at)
        except Killed:
            return None

    def _board(self) -> Board:
        named = self.rng.sample(list(self.servers), self.rng.randint(1, len(self.servers)))
        board = Board(BATCH, self.rules, named if self.renames else self.servers, self.now)
        board.load(self.names, self.journal, self.now)
        board.want(self.names, None, self.now)
        for url in self.marks.intersection(board.servers):
            board.apply(Surveyed(url))
        board.imported = "settled in" in self.marks
        if not board.imported:
            for path, prefix in self.home.items():
                match = parse_prefix(BATCH, prefix)
                if match:
                    board.local_files[match[0]] = match[1], (LocalFile(prefix, path, 9, "0" * 64),)
        return board

    def _loop(self, board: Board, killed_at: float, leaves_at: float) -> Exit | None:
        turns, since = 0, self.now
        while True:
            turns, since = (turns + 1, since) if since == self.now else (0, self.now)
            assert turns < _MOST_TURNS, "the loop spins"
            if not board.imported and is_surveyed(board, self.now):
                self._note_all(board, import_local_files(board, BEGIN + self.now))
                board.local_files, board.imported = {}, True
                self.marks.add("settled in")
            board.tick(self.now, BEGIN + self.now)
            for outcome in give_up_servers(board, self.now, BEGIN + self.now):
                for one in outcome.notes:
                    board.apply(one)
                self._note_all(board, outcome.facts)
            for action in plan(board, self.now):
                self._start(board, action)
            assert plan(board, self.now) == [], "something could have been started and was not"
            file_away(board, self.now)
            self._is_nothing_missed(board, self.now)
            if ending := exit_decision(board, self.now):
                return ending
            if not self._wait(board, killed_at, leaves_at):
                return None

    def _wait(self, board: Board, killed_at: float, leaves_at: float) -> bool:
        """Go to the next moment at which anything happens; False if we are killed before."""
        due = wake(board, self.now)
        assert due is None or due > self.now
        leaving = leaves_at if board.leaving_at is None else inf
        happens = self._heap[0][0] if self._heap else inf
        until = min(due or inf, happens, leaving)
        assert until < inf, "nothing will ever happen again"
        self._idle(board, min(until, killed_at))
        if until >= killed_at:
            self.now = killed_at
            return False
        self.now = max(self.now, until)
        board.measure(Transfers(self.received), self.now)
        if until == leaving:
            board.leave(self.now)
        elif until == happens:
            self._happen()
            self._hear(board)
        return True

    def _idle(self, board: Board, until: float) -> None:
        """Assert that nothing becomes possible, or is over, before the moment we sleep to."""
        between = self.now + (until - self.now) * self.rng.random()
        if self.now < between < until:
            board.tick(between, BEGIN + between)
            assert plan(board, between) == [], "it slept too long"
            self._is_nothing_missed(board, between)
            assert exit_decision(board, between) is None, "it slept past its end"

    def _is_nothing_missed(self, board: Board, now: float) -> None:
        """Assert that visiting every server would find no more to do than visiting those that are due."""
        for name in board.servers:
            board.touch(name)
        assert plan(board, now) == [], "a server that has something to do was not visited"
        file_away(board, now)

    def _hear(self, board: Board) -> None:
        for action, end in self._ended:
            self.ends += 1
            self._note_all(board, interpret(board, action, end, self.now, BEGIN))
            board.end(action, self.now)
            self.marks.update(url for url, server in board.servers.items() if server.surveyed)
        self._ended = []
        for status in self._heard:
            board.apply(status)
        self._heard = []

    def _note_all(self, board: Board, facts: Iterable[Fact]) -> None:
        for fact in facts:
            self._note(board, fact)

    def _note(self, board: Board, fact: Fact) -> None:
        state = board.follow(fact)
        if state is None:
            return
        if self.rng.random() < self.odds.killed / 2:
            raise Killed
        self._is_true(fact)
        self.journal.append(fact)
        self.told.append(fact)
        if self.rng.random() < self.odds.killed / 2:
            raise Killed
        board.put(fact.job, state, self.now, fact)

    def _is_true(self, fact: Fact) -> None:
        """Assert that what is noted is so, seen with the servers' own eyes."""
        for server in self.servers.values():
            server.to(self.now)
        if isinstance(fact, Lost) and fact.why is Why.SERVER_GONE:
            self.given_up.add(f"{BATCH}-{fact.job}-a{fact.attempt}")
        if isinstance(fact, Claimed):
            earlier = {f"{BATCH}-{fact.job}-a{attempt}" for attempt in range(1, fact.attempt + 1)} - self.given_up
            # What a server holds that refuses the token can't be known to a fresh ledger.
            asked = [one for one in self.servers.values() if not (self.forgot and self.now < one.denied_until)]
            assert not any(server.has(prefix) for server in asked for prefix in earlier), "not lost"
            assert not any(prefix in earlier for prefix in self.home.values()), "it is saved"
        if isinstance(fact, Lost) and fact.why in (Why.FORGOTTEN, Why.EXPIRED, Why.WITHDRAWN):
            prefix = f"{BATCH}-{fact.job}-a{fact.attempt}"
            at_home = prefix in self.home.values()
            assert at_home or not any(server.has(prefix) for server in self.servers.values()), f"not lost: {fact}"

    # -- actions

    def _at(self, when: float, does: Callable[[], None], life: int = 0) -> None:
        self._turn += 1
        heappush(self._heap, (when, self._turn, life, does))

    def _happen(self) -> None:
        when, _, life, does = heappop(self._heap)
        self.now = max(self.now, when)
        if life in (0, self.lives):
            does()

    def _ends(self, after: float, action: Action, end: Any) -> None:
        self._at(self.now + after, lambda: self._ended.append((action, end)), self.lives)

    def _start(self, board: Board, action: Action) -> None:
        match action:
            case Poll():
                self.polls += 1
                board.start(action, self.now)
                self._poll(action, self.servers[action.server])
            case Submit():
                if not action.again:
                    facts = (action.job, action.attempt, BEGIN + self.now, action.prompt, action.prefix)
                    self._note(board, Claimed(*facts, action.server, "0" * 64))
                board.start(action, self.now)
                self._post(action, self.servers[action.server])
            case Withdraw():
                board.start(action, self.now)
                self._withdraw(action, self.servers[action.server])
            case Download():
                board.start(action, self.now)
                self._fetch(board, action, self.servers[action.server])
            case Listen():
                board.start(action, self.now)
                self._listen(action, self.servers[action.server])

    def _poll(self, action: Poll, server: PureComfy) -> None:
        if action.ends:
            self._at(self.now + self._waves.random(), lambda: self._ask_for_each(action, server), self.lives)
        else:
            self._read_all(action, server)

    def _ask_for_each(self, action: Poll, server: PureComfy) -> None:
        """Ask for prompts one by one; where the route fails or is not there, read the queue and the history."""
        if failure := self._trouble(server):
            self._ended.append((action, failure))
            return
        rows: list[Row] = []
        ended: dict[str, Entry | None] = {}
        for prompt in action.ids:
            found = server.job(prompt, self.now) if server.has_jobs and self._waves.random() > 0.05 else None
            if isinstance(found, Row):
                rows.append(found)
            elif found is not None and found.ended is Ended.SUCCESS:
                ended[prompt] = found
            else:
                status = self._waves.choice((404, 500))
                jobs = Failure(Cause.UNAVAILABLE, "no jobs", not_found=status == 404, status=status)
                self._read_all(action, server, None if found else jobs)
                return
            if rows or len(ended) == action.ends:
                break
        self.own_polls += 1
        self._ended.append((action, PollResult(tuple(rows), ended, (), BEGIN + self.now, own=True)))

    def _read_all(self, action: Poll, server: PureComfy, jobs: Failure | None = None) -> None:
        read = self.now + self.rng.random()
        queue: list[PollEnd] = []

        def first() -> None:
            rows = server.rows(self.now)
            queue.append(self._trouble(server) or PollResult(rows, {}, (), BEGIN + self.now))
            self._at(self.now + self.rng.random(), second, self.lives)

        def second() -> None:
            server.to(self.now)
            end: PollEnd = queue[0]
            if isinstance(end, PollResult):
                recent = tuple(server.history.values())[-action.recent :] if action.recent else ()
                history = {prompt: server.history.get(prompt) for prompt in action.ids}
                end = (
                    PollResult(end.queue, history, recent, BEGIN + self.now, jobs=jobs)
                    if server.is_up(self.now)
                    else UNAVAILABLE
                )
            self._ended.append((action, end))

        self._at(read, first, self.lives)

    def _listen(self, action: Listen, server: PureComfy) -> None:
        """Tell of drops, late, twice or not at all, until the socket closes, which it does at any time."""
        rng = self._waves
        closes_at = self.now + rng.choice((0.0, 60.0, 600.0)) * rng.random()
        deaf = rng.random() < 0.3

        def look(before: int) -> None:
            if self.now >= closes_at:
                self._ended.append((action, None))
                return
            count = len(server.rows(self.now))
            if not deaf:
                greeting, dropped = before < 0, count < before or rng.random() < 0.02
                self._heard.append(StatusHeard(action.server, self.now, greeting, dropped))
            self._at(self.now + rng.choice((0.1, 1.0, 10.0)), lambda: look(count), self.lives)

        self._at(self.now + rng.random(), lambda: look(-1), self.lives)

    def _post(self, action: Submit, server: PureComfy) -> None:
        if self.rng.random() < self.odds.unsent:
            self._ends(0.1, action, UNSENT)
            return
        silent = self.rng.random() < self.odds.silent
        wait = self.rng.uniform(0, 65) if self.rng.random() < self.odds.late else self.rng.random()

        def arrive() -> None:
            end: PostEnd = UNAVAILABLE
            if self.now < server.denied_until:
                end = UNAUTHORIZED
            elif server.is_up(self.now):
                prompt, number = server.post(action.prompt, action.prefix, self.now)
                end = UNAVAILABLE if silent else Taken(prompt, float(number))
            self._at(self.now, lambda: self._answer(action, end), life)

        life = self.lives
        self._at(self.now + wait, arrive)
        self._at(self.now + 60.0, lambda: self._answer(action, UNAVAILABLE), life)
        self._open.add((life, action))

    def _answer(self, action: Submit, end: PostEnd) -> None:
        """Hear the first of the answer and the time-out."""
        if (self.lives, action) in self._open:
            self._open.remove((self.lives, action))
            self._ended.append((action, end))

    def _withdraw(self, action: Withdraw, server: PureComfy) -> None:
        def arrive() -> None:
            trouble = self._trouble(server)
            if trouble is None:
                server.delete(action.prompts, self.now)
            self._ended.append((action, trouble))

        self._at(self.now + self.rng.random(), arrive, self.lives)

    def _fetch(self, board: Board, action: Download, server: PureComfy) -> None:
        path = f"{action.job}/{action.file.name}"

        def over(end: DownloadEnd) -> None:
            if isinstance(end, Downloaded):
                self.home[path] = action.prefix
                self.received[action.server] += end.size
            self._ended.append((action, end))

        def opened() -> None:
            server.to(self.now)
            end: DownloadEnd = Downloaded(path, 9, "0" * 64)
            disk = server.files.get(action.file.name)
            if path in self.home:
                over(end)
                return
            trouble = self._trouble(server)
            if trouble is not None:
                end = trouble
            elif self.rng.random() < self.odds.local:
                end = Failure(Cause.LOCAL, "no space left on device")
            elif disk is None:
                end = NotFound()
            elif not disk.whole:
                end = Rejected("no film", "etag")
            elif not action.probe:
                at = BEGIN + self.now
                self._note(board, Opened(action.job, action.attempt, at, action.file.key, "etag", 9, "x.part", "boot"))
            self._at(self.now + self.rng.choice((0.1, 3.0, 90.0)), lambda: over(end), self.lives)

        self._at(self.now + self.rng.random(), opened, self.lives)

    # -- the morning after

    def _check(self, ending: Exit) -> None:
        board = Board(BATCH, self.rules, self.servers, self.now)
        board.load(self.names, self.journal, self.now)
        failed = [job for job in self.names if isinstance(board.states[job], Failed)]
        for job in self.names:
            state = board.states[job]
            assert isinstance(state, Done | Failed), f"{job} is {state}"
            if isinstance(state, Done):
                assert all(self.home[saved.path] == state.prompt.prefix for saved in state.files)
            else:
                self._failed_rightly(job)
        assert ending.exit == bool(failed)
        for server in self.servers.values():
            assert not server.doubles, "posted twice"
            assert not server.harmed, "a stranger's prompt was deleted"
            assert server.most <= self.rules.depth, "too many at once"
        assert self.polls <= len(self.servers) * (self.now + 10 * self.lives) + 2 * self.ends, "it asks too often"

    def _failed_rightly(self, job: str) -> None:
        lost = [fact for fact in self.told if isinstance(fact, Lost) and fact.job == job and fact.burns]
        errors = [fact.error for fact in lost if fact.error]
        assert len(lost) >= self.rules.attempts or len(errors) > 1, lost

    def renders(self, job: str) -> int:
        """Return how often a job was rendered, or begun to be."""
        return sum(f"-{job}-" in prefix for server in self.servers.values() for prefix in server.renders)

    def saved(self) -> int:
        """Return how many files were downloaded."""
        return sum(isinstance(fact, Saved) for fact in self.told)
