"""The queue and the history: what a server knows of its prompts, all of it in memory (PROTOCOL.md §2, §5)."""

from __future__ import annotations

import heapq
import itertools
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from batchrunner.sim.failures import TroubleError, WedgedError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from batchrunner.core.identity import Json

HISTORY_LIMIT = 10_000


class Prompt(NamedTuple):
    """One accepted prompt, ordered as ComfyUI orders it: a tie on number and id compares workflows, and raises."""

    number: float
    id: str
    workflow: dict[str, Json]
    extra_data: Json
    outputs: list[str]

    @property
    def prefix(self) -> str:
        """Return the filename prefix of the first save node that has one, or nothing."""
        nodes = (node.get("inputs") for node in self.workflow.values() if isinstance(node, dict))
        prefixes = (
            inputs["filename_prefix"] for inputs in nodes if isinstance(inputs, dict) if "filename_prefix" in inputs
        )
        return str(next(prefixes, ""))

    @property
    def client_id(self) -> Json:
        """Return the `client_id` that its messages go to, or None."""
        return self.extra_data.get("client_id") if isinstance(self.extra_data, dict) else None

    def row(self) -> list[Json]:
        """Return the entry of `/queue`, which is also the `prompt` of a history entry."""
        return [self.number, self.id, self.workflow, self.extra_data, list(self.outputs)]


@dataclass(slots=True)
class Prompts:
    """Pending, running and finished prompts, and the counter that numbers them."""

    pending: list[Prompt] = field(default_factory=list)
    """A heap, shown in heap order (PROTOCOL.md §2)."""
    running: Prompt | None = None
    history: dict[str, dict[str, Json]] = field(default_factory=dict)
    number: int = 0
    _shown: tuple[Prompt | None, ...] = ()
    """The queue of which `_text` is the JSON."""
    _text: str = ""

    def next_number(self, *, front: bool) -> int:
        """Return the counter, negative for `front`, and count on."""
        number = -self.number if front else self.number
        self.number += 1
        return number

    def push(self, prompt: Prompt) -> None:
        """Queue a prompt. Raises TroubleError on a tie, with the prompt in the heap all the same."""
        try:
            heapq.heappush(self.pending, prompt)
        except TypeError:
            raise TroubleError from None

    def pop(self) -> Prompt:
        """Make the first pending prompt the running one. Raises WedgedError on a tie, and that prompt is gone."""
        try:
            self.running = heapq.heappop(self.pending)
        except TypeError:
            raise WedgedError("two pending prompts with the same number and id") from None
        return self.running

    def finish(self, prompt: Prompt, entry: dict[str, Json]) -> list[str]:
        """Move the running prompt to history in one step; return the ids that history dropped for it."""
        dropped: list[str] = []
        if len(self.history) > HISTORY_LIMIT:
            dropped = [next(iter(self.history))]
            del self.history[dropped[0]]
        self.history[prompt.id] = {"prompt": prompt.row(), **entry}
        self.running = None
        return dropped

    def delete(self, ids: Collection[str]) -> Iterator[Prompt]:
        """Take one pending prompt out for each id that there is; yield it."""
        for wanted in ids:
            found = next((prompt for prompt in self.pending if prompt.id == wanted), None)
            if found is not None:
                self.pending = [prompt for prompt in self.pending if prompt is not found]
                self._heapify()
                yield found

    def _heapify(self) -> None:
        try:
            heapq.heapify(self.pending)
        except TypeError:
            raise TroubleError from None

    @property
    def remaining(self) -> int:
        """Return how many prompts run or wait."""
        return len(self.pending) + (self.running is not None)

    def queue(self) -> str:
        """Return what `GET /queue` answers, as JSON: the same text until the queue changes, for it is asked a lot."""
        shown = (self.running, *self.pending)
        if shown != self._shown:
            self._shown = shown
            running: list[Json] = [self.running.row()] if self.running else []
            pending: list[Json] = [prompt.row() for prompt in self.pending]
            self._text = json.dumps({"queue_running": running, "queue_pending": pending})
        return self._text

    def page(self, most: int | None, offset: int) -> dict[str, Json]:
        """Return `most` history entries from `offset` on; a negative offset means the last ones."""
        if offset < 0 and most is not None:
            offset = len(self.history) - most
        start = max(offset, 0)
        stop = None if most is None else start + max(most, 0)
        return dict(itertools.islice(self.history.items(), start, stop))
