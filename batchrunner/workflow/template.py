"""A workflow with named parameters: one parameter drives every place that must agree."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from batchrunner.core.identity import PREFIX_INPUT
from batchrunner.workflow.graph import KEPT_INPUT, saves
from batchrunner.workflow.select import select_input
from batchrunner.workflow.values import as_sent, narrowest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchrunner.core.identity import Json
    from batchrunner.core.job import Scalar
    from batchrunner.workflow.graph import Graph, Node
    from batchrunner.workflow.limits import Limit
    from batchrunner.workflow.select import Target


@dataclass(frozen=True, slots=True)
class Param:
    """A name that a sweep may set, the inputs it drives, and what fits all of them."""

    name: str
    targets: tuple[Target, ...]
    limit: Limit


def make_param(graph: Graph, name: str, selectors: Sequence[str]) -> Param:
    """Return the parameter that drives the inputs named by `selectors`.

    Raises:
        WorkflowError: a selector names no input of its own.
        UnfitError: no value could suit all of them.

    """
    targets = tuple(select_input(graph, selector) for selector in selectors)
    return Param(name, targets, narrowest([target.limit for target in targets]))


@dataclass(frozen=True)
class Template:
    """A checked graph and its parameters. `required` ones have no sensible value of their own."""

    graph: Graph
    params: Mapping[str, Param] = field(default_factory=dict)
    required: frozenset[str] = frozenset()

    @cached_property
    def own(self) -> dict[str, Scalar]:
        """What each parameter is where nobody sets it: the value in the graph."""
        return {
            name: self._own(param.targets[0])
            for name, param in self.params.items()
            if param.targets and name not in self.required
        }

    @cached_property
    def patches(self) -> dict[str, tuple[tuple[str, Target], ...]]:
        """Node id -> (parameter, target) of each of its inputs that a parameter drives."""
        found: dict[str, list[tuple[str, Target]]] = {}
        for name, param in self.params.items():
            for target in param.targets:
                found.setdefault(target.node, []).append((name, target))
        return {node: tuple(pairs) for node, pairs in found.items()}

    def inputs(self, node: str, values: Mapping[str, Scalar]) -> dict[str, Json]:
        """Return a node's inputs with `values` in their places; a parameter without a value keeps the graph's."""
        patched = dict(self.graph[node].inputs)
        for name, target in self.patches.get(node, ()):
            if name in values:
                patched[target.input] = as_sent(target.limit.kind, values[name])
        return patched

    def fill(self, values: Mapping[str, Scalar], prefix: str) -> dict[str, Json]:
        """Return the workflow to send: `values` in their places, `prefix` on every node that saves a file.

        Nodes that nobody touches are shared between calls: a caller that changes one copies it first.
        """
        filled = dict(self._payloads)
        for node in self.patches.keys() | set(self.saves):
            inputs = self.inputs(node, values)
            if node in self.saves:
                inputs[PREFIX_INPUT] = prefix
            filled[node] = {"inputs": inputs, "class_type": self.graph[node].class_type, **self.graph[node].rest}
        return filled

    def driven(self, name: str, value: Scalar) -> dict[str, Json]:
        """Return only the nodes that one parameter drives, as they are sent when it is `value`."""
        nodes: dict[str, Json] = {}
        for target in self.params[name].targets:
            class_type = self.graph[target.node].class_type
            nodes[target.node] = {"inputs": self.inputs(target.node, {name: value}), "class_type": class_type}
        return nodes

    def keeps(self, values: Mapping[str, Scalar]) -> tuple[str, ...]:
        """Return the ids of the nodes whose files can be fetched when the parameters are `values`."""
        return tuple(node for node in self.saves if self.inputs(node, values).get(KEPT_INPUT) is not False)

    @cached_property
    def saves(self) -> tuple[str, ...]:
        """The ids of the nodes that write files."""
        return saves(self.graph)

    @cached_property
    def _payloads(self) -> dict[str, Json]:
        payloads: dict[str, Json] = {}
        for key, node in self.graph.items():
            payloads[key] = node.payload()
        return payloads

    def _own(self, target: Target) -> Scalar:
        value = _node_input(self.graph[target.node], target.input)
        return as_sent(target.limit.kind, value)


def _node_input(node: Node, name: str) -> Scalar:
    value = node.inputs[name]
    return None if isinstance(value, list | dict) else value
