"""Who watches a batch, and the audience that keeps watching from harming it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from batchrunner.show.text import duration
from batchrunner.show.words import (
    Event,
    Weight,
    json_line,
    of_bug,
    of_fact,
    of_finish,
    of_note,
    of_server,
    tally,
    without,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from structlog.typing import FilteringBoundLogger

    from batchrunner.core.facts import Fact
    from batchrunner.core.identity import Json
    from batchrunner.show.scene import Scene
    from batchrunner.show.sink import Sink

HEARTBEAT = 60.0
"""Seconds between two signs of life where there is no live board."""


class Observer(Protocol):
    """Somebody who watches. Quick and synchronous: it is called in the loop."""

    def event(self, event: Event) -> None:
        """Hear what happened."""

    def tick(self, scene: Scene) -> None:
        """See how things stand, every second or so."""

    def close(self) -> None:
        """Leave everything tidy; nothing more will come."""


class Audience:
    """All who watch a batch. One who fails is shown out, the others are told, and the batch does not notice."""

    def __init__(self, observers: Iterable[Observer], secret: str = "") -> None:
        self._observers = list(observers)
        self._secret = secret

    def join(self, observer: Observer) -> None:
        """Let one more watch from now on."""
        self._observers.append(observer)

    def fact(self, fact: Fact, label: str = "") -> None:
        """Tell of a fact that changed something; `label` is the job's local name."""
        self.event(of_fact(fact, label))

    def server(self, at: float, url: str, state: str, says: str = "") -> None:
        """Tell that a server is now `state` (`up`, `away`, `denied`, …); `at` is the wall clock."""
        self.event(of_server(at, url, state, says))

    def note(self, at: float, says: str) -> None:
        """Tell something that is about no job in particular."""
        self.event(of_note(at, says))

    def bug(self, at: float, error: BaseException) -> None:
        """Tell of an error that should not be."""
        self.event(of_bug(at, error))

    def finished(self, at: float, counts: Mapping[str, int], code: int) -> None:
        """Tell how it all ended: wanted jobs per state, and the exit code."""
        self.event(of_finish(at, counts, code))

    def event(self, event: Event) -> None:
        """Tell of an event, without the secret."""
        told = without(event, self._secret)
        self._each(lambda observer: observer.event(told), event.at)

    def tick(self, at: float, scene: Callable[[], Scene]) -> None:
        """Show how things stand; a scene that can't be built is nobody's harm either."""
        self._each(lambda observer: observer.tick(scene()), at)

    def close(self) -> None:
        """Let everybody leave."""
        self._each(lambda observer: observer.close(), 0.0)
        self._observers.clear()

    def _each(self, call: Callable[[Observer], None], at: float) -> None:
        for observer in tuple(self._observers):
            if observer not in self._observers:
                continue
            try:
                call(observer)
            except Exception as error:  # noqa: BLE001 - a display that fails, however, must not cost a video
                self._observers.remove(observer)
                self.note(at, f"{type(observer).__name__} stopped showing anything: {type(error).__name__}")


class Journal:
    """Everything that happens, into `run.log`."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log

    def event(self, event: Event) -> None:
        """Write the event with all its fields."""
        record = {**event.fields, "at": event.at, "job": event.job}
        self._log.log(event.weight, event.name, **record, exc_info=event.error)

    def tick(self, scene: Scene) -> None:
        """Nothing: how things stand follows from what happened."""

    def close(self) -> None:
        """Nothing to tidy."""


class Lines:
    """A plain line per event, and a sign of life every minute: for a log, a pipe, a terminal that is none."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log
        self._shown = 0.0

    def event(self, event: Event) -> None:
        """Write the event in words."""
        self._log.log(event.weight, event.name, at=event.at, job=event.job, label=event.label, says=event.says)

    def tick(self, scene: Scene) -> None:
        """Write a sign of life if it is time for one."""
        if scene.elapsed - self._shown >= HEARTBEAT:
            self._shown = scene.elapsed
            self._log.info("heartbeat", at=scene.at, says=heartbeat(scene))

    def close(self) -> None:
        """Nothing to tidy."""


class JsonLines:
    """Every event as one line of JSON: what `run --json` prints."""

    def __init__(self, sink: Sink, batch: str) -> None:
        self._sink = sink
        self._batch = batch
        self._shown = 0.0

    def event(self, event: Event) -> None:
        """Write the event with all its fields."""
        self._sink.write(json_line(self._batch, event))

    def tick(self, scene: Scene) -> None:
        """Write a sign of life if it is time for one."""
        if scene.elapsed - self._shown >= HEARTBEAT:
            self._shown = scene.elapsed
            fields: dict[str, Json] = {"counts": {**scene.counts}, "seconds_left": scene.left}
            self.event(Event("heartbeat", scene.at, "", fields=fields, weight=Weight.DETAIL))

    def close(self) -> None:
        """Nothing to tidy."""


def heartbeat(scene: Scene) -> str:
    """Return in one line that, and what, is going on."""
    runs = [f"{stand.url} renders {stand.running}" for stand in scene.servers if stand.running]
    ails = [f"{stand.url} is {stand.state}" for stand in scene.servers if stand.state != "up"]
    left = [] if scene.left is None else [f"about {duration(scene.left)} left"]
    return "; ".join([tally(scene.counts), *left, *ails, *runs])
