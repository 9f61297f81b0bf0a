"""A workflow with named parameters: one parameter drives every place that must agree.

An input is named by node id (`4.length`), by title (`@Positive prompt.text`), or by a class that occurs once
(`KSampler.seed`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from batchrunner.core.job import PREFIX_INPUT, job_digest, node_text
from batchrunner.text import did_you_mean, listing, quote
from batchrunner.workflow.graph import WorkflowError, is_link, label, leaves, links, sources_first
from batchrunner.workflow.saving import KEPT_INPUT, prefix_inputs
from batchrunner.workflow.values import MEDIA, Limit, as_sent, limit_of, narrowest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchrunner.core.job import Json, Scalar
    from batchrunner.workflow.graph import Graph, Node

_MOST_KEPT = 20_000
"""Texts kept per node; a seed per job would otherwise keep one text per job."""


@dataclass(frozen=True, slots=True)
class InputTarget:
    """One input of one node, and what it takes."""

    node: str
    input: str
    """As it was written: `seed`, or `lora_1.strength` for a value inside an object."""
    path: tuple[str, ...]
    """The keys that lead to the value: `("lora_1", "strength")`."""
    limit: Limit


@dataclass(frozen=True, slots=True)
class Param:
    """A name that a sweep may set, the inputs it drives, and what fits all of them."""

    name: str
    targets: tuple[InputTarget, ...]
    limit: Limit
    media: frozenset[str] | None = None
    """The kinds of file that its inputs take (`MEDIA`), empty if that is not known; None if it takes no file."""


def make_param(graph: Graph, name: str, selectors: Sequence[str], *, upload: bool | None = None) -> Param:
    """Return the parameter that drives the inputs named by `selectors`; `upload`: it takes local files, or none.

    Unless that is said, a parameter takes files if it drives an input of a loader that is known (`MEDIA`).

    Raises:
        WorkflowError: a selector names no input of its own.
        UnfitError: no value could suit all of them.

    """
    targets = tuple(select_input(graph, selector) for selector in selectors)
    known = [MEDIA.get((graph[target.node].class_type, target.input)) for target in targets]
    kinds = frozenset(kind for kind in known if kind)
    takes_files = bool(kinds) if upload is None else upload
    limits = [Limit("text") if takes_files else target.limit for target in targets]
    return Param(name, targets, narrowest(limits), kinds if takes_files else None)


def select_input(graph: Graph, selector: str) -> InputTarget:
    """Return the one input that `selector` names; a dot in an input's own name comes before a value inside an object.

    Raises:
        WorkflowError: it names none, several, a link, or the file prefix, which is the runner's; lists what there is.

    """
    node, name = _split(graph, selector)
    path = _path(graph[node].inputs, name)
    if path is None:
        free = _own_inputs(graph[node])
        near = did_you_mean(name, free)
        raise WorkflowError(f"{label(graph, node)} has no input {quote(name)}, only {listing(free)}{near}")
    if name == PREFIX_INPUT:
        raise WorkflowError(f"{PREFIX_INPUT} is the runner's own: name your files with `files`")
    value = _at(graph[node].inputs, path)
    if is_link(value):
        raise WorkflowError(
            f"{quote(name)} of {label(graph, node)} is fed by node {quote(str(value[0]))} and is not overwritten; "
            f"its own values are {listing(_own_inputs(graph[node]))}"
        )
    if isinstance(value, dict):
        inner = listing(each for each in _own_inputs(graph[node]) if each.startswith(f"{name}."))
        raise WorkflowError(f"{quote(name)} of {label(graph, node)} is an object; name a value in it: {inner}")
    if isinstance(value, list):
        raise WorkflowError(f"{quote(name)} of {label(graph, node)} is a list; a parameter is a single value")
    return InputTarget(node, name, path, limit_of(graph[node].class_type, name, value))


def select_prefix_input(graph: Graph, selector: str) -> tuple[str, str]:
    """Return (node, input) of where `selector` wants the file prefix; a link there is replaced.

    Raises:
        WorkflowError: it names no input, or several.

    """
    node, name = _split(graph, selector)
    if name not in graph[node].inputs:
        near = did_you_mean(name, graph[node].inputs)
        raise WorkflowError(
            f"{label(graph, node)} has no input {quote(name)}, only {listing(graph[node].inputs)}{near}"
        )
    return node, name


def select_node(graph: Graph, selector: str) -> str:
    """Return the id of the one node that `selector` (an id, `@title` or a class) names.

    Raises:
        WorkflowError: it names none or several; lists what there is.

    """
    found = _nodes(graph, selector)
    if len(found) == 1:
        return found[0]
    if found:
        raise WorkflowError(f"{quote(selector)} is ambiguous: it may be node {listing(found)}; name one by its id")
    known = [*graph, *(f"@{node.title}" for node in graph.values() if node.title)]
    near = did_you_mean(selector, [*known, *(node.class_type for node in graph.values())])
    every = listing(f"{key} ({node.title or node.class_type})" for key, node in graph.items())
    raise WorkflowError(f"no node is called {quote(selector)}; there is {every}{near}")


def _split(graph: Graph, selector: str) -> tuple[str, str]:
    """Cut at the dot that makes sense: titles and input names may hold dots of their own."""
    cuts = [(selector[:at], selector[at + 1 :]) for at, char in enumerate(selector) if char == "."]
    if not cuts:
        raise WorkflowError(f"{quote(selector)} names no input: write node.input, @Title.input or Class.input")
    matches = [(nodes[0], name) for left, name in cuts if len(nodes := _nodes(graph, left)) == 1]
    exact = [(node, name) for node, name in matches if _path(graph[node].inputs, name)]
    if exact or matches:
        return (exact or matches)[0]
    left, name = next(((left, name) for left, name in cuts if _nodes(graph, left)), cuts[-1])
    return select_node(graph, left), name


def _own_inputs(node: Node) -> list[str]:
    return [name for name, _ in leaves(node.inputs) if name != PREFIX_INPUT]


def _nodes(graph: Graph, selector: str) -> list[str]:
    if selector in graph:
        return [selector]
    if selector.startswith("@"):
        return [key for key, node in graph.items() if node.title and node.title == selector[1:]]
    return [key for key, node in graph.items() if node.class_type == selector]


def _path(inputs: Mapping[str, Json], name: str) -> tuple[str, ...] | None:
    """Return the keys to the value that `name` stands for: the whole name first, then each key before a dot."""
    if name in inputs:
        return (name,)
    for at, char in enumerate(name):
        inner = inputs.get(name[:at]) if char == "." else None
        if isinstance(inner, dict) and (rest := _path(inner, name[at + 1 :])):
            return name[:at], *rest
    return None


def _at(inputs: Mapping[str, Json], path: tuple[str, ...]) -> Json:
    inner = inputs[path[0]]
    return _at(inner, path[1:]) if isinstance(inner, dict) and len(path) > 1 else inner


def _put(inputs: dict[str, Json], path: tuple[str, ...], value: Json) -> None:
    """Set a value in `inputs`; objects on the way to it are copied."""
    inner = inputs.get(path[0])
    if isinstance(inner, dict) and len(path) > 1:
        copied = dict(inner)
        _put(copied, path[1:], value)
        value = copied
    inputs[path[0]] = value


@dataclass(frozen=True)
class Template:
    """A checked graph and its parameters. `required` ones have no sensible value of their own."""

    graph: Graph
    params: Mapping[str, Param] = field(default_factory=dict)
    required: frozenset[str] = frozenset()
    prefixes: Mapping[str, str] = field(default_factory=dict)
    """Node id -> the input that takes the file prefix, where that is not called `filename_prefix`."""

    @cached_property
    def own(self) -> dict[str, Scalar]:
        """What each parameter is where nobody sets it: the value in the graph."""
        found: dict[str, Scalar] = {}
        for name, param in self.params.items():
            if param.targets and name not in self.required:
                target = param.targets[0]
                value = _at(self.graph[target.node].inputs, target.path)
                # A target is never a list or an object: `select_input` refuses those.
                found[name] = None if isinstance(value, list | dict) else as_sent(target.limit.kind, value)
        return found

    @cached_property
    def media(self) -> dict[str, frozenset[str]]:
        """The parameters that take files, and the kinds that each takes (`Param.media`)."""
        return {name: param.media for name, param in self.params.items() if param.media is not None}

    @cached_property
    def patches(self) -> dict[str, tuple[tuple[str, InputTarget], ...]]:
        """Node id -> (parameter, target) of each of its inputs that a parameter drives."""
        found: dict[str, list[tuple[str, InputTarget]]] = {}
        for name, param in self.params.items():
            for target in param.targets:
                found.setdefault(target.node, []).append((name, target))
        return {node: tuple(pairs) for node, pairs in found.items()}

    @cached_property
    def saving(self) -> dict[str, str]:
        """Node id -> input of every node that writes files: where each takes its file prefix."""
        return {**prefix_inputs(self.graph), **self.prefixes}

    @cached_property
    def saves(self) -> tuple[str, ...]:
        """The ids of the nodes that write files."""
        return tuple(self.saving)

    def inputs(self, node: str, values: Mapping[str, Scalar]) -> dict[str, Json]:
        """Return a node's inputs with `values` in their places; a parameter without a value keeps the graph's."""
        patched = dict(self.graph[node].inputs)
        for name, target in self.patches.get(node, ()):
            if name in values:
                _put(patched, target.path, as_sent(target.limit.kind, values[name]))
        return patched

    def fill(self, values: Mapping[str, Scalar], prefix: str) -> dict[str, Json]:
        """Return the workflow to send: `values` in their places, `prefix` on every node that saves a file.

        Nodes that nobody touches are shared between calls: a caller that changes one copies it first.
        """
        filled = dict(self._payloads)
        for node in self.patches.keys() | self.saving.keys():
            inputs = self.inputs(node, values)
            if node in self.saving:
                inputs[self.saving[node]] = prefix
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
    def _payloads(self) -> dict[str, Json]:
        payloads: dict[str, Json] = {}
        for key, node in self.graph.items():
            payloads[key] = node.payload()
        return payloads


class Identify:
    """Digests of one template's jobs.

    Of two jobs' fifteen nodes most are alike, so a node's text is made once per set of its values.
    """

    def __init__(self, template: Template) -> None:
        self._template = template
        self._fixed = {key: self._node_text(key, node.inputs) for key, node in template.graph.items()}
        self._names = {node: tuple(dict(pairs)) for node, pairs in template.patches.items()}
        self._kept: dict[str, dict[tuple[Scalar, ...], str]] = {node: {} for node in self._names}

    def digest(self, values: Mapping[str, Scalar]) -> str:
        """Return the `job_digest` of the workflow with `values` in their places."""
        texts = dict(self._fixed)
        for node, names in self._names.items():
            kept = self._kept[node]
            key = tuple([values.get(name) for name in names])
            if key not in kept:
                if len(kept) >= _MOST_KEPT:
                    kept.clear()
                kept[key] = self._node_text(node, self._template.inputs(node, values))
            texts[node] = kept[key]
        return job_digest(texts)

    def _node_text(self, node: str, inputs: Mapping[str, Json]) -> str:
        prefix = self._template.prefixes.get(node)
        kept = {name: value for name, value in inputs.items() if name != prefix}
        return node_text(self._template.graph[node].class_type, kept)


def influences(template: Template) -> dict[str, frozenset[str]]:
    """Return node id -> the parameters that it, or anything it is computed from, takes.

    A server keeps the last prompt's results of every node whose whole ancestry is unchanged, so jobs that share a
    node's values should follow one another (docs/comfyui.md §10).
    """
    found: dict[str, frozenset[str]] = {}
    for key in sources_first(template.graph):
        own = frozenset(name for name, _ in template.patches.get(key, ()))
        found[key] = own.union(*(found[source] for source in links(template.graph[key]).values()))
    return found


def costly(template: Template) -> dict[str, frozenset[str]]:
    """Return the `influences` of the nodes worth sparing: those that load a model, or run something through one."""
    return {key: names for key, names in influences(template).items() if _is_costly(template.graph[key])}


def _is_costly(node: Node) -> bool:
    """Empty latents and plain values cost nothing; whatever else is fed by a node may well run a model."""
    return "Loader" in node.class_type or (bool(links(node)) and "Empty" not in node.class_type)
