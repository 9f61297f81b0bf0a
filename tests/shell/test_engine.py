"""The loop: what it writes down before it acts, whom it tells, and what ends it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from hashlib import sha256
from itertools import pairwise
from math import inf
from typing import TYPE_CHECKING

import pytest
from engine_fakes import RENDER, Folder, Gpu, World, body_of

from batchrunner.core.actions import Download, Downloaded, LocalFile, PollResult, Submit
from batchrunner.core.facts import Accepted, Claimed, Dropped, Lost, Opened, Rendered, Saved, Why
from batchrunner.core.lifecycle import Done, folded
from batchrunner.core.server import SIM
from batchrunner.core.settings import Rules
from batchrunner.engine import IMPORTED, imported, survey_mark, surveyed
from batchrunner.errors import LocalError
from tests.core.boards import (
    JOB,
    JOBS,
    OTHER,
    UNAUTHORIZED,
    UNAVAILABLE,
    UNSENT,
    A,
    B,
    ident,
    new_board,
    prefix,
    queued,
)
from tests.lab.clock import run

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from batchrunner.core.exit_decision import Exit

    from batchrunner.core.actions import DownloadEnd, Failure, Poll, PollEnd, PostEnd
    from batchrunner.core.board import Board
    from batchrunner.core.facts import Fact
    from tests.lab.clock import VirtualLoop

DAY = 24 * 3600.0
"""No run here takes that long, unless it would never end."""


def whole(
    board: Board,
    *,
    gpu: type[Gpu] = Gpu,
    folder: type[Folder] = Folder,
    before: Callable[[World], object] = lambda _: None,
) -> tuple[World, Exit]:
    """Run a board to its end in virtual time, after `before` was done to its world."""

    async def main(loop: VirtualLoop) -> tuple[World, Exit]:
        world = World(loop, board, gpu=gpu, folder=folder)
        before(world)
        async with asyncio.timeout(DAY):
            return world, await world.engine.run()

    return run(main, seed=1)


def leaves_at(second: float) -> Callable[[World], object]:
    """Return what presses Ctrl-C at a time."""
    return lambda world: world.loop.call_at(second, world.engine.leave)


# -- what is written down, and when


def test_a_night_is_kept_fact_by_fact() -> None:
    """A run ends when every job is home, and its facts alone tell as much as the board does."""
    world, ending = whole(new_board(jobs=3))
    assert (ending.exit, ending.message) == (0, "every job is done")
    assert folded(JOBS[:3], world.journal.facts) == world.board.states
    assert all(isinstance(state, Done) for state in world.board.states.values())
    assert [type(fact) for fact in world.journal.facts if fact.job == JOB] == [
        Claimed,
        Accepted,
        Rendered,
        Opened,
        Saved,
    ]


def test_a_claim_is_kept_before_its_post_leaves() -> None:
    """When a POST leaves, the journal holds its claim already, with the digest of that very body."""
    world, _ = whole(new_board(jobs=3))
    assert len(world.places("sent")) == 3
    for place in world.places("sent"):
        body = world.log[place][1]
        assert isinstance(body, bytes)
        claims = [fact for what, fact in world.log[:place] if what == "kept" and isinstance(fact, Claimed)]
        assert [claim.body for claim in claims if claim.prompt == body.decode().split()[0]] == [
            sha256(body).hexdigest()
        ]


def test_a_fact_is_kept_before_anybody_sees_it() -> None:
    """Every fact is told once, in order, when the journal has it and the GET that follows from it has begun."""
    world, _ = whole(new_board(jobs=2))
    kept, told = world.places("kept"), world.places("told")
    assert [world.log[place][1] for place in told] == [world.log[place][1] for place in kept] == world.journal.facts
    assert all(before < after for before, after in zip(kept, told, strict=True))
    rendered = [place for place in told if isinstance(world.log[place][1], Rendered)]
    assert len(rendered) == 2
    for place, fetch in zip(rendered, world.places("fetch"), strict=True):
        assert fetch < place


def test_what_changes_nothing_is_neither_kept_nor_told() -> None:
    """A fact that is heard twice is one fact."""

    class Twice(Folder):
        async def fetch(self, action: Download, opened: Callable[[str, int, str], None]) -> DownloadEnd:
            opened('"etag"', 9, "x.part")
            opened('"etag"', 9, "x.part")
            return Downloaded(f"{action.job}.mp4", 9, "0" * 64)

    world, _ = whole(new_board(jobs=1), folder=Twice)
    assert len(world.kept(Opened)) == 1
    assert len(world.places("told")) == len(world.journal.facts) == 5


def test_a_post_that_is_repeated_has_its_claim_already() -> None:
    """A POST of which not a byte left goes out again with the same body and without a second claim."""

    class Refusing(Gpu):
        async def submit(self, body: bytes) -> PostEnd:
            taken = await super().submit(body)
            if len(self.world.places("sent")) > 1:
                return taken
            self.queue.clear()
            return UNSENT

    world, ending = whole(new_board(jobs=1), gpu=Refusing)
    sent = [world.log[place][1] for place in world.places("sent")]
    assert sent == [body_of(Submit(JOB, 1, ident(), prefix(), A))] * 2
    assert len(world.kept(Claimed)) == 1
    assert ending.exit == 0


def test_a_file_whose_name_is_a_guess_is_not_kept_as_opened() -> None:
    """Only the download of a file that a server named is noted when it opens."""

    class Forgetful(Gpu):
        async def poll(self, at: Poll) -> PollEnd:
            end = await super().poll(at)
            return replace(end, history=dict.fromkeys(end.history)) if isinstance(end, PollResult) else end

    world, ending = whole(new_board(jobs=1), gpu=Forgetful)
    assert [action.probe for what, action in world.log if what == "fetch" and isinstance(action, Download)] == [True]
    assert (world.kept(Opened), len(world.kept(Saved)), ending.exit) == ([], 1, 0)


def test_the_manifest_speaks_first() -> None:
    """A job that left the manifest is dropped, in the journal too, before any server is asked."""
    board = new_board(jobs=1)
    board.load([OTHER], (), 0.0)
    world, _ = whole(board, before=leaves_at(0.0))
    (fact,) = world.kept(Dropped)
    assert (fact.job, world.log[0]) == (OTHER, ("kept", fact))


# -- what a later run must know


def test_each_server_is_marked_once_when_it_was_asked() -> None:
    """A server that answered its first poll is remembered as asked, one that the last run had asked is not again."""
    board = new_board(jobs=4, servers=(A, B))
    board.servers[B].surveyed = True
    world, _ = whole(board)
    marks = [key for what, key in world.log if what == "mark"]
    assert sorted(map(str, marks)) == sorted([survey_mark(A), IMPORTED])
    assert surveyed(world.journal.marks, A)
    assert not surveyed(world.journal.marks, B)


def test_the_built_in_server_is_never_remembered_as_asked() -> None:
    """The memory of the built-in ComfyUI ends with the run, so that it was asked says nothing to the next one."""
    world, ending = whole(new_board(jobs=1, servers=(SIM,)))
    assert (ending.exit, list(world.journal.marks)) == (0, [IMPORTED])


def test_on_resume_a_server_that_refuses_the_token_stops_only_itself() -> None:
    """A server asked in an earlier run may refuse the token in this one: what waits and what it holds go elsewhere."""

    class Refusing(Gpu):
        async def poll(self, at: Poll) -> PollEnd:
            return UNAUTHORIZED if self.url == B else await super().poll(at)

    first, _ = whole(new_board(jobs=4, servers=(A, B)), before=leaves_at(RENDER / 2))
    board = new_board(first.journal.facts, jobs=12, servers=(A, B))
    for url, server in board.servers.items():
        server.surveyed = surveyed(first.journal.marks, url)
    second, ending = whole(board, gpu=Refusing)
    assert {fact.server for fact in second.kept(Claimed)} == {A}
    assert Why.SERVER_GONE in {fact.why for fact in second.kept(Lost) if isinstance(fact, Lost)}
    assert ending.exit == 0


def home(job: str) -> tuple[int, tuple[LocalFile, ...]]:
    """Return the first attempt of a job, found on our own disk."""
    return 1, (LocalFile(prefix(job), f"{job}.mp4", 9, "0" * 64),)


def test_files_at_home_are_taken_in_before_that_is_remembered() -> None:
    """What lies on our own disk is in the journal, file by file, before the mark that nothing is left to take in."""
    board = new_board(jobs=2)
    board.local_files = {JOB: home(JOB), OTHER: home(OTHER)}
    world, ending = whole(board)
    assert ending.exit == 0
    assert not world.places("sent")
    steps = [step for step in world.log if step[0] in ("kept", "mark")]
    assert [key for what, key in steps if what == "mark"] == [survey_mark(A), IMPORTED]
    assert steps[-1] == ("mark", IMPORTED)
    assert imported(world.journal.marks)
    assert len(world.kept(Saved)) == 2


def test_files_at_home_wait_for_every_server() -> None:
    """As long as a server has not said what it holds, nothing is taken in, but for a minute at most."""

    class Late(Gpu):
        async def poll(self, at: Poll) -> PollEnd:
            if self.url == B and self.world.loop.time() < 100:
                await asyncio.sleep(100)
            return await super().poll(at)

    board = new_board(jobs=1, servers=(A, B))
    board.local_files = {JOB: home(JOB)}
    world, ending = whole(board, gpu=Late)
    assert (ending.exit, world.loop.now) == (0, 60.0)


def test_a_ledger_that_knows_the_local_files_is_not_marked_again() -> None:
    """What was remembered once is not written with every run."""
    board = new_board(jobs=1)
    board.imported = True
    world, _ = whole(board)
    assert list(world.journal.marks) == [survey_mark(A)]


# -- what goes wrong


@pytest.mark.parametrize("kind", [Claimed, Accepted, Rendered, Opened, Saved])
def test_a_journal_that_fails_ends_the_run(kind: type[Fact]) -> None:
    """A fact that can't be kept is raised as it is, and neither the board nor anybody else ever hears of it."""
    full = LocalError("the disk is full")

    def refuse(fact: Fact) -> None:
        if isinstance(fact, kind):
            raise full

    async def main(loop: VirtualLoop) -> World:
        world = World(loop, new_board(jobs=1))
        world.journal.refuses = refuse
        with pytest.raises(LocalError) as caught:
            async with asyncio.timeout(DAY):
                await world.engine.run()
        assert caught.value is full
        return world

    world = run(main, seed=1)
    assert folded(JOBS[:1], world.journal.facts) == world.board.states
    assert not [fact for what, fact in world.log if what == "told" and isinstance(fact, kind)]
    assert bool(world.places("sent")) is (kind is not Claimed)
    assert not world.places("bug")


