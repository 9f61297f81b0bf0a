"""A manifest file to a batch, with every mistake recorded at once: read, check, count, then `expand`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import ValidationError

from batchrunner.errors import Diagnostic, ManifestError
from batchrunner.manifest.batch import Batch, Options, Recipient, ServerSettings
from batchrunner.manifest.diagnostics import Diagnostics, describe, join, read_form, read_form_anyway
from batchrunner.manifest.earlier import EarlierBatches
from batchrunner.manifest.expand import build
from batchrunner.manifest.filenames import Naming, default_template
from batchrunner.manifest.forms import NO_URL, SIM, ParamForm, RecipientForm, ServerForm, Settings, server_url
from batchrunner.manifest.hashes import Hashes
from batchrunner.manifest.media import MediaFiles
from batchrunner.manifest.names import RESERVED, Names
from batchrunner.manifest.sweep import MAX_COUNT, NAME, NOT_A_NAME, BlockReader, choose, read_exclusions
from batchrunner.manifest.tables import MANIFEST_BYTES, Files, SourceError, read_text
from batchrunner.manifest.yamltree import (
    ListNode,
    Location,
    MappingNode,
    ScalarNode,
    compose,
    follow,
    plain,
    resolve_scalar,
)
from batchrunner.text import PATH_LIMIT, did_you_mean, listing, printable, quote
from batchrunner.workflow.graph import WorkflowError, read_graph
from batchrunner.workflow.ltx2 import NAME as LTX2, ltx2
from batchrunner.workflow.params import Param, Template, make_param, select_node, select_prefix_input
from batchrunner.workflow.saving import no_saving_node, prefix_inputs
from batchrunner.workflow.values import Limit, UnfitError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

    from batchrunner.core.job import Job, Json
    from batchrunner.manifest.names import Point
    from batchrunner.manifest.sweep import Block, Exclusion
    from batchrunner.manifest.yamltree import Tree
    from batchrunner.workflow.graph import Graph

_NO_OPTIONS = Options()
_FALLBACK: Mapping[str, Json] = {"name": "x", "workflow": "ltx2", "sweep": None}
_MAX_RECIPIENTS = 16
_WAYS = ("url_env", "apprise_env", "command")
_ONE_OF = "url_env (a variable's name), apprise_env or command"


@dataclass(frozen=True, slots=True)
class Parts:
    """A manifest without mistakes, ready to be expanded."""

    settings: Settings
    servers: Mapping[str, ServerSettings]
    workflow: Location
    """Where the workflow is named."""
    template: Template
    outputs: frozenset[str] | None
    blocks: Sequence[Block]
    defaults: Point
    """The workflow's own values, and the manifest's defaults over them."""
    overrides: Point
    """The values of `--set`."""
    exclusions: Sequence[Exclusion]
    naming: Naming
    media: MediaFiles
    notify: tuple[Recipient, ...]
    only: Mapping[str, Sequence[ScalarNode]]
    earlier: Mapping[str, frozenset[str]]
    """As in `Batch`."""


def load(path: Path, options: Options = _NO_OPTIONS) -> Batch:
    """Return the batch that the manifest at `path` describes. Reads files, asks no server.

    Raises ManifestError with everything that is wrong, sorted by line; nothing else for any file.
    """
    diagnostics = Diagnostics()
    tree = _read(path, diagnostics)
    return build(read_parts(path, tree, options, diagnostics), diagnostics)


def read_name(path: Path) -> str:
    """Return the name of the batch that the manifest at `path` describes, whatever else is wrong with it.

    Raises ManifestError if the file can't be read, or gives no name.
    """
    diagnostics = Diagnostics()
    tree = _read(path, diagnostics)
    written = tree.entries.get("name")
    try:
        return Settings.model_validate({**_FALLBACK, "name": plain(written.tree) if written else None}).name
    except ValidationError:
        read_form(Settings, tree, "", diagnostics)
        diagnostics.fail()


def names_servers(path: Path) -> bool:
    """Whether the manifest at `path` names its servers itself. Raises ManifestError if the file can't be read."""
    return "server" in _read(path, Diagnostics()).entries


