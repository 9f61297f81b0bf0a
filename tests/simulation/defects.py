"""Defects, put in on purpose: what is wrong, in which faults it shows, and as which broken promise.

`python tests/simulation/defects.py` writes `docs/defects.md` anew, with how many nights from seeds each defect lives.
"""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from importlib import import_module
from itertools import starmap
from multiprocessing import get_context
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from stages import Stage, empty, other_take, power_cut

from batchrunner import engine, run_batch
from batchrunner.comfy.client import Client, View
from batchrunner.comfy.exchange import Exchange
from batchrunner.core import exit as ending, lifecycle, missing, poll_results as polls, scheduler
from batchrunner.core.actions import Failure
from batchrunner.core.attempts import Attempt, lose
from batchrunner.core.facts import Claimed, Fact, Why
from batchrunner.core.health import Health
from batchrunner.core.tracking import Guess
from batchrunner.download import transfer as fetch, verify as media
from batchrunner.download.folder import Folder
from tests.lab.faults import parse
from tests.lab.nights import night, world
from tests.lab.nights.plan import Axes, Host, Plan
from tests.lab.nights.runner import WatchedClient, WatchedLedger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from stages import Change

    from batchrunner.core.board import Board
    from batchrunner.core.notes import Outcome
    from batchrunner.manifest import Batch
    from tests.lab.faults import Script

TWO_AT_ONCE = "{at: 10, do: kill, for: 650}"
"""Dead until both of its prompts are rendered, the runner finds two videos at its first poll."""


TWO = (Host(), Host())
SECOND_BUSY = (Host(), Host(parse("[{at: 290, do: silence, for: 500}]", "the second server")))
"""It is silent when the first one is ready for more, within a minute after the runner has lost its memory."""
OLD = (Host(own_ids=True),)
SECOND_AWAY = (Host(), Host(parse("[{do: refuse, for: 3000}]", "the second server")))
SECOND_GONE = (Host(), Host(parse("[{at: 60, do: gone-for-good}]", "the second server")))


@dataclass(frozen=True)
class Defect:
    """What is wrong, in which faults it shows, and as which broken promise; `stage` is there without it too."""

    changes: Callable[[], tuple[Change, ...]]
    script: str
    promise: str
    jobs: int = 4
    stage: Callable[[Path], Stage] = field(default=empty)
    hosts: tuple[Host, ...] = (Host(),)
    pictures: int = 0
    """Input files of the batch, under whose names others' lie on the server."""


@contextmanager
def put_in(changes: tuple[Change, ...]) -> Iterator[None]:
    """Replace attributes until the block ends."""
    with ExitStack() as stack:
        for owner, name, wrong in changes:
            stack.callback(setattr, owner, name, vars(owner)[name])
            setattr(owner, name, wrong)
        yield


# What is posted.


def shared_prefix() -> tuple[Change, ...]:
    """Give every attempt of every job the same file prefix."""
    return ((scheduler, "file_prefix", lambda batch, _job, _attempt: f"{batch}-{'0' * 12}-a1"),)


def our_own_name() -> tuple[Change, ...]:
    """Post the name under which an input file was to be stored, not the one that the server's answer told."""
    return ((run_batch, "with_stored_names", lambda workflow, _: workflow),)


def blind_repost() -> tuple[Change, ...]:
    """POST again at once when the answer is lost."""
    once = WatchedClient.submit

    async def twice(self: WatchedClient, body: bytes) -> Any:
        end = await once(self, body)
        return await once(self, body) if isinstance(end, Failure) else end

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
    prompt, prefix = vars(scheduler)["prompt_id"], vars(scheduler)["file_prefix"]
    return (
        (scheduler, "prompt_id", lambda batch, job, _attempt: prompt(batch, job, 1)),
        (scheduler, "file_prefix", lambda batch, job, _attempt: prefix(batch, job, 1)),
    )


def count_at_the_end() -> tuple[Change, ...]:
    """Count an attempt when it ends, not when it is claimed."""
    lost = vars(lifecycle)["_lost"]

    def late(state: Any, fact: Any) -> Any:
        after = lost(state, replace(fact, burns=True))
        return replace(after, past=replace(after.past, spent=state.past.spent + fact.burns))

    return (
        (lifecycle, "_claimed", lambda past, fact: replace(past, highest=fact.attempt)),
        (lifecycle, "_lost", late),
    )


# Other people's prompts.


def clear_the_queue() -> tuple[Change, ...]:
    """Clear the queue where prompts of ours are to be deleted."""

    async def clear(self: WatchedClient, _prompts: object) -> Failure | None:
        return await self._order("/queue", {"clear": True})

    return ((WatchedClient, "withdraw", clear),)


