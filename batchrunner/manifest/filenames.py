"""File names from a job's values: readable, safe on every file system, and no two alike.

They come from the manifest's template, never from a server. `download.transfer` adds the suffix; a number, or what the
node is called, where a job has several files; and the job's id where a name is taken on disk.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING

from batchrunner.core.job import INPUTS
from batchrunner.text import did_you_mean, listing, printable, quote
from batchrunner.workflow.values import shown

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from batchrunner.core.job import Scalar
    from batchrunner.workflow.graph import Graph

DEFAULT = ("{prompt}", "s{seed}", "{job}")
"""The default of `files`, as far as the workflow has the parameters."""
MAX_BYTES = 150
"""In one component: room for endings within the 255 that file systems take."""
_WORD_BYTES = 60
_SHORT = 40
"""Characters; a longer name is cut between words if it can be."""
_FIELD = re.compile(r"\{([^{}]*)\}")
_LITERAL = re.compile(r"[\w ./+=,@()\[\]~-]")
_DEVICES = frozenset({"con", "prn", "aux", "nul", *(f"{kind}{n}" for kind in ("com", "lpt") for n in range(10))})
_RUNNER_FILES = (".json", ".part", ".log", ".html", ".sqlite3", ".sqlite3-wal", ".sqlite3-shm", ".lock")
"""What the batch folder holds besides videos."""


class Naming:
    """Names one batch's files: `{name}` is a job's value, `{job}` its id, `/` a folder."""

    def __init__(self, template: str, known: Collection[str]) -> None:
        """Take a template apart.

        Raises ValueError if it names something unknown, or leads out of the batch folder.
        """
        # Texts and fields alternate: "a{b}c" is "a", "b", "c".
        self._parts = _FIELD.split(template)
        for literal in self._parts[::2]:
            if "{" in literal or "}" in literal:
                raise ValueError("has a lone brace: a field is written {name}")
            odd = [char for char in literal if not _LITERAL.fullmatch(char)]
            if odd:
                raise ValueError(f"holds {quote(odd[0])}, which not every file system takes")
        for field in self._parts[1::2]:
            if field not in known:
                near = did_you_mean(field, known) or f"; there is {listing(known)}"
                raise ValueError(f"names {{{printable(field, 60)}}}, which is not set{near}")
        parts = _FIELD.sub("x", template).split("/")
        if any(part.strip(" .") == "" for part in parts):
            raise ValueError("must lead to a file below the batch folder: no empty part, no `.` and no `..`")
        self._taken: set[str] = set()

    def name(self, params: Mapping[str, Scalar], job: str) -> str:
        """Return a name that no other job of the batch has; where two would share one, the job id is added."""
        words = list(self._parts)
        for index in range(1, len(words), 2):
            field, value = words[index], params.get(words[index])
            words[index] = job if field == "job" else f"no-{slug(field)}" if value is None else slug(value)
        *folders, last = "".join(words).split("/")
        folder = "".join(f"{_component(part)}/" for part in folders)
        if _folded(folder).startswith(f"{INPUTS}/"):
            folder = f"_{folder}"  # what lies there are copies of input files
        name = folder + _component(last, job)
        if _folded(name) in self._taken:
            name = f"{folder}{_cut(_component(last), MAX_BYTES - len(job) - 1)}-{job}"
        self._taken.add(_folded(name))
        return name


def default_template(known: Collection[str]) -> str:
    """Return `{prompt}-s{seed}-{job}` without what the workflow does not have."""
    return "-".join(part for part in DEFAULT if part == "{job}" or _FIELD.findall(part)[0] in known)


def slug(value: Scalar) -> str:
    """Return a value as a piece of a file name: lower case, words joined with `-`, at most 60 bytes."""
    return _text_slug(value) if isinstance(value, str) else shown(value)


def node_labels(graph: Graph, nodes: Sequence[str]) -> dict[str, str]:
    """Return what each of several saving nodes is called in file names, its title or else its id; of one, nothing."""
    titles = {node: slug(graph[node].title) if graph[node].title else "" for node in nodes if len(nodes) > 1}
    counts = Counter(titles.values())
    labels = {node: title if title and counts[title] == 1 else slug(node) for node, title in titles.items()}
    unique = len(set(labels.values())) == len(labels)
    return labels if unique else {node: f"{label}-{place}" for place, (node, label) in enumerate(labels.items(), 1)}


@lru_cache(maxsize=1024)
def _text_slug(text: str) -> str:
    folded = unicodedata.normalize("NFKC", text).lower()
    spaced = "".join(char if _is_kept(char) else " " for char in folded[:400])
    whole = "-".join(spaced.split())
    short = _cut(whole, _WORD_BYTES)
    if short != whole and len(short) > _SHORT and not whole[len(short) :].startswith("-"):
        short = short[: short.rfind("-", _SHORT)] if "-" in short[_SHORT:] else short
    return short.strip("-") or "untitled"


def _is_kept(char: str) -> bool:
    return char.isalnum() or char == "_" or unicodedata.category(char)[0] == "M"


def _component(text: str, job: str = "") -> str:
    """Return one folder or file name that every file system takes, and that no file of the runner has."""
    name = text.lstrip(" .-").rstrip(" .") or "untitled"
    if name.split(".")[0].strip().casefold() in _DEVICES:
        name = f"_{name}"
    if name.casefold().endswith(_RUNNER_FILES):
        name = f"{name}_"
    if len(name.encode()) > MAX_BYTES:
        name = f"{_cut(name, MAX_BYTES - len(job) - 1)}-{job}" if job else _cut(name, MAX_BYTES)
    return name


def _cut(text: str, most: int) -> str:
    raw = text.encode()
    return text if len(raw) <= most else raw[:most].decode(errors="ignore").rstrip(" .-")


def _folded(name: str) -> str:
    """Return what a file system that ignores case and composes characters takes a name for."""
    return unicodedata.normalize("NFC", name).casefold()
