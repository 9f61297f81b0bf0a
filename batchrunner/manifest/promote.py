"""`promote`: the picks of a batch as a manifest of their own, with the same prompts and seeds.

Its rows hold the picked jobs' values, not how those came to be: a preset that is edited tomorrow changes none of them.
What `--set` says stands once, beside the rows, and replaces all that it sets.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

from batchrunner.core.job import INPUTS
from batchrunner.errors import YoursError
from batchrunner.manifest.diagnostics import Diagnostics
from batchrunner.manifest.fill import fields_of
from batchrunner.manifest.forms import MAX_NAME
from batchrunner.manifest.load import read_parts
from batchrunner.manifest.tables import MANIFEST_BYTES, SourceError, read_text
from batchrunner.manifest.yamltree import ListNode, MappingNode, ScalarNode, compose, resolve_scalar
from batchrunner.text import PATH_LIMIT, listing, printable, quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from batchrunner.core.job import Job, Scalar
    from batchrunner.manifest.batch import Options
    from batchrunner.manifest.load import Parts
    from batchrunner.manifest.picks import Picks
    from batchrunner.manifest.yamltree import Tree

Row: TypeAlias = "tuple[dict[str, Scalar], list[str]]"
"""The values of one row, and the notes on it."""
_ALWAYS = ("prompt", "seed")
"""What every row holds itself, and first, even if all hold the same or the workflow has it anyway."""
_KEPT = (
    *("server", "ttl", "workflow", "params", "outputs", "presets"),
    *("attempts", "depth", "patience", "settle", "grace", "poll", "hint", "stuck", "max_jobs"),
)
_LONGEST_NOTE = 200
_DOLLAR = "_dollar"
"""An own variable that holds a `$`: `${` in a prompt that is filled in already must not be filled in again."""
_PLAIN = re.compile(r"[A-Za-z_][\w./-]*|[0-9]+(ms|s|m|h|d)", re.ASCII)


class _OnServer(str):
    """A media input's value that is no local file: what the server has under this name."""

    __slots__ = ()

    def __repr__(self) -> str:
        """Differ from a local file's path."""
        return f"{{server: {scalar_text(str(self))}}}"


def promoted_name(name: str) -> str:
    """Return what the batch of picks is called."""
    return f"{name[: MAX_NAME - len('-picks')]}-picks"


def promote(picks: Picks, jobs: Mapping[str, Job], source: Path, options: Options, name: str = "") -> str:
    """Return the text of a manifest that renders the picked jobs with `options.sets` changed.

    Its batch is called `name`, as far as a batch may be; unless given, after the batch of the picks.

    `jobs` are the batch's by id, its folder lies in `options.out`, `source` is its manifest; the new one belongs into
    the same folder, since the workflow it names lies there. Raises YoursError if a pick is no job of the batch,
    ManifestError if `source` is not sound or the sets do not fit it.
    """
    unknown = [pick.job for pick in picks.picks if pick.job not in jobs]
    if unknown:
        raise YoursError(f"picks: {listing(unknown)}: no such job in the batch {quote(picks.batch)}")
    try:
        tree = compose(read_text(source, MANIFEST_BYTES), str(source))
    except SourceError as error:
        raise YoursError(f"{printable(str(source), PATH_LIMIT)}: {error}") from None
    if not isinstance(tree, MappingNode):
        raise YoursError(f"{printable(str(source), PATH_LIMIT)}: this is not a manifest")
    parts = read_parts(source, tree, options, Diagnostics())
    batch = parts.settings.name
    if picks.batch not in {"", batch}:
        raise YoursError(f"picks: they are of the batch {quote(picks.batch)}, not of {quote(batch)}")
    new = re.sub(r"[^A-Za-z0-9._-]|\.\.", "-", name)[:MAX_NAME] or promoted_name(batch)
    # Picks that differ only in what is set anew are one row.
    rows: dict[str, Row] = {}
    for pick in picks.picks:
        row = _row(_located(jobs[pick.job], batch, parts, source, options), parts)
        _, notes = rows.setdefault(repr(row), (row, []))
        notes += [pick.note] if pick.note else []
    text = "\n".join(_manifest(tree, parts, list(rows.values()), options, new)) + "\n"
    if len(text.encode()) > MANIFEST_BYTES:
        raise YoursError(f"picks: {len(rows)} are too many for one manifest of {MANIFEST_BYTES >> 20} MiB")
    return text


