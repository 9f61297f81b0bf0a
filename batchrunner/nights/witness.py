"""The witness of a simulated night: it sees runner and server at once, and holds what happens against the promises.

The promises are numbered as P1 to P14. What can be judged at the moment it happens is judged here; what only the end
shows is judged in `verdict`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from batchrunner import media
from batchrunner.core.facts import Accepted, Claimed, Fact, Lost, Rendered, Saved, Why
from batchrunner.core.identity import file_prefix, parse_prefix
from batchrunner.sim.record import Event, What

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

    from batchrunner.sim.clock import VirtualLoop
    from batchrunner.sim.misfortune import Misfortune
    from batchrunner.sim.process import Process
    from batchrunner.sim.prompts import Prompt
    from batchrunner.sim.server import Simulator

_ENOUGH = 100
_OPENS_WITHIN = 5.0
_ARRIVES_WITHIN = 60.0
"""A POST that is accepted later than this after it was sent may meet its own repetition."""
_PROOFS = {Why.ERROR: What.FAILED, Why.INTERRUPTED: What.INTERRUPTED, Why.WITHDRAWN: What.DELETED}
_SHAM = frozenset({"replace-film", "login-page"})


@dataclass(slots=True)
class Witness:
    """Sees one night; `broken` lists every promise that was not kept, with its time."""

    loop: VirtualLoop
    batch: str
    folder: Path
    """Where the videos come home to."""
    sim: Simulator = field(init=False)
    broken: list[str] = field(default_factory=list)
    facts: list[tuple[float, Fact]] = field(default_factory=list)
    """Every fact ever committed, also to a ledger that was lost since."""
    misfortune: Misfortune = field(init=False)
    twins: int = 0
    """Prompts that were accepted twice because the first POST was on its way for longer than anybody waits."""
    _claimed: set[str] = field(default_factory=set)
    _attempts: defaultdict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    _lost: set[tuple[str, int]] = field(default_factory=set)
    _sent: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    _taken: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    _late: set[str] = field(default_factory=set)
    _opening: dict[str, tuple[Process, float]] = field(default_factory=dict)
    _whole: dict[tuple[str, int, int], bool] = field(default_factory=dict)

    def tell(self, says: str) -> None:
        """Note a broken promise. After a hundred the night is over: what never works would be tried for days."""
        self.broken.append(f"{self.loop.now:.3f} {says}")
        if self.is_hopeless() and self.loop.process is not self.loop.world:
            self.loop.process.kill()

    def is_hopeless(self) -> bool:
        """Tell whether there is nothing more to learn from this night."""
        return len(self.broken) >= _ENOUGH

    @property
    def happened(self) -> set[str]:
        """Return the kinds of mishaps so far."""
        return {mishap.do for _, mishap in self.misfortune.happened}

    # What the runner does.

    def passes(self, point: str) -> bool:
        """Pass a named point of the loop."""
        return self.loop.passes(point)

    def committed(self, fact: Fact) -> None:
        """Judge a fact at the moment it counts."""
        self.facts.append((self.loop.now, fact))
        self.loop.trace.note(self.loop.process.name, fact)
        match fact:
            case Claimed():
                self._judge_claim(fact)
            case Accepted():
                self._attempts[fact.job].add(fact.attempt)
            case Rendered():
                for file in fact.files:
                    self._opening[file.key] = (self.loop.process, self.loop.time() + _OPENS_WITHIN)
            case Saved():
                self._opening.pop(fact.file, None)
                self.look_at_files()
            case Lost():
                self._lost.add((fact.job, fact.attempt))
                self._judge_loss(fact)

    def posting(self, prompt: str) -> None:
        """P3: the claim is in the ledger before the first byte leaves."""
        self._sent[prompt].append(self.loop.now)
        if prompt not in self._claimed:
            self.tell(f"P3 {prompt} is posted without a claim")

    def withdrawing(self, prompts: Collection[str]) -> None:
        """P9: only our own prompts are ever deleted."""
        self._judge_ids(prompts)

    def viewing(self, name: str) -> None:
        """P8: a file is asked for within five seconds of the look that saw it."""
        process, until = self._opening.pop(name, (None, 0.0))
        if process is self.loop.process and self.loop.time() > until and not self.happened & {"disk-full", "suspend"}:
            self.tell(f"P8 {name} was asked for {self.loop.time() - until:.3f} s too late")

    def bug(self, says: str) -> None:
        """No error is expected that is nobody's."""
        self.tell(f"bug {says}")

    # What the server does.

    def served(self, event: Event) -> None:
        """P2: no prompt is accepted while the server has it, unless it was on its way for very long."""
        self.loop.trace.note("server", event.what, event.prompt_id, event.note)
        if event.what is not What.POSTED or event.prompt_id not in self._sent:
            return
        self._note_arrival(event.prompt_id)
        known = {prompt.id for prompt in self._prompts()} | self.sim.prompts.history.keys()
        if event.prompt_id in known and event.prompt_id in self._late:
            self.twins += 1
        elif event.prompt_id in known:
            self.tell(f"P2 {event.prompt_id} was accepted twice")

    def asked(self, path: str, said: object) -> None:
        """P9: nobody else's prompts are touched, and nothing is sent that could harm the server."""
        body = said if isinstance(said, dict) else {}
        if path.endswith("/queue"):
            self._judge_ids(body.get("delete", []))
        if body.get("clear") or path.endswith("/history") or {"number", "front"} & body.keys():
            self.tell(f"P9 {path} was sent {sorted(body)}")
        if path.endswith("/interrupt"):
            self._judge_ids([body.get("prompt_id", "")])

    # What lies on the disk.

    def look_at_files(self) -> None:
        """P6, P7: whatever has a final name is whole, and carries the workflow of one of our attempts."""
        for path in self.finals():
            stat = path.stat()
            key = (path.name, stat.st_mtime_ns, stat.st_size)
            if key not in self._whole:
                seen = media.inspect(path)
                self._whole[key] = seen.whole
                if not seen.whole:
                    self.tell(f"P6 {path.name} is no whole file: {seen.says}")
                elif not any(parse_prefix(self.batch, prefix) for prefix in seen.prefixes or ()):
                    self.tell(f"P7 {path.name} carries {seen.prefixes}")

    def finals(self) -> list[Path]:
        """Return every file with a final name."""
        return sorted(self.folder.rglob("*.mp4"))

    def jobs_at_home(self) -> Iterator[tuple[str, int]]:
        """Yield (job, attempt) of every video that is home."""
        for path in self.finals():
            for prefix in media.inspect(path).prefixes or ():
                if ours := parse_prefix(self.batch, prefix):
                    yield ours

    # Judging.

    def _note_arrival(self, prompt: str) -> None:
        """Note a POST that must have been under way for long: more arrive of late than were sent of late."""
        self._taken[prompt].append(self.loop.now)
        since = self.loop.now - _ARRIVES_WITHIN
        arrived, sent = (sum(at > since for at in times[prompt]) for times in (self._taken, self._sent))
        if arrived > sent:
            self._late.add(prompt)

    def _judge_claim(self, fact: Claimed) -> None:
        """P1, P4: an attempt begins only when every earlier one is known to be lost, or is nowhere."""
        self._claimed.add(fact.prompt)
        alive = {(fact.job, attempt) for attempt in self._attempts[fact.job]} - self._lost
        self._attempts[fact.job].add(fact.attempt)
        there = {ours for prefix in self._on_server() if (ours := parse_prefix(self.batch, prefix))}
        for job, attempt in sorted(alive & (there | set(self.jobs_at_home()))):
            self.tell(f"P1 {job} is claimed again though attempt {attempt} is not lost")

    def _judge_loss(self, fact: Lost) -> None:
        """P1: a loss is true at the moment it is written down."""
        prefix = file_prefix(self.batch, fact.job, fact.attempt)
        if not self._is_true(fact.why, prefix):
            self.tell(f"P1 {prefix} is called lost ({fact.why}) and is not: {fact.says}")

    def _is_true(self, why: Why, prefix: str) -> bool:
        """Tell whether what is said of an attempt can be seen on the server."""
        ended = {event.what for event in self.sim.record if event.prefix == prefix}
        match why:
            case Why.FORGOTTEN:
                return prefix not in self._remembered()
            case Why.EXPIRED:
                return not (self.sim.folder / "output" / f"{prefix}_00001_.mp4").exists()
            case Why.FOREIGN | Why.UNUSABLE:
                return bool(self.happened & _SHAM)
            case _:
                return _PROOFS.get(why) in ended

    def _judge_ids(self, prompts: object) -> None:
        strange = set(map(str, prompts if isinstance(prompts, list | tuple | set) else [prompts])) - self._claimed
        if strange:
            self.tell(f"P9 prompts of nobody here: {sorted(strange)}")

    def _prompts(self) -> Iterator[Prompt]:
        """Yield what is pending and what runs."""
        yield from self.sim.prompts.pending
        if self.sim.prompts.running is not None:
            yield self.sim.prompts.running

    def _remembered(self) -> set[str]:
        """Return the prefixes that the server's queue or history holds."""
        history = {prefix for event in self.sim.record if (prefix := event.prefix) and self._in_history(event)}
        return {prompt.prefix for prompt in self._prompts()} | history

    def _in_history(self, event: Event) -> bool:
        return event.prompt_id in self.sim.prompts.history

    def _on_server(self) -> set[str]:
        """Return the prefixes of prompts that wait, run, or have a file there that is in the history."""
        output = self.sim.folder / "output"
        kept = {prefix for prefix in self._remembered() if (output / f"{prefix}_00001_.mp4").exists()}
        return {prompt.prefix for prompt in self._prompts()} | kept
