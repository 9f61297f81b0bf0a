"""`promote`: the picks of a batch as a manifest of their own, with the same prompts and seeds."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from batchrunner.errors import YoursError
from batchrunner.manifest.diagnostics import Complaints
from batchrunner.manifest.load import read_parts
from batchrunner.manifest.tables import MANIFEST_BYTES, SourceError, read_text
from batchrunner.manifest.values import names_in
from batchrunner.manifest.yamltree import Items, Leaf, Table, compose, resolve
from batchrunner.text import PATH_LIMIT, listing, printable, quote

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from batchrunner.core.job import Job, Json, Scalar
    from batchrunner.manifest.batch import Options
    from batchrunner.manifest.load import Parts
    from batchrunner.manifest.yamltree import Tree

# -- Values and trees to YAML that `load` reads back as they were: a text is quoted unless it is plainly a text.


_PLAIN = re.compile(r"[A-Za-z_][\w./-]*|[0-9]+(ms|s|m|h|d)", re.ASCII)
_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\t": "\\t", "\r": "\\r"}


def scalar(value: Scalar) -> str:
    """Return one value in one line."""
    match value:
        case None:
            return "null"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return repr(value)
        case str():
            return _text(value)


def mapping(entries: Iterable[tuple[str, str]]) -> str:
    """Return a mapping in one line; names and values as they are to stand there."""
    return f"{{{', '.join(f'{_text(name)}: {value}' for name, value in entries)}}}"


def block(name: str, tree: Tree, indent: int = 0) -> Iterator[str]:
    """Yield the lines of `name: …`; mappings below each other, lists in one line where they hold values only."""
    head = f"{' ' * indent}{_text(name)}:"
    if isinstance(tree, Table) and tree.entries:
        yield head
        for inner, entry in tree.entries.items():
            yield from block(inner, entry.tree, indent + 2)
    else:
        yield f"{head} {_flow(tree)}"


def _flow(tree: Tree) -> str:
    match tree:
        case Leaf():
            return _text(tree.text) if isinstance(tree.value, str) else tree.text or "null"
        case Items():
            return f"[{', '.join(map(_flow, tree.items))}]"
        case Table():
            return mapping((name, _flow(entry.tree)) for name, entry in tree.entries.items())


def _text(text: str) -> str:
    if _PLAIN.fullmatch(text) and isinstance(resolve(text), str):
        return text
    return f'"{"".join(map(_character, text))}"'


def _character(char: str) -> str:
    if char in _SHORT:
        return _SHORT[char]
    if char.isprintable():
        return char
    code = ord(char)
    return f"\\x{code:02x}" if code <= 0xFF else f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


# -- `picks.json`: what somebody starred in the gallery. It comes from a browser, so it is read as a stranger's.


_JOB = re.compile(r"[0-9a-f]{12}")


@dataclass(frozen=True, slots=True)
class Pick:
    """One starred job; everything else about it stands in the batch's state."""

    job: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Picks:
    """The starred jobs of one batch, in the order of the gallery, each once."""

    batch: str
    picks: tuple[Pick, ...]
    manifest: str = ""
    """The batch's manifest as it was given on the command line; empty if the gallery did not know."""


def read_picks(text: str) -> Picks:
    """Return what `text` picks. YoursError if it is no `picks.json`, or picks nothing."""
    try:
        content: Json = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise YoursError(f"picks: this is not JSON: {error}") from None
    if not isinstance(content, dict) or not isinstance(content.get("picks"), list):
        raise YoursError('picks: this is not a file that the gallery saved: it has no list "picks"')
    found = [_pick(item, place) for place, item in enumerate(_items(content))]
    if not found:
        raise YoursError("picks: nothing is picked: star something in the gallery first")
    each: dict[str, Pick] = {}
    for pick in found:
        each.setdefault(pick.job, pick)
    return Picks(_text_of(content, "batch"), tuple(each.values()), _text_of(content, "manifest"))


def _items(content: dict[str, Json]) -> list[Json]:
    items = content["picks"]
    return items if isinstance(items, list) else []


def _pick(item: Json, place: int) -> Pick:
    job = _text_of(item, "job") if isinstance(item, dict) else ""
    if not isinstance(item, dict) or not _JOB.fullmatch(job):
        raise YoursError(f'picks[{place}]: "job" must be a job id: 12 hex digits')
    return Pick(job, _text_of(item, "note"))


def _text_of(content: dict[str, Json], name: str) -> str:
    value = content.get(name)
    return value if isinstance(value, str) else ""


# -- `promote`: the picks of a batch as a manifest of their own, with the same prompts and seeds.
#
# Its rows say what the picked jobs were, in values, not in how those came to be: a preset that is edited tomorrow
# changes none of them. What `--set` says stands once, above the rows, and takes the place of all that it sets.


Row: TypeAlias = "tuple[dict[str, Scalar], list[str]]"
"""The values of one row, and the notes on it."""
_ALWAYS = ("prompt", "seed")
"""What every row says for itself, even if all say the same or the workflow has it anyway."""
_KEPT = (
    *("server", "ttl", "workflow", "params", "outputs", "presets"),
    *("attempts", "depth", "patience", "settle", "grace", "poll", "stuck", "max_jobs"),
)
_LONGEST_NAME = 64
_LONGEST_NOTE = 200
_DOLLAR = "_dollar"
"""An own variable that holds a `$`: `${` in a prompt that is filled in already must not be filled in again."""