def matching(jobs: Sequence[Job], only: Iterable[tuple[str, str]]) -> list[Job]:
    """Return those of `jobs` that the pairs of `--only` choose, as `load` does; all of them without any."""
    return choose(jobs, _option_values("--only", only), {name for job in jobs for name in job.uploads})


def _read(path: Path, diagnostics: Diagnostics) -> MappingNode:
    """Return what stands in the file at `path`. Raises ManifestError if that is no manifest."""
    try:
        text = read_text(path, MANIFEST_BYTES)
    except SourceError as error:
        raise ManifestError(
            [Diagnostic(printable(str(path), PATH_LIMIT), error.line, error.column, "", str(error))]
        ) from None
    tree = compose(text, str(path))
    if not isinstance(tree, MappingNode):
        diagnostics.add(tree.location, "", f"a manifest is a mapping of keys, not {describe(tree)}")
        diagnostics.fail()
    if any(
        isinstance(entry.tree, MappingNode) and "class_type" in entry.tree.entries for entry in tree.entries.values()
    ):
        text = "this is a workflow, not a manifest; the verb init writes one for it"
        diagnostics.add(tree.location, "", text)
        diagnostics.fail()
    return tree


def read_parts(path: Path, tree: MappingNode, options: Options, diagnostics: Diagnostics) -> Parts:
    """Return the parts of a manifest.

    Raises ManifestError with everything that is wrong with any of them.
    """
    settings = read_form_anyway(Settings, tree, _FALLBACK, diagnostics)
    files = Files(path.parent, diagnostics, allow_outside=options.allow_outside, max_rows=settings.max_jobs)
    servers = _servers(settings, tree, options, files, diagnostics)
    template = _template(settings, tree, files, diagnostics)
    if template is None:
        diagnostics.fail()
    home = options.out / settings.name if options.out and template.media else None
    media = MediaFiles(template.media, files, Hashes.read(home) if home else Hashes())
    names = Names(template.params, diagnostics, media)
    earlier = EarlierBatches(settings.name, options.out, options.pending)
    reader = BlockReader(names, files, earlier, frozenset(name for name, _ in options.sets))
    under = {key: entry.tree for key, entry in tree.entries.items()}
    outputs = _outputs(settings, tree, template, diagnostics)
    reader.add_presets(under.get("presets"))
    defaults = reader.fixed(under["defaults"], "defaults") if "defaults" in under else {}
    blocks = reader.blocks(under["sweep"], "sweep") if "sweep" in under else []
    sets = [(n, text) for n, text in options.sets if names.declare(n, Location("--set", 1, 1), n)]
    overrides = reader.together({name: nodes[-1] for name, nodes in _option_values("--set", sets).items()}, "")
    missing = template.required - defaults.keys() - overrides.keys()
    for block in blocks:
        set_here = frozenset[str]().union(*(axis.names for axis in block.axes))
        for name in sorted(missing - set_here) if block.whole else ():
            diagnostics.add(block.location, join(block.path, name), "is required: here, in defaults, or with --set")
    _check_count(blocks, settings.max_jobs, follow(tree, ("sweep",)).location, diagnostics)
    exclusions = read_exclusions(under["exclude"], "exclude", names) if "exclude" in under else []
    naming = _naming(settings.files, tree, [*names.all(), "job"], diagnostics)
    notify = _recipients(under["notify"], diagnostics) if "notify" in under else ()
    only = [(n, text) for n, text in options.only if n == "job" or names.resolve(n, Location("--only", 1, 1), n)]
    diagnostics.check()
    return Parts(
        settings=settings,
        servers=servers,
        workflow=follow(tree, ("workflow",)).location,
        template=template,
        outputs=outputs,
        blocks=blocks,
        defaults={**template.own, **defaults},
        overrides=overrides,
        exclusions=exclusions,
        naming=naming,
        media=media,
        notify=notify,
        only=_option_values("--only", only),
        earlier=earlier.read,
    )


