"""Proof that the nights can see: each defect, put in on purpose, is caught as a broken promise."""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from batchrunner import fetch, media
from batchrunner.comfy.client import Client
from batchrunner.core import plan, reconcile
from batchrunner.core.facts import Claimed, Fact
from batchrunner.core.looks import Gone, Trouble
from batchrunner.fetch import Downloads
from batchrunner.nights import night
from batchrunner.nights.runner import WatchedClient, WatchedLedger
from batchrunner.nights.world import Plan
from batchrunner.sim.mishaps import Script, parse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from batchrunner.core.actions import Fetch
    from batchrunner.manifest import Batch

TWO_AT_ONCE = "{at: 10, do: kill, for: 650}"
"""Dead until both of its prompts are rendered, the runner finds two films at its first look."""
Change = tuple[object, str, Any]


@dataclass(frozen=True)
class Defect:
    """What is wrong, in which mishaps it shows, and as which broken promise."""

    changes: Callable[[], tuple[Change, ...]]
    script: str
    promise: str
    jobs: int = 4


@contextmanager
def put_in(changes: tuple[Change, ...]) -> Iterator[None]:
    """Replace attributes until the block ends."""
    with ExitStack() as stack:
        for owner, name, wrong in changes:
            stack.callback(setattr, owner, name, vars(owner)[name])
            setattr(owner, name, wrong)
        yield


def shared_prefix() -> tuple[Change, ...]:
    """Give every attempt of every job the same file prefix."""
    return ((plan, "file_prefix", lambda batch, _job, _attempt: f"{batch}-{'0' * 12}-a1"),)


def blind_repost() -> tuple[Change, ...]:
    """POST again at once when the answer is lost."""
    once = WatchedClient.submit

    async def twice(self: WatchedClient, body: bytes) -> Any:
        end = await once(self, body)
        return await once(self, body) if isinstance(end, Trouble) else end

    return ((WatchedClient, "submit", twice),)


def no_write_ahead() -> tuple[Change, ...]:
    """Write a claim down only with the fact that follows it."""
    append, late = WatchedLedger.append, list[Fact]()

    def behind(self: WatchedLedger, fact: Fact) -> None:
        late.append(fact)
        if not isinstance(fact, Claimed):
            for one in late:
                append(self, one)
            late.clear()

    return ((WatchedLedger, "append", behind),)


def same_body() -> tuple[Change, ...]:
    """Send the very same body again after a loss."""
    prompt, prefix = vars(plan)["prompt_id"], vars(plan)["file_prefix"]
    return (
        (plan, "prompt_id", lambda batch, job, _attempt: prompt(batch, job, 1)),
        (plan, "file_prefix", lambda batch, job, _attempt: prefix(batch, job, 1)),
    )


def no_verify() -> tuple[Change, ...]:
    """Take every file for whole and ours."""
    blind = SimpleNamespace(**vars(media))
    blind.inspect_open = lambda _file: media.Inspection("mp4", whole=True, prefixes=None)
    return ((fetch, "media", blind),)


def clear_the_queue() -> tuple[Change, ...]:
    """Clear the queue where prompts of ours are to be deleted."""

    async def clear(self: WatchedClient, _prompts: object) -> Trouble | None:
        return await self._order("/queue", {"clear": True})

    return ((WatchedClient, "withdraw", clear),)


def jump_the_queue() -> tuple[Change, ...]:
    """Post every prompt in front of everybody else's."""
    submit = Client.submit

    async def first(self: Client, body: bytes) -> Any:
        return await submit(self, json.dumps({**json.loads(body), "front": True}).encode())

    return ((Client, "submit", first),)


def no_survey() -> tuple[Change, ...]:
    """Start anew where the state is lost, without asking the server what it has."""
    return ((plan, "is_surveyed", lambda *_: True), (reconcile, "adopt", lambda *_: ()))


def history_first() -> tuple[Change, ...]:
    """Ask the history before the queue, and call lost, without a probe, what one such look does not see."""
    look = Client.look

    async def backwards(self: Client, at: Any) -> Any:
        first = await look(self, at)
        second = await look(self, at)
        if isinstance(first, Trouble) or isinstance(second, Trouble):
            return first
        return replace(first, queue=second.queue)

    fetch_one = Downloads.fetch

    async def unless_probed(self: Downloads, action: Fetch, *rest: Any) -> Any:
        return Gone() if action.probe else await fetch_one(self, action, *rest)

    hasty = ((reconcile, "_ABSENCES", 1), _rules(grace=0.0))
    return ((Client, "look", backwards), (Downloads, "fetch", unless_probed), *hasty)


def one_at_a_time() -> tuple[Change, ...]:
    """Download one file after the other."""
    return (_rules(downloads=1),)


def _rules(**changes: Any) -> Change:
    batch_of = night.batch_of

    def changed(folder: Path, plan: Plan) -> Batch:
        batch = batch_of(folder, plan)
        return replace(batch, rules=replace(batch.rules, **changes))

    return (night, "batch_of", changed)


DEFECTS = {
    "a prefix that attempts share": Defect(shared_prefix, "[]", "P"),
    "a POST that is repeated blindly": Defect(blind_repost, "[{do: drop-reply}]", "P2"),
    "no write-ahead": Defect(no_write_ahead, "[]", "P3"),
    "the same body after a loss": Defect(same_body, "[{at: 100, do: out-of-memory}]", "P"),
    "no verifying": Defect(no_verify, "[{do: replace-film}]", "P7"),
    "a queue that is cleared": Defect(clear_the_queue, "[{at: 100, do: stop}]", "P9"),
    "a prompt that jumps the queue": Defect(jump_the_queue, "[]", "P9"),
    "a new start without a look": Defect(no_survey, "[{at: 100, do: lose-state}]", "P1"),
    "history before queue": Defect(history_first, "[{do: slow, for: 9999, by: 8}]", "P1", 8),
    "one download at a time": Defect(one_at_a_time, f"[{TWO_AT_ONCE}, {{do: stall-film, by: 900}}]", "P8"),
}


def passed(folder: Path, script: Script, jobs: int) -> tuple[str, ...]:
    """Return the promises broken in one night, each once."""
    outcome = night.pass_night(folder, Plan(1, jobs, script, again=60.0))
    return tuple(sorted({line.split()[1] for line in outcome.broken}))


@pytest.mark.parametrize("name", DEFECTS)
def test_a_defect_is_caught(tmp_path: Path, name: str) -> None:
    """A night that keeps every promise with sound code breaks one with the defect in it, the first time it is tried."""
    defect = DEFECTS[name]
    script = parse(defect.script, name)
    sound, unsound = tmp_path / "sound", tmp_path / "unsound"
    sound.mkdir()
    unsound.mkdir()
    assert passed(sound, script, defect.jobs) == ()
    with put_in(defect.changes()):
        broken = passed(unsound, script, defect.jobs)
    assert any(promise.startswith(defect.promise) for promise in broken), broken