def promote(picks: Picks, jobs: Mapping[str, Job], source: Path, options: Options) -> str:
    """Return the text of a manifest that renders the picked jobs with `options.sets` changed.

    `jobs` are the batch's by id, `source` is its manifest; the new one belongs into the same folder, since the
    workflow it names lies there. Raises YoursError if a pick is no job of the batch, ManifestError if `source` is not
    sound or the sets do not fit it.
    """
    strangers = [pick.job for pick in picks.picks if pick.job not in jobs]
    if strangers:
        raise YoursError(f"picks: {listing(strangers)}: no such job in the batch {quote(picks.batch)}")
    tree = _tree(source)
    parts = read_parts(source, tree, options, Complaints())
    name = parts.settings.name
    if picks.batch not in {"", name}:
        raise YoursError(f"picks: they are of the batch {quote(picks.batch)}, not of {quote(name)}")
    rows = _rows([(jobs[pick.job], pick.note) for pick in picks.picks], parts)
    text = "\n".join(_manifest(tree, parts, rows, options)) + "\n"
    if len(text.encode()) > MANIFEST_BYTES:
        raise YoursError(f"picks: {len(rows)} are too many for one manifest of {MANIFEST_BYTES >> 20} MiB")
    return text


def promoted_name(name: str) -> str:
    """Return what the batch of picks is called."""
    return f"{name[: _LONGEST_NAME - len('-picks')]}-picks"


def _tree(source: Path) -> Table:
    try:
        tree = compose(read_text(source, MANIFEST_BYTES), str(source))
    except SourceError as error:
        raise YoursError(f"{printable(str(source), PATH_LIMIT)}: {error}") from None
    if not isinstance(tree, Table):
        raise YoursError(f"{printable(str(source), PATH_LIMIT)}: this is no manifest")
    return tree


def _row(job: Job, parts: Parts) -> dict[str, Scalar]:
    """Return a job's own values: no preset's name, nothing that is set anew, nothing the workflow has by itself."""
    own = parts.template.own
    found: dict[str, Scalar] = {}
    for name, value in sorted(job.params.items(), key=_first):
        is_named = name in parts.template.params or name.startswith("_")
        is_usual = name not in _ALWAYS and name in own and own[name] == value
        if is_named and not is_usual and name not in parts.above:
            found[name] = value
    if any(isinstance(value, str) and names_in(value) for value in found.values()):
        found[_DOLLAR] = "$"
    return found


def _first(pair: tuple[str, Scalar]) -> int:
    """Order a row: what it is about comes first."""
    return _ALWAYS.index(pair[0]) if pair[0] in _ALWAYS else len(_ALWAYS)


def _rows(picked: Sequence[tuple[Job, str]], parts: Parts) -> list[Row]:
    """Return (values, notes) of every row; picks that differ only in what is set anew are one."""
    found: dict[str, Row] = {}
    for job, note in picked:
        row = _row(job, parts)
        _, notes = found.setdefault(repr(row), (row, []))
        notes += [note] if note else []
    return list(found.values())


def _manifest(tree: Table, parts: Parts, rows: Sequence[Row], options: Options) -> Iterator[str]:
    alike = _alike([row for row, _ in rows])
    name = parts.settings.name
    yield f"# {len(rows)} of the jobs of {name}, with their prompts and seeds; what `sweep` sets first is new."
    yield f"name: {promoted_name(name)}"
    yield from _settings(tree, parts, options)
    yield from ["defaults:"] if alike else []
    yield from (f"  {key}: {_row_value(value)}" for key, value in alike.items())
    yield "sweep:"
    yield from (f"  {key}: {_set(text)}" for key, text in dict(options.sets).items())
    yield "  rows:"
    for row, notes in rows:
        yield from _lines(row, notes, alike)


def _settings(tree: Table, parts: Parts, options: Options) -> Iterator[str]:
    """Yield what is as it was: where and how it renders."""
    if options.servers:
        yield f"server: [{', '.join(map(scalar, parts.servers))}]"
    for key in _KEPT:
        if key in tree.entries and not (key == "server" and options.servers):
            yield from block(key, tree.entries[key].tree)


def _lines(row: Mapping[str, Scalar], notes: Iterable[str], alike: Mapping[str, Scalar]) -> Iterator[str]:
    for note in notes:
        yield f"    # {printable(note, _LONGEST_NOTE)}"
    yield f"    - {mapping((name, _row_value(value)) for name, value in row.items() if name not in alike)}"


def _row_value(value: Scalar) -> str:
    """Return a value of a row; a `${` in it means itself."""
    if not isinstance(value, str) or not names_in(value):
        return scalar(value)
    return scalar(value.replace("${", f"${{{_DOLLAR}}}{{"))


def _set(text: str) -> str:
    """Return what follows `KEY=` on the command line, so that it means the same here."""
    return scalar(text) if isinstance(resolve(text), str) else text or scalar(None)


def _alike(rows: Sequence[Mapping[str, Scalar]]) -> dict[str, Scalar]:
    """Return what all rows have in common; what tells them apart even if there is one row only stays in it."""
    first = rows[0]
    return {
        name: value
        for name, value in first.items()
        if name not in _ALWAYS and all(name in row and _same(row[name], value) for row in rows)
    }


def _same(one: Scalar, other: Scalar) -> bool:
    return one == other and type(one) is type(other)
