"""The queue, the history, and `POST /prompt`, which fills the queue (docs/comfyui.md §2, §5, §6)."""

from __future__ import annotations

import heapq
import itertools
import json
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from batchrunner.sim.generic import generic_classes
from batchrunner.sim.machine import InternalServerError, WedgedError
from batchrunner.sim.record import What
from batchrunner.sim.validate import Checked, Validation, error

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from batchrunner.core.job import Json
    from batchrunner.sim.server import Simulator

HISTORY_LIMIT = 10_000
_NO_PROMPT = error("no_prompt", "No prompt provided", "No prompt provided")
_BAD_ID = error("invalid_prompt_id", "The prompt id is no canonical lowercase UUID")


class SimPrompt(NamedTuple):
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

    pending: list[SimPrompt] = field(default_factory=list)
    """A heap, shown in heap order (docs/comfyui.md §5)."""
    running: SimPrompt | None = None
    history: dict[str, dict[str, Json]] = field(default_factory=dict)
    number: int = 0
    _shown: tuple[SimPrompt | None, ...] = ()
    """The prompts whose JSON `_text` holds."""
    _text: str = ""

    def next_number(self, *, front: bool) -> int:
        """Return the counter, negative for `front`, and increment it."""
        number = -self.number if front else self.number
        self.number += 1
        return number

    def push(self, prompt: SimPrompt) -> None:
        """Queue a prompt. Raises InternalServerError on a tie, with the prompt in the heap all the same."""
        try:
            heapq.heappush(self.pending, prompt)
        except TypeError:
            raise InternalServerError from None

    def pop(self) -> SimPrompt:
        """Make the first pending prompt the running one. Raises WedgedError on a tie, and that prompt is gone."""
        try:
            self.running = heapq.heappop(self.pending)
        except TypeError:
            raise WedgedError("two pending prompts with the same number and id") from None
        return self.running

    def finish(self, prompt: SimPrompt, entry: dict[str, Json]) -> list[str]:
        """Move the running prompt to history in one step; return the ids that history dropped for it."""
        dropped: list[str] = []
        if len(self.history) > HISTORY_LIMIT:
            dropped = [next(iter(self.history))]
            del self.history[dropped[0]]
        self.history[prompt.id] = {"prompt": prompt.row(), **entry}
        self.running = None
        return dropped

    def delete(self, ids: Collection[str]) -> Iterator[SimPrompt]:
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
            raise InternalServerError from None

    @property
    def remaining(self) -> int:
        """Return how many prompts run or wait."""
        return len(self.pending) + (self.running is not None)

    def queue(self) -> str:
        """Return the JSON of `GET /queue`, kept until the queue changes because clients poll it."""
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


def post_prompt(simulator: Simulator, body: Json, peer: str) -> tuple[int, dict[str, Json]]:
    """Do what `POST /prompt` does, in ComfyUI's order; return status and body. With 200 the prompt is queued.

    Raises InternalServerError where ComfyUI answers 500, which may be after the prompt was queued (docs/comfyui.md §2).
    """
    given = _members(body)
    number = _number(simulator, given)
    if "prompt" not in given:
        return _refuse(simulator, peer, _NO_PROMPT)
    prompt_id = _prompt_id(simulator, given)
    if prompt_id is None:
        return _refuse(simulator, peer, _BAD_ID)
    workflow, checked = _checked(simulator, given)
    extra_data = _extra_data(simulator, given)
    if checked.error is not None:
        return _refuse(simulator, peer, checked.error, checked.node_errors)
    simulator.accept(SimPrompt(number, prompt_id, workflow, extra_data, checked.outputs), peer)
    return 200, {"prompt_id": prompt_id, "number": number, "node_errors": checked.node_errors}


def _refuse(
    simulator: Simulator, peer: str, why: dict[str, Json], node_errors: dict[str, Json] | None = None
) -> tuple[int, dict[str, Json]]:
    simulator.record.add(What.REFUSED, peer=peer, note=str(why["type"]))
    return 400, {"error": why, "node_errors": node_errors or {}}


def _members(body: Json) -> dict[str, Json]:
    if body is None or isinstance(body, bool | int | float):
        raise InternalServerError
    return body if isinstance(body, dict) else {}


def _number(simulator: Simulator, given: dict[str, Json]) -> float:
    """Return the prompt's number: the counter, which refused prompts use up too, or the one that was sent."""
    if "number" not in given:
        return simulator.prompts.next_number(front=bool(given.get("front")))
    sent = given["number"]
    if not isinstance(sent, str | int | float):
        raise InternalServerError
    try:
        return float(sent)
    except (ValueError, OverflowError):
        raise InternalServerError from None


def _prompt_id(simulator: Simulator, given: dict[str, Json]) -> str | None:
    """Return the client's id as text, or one of the server's; None if a new server refuses the client's."""
    sent = given.get("prompt_id")
    fresh = "prompt_id" not in given or (simulator.new_server and sent is None)
    if fresh or simulator.own_ids:
        return simulator.fresh_id()
    if simulator.new_server and not _canonical(sent):
        return None
    return str(sent)


def _canonical(sent: Json) -> bool:
    try:
        return isinstance(sent, str) and str(uuid.UUID(sent)) == sent
    except ValueError:
        return False


def _checked(simulator: Simulator, given: dict[str, Json]) -> tuple[dict[str, Json], Checked]:
    workflow = given["prompt"]
    if workflow in ([], ""):
        workflow = {}
    if not isinstance(workflow, dict):
        raise InternalServerError
    targets = given.get("partial_execution_targets")
    only = [name for name in targets if isinstance(name, str)] if isinstance(targets, list) else None
    return workflow, _validation(simulator, workflow).check(only)


def _validation(simulator: Simulator, workflow: dict[str, Json]) -> Validation:
    if not simulator.strict:
        simulator.catalogue.update(generic_classes(simulator.known, workflow, simulator.folders.inputs))
    return Validation(
        simulator.catalogue,
        workflow,
        strict=simulator.new_server,
        any_choice=not simulator.strict,
        has_file=lambda value: not simulator.strict or simulator.folders.named(value).exists(),
    )


def _extra_data(simulator: Simulator, given: dict[str, Json]) -> Json:
    """Return the extra data with the client id in it; 0.3.64 accepts anything where there is no id to put in."""
    extra = given.get("extra_data", {})
    if not isinstance(extra, dict):
        if simulator.new_server or "client_id" in given:
            raise InternalServerError
        return extra
    if "client_id" in given:
        extra["client_id"] = given["client_id"]
    if simulator.new_server:
        extra["create_time"] = int(simulator.wall() * 1000)
    return extra