def _located(job: Job, batch: str, parts: Parts, source: Path, options: Options) -> Job:
    """Return a job with paths under which the new manifest finds its files: as written, else the batch's own copies.

    A path of a table's cell, or of another batch, leads elsewhere from the manifest; and a file may be gone or edited.
    """
    if options.out is None:
        return job
    params = dict(job.params)
    for file in job.inputs:
        copy = os.path.relpath(options.out / batch / INPUTS / file.name, source.parent)
        for name in (name for name, upload in job.uploads.items() if upload == file.name):
            if not parts.media.hashes.is_file(source.parent / str(params[name]), file.sha256):
                params[name] = copy
    return replace(job, params=params)


def _row(job: Job, parts: Parts) -> dict[str, Scalar]:
    """Return a job's own values: no preset's name, nothing that is set anew, nothing the workflow has by itself."""
    own = parts.template.own
    names = [*(name for name in _ALWAYS if name in job.params), *(name for name in job.params if name not in _ALWAYS)]
    found: dict[str, Scalar] = {}
    for name in names:
        value = job.params[name]
        is_named = name in parts.template.params or name.startswith("_")
        is_usual = name not in _ALWAYS and name not in job.uploads and name in own and own[name] == value
        if is_named and not is_usual and name not in parts.overrides:
            on_server = isinstance(value, str) and name in parts.template.media and name not in job.uploads
            found[name] = _OnServer(value) if on_server else value
    if any(isinstance(value, str) and fields_of(value) for value in found.values()):
        found[_DOLLAR] = "$"
    return found


def _manifest(tree: MappingNode, parts: Parts, rows: Sequence[Row], options: Options, name: str) -> Iterator[str]:
    of = parts.settings.name
    yield f"# {len(rows)} of the jobs of {of}, with their prompts and seeds; what `sweep` sets first is new."
    yield f"name: {scalar_text(name)}"
    if options.servers:
        yield f"server: [{', '.join(scalar_text(own.url) for own in parts.servers.values())}]"
    for key in _KEPT:
        if key in tree.entries and not (key == "server" and options.servers):
            yield from block_lines(key, tree.entries[key].tree)
    common = _common([row for row, _ in rows])
    yield from ["defaults:"] if common else []
    yield from (f"  {key}: {_row_value(value)}" for key, value in common.items())
    yield "sweep:"
    for key, text in dict(options.sets).items():
        # What follows KEY= on the command line means the same here.
        yield f"  {key}: {scalar_text(text) if isinstance(resolve_scalar(text), str) else text or 'null'}"
    yield "  rows:"
    for row, notes in rows:
        yield from (f"    # {printable(note, _LONGEST_NOTE)}" for note in notes)
        yield f"    - {_flow_mapping((key, _row_value(value)) for key, value in row.items() if key not in common)}"


def _common(rows: Sequence[Mapping[str, Scalar]]) -> dict[str, Scalar]:
    """Return what all rows have in common, without what belongs into each."""
    return {
        name: value
        for name, value in rows[0].items()
        # 1, 1.0 and True are equal and not the same.
        if name not in _ALWAYS and all(name in row and repr(row[name]) == repr(value) for row in rows)
    }


# -- Values and trees to YAML that `load` reads back as they were: a text is quoted unless it is plainly a text.


def _row_value(value: Scalar) -> str:
    """Return a value of a row; a `${` in it means itself."""
    if isinstance(value, _OnServer):
        return repr(value)
    is_filled = isinstance(value, str) and fields_of(value)
    return scalar_text(str(value).replace("${", f"${{{_DOLLAR}}}{{") if is_filled else value)


def scalar_text(value: Scalar) -> str:
    """Return a value as it stands in YAML."""
    if not isinstance(value, str):
        return repr(value) if type(value) in {int, float} else json.dumps(value)
    if _PLAIN.fullmatch(value) and isinstance(resolve_scalar(value), str):
        return value
    quoted = json.dumps(value, ensure_ascii=False)
    return "".join(char if char.isprintable() else f"\\U{ord(char):08x}" for char in quoted)


def block_lines(name: str, tree: Tree, indent: int = 0) -> Iterator[str]:
    """Yield the lines of `name: …`; mappings below each other, lists in one line."""
    head = f"{' ' * indent}{scalar_text(name)}:"
    if isinstance(tree, MappingNode) and tree.entries:
        yield head
        for inner, entry in tree.entries.items():
            yield from block_lines(inner, entry.tree, indent + 2)
    else:
        yield f"{head} {_flow(tree)}"


def _flow(tree: Tree) -> str:
    match tree:
        case ScalarNode():
            return scalar_text(tree.text) if isinstance(tree.value, str) else tree.text or "null"
        case ListNode():
            return f"[{', '.join(map(_flow, tree.items))}]"
        case MappingNode():
            return _flow_mapping((name, _flow(entry.tree)) for name, entry in tree.entries.items())


def _flow_mapping(entries: Iterable[tuple[str, str]]) -> str:
    return f"{{{', '.join(f'{scalar_text(name)}: {value}' for name, value in entries)}}}"
