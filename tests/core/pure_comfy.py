"""A ComfyUI in plain Python, for nights without I/O: a queue, a history, files with an age, and a memory to lose."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batchrunner.core.actions import Ended, Entry, Row
from batchrunner.core.facts import File

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

BEGIN = 1_700_000_000.0
"""The server's clock at second 0 of the night."""


@dataclass
class Posted:
    """One entry of the queue."""

    number: int
    prompt: str
    prefix: str
    ours: bool
    ends: float = 0.0


@dataclass
class Disk:
    """One output file."""

    prefix: str
    """Empty where a stranger rendered it."""
    written: float
    whole: bool = True


@dataclass
class PureComfy:
    """One server, moved forward by whoever asks it something."""

    url: str
    rng: Random
    seconds: float
    ttl: float
    own_ids: bool = False
    has_jobs: bool = False
    """It has `GET /api/jobs/{id}`."""
    outcome: Callable[[Posted], Ended | str] = lambda _: Ended.SUCCESS
    pending: list[Posted] = field(default_factory=list)
    running: Posted | None = None
    history: dict[str, Entry] = field(default_factory=dict)
    files: dict[str, Disk] = field(default_factory=dict)
    number: int = 0
    down_until: float = 0.0
    denied_until: float = 0.0
    wedged: bool = False
    """Takes prompts and runs none, until it is restarted."""
    renders: list[str] = field(default_factory=list)
    """The prefix of every render that began."""
    doubles: list[str] = field(default_factory=list)
    """Prompt ids that were posted while known."""
    most: int = 0
    """The most prompts of ours it ever held."""
    harmed: list[str] = field(default_factory=list)
    """Strangers' prompts that we deleted."""

    def to(self, now: float) -> None:
        """Let the time until `now` pass."""
        while self.running is not None or self.pending:
            if self.running is None and self.wedged:
                break
            if self.running is None:
                self._start(max(now, self.down_until))
            elif self.running.ends <= now:
                self._finish(self.running)
            else:
                break
        for name in [name for name, disk in self.files.items() if disk.written + self.ttl <= now]:
            del self.files[name]

    def is_up(self, now: float) -> bool:
        """Whether it answers."""
        return now >= self.down_until

    def post(self, prompt: str, prefix: str, now: float, *, ours: bool = True) -> tuple[str, int]:
        """Queue a prompt; return its id and number."""
        self.to(now)
        if prompt in self.history or any(held.prompt == prompt for held in self.held()):
            self.doubles.append(prompt)
        self.number += 1
        chosen = f"chosen-{self.rng.random()}" if self.own_ids and ours else prompt
        self.pending.append(Posted(self.number, chosen, prefix, ours))
        self.most = max(self.most, sum(held.ours for held in self.held()))
        self.to(now)
        return chosen, self.number

    def held(self) -> list[Posted]:
        """Return everything in the queue, what runs first."""
        return ([self.running] if self.running else []) + self.pending

    def rows(self, now: float) -> tuple[Row, ...]:
        """Return what GET /queue says."""
        self.to(now)
        return tuple(Row(held.prompt, float(held.number), held is self.running, (held.prefix,)) for held in self.held())

    def job(self, prompt: str, now: float) -> Row | Entry | None:
        """Return what GET /api/jobs/{prompt} says, None for a 404."""
        return self.history.get(prompt) or next((row for row in self.rows(now) if row.prompt == prompt), None)

    def delete(self, prompts: tuple[str, ...], now: float) -> None:
        """Delete one pending entry per id."""
        self.to(now)
        for prompt in prompts:
            found = next((held for held in self.pending if held.prompt == prompt), None)
            if found:
                self.pending.remove(found)
                if not found.ours:
                    self.harmed.append(prompt)

    def restart(self, now: float, pause: float) -> None:
        """Forget everything but the files; what runs leaves a stump at times."""
        self.to(now)
        if self.running and self.rng.random() < 0.5:
            self.files[f"{self.running.prefix}_00001_.mp4"] = Disk(self.running.prefix, now, whole=False)
        self.pending, self.running, self.history, self.number = [], None, {}, 0
        self.down_until, self.wedged = now + pause, False

    def interrupt(self, now: float) -> None:
        """Let a stranger stop what runs."""
        self.to(now)
        if self.running:
            self.history[self.running.prompt] = Entry(
                self.running.prompt, Ended.INTERRUPTED, prefixes=(self.running.prefix,)
            )
            self.running = None
        self.to(now)

    def clear(self, now: float) -> None:
        """Let a stranger clear the queue."""
        self.to(now)
        self.pending = []

    def has(self, prefix: str) -> bool:
        """Whether a prompt is in the queue, or rendered and still to be had."""
        names = {file.name for entry in self.history.values() for file in entry.files}
        kept = any(disk.whole and disk.prefix == prefix and name in names for name, disk in self.files.items())
        return kept or any(held.ours and held.prefix == prefix for held in self.held())

    def _start(self, now: float) -> None:
        self.running = self.pending.pop(0)
        self.running.ends = now + self.seconds * (0.5 + self.rng.random())
        if self.running.ours:
            self.renders.append(self.running.prefix)

    def _finish(self, one: Posted) -> None:
        self.running = None
        ended = self.outcome(one)
        if ended is Ended.SUCCESS:
            number = next(n for n in range(1, 99) if f"{one.prefix}_{n:05}_.mp4" not in self.files)
            name = f"{one.prefix}_{number:05}_.mp4"
            self.files[name] = Disk(one.prefix if one.ours else "", one.ends)
            self.history[one.prompt] = Entry(
                one.prompt, Ended.SUCCESS, (File(name),), (one.prefix,), finished=BEGIN + one.ends
            )
        else:
            self.history[one.prompt] = Entry(
                one.prompt, Ended.ERROR, (), (one.prefix,), node="KSampler #3", exception=str(ended), message="raised"
            )
        if self.pending and not self.wedged:
            self._start(one.ends)
