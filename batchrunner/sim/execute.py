"""One prompt from start to end: which nodes run, what they cost, how it ends, and the history entry it leaves."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from batchrunner.sim.failures import InterruptedPromptError, NodeFailure, WedgedError
from batchrunner.sim.graph import BrokenNodeError, Graph, Shot
from batchrunner.sim.progress import Progress
from batchrunner.sim.record import What
from batchrunner.sim.save import Saver

if TYPE_CHECKING:
    from batchrunner.core.identity import Json
    from batchrunner.sim.cache import Shown
    from batchrunner.sim.graph import Node
    from batchrunner.sim.machine import Machine
    from batchrunner.sim.prompts import Prompt

_MOST_STEPS = 100
"""A sampler of more steps moves in this many."""


class Execution:
    """One prompt on one machine."""

    def __init__(self, machine: Machine, prompt: Prompt) -> None:
        self._machine = machine
        self._prompt = prompt
        self._progress = Progress(machine.sockets, prompt.id, prompt.client_id)
        self._messages: list[Json] = []
        self._outputs: dict[str, Json] = {}
        self._executed: list[Json] = []
        self.node: str | None = None
        """The node that runs now."""
        self.ending: tuple[What, str] = (What.SUCCEEDED, "")
        """How it ended, for the record."""

    async def run(self) -> dict[str, Json]:
        """Execute and return `outputs`, `status` and `meta`. Raises WedgedError where ComfyUI's thread dies."""
        self._machine.interrupted = False
        graph = self._opened()
        try:
            await self._execute(graph)
        except InterruptedPromptError:
            self.ending = (What.INTERRUPTED, "")
            self._say("execution_interrupted", self._where(graph))
        except NodeFailure as failure:
            self.ending = (What.FAILED, failure.kind)
            self._say("execution_error", self._where(graph) | self._failed(graph, failure))
        else:
            self._say("execution_success", {})
            return self._entry("success")
        return self._entry("error")

    def _opened(self) -> Graph:
        if self._prompt.extra_data is None or isinstance(self._prompt.extra_data, bool | int | float):
            raise WedgedError("extra_data is no object")
        self._say("execution_start", {})
        try:
            return Graph(self._prompt.workflow)
        except BrokenNodeError as broken:
            raise WedgedError(f"node {broken} has no inputs") from None

    async def _execute(self, graph: Graph) -> None:
        cache = self._machine.cache
        cache.begin({graph.signature(name) for name in graph.nodes})
        cached = [name for name in graph.nodes if cache.get(graph.signature(name)) is not None]
        listed: list[Json] = list(cached)
        self._say("execution_cached", {"nodes": listed})
        for name in self._prompt.outputs:
            if name in cached:
                self._from_cache(name, cache.get(graph.signature(name)) or {})
        for name in graph.order(self._prompt.outputs, cached):
            await self._node(graph, graph.nodes[name])

    def _from_cache(self, name: str, shown: Shown) -> None:
        self._show(name, shown)
        files = [
            item for value in shown.values() if isinstance(value, list) for item in value if isinstance(item, dict)
        ]
        note = ", ".join(str(file.get("filename")) for file in files)
        self._machine.record.add(What.CACHED, self._prompt.id, self._prompt.prefix, note=note)

    async def _node(self, graph: Graph, node: Node) -> None:
        """Run one node, unless an equal one has run before."""
        self.node = node.id
        signature = graph.signature(node.id)
        known = self._machine.cache.get(signature)
        if known is None:
            self._progress.start(node.id)
            self._check_interrupt()
            fault = self._machine.fault(self._prompt, node.id) if self._machine.fault else None
            if fault is not None:
                raise fault
            if self._machine.hold:
                await self._machine.hold(self._prompt, node.id)
                self._check_interrupt()
            known = await self._run(graph, node, signature)
            self._machine.cache.put(signature, known)
            self._executed.append(node.id)
            self._progress.finish(node.id)
        self._show(node.id, known)

    async def _run(self, graph: Graph, node: Node, signature: str) -> Shown:
        kind = self._machine.catalogue[node.class_type].kind
        if kind == "save":
            return await Saver(self._machine, self._prompt, node, graph.shot(node.id)).save()
        if kind == "sample":
            await self._sample(node, graph.shot(node.id), signature)
            self._note(What.RENDERED, signature)
            return {}
        if kind == "load":
            self._check_model(node)
        await asyncio.sleep(self._machine.pace.fixed_cost(kind))
        if kind == "encode":
            self._note(What.ENCODED, signature)
        return {}

    async def _sample(self, node: Node, shot: Shot, signature: str) -> None:
        """Take the steps one by one: an interrupt acts after the step it falls into (PROTOCOL.md §5)."""
        seconds = self._machine.pace.sampling(shot.volume, shot.steps, signature)
        slices = max(1, min(shot.steps, _MOST_STEPS))
        for index in range(slices):
            await asyncio.sleep(seconds / slices)
            self._check_interrupt()
            self._progress.step(node.id, (index + 1) * shot.steps // slices, shot.steps)

    def _check_interrupt(self) -> None:
        if self._machine.interrupted:
            self._machine.interrupted = False
            raise InterruptedPromptError

    def _check_model(self, node: Node) -> None:
        for key, wanted in self._machine.catalogue[node.class_type].inputs.items():
            value = node.inputs.get(key)
            if wanted.late and value not in wanted.choices:
                message = f"Model in folder 'checkpoints' with filename '{value}' not found.\n"
                raise NodeFailure("FileNotFoundError", message)

    def _show(self, name: str, shown: Shown) -> None:
        if shown:
            self._outputs[name] = shown
            message: dict[str, Json] = {
                "node": name,
                "display_node": name,
                "output": shown,
                "prompt_id": self._prompt.id,
            }
            self._progress.to_client("executed", message)

    def _note(self, what: What, note: str) -> None:
        self._machine.record.add(what, self._prompt.id, self._prompt.prefix, note=note)

    def _say(self, event: str, details: dict[str, Json]) -> None:
        stamp = int(self._machine.wall() * 1000)
        message: dict[str, Json] = {"prompt_id": self._prompt.id, **details, "timestamp": stamp}
        self._messages.append([event, message])
        if event == "execution_interrupted":
            self._machine.sockets.tell(event, message)
        else:
            self._progress.to_client(event, message)

    def _where(self, graph: Graph) -> dict[str, Json]:
        name = self.node or ""
        node_type = graph.nodes[name].class_type if name in graph.nodes else ""
        return {"node_id": name, "node_type": node_type, "executed": list(self._executed)}

    def _failed(self, graph: Graph, failure: NodeFailure) -> dict[str, Json]:
        node = graph.nodes[self.node or ""]
        return {
            "exception_message": failure.message,
            "exception_type": failure.kind,
            "traceback": [f'  File "execution.py", in execute\n    {failure.kind}: {failure.message}'],
            "current_inputs": {key: [value] for key, value in node.inputs.items()},
            "current_outputs": list(graph.nodes),
        }

    def _entry(self, status: str) -> dict[str, Json]:
        meta: dict[str, Json] = {
            name: {"node_id": name, "display_node": name, "parent_node": None, "real_node_id": name}
            for name in self._outputs
        }
        completed = status == "success"
        told: dict[str, Json] = {"status_str": status, "completed": completed, "messages": self._messages}
        return {"outputs": self._outputs, "status": told, "meta": meta}