def _servers(
    settings: Settings, tree: MappingNode, options: Options, files: Files, diagnostics: Diagnostics
) -> dict[str, ServerSettings]:
    """Return the servers by name; those of the command line instead of the manifest's, but as the manifest says."""
    if not options.servers and not settings.server and "server" not in tree.entries:
        diagnostics.add(tree.location, "server", "is required: a URL, a list of URLs, or sim")
    written = follow(tree, ("server",))
    several = isinstance(written, ListNode)
    found: dict[str, ServerSettings] = {}
    for index, server in enumerate(settings.server):
        where = follow(written, (index,)) if several else written
        own = ServerSettings(server) if isinstance(server, str) else _own_settings(server, where, files)
        name = server if isinstance(server, str) else server.name or server.url
        path = join("server", index) if several else "server"
        if name in found and found[name] != own:
            diagnostics.add(where.location, path, f"two servers are called {quote(name)}: give them different names")
        if own.url == SIM and not isinstance(server, str):
            diagnostics.add(where.location, path, "sim takes no settings: write it alone")
        if name == SIM and own.url != SIM:
            diagnostics.add(where.location, path, "the name sim belongs to the built-in simulator: give it another")
        found[name] = own
    if not options.servers:
        return found
    named: dict[str, ServerSettings] = {}
    for text in options.servers:
        try:
            url = text if text in found else server_url(text)
            same = next((name for name, own in found.items() if own.url == url), url)
            named[same] = found.get(same, ServerSettings(url))
        except ValueError as error:
            diagnostics.add(Location("--server", 1, 1), "", f"--server {error}")
    return named


def _own_settings(form: ServerForm, tree: Tree, files: Files) -> ServerSettings:
    ca = files.path(form.ca, follow(tree, ("ca",)).location, "server.ca") if form.ca else None
    own_ttl = "ttl" in form.model_fields_set
    return ServerSettings(form.url, form.headers, ca, form.ttl, own_ttl, form.depth)


def _template(settings: Settings, tree: Tree, files: Files, diagnostics: Diagnostics) -> Template | None:
    """Return the template that `workflow` and `params` describe, or None if the workflow cannot be read."""
    given = follow(tree, ("params",))
    if settings.workflow == LTX2:
        for option in ("params", "prefix"):
            if getattr(settings, option):
                text = "is for your own workflow; ltx2 has its own"
                diagnostics.add(follow(tree, (option,)).location, option, text)
        return ltx2()
    location = follow(tree, ("workflow",)).location
    graph = _graph(settings.workflow, location, files, diagnostics)
    if graph is None:
        return None
    prefixes = _prefixes(settings, tree, graph, diagnostics)
    if not settings.prefix and not prefix_inputs(graph):
        diagnostics.add(location, "workflow", f"{quote(settings.workflow)}: {no_saving_node(graph)}")
        return None
    params: dict[str, Param] = {}
    for name, written in settings.params.items():
        form = ParamForm.model_construct(input=written) if isinstance(written, tuple) else written
        upload = form.upload if "upload" in form.model_fields_set else None
        where = join("params", name)
        if not NAME.fullmatch(name) or name in RESERVED:
            key = given.entries.get(name) if isinstance(given, MappingNode) else None
            diagnostics.add((key or given).location, where, NOT_A_NAME)
            continue
        try:
            params[name] = make_param(graph, name, form.input, upload=upload)
        except (WorkflowError, UnfitError) as error:
            diagnostics.add(follow(given, (name, "input")).location, where, str(error))
            # It stays a name, so that not every use of it is reported as well.
            params[name] = Param(name, (), Limit("any"))
        if any(prefixes.get(target.node) == target.input for target in params[name].targets):
            text = "takes the file prefix, which batchrunner sets itself: name your files with `files`"
            diagnostics.add(follow(given, (name, "input")).location, where, text)
    return Template(graph, params, prefixes=prefixes)


def _prefixes(settings: Settings, tree: Tree, graph: Graph, diagnostics: Diagnostics) -> dict[str, str]:
    """Return node id -> the input that takes the file prefix, as `prefix` names them."""
    found: dict[str, str] = {}
    for index, selector in enumerate(settings.prefix):
        try:
            node, name = select_prefix_input(graph, selector)
            found[node] = name
        except WorkflowError as error:
            location = follow(tree, ("prefix", index)).location
            diagnostics.add(location, join("prefix", index), str(error))
    return found


