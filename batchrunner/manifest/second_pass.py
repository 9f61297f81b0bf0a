"""`promote --workflow`: a manifest that sends the finished jobs of a batch, or its picks, through another workflow."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchrunner.errors import YoursError
from batchrunner.manifest.diagnostics import Diagnostics
from batchrunner.manifest.earlier import FILE
from batchrunner.manifest.forms import MAX_NAME
from batchrunner.manifest.load import read_parts
from batchrunner.manifest.promote import block_lines, scalar_text
from batchrunner.manifest.sweep import NAME
from batchrunner.manifest.tables import MANIFEST_BYTES, NAMED_BYTES, SourceError, read_text
from batchrunner.manifest.yamltree import MappingNode, compose, resolve_scalar
from batchrunner.text import listing, printable, quote
from batchrunner.workflow.graph import WorkflowError, read_graph
from batchrunner.workflow.params import make_param
from batchrunner.workflow.values import MEDIA, UnfitError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from batchrunner.manifest.batch import Options
    from batchrunner.workflow.graph import Graph
    from batchrunner.workflow.params import Param

_KEPT = ("server", "ttl", "attempts", "depth", "patience", "settle", "grace", "poll", "stuck", "max_jobs")
"""What is taken over from the batch's own manifest."""
_NAMED_BY = (("prompt", "{_prompt}"), ("seed", "s{_seed}"))
"""What files are named by, as far as the batch has it."""


@dataclass(frozen=True, slots=True)
class SecondPass:
    """Which jobs go through which workflow."""

    batch: str
    picks: str
    """A file in that batch's folder; empty for all finished jobs."""
    workflow: Path
    inputs: Sequence[tuple[str, str]]
    """Parameters, and the inputs that they drive: `("video", "10.file")`; a name may come again."""
    variables: Collection[str]
    """The parameters and own variables of that batch's jobs."""


def second_pass(asked: SecondPass, target: Path, source: Path | None, options: Options) -> str:
    """Return the text of a manifest that is to lie at `target`; `source` is the batch's own, if it is known.

    Raises YoursError for what does not fit: a selector, a parameter whose value is nowhere, a workflow elsewhere.
    """
    graph = _graph(asked.workflow)
    selectors: dict[str, list[str]] = {}
    for name, selector in asked.inputs:
        selectors.setdefault(name, []).append(selector)
    params = {name: _param(graph, name, several) for name, several in selectors.items()}
    if not params:
        loads = [
            (i, at, kind) for i, node in graph.items() for (of, at), kind in MEDIA.items() if of == node.class_type
        ]
        node, at, kind = loads[0] if loads else ("10", "file", "video")
        example = f"--input {kind}={printable(node, 30)}.{at}"
        raise YoursError(f"--workflow needs --input, such as {example}: where does the file go?")
    name = re.sub(r"[^A-Za-z0-9._-]|\.\.", "-", target.stem)[:MAX_NAME]
    workflow = os.path.relpath(asked.workflow.absolute(), target.absolute().parent)
    named = [field for name, field in _NAMED_BY if name in asked.variables]
    lines = [
        f"# The {'picks' if asked.picks else 'finished jobs'} of {asked.batch}, through {asked.workflow.name}.",
        f"name: {scalar_text(name)}",
        *_settings(source, options),
        f"workflow: {scalar_text(workflow)}",
        *_sweep(asked, params, selectors, options),
        f'files: "{"-".join([*named, "{job}"])}"',
    ]
    text = "\n".join(lines) + "\n"
    tree = compose(text, str(target))
    if isinstance(tree, MappingNode):
        read_parts(target, tree, options, Diagnostics())
    return text


def _graph(workflow: Path) -> Graph:
    try:
        return read_graph(read_text(workflow, NAMED_BYTES))
    except (SourceError, WorkflowError) as error:
        raise YoursError(f"--workflow {workflow}: {error}") from None


def _param(graph: Graph, name: str, selectors: Sequence[str]) -> Param:
    if not NAME.fullmatch(name):
        raise YoursError(f"--input {name}={selectors[-1]}: {quote(name)} is not a name for a parameter")
    try:
        return make_param(graph, name, selectors)
    except (WorkflowError, UnfitError) as error:
        raise YoursError(f"--input {name}={selectors[-1]}: {error}") from None


def _settings(source: Path | None, options: Options) -> Iterator[str]:
    """Yield the servers and the rules."""
    if options.servers:
        yield f"server: [{', '.join(map(scalar_text, options.servers))}]"
    elif source is None:
        raise YoursError("on which server? add --server URL, or --manifest FILE for those of the batch")
    if source is not None:
        try:
            tree = compose(read_text(source, MANIFEST_BYTES), str(source))
        except SourceError as error:
            raise YoursError(f"{source}: {error}") from None
        for key in _KEPT:
            if isinstance(tree, MappingNode) and key in tree.entries and not (key == "server" and options.servers):
                yield from block_lines(key, tree.entries[key].tree)


def _sweep(
    asked: SecondPass, params: Mapping[str, Param], selectors: Mapping[str, Sequence[str]], options: Options
) -> Iterator[str]:
    """Yield what depends on the inputs: the parameters, and where their values come from."""
    files = [name for name, param in params.items() if param.media is not None]
    unknown = "" if files else next(iter(params))
    sets = dict(options.sets)
    yield "params:"
    for param, several in selectors.items():
        chosen = ", ".join(map(scalar_text, several))
        chosen = f"[{chosen}]" if len(several) > 1 else chosen
        yield f"  {scalar_text(param)}: {f'{{input: {chosen}, upload: true}}' if param == unknown else chosen}"
    yield "sweep:"
    picks = f", picks: {scalar_text(asked.picks)}" if asked.picks else ""
    yield f"  rows: {{batch: {scalar_text(asked.batch)}{picks}}}"
    for param in params:
        if param not in sets:
            yield f"  {scalar_text(param)}: ${{{_variable(param, asked, files or [unknown])}}}"
    for key, text in sets.items():
        # What follows KEY= on the command line means the same here.
        yield f"  {key}: {scalar_text(text) if isinstance(resolve_scalar(text), str) else text or 'null'}"


def _variable(param: str, asked: SecondPass, files: Sequence[str]) -> str:
    """Return the own variable that a parameter takes its value from."""
    if param in files:
        return FILE
    if param in asked.variables:
        return param if param.startswith("_") else f"_{param}"
    known = listing(sorted(asked.variables))
    raise YoursError(f"--input {param}=…: the jobs of {asked.batch} have no {quote(param)}, only {known}; or --set it")