def bare_interrupt() -> tuple[Change, ...]:
    """Interrupt whatever runs when our pending prompts are taken back."""
    withdraw = WatchedClient.withdraw

    async def stop(self: WatchedClient, prompts: Any) -> Failure | None:
        return await withdraw(self, prompts) or await self._order("/interrupt", {})

    return ((WatchedClient, "withdraw", stop),)


def jump_the_queue() -> tuple[Change, ...]:
    """Post every prompt in front of everybody else's."""
    submit = Client.submit

    async def first(self: Client, body: bytes) -> Any:
        return await submit(self, json.dumps({**json.loads(body), "front": True}).encode())

    return ((Client, "submit", first),)


# Several servers, old servers.


def post_elsewhere() -> tuple[Change, ...]:
    """POST to another server when the answer of the first is lost."""
    poll, submit = Client.poll, WatchedClient.submit
    clients: dict[str, WatchedClient] = {}

    async def seen(self: Any, action: Any) -> Any:
        clients[self.server] = self
        return await poll(self, action)

    async def elsewhere(self: WatchedClient, body: bytes) -> Any:
        end = await submit(self, body)
        others = [client for client in clients.values() if client is not self]
        return await submit(others[0], body) if isinstance(end, Failure) and others else end

    return ((Client, "poll", seen), (WatchedClient, "submit", elsewhere))


def silent_is_lost() -> tuple[Change, ...]:
    """Take the prompts of a server that is merely silent for lost."""
    interpret = engine.interpret_poll

    def impatient(board: Board, action: Any, end: Any, moment: Any) -> Outcome:
        outcome = interpret(board, action, end, moment)
        if not isinstance(end, Failure):
            return outcome
        held = [Attempt(job, state, moment.at, board.rules) for job, state in board.open_on(action.server)]
        lost = (lose(one, Why.FORGOTTEN, "its server is silent", burns=False) for one in held)
        return replace(outcome, facts=(*outcome.facts, *lost))

    return ((engine, "interpret_poll", impatient),)


def one_survey() -> tuple[Change, ...]:
    """Start anew where the state is lost as soon as one of the servers was asked."""

    def hasty(board: Any, _now: float) -> bool:
        return any(server.surveyed and server.health.is_heard() for server in board.servers.values())

    return ((scheduler, "is_surveyed", hasty),)


def known_by_id() -> tuple[Change, ...]:
    """Know a prompt by the id we gave it, and by nothing else."""
    interpret = engine.interpret_poll

    def blind(board: Board, action: Any, end: Any, moment: Any) -> Outcome:
        if isinstance(end, Failure):
            return interpret(board, action, end, moment)
        queue = tuple(replace(row, prefixes=()) for row in end.queue)
        return interpret(board, action, replace(end, queue=queue, recent=()), moment)

    return ((engine, "interpret_poll", blind),)


# What is believed lost.


def no_survey() -> tuple[Change, ...]:
    """Start anew where the state is lost, without asking the server what it has."""
    return ((scheduler, "is_surveyed", lambda *_: True), (polls, "adopt", lambda *_: ([], [])))


def history_first() -> tuple[Change, ...]:
    """Ask the history before the queue, and call lost, without a probe, what one such poll does not see."""
    poll = Client.poll

    async def backwards(self: Client, action: Any) -> Any:
        first = await poll(self, action)
        second = await poll(self, action)
        if isinstance(first, Failure) or isinstance(second, Failure):
            return first
        return replace(first, queue=second.queue, history={**dict.fromkeys(action.ids), **first.history})

    unprobed = SimpleNamespace(FAILED=Guess.UNTRIED, DUE=Guess.DUE)
    hasty = ((missing, "_ABSENCES", 1), (missing, "Guess", unprobed), _rules(grace=0.0))
    return ((Client, "poll", backwards), *hasty)


def one_absent_poll() -> tuple[Change, ...]:
    """Take a POST without an answer for lost at the first poll that does not show it."""
    return (_rules(settle=0.0),)


# Files.


def no_verify() -> tuple[Change, ...]:
    """Take every file for whole and ours."""
    blind = SimpleNamespace(**vars(media))
    blind.inspect_as = lambda _file, _suffix: media.Inspection("mp4", whole=True, prefixes=None)
    return ((fetch, "media", blind),)


def name_before_sync() -> tuple[Change, ...]:
    """Give a file its final name before its bytes are on the disk."""
    return ((Folder, "_sync", staticmethod(lambda _name, _folder: None)),)