class Stumbling(Gpu):
    """A server whose client has a bug that strikes once."""

    async def poll(self, at: Poll) -> PollEnd:
        """Raise the second time."""
        end = await super().poll(at)
        if len(self.looks) == 2:
            raise KeyError("look")
        return end

    async def submit(self, body: bytes) -> PostEnd:
        """Raise though the prompt arrived, the first time."""
        taken = await super().submit(body)
        if len(self.world.places("sent")) == 1:
            raise KeyError("submit")
        return taken


class Tripping(Folder):
    """A disk with a bug that strikes once."""

    async def fetch(self, action: Download, opened: Callable[[str, int, str], None]) -> DownloadEnd:
        """Raise the first time."""
        end = await super().fetch(action, opened)
        if len(self.world.places("fetch")) == 1:
            raise KeyError("fetch")
        return end


def test_a_bug_in_an_action_is_told_and_the_run_goes_on() -> None:
    """An exception that nobody expected costs one attempt of one action: it is told, and every job comes home."""
    world, ending = whole(new_board(jobs=2), gpu=Stumbling, folder=Tripping)
    bugs = [error for what, error in world.log if what == "bug"]
    assert sorted(str(error) for error in bugs) == ["'fetch'", "'look'", "'submit'"]
    assert all(isinstance(error, KeyError) for error in bugs)
    assert ending.exit == 0
    assert len(world.places("sent")) == 2
    assert len(world.kept(Saved)) == 2


