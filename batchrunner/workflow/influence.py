"""Which parameters reach which node.

A server keeps the last prompt's results of every node whose whole ancestry is unchanged (PROTOCOL.md §5), so jobs that
share a node's values should follow one another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchrunner.workflow.graph import links, sources_first

if TYPE_CHECKING:
    from batchrunner.workflow.graph import Node
    from batchrunner.workflow.template import Template


def influences(template: Template) -> dict[str, frozenset[str]]:
    """Return node id -> the parameters that it, or anything it is computed from, takes."""
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
