"""What happened in a night, in order, for a person who wants to know why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.lab.nights.outcome import outcome_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.lab.nights.world import World


def transcript(world: World) -> Iterator[str]:
    """Yield the faults, then every fact and event with its time, then the outcome."""
    yield "The faults:"
    for place in world.places:
        old = ", which chooses prompt ids itself" if place.host.own_ids else ""
        yield f"  {place.name}{old}:"
        yield from (f"  {fault.line()}" for fault in place.host.script)
    yield "The night (seconds, who, what; facts also where):"
    yield from (f"  {line}" for line in world.loop.trace.lines if not _is_noise(line))
    result = outcome_of(world)
    yield f"The end: {result.done} done, {result.failed} failed, exits {', '.join(map(str, result.exits))}"
    yield from (f"  broken: {line}" for line in result.broken)


def _is_noise(line: str) -> bool:
    """Whether a line of the trace is about bytes: an arrival, or a function given to a thread."""
    what = line.split(" ", 2)[2]
    return what.split(" ", 1)[0] in ("call", "Mark.EOF", "Mark.RESET") or what[:1].isdigit()
