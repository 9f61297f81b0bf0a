"""What may be changed in a module, one change at a time.

Only text is replaced, so that the rest of the module stays as it is and a change reads like a slip of the hand. What a
test can't be asked to notice is left alone: annotations, decorators, imports, docstrings, sentences for people.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence


@dataclass(frozen=True)
class Mutant:
    """One change of one module."""

    path: str
    """Of the module, from the repository's root."""
    line: int
    function: str
    """Where it is, without a line number: `Board.put`."""
    before: str
    after: str
    """The lines it changes, in one; both stand for the change where it is judged."""
    source: str
    """The whole module, changed."""

    @property
    def key(self) -> tuple[str, str, str]:
        """What a judgement goes by: neither the file nor the line, which may move."""
        return self.function, self.before, self.after

    @property
    def slip(self) -> str:
        """What is changed into what."""
        return f"{self.before} -> {self.after}"

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {self.slip}"


_COMPARISONS: Mapping[type[ast.cmpop], tuple[str, str]] = {
    ast.Lt: (r"<", "<="),
    ast.LtE: (r"<=", "<"),
    ast.Gt: (r">", ">="),
    ast.GtE: (r">=", ">"),
    ast.Eq: (r"==", "!="),
    ast.NotEq: (r"!=", "=="),
    ast.Is: (r"\bis\b", "is not"),
    ast.IsNot: (r"\bis\s+not\b", "is"),
    ast.In: (r"\bin\b", "not in"),
    ast.NotIn: (r"\bnot\s+in\b", "in"),
}
_ARITHMETIC: Mapping[type[ast.operator], tuple[str, str]] = {
    ast.Add: (r"\+", "-"),
    ast.Sub: (r"-", "+"),
    ast.Mult: (r"\*", "/"),
    ast.Div: (r"/", "*"),
    ast.FloorDiv: (r"//", "*"),
    ast.Mod: (r"%", "*"),
    ast.Pow: (r"\*\*", "*"),
    ast.BitOr: (r"\|", "&"),
    ast.BitAnd: (r"&", "|"),
}
_JUNCTIONS: Mapping[type[ast.boolop], tuple[str, str]] = {ast.And: (r"\band\b", "or"), ast.Or: (r"\bor\b", "and")}
_NAMES = {"min": "max", "max": "min", "any": "all", "all": "any"}
_TYPE_MAKERS = frozenset({"TypeVar", "cast", "namedtuple", "NewType"})

Place: TypeAlias = tuple[int, int, str]
"""Where bytes begin and end, and what to put in their place."""


def mutants(path: str, source: str) -> list[Mutant]:
    """Return every change of one module, by line; no two of them give the same source."""
    body = source.encode()
    starts = [0]
    for line in body.splitlines(keepends=True):
        starts.append(starts[-1] + len(line))
    found: dict[str, Mutant] = {}
    for function, (begin, end, text) in _Sites(body, starts).of(ast.parse(source)):
        changed = (body[:begin] + text.encode() + body[end:]).decode()
        first = body.rfind(b"\n", 0, begin) + 1
        last = body.find(b"\n", end) if b"\n" in body[end:] else len(body)
        before = " ".join(body[first:last].decode().split())
        after = " ".join((body[first:begin] + text.encode() + body[end:last]).decode().split())
        if changed != source:
            found.setdefault(changed, Mutant(path, body.count(b"\n", 0, begin) + 1, function, before, after, changed))
    return sorted(found.values(), key=lambda one: (one.line, one.after))


