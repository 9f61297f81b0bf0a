"""Everything that the engine is given, in memory: servers, a disk, a journal and an observer that write one log."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from batchrunner.core.actions import Downloaded, NotFound, PollResult, Row, Taken
from batchrunner.core.job import parse_prefix
from batchrunner.engine import Engine
from tests.core.boards import AT, BATCH, A, success

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from batchrunner.core.actions import Download, DownloadEnd, Failure, Poll, PollEnd, PostEnd, Submit
    from batchrunner.core.board import Board
    from batchrunner.core.facts import Fact
    from batchrunner.core.job import Json
    from tests.lab.clock import VirtualLoop

RENDER = 30.0
"""How many seconds a server renders one prompt."""
ETAG, SIZE, SHA = '"etag"', 9, "0" * 64
Step = tuple[str, object]
"""What was done, and with what: ("kept", fact), ("told", fact), ("sent", body), ("mark", key), ("bug", error)."""


class LoopTime:
    """The clock of a loop in virtual time."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def now(self) -> float:
        """Return the seconds since the loop began."""
        return self._loop.time()

    def wall(self) -> float:
        """Return the seconds since the epoch."""
        return AT + self._loop.time()


@dataclass
class Gpu:
    """A server that renders one prompt after the other; subclasses answer some other way."""

    world: World
    url: str = A
    seconds: float = RENDER
    queue: dict[str, tuple[str, float]] = field(default_factory=dict)
    """Per prompt: its prefix, and when it is rendered."""
    rendered: dict[str, str] = field(default_factory=dict)
    looks: list[float] = field(default_factory=list)

    async def poll(self, at: Poll) -> PollEnd:
        """Read the queue, then the history."""
        now = self.world.loop.time()
        self.looks.append(now)
        for prompt, (prefix, due) in list(self.queue.items()):
            if due <= now:
                del self.queue[prompt]
                self.rendered[prompt] = prefix
        rows = tuple(
            Row(prompt, number, running=number == 0, prefixes=(prefix,))
            for number, (prompt, (prefix, _)) in enumerate(self.queue.items())
        )
        history = {
            prompt: success(*(parse_prefix(BATCH, self.rendered[prompt]) or ())) if prompt in self.rendered else None
            for prompt in at.ids
            if prompt not in self.queue
        }
        return PollResult(rows, history, date=self.world.clock.wall())

    async def listen(self, heard: Callable[[bool, int], None]) -> None:  # noqa: ARG002 - the engine's signature
        """Take the connection, and say nothing."""
        await asyncio.Event().wait()

    async def submit(self, body: bytes) -> PostEnd:
        """Queue a prompt behind those that are there."""
        self.world.log.append(("sent", body))
        prompt, prefix = body.decode().split()
        begins = max([self.world.loop.time(), *(due for _, due in self.queue.values())])
        self.queue[prompt] = prefix, begins + self.seconds
        return Taken(prompt, len(self.world.log))

    async def withdraw(self, prompts: Collection[str]) -> Failure | None:
        """Delete pending prompts."""
        running = next(iter(self.queue), None)
        for prompt in set(prompts) - {running}:
            self.queue.pop(prompt, None)
        return None


@dataclass
class Folder:
    """A disk to which a file comes home in a second, if a server rendered it."""

    world: World

    async def fetch(self, action: Download, opened: Callable[[str, int, str], None]) -> DownloadEnd:
        """Bring one file home."""
        self.world.log.append(("fetch", action))
        if action.prefix not in self.world.gpus[action.server].rendered.values():
            return NotFound()
        opened(ETAG, SIZE, "x.part")
        await asyncio.sleep(1.0)
        return Downloaded(f"{action.job}.mp4", SIZE, SHA)


@dataclass
class Notebook:
    """A journal in memory; it fails when `refuses` raises."""

    world: World
    facts: list[Fact] = field(default_factory=list)
    marks: dict[str, Json] = field(default_factory=dict)
    refuses: Callable[[Fact], None] = lambda _: None

    def append(self, fact: Fact) -> None:
        """Keep one fact."""
        self.refuses(fact)
        self.facts.append(fact)
        self.world.log.append(("kept", fact))

    def mark(self, key: str, value: Json) -> None:
        """Keep one remark."""
        self.marks[key] = value
        self.world.log.append(("mark", key))


@dataclass
class Witness:
    """Who watches, and asks to be shown the board again after `every` seconds."""

    world: World
    every: float = inf
    pulses: list[float] = field(default_factory=list)

    def fact(self, fact: Fact) -> None:
        """See a fact."""
        self.world.log.append(("told", fact))

    def update(self, board: Board, now: float) -> float:  # noqa: ARG002 - the engine's signature
        """See the board."""
        self.pulses.append(now)
        return now + self.every

    def bug(self, error: Exception) -> None:
        """See an error that should not be."""
        self.world.log.append(("bug", error))


class World:
    """One run of one board, and what happened in it."""

    def __init__(self, loop: VirtualLoop, board: Board, *, gpu: type[Gpu] = Gpu, folder: type[Folder] = Folder) -> None:
        self.loop = loop
        self.board = board
        self.log: list[Step] = []
        self.clock = LoopTime(loop)
        self.gpus = {url: gpu(self, url) for url in board.servers}
        self.folder = folder(self)
        self.journal = Notebook(self)
        self.witness = Witness(self)
        self.engine = Engine(
            board,
            self.journal,
            self.folder,
            self.clock,
            self.witness,
            comfy=self.gpus.__getitem__,
            body=body_of,
            boot="boot",
        )

    def kept(self, kind: type[Fact]) -> list[Fact]:
        """Return the facts of one kind in the journal."""
        return [fact for fact in self.journal.facts if isinstance(fact, kind)]

    def places(self, what: str) -> list[int]:
        """Return where in the log something of one kind happened."""
        return [place for place, (kind, _) in enumerate(self.log) if kind == what]


def body_of(action: Submit) -> bytes:
    """Return the body of a POST, which names the prompt and its prefix."""
    return f"{action.prompt} {action.prefix}".encode()
