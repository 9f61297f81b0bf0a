"""What an hour of a thousand servers costs: python -m tests.benchmarks.virtual_hour [SERVERS JOBS HOURS] [--profile].

The real engine and the real onlooker, in virtual time, with servers, a disk and a ledger in memory: what is counted is
what the program does, without HTTP and SQLite. Jobs take 5 to 17 minutes, every server holds two prompts and answers
in 20 to 200 ms, each answer at a moment of its own, and a download takes two seconds. Printed: CPU seconds of one core
per hour, and the share of the core; with --profile also where they went. Who watches is `run.log` and plain lines, as
in a service, and then `run.log` and the board that a terminal shows twice a second.
"""

from __future__ import annotations

import asyncio
import cProfile
import pstats
import sys
from dataclasses import dataclass, field
from io import StringIO
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from time import process_time
from typing import TYPE_CHECKING

from rich.console import Console

from batchrunner.core.actions import Downloaded, Ended, Entry, PollResult, Row, Taken
from batchrunner.core.board import Board
from batchrunner.core.facts import File
from batchrunner.core.job import Job, prompt_id
from batchrunner.core.settings import Rules
from batchrunner.engine import Engine
from batchrunner.progress import RunObserver
from batchrunner.show.gallery import Gallery
from batchrunner.show.listeners import Listeners, RunLog, TextLines
from batchrunner.show.live import LiveBoard
from batchrunner.show.log import FileOutput, StreamOutput, console_log, file_log
from batchrunner.show.report import RunContext
from tests.lab import clock

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from batchrunner.core.actions import Download, Poll, Submit
    from batchrunner.core.facts import Fact
    from batchrunner.core.job import Json
    from batchrunner.show.listeners import Listener

SERVERS, JOBS, HOURS = 1_000, 20_000, 1.0
BATCH = "cats"
SHORTEST, LONGEST = 5 * 60.0, 17 * 60.0
QUICKEST, SLOWEST, TRANSFER = 0.02, 0.2, 2.0
"""Seconds that a poll or a POST takes at least and at most, and a download."""
BEATS = {"plain lines": 5.0, "a terminal": 0.5}
"""Seconds between two scenes (`progress.open_displays`)."""


class Clock:
    """The virtual loop's clock."""

    def __init__(self, loop: clock.VirtualLoop) -> None:
        self._loop = loop

    def now(self) -> float:
        """Seconds since the loop began."""
        return self._loop.now

    def wall(self) -> float:
        """Seconds since the epoch."""
        return self._loop.wall()


@dataclass(slots=True)
class Gpu:
    """A server that renders one prompt after the other."""

    clock: Clock
    dice: Random
    seconds: Callable[[str], float]
    """How long a prompt renders."""
    queue: dict[str, tuple[str, float, float]] = field(default_factory=dict)
    """Per prompt: its prefix, and when it begins and ends."""
    history: dict[str, Entry] = field(default_factory=dict)
    free_at: float = 0.0
    posts: int = 0
    polls: int = 0

    async def poll(self, action: Poll) -> PollResult:
        """Read the queue, then the history."""
        await asyncio.sleep(self.dice.uniform(QUICKEST, SLOWEST))
        now, ahead = self.clock.now(), self.clock.wall() - self.clock.now()
        self.polls += 1
        for prompt, (prefix, began, ended) in list(self.queue.items()):
            if ended <= now:
                del self.queue[prompt]
                files = (File(f"{prefix}_00001_.mp4"),)
                times = {"began": ahead + began, "finished": ahead + ended}
                self.history[prompt] = Entry(prompt, Ended.SUCCESS, files, (prefix,), **times)
        rows = tuple(
            Row(prompt, number, running=began <= now, prefixes=(prefix,))
            for number, (prompt, (prefix, began, _)) in enumerate(self.queue.items())
        )
        asked = {prompt: self.history.get(prompt) for prompt in action.ids if prompt not in self.queue}
        return PollResult(rows, asked, date=ahead + now)

    async def submit(self, body: bytes) -> Taken:
        """Queue a prompt."""
        await asyncio.sleep(self.dice.uniform(QUICKEST, SLOWEST))
        prompt, prefix = body.decode().split()
        began = max(self.free_at, self.clock.now())
        self.free_at = began + self.seconds(prompt)
        self.queue[prompt] = prefix, began, self.free_at
        self.posts += 1
        return Taken(prompt, self.posts)

    async def listen(self, heard: Callable[[bool, int], None]) -> None:  # noqa: ARG002 - the engine's signature
        """Take the connection, and say nothing."""
        await asyncio.Event().wait()

    async def withdraw(self, prompts: Collection[str]) -> None:
        """Delete nothing: nobody asks."""
        raise NotImplementedError

    async def interrupt(self, prompt: str) -> None:
        """Stop nothing: nobody asks."""
        raise NotImplementedError


