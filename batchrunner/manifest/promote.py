"""`promote`: the picks of a batch as a manifest of their own, with the same prompts and seeds.

Its rows hold the picked jobs' values, not how those came to be: a preset that is edited tomorrow changes none of them.
What `--set` says stands once, beside the rows, and replaces all that it sets.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from batchrunner.errors import YoursError
from batchrunner.manifest.axes import fields_of
from batchrunner.manifest.diagnostics import Diagnostics
from batchrunner.manifest.forms import MAX_NAME
from batchrunner.manifest.load import read_parts
from batchrunner.manifest.tables import MANIFEST_BYTES, SourceError, read_text
from batchrunner.manifest.yamltree import ListNode, MappingNode, ScalarNode, compose, resolve_scalar
from batchrunner.text import PATH_LIMIT, listing, printable, quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from batchrunner.core.job import Job, Json, Scalar
    from batchrunner.manifest.batch import Options
    from batchrunner.manifest.load import Parts
    from batchrunner.manifest.yamltree import Tree

Row: TypeAlias = "tuple[dict[str, Scalar], list[str]]"
"""The values of one row, and the notes on it."""
_JOB = re.compile(r"[0-9a-f]{12}")
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


@dataclass(frozen=True, slots=True)
class Pick:
    """One starred job; everything else about it stands in the batch's state."""

    job: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Picks:
    """What `picks.json` of the gallery holds: the starred jobs of one batch, in its order, each once."""

    batch: str
    picks: tuple[Pick, ...]
    manifest: str = ""
    """The batch's manifest as it was given on the command line; empty if the gallery did not know."""


def read_picks(text: str) -> Picks:
    """Return what `text`, which comes from a browser, picks. YoursError if it is no `picks.json`, or picks nothing."""
    try:
        content: Json = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise YoursError(f"picks: this is not JSON: {error}") from None
    items = content.get("picks") if isinstance(content, dict) else None
    if not isinstance(content, dict) or not isinstance(items, list):
        raise YoursError('picks: this is not a file that the gallery saved: it has no list "picks"')
    found: dict[str, Pick] = {}
    for index, item in enumerate(items):
        job = _string(item, "job")
        if not _JOB.fullmatch(job):
            raise YoursError(f'picks[{index}]: "job" must be a job id: 12 hex digits')
        found.setdefault(job, Pick(job, _string(item, "note")))
    if not found:
        raise YoursError("picks: nothing is picked: star something in the gallery first")
    return Picks(_string(content, "batch"), tuple(found.values()), _string(content, "manifest"))


def _string(content: Json, name: str) -> str:
    value = content.get(name) if isinstance(content, dict) else None
    return value if isinstance(value, str) else ""


def promoted_name(name: str) -> str:
    """Return what the batch of picks is called."""
    return f"{name[: MAX_NAME - len('-picks')]}-picks"


def promote(picks: Picks, jobs: Mapping[str, Job], source: Path, options: Options) -> str:
    """Return the text of a manifest that renders the picked jobs with `options.sets` changed.

    `jobs` are the batch's by id, `source` is its manifest; the new one belongs into the same folder, since the
    workflow it names lies there. Raises YoursError if a pick is no job of the batch, ManifestError if `source` is not
    sound or the sets do not fit it.
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
    name = parts.settings.name
    if picks.batch not in {"", name}:
        raise YoursError(f"picks: they are of the batch {quote(picks.batch)}, not of {quote(name)}")
    # Picks that differ only in what is set anew are one row.
    rows: dict[str, Row] = {}
    for pick in picks.picks:
        row = _row(jobs[pick.job], parts)
        _, notes = rows.setdefault(repr(row), (row, []))
        notes += [pick.note] if pick.note else []
    text = "\n".join(_manifest(tree, parts, list(rows.values()), options)) + "\n"
    if len(text.encode()) > MANIFEST_BYTES:
        raise YoursError(f"picks: {len(rows)} are too many for one manifest of {MANIFEST_BYTES >> 20} MiB")
    return text


def _row(job: Job, parts: Parts) -> dict[str, Scalar]:
    """Return a job's own values: no preset's name, nothing that is set anew, nothing the workflow has by itself."""
    own = parts.template.own
    names = [*(name for name in _ALWAYS if name in job.params), *(name for name in job.params if name not in _ALWAYS)]
    found: dict[str, Scalar] = {}
    for name in names:
        value = job.params[name]
        is_named = name in parts.template.params or name.startswith("_")
        is_usual = name not in _ALWAYS and name in own and own[name] == value
        if is_named and not is_usual and name not in parts.overrides:
            found[name] = value
    if any(isinstance(value, str) and fields_of(value) for value in found.values()):
        found[_DOLLAR] = "$"
    return found


def _manifest(tree: MappingNode, parts: Parts, rows: Sequence[Row], options: Options) -> Iterator[str]:
    name = parts.settings.name
    yield f"# {len(rows)} of the jobs of {name}, with their prompts and seeds; what `sweep` sets first is new."
    yield f"name: {promoted_name(name)}"
    if options.servers:
        yield f"server: [{', '.join(_scalar(own.url) for own in parts.servers.values())}]"
    for key in _KEPT:
        if key in tree.entries and not (key == "server" and options.servers):
            yield from _block(key, tree.entries[key].tree)
    common = _common([row for row, _ in rows])
    yield from ["defaults:"] if common else []
    yield from (f"  {key}: {_row_value(value)}" for key, value in common.items())
    yield "sweep:"
    for key, text in dict(options.sets).items():
        # What follows KEY= on the command line means the same here.
        yield f"  {key}: {_scalar(text) if isinstance(resolve_scalar(text), str) else text or 'null'}"
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
    is_filled = isinstance(value, str) and fields_of(value)
    return _scalar(str(value).replace("${", f"${{{_DOLLAR}}}{{") if is_filled else value)


def _scalar(value: Scalar) -> str:
    if not isinstance(value, str):
        return repr(value) if type(value) in {int, float} else json.dumps(value)
    if _PLAIN.fullmatch(value) and isinstance(resolve_scalar(value), str):
        return value
    quoted = json.dumps(value, ensure_ascii=False)
    return "".join(char if char.isprintable() else f"\\U{ord(char):08x}" for char in quoted)


def _block(name: str, tree: Tree, indent: int = 0) -> Iterator[str]:
    """Yield the lines of `name: …`; mappings below each other, lists in one line."""
    head = f"{' ' * indent}{_scalar(name)}:"
    if isinstance(tree, MappingNode) and tree.entries:
        yield head
        for inner, entry in tree.entries.items():
            yield from _block(inner, entry.tree, indent + 2)
    else:
        yield f"{head} {_flow(tree)}"


def _flow(tree: Tree) -> str:
    match tree:
        case ScalarNode():
            return _scalar(tree.text) if isinstance(tree.value, str) else tree.text or "null"
        case ListNode():
            return f"[{', '.join(map(_flow, tree.items))}]"
        case MappingNode():
            return _flow_mapping((name, _flow(entry.tree)) for name, entry in tree.entries.items())


def _flow_mapping(entries: Iterable[tuple[str, str]]) -> str:
    return f"{{{', '.join(f'{_scalar(name)}: {value}' for name, value in entries)}}}"
