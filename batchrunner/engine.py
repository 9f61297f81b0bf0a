"""The one loop: facts in, actions out, until the board says that it is over.

Every action runs by itself in one task group and puts its result into one inbox. The loop takes the results out one
by one, has each interpreted (by `core/*_results`), applies the notes to the board, writes each fact to the ledger and
only then to the board, and asks `scheduler.plan` what to start next. The observer sees a fact once polls and GETs are
on their way. Writing a fact is synchronous: no await lies between what the ledger knows and what the board knows, and
the claim is on disk before the POST leaves.
"""

from __future__ import annotations

import math
from contextlib import suppress
from hashlib import sha256
from typing import TYPE_CHECKING, Protocol, TypeAlias, TypeVar

import anyio

from batchrunner.core.actions import Cause, Download, Failure, Interrupt, Listen, Poll, Submit, Upload, Withdraw
from batchrunner.core.download_results import interpret_download
from batchrunner.core.exit import Exit, exit_decision
from batchrunner.core.facts import Claimed, Opened
from batchrunner.core.giveup import give_up_servers
from batchrunner.core.link import Transfers
from batchrunner.core.notes import Moment, Outcome, SocketClosed, StatusHeard
from batchrunner.core.poll_results import interpret_poll
from batchrunner.core.post_results import interpret_interrupt, interpret_post, interpret_withdrawal
from batchrunner.core.scheduler import file_away, is_surveyed, plan, wake
from batchrunner.core.server import SIM
from batchrunner.core.startup import import_local_files, startup_facts
from batchrunner.core.upload_results import interpret_upload
from batchrunner.core.uploads import fail_refused_jobs
from batchrunner.errors import BatchrunnerError, unwrapped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping

    from anyio.abc import TaskGroup

    from batchrunner.core.actions import Action, DownloadEnd, PollEnd, PostEnd, UploadEnd
    from batchrunner.core.board import Board
    from batchrunner.core.facts import Fact
    from batchrunner.core.job import Json


class Comfy(Protocol):
    """One server. Every call is one attempt; trouble is an answer, not an exception."""

    async def poll(self, action: Poll) -> PollEnd:
        """Read the queue, then the history."""
        ...

    async def submit(self, body: bytes) -> PostEnd:
        """POST one prompt."""
        ...

    async def upload(self, action: Upload) -> UploadEnd:
        """Bring one input file there."""
        ...

    async def withdraw(self, prompts: Collection[str]) -> Failure | None:
        """Delete pending prompts by id."""
        ...

    async def interrupt(self, prompt: str) -> Failure | None:
        """Stop a prompt if it runs, by id."""
        ...

    async def listen(self, heard: Callable[[bool, int], None]) -> None:
        """Open the socket, and call `heard(greeting, dropped)` for what `StatusHeard` tells, until it closes."""
        ...


class DownloadTarget(Protocol):
    """Where videos are saved."""

    async def fetch(self, action: Download, opened: Callable[[str, int, str], None]) -> DownloadEnd:
        """Download one file; `opened(etag, size, part)` is called before its first byte is written."""
        ...


class Journal(Protocol):
    """Keeps facts; what `append` returned from is never lost."""

    def append(self, fact: Fact) -> None:
        """Commit one fact."""
        ...

    def mark(self, key: str, value: Json) -> None:
        """Commit one remark about the batch itself."""
        ...


class Observer(Protocol):
    """Watches; must neither wait nor raise."""

    def fact(self, fact: Fact) -> None:
        """See a fact that changed something."""
        ...

    def update(self, board: Board, now: float) -> float:
        """See the board after something happened; return when to be shown it again at the latest."""
        ...

    def bug(self, error: Exception) -> None:
        """See an error that should not be."""
        ...


class Clock(Protocol):
    """Two times: one that only goes forward, and one for people."""

    def now(self) -> float:
        """Seconds on the loop's clock."""
        ...

    def wall(self) -> float:
        """Seconds since the epoch; only `until` is held against it."""
        ...


IMPORTED = "local files imported"
_HEAD_START = 0.02
"""Seconds that a poll or a GET has for itself, before a POST is claimed or anything is shown."""
_LONGEST_WAIT = 0.05
"""Seconds after which POSTs and displays no longer wait for further polls and GETs."""
T = TypeVar("T")
Interpreter: TypeAlias = "Callable[[Moment], Outcome]"
"""The result of an action, waiting to be interpreted."""
Message: TypeAlias = "tuple[Action, Interpreter] | StatusHeard | BatchrunnerError | None"