class Disk:
    """A folder to which every file comes home."""

    async def fetch(self, action: Download, opened: Callable[[str, int, str], None]) -> Downloaded:
        """Bring one file home."""
        opened('"etag"', 10_000_000, f"{action.job}.part")
        await asyncio.sleep(TRANSFER)
        return Downloaded(f"{action.job}.mp4", 10_000_000, "0" * 64)


class Memory:
    """A ledger that is forgotten; it counts."""

    def __init__(self) -> None:
        self.facts = 0

    def append(self, fact: Fact) -> None:  # noqa: ARG002 - the engine's signature
        """Count one fact."""
        self.facts += 1

    def mark(self, key: str, value: Json) -> None:
        """Keep nothing."""


@dataclass(frozen=True, slots=True)
class Hour:
    """What some time of many servers took."""

    cpu: float
    """Seconds of one core."""
    facts: int
    polls: int
    done: int


async def work(loop: clock.VirtualLoop, size: tuple[int, int, float], display: str, folder: Path) -> Hour:
    """Let so many servers work at so many jobs for so many hours."""
    servers, number, hours = size
    now, dice = Clock(loop), Random("virtual hour")  # noqa: S311 - a measurement, no secret
    costs = [dice.choice((3e9, 5e9, 8e9)) for _ in range(number)]
    jobs = {name: Job(name, name, {"seed": at}, f"cat-{at}", costs[at]) for at, name in enumerate(_ids(number))}
    names = [f"http://gpu-{at:04}:8188" for at in range(servers)]
    took = {prompt_id(BATCH, name, 1): dice.uniform(SHORTEST, LONGEST) for name in jobs}
    gpus = {name: Gpu(now, dice, took.__getitem__) for name in names}
    board = Board(BATCH, Rules(), names, now.now())
    board.costs = {job.id: job.cost for job in jobs.values()}
    board.load(jobs, (), now.now())
    board.want(jobs, None, now.now())
    file = FileOutput(folder / "run.log")
    shown: Listener
    if display == "a terminal":
        shown = LiveBoard(Console(file=StringIO(), force_terminal=True, width=120, height=50, highlight=False))
    else:
        shown = TextLines(console_log(StreamOutput(StringIO()), verbose=False))
    listeners = Listeners([RunLog(file_log(file)), shown])
    gallery = Gallery(folder, BATCH, RunContext("cats.yaml"), now.wall, lambda _: None)
    run_observer = RunObserver(board, jobs, listeners, now.wall, dict, BEATS[display], gallery)
    memory = Memory()
    engine = Engine(board, memory, Disk(), now, run_observer, comfy=gpus.__getitem__, body=_body, boot="boot")
    begun = process_time()
    running = loop.create_task(engine.run())
    await asyncio.wait([running], timeout=hours * 3600)
    cpu = process_time() - begun
    if not running.done():
        running.cancel()
        await asyncio.wait([running])
    else:
        running.result()
    listeners.close()
    file.close()
    polls = sum(gpu.polls for gpu in gpus.values())
    return Hour(cpu, memory.facts, polls, board.tally()["done"])


def _ids(number: int) -> list[str]:
    return [f"{at:012x}" for at in range(number)]


def _body(action: Submit) -> bytes:
    return f"{action.prompt} {action.prefix}".encode()


def measure(size: tuple[int, int, float], display: str) -> Hour:
    """Pass the time once."""
    with TemporaryDirectory() as folder:
        return clock.run(lambda loop: work(loop, size, display, Path(folder)), seed=1)


def main(words: list[str]) -> None:
    """Print a line for each display."""
    numbers = [word for word in words if not word.startswith("--")]
    servers, jobs, hours = [*numbers, SERVERS, JOBS, HOURS][:3] if len(numbers) == 3 else (SERVERS, JOBS, HOURS)
    size = int(servers), int(jobs), float(hours)
    for display in BEATS:
        profile = cProfile.Profile() if "--profile" in words else None
        hour = profile.runcall(measure, size, display) if profile else measure(size, display)
        share = hour.cpu / (3600 * size[2])
        sys.stdout.write(
            f"{size[0]:,} servers, {size[1]:,} jobs, {display}: {hour.cpu / size[2]:.0f} s of CPU an hour,"
            f" {share:.0%} of a core; {hour.polls:,} polls, {hour.facts:,} facts, {hour.done:,} jobs done\n"
        )
        if profile:
            pstats.Stats(profile, stream=sys.stdout).sort_stats("tottime").print_stats(25)


if __name__ == "__main__":
    main(sys.argv[1:])
