"""Imports go one way: the core knows nothing, the command everything, and the product nothing of its laboratory."""

from __future__ import annotations

import ast
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent / "batchrunner"
MODULES = sorted(path.relative_to(ROOT) for path in ROOT.rglob("*.py"))
LAB = Path(__file__).parent / "lab"

LAYERS: dict[str, frozenset[str]] = {
    "core": frozenset({"core"}),
    "errors": frozenset(),
    "text": frozenset({"core"}),
    "files": frozenset({"errors"}),
    "workflow": frozenset({"core", "errors", "text", "workflow"}),
    "manifest": frozenset({"core", "errors", "ledger", "text", "workflow", "manifest"}),
    "comfy": frozenset({"core", "errors", "text", "comfy"}),
    "download": frozenset({"core", "errors", "download"}),
    "ledger": frozenset({"core", "errors", "files", "ledger"}),
    "notify": frozenset({"core", "errors", "text", "notify", "manifest.batch", "show.events"}),
    "show": frozenset({"core", "errors", "files", "text", "show"}),
    "sim": frozenset({"core", "errors", "sim", "comfy.wire"}),
    "engine": frozenset({"core", "errors"}),
}
"""What each part may import of batchrunner. Whatever is not named here assembles the others and may import all."""


def part_of(module: Path) -> str:
    """Return the part a module belongs to: the folder or the file below `batchrunner`."""
    return module.parts[0].removesuffix(".py")


def imports(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of everything a file imports, below `if TYPE_CHECKING` and in functions too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.lineno, f"{node.module}.{alias.name}") for alias in node.names)


def is_allowed(name: str, allowed: frozenset[str]) -> bool:
    """Whether a dotted name below batchrunner lies in a part that may be imported."""
    inner = name.removeprefix("batchrunner.")
    return any(inner == part or inner.startswith(f"{part}.") for part in allowed)


@pytest.mark.parametrize("module", [one for one in MODULES if part_of(one) in LAYERS], ids=str)
def test_imports_go_one_way(module: Path) -> None:
    """A module imports only from the parts that its own part may know."""
    allowed = LAYERS[part_of(module)]
    wrong = [
        f"{module}:{line}: {name}"
        for line, name in imports(ROOT / module)
        if name.split(".")[0] == "batchrunner" and not is_allowed(name, allowed)
    ]
    assert wrong == []


@pytest.mark.parametrize("module", [one for one in MODULES if part_of(one) == "core"], ids=str)
def test_the_core_needs_nothing(module: Path) -> None:
    """The core imports the standard library only, nothing that waits, rolls dice, reads or tells the time."""
    tops = {name.split(".")[0] for _, name in imports(ROOT / module)} - {"batchrunner"}
    assert tops <= sys.stdlib_module_names
    assert not tops & {"asyncio", "datetime", "io", "os", "pathlib", "random", "secrets", "socket", "threading", "time"}


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_the_product_knows_no_laboratory(module: Path) -> None:
    """What is shipped imports nothing of the tests."""
    assert [name for _, name in imports(ROOT / module) if name.split(".")[0] == "tests"] == []


@pytest.mark.parametrize("path", sorted(LAB.rglob("*.py")), ids=lambda path: str(path.relative_to(LAB)))
def test_the_laboratory_stands_on_the_product_alone(path: Path) -> None:
    """The laboratory imports no test; its clock, network and faults know neither the command nor the nights."""
    names = [name for _, name in imports(path)]
    assert [name for name in names if name.startswith("tests.") and not name.startswith("tests.lab")] == []
    if path.parent == LAB:
        above = ("batchrunner.cli", "batchrunner.engine", "tests.lab.nights")
        assert [name for name in names if name.startswith(above)] == []


def test_every_part_is_there() -> None:
    """The picture names no part that does not exist."""
    assert {part_of(module) for module in MODULES} >= set(LAYERS)