def if_range() -> tuple[Change, ...]:
    """Continue a video with `If-Range`, and trust that the rest is of the same one."""
    send = Exchange.send

    async def trusting(self: Exchange, path: str, body: Any, headers: Any, total: Any) -> Any:
        renamed = {"If-Range" if name == "If-Match" else name: said for name, said in headers.items()}
        return await send(self, path, body, renamed, total)

    return ((Exchange, "send", trusting), (fetch._Download, "_continues", lambda *_: True))


def one_at_a_time() -> tuple[Change, ...]:
    """Download one file after the other."""
    return (_rules(downloads=1),)


def downloads_last() -> tuple[Change, ...]:
    """Begin to download when everything is rendered."""
    fetches = vars(scheduler)["_fetches"]

    def later(board: Any, *rest: Any) -> Any:
        return () if board.waiting else fetches(board, *rest)

    return ((scheduler, "_fetches", later),)


# Servers that are away, gone, or bring nothing.


def page_is_proof() -> tuple[Change, ...]:
    """Take a proxy's own 404 page for the proof that a file is gone."""
    view = Client._view

    async def trusting(self: Client, response: Any) -> Any:
        return View(response, "", 30.0) if response.status == 404 else await view(self, response)

    return ((Client, "_view", trusting),)


def download_before_poll() -> tuple[Change, ...]:
    """Ask for files at a new start before the first poll of their server has ended."""
    return ((Health, "gives_files", lambda self: not self.failures),)


def wait_for_all() -> tuple[Change, ...]:
    """Post nothing of a new batch until every server has told what it holds, or was waited for in vain."""
    return ((scheduler, "survey_limit", lambda _board: 1e9),)


def keep_jobs() -> tuple[Change, ...]:
    """Leave to a server that is gone for good whatever it held."""
    brief = (_rules(patience=1800.0), (world, "_LONGEST", 3600.0))
    never = ((engine, "give_up_servers", lambda *_: ()), (ending, "frees_at", lambda *_: None))
    return (*never, *brief)


def whole_polls() -> tuple[Change, ...]:
    """Take a server whose history can't be read for unavailable, though its queue was read well."""
    poll = Client.poll

    async def strict(self: Client, action: Any) -> Any:
        end = await poll(self, action)
        return end if isinstance(end, Failure) else end.unread or end

    return ((Client, "poll", strict),)


def count_errors_only() -> tuple[Change, ...]:
    """Let nothing but execution errors count as renders in vain, not successes without a file."""
    board = import_module("batchrunner.core.board")
    counted = vars(board)["burned_loss"]
    return ((board, "burned_loss", lambda lost: counted(lost) if lost.why is Why.ERROR else None),)


def wait_for_ever() -> tuple[Change, ...]:
    """Never interrupt a prompt that hangs, however long it runs."""
    return (_rules(stuck=None),)


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
    "an attempt counted at its end": Defect(count_at_the_end, "[{do: out-of-memory, times: 99}]", "P1", 1),
    "a queue that is cleared": Defect(clear_the_queue, "[{at: 100, do: stop}]", "P9"),
    "an interrupt without an id": Defect(bare_interrupt, "[{at: 100, do: stop}]", "P9"),
    "a prompt that jumps the queue": Defect(jump_the_queue, "[]", "P9"),
    "a new start without a poll": Defect(no_survey, "[{at: 100, do: lose-state}]", "P1"),
    "history before queue": Defect(history_first, "[{do: slow, for: 9999, by: 8}]", "P1", 8),
    "lost after one absent poll": Defect(one_absent_poll, "[{do: late-post, by: 40}, {at: 3, do: kill, for: 5}]", "P2"),
    "no verifying": Defect(no_verify, "[{do: replace-film}]", "P7"),
    "a final name before the fsync": Defect(name_before_sync, "[]", "P6", 1, power_cut),
    "If-Range instead of If-Match": Defect(if_range, "[{do: stall-film, by: 100}]", "P7", 1, other_take),
    "one download at a time": Defect(one_at_a_time, f"[{TWO_AT_ONCE}, {{do: stall-film, by: 900}}]", "P8"),
    "downloads when all is rendered": Defect(downloads_last, "[]", "P8"),
    "a lost POST that is repeated elsewhere": Defect(post_elsewhere, "[{do: drop-reply}]", "P1", hosts=TWO),
    "a silent server taken for an empty one": Defect(
        silent_is_lost, "[{at: 100, do: silence, for: 200}]", "P1", hosts=TWO
    ),
    "a new start with half a poll": Defect(one_survey, "[{at: 300, do: lose-state, for: 5}]", "P1", hosts=SECOND_BUSY),
    "a prompt known by our id alone": Defect(known_by_id, "[{do: drop-reply}]", "P2", hosts=OLD),
    "a proxy's 404 page taken for proof": Defect(page_is_proof, "[{at: 10, do: page-404, for: 450, only: view}]", "P1"),
    "a GET before the first poll": Defect(
        download_before_poll,
        "[{at: 10, do: page-5xx, for: 500, only: view}, {at: 400, do: kill, for: 5}]",
        "P8",
    ),
    "a dead server that holds up the others": Defect(wait_for_all, "[]", "P15", hosts=SECOND_AWAY),
    "a given-up server that keeps its jobs": Defect(keep_jobs, "[]", "P5", hosts=SECOND_GONE),
    "a poll that counts only whole": Defect(whole_polls, "[{do: page-5xx, for: 300, only: history}]", "P15"),
    "an outcome without a file that counts for nothing": Defect(
        count_errors_only, "[{do: no-output, for: 3000}]", "P17", 8
    ),
    "a prompt that hangs for ever": Defect(wait_for_ever, "[{at: 1200, do: hang, for: 9000}]", "P16", 6),
    "an upload whose stored name is not used": Defect(our_own_name, "[]", "P18", pictures=2),
}


