"""Naming an input: by node id (`4.length`), by title (`@Positive prompt.text`), by a lone class (`KSampler.seed`)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchrunner.core.identity import PREFIX_INPUT
from batchrunner.workflow.graph import WorkflowError, is_link
from batchrunner.workflow.limits import limit_of
from batchrunner.workflow.words import did_you_mean, listing, printable, quote

if TYPE_CHECKING:
    from batchrunner.workflow.graph import Graph
    from batchrunner.workflow.limits import Limit


@dataclass(frozen=True, slots=True)
class Target:
    """One input of one node, and what it takes."""

    node: str
    input: str
    limit: Limit


def select_input(graph: Graph, selector: str) -> Target:
    """Return the one input that `selector` names.

    Raises:
        WorkflowError: it names none, several, a link, or the file prefix, which is the runner's; lists what there is.

    """
    node, name = _split(graph, selector)
    inputs = graph[node].inputs
    if name not in inputs:
        free = _free(graph, node)
        raise WorkflowError(
            f"{_called(graph, node)} has no input {quote(name)}, only {listing(free)}{did_you_mean(name, free)}"
        )
    if name == PREFIX_INPUT:
        raise WorkflowError(f"{PREFIX_INPUT} is the runner's own: name your files with `files`")
    value = inputs[name]
    if is_link(value):
        raise WorkflowError(
            f"{quote(name)} of {_called(graph, node)} is fed by node {quote(str(value[0]))} and is not overwritten; "
            f"its own values are {listing(_free(graph, node))}"
        )
    return Target(node, name, limit_of(graph[node].class_type, name, value))


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
    exact = [match for match in matches if match[1] in graph[match[0]].inputs]
    if exact or matches:
        return (exact or matches)[0]
    left, name = next(((left, name) for left, name in cuts if _nodes(graph, left)), cuts[-1])
    return select_node(graph, left), name


def _nodes(graph: Graph, selector: str) -> list[str]:
    if selector in graph:
        return [selector]
    if selector.startswith("@"):
        return [key for key, node in graph.items() if node.title and node.title == selector[1:]]
    return [key for key, node in graph.items() if node.class_type == selector]


def _free(graph: Graph, node: str) -> list[str]:
    return [name for name, value in graph[node].inputs.items() if not is_link(value) and name != PREFIX_INPUT]


def _called(graph: Graph, node: str) -> str:
    return f"node {printable(node)} ({printable(graph[node].class_type)})"
