"""A YAML document as a tree in which every value has its place, so that every diagnostic can name one.

PyYAML parses; composed here, with YAML 1.2's meaning of plain scalars, the places, and limits. Those are checked while
the events arrive, before anything large is built, and in Python: libyaml's own composer recurses in C and crashes on
deep nesting. An alias is the tree it names, not a copy; what all of them would be when written out
is counted, so that nine lines cannot become a billion.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, NoReturn, TypeAlias

import yaml

from batchrunner.errors import Diagnostic, ManifestError
from batchrunner.text import PATH_LIMIT, printable, quote

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from batchrunner.core.job import Json, Scalar


class Location(NamedTuple):
    """A place in a file a person wrote; `line` and `column` count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


class ScalarNode(NamedTuple):
    """A scalar: its value, and the text it was written as."""

    location: Location
    value: Scalar
    text: str
    doubt: str = ""
    """Why an unquoted text may not be what its author meant, for a warning; usually empty."""


@dataclass(frozen=True, slots=True)
class ListNode:
    """A sequence."""

    location: Location
    items: tuple[Tree, ...]


@dataclass(frozen=True, slots=True)
class KeyValue:
    """A key of a table, with its own place, and what stands under it."""

    location: Location
    tree: Tree


@dataclass(frozen=True, slots=True)
class MappingNode:
    """A mapping; its keys are texts."""

    location: Location
    entries: Mapping[str, KeyValue]


Tree: TypeAlias = ScalarNode | ListNode | MappingNode


def plain(tree: Tree) -> Json:
    """Return the tree without its places."""
    match tree:
        case ScalarNode():
            return tree.value
        case ListNode():
            return [plain(item) for item in tree.items]
        case MappingNode():
            return {key: plain(entry.tree) for key, entry in tree.entries.items()}


def follow(tree: Tree, path: tuple[str | int, ...]) -> Tree:
    """Return what stands under `path`, as far as there is anything."""
    for step in path:
        match tree, step:
            case MappingNode(entries=entries), str() if step in entries:
                tree = entries[step].tree
            case ListNode(items=items), int() if step < len(items):
                tree = items[step]
            case _:
                return tree
    return tree


# -- YAML 1.2's core schema: what an unquoted scalar means. `no`, `16:9`, `12:30:00`, `1_000` and dates are texts.


_WORDS: dict[str, bool | None] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INT = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_ENDLESS = re.compile(r"([-+]?)\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_BASED = {"0x": (re.compile(r"0x[0-9a-fA-F]+"), 16), "0o": (re.compile(r"0o[0-7]+"), 8)}
_NUMBERS_BEGIN = frozenset("+-.0123456789")
_LONGEST_NUMBER = 400
"""Characters; Python itself refuses to read far longer ones."""


def resolve_scalar(text: str) -> Scalar:
    """Return what the unquoted `text` means: None, a truth value, a number, or the text itself."""
    if text in _WORDS:
        return _WORDS[text]
    if len(text) < 20 and text.isascii() and text.isdigit():
        return int(text)
    if text[0] not in _NUMBERS_BEGIN or len(text) > _LONGEST_NUMBER:
        return text
    pattern, base = _BASED.get(text[:2], (_INT, 10))
    if pattern.fullmatch(text):
        return int(text, base)
    if _FLOAT.fullmatch(text):
        return float(text)
    endless = _ENDLESS.fullmatch(text)
    return float(text.replace(".", "")) if endless else text


MAX_NESTING = 32
MAX_NODES = 200_000
MAX_ALIASES = 1000

# PyYAML comes without libyaml on some platforms; the events are the same, only slower.
_Parser = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]")
QUOTE_IT = "put the text in quotes, or keep prompts in a file: {file: prompts.txt}"
_KEY = re.compile(r"((?:- +| )*)([A-Za-z_][A-Za-z0-9_-]*):(?: |$)")
"""A line that begins with a key: what stands before it, and the key."""
_COMMENT = re.compile(r"[ \t]+#")
_STANDARD = "tag:yaml.org,2002:"
_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "int": (int,),
    "float": (int, float),
    "bool": (bool,),
    "null": (type(None),),
}


