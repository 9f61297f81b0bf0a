"""What a mutation run changes, which tests it has for that, and how it reads what was judged. A run is long."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING

import pytest

from tests.lab.mutate.command import PAGE, judged, row, sample, summary
from tests.lab.mutate.sites import Mutant, mutants
from tests.lab.mutate.table import PARTS, ROOT, modules, steps
from tests.lab.mutate.trials import Trial

if TYPE_CHECKING:
    from pathlib import Path

CHANGES = {
    "x = a < b": {"x = a <= b"},
    "x = a >= b == c": {"x = a > b == c", "x = a >= b != c"},
    "x = a is not b": {"x = a is b"},
    "x = a not in b": {"x = a in b"},
    "x = a and (b) and c": {"x = a or (b) and c", "x = a and (b) or c"},
    "x = not (a or b)": {"x = (a or b)", "x = not (a and b)"},
    "x = a + -b * c": {"x = a - -b * c", "x = a + b * c", "x = a + -b / c"},
    "x |= a": {"x &= a", "pass"},
    "x = 2": {"x = 3"},
    "x = 600": {"x = 1200"},
    "x = 0.5": {"x = 1.0"},
    "x = True": {"x = False"},
    "x = min(a)": {"x = max(a)"},
    "x = any(a)": {"x = all(a)"},
    "x = a == 'b'": {"x = a != 'b'", "x = a == 'bX'"},
    "x = a if b else c": {"x = a if True else c", "x = a if False else c"},
    "x = [a for a in b if a]": {"x = [a for a in b if True]", "x = [a for a in b if False]"},
    "a.b = c": {"pass"},
    "a(b)": {"pass"},
    "def f(): return a": {"def f(): return None"},
    "def f(): return 'a'": {"def f(): return 'aX'"},
    "def f(): yield a": {"def f(): pass"},
    "while a: x = b": {"while False: x = b"},
}
ALONE = (
    "'A docstring with 1 number.'",
    "@dataclass(frozen=True)\nclass A: pass",
    "def f(a: Literal[1] | None) -> Literal[2]: x = a",
    "x: Literal[1] = a",
    "x: TypeAlias = A | B",
    "from a import b",
    "if TYPE_CHECKING:\n    x = 1",
    "__all__ = [1]",
    "x = f'{a + 1}'",
    "x = isinstance(a, B | C)",
    "def f(): return 'a sentence'",
    "def f(): return None",
    "class A:\n    def __init__(self):\n        self.a = a",
)
TWO_WAYS = """
def f(a):
    match a:
        case ((A() | B()), C()):
            g()
            return
        case D() if a:
            raise E
    x = a
"""


@pytest.mark.parametrize("source", CHANGES, ids=str)
def test_what_is_changed(source: str) -> None:
    """Each kind of slip is made where it can be, one at a time, and nothing else of the line changes."""
    assert {one.after for one in mutants("a.py", source)} == CHANGES[source]


@pytest.mark.parametrize("source", ALONE, ids=str)
def test_what_is_left_alone(source: str) -> None:
    """What no test could notice is not changed: types, decorators, imports, sentences for people, constructors."""
    assert mutants("a.py", source) == []


def test_the_rows_of_a_match() -> None:
    """A row of a match is taken away, a guard forced, and a statement left out where that is more than the row."""
    assert [(one.line, one.after) for one in mutants("a.py", TWO_WAYS)] == [
        (4, "case ((A() | B()), C()) if False:"),
        (5, "pass"),
        (6, "pass"),
        (7, "case D() if False:"),
        (7, "case D() if True:"),
        (8, "pass"),
    ]


def test_a_change_is_told_by_where_and_what() -> None:
    """A change names its function and its whole lines, for a statement of several lines too."""
    (one,) = mutants("a.py", "class A:\n    def f(self):\n        return b(\n            c\n        )\n")
    assert (one.function, one.slip) == ("A.f", "return b( c ) -> return None")


@pytest.mark.parametrize("path", modules(), ids=str)
def test_every_change_can_be_run(path: str) -> None:
    """A changed product is Python still (every tenth is looked at), and no two changes of a module are the same."""
    found = mutants(path, (ROOT / path).read_text(encoding="utf-8"))
    for one in found[::10]:
        ast.parse(one.source)
    assert len({one.source for one in found}) == len(found)


def test_the_table_is_whole() -> None:
    """Every pattern of modules matches one, every file of tests is there, and every module has tests of two steps."""
    patterns = [pattern for part in PARTS for pattern in part.modules]
    fixed = [test for part in PARTS for step in part.steps for test in step if not {"{", "*"} & set(test)]
    assert [pattern for pattern in patterns if not list(ROOT.glob(pattern))] == []
    assert [test for test in fixed if not (ROOT / test).exists()] == []
    assert [module for module in modules() if len(steps(module)) < 2] == []


def test_no_module_of_the_parts_is_forgotten() -> None:
    """Every module of the core and of the ledger is changed, and so is something of every other part."""
    folders = [ROOT / "batchrunner" / name for name in ("core", "ledger")]
    known = {str(path.relative_to(ROOT)) for folder in folders for path in folder.rglob("*.py")}
    assert {path for path in known if not path.endswith("__init__.py")} <= modules().keys()
    assert {part.name for part in PARTS} == {part.name for part in modules().values()}


def test_a_test_file_is_run_once(tmp_path: Path) -> None:
    """A test file that several patterns name is run in the first step that names it."""
    for name in ("batchrunner/core/plan.py", "tests/core/test_plan.py", "tests/core/test_board.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert steps("batchrunner/core/plan.py", tmp_path) == [["tests/core/test_plan.py"], ["tests/core/test_board.py"]]


def test_a_sample_stays() -> None:
    """The same seed draws the same changes, another seed others, and new code adds to a sample without mixing it."""
    found = mutants("a.py", "".join(f"x = a{number} < b\n" for number in range(50)))
    first = sample(found, 10, 1)
    assert sample(reversed(found), 10, 1) == first != sample(found, 10, 2)
    assert set(sample(found[:40], 10, 1)) >= set(first) & set(found[:40])


def test_a_judgement_is_found_again() -> None:
    """A row of `docs/mutants.md` holds for its change wherever it moves, also one with a bar in it."""
    one = Mutant("a/b.py", 7, "A.f", "x = a | b", "x = a & b", "")
    moved = Mutant("c/d.py", 9, "A.f", "x = a | b", "x = a & b", "other")
    outside = Mutant("a/b.py", 1, "", "X = 'a'", "X = 1", "")
    known = judged(row(one, "a is never negative"))
    assert known == {moved.key: "a is never negative"}
    assert judged(row(outside, "see `f`")) == {outside.key: "see `f`"}
    assert list(summary([Trial(Mutant("batchrunner/download/mp4.py", 1, *one.key, ""), "", 1.0)], known)) == [
        "makes no difference, by docs/mutants.md:",
        "  batchrunner/download/mp4.py:1: x = a | b -> x = a & b  (a is never negative)",
        "downloads: 0/1 caught, 0.0%; 1 make no difference, 100.0% of the others",
        "all: 0/1 caught, 0.0%; 1 make no difference, 100.0% of the others",
    ]


def test_the_page_can_be_read() -> None:
    """Every row of `docs/mutants.md` names a function, what is changed into what, and why that makes no difference."""
    page = PAGE.read_text(encoding="utf-8")
    known = judged(page)
    assert len(known) == sum(line.startswith("| `") for line in page.splitlines())
    assert all(before != after and why for (_, before, after), why in known.items())
