"""Dynamic prompts: `A {red|blue} __animal__` as all the texts it can become, or some of them at random.

The library `dynamicprompts` (the extra `wildcards`) parses them. Counting and choosing are done here: how many texts
there are is known before any is made, and a draw is the same on every machine and with every version of the library.
"""

from __future__ import annotations

import re
from bisect import bisect
from dataclasses import dataclass
from itertools import accumulate, permutations, product
from math import factorial
from random import Random
from typing import TYPE_CHECKING, TypeAlias
from warnings import catch_warnings

from batchrunner.manifest.yamltree import Location
from batchrunner.text import quote
from batchrunner.workflow.values import LONGEST_TEXT

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dynamicprompts.commands import Command, VariantCommand

    from batchrunner.manifest.diagnostics import Diagnostics
    from batchrunner.manifest.tables import Files

FOLDER = "wildcards"
"""Where `__animal__` is `animal.txt`, beside the manifest."""
MISSING = "needs the library dynamicprompts: pip install 'batchrunner[wildcards]'"
MAX_DEPTH = 10
"""Braces and wildcards inside one another."""
MAX_SIGNS = 3000
"""`{`, `|` and `__` in all dynamic prompts of a manifest and their wildcards: the parser takes about 1 ms for each."""
MAX_PICKS = 20
"""Entries that one choice may take at once: `{20$$…}`."""
MOST = 10**18
"""Where counting ends."""
_SYNTAX = re.compile(r"\{|__")
_OWN_FIELD = r"\$\{[^{}\n]*\}"
_FOREIGN_VARIABLE = re.compile(r"\$\{\s*[A-Za-z_-][A-Za-z0-9_-]*\s*[?=:]")
_LITERAL = re.compile(rf"(\{{\s*~?\s*[0-9-]+\$\$(?:[^${{}}]+\$\$)?)|{_OWN_FIELD}|[$%#\t]|/(?=[/*])")
"""What the library would read as variables, comments or commands and a manifest does not; group 1 it may read."""


@dataclass(frozen=True, slots=True)
class Text:
    """A text that is always the same. The fields of `Choice` have the same meaning."""

    text: str
    cost: int
    size: int = 1
    depth: int = 0


@dataclass(frozen=True, slots=True)
class Joined:
    """Parts that follow one another. The fields of `Choice` have the same meaning."""

    parts: tuple[Part, ...]
    size: int
    cost: int
    depth: int


@dataclass(frozen=True, slots=True)
class Choice:
    """`low` to `high` different ones of some options."""

    options: tuple[Part, ...]
    ends: tuple[float, ...]
    """The sums of the weights up to each option."""
    low: int
    high: int
    separator: str
    size: int
    """How many texts it can become, at most `MOST`; equal ones count."""
    cost: int
    """The most characters that a text can have, and one for each part of it."""
    depth: int
    """How many choices are inside one another."""


Part: TypeAlias = Text | Joined | Choice


def every(part: Part) -> list[str]:
    """Return all texts that `part` can become, the last choice fastest."""
    match part:
        case Text():
            return [part.text]
        case Joined():
            return ["".join(texts) for texts in product(*map(every, part.parts))]
        case Choice():
            options = [every(option) for option in part.options]
            return [
                part.separator.join(texts)
                for count in range(part.low, part.high + 1)
                for chosen in permutations(options, count)
                for texts in product(*chosen)
            ]


def draw(part: Part, count: int, base: int) -> list[str]:
    """Return `count` random texts, each depending on `base` and its index alone.

    They are different as long as there are others to be found; a larger `count` keeps the first ones.
    """
    found: list[str] = []
    seen: set[str] = set()
    index, repeats = 0, 4 * count + 64
    while len(found) < count:
        text = _drawn(part, Random(f"{base} {index}"))  # noqa: S311 - no secret
        index += 1
        if text in seen and len(seen) < part.size and repeats:
            repeats -= 1
            continue
        seen.add(text)
        found.append(text)
    return found