def compose(text: str, file: str) -> Tree:
    """Return the one document in `text`; `file` is its name in diagnostics.

    Raises ManifestError if it is not YAML, not one document, or beyond a limit.
    """
    found = _FORBIDDEN.search(text)
    if found:
        line, column = text.count("\n", 0, found.start()) + 1, found.start() - text.rfind("\n", 0, found.start())
        code = f"U+{ord(found[0]):04X}"
        _fail(Location(file, line, column), f"the character {code} cannot stand here; write it as an escape")
    hidden, restore = _hide_breaks(text)
    composer = _Composer(hidden, file, restore)
    try:
        return composer.document()
    except yaml.MarkedYAMLError as error:
        if open_quote := _open_quote(file, error, composer.scalar):
            _fail(*open_quote)
        mark = error.problem_mark or error.context_mark
        location = Location(file, mark.line + 1, mark.column + 1) if mark else Location(file, 1, 1)
        opened = error.context_mark.line + 1 if error.context_mark else location.line
        _fail(location, _advice(hidden, location, error.problem or error.context or "", opened))
    except (yaml.YAMLError, OverflowError, ValueError) as error:
        # OverflowError and ValueError: the parser in pure Python, of an escape that is no character.
        _fail(Location(file, 1, 1), f"this is not YAML: {printable(str(error))}")


class _Composer:
    """Makes the tree of a document from a parser's events, and keeps the limits."""

    def __init__(self, text: str, file: str, restore: dict[int, str]) -> None:
        self._next = _Parser(text).get_event
        self._file = file
        self._restore = restore
        self._written = _lines(text)
        self.scalar: yaml.ScalarEvent | None = None
        """The last one."""
        self._aliases = 0
        self._nodes = 0
        self._anchors: dict[str, tuple[Tree, int] | None] = {}
        """Anchor -> its tree and size; None while that is being made."""

    def document(self) -> Tree:
        self._next()
        begun = self._next()
        if isinstance(begun, yaml.StreamEndEvent):
            self._fail(begun, "the manifest is empty")
        tree, _ = self._node(self._next(), 0)
        self._next()
        if not isinstance(end := self._next(), yaml.StreamEndEvent):
            self._fail(end, "a second document begins here; a manifest is one")
        return tree

    def _node(self, event: yaml.NodeEvent, depth: int) -> tuple[Tree, int]:
        """Return the tree that begins with `event`, and how many nodes it is when every alias is written out."""
        if isinstance(event, yaml.AliasEvent):
            return self._alias(event)
        if depth == MAX_NESTING:
            self._fail(event, f"nested deeper than {MAX_NESTING}")
        self._nodes += 1
        if self._nodes > MAX_NODES:
            self._fail(event, f"more than {MAX_NODES:,} values")
        if isinstance(event, yaml.ScalarEvent):
            found: tuple[Tree, int] = self._scalar(event), 1
        else:
            if event.anchor is not None:
                self._anchors[event.anchor] = None
            is_list = isinstance(event, yaml.SequenceStartEvent)
            found = self._list(event, depth + 1) if is_list else self._mapping(event, depth + 1)
        if event.anchor is not None:
            self._anchors[event.anchor] = found
        return found

    def _alias(self, event: yaml.AliasEvent) -> tuple[Tree, int]:
        self._aliases += 1
        if self._aliases > MAX_ALIASES:
            self._fail(event, f"more than {MAX_ALIASES:,} aliases")
        name = printable(event.anchor or "")
        if event.anchor not in self._anchors:
            self._fail(event, f"the alias *{name} names no anchor above it; a text that begins with * needs quotes")
        found = self._anchors[event.anchor]
        if found is None:
            self._fail(event, f"the alias *{name} stands inside what it names")
        return found

    def _list(self, event: yaml.NodeEvent, depth: int) -> tuple[ListNode, int]:
        items: list[Tree] = []
        size = 1
        while not isinstance(begun := self._next(), yaml.SequenceEndEvent):
            tree, count = self._node(begun, depth)
            size = self._sum(size, count, begun)
            items.append(tree)
        self._check_tag(event, "seq")
        return ListNode(self._location(event), tuple(items)), size

    def _mapping(self, event: yaml.NodeEvent, depth: int) -> tuple[MappingNode, int]:
        entries: dict[str, KeyValue] = {}
        size = 1
        while not isinstance(begun := self._next(), yaml.MappingEndEvent):
            key, count = self._node(begun, depth)
            size = self._sum(size, count, begun)
            if not isinstance(key, ScalarNode):
                sign = "{" if isinstance(key, MappingNode) else "["
                text = f"a key must be a single value; if this is a text that begins with {sign}, {QUOTE_IT}"
                self._fail(begun, text)
            if key.text in entries:
                first = entries[key.text].location.line
                self._fail(begun, f"the key {quote(key.text)} stands twice: in line {first} and here")
            tree, count = self._node(self._next(), depth)
            size = self._sum(size, count, begun)
            entries[key.text] = KeyValue(key.location, tree)
        self._check_tag(event, "map")
        return MappingNode(self._location(event), _merged(entries)), size

    def _sum(self, size: int, count: int, event: yaml.Event) -> int:
        if size + count > MAX_NODES:
            self._fail(event, f"more than {MAX_NODES:,} values once every alias is written out")
        return size + count

    def _scalar(self, event: yaml.ScalarEvent) -> ScalarNode:
        self.scalar = event
        text = event.value.translate(self._restore) if self._restore else event.value
        location = self._location(event)
        if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
            _fail(location, "half of a surrogate pair is no character")
        if event.tag is None:
            if event.implicit[0]:
                return ScalarNode(location, resolve_scalar(text), text, self._doubt(event, location.line))
            return ScalarNode(location, text, text)
        if event.tag == "!":
            return ScalarNode(location, text, text)
        self._check_tag(event, "scalar")
        tag = event.tag.removeprefix(_STANDARD)
        value: Scalar = text if tag == "str" else resolve_scalar(text)
        # True is an int to Python, and no !!int.
        if not isinstance(value, _TYPES[tag]) or isinstance(value, bool) != (tag == "bool"):
            _fail(location, f"{quote(text)} is no !!{tag}")
        return ScalarNode(location, value, text)

    def _doubt(self, event: yaml.ScalarEvent, first: int) -> str:
        """Return why an unquoted scalar that begins in line `first` may have lost its end or taken in what follows."""
        mark = event.end_mark
        last = mark.line + 1 if mark else first
        if mark is None or last > len(self._written):
            return ""
        if _COMMENT.match(self._written[last - 1], mark.column):
            return f"the text ends where ` #` starts a comment; if that was part of it, {QUOTE_IT}"
        if first < last and any(line.lstrip().startswith("-") for line in self._written[first:last]):
            cure = "begin each entry in the same column, with `- `"
            return f"a line that begins with - continues the text above it; to make it an entry of the list, {cure}"
        return ""

    def _check_tag(self, event: yaml.NodeEvent, kind: str) -> None:
        written = event.tag  # type: ignore[attr-defined]  # the stubs do not know it of every event
        if written in (None, "!"):
            return
        tag = written.removeprefix(_STANDARD)
        if tag not in {*_TYPES, "seq", "map"}:
            cure = "" if written.startswith(_STANDARD) else "; a text that begins with ! needs quotes"
            shown = quote(written.replace(_STANDARD, "!!"))
            self._fail(event, f"the tag {shown} is not read; only plain YAML is{cure}")
        if tag != kind and not (kind == "scalar" and tag in _TYPES):
            self._fail(event, f"this is no !!{tag}")

    def _location(self, at: yaml.Event) -> Location:
        mark = at.start_mark
        return Location(self._file, mark.line + 1, mark.column + 1) if mark else Location(self._file, 1, 1)

    def _fail(self, at: yaml.Event, text: str) -> NoReturn:
        _fail(self._location(at), text)


