"""Imports go one way, as DESIGN.md draws them: the core knows nothing, the command everything."""

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

LAYERS: dict[str, frozenset[str]] = {
    "core": frozenset({"core"}),
    "errors": frozenset(),
    "workflow": frozenset({"core", "errors", "workflow"}),
    "manifest": frozenset({"core", "errors", "workflow", "manifest"}),
    "comfy": frozenset({"core", "errors", "suffixes", "comfy"}),
    "suffixes": frozenset(),
    "fetch": frozenset({"athome", "core", "errors", "disk", "media", "mp4", "suffixes"}),
    "athome": frozenset({"core", "errors", "disk", "media", "suffixes"}),
    "disk": frozenset({"core", "errors"}),
    "media": frozenset({"core", "errors", "mp4"}),
    "mp4": frozenset({"core", "errors"}),
    "ledger": frozenset({"core", "errors", "ledger"}),
    "show": frozenset({"core", "errors", "show"}),
    "sim": frozenset({"core", "errors", "sim", "comfy.wire"}),
    "engine": frozenset({"core", "errors"}),
}
"""What each part may import of batchrunner. Whatever is not named here assembles the others and may import all."""


def part_of(module: Path) -> str:
    """Return the part a module belongs to: the folder or the file below `batchrunner`."""
    return module.parts[0].removesuffix(".py")


def imports(module: Path) -> Iterator[tuple[int, str]]:
    """Yield line and dotted name of everything a module imports, below `if TYPE_CHECKING` and in functions too."""
    for node in ast.walk(ast.parse((ROOT / module).read_text(encoding="utf-8"))):
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
        for line, name in imports(module)
        if name.split(".")[0] == "batchrunner" and not is_allowed(name, allowed)
    ]
    assert wrong == []


@pytest.mark.parametrize("module", [one for one in MODULES if part_of(one) == "core"], ids=str)
def test_the_core_needs_nothing(module: Path) -> None:
    """The core imports the standard library only, nothing that waits, rolls dice, reads or tells the time."""
    tops = {name.split(".")[0] for _, name in imports(module)} - {"batchrunner"}
    assert tops <= sys.stdlib_module_names
    assert not tops & {"asyncio", "datetime", "io", "os", "pathlib", "random", "secrets", "socket", "threading", "time"}


def test_every_part_is_there() -> None:
    """The picture names no part that does not exist."""
    assert {part_of(module) for module in MODULES} >= set(LAYERS)
