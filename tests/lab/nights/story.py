"""What happened in a night, in order, for a person who wants to know why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.lab.nights.verdict import outcome

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.nights.world import World


def story(world: World) -> Iterator[str]:
    """Yield the mishaps, then every fact and event with its time, then the verdict."""
    yield "The mishaps:"
    for place in world.places:
        old = ", which chooses prompt ids itself" if place.host.own_ids else ""
        yield f"  {place.name}{old}:"
        yield from (f"  {mishap.line()}" for mishap in place.host.script)
    yield "The night (seconds, who, what; facts also where):"
    yield from (f"  {line}" for line in world.loop.trace.lines if not _is_noise(line))
    judged = outcome(world)
    yield f"The end: {judged.done} done, {judged.failed} failed, exits {', '.join(map(str, judged.exits))}"
    yield from (f"  broken: {line}" for line in judged.broken)


def _is_noise(line: str) -> bool:
    """Whether a line of the trace is about bytes: an arrival, or a function given to a thread."""
    what = line.split(" ", 2)[2]
    return what.split(" ", 1)[0] in ("call", "Mark.EOF", "Mark.RESET") or what[:1].isdigit()
