"""The workflow a manifest names, with the parameters it may set."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from batchrunner.manifest.diagnostics import join
from batchrunner.manifest.names import BUILT_IN, RESERVED
from batchrunner.manifest.yamltree import Spot, Table, follow
from batchrunner.text import did_you_mean, quote
from batchrunner.workflow.graph import WorkflowError, read_graph
from batchrunner.workflow.ltx2 import NAME as LTX2, ltx2
from batchrunner.workflow.params import Param, Template, make_param, select_node, select_prefix_input
from batchrunner.workflow.saving import no_saving_node, prefix_inputs
from batchrunner.workflow.values import Limit, UnfitError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from batchrunner.core.job import Scalar
    from batchrunner.manifest.diagnostics import Complaints
    from batchrunner.manifest.forms import Settings
    from batchrunner.manifest.names import Vocabulary
    from batchrunner.manifest.sweep import BlockReader
    from batchrunner.manifest.tables import Files
    from batchrunner.manifest.yamltree import Tree
    from batchrunner.workflow.graph import Graph

MOST_PRESETS = 64
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")


def template_of(settings: Settings, tree: Tree, files: Files, complaints: Complaints) -> Template | None:
    """Return the template that `workflow` and `params` describe, or None after complaining."""
    if settings.workflow == LTX2:
        for key in ("params", "prefix"):
            if getattr(settings, key):
                complaints.add(follow(tree, (key,)).spot, key, "is for your own workflow; ltx2 has its own")
        return ltx2()
    spot = follow(tree, ("workflow",)).spot
    graph = _graph(settings.workflow, spot, files, complaints)
    if graph is None:
        return None
    prefixes = _prefixes(settings, tree, graph, complaints)
    if not settings.prefix and not prefix_inputs(graph):
        complaints.add(spot, "workflow", f"{quote(settings.workflow)}: {no_saving_node(graph)}")
        return None
    params: dict[str, Param] = {}
    for name, selectors in settings.params.items():
        spot = follow(tree, ("params", name)).spot
        where = join("params", name)
        if not _NAME.fullmatch(name) or name in RESERVED:
            complaints.add(_key_spot(tree, name), where, "must be a name: letters, digits and `_`, no word of our own")
            continue
        try:
            params[name] = make_param(graph, name, selectors)
        except (WorkflowError, UnfitError) as error:
            complaints.add(spot, where, str(error))
            # It stays a name, so that its every use is not complained about as well.
            params[name] = Param(name, (), Limit("any"))
        if any(prefixes.get(target.node) == target.input for target in params[name].targets):
            complaints.add(
                spot, where, "takes the file prefix, which is the runner's own: name your files with `files`"
            )
    return Template(graph, params, prefixes=prefixes)


def _prefixes(settings: Settings, tree: Tree, graph: Graph, complaints: Complaints) -> dict[str, str]:
    """Return node id -> the input that takes the file prefix, as `prefix` names them."""
    found: dict[str, str] = {}
    for index, selector in enumerate(settings.prefix):
        try:
            node, name = select_prefix_input(graph, selector)
            found[node] = name
        except WorkflowError as error:
            complaints.add(follow(tree, ("prefix", index)).spot, join("prefix", index), str(error))
    return found


def outputs_of(settings: Settings, tree: Tree, template: Template, complaints: Complaints) -> frozenset[str] | None:
    """Return the ids of the nodes whose files are wanted, None for all."""
    if settings.outputs is None:
        return None
    found = set()
    for index, selector in enumerate(settings.outputs):
        spot = follow(tree, ("outputs", index)).spot
        where = join("outputs", index)
        try:
            node = select_node(template.graph, selector)
        except WorkflowError as error:
            complaints.add(spot, where, str(error))
            continue
        if node not in template.saves:
            savers = ", ".join(template.saves)
            complaints.add(spot, where, f"node {quote(node)} saves no file; these do: {savers}")
        found.add(node)
    return frozenset(found)


def add_presets(tree: Tree | None, vocabulary: Vocabulary, reader: BlockReader) -> None:
    """Teach the vocabulary its presets: the built-in ones that the workflow has the parameters for, and the user's."""
    for group, options in BUILT_IN.items():
        if all(option.keys() <= vocabulary.params.keys() for option in options.values()):
            vocabulary.presets[group] = {name: _values(point) for name, point in options.items()}
    if tree is None:
        return
    if not isinstance(tree, Table):
        vocabulary.complaints.add(tree.spot, "presets", "must be a mapping of names to options")
        return
    if len(tree.entries) > MOST_PRESETS:
        vocabulary.complaints.add(tree.spot, "presets", f"has more than {MOST_PRESETS} entries")
    for group, entry in tree.entries.items():
        where = join("presets", group)
        if not _NAME.fullmatch(group) or group in RESERVED:
            vocabulary.complaints.add(entry.spot, where, "must be a name: letters, digits and `_`, no word of our own")
        elif group in vocabulary.params:
            vocabulary.complaints.add(entry.spot, where, "is a parameter of the workflow; call the preset otherwise")
        elif not isinstance(entry.tree, Table) or not entry.tree.entries:
            vocabulary.complaints.add(entry.tree.spot, where, "must be a mapping of options to the values they set")
        else:
            _add_group(group, entry.tree, vocabulary, reader)


def _add_group(group: str, options: Table, vocabulary: Vocabulary, reader: BlockReader) -> None:
    for option, entry in options.entries.items():
        where = join(join("presets", group), option)
        for name in entry.tree.entries if isinstance(entry.tree, Table) else ():
            if name in vocabulary.presets and isinstance(entry.tree, Table):
                spot = entry.tree.entries[name].spot
                vocabulary.complaints.add(spot, join(where, name), "is a preset; a preset sets parameters only")
        point = reader.fixed(entry.tree, where)
        vocabulary.presets[group] = {**vocabulary.presets.get(group, {}), option: point}


def _graph(name: str, spot: Spot, files: Files, complaints: Complaints) -> Graph | None:
    near = did_you_mean(name, [LTX2]) if not name.endswith(".json") else ""
    read = files.text(name, spot, "workflow", near)
    if read is None:
        return None
    text, shown = read
    try:
        return read_graph(text)
    except WorkflowError as error:
        if (error.line, error.column) == (1, 1):
            complaints.add(spot, "workflow", f"{quote(name)}: {error}")
        else:
            complaints.add(Spot(shown, error.line, error.column), "", str(error))
        return None


def _key_spot(tree: Tree, name: str) -> Spot:
    params = follow(tree, ("params",))
    return params.entries[name].spot if isinstance(params, Table) and name in params.entries else params.spot


def _values(point: Mapping[str, Scalar]) -> dict[str, Scalar]:
    return dict(point)
