"""A manifest file to a batch: read, check, count, build, name, order - and every mistake at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from batchrunner.errors import Complaint, ManifestError
from batchrunner.manifest.batch import Batch, Options, Recipient
from batchrunner.manifest.diagnostics import Complaints, called, check, check_loosely, join
from batchrunner.manifest.expand import build
from batchrunner.manifest.filenames import Naming, default_template
from batchrunner.manifest.forms import NO_URL, Settings, Target, server_url
from batchrunner.manifest.names import Vocabulary
from batchrunner.manifest.sweep import COUNTED, BlockReader, read_exclusions
from batchrunner.manifest.tables import MANIFEST_BYTES, Files, SourceError, read_text
from batchrunner.manifest.values import Reader
from batchrunner.manifest.workflows import add_presets, outputs_of, template_of
from batchrunner.manifest.yamltree import Items, Leaf, Spot, Table, compose, follow, resolve
from batchrunner.text import PATH_LIMIT, listing, printable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from batchrunner.core.job import Json
    from batchrunner.manifest.names import Point
    from batchrunner.manifest.sweep import Block, Exclusion
    from batchrunner.manifest.yamltree import Tree
    from batchrunner.workflow.params import Template

# -- Whom a manifest wants told: each by one way, and no secret among them.


_MOST = 16
_WAYS = ("url_env", "apprise_env", "command")
_ONE_OF = "url_env (a variable's name), apprise_env or command"


def read_addressees(tree: Tree, complaints: Complaints) -> tuple[Recipient, ...]:
    """Return what `notify` says: a target, or a list of them. What is wrong is complained about, and left out."""
    if not isinstance(tree, Items):
        found = [_addressee(tree, "notify", complaints)]
    else:
        if not 1 <= len(tree.items) <= _MOST:
            complaints.add(tree.spot, "notify", f"must be 1 to {_MOST} targets, not {len(tree.items)}")
        found = [_addressee(item, join("notify", index), complaints) for index, item in enumerate(tree.items[:_MOST])]
    return tuple(addressee for addressee in found if addressee)


def _addressee(tree: Tree, path: str, complaints: Complaints) -> Recipient | None:
    if isinstance(tree, Leaf):
        # What stands there is not repeated: it may be a URL.
        complaints.add(tree.spot, path, NO_URL if "://" in tree.text else f"must be a mapping with {_ONE_OF}")
        return None
    if isinstance(tree, Table) and "url" in tree.entries:
        complaints.add(tree.entries["url"].spot, join(path, "url"), f"is url_env: {NO_URL}")
        return None
    target = check(Target, tree, path, complaints)
    if target is None:
        return None
    ways = [way for way in _WAYS if getattr(target, way)]
    if len(ways) != 1:
        complaints.add(tree.spot, path, f"needs exactly one of {_ONE_OF}")
    if target.topic and not target.url_env:
        complaints.add(tree.spot, join(path, "topic"), "goes with url_env only")
    return Recipient(target.url_env, target.apprise_env, target.command, target.topic, frozenset(target.on))


# -- A tree to sound parts: settings, template, blocks, exclusions. Everything wrong is said; nothing is built yet.


_FALLBACK: Mapping[str, Json] = {"name": "x", "workflow": "ltx2", "sweep": None}


@dataclass(frozen=True, slots=True)
class Parts:
    """A manifest without complaints, ready to be built."""

    settings: Settings
    servers: tuple[str, ...]
    workflow: Spot
    """Where the workflow is named."""
    template: Template
    outputs: frozenset[str] | None
    blocks: Sequence[Block]
    below: Point
    """The workflow's own values, and the defaults over them."""
    above: Point
    """What `--set` says."""
    exclusions: Sequence[Exclusion]
    naming: Naming
    notify: tuple[Recipient, ...]
    only: Mapping[str, Sequence[Leaf]]


def read_parts(path: Path, tree: Table, options: Options, complaints: Complaints) -> Parts:
    """Return the parts of a manifest.

    Raises:
        ManifestError: with everything that is wrong with any of them.

    """
    settings = check_loosely(Settings, tree, _FALLBACK, complaints)
    servers = _servers(settings, tree, options, complaints)
    files = Files(path.parent, complaints, allow_outside=options.allow_outside)
    template = template_of(settings, tree, files, complaints)
    if template is None:
        complaints.fail()
    reading = _Reading(tree, options, Vocabulary(template.params, complaints), files)
    outputs = outputs_of(settings, tree, template, complaints)
    below, above, blocks = reading.values(template, settings.max_jobs)
    exclusions = reading.exclusions()
    naming = reading.naming(settings.files)
    notify = read_addressees(tree.entries["notify"].tree, complaints) if "notify" in tree.entries else ()
    only = reading.only()
    complaints.settle()
    spot = follow(tree, ("workflow",)).spot
    return Parts(settings, servers, spot, template, outputs, blocks, below, above, exclusions, naming, notify, only)