def _graph(name: str, location: Location, files: Files, diagnostics: Diagnostics) -> Graph | None:
    near = did_you_mean(name, [LTX2]) if not name.endswith(".json") else ""
    read = files.text(name, location, "workflow", near)
    if read is None:
        return None
    text, shown = read
    try:
        return read_graph(text)
    except WorkflowError as error:
        if (error.line, error.column) == (1, 1):
            diagnostics.add(location, "workflow", f"{quote(name)}: {error}")
        else:
            diagnostics.add(Location(shown, error.line, error.column), "", str(error))
        return None


def _outputs(settings: Settings, tree: Tree, template: Template, diagnostics: Diagnostics) -> frozenset[str] | None:
    """Return the ids of the nodes whose files are wanted, None for all."""
    found = set()
    for index, selector in enumerate(settings.outputs):
        location = follow(tree, ("outputs", index)).location
        where = join("outputs", index)
        try:
            node = select_node(template.graph, selector)
        except WorkflowError as error:
            diagnostics.add(location, where, str(error))
            continue
        if node not in template.saves:
            diagnostics.add(location, where, f"node {quote(node)} saves no file; these do: {', '.join(template.saves)}")
        found.add(node)
    return frozenset(found) if settings.outputs else None


def _option_values(option: str, pairs: Iterable[tuple[str, str]]) -> dict[str, list[ScalarNode]]:
    """Return name -> its values, of options that are written `NAME=VALUE`."""
    found: dict[str, list[ScalarNode]] = {}
    for name, text in pairs:
        location = Location(option, 1, len(name) + 2)
        found.setdefault(name, []).append(ScalarNode(location, resolve_scalar(text), text))
    return found


def _check_count(blocks: Sequence[Block], most: int, location: Location, diagnostics: Diagnostics) -> None:
    size = sum(block.size for block in blocks)
    if size > most:
        axes = [axis for block in blocks for axis in block.axes if not axis.fixed]
        sizes = listing(f"{axis.name} {min(axis.size, MAX_COUNT):,}" for axis in axes)
        at_least = "at least " if size >= MAX_COUNT else ""
        diagnostics.add(location, "sweep", f"makes {at_least}{size:,} jobs ({sizes}); max_jobs is {most:,}")


def _naming(files: str | None, tree: Tree, known: Sequence[str], diagnostics: Diagnostics) -> Naming:
    try:
        return Naming(files or default_template(known), known)
    except ValueError as error:
        diagnostics.add(follow(tree, ("files",)).location, "files", str(error))
        return Naming(default_template(known), known)


def _recipients(tree: Tree, diagnostics: Diagnostics) -> tuple[Recipient, ...]:
    """Return the recipients of `notify`, one target or a list, without those that are wrong."""
    if not isinstance(tree, ListNode):
        found = [_recipient(tree, "notify", diagnostics)]
    else:
        items = tree.items[:_MAX_RECIPIENTS]
        if not 1 <= len(tree.items) <= _MAX_RECIPIENTS:
            diagnostics.add(tree.location, "notify", f"must be 1 to {_MAX_RECIPIENTS} targets, not {len(tree.items)}")
        found = [_recipient(item, join("notify", index), diagnostics) for index, item in enumerate(items)]
    return tuple(recipient for recipient in found if recipient)


def _recipient(tree: Tree, path: str, diagnostics: Diagnostics) -> Recipient | None:
    if isinstance(tree, ScalarNode):
        # What stands there is not repeated: it may be a URL.
        diagnostics.add(tree.location, path, NO_URL if "://" in tree.text else f"must be a mapping with {_ONE_OF}")
        return None
    if isinstance(tree, MappingNode) and "url" in tree.entries:
        diagnostics.add(tree.entries["url"].location, join(path, "url"), f"must be url_env: {NO_URL}")
        return None
    target = read_form(RecipientForm, tree, path, diagnostics)
    if target is None:
        return None
    if sum(bool(getattr(target, way)) for way in _WAYS) != 1:
        diagnostics.add(tree.location, path, f"needs exactly one of {_ONE_OF}")
    if target.topic and not target.url_env:
        diagnostics.add(tree.location, join(path, "topic"), "goes with url_env only")
    return Recipient(target.url_env, target.apprise_env, target.command, target.topic, frozenset(target.on))
