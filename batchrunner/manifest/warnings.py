"""Warnings: values that are allowed and will not do what their author may expect."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from batchrunner.text import listing, printable, quote
from batchrunner.workflow.saving import KEPT_INPUT
from batchrunner.workflow.values import rendered, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batchrunner.core.job import Job
    from batchrunner.workflow.params import Param, Template

_MARKED = re.compile(r"\s*(?:[0-9]{1,4}[.)]|[-*•])\s|\s*```|\s*(?:\"[^\"]*\"|“[^“”]*”),?\s*$")
_FOREIGN = (
    (
        re.compile(r"\{.*\}", re.DOTALL),
        'braces are sent as they are; only ComfyUI\'s web page expands {a|b}, and {dynamic: "…", all: true} here',
    ),
    (
        re.compile(r"(?<![A-Za-z0-9_])__[A-Za-z0-9][^\s{}]*?__(?![A-Za-z0-9_])"),
        'a wildcard is sent as it is; {dynamic: "…", count: 20} fills it in from wildcards/',
    ),
    (
        re.compile(r"<lora:[^<>]*>", re.IGNORECASE),
        "<lora:…> is sent as it is and loads nothing; ComfyUI loads LoRAs by a node such as LoraLoader",
    ),
)
"""What other programs expand in a prompt, and what becomes of it here."""
_EXPANDING = re.compile("wildcard|dynamic ?prompt|^DP[A-Z]|lora ?tag|power prompt", re.IGNORECASE)
"""Classes of nodes that expand it themselves."""


def warnings(jobs: Sequence[Job], template: Template) -> Iterator[str]:
    """Yield one line per odd value, not per job."""
    for name, param in template.params.items():
        values = {job.params.get(name) for job in jobs}
        numbers = sorted(value for value in values if isinstance(value, int | float))
        inputs = {target.input for target in param.targets}
        if param.limit.grid:
            yield from _off_grid(param, [value for value in numbers if isinstance(value, int)])
        if param.limit.kind == "text" and param.media is None:
            classes = {template.graph[target.node].class_type for target in param.targets}
            expands = any(_EXPANDING.search(each) for each in classes)
            yield from _syntax(name, sorted(value for value in values if isinstance(value, str)), expands=expands)
            yield from _marks(name, sorted(value for value in values if isinstance(value, str)))
        several = [value for value in numbers if value > 1]
        if several and "batch_size" in inputs:
            how = "the clips come back to back in one video; for single videos sweep the seed"
            yield f"{name} {listing(map(shown, several))}: {how}"
        fractions = [value for value in numbers if isinstance(value, float) and not value.is_integer()]
        if fractions and "frame_rate" in inputs:
            how = "older servers cut the sound's frame rate to a whole number, and sound and picture drift apart"
            yield f"{name} {listing(map(shown, fractions))}: {how}"


def temporary(jobs: Sequence[Job], template: Template, outputs: frozenset[str] | None) -> tuple[list[str], bool]:
    """Return a line for each wanted node whose files are temporary in some job, and whether a job has no others.

    VHS_VideoCombine and its kind have a switch for it. Such a file can't be told from any other temporary one, and a
    restart of the server deletes it.
    """
    wanted = [node for node in template.saves if outputs is None or node in outputs]
    found: dict[str, None] = {}
    bare = False
    if any(KEPT_INPUT in template.graph[node].inputs for node in wanted):
        for job in jobs:
            kept = template.keeps(job.params)
            bare = bare or not any(node in kept for node in wanted)
            found |= dict.fromkeys(node for node in wanted if node not in kept)
    lines = [
        f"node {printable(node)} ({printable(template.graph[node].class_type)}) has {KEPT_INPUT}: false: "
        "its files are temporary and can't be downloaded; set it to true"
        for node in found
    ]
    return lines, bare


def _off_grid(param: Param, values: Sequence[int]) -> Iterator[str]:
    multiple, offset = param.limit.grid or (1, 0)
    rule = f"{multiple}n+{offset}" if offset else f"a multiple of {multiple}"
    for value in values:
        if rendered(param.limit, value) != value:
            yield f"{param.name} {value} is rendered as {rendered(param.limit, value)}: the model takes {rule}"


def _syntax(name: str, texts: Sequence[str], *, expands: bool) -> Iterator[str]:
    """Yield what in `texts` looks like the syntax of another program; `expands`: the node may know it."""
    for pattern, message in () if expands else _FOREIGN:
        held = [text for text in texts if pattern.search(text)]
        if held:
            others = f" and {len(held) - 1} more" if len(held) > 1 else ""
            yield f"{name} {quote(held[0])}{others}: {message}"
    unfilled = [text for text in texts if "${" in text]
    if unfilled:
        yield f"{name} {quote(unfilled[0])}: ${{…}} is filled in one pass, so a `${{` in a value stays as it is"


def _marks(name: str, texts: Sequence[str]) -> Iterator[str]:
    """Yield what a chat program's answer or an editor leaves around texts: `1. `, `- `, quotes, fences."""
    held = [text for text in texts if _MARKED.match(text)]
    if held:
        others = f" and {len(held) - 1} more" if len(held) > 1 else ""
        yield f"{name} {quote(held[0])}{others}: a list's number or dash, or quotes around a text, are sent with it"