def _servers(settings: Settings, tree: Table, options: Options, complaints: Complaints) -> tuple[str, ...]:
    found = list(settings.server)
    if not found and not options.servers and "server" not in tree.entries:
        complaints.add(tree.spot, "server", "is required: a URL, a list of URLs, or sim")
    if options.servers:
        found = []
    for text in options.servers:
        try:
            found.append(server_url(text))
        except ValueError as error:
            complaints.add(Spot("--server", 1, 1), "", str(error))
    return tuple(dict.fromkeys(found))


class _Reading:
    """What stands in blocks, and whatever refers to it."""

    def __init__(self, tree: Table, options: Options, vocabulary: Vocabulary, files: Files) -> None:
        self._tree = tree
        self._options = options
        self._vocabulary = vocabulary
        self._complaints = vocabulary.complaints
        overruled = frozenset(name for name, _ in options.sets)
        self._blocks = BlockReader(vocabulary, Reader(vocabulary, files), files, overruled)

    def values(self, template: Template, max_jobs: int) -> tuple[Point, Point, Sequence[Block]]:
        """Return what stands below the blocks, what stands above them, and the blocks."""
        add_presets(self._under("presets"), self._vocabulary, self._blocks)
        defaults = self._under("defaults")
        below = self._blocks.fixed(defaults, "defaults") if defaults is not None else {}
        sweep = self._under("sweep")
        blocks = self._blocks.blocks(sweep, "sweep") if sweep is not None else []
        above = self._sets()
        for block in (block for block in blocks if block.whole):
            self._check_required(block, template.required - below.keys() - above.keys())
        self._check_count(blocks, max_jobs)
        return {**template.own, **below}, above, blocks

    def exclusions(self) -> Sequence[Exclusion]:
        """Return what `exclude` says."""
        tree = self._under("exclude")
        return read_exclusions(tree, "exclude", self._vocabulary) if tree is not None else []

    def naming(self, files: str | None) -> Naming:
        """Return how files are named."""
        known = [*self._vocabulary.names(), "job"]
        default = default_template(known)
        try:
            return Naming(files or default, known)
        except ValueError as error:
            self._complaints.add(follow(self._tree, ("files",)).spot, "files", str(error))
            return Naming(default, known)

    def only(self) -> Mapping[str, Sequence[Leaf]]:
        """Return what `--only` says: name -> the values it may have."""
        wanted: dict[str, list[Leaf]] = {}
        for name, text in self._options.only:
            leaf = Leaf(Spot("--only", 1, len(name) + 2), resolve(text), text)
            if name == "job" or self._vocabulary.refers(name, Spot("--only", 1, 1), name):
                wanted.setdefault(name, []).append(leaf)
        return wanted

    def _under(self, key: str) -> Tree | None:
        return self._tree.entries[key].tree if key in self._tree.entries else None

    def _sets(self) -> Point:
        above: dict[str, Leaf] = {}
        for name, text in self._options.sets:
            if self._vocabulary.knows(name, Spot("--set", 1, 1), name):
                above[name] = Leaf(Spot("--set", 1, len(name) + 2), resolve(text), text)
        return self._blocks.together(above, "")

    def _check_required(self, block: Block, missing: frozenset[str]) -> None:
        names: frozenset[str] = frozenset().union(*(axis.names for axis in block.axes))
        for name in sorted(missing - names):
            self._complaints.add(block.spot, join(block.path, name), "is required: here, in defaults, or with --set")

    def _check_count(self, blocks: Sequence[Block], most: int) -> None:
        size = sum(block.size for block in blocks)
        if size > most:
            axes = [
                f"{axis.name} {min(axis.size, COUNTED):,}" for block in blocks for axis in block.axes if not axis.fixed
            ]
            text = (
                f"makes {'at least ' if size >= COUNTED else ''}{size:,} jobs ({listing(axes)}); max_jobs is {most:,}"
            )
            self._complaints.add(follow(self._tree, ("sweep",)).spot, "sweep", text)


# -- A manifest file to a batch: read, check, count, build, name, order - and every complaint at once.


_NO_OPTIONS = Options()


def load(path: Path, options: Options = _NO_OPTIONS) -> Batch:
    """Return the batch that the manifest at `path` describes. Reads files, asks no server.

    Raises:
        ManifestError: with everything that is wrong, sorted by line; nothing else for any file.

    """
    try:
        text = read_text(path, MANIFEST_BYTES)
    except SourceError as error:
        raise ManifestError(
            [Complaint(printable(str(path), PATH_LIMIT), error.line, error.column, "", str(error))]
        ) from None
    tree = compose(text, str(path))
    complaints = Complaints()
    if not isinstance(tree, Table):
        complaint = f"a manifest is a mapping of keys, not {called(tree)}"
        raise ManifestError(
            [Complaint(printable(str(path), PATH_LIMIT), tree.spot.line, tree.spot.column, "", complaint)]
        )
    return build(read_parts(path, tree, options, complaints), options, complaints)
