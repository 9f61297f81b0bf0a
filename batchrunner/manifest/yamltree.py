"""A YAML document as it was written: every value with its place, so that every diagnostic names one."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, TypeAlias

import yaml

from batchrunner.errors import Complaint, ManifestError
from batchrunner.text import PATH_LIMIT, printable, quote

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from batchrunner.core.job import Json, Scalar

# -- A YAML document as it was written: every value with its place, so that every complaint can name it.


@dataclass(frozen=True, slots=True)
class Spot:
    """A place in a file a person wrote; `line` and `column` count from 1."""

    file: str
    line: int
    column: int


@dataclass(frozen=True, slots=True)
class Leaf:
    """A scalar: what it means, and the text that says so."""

    spot: Spot
    value: Scalar
    text: str


@dataclass(frozen=True, slots=True)
class Items:
    """A sequence."""

    spot: Spot
    items: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """A key of a table, with its own place, and what stands under it."""

    spot: Spot
    tree: Tree


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping; its keys are texts."""

    spot: Spot
    entries: Mapping[str, Entry]


Tree: TypeAlias = Leaf | Items | Table


def plain(tree: Tree) -> Json:
    """Return the tree without its places."""
    match tree:
        case Leaf():
            return tree.value
        case Items():
            return [plain(item) for item in tree.items]
        case Table():
            return {key: plain(entry.tree) for key, entry in tree.entries.items()}


def follow(tree: Tree, path: tuple[str | int, ...]) -> Tree:
    """Return what stands under `path`, as far as there is anything."""
    for step in path:
        match tree, step:
            case Table(entries=entries), str() if step in entries:
                tree = entries[step].tree
            case Items(items=items), int() if step < len(items):
                tree = items[step]
            case _:
                return tree
    return tree


# -- YAML 1.2's core schema: what an unquoted scalar means. `no`, `16:9`, `12:30:00`, `1_000` and dates are texts.