def _merged(entries: dict[str, KeyValue]) -> dict[str, KeyValue]:
    """Return the entries of a mapping with those that `<<` brings in.

    Of several merged mappings the first wins over the next; what is written beside them wins over all.
    """
    merge = entries.pop("<<", None)
    if merge is not None:
        for tree in merge.tree.items if isinstance(merge.tree, ListNode) else (merge.tree,):
            if not isinstance(tree, MappingNode):
                _fail(merge.location, "<< takes a mapping, or a list of mappings")
            entries = {**tree.entries, **entries}
    return entries


def _hide_breaks(text: str) -> tuple[str, dict[int, str]]:
    """Put stand-ins where YAML 1.1 sees line breaks and 1.2 does not; return also the table back."""
    unused = (chr(code) for code in range(0xF0000, 0xFFFFE) if chr(code) not in text)
    stand_ins = {ord(char): next(unused) for char in "\x85\u2028\u2029" if char in text}
    return text.translate(stand_ins), {ord(hidden): chr(code) for code, hidden in stand_ins.items()}


def _lines(text: str) -> list[str]:
    """Return the lines as the parser counts them."""
    return re.split(r"\r\n|\r|\n", text)


def _open_quote(file: str, error: yaml.MarkedYAMLError, scalar: yaml.ScalarEvent | None) -> tuple[Location, str] | None:
    """Return where the quote opens that was forgotten to be closed, and what to say; None if none was.

    It runs to the end of the file, or to a quote in a later line that was to open another text (`scalar` ends there).
    """
    if "unexpected end of stream" in (error.problem or "") and error.context_mark:
        at = error.context_mark
        return Location(file, at.line + 1, at.column + 1), "the quote that opens here is not closed"
    found = error.problem_mark
    begin, end = (scalar.start_mark, scalar.end_mark) if scalar and scalar.style in {'"', "'"} else (None, None)
    if not (found and begin and end) or (end.line, end.column) != (found.line, found.column) or begin.line == end.line:
        return None
    advice = f"the quote that opens here ends only in line {end.line + 1}, before more text; close it before that"
    return Location(file, begin.line + 1, begin.column + 1), advice