def _drawn(part: Part, random: Random) -> str:
    # Of all its methods, only random() is promised to give the same numbers in every version of Python.
    match part:
        case Text():
            return part.text
        case Joined():
            return "".join([_drawn(each, random) for each in part.parts])
        case Choice():
            count = part.low + int(random.random() * (part.high - part.low + 1))
            last = len(part.options) - 1
            chosen: dict[int, None] = {}
            for _ in range(20 * count):
                if len(chosen) == count:
                    break
                chosen[min(bisect(part.ends, random.random() * part.ends[-1]), last)] = None
            # Options that weigh next to nothing are hardly ever met; they come last then.
            rest = (index for index in range(last + 1) if index not in chosen)
            indexes = [*chosen, *(next(rest) for _ in range(count - len(chosen)))]
            return part.separator.join([_drawn(part.options[index], random) for index in indexes])


class UnreadableError(Exception):
    """A dynamic prompt cannot be read, and why is recorded."""


class DynamicReader:
    """Reads the dynamic prompts of one manifest and the wildcards they name; records what is wrong with them."""

    def __init__(self, files: Files, diagnostics: Diagnostics) -> None:
        self._files = files
        self._report = diagnostics.add
        self._signs_left = MAX_SIGNS
        self._lists: dict[str, tuple[Part, ...]] = {}

    def read(self, text: str, location: Location, path: str) -> Part | None:
        """Return what `text` can become, or None after recording why it cannot be read."""
        try:
            import dynamicprompts.parser.parse  # noqa: F401, PLC0415 - an extra
        except ImportError:
            self._report(location, path, MISSING)
            return None
        try:
            part = self._part(text, location, path, ())
        except UnreadableError:
            return None
        if part.cost > LONGEST_TEXT:
            self._report(location, path, f"can become longer than {LONGEST_TEXT:,} characters")
            return None
        return part

    def _part(self, text: str, location: Location, path: str, within: tuple[str, ...]) -> Part:
        """Return what `text` can become; `within` names the wildcards it stands in."""
        if not _SYNTAX.search(text):
            return Text(text, len(text) + 1)
        if len(text) > LONGEST_TEXT:
            raise self.wrong(location, path, f"is longer than {LONGEST_TEXT:,} characters")
        self._signs_left -= text.count("{") + text.count("|") + text.count("__")
        if self._signs_left < 0:
            cure = "put long lists in wildcard files, one plain text a line"
            raise self.wrong(location, path, f"more than {MAX_SIGNS:,} braces, bars and wildcards: {cure}")
        depths = accumulate(text, lambda depth, char: max(0, depth + (char == "{") - (char == "}")), initial=0)
        if max(depths) > MAX_DEPTH:
            raise self.wrong(location, path, f"braces nested deeper than {MAX_DEPTH}")
        if _FOREIGN_VARIABLE.search(text):
            cure = 'write `_x: {dynamic: "…"}` beside it, and ${_x} here'
            raise self.wrong(location, path, f"dynamicprompts' own variables are not read: {cure}")
        return _Conversion(self, text, location, path, within).part()

    def options(self, name: str, location: Location, path: str, within: tuple[str, ...]) -> tuple[Part, ...]:
        """Return what the lines of a wildcard's file can become."""
        if name in within:
            raise self.wrong(location, path, f"the wildcard {quote(name)} leads back to itself")
        if len(within) == MAX_DEPTH:
            raise self.wrong(location, path, f"wildcards nested deeper than {MAX_DEPTH}")
        if not re.fullmatch(r"[^*?\[\]\\]+", name):
            raise self.wrong(location, path, f"the wildcard {quote(name)} must name one file in {FOLDER}/")
        if name not in self._lists:
            file = f"{FOLDER}/{name}.txt"
            read = self._files.text(file, location, path)
            if read is None:
                raise UnreadableError
            content, shown = read
            lines = enumerate(map(str.strip, re.split(r"\r\n|\r|\n", content)), 1)
            kept = [(number, line) for number, line in lines if line and not line.startswith("#")]
            if not kept:
                raise self.wrong(location, path, f"{quote(file)} has no lines")
            inside = (*within, name)
            self._lists[name] = tuple([self._part(line, Location(shown, at, 1), "", inside) for at, line in kept])
        return self._lists[name]

    def wrong(self, location: Location, path: str, text: str) -> UnreadableError:
        """Record what is wrong; what is returned, raised, gives up this dynamic prompt."""
        self._report(location, path, text)
        return UnreadableError()