class Engine:
    """Runs one board to its end. It alone writes to the journal."""

    def __init__(  # noqa: PLR0913 - it is where everything meets
        self,
        board: Board,
        journal: Journal,
        target: DownloadTarget,
        clock: Clock,
        observer: Observer,
        *,
        comfy: Callable[[str], Comfy],
        body: Callable[[Submit], bytes],
        boot: str,
        redact: Callable[[Fact], Fact] = lambda fact: fact,
        transfers: Callable[[], Transfers] = Transfers,
    ) -> None:
        self._board = board
        self._journal = journal
        self._target = target
        self._clock = clock
        self._observer = observer
        self._comfy = comfy
        self._body = body
        self._boot = boot
        self._redact = redact
        self._transfers = transfers
        streams = anyio.create_memory_object_stream["Message"](math.inf)
        self._send, self._inbox = streams
        self._listening: dict[str, anyio.CancelScope] = {}
        """One connection per server, or what was one."""
        self._waiting_since: float | None = None
        """When POSTs and displays began to wait for polls and GETs."""
        self._untold: list[Fact] = []
        """What the observer has not seen yet."""
        self._surveyed = {url for url, server in board.servers.items() if server.surveyed}

    async def run(self) -> Exit:
        """Run until every job is settled or nothing more can be done.

        Raises StateError if a fact can't be kept: nothing may happen that nobody would remember.
        """
        with self._inbox, self._send, unwrapped():
            self._note_all(startup_facts(self._board, self._clock.wall()))
            try:
                async with anyio.create_task_group() as group:
                    ending = await self._until_over(group)
                    for scope in self._listening.values():
                        scope.cancel()  # oldest first: the group's own order is by chance, and nights must repeat
                    group.cancel_scope.cancel()
            finally:
                self._tell()
        return ending

    def leave(self) -> None:
        """Begin to leave: nothing new is submitted, what is rendered is downloaded. Safe to call from a signal."""
        self._board.leave(self._clock.now())
        self._send.send_nowait(None)

    async def _until_over(self, group: TaskGroup) -> Exit:
        while True:
            now = self._clock.now()
            self._move_in(now)
            self._board.tick(now, self._clock.wall())
            for outcome in give_up_servers(self._board, now, self._clock.wall()):
                self._apply(outcome)
            for outcome in fail_refused_jobs(self._board, now, self._clock.wall()):
                self._apply(outcome)
            actions = plan(self._board, now)
            urgent = self._is_urgent(actions, now)
            for action in actions:
                if not (urgent and isinstance(action, Submit)):
                    self._start(action, group)
            if urgent:
                await self._receive(now + _HEAD_START)
                continue
            self._tell()
            # Who watches sees the board before it forgets which servers something happened to.
            shown = self._observer.update(self._board, now)
            file_away(self._board, now)
            if ending := exit_decision(self._board, now):
                return ending
            await self._receive(min(shown, wake(self._board, now) or math.inf))

    # -- acting

    def _is_urgent(self, actions: list[Action], now: float) -> bool:
        """Whether polls or GETs are to be on their way before anything else, which would wait for the disk, is done.

        A poll often ends in a GET; but however many there are, nothing waits for them for longer than a moment.
        """
        since = now if self._waiting_since is None else self._waiting_since
        urgent = now - since < _LONGEST_WAIT and any(isinstance(action, Download | Poll) for action in actions)
        self._waiting_since = since if urgent else None
        return urgent

    def _start(self, action: Action, group: TaskGroup) -> None:
        now = self._clock.now()
        body = b""
        if isinstance(action, Submit):
            body = self._body(action)
            if not action.again:
                self._claim(action, body)
        self._board.start(action, now)
        group.start_soon(self._attempt, action, body)

    def _claim(self, action: Submit, body: bytes) -> None:
        digest = sha256(body).hexdigest()
        at = self._clock.wall()
        self._note(Claimed(action.job, action.attempt, at, action.prompt, action.prefix, action.server, digest))

    async def _attempt(self, action: Action, body: bytes) -> None:
        """Perform one action and report how it ended; the journal's failure ends the run."""
        try:
            self._send.send_nowait((action, await self._perform(action, body)))
        except BatchrunnerError as error:
            self._send.send_nowait(error)

    async def _perform(self, action: Action, body: bytes) -> Interpreter:  # noqa: PLR0911 - a case an action
        board = self._board
        match action:
            case Poll():
                seen = await self._result(self._comfy(action.server).poll(action))
                return lambda moment: interpret_poll(board, action, seen, moment)
            case Submit():
                answer = await self._result(self._comfy(action.server).submit(body))
                return lambda moment: interpret_post(board, action, answer, moment)
            case Upload():
                stored = await self._result(self._comfy(action.server).upload(action))
                return lambda moment: interpret_upload(board, action, stored, moment)
            case Download():
                end = await self._result(self._target.fetch(action, self._opener(action)))
                return lambda moment: interpret_download(board, action, end, moment)
            case Withdraw():
                failure = await self._result(self._comfy(action.server).withdraw(action.prompts))
                return lambda moment: interpret_withdrawal(board, action, failure, moment)
            case Interrupt():
                failure = await self._result(self._comfy(action.server).interrupt(action.prompt))
                return lambda moment: interpret_interrupt(board, action, failure, moment)
            case Listen():
                with anyio.CancelScope() as self._listening[action.server]:
                    await self._result(self._comfy(action.server).listen(self._hearing(action)))
                return lambda moment: Outcome(notes=(SocketClosed(action.server, moment.began, moment.now),))

    def _hearing(self, action: Listen) -> Callable[[bool, int], None]:
        def heard(greeting: bool, dropped: int) -> None:  # noqa: FBT001 - called from one place
            self._send.send_nowait(StatusHeard(action.server, self._clock.now(), greeting, dropped))

        return heard

    async def _result(self, attempt: Awaitable[T]) -> T | Failure:
        """Return how an attempt ended; an error of ours must not end the night."""
        try:
            return await attempt
        except BatchrunnerError:
            raise
        except Exception as error:  # noqa: BLE001 - the one place where an attempt meets the world
            self._observer.bug(error)
            return Failure(Cause.UNAVAILABLE, f"a bug in batchrunner, see run.log: {type(error).__name__}")

    def _opener(self, action: Download) -> Callable[[str, int, str], None]:
        def opened(etag: str, size: int, part: str) -> None:
            if not action.probe:
                at = self._clock.wall()
                self._note(Opened(action.job, action.attempt, at, action.file.key, etag, size, part, self._boot))

        return opened

    # -- what came back

    async def _receive(self, until: float) -> None:
        """Wait for the next result of an action, no longer than `until`, and apply what follows."""
        messages: list[Message] = []
        with anyio.move_on_after(max(0.0, until - self._clock.now())):
            messages.append(await self._inbox.receive())
        with suppress(anyio.WouldBlock):
            while messages:
                messages.append(self._inbox.receive_nowait())
        self._board.measure(self._transfers(), self._clock.now())
        for message in messages:
            match message:
                case BatchrunnerError() as error:
                    raise error
                case StatusHeard():
                    self._board.apply(message)
                case (action, interpret):
                    began = self._board.in_flight.began(action)
                    self._apply(interpret(Moment(began, self._clock.now(), self._clock.wall())))
                    self._board.end(action, self._clock.now())
                    self._mark_survey(action.server)

    def _apply(self, outcome: Outcome) -> None:
        """Apply what follows from a result: the notes first, then the facts."""
        for note in outcome.notes:
            self._board.apply(note)
        self._note_all(outcome.facts)

    def _note_all(self, facts: Iterable[Fact]) -> None:
        for fact in facts:
            self._note(fact)

    def _note(self, fact: Fact) -> None:
        """Keep a fact that changes something: first on disk, then in memory, with no await between."""
        fact = self._redact(fact)  # whatever is written of it later holds no secret
        state = self._board.follow(fact)
        if state is None:
            return
        self._journal.append(fact)
        self._board.put(fact.job, state, self._clock.now(), fact)
        self._untold.append(fact)

    def _tell(self) -> None:
        """Let the observer see the facts since the last time."""
        facts, self._untold = self._untold, []
        for fact in facts:
            self._observer.fact(fact)

    def _mark_survey(self, name: str) -> None:
        """Remember if a server was asked for an earlier ledger's prompts; the built-in one never has any."""
        server = self._board.servers.get(name)
        if server is not None and server.surveyed and name != SIM and name not in self._surveyed:
            self._surveyed.add(name)
            self._journal.mark(survey_mark(name), value=True)

    def _move_in(self, now: float) -> None:
        """Take in what was found on this disk, and remember that it was done: a kill may come at any point before."""
        if not self._board.imported and is_surveyed(self._board, now):
            self._note_all(import_local_files(self._board, self._clock.wall()))
            self._board.local_files, self._board.imported = {}, True
            self._journal.mark(IMPORTED, value=True)


def imported(marks: Mapping[str, Json]) -> bool:
    """Return whether the files on this disk are known to this ledger; if not, they are to be searched for."""
    return marks.get(IMPORTED) is True


def survey_mark(url: str) -> str:
    """Return the ledger's key for «this server was asked what it holds of this batch»."""
    return f"surveyed {url}"


def surveyed(marks: Mapping[str, Json], url: str) -> bool:
    """Return whether the ledger remembers such a survey."""
    return marks.get(survey_mark(url)) is True