def test_a_bug_in_a_delete_is_told_and_the_run_still_ends() -> None:
    """Pending prompts that can't be taken back for a bug of ours keep nobody."""

    class Keeping(Gpu):
        async def withdraw(self, prompts: Collection[str]) -> Failure | None:
            raise KeyError(*prompts)

    world, ending = whole(new_board(jobs=2), gpu=Keeping, before=leaves_at(RENDER / 2))
    assert [type(error) for what, error in world.log if what == "bug"] == [KeyError]
    assert ending.exit == 130


# -- waking up


def test_ctrl_c_wakes_the_loop() -> None:
    """Asked to leave while nothing is due for minutes, the engine asks every server in that very moment, and goes."""

    def slow(world: World) -> None:
        for gpu in world.gpus.values():
            gpu.seconds = 1000.0
        leaves_at(100.5)(world)

    world, ending = whole(new_board(jobs=2, servers=(A, B), rules=Rules(poll=300.0)), before=slow)
    assert [gpu.looks[-1] for gpu in world.gpus.values()] == [100.5, 100.5]
    assert (ending.exit, world.loop.now) == (130, 100.5)


def test_what_is_pending_is_taken_back_on_the_way_out() -> None:
    """Asked to leave, the engine deletes what has not begun, keeps that, and leaves the running prompt where it is."""
    world, ending = whole(new_board(jobs=2), before=leaves_at(RENDER / 2))
    assert [(fact.job, fact.why) for fact in world.kept(Lost) if isinstance(fact, Lost)] == [(OTHER, Why.WITHDRAWN)]
    assert list(world.gpus[A].queue) == [ident(JOB)]
    assert ending.exit == 130