_WORDS: dict[str, bool | None] = {
    "": None,
    "~": None,
    **dict.fromkeys(("null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_ENDLESS = re.compile(r"([-+]?)\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_BASED = {"0x": (re.compile(r"0x[0-9a-fA-F]+"), 16), "0o": (re.compile(r"0o[0-7]+"), 8)}
_LONGEST_NUMBER = 400
"""Characters; Python itself refuses to read far longer ones."""


def resolve(text: str) -> Scalar:
    """Return what the unquoted `text` means: None, a truth value, a number, or the text itself."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) > _LONGEST_NUMBER:
        return text
    pattern, base = _BASED.get(text[:2], (_INT, 10))
    if pattern.fullmatch(text):
        return int(text, base)
    if _FLOAT.fullmatch(text):
        return float(text)
    endless = _ENDLESS.fullmatch(text)
    return float(text.replace(".", "")) if endless else text


# -- YAML text to a tree with places. Limits are checked on the stream of events, before anything is composed.
#
# libyaml's own composer recurses in C and dies of deep nesting; its parser does not. So only events are taken from it,
# and the tree is built here, at most 32 deep. An alias is the tree it names, not a copy; what all of them would be when
# written out is counted, so that nine lines cannot become a billion.


MOST_NESTING = 32
MOST_NODES = 200_000
MOST_ALIASES = 1000
_MOST_DIRECTIVES = 32

# PyYAML comes without libyaml on some platforms; the events are the same, only slower.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FORBIDDEN = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]",
)
_DIRECTIVE = re.compile(r"^%", re.MULTILINE)
_CORE = "tag:yaml.org,2002:"
_TAGS = {f"{_CORE}{name}": name for name in ("str", "int", "float", "bool", "null", "map", "seq")}
_TYPES: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "bool": (bool,), "null": (type(None),)}
_MERGE = "<<"


def compose(text: str, file: str) -> Tree:
    """Return the one document in `text`.

    Raises:
        ManifestError: it is not YAML, not one document, or beyond a limit.

    """
    _check_characters(text, file)
    return _Composer(text, file).document()


@dataclass(slots=True)
class _Counted:
    """A tree and how many nodes it is when every alias is written out."""

    tree: Tree
    nodes: int


class _Composer:
    def __init__(self, text: str, file: str) -> None:
        self._file = file
        self._anchors: dict[str, _Counted | None] = {}
        self._aliases = 0
        self._nodes = 0
        self._text, self._back = _hide_breaks(text)
        self._events = self._parse()

    def document(self) -> Tree:
        next(self._events)
        start = next(self._events)
        if isinstance(start, yaml.StreamEndEvent):
            self._refuse(start, "the manifest is empty")
        tree = self._node(next(self._events), 1).tree
        next(self._events)
        after = next(self._events)
        if not isinstance(after, yaml.StreamEndEvent):
            self._refuse(after, "a second document begins here; a manifest is one")
        return tree

    def _parse(self) -> Iterator[yaml.Event]:
        """Yield events, with every complaint of the parser in our words."""
        try:
            yield from yaml.parse(self._text, Loader=_LOADER)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            spot = Spot(self._file, mark.line + 1, mark.column + 1) if mark else Spot(self._file, 1, 1)
            _fail(spot, f"this is not YAML: {error.problem or error.context}{_hint(self._text, spot, error.problem)}")
        except yaml.YAMLError as error:
            _fail(Spot(self._file, 1, 1), f"this is not YAML: {printable(str(error))}")
        except (OverflowError, ValueError):
            # Only the parser in pure Python: it makes a character of any number that it reads.
            _fail(Spot(self._file, 1, 1), "this is not YAML: an escape names no character")

    def _node(self, event: yaml.Event, depth: int) -> _Counted:
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if depth > MOST_NESTING:
            self._refuse(event, f"nested deeper than {MOST_NESTING}")
        self._nodes += 1
        if self._nodes > MOST_NODES:
            self._refuse(event, f"more than {MOST_NODES:,} values")
        anchor = event.anchor if isinstance(event, yaml.NodeEvent) else None
        if anchor:
            self._anchors[anchor] = None
        counted = self._bare_node(event, depth)
        if anchor:
            self._anchors[anchor] = counted
        return counted

    def _bare_node(self, event: yaml.Event, depth: int) -> _Counted:
        if isinstance(event, yaml.ScalarEvent):
            return _Counted(self._leaf(event), 1)
        wanted = "seq" if isinstance(event, yaml.SequenceStartEvent) else "map"
        if self._tag(event) not in {None, wanted}:
            self._refuse(event, f"this is no !!{self._tag(event)}")
        return self._items(event, depth) if wanted == "seq" else self._table(event, depth)

    def _alias(self, event: yaml.AliasEvent) -> _Counted:
        self._aliases += 1
        if self._aliases > MOST_ALIASES:
            self._refuse(event, f"more than {MOST_ALIASES:,} aliases")
        name = event.anchor or ""
        if name not in self._anchors:
            self._refuse(event, f"the alias *{printable(name)} names no anchor above it")
        counted = self._anchors[name]
        if counted is None:
            self._refuse(event, f"the alias *{printable(name)} stands inside what it names")
        return counted

    def _leaf(self, event: yaml.ScalarEvent) -> Leaf:
        tag = self._tag(event)
        text = event.value.translate(self._back) if self._back else event.value
        if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
            self._refuse(event, "half of a surrogate pair is no character")
        is_plain = not event.style and tag is None
        value = resolve(text) if is_plain or tag in _TYPES else text
        if tag is not None and not _is_tagged(tag, value):
            self._refuse(event, f"{quote(text)} is no !!{tag}")
        return Leaf(self._spot(event), value, text)

    def _items(self, start: yaml.Event, depth: int) -> _Counted:
        items: list[Tree] = []
        nodes = 1
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            counted = self._node(event, depth + 1)
            items.append(counted.tree)
            nodes = self._sum(event, nodes, counted.nodes)
        return _Counted(Items(self._spot(start), tuple(items)), nodes)

    def _table(self, start: yaml.Event, depth: int) -> _Counted:
        entries: dict[str, Entry] = {}
        nodes = 1
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event, depth + 1).tree
            if not isinstance(key, Leaf):
                self._refuse(event, "a key must be a single value")
            if key.text in entries:
                first = entries[key.text].spot.line
                self._refuse(event, f"the key {quote(key.text)} stands twice: in line {first} and here")
            counted = self._node(next(self._events), depth + 1)
            nodes = self._sum(event, nodes + 1, counted.nodes)
            entries[key.text] = Entry(self._spot(event), counted.tree)
        for table in _merged(entries.pop(_MERGE)) if _MERGE in entries else ():
            entries = {**table.entries, **entries}
        return _Counted(Table(self._spot(start), entries), nodes)

    def _sum(self, event: yaml.Event, nodes: int, more: int) -> int:
        if nodes + more > MOST_NODES:
            self._refuse(event, f"more than {MOST_NODES:,} values once every alias is written out")
        return nodes + more

    def _tag(self, event: yaml.Event) -> str | None:
        tag = event.tag if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) else None
        if tag is None:
            return None
        if tag == "!":
            return "str" if isinstance(event, yaml.ScalarEvent) else None
        if tag not in _TAGS:
            self._refuse(event, f"the tag {quote(tag.replace(_CORE, '!!'))} is not read; only plain YAML is")
        return _TAGS[tag]

    def _spot(self, event: yaml.Event) -> Spot:
        mark = event.start_mark
        return Spot(self._file, mark.line + 1, mark.column + 1) if mark else Spot(self._file, 1, 1)

    def _refuse(self, event: yaml.Event, text: str) -> NoReturn:
        _fail(self._spot(event), text)


def _merged(entry: Entry) -> list[Table]:
    """Return the tables that a merge key names; the first wins over the next, what is written beside it over all."""
    tables = entry.tree.items if isinstance(entry.tree, Items) else (entry.tree,)
    found = [table for table in tables if isinstance(table, Table)]
    if len(found) < len(tables):
        _fail(entry.spot, "<< takes a mapping, or a list of mappings")
    return found


def _is_tagged(tag: str, value: Scalar) -> bool:
    """Tell whether a scalar is what its tag says; True is no !!int."""
    if tag == "str":
        return True
    return isinstance(value, _TYPES.get(tag, ())) and isinstance(value, bool) == (tag == "bool")


def _check_characters(text: str, file: str) -> None:
    found = _FORBIDDEN.search(text)
    if found:
        code = f"U+{ord(found[0]):04X}"
        _fail(_spot_at(text, found.start(), file), f"the character {code} cannot stand here; write it as an escape")
    # Each one is compared with all before it.
    directives = [match.start() for match in _DIRECTIVE.finditer(text)]
    if len(directives) > _MOST_DIRECTIVES:
        _fail(_spot_at(text, directives[_MOST_DIRECTIVES], file), "too many lines begin with %")


def _hide_breaks(text: str) -> tuple[str, dict[int, str]]:
    """Put stand-ins where YAML 1.1 sees line breaks and 1.2 does not; return also the way back."""
    breaks = [char for char in "\x85\u2028\u2029" if char in text]
    if not breaks:
        return text, {}
    free = (chr(code) for code in range(0xF0000, 0xFFFFE))
    stand_ins = {char: next(each for each in free if each not in text) for char in breaks}
    there = {ord(char): hidden for char, hidden in stand_ins.items()}
    return text.translate(there), {ord(hidden): char for char, hidden in stand_ins.items()}


def _spot_at(text: str, at: int, file: str) -> Spot:
    return Spot(file, text.count("\n", 0, at) + 1, at - text.rfind("\n", 0, at))


def _hint(text: str, spot: Spot, problem: str | None) -> str:
    """Say what a person can do, where the parser only says what it expected."""
    lines = text.split("\n")
    line = lines[spot.line - 1] if spot.line <= len(lines) else ""
    char = line[spot.column - 1 : spot.column]
    if char == "\t" or line[: spot.column].endswith("\t"):
        return "; indent with spaces, not tabs"
    if char and char in "@`%*&!" and problem and "cannot start any token" in problem:
        return f"; a text that begins with {char} needs quotes"
    if problem and "mapping values are not allowed" in problem:
        return "; a text with a colon and a space in it needs quotes"
    return ""


def _fail(spot: Spot, text: str) -> NoReturn:
    raise ManifestError([Complaint(printable(spot.file, PATH_LIMIT), spot.line, spot.column, "", text)])