def broken(folder: Path, defect: Defect, name: str) -> tuple[str, ...]:
    """Return the promises broken in the night made for a defect, each once; whether it is put in, the caller says."""
    script = parse(defect.script, name)
    stage = defect.stage(folder)
    with put_in(stage.changes):
        outcome = night.pass_night(
            folder,
            Plan(
                1,
                defect.jobs,
                script,
                crash=stage.crash,
                again=60.0,
                hosts=defect.hosts,
                axes=Axes(pictures=defect.pictures),
                strangers=bool(defect.pictures),
            ),
        )
    return tuple(sorted({line.split()[1] for line in (*outcome.broken, *stage.judge())}))


# The page.

PAGE = Path(__file__).parents[2] / "docs" / "defects.md"
SEEDS = 100
_JOBS = 6
_HEAD = f"""# Proof that the nights can see

Each line is a defect that tests put into batchrunner on purpose (`tests/simulation/defects.py`), and the promise that
is then seen broken. Each has a night made for it, in which the sound code keeps every promise and the defect is caught
the first time: in 1 night. The last column says how many nights of {_JOBS} jobs drawn from seeds, from 0 on, it took
without knowing what to look for; `-` where {SEEDS} were not enough: a night from a seed has no second take
of a video, for one.
`python tests/simulation/defects.py` writes this page anew; a test keeps its first four columns current.

| defect | what it does | in a night with | breaks | nights from seeds |
|---|---|---|---|---|
"""


def row(name: str, defect: Defect) -> str:
    """Return a defect's line of the page, but for its last column."""
    does = (defect.changes.__doc__ or "").rstrip(".")
    script = "nothing else" if defect.script == "[]" else f"`{defect.script[1:-1]}`"
    scene = "" if defect.stage is empty else f", {defect.stage(Path()).message}"
    scene += _servers(defect.hosts) + ", others' files under our names" * bool(defect.pictures)
    promise = "several" if defect.promise == "P" else defect.promise
    return f"| {name} | {does} | {script}{scene} | {promise} |"


def _servers(hosts: tuple[Host, ...]) -> str:
    """Return what there is to say of a night's servers."""
    old = ", a server that chooses prompt ids itself" if any(host.own_ids for host in hosts) else ""
    others = "".join(f", a second server with {_told(host.script)}" for host in hosts[1:])
    return old + others


def _told(script: Script) -> str:
    return ", ".join(f"`{fault.line()[2:]}`" for fault in script) or "nothing else"


def nights_until_caught(name: str) -> str:
    """Return how many nights from seeds it takes until a promise is broken by a defect."""
    with put_in(DEFECTS[name].changes()):
        caught = (seed for seed in range(SEEDS) if night.night(seed, _JOBS).broken)
        seed = next(caught, None)
    return "-" if seed is None else str(seed + 1)


def rows() -> list[str]:
    """Return every defect's line, but for its last column."""
    return list(starmap(row, DEFECTS.items()))


if __name__ == "__main__":
    with get_context("spawn").Pool(maxtasksperchild=1) as pool:
        nights = pool.map(nights_until_caught, DEFECTS, chunksize=1)
    lines = [f"{row(name, one)} {number} |\n" for (name, one), number in zip(DEFECTS.items(), nights, strict=True)]
    PAGE.write_text(_HEAD + "".join(lines), encoding="utf-8")