def _advice(text: str, location: Location, problem: str, opened: int) -> str:
    """Return a syntax error's message with what a person can do about it; the parser only tells what it expected.

    `opened` is the line where what could not be read begins.
    """
    lines = _lines(text)
    line = lines[location.line - 1] if location.line <= len(lines) else ""
    before, char = line[: location.column - 1], line[location.column - 1 : location.column]
    if "expected" in problem and before.rstrip().endswith(('"', "'")):
        inside = '\\"' if before.rstrip().endswith('"') else "''"
        return (
            f"a text in quotes ends just before this; write a quote inside it as {inside}, "
            "or keep prompts in a file: {file: prompts.txt}"
        )
    begun = lines[opened - 1].strip() if opened <= len(lines) else ""
    if "\t" in {char, before[-1:]}:
        cure = "indent with spaces, not tabs"
    elif char and char in "@`%*&!" and "cannot start any token" in problem:
        cure = f"a text that begins with {char} needs quotes"
    elif "alphabetic or numeric" in problem:
        cure = "a text that begins with * or & needs quotes"
    elif "could not find expected ':'" in problem:
        space = " or it is an entry of a list and needs a space after its -," if re.match(r"-\S", begun) else ""
        cure = f"line {opened} has no colon after its key,{space} or it is a text: {QUOTE_IT}"
    else:
        simple = next((cure for part, cure in _CURES if part in problem), "")
        cure = simple or _layout(lines[: location.line - 1], before, char, problem)
    return f"this is not YAML: {problem}{cure and f'; {cure}'}"


_CURES = (
    ("escape character", r"write \\ for a backslash, or use single quotes"),
    ("comment or line break", "a text that begins with > or | needs quotes"),
    ("sequence entries", "begin a list on the line below its key; a text that begins with - needs quotes"),
)


def _layout(above: Sequence[str], before: str, char: str, problem: str) -> str:
    """Return what to do about columns, comments, braces and colons; `before` and `char` follow the lines `above`."""
    number, previous = next(((at, line) for at, line in reversed([*enumerate(above, 1)]) if line.strip()), (0, ""))
    ended = before.rstrip()[-1:]
    cure = ""
    if "mapping values" in problem:
        key, upper = _KEY.fullmatch(f"{before}:"), _KEY.match(previous)
        cure = f"a colon and a space start a mapping; if they belong to a text, {QUOTE_IT}"
        if key and upper and len(key[1]) != len(upper[1]):
            place = f"in the column of {printable(upper[2], 60)} in line {number} (column {len(upper[1]) + 1})"
            cure = f"if this is a key, begin it {place}; if it is a text, {QUOTE_IT}"
    elif "expected" not in problem:
        pass
    elif ended and ended in "}]":
        cure = f"if this is a text that begins with {'{' if ended == '}' else '['}, {QUOTE_IT}"
    elif char and char in "{[":
        cure = f"if {char} belongs to a text, {QUOTE_IT}"
    elif not before.strip(" -") and "',' or" not in problem:
        cure = f"the lines of one block begin in the same column, and this one begins in column {len(before) + 1}"
        if _COMMENT.search(previous):
            cure = f"the ` #` in line {number} starts a comment and ends the text: {QUOTE_IT}"
    return cure


def _fail(location: Location, text: str) -> NoReturn:
    raise ManifestError([Diagnostic(printable(location.file, PATH_LIMIT), location.line, location.column, "", text)])