def test_who_watches_is_shown_the_board_when_they_asked_for_it() -> None:
    """The loop wakes for whoever watches, though nothing else is due."""

    def often(world: World) -> None:
        world.witness.every = 7.0
        world.gpus[A].seconds = 250.0

    world, _ = whole(new_board(jobs=1, rules=Rules(poll=300.0)), before=often)
    pulses = [at for at in world.witness.pulses if 10 < at < 290]
    assert max(later - before for before, later in pairwise(pulses)) <= 7.0
    assert len(pulses) < 60


def test_who_watches_need_not_ask() -> None:
    """With nobody who wants to see the board again, the next poll comes as it is due."""
    world, ending = whole(new_board(jobs=1))
    assert world.witness.every == inf
    assert ending.exit == 0
    assert world.loop.now < RENDER + 15


def test_an_action_that_never_ends_does_not_keep_the_run() -> None:
    """A poll without end is given up when the last file can't be there any more, and the run is over at once."""

    class Silent(Gpu):
        async def poll(self, at: Poll) -> PollEnd:
            end = await super().poll(at)
            if self.world.loop.time() > 5:
                await asyncio.get_running_loop().create_future()
            return end

    world, ending = whole(new_board(jobs=1, rules=Rules(ttl=60.0)), gpu=Silent, before=leaves_at(50.0))
    assert (ending.exit, world.loop.now) == (130, 110.0)


def test_a_file_is_asked_for_before_the_next_prompt_is_claimed() -> None:
    """When a render ends, its GET is opened before the commit of the next claim, and no claim waits for a download."""
    world, ending = whole(new_board(jobs=3))
    steps = [type(what).__name__ for kind, what in world.log if kind == "kept"]
    third = [place for place, step in enumerate(steps) if step == "Claimed"][2]
    assert steps.index("Rendered") < steps.index("Opened") < third < steps.index("Saved")
    assert ending.exit == 0


@pytest.mark.parametrize("hint", [True, False])
def test_a_hint_is_a_poll_at_once(hint: bool) -> None:  # noqa: FBT001 - with and without
    """The moment a server tells that fewer prompts remain, it is polled; nobody listens where hints are off."""

    class Telling(Gpu):
        async def listen(self, heard: Callable[[bool, int], None]) -> None:
            await asyncio.sleep(17.3)
            heard(False, True)  # noqa: FBT003 - as the socket calls it
            await super().listen(heard)

    world, ending = whole(new_board(jobs=1, hint=hint), gpu=Telling)
    assert (round(world.gpus[A].looks[0] + 17.3, 6) in [round(at, 6) for at in world.gpus[A].looks]) is hint
    assert ending.exit == 0


def test_a_server_that_is_away_is_asked_until_it_answers() -> None:
    """Trouble is an answer like any other: no bug is told, and the night goes on when the server is back."""

    class Away(Gpu):
        async def poll(self, at: Poll) -> PollEnd:
            end = await super().poll(at)
            return UNAVAILABLE if 10 < self.world.loop.time() < 3600 else end

    world, ending = whole(new_board(queued(), jobs=2), gpu=Away, before=queued_there)
    assert not world.places("bug")
    assert ending.exit == 0
    assert world.loop.now < 3600 + 3 * RENDER


def queued_there(world: World) -> None:
    """Let a server have the first job's prompt."""
    world.gpus[A].queue[ident()] = prefix(), RENDER