class _Sites:
    """A walk through one module that says what may be changed where."""

    def __init__(self, body: bytes, starts: Sequence[int]) -> None:
        self._body = body
        self._starts = starts

    def of(self, node: ast.AST, function: str = "") -> Iterator[tuple[str, Place]]:
        """Yield the changes of a node and of all below it."""
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            function = f"{function}.{node.name}".strip(".")
        yield from ((function, place) for place in self._changes(node, function))
        for child in _children(node):
            yield from self.of(child, function)

    def _changes(self, node: ast.AST, function: str) -> Iterator[Place]:
        yield from self._operators(node)
        yield from self._conditions(node)
        yield from self._values(node)
        yield from ((*self._span(statement), "pass") for statement in _removable(node, function))

    def _operators(self, node: ast.AST) -> Iterator[Place]:
        match node:
            case ast.Compare():
                sides = [node.left, *node.comparators]
                for left, operator, right in zip(sides, node.ops, sides[1:], strict=False):
                    yield from self._between(left, right, _COMPARISONS[type(operator)])
            case ast.BoolOp():
                for left, right in pairwise(node.values):
                    yield from self._between(left, right, _JUNCTIONS[type(node.op)])
            case ast.BinOp() if type(node.op) in _ARITHMETIC:
                yield from self._between(node.left, node.right, _ARITHMETIC[type(node.op)])
            case ast.AugAssign() if type(node.op) in _ARITHMETIC:
                yield from self._between(node.target, node.value, _ARITHMETIC[type(node.op)])
            case ast.UnaryOp(op=ast.Not() | ast.USub()):
                yield self._span(node)[0], self._span(node.operand)[0] - self._brackets(node), ""

    def _conditions(self, node: ast.AST) -> Iterator[Place]:
        match node:
            case ast.If() | ast.IfExp() if not _is_for_types(node):
                yield from ((*self._span(node.test), value) for value in ("True", "False"))
            case ast.While():
                yield (*self._span(node.test), "False")
            case ast.comprehension():
                yield from ((*self._span(test), value) for test in node.ifs for value in ("True", "False"))
            case ast.match_case(guard=None):
                # The pattern's own end may lie inside of brackets.
                colon = self._body.index(b":", self._span(node.pattern)[1])
                yield colon, colon, " if False"
            case ast.match_case(guard=ast.expr() as guard):
                yield from ((*self._span(guard), value) for value in ("True", "False"))

    def _values(self, node: ast.AST) -> Iterator[Place]:
        match node:
            case ast.Constant(value=bool() | int() | float()):
                yield (*self._span(node), repr(_next(node.value)))
            case ast.Call(func=ast.Name(id=name)) if name in _NAMES:
                yield (*self._span(node.func), _NAMES[name])
            case ast.Return(value=ast.expr() as value) if not isinstance(value, ast.Constant):
                yield (*self._span(value), "None")
        for constant in _strings(*_compared_or_returned(node)):
            yield (*self._span(constant), repr(_other(constant.value)))

    def _brackets(self, node: ast.UnaryOp) -> int:
        """Return how many bytes lie between `not` or `-` and its operand that are the operand's own brackets."""
        between = self._body[self._span(node)[0] : self._span(node.operand)[0]]
        return len(between) - between.index(b"(") if b"(" in between else 0

    def _between(self, left: ast.AST, right: ast.AST, swap: tuple[str, str]) -> Iterator[Place]:
        begin, end = self._span(left)[1], self._span(right)[0]
        if found := re.search(swap[0].encode(), self._body[begin:end]):
            yield begin + found.start(), begin + found.end(), swap[1]

    def _span(self, node: ast.AST) -> tuple[int, int]:
        """Return where a node's text begins and ends, in bytes."""
        names = ("lineno", "col_offset", "end_lineno", "end_col_offset")
        line, column, last, end = (int(getattr(node, name)) for name in names)
        return self._starts[line - 1] + column, self._starts[last - 1] + end


def _children(node: ast.AST) -> Iterable[ast.AST]:
    """Return what of a node is looked at: no annotation, decorator, text for people, or type."""
    found: Iterable[ast.AST] = ast.iter_child_nodes(node)
    match node:
        case ast.JoinedStr() | ast.Import() | ast.ImportFrom() | ast.Assign(targets=[ast.Name(id="__all__")]):
            found = ()
        case ast.FunctionDef() | ast.AsyncFunctionDef():
            found = [*node.args.defaults, *(each for each in node.args.kw_defaults if each), *node.body]
        case ast.ClassDef():
            found = node.body
        case ast.AnnAssign():
            found = [node.value] if node.value and ast.unparse(node.annotation) != "TypeAlias" else ()
        case ast.If() if _is_for_types(node):
            found = node.orelse
        case ast.Call(func=ast.Name(id="isinstance")):
            found = node.args[:1]
        case ast.Call(func=ast.Name(id=name)) if name in _TYPE_MAKERS:
            found = node.args[1:]
    return found


def _compared_or_returned(node: ast.AST) -> Sequence[ast.AST]:
    match node:
        case ast.Compare():
            return [node.left, *node.comparators]
        case ast.Return(value=ast.Constant() as value) | ast.MatchValue(value=value):
            return [value]
    return ()


def _is_for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def _strings(*nodes: ast.AST) -> Iterator[ast.Constant]:
    """Yield the strings among what is compared or returned, but for sentences: those are for people."""
    for node in nodes:
        if isinstance(node, ast.Tuple | ast.Set | ast.List):
            yield from _strings(*node.elts)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str | bytes) and " " not in str(node.value):
            yield node


def _other(value: object) -> object:
    """Return another text or other bytes."""
    if isinstance(value, bytes):
        return value + b"X"
    return f"{value}X"


def _next(value: object) -> object:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1 if value <= 10 else value * 2
    return float(value) * 2 if isinstance(value, float) and value else 1.0


def _removable(node: ast.AST, function: str) -> Iterator[ast.stmt]:
    """Yield the statements of a block that may be left out: calls, yields, assignments that last, ways out of it.

    The only one below an `if` is none of them (that is a condition forced), nor the last way out of a function.
    """
    for block in (getattr(node, name, None) for name in ("body", "orelse", "finalbody")):
        if not isinstance(block, list) or not all(isinstance(each, ast.stmt) for each in block):
            continue
        if isinstance(node, ast.If) and len(block) == 1 and not (node.orelse and block is node.body):
            continue
        leaving = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for statement in block:
            last = leaving and statement is block[-1] and isinstance(statement, ast.Return)
            if _counts(statement, function) and not last:
                yield statement


def _counts(statement: ast.stmt, function: str) -> bool:
    match statement:
        case ast.Expr(value=ast.Call() | ast.Await() | ast.Yield() | ast.YieldFrom()):
            return True
        case ast.Return() | ast.Raise() | ast.Continue() | ast.Break() | ast.Delete():
            return True
        case ast.AugAssign():
            return True
        case ast.Assign():
            # What a constructor sets is missed at once; that would only flatter the figures.
            kept = any(isinstance(each, ast.Attribute | ast.Subscript) for each in _targets(statement))
            return kept and not function.endswith("__init__")
    return False


def _targets(statement: ast.Assign) -> Iterator[ast.expr]:
    for target in statement.targets:
        yield from target.elts if isinstance(target, ast.Tuple) else [target]
