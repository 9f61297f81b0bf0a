"""What is sound and still not what its author may think."""

from __future__ import annotations

from typing import TYPE_CHECKING

from batchrunner.workflow.limits import rendered
from batchrunner.workflow.values import shown
from batchrunner.workflow.words import listing, quote

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from batchrunner.core.job import Job
    from batchrunner.workflow.template import Param, Template


def warnings(jobs: Sequence[Job], template: Template) -> Iterator[str]:
    """Yield one line per odd value, not per job."""
    for name, param in template.params.items():
        values = {job.params.get(name) for job in jobs}
        if param.limit.grid:
            yield from _off_grid(param, sorted(value for value in values if isinstance(value, int)))
        if param.limit.kind == "text":
            yield from _braces(name, sorted(value for value in values if isinstance(value, str)))
        numbers = sorted(value for value in values if isinstance(value, int | float))
        yield from _sharp_edges(param, numbers)


def _off_grid(param: Param, values: Sequence[int]) -> Iterator[str]:
    multiple, offset = param.limit.grid or (1, 0)
    rule = f"{multiple}n+{offset}" if offset else f"a multiple of {multiple}"
    for value in values:
        if rendered(param.limit, value) != value:
            yield f"{param.name} {value} is rendered as {rendered(param.limit, value)}: the model takes {rule}"


def _braces(name: str, texts: Sequence[str]) -> Iterator[str]:
    held = [text for text in texts if "{" in text and "}" in text[text.index("{") :]]
    if held:
        others = f" and {len(held) - 1} more" if len(held) > 1 else ""
        yield (f"{name} {quote(held[0])}{others}: braces are sent as they are; only ComfyUI's web page expands {{a|b}}")
    unfilled = [text for text in texts if "${" in text]
    if unfilled:
        yield f"{name} {quote(unfilled[0])}: ${{…}} is filled in one pass, so what a value brought along stays"


def _sharp_edges(param: Param, values: Sequence[float]) -> Iterator[str]:
    inputs = {target.input for target in param.targets}
    odd = [value for value in values if value > 1] if "batch_size" in inputs else []
    if odd:
        yield (
            f"{param.name} {listing(map(shown, odd))}: the clips come back to back in one video; "
            "for single videos sweep the seed"
        )
    split = [value for value in values if not float(value).is_integer()] if "frame_rate" in inputs else []
    if split:
        yield (
            f"{param.name} {listing(map(shown, split))}: older servers cut the sound's frame rate to a whole number, "
            "and sound and picture drift apart"
        )
