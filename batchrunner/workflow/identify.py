"""Job ids fast: of two jobs' fifteen nodes most are alike, so a node's text is made once per set of its values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchrunner.core.identity import job_digest, node_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchrunner.core.job import Scalar
    from batchrunner.workflow.template import Template

_MOST_KEPT = 20_000
"""Texts kept per node; a seed per job would otherwise keep one text per job."""


class Identify:
    """Digests of one template's jobs."""

    def __init__(self, template: Template) -> None:
        self._template = template
        self._fixed = {key: node_text(node.class_type, node.inputs) for key, node in template.graph.items()}
        self._names = {node: tuple(dict(pairs)) for node, pairs in template.patches.items()}
        self._kept: dict[str, dict[tuple[Scalar, ...], str]] = {node: {} for node in self._names}

    def digest(self, values: Mapping[str, Scalar]) -> str:
        """Return the `job_digest` of the workflow with `values` in their places."""
        texts = dict(self._fixed)
        for node, names in self._names.items():
            texts[node] = self._text(node, names, values)
        return job_digest(texts)

    def _text(self, node: str, names: tuple[str, ...], values: Mapping[str, Scalar]) -> str:
        kept = self._kept[node]
        key = tuple([values.get(name) for name in names])
        text = kept.get(key)
        if text is None:
            text = node_text(self._template.graph[node].class_type, self._template.inputs(node, values))
            if len(kept) >= _MOST_KEPT:
                kept.clear()
            kept[key] = text
        return text
