"""The invariants of a simulated night: it sees runner and server at once, and holds what happens against the promises.

The promises are numbered as P1 to P14. What can be checked at the moment it happens is checked here; what only the end
shows is checked in `outcome`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING

from batchrunner.core.facts import Accepted, Claimed, Fact, Lost, Rendered, Saved, Why
from batchrunner.core.job import file_prefix, parse_prefix
from batchrunner.download import verify as media
from batchrunner.sim.record import SimEvent, What
from tests.lab.nights.life import POSTS_WITHIN, Life, may_exit, takes_prompts

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping
    from pathlib import Path

    from batchrunner.sim.server import Simulator
    from tests.lab.clock import VirtualLoop
    from tests.lab.nights.place import Place
    from tests.lab.process import Process

_ENOUGH = 100
_OPENS_WITHIN = 5.0
_PROOFS = {Why.ERROR: What.FAILED, Why.INTERRUPTED: What.INTERRUPTED, Why.WITHDRAWN: What.DELETED}
_SHAM = frozenset({"replace-film", "login-page", "page-403", "no-output"})
_DENIES = frozenset({"firewall", "page-403"})
_CAUSES = {
    Why.WRONG_CONTENT: _SHAM,
    Why.UNUSABLE: _SHAM,
    Why.INPUT_LOST: frozenset({"empty-inputs", "new-pod", "moves"}),
    Why.INPUT_REFUSED: frozenset({"refuse-uploads", "page-uploads", "page-403", "flaky"}),
}
"""Losses, and the faults one of which must have happened on the server."""
SERVER_GONE = "server gone"
"""Why an attempt is lost whose server was given up."""
AWAY_TOO_LONG = 600.0
"""Seconds in which a server brings nothing before others get what it held."""
_SLACK = 5.0
STUCK_AT_LEAST = 2700.0
"""Seconds that a prompt runs before it may be interrupted."""
_ASKED_WITHIN = 60.0
"""Seconds after its start in which a runner waits for servers that may hold something of an earlier ledger."""
_DELAYS = frozenset({"disk-full", "disk-error", "no-handles", "suspend", "stop"})
"""Faults of the runner with which it posts nothing."""
_WITHOUT_FILE = (Why.WRONG_CONTENT, Why.UNUSABLE)
_WITHOUT_FILE_JOBS, _UNDER_WAY = 3, 2
"""So many jobs may bring nothing on each server before a batch is stopped, and so many more are then queued there."""


@dataclass(slots=True)
class Invariants:
    """Sees one night; `broken` lists every promise that was not kept, with its time."""

    loop: VirtualLoop
    batch: str
    folder: Path
    """Where the videos come home to."""
    patience: float = inf
    grace: float = 60.0
    places: dict[str, Place] = field(default_factory=dict)
    """Every server, by its URL."""
    broken: list[str] = field(default_factory=list)
    facts: list[tuple[float, Fact]] = field(default_factory=list)
    """Every fact ever committed, also to a ledger that was lost since."""
    duplicates: int = 0
    """Prompts that were accepted twice because the first POST was on its way for longer than anybody waits."""
    given_up_doubles: int = 0
    """Prompts that were accepted while a server that had been given up still had the same job."""
    unasked_doubles: int = 0
    """Jobs that were claimed again because their server could not be asked and the ledger was lost."""
    pictures: Mapping[str, str] = field(default_factory=dict)
    """The sha256 of the input file that each job loads, where it loads one."""
    lives: list[Life] = field(default_factory=list)
    _empty: bool = True
    """The ledger knows of no prompt."""
    _known: set[tuple[str, int]] = field(default_factory=set)
    """Every attempt that the ledger knows of."""
    _given_up: set[tuple[str, int]] = field(default_factory=set)
    """Every attempt that was lost with its server."""
    _unasked: set[tuple[str, int]] = field(default_factory=set)
    """Every attempt of which a new ledger could not know, because its server did not answer."""
    _coming: dict[tuple[str, str], tuple[str, int]] = field(default_factory=dict)
    """Every file that is rendered and not at home yet, by server and name."""
    _claimed: dict[tuple[str, str], str] = field(default_factory=dict)
    """The prefix of every claim, by server and prompt."""
    _attempts: defaultdict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    _where: dict[tuple[str, int], str] = field(default_factory=dict)
    """The server of every attempt."""
    _lost: set[tuple[str, int]] = field(default_factory=set)
    _opening: dict[tuple[str, str], tuple[Process, float]] = field(default_factory=dict)
    _whole: dict[tuple[str, int, int], bool] = field(default_factory=dict)

    @property
    def sim(self) -> Simulator:
        """The first server, which is the only one of most nights."""
        return next(iter(self.places.values())).sim

    def tell(self, message: str) -> None:
        """Note a broken promise. After a hundred the night is over: what never works would be tried for days."""
        self.broken.append(f"{self.loop.now:.3f} {message}")
        if self.is_hopeless() and self.loop.process is not self.loop.world:
            self.loop.process.kill()

    def is_hopeless(self) -> bool:
        """Tell whether there is nothing more to learn from this night."""
        return len(self.broken) >= _ENOUGH

    @property
    def happened(self) -> set[str]:
        """Return the kinds of faults so far, anywhere."""
        return {do for place in self.places.values() for do in place.happened}

    # The lives of the runner.

    @property
    def life(self) -> Life:
        """The present life of the runner, or its last one."""
        return self.lives[-1]

    def born(self, process: Process, named: Collection[str]) -> None:
        """See a runner start with these servers."""
        held = any(True for place in self.places.values() for _ in self._held(place))
        self.lives.append(Life(process, self.loop.now, frozenset(named), self._empty and not held))

    def died(self, code: int) -> None:
        """P5, P15: a runner ends with a code that is right, and not without having posted anything."""
        life = self.life
        life.ended = self.loop.now
        places = self.places.values()
        fruitless = self._is_fruitless()
        if not may_exit(
            code, life, places, patience=self.patience, now=self.loop.now, empty=self._empty, fruitless=fruitless
        ):
            self.tell(f"P5 a runner ended with {code}")
        if life.posted_at is None and code != 2:
            self._check_start(life.waited(self.loop.now - life.process.slept))

    def _is_fruitless(self) -> bool:
        burned = {fact.job for _, fact in self.facts if isinstance(fact, Lost) and fact.burns}
        return len(burned) >= _WITHOUT_FILE_JOBS and not any(isinstance(fact, Saved) for _, fact in self.facts)

    # What the runner does.

    def passes(self, point: str) -> bool:
        """Pass a named point of the loop."""
        return self.loop.passes(point)

    def committed(self, fact: Fact) -> None:
        """Judge a fact at the moment it counts."""
        self.facts.append((self.loop.now, fact))
        if isinstance(fact, Claimed | Accepted):
            self._where[fact.job, fact.attempt] = fact.server
            self._empty = False
        server = self._where.get((fact.job, fact.attempt), "")
        place = self.places.get(server)
        self.loop.trace.note(self.loop.process.name, f"{place.name if place else '-'}:", fact)
        match fact:
            case Claimed():
                self._check_claim(fact)
            case Accepted():
                self._attempts[fact.job].add(fact.attempt)
            case Rendered():
                for file in fact.files:
                    self._coming[server, file.key] = fact.job, fact.attempt
                    self._opening[server, file.key] = (self.loop.process, self.loop.time() + _OPENS_WITHIN)
            case Saved():
                self._opening.pop((server, fact.file), None)
                self._coming.pop((server, fact.file), None)
                self.check_files()
            case Lost() if place:
                self._check_loss(fact, place)
                self._lost.add((fact.job, fact.attempt))
                self._coming = {at: ours for at, ours in self._coming.items() if ours != (fact.job, fact.attempt)}
        self._known.add((fact.job, fact.attempt))

    def polled(self, server: str) -> None:
        """P8: with the first good poll of a life its files there are to be asked for."""
        now, first = self.loop.time(), server not in self.life.heard
        self.life.heard[server] = now
        if first:
            for at in [at for at in self._coming if at[0] == server]:
                self._opening[at] = (self.loop.process, now + _OPENS_WITHIN)

    def submitting(self, server: str, prompt: str) -> None:
        """P3: the claim is in the ledger, with its server, before the first byte leaves."""
        prefix = self._claimed.get((server, prompt))
        if prefix is None:
            self.tell(f"P3 {prompt} is posted to {server} without a claim")
        self.places[server].arrivals.send(prefix or prompt)
        if self.life.posted_at is None:
            self.life.posted_at = self.loop.time()
            self._check_start(self.life.waited(0.0))

    def withdrawing(self, server: str, prompts: Collection[str]) -> None:
        """P9: only our own prompts are ever deleted."""
        self._check_ids(self.places[server], prompts)

    def viewing(self, server: str, name: str) -> None:
        """P8: a file is asked for within five seconds of the look that saw it, and not before any good look."""
        if server not in self.life.heard:
            self.tell(f"P8 {name} was asked for before {server} was polled")
        process, until = self._opening.pop((server, name), (None, 0.0))
        if process is self.loop.process and self.loop.time() > until and not self.happened & {"disk-full", "suspend"}:
            self.tell(f"P8 {name} was asked for {self.loop.time() - until:.3f} s too late")

    def bug(self, message: str) -> None:
        """No error is expected that is nobody's."""
        self.tell(f"bug {message}")

    def forgot(self) -> None:
        """Take into account that the ledger was lost: nobody can know any more of a POST that is on its way."""
        self._empty = True
        self._known.clear()
        self._coming.clear()
        for place in self.places.values():
            place.arrivals.forget()

    def took_back(self, attempts: Iterable[tuple[str, int]]) -> None:
        """Take into account that a power cut took the last facts of these attempts: nobody can know their files."""
        gone = set(attempts)
        self._coming = {at: ours for at, ours in self._coming.items() if ours not in gone}

    # What the servers do.

    def served(self, place: Place, event: SimEvent) -> None:
        """P1, P2: no prompt is accepted while this server or another has it, unless it was on its way for very long."""
        self.loop.trace.note(place.name, event.what, event.prompt_id, event.note)
        if event.what is What.LOADED:
            self._check_picture(place, event)
        if event.what is not What.POSTED or not parse_prefix(self.batch, event.prefix):
            return
        place.arrivals.take(event.prefix)
        known, elsewhere = place.knows(event), list(self._elsewhere(place, event.prefix))
        if (known or elsewhere) and place.arrivals.is_late(event.prefix):
            self.duplicates += 1
        elif known:
            self.tell(f"P2 {event.prompt_id} ({event.prefix}) was accepted twice by {place.name}")
        elif elsewhere:
            self.tell(f"P1 {event.prefix} was accepted by {place.name} though {elsewhere} is not lost")
        job = (parse_prefix(self.batch, event.prefix) or ("", 0))[0]
        others = (other for other in self.places.values() if other is not place)
        held = {ours for other in others for ours in self._held(other) if ours[0] == job}
        self.given_up_doubles += not held.isdisjoint(self._given_up)

    def _check_picture(self, place: Place, event: SimEvent) -> None:
        """P18: what a prompt of ours loads is its job's own picture."""
        ours = parse_prefix(self.batch, event.prefix)
        if ours and event.note != self.pictures.get(ours[0]):
            self.tell(f"P18 {event.prefix} read another's picture on {place.name}")

    def asked(self, place: Place, path: str, said: object) -> None:
        """P9: nobody else's prompts are touched, and nothing is sent that could harm the server."""
        body = said if isinstance(said, dict) else {}
        if path.endswith("/queue"):
            self._check_ids(place, body.get("delete", []))
        if body.get("clear") or path.endswith("/history") or {"number", "front"} & body.keys():
            self.tell(f"P9 {path} of {place.name} was sent {sorted(body)}")
        if path.endswith("/interrupt"):
            self._check_interrupt(place, str(body.get("prompt_id", "")))

    # What lies on the disk.

    def check_files(self) -> None:
        """P6, P7: whatever has a final name is whole, and carries the workflow of one of our attempts."""
        for path in self.finals():
            stat = path.stat()
            key = (path.name, stat.st_mtime_ns, stat.st_size)
            if key not in self._whole:
                seen = media.inspect(path)
                self._whole[key] = seen.whole
                if not seen.whole:
                    self.tell(f"P6 {path.name} is no whole file: {seen.message}")
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

    def blocked(self) -> set[str]:
        """Return the jobs of which a firewall kept out a prompt."""
        prompts = {prompt for place in self.places.values() for prompt in place.injector.blocked}
        prefixes = (prefix for (_, prompt), prefix in self._claimed.items() if prompt in prompts)
        return {ours[0] for prefix in prefixes if (ours := parse_prefix(self.batch, prefix))}

    # Judging.

    def _check_claim(self, fact: Claimed) -> None:
        """P1, P4: an attempt begins only when every earlier one is known to be lost, or is nowhere."""
        self._claimed[fact.server, fact.prompt] = fact.prefix
        alive = {(fact.job, attempt) for attempt in self._attempts[fact.job]} - self._lost
        self._attempts[fact.job].add(fact.attempt)
        if not alive:
            return
        there = {ours for place in self.places.values() for ours in self._held(place)} | set(self.jobs_at_home())
        for job, attempt in sorted(alive & there):
            if self._could_not_ask((job, attempt)):
                self._unasked.add((job, attempt))
                self.unasked_doubles += 1
                continue
            self.tell(f"P1 {job} is claimed again though attempt {attempt} is not lost")

    def _check_loss(self, fact: Lost, place: Place) -> None:
        """P1: a loss is true at the moment it is written down."""
        if not self._is_true(fact, place):
            prefix = file_prefix(self.batch, fact.job, fact.attempt)
            self.tell(f"P1 {prefix} is called lost ({fact.why}) on {place.name} and is not: {fact.message}")
        if str(fact.why) == SERVER_GONE:
            self._given_up.add((fact.job, fact.attempt))
        if fact.why in _WITHOUT_FILE and fact.burns and not any(isinstance(one, Saved) for _, one in self.facts):
            self._check_without_file(fact.job)

    def _check_without_file(self, job: str) -> None:
        """P17: a batch of which nothing was ever well is stopped after three jobs alike that bring nothing."""
        without_file = self.life.without_file
        without_file.append(job)
        most = (_WITHOUT_FILE_JOBS + _UNDER_WAY) * len(self.life.named)
        if len(without_file) == most + 1 and len(set(without_file)) >= _WITHOUT_FILE_JOBS:
            self.tell(f"P17 {len(without_file)} renders brought nothing, none ever did, and it goes on")

    def _check_start(self, waited: float) -> None:
        """P15: a new batch posts within a little more than a minute if any server takes prompts."""
        life = self.life
        if not life.new or waited <= POSTS_WITHIN or self.happened & _DELAYS:
            return
        able = [place.name for place in self.places.values() if takes_prompts(place, life)]
        if able:
            self.tell(f"P15 nothing was posted for {waited:.3f} s, though {', '.join(able)} would have taken it")

    def _check_interrupt(self, place: Place, prompt: str) -> None:
        """P9: only a prompt of ours is interrupted, and only one that hangs, is lost, or has run for very long."""
        self._check_ids(place, [prompt])
        prefix = place.prefixes.get(prompt, "")
        began = place.started(prompt)
        ran = 0.0 if began is None else self.loop.now - began
        over = parse_prefix(self.batch, prefix) in self._lost | set(self.jobs_at_home())
        if not (place.has_hung(prefix) or over or ran >= STUCK_AT_LEAST):
            self.tell(f"P9 {prefix} was interrupted on {place.name} after {ran:.0f} s, and did not hang")

    def _could_not_ask(self, ours: tuple[str, int]) -> bool:
        """P4: a ledger that is lost need not know what a server holds that did not answer for a minute."""
        holders = [place for place in self.places.values() if ours in self._held(place)]
        unheard = all(place.url not in self.life.heard for place in holders)
        waited = self.loop.time() - self.life.began >= _ASKED_WITHIN - _SLACK
        return ours not in self._known and bool(holders) and unheard and waited

    def _is_given_up(self, place: Place) -> bool:
        """Tell whether a server has brought nothing for so long that others may have what it held."""
        now, named = self.loop.time(), place.url in self.life.named
        limit = (AWAY_TOO_LONG if named else self.grace) - _SLACK
        silent = self.life.silence(place.url, now) >= limit
        idle = place.sim.wedged or any(hung.ended is None for hung in place.injector.hung)
        troubled = any(end >= self.loop.now - limit and end - at >= limit for at, end, _ in place.injector.windows())
        return silent or ((idle or troubled) and self.loop.now - self.life.began >= limit)

    def _is_true(self, fact: Lost, place: Place) -> bool:
        """Tell whether what is said of an attempt can be seen on its server."""
        prefix = file_prefix(self.batch, fact.job, fact.attempt)
        match fact.why:
            case Why.FORGOTTEN:
                later = {(fact.job, one) for one in self._attempts[fact.job] if one > fact.attempt}
                return prefix not in place.remembered() or not later <= self._lost
            case Why.EXPIRED:
                return not place.has_file(prefix)
            case why if why in _CAUSES:
                return bool(place.happened & _CAUSES[why])
            case _ if str(fact.why) == SERVER_GONE:
                return self._is_given_up(place)
            case _:
                proofs = {"stuck": place.has_hung(prefix), "denied": bool(place.happened & _DENIES)}
                return proofs.get(str(fact.why), _PROOFS.get(fact.why) in place.endings(prefix))

    def _check_ids(self, place: Place, prompts: object) -> None:
        """P9: an id is ours if it was claimed, or if an old server gave it to what we posted there."""
        ours = {prompt for _, prompt in self._claimed}
        ours |= {prompt for prompt, prefix in place.prefixes.items() if parse_prefix(self.batch, prefix)}
        strange = set(map(str, prompts if isinstance(prompts, list | tuple | set) else [prompts])) - ours
        if strange:
            self.tell(f"P9 prompts of nobody here: {sorted(strange)} on {place.name}")

    def _elsewhere(self, place: Place, prefix: str) -> Iterator[str]:
        """Yield where else a job is that is posted now, by an attempt that is not lost."""
        job = (parse_prefix(self.batch, prefix) or ("", 0))[0]
        for other in self.places.values():
            for ours in self._held(other) if other is not place else ():
                if ours[0] == job and ours not in self._lost | self._unasked:
                    yield f"{other.name}'s attempt {ours[1]}"

    def _held(self, place: Place) -> Iterator[tuple[str, int]]:
        """Yield (job, attempt) of everything of ours that a server holds, and that a runner can know of."""
        for prefix in place.held():
            ours = parse_prefix(self.batch, prefix)
            if ours and not place.arrivals.is_stray(prefix):
                yield ours
