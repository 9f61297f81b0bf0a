"""What the pages and the comments point at exists: files, links, modules, and sections of `docs/comfyui.md`."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
CODE = sorted([*ROOT.glob("batchrunner/**/*.py"), *ROOT.glob("tests/**/*.py"), *ROOT.glob("docs/**/*.py")])
COMFYUI = ROOT / "docs" / "comfyui.md"
PLACES = [ROOT, ROOT / "batchrunner"]
"""Pages name files as the repository or as the package has them."""
FOLDERS = {folder.name for folder in (ROOT / "batchrunner").iterdir() if folder.is_dir()}
FOLDERS |= {".ci", "batchrunner", "docs", "jobs", "tests"}

CITED = re.compile(r"docs/comfyui\.md((?:(?:,| to)? §\d+)+)")
PATH = re.compile(rf"(?<![\w/.<>-])(?:{'|'.join(map(re.escape, sorted(FOLDERS)))})/[\w./*-]*")
LINK = re.compile(r"\]\(([^)\s]+)\)")


def unbroken(path: Path) -> str:
    """Return a file's text with its comments' and docstrings' line breaks as spaces."""
    return re.sub(r"\n[ ]*(?:# )?(?=\S)", " ", path.read_text(encoding="utf-8"))


def name_of(path: Path) -> str:
    """Return a file's path as people write it."""
    return path.relative_to(ROOT).as_posix()


def is_there(word: str, page: Path) -> bool:
    """Whether a path, a pattern, a module without its suffix or `module.name` exists, from any place pages start at."""
    word = word.rstrip("./")
    for place in (*PLACES, page.parent):
        if "*" in word:
            if any(place.glob(word)):
                return True
        elif (place / word).exists() or (place / f"{word}.py").is_file():
            return True
        module, _, name = word.rpartition(".")
        if module and (place / f"{module}.py").is_file():
            return re.search(rf"\b{name}\b", (place / f"{module}.py").read_text(encoding="utf-8")) is not None
    return False


def anchors(page: Path) -> Iterator[str]:
    """Yield what a link may name in a page: its anchors, and its headings as GitHub names them."""
    text = page.read_text(encoding="utf-8")
    yield from re.findall(r'<a id="([^"]+)">', text)
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        yield re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_cited_sections_exist() -> None:
    """Every `docs/comfyui.md §N` in code and pages is a heading of that page."""
    known = set(re.findall(r"^## (§\d+) ", COMFYUI.read_text(encoding="utf-8"), re.MULTILINE))
    cited = [
        (name_of(path), section)
        for path in (*CODE, *PAGES)
        for match in CITED.finditer(unbroken(path))
        for section in re.findall(r"§\d+", match[1])
    ]
    assert cited
    assert [(name, section) for name, section in cited if section not in known] == []


def test_cited_documents_exist() -> None:
    """No comment and no page cites a document that is not in the repository, or a section without its document."""
    wrong: list[tuple[str, str]] = []
    for path in (*CODE, *PAGES):
        text = unbroken(path)
        cited = re.findall(r"(?<![\w/])(?:docs/[\w./-]*|[A-Z][A-Z0-9_]+)\.md\b", text)
        wrong += [(name_of(path), word) for word in cited if not (ROOT / word).is_file()]
        wrong += [(name_of(path), word) for word in re.findall(r"\(§\d[^)]*\)", text)]
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_mentioned_files_exist(page: Path) -> None:
    """Every file, folder and module that a page mentions exists."""
    text = page.read_text(encoding="utf-8")
    wrong = [word for word in PATH.findall(text) if not is_there(word, page)]
    files = {path.name for path in CODE}
    wrong += [word for word in re.findall(r"(?<![\w/*-])\w+\.py\b", text) if word not in files]
    for module in re.findall(r"-m ((?:tests|batchrunner)[\w.]*)", text):
        place = ROOT / module.replace(".", "/")
        wrong += [] if place.is_dir() or place.with_suffix(".py").is_file() else [module]
    assert wrong == []


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    """Every relative link names a file that exists, and a place in it that exists."""
    wrong: list[str] = []
    for target in LINK.findall(page.read_text(encoding="utf-8")):
        if re.match(r"\w+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name) if name else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            wrong.append(target)
    assert wrong == []


def test_sections_are_numbered_in_order() -> None:
    """The sections of `docs/comfyui.md` count up from 1, each with an anchor of its number."""
    text = COMFYUI.read_text(encoding="utf-8")
    numbers = re.findall(r'^<a id="s(\d+)"></a>\n## §(\d+) ', text, re.MULTILINE)
    assert numbers == [(str(number), str(number)) for number in range(1, len(numbers) + 1)]
    assert len(numbers) == text.count("\n## ")


@pytest.mark.parametrize("script", sorted((ROOT / "docs").glob("*.py")), ids=name_of)
def test_scripts_find_what_they_import(script: Path) -> None:
    """A script beside the pages imports from batchrunner only what is there."""
    wrong: list[str] = []
    for node in ast.walk(ast.parse(script.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("batchrunner"):
            module = import_module(node.module) if find_spec(node.module) else None
            wrong += [f"{node.module}.{alias.name}" for alias in node.names if not hasattr(module, alias.name)]
    assert wrong == []