class _Conversion:
    """One text: what the library parses of it as parts."""

    def __init__(
        self, reader: DynamicReader, text: str, location: Location, path: str, within: tuple[str, ...]
    ) -> None:
        self._reader = reader
        self._at = location, path
        self._within = within
        unused = (chr(code) for code in range(0xF0000, 0xFFFFE) if chr(code) not in text)
        literals = dict.fromkeys(found[0] for found in _LITERAL.finditer(text) if not found[1])
        stand_ins = {literal: next(unused) for literal in literals}
        self._text = text
        self._hidden = _LITERAL.sub(lambda found: found[1] or stand_ins[found[0]], text)
        self._restore = {ord(stand_in): literal for literal, stand_in in stand_ins.items()}

    def part(self) -> Part:
        """Return what the text can become."""
        from dynamicprompts.parser.parse import parse  # noqa: PLC0415 - an extra
        from pyparsing import ParseBaseException  # noqa: PLC0415 - an extra

        try:
            # The library calls its parser's older names, which newer ones warn of.
            with catch_warnings(action="ignore", category=DeprecationWarning):
                command = parse(self._hidden)
        except (ParseBaseException, ValueError, AssertionError, RecursionError):
            cure = "each { needs its }, and __ stands on both sides of a wildcard's name"
            raise self._wrong(f"{quote(self._text)} is not a dynamic prompt: {cure}") from None
        return self._part(command)

    def _part(self, command: Command) -> Part:
        from dynamicprompts.commands import (  # noqa: PLC0415 - an extra
            LiteralCommand,
            SamplingMethod,
            SequenceCommand,
            VariantCommand,
            WildcardCommand,
        )

        if command.sampling_method not in {None, SamplingMethod.RANDOM}:
            raise self._wrong("`!` and `@` choose no order here: write count, or all: true")
        match command:
            case LiteralCommand():
                literal = self._restored(command.literal)
                return Text(literal, len(literal) + 1)
            case SequenceCommand():
                return _joined([self._part(token) for token in command.tokens])
            case VariantCommand():
                return self._variant(command)
            case WildcardCommand(wildcard=str(name)) if not command.variables:
                options = self._options(name)
                return self._choice(options, [1.0] * len(options), 1, 1, "")
        raise self._wrong("only {a|b}, {2$$a|b|c}, weights and __names__ are read here")

    def _variant(self, command: VariantCommand) -> Part:
        from dynamicprompts.commands import WildcardCommand  # noqa: PLC0415 - an extra

        match command.values:
            case [WildcardCommand(wildcard=str(name), variables={})]:
                options: Sequence[Part] = self._options(name)
                weights = [1.0] * len(options)
            case _:
                options, weights = [self._part(value) for value in command.values], command.weights
        return self._choice(options, weights, command.min_bound, command.max_bound, self._restored(command.separator))

    def _choice(self, options: Sequence[Part], weights: Sequence[float], low: int, high: int, separator: str) -> Choice:
        low, high = min(low, len(options)), min(high, len(options))
        if high > MAX_PICKS:
            raise self._wrong(f"takes more than {MAX_PICKS} entries of one list at once")
        depth = 1 + max(option.depth for option in options)
        if depth > MAX_DEPTH:
            raise self._wrong(f"braces and wildcards nested deeper than {MAX_DEPTH}")
        weights = weights if sum(weights) else [1.0] * len(options)
        cost = 1 + high * (max(option.cost for option in options) + len(separator))
        ends = tuple(accumulate(weights))
        return Choice(tuple(options), ends, low, high, separator, _size(options, low, high), cost, depth)

    def _options(self, name: str) -> tuple[Part, ...]:
        return self._reader.options(self._restored(name.strip()), *self._at, self._within)

    def _restored(self, text: str) -> str:
        return text.translate(self._restore)

    def _wrong(self, text: str) -> UnreadableError:
        return self._reader.wrong(*self._at, text)


def _joined(parts: Sequence[Part]) -> Joined:
    size = 1
    for part in parts:
        size = min(size * part.size, MOST)
    depth = max((part.depth for part in parts), default=0)
    return Joined(tuple(parts), size, 1 + sum(part.cost for part in parts), depth)


def _size(options: Sequence[Part], low: int, high: int) -> int:
    """Return how many texts `low` to `high` of some options can become, in any order."""
    ways = [1] + [0] * high
    for option in options:
        for count in range(high, 0, -1):
            ways[count] += ways[count - 1] * option.size
    return min(sum(factorial(count) * ways[count] for count in range(low, high + 1)), MOST)
