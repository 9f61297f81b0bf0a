"""A line with a rate, in plain Python: the core decides, servers render one prompt after the other, files share lines.

Time goes in steps of five seconds. What is measured is how old each file was when it was home: one that was younger
than `ttl` would have come however often its download broke off.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from boards import AT, BATCH, interpret, mp4, note, prefix

from batchrunner.core.actions import Download, Downloaded, Ended, Entry, Poll, PollResult, Row, Submit, Taken
from batchrunner.core.board import Board
from batchrunner.core.facts import Claimed, Opened
from batchrunner.core.holdback import is_slow
from batchrunner.core.link import Transfers
from batchrunner.core.scheduler import file_away, plan
from batchrunner.core.settings import Rules

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from batchrunner.core.actions import Action

_STEP = 5.0
_LONGEST = 50_000.0
SIZE = 1_000_000


@dataclass
class Gpu:
    """One server: what waits there, what it has rendered, and when what runs will be rendered."""

    name: str
    rate: Callable[[float], float]
    """Bytes per second of its line, by the time."""
    queue: list[Submit] = field(default_factory=list)
    began: float = 0.0
    rendered: dict[str, tuple[str, float]] = field(default_factory=dict)
    """The job and the end of each render, by its prompt."""
    idle: float = 0.0
    """Seconds in which it had nothing to render."""


@dataclass
class Line:
    """A batch of jobs on servers, each with a line of its own."""

    gpus: Sequence[Gpu]
    render: float = 60.0
    jobs: int = 40
    ttl: float | None = 600.0
    now: float = 0.0
    ages: list[float] = field(default_factory=list)
    """How old each file was when it was home."""
    told: list[tuple[float, str, bool]] = field(default_factory=list)
    """When it was said of which server that prompts are held back, or no longer."""
    received: dict[str, int] = field(default_factory=dict)
    under_way: dict[Download, float] = field(default_factory=dict)
    """Bytes that are here."""
    busy: float = 0.0
    """Seconds in which something came."""

    def pass_by(self) -> float:
        """Let the batch run to its end; return how long it took."""
        names = [f"{number:012x}" for number in range(self.jobs)]
        self.board = Board(BATCH, Rules(ttl=self.ttl, hint=False), [gpu.name for gpu in self.gpus], 0.0)
        self.board.load(names, [], 0.0)
        self.board.want(names, None, 0.0)
        while self.board.unsettled:
            assert self.now < _LONGEST, "the batch has no end"
            self._turn()
            self._tell()
            for gpu in self.gpus:
                self._let_render(gpu)
                self._let_come(gpu)
            self.now += _STEP
            self._end_downloads()
        return self.now

    def _turn(self) -> None:
        self.board.tick(self.now, AT + self.now)
        while actions := plan(self.board, self.now):
            for action in actions:
                self._act(action)
        file_away(self.board, self.now)

    def _act(self, action: Action) -> None:
        gpu = next(gpu for gpu in self.gpus if gpu.name == action.server)
        match action:
            case Poll():
                found = {one: self._entry(gpu, one) for one in action.ids if one not in (p.prompt for p in gpu.queue)}
                rows = [Row(one.prompt, n, n == 0, (one.prefix,)) for n, one in enumerate(gpu.queue)]
                self._answer(action, PollResult(tuple(rows), found, (), AT + self.now))
            case Submit():
                claim = Claimed(action.job, 1, AT, action.prompt, action.prefix, action.server, "0" * 64)
                note(self.board, [claim], self.now)
                gpu.began = gpu.began if gpu.queue else self.now
                gpu.queue.append(action)
                self._answer(action, Taken(action.prompt, 1.0))
            case Download():
                self.board.start(action, self.now)
                self.under_way[action] = 0.0
                opened = Opened(action.job, 1, AT, action.file.key, "e", SIZE, "x.part", "boot")
                note(self.board, [opened], self.now)

    def _answer(self, action: Action, end: PollResult | Taken) -> None:
        self.board.start(action, self.now)
        note(self.board, interpret(self.board, action, end, self.now), self.now)
        self.board.end(action, self.now)

    def _entry(self, gpu: Gpu, prompt: str) -> Entry | None:
        if prompt not in gpu.rendered:
            return None
        job, ended = gpu.rendered[prompt]
        times = {"began": AT + ended - self.render, "finished": AT + ended}
        return Entry(prompt, Ended.SUCCESS, (mp4(job),), (prefix(job),), **times)

    def _tell(self) -> None:
        for gpu in self.gpus:
            slow = is_slow(self.board, self.board.servers[gpu.name])
            last = next((said for _, name, said in reversed(self.told) if name == gpu.name), False)
            if slow is not last:
                self.told.append((self.now, gpu.name, slow))

    def _let_render(self, gpu: Gpu) -> None:
        if not gpu.queue:
            gpu.idle += _STEP
        while gpu.queue and gpu.began + self.render <= self.now + _STEP:
            gpu.began += self.render
            one = gpu.queue.pop(0)
            gpu.rendered[one.prompt] = one.job, gpu.began

    def _let_come(self, gpu: Gpu) -> None:
        coming = [action for action, got in self.under_way.items() if action.server == gpu.name and got < SIZE]
        self.busy += _STEP if coming else 0.0
        for action in coming:
            some = min(SIZE - self.under_way[action], gpu.rate(self.now) * _STEP / len(coming))
            self.under_way[action] += some
            self.received[gpu.name] = self.received.get(gpu.name, 0) + round(some)

    def _end_downloads(self) -> None:
        here = {(action.job, action.file.key): round(got) for action, got in self.under_way.items()}
        self.board.measure(Transfers(self.received, here), self.now)
        for action in [action for action, got in self.under_way.items() if got >= SIZE - 1]:
            del self.under_way[action]
            gpu = next(gpu for gpu in self.gpus if gpu.name == action.server)
            self.ages.extend(self.now - ended for job, ended in gpu.rendered.values() if job == action.job)
            end = Downloaded(f"{action.job}.mp4", SIZE, "0" * 64)
            note(self.board, interpret(self.board, action, end, self.now), self.now)
            self.board.end(action, self.now)
