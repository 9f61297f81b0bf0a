"""What a turn of the engine costs with a thousand servers: python tests/benchmarks/servers.py [COMMIT].

A thousand servers hold two prompts each of 20,000 jobs, and so many polls are under way. In every turn one poll has
ended, and another is due and started; what is timed is all that the core does about it: what the poll means, tick,
plan, what was started, the exit decision and when to wake. With a COMMIT (0f4fd1c is the last one before the servers
were filed by the moment at which they are due) the same is measured on that code, taken out of this repository, in the
same run.
"""

from __future__ import annotations

import importlib
import io
import subprocess
import sys
import tarfile
from collections import deque
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

SERVERS, JOBS, TURNS = 1_000, 20_000, 200
UNDER_WAY = (50, 1_000)
STEP = 0.001
"""Seconds from one turn to the next."""
WALL = 1.7e9
ROOT = Path(__file__).parents[2]


class Core:
    """The core that is on the path: this one, or the one from before its parts were renamed."""

    def __init__(self) -> None:
        actions, scheduler = _module("actions"), _module("scheduler", "plan")
        results, ending = _module("results", "looks", "actions"), _module("exit", "conclude")
        self.is_new = hasattr(ending, "exit_decision")
        self.board = _module("board").Board
        self.rules = _module("settings", "rules").Rules
        self.facts = _module("facts")
        self.identity = _module("identity", "job")
        self.row = results.Row
        self.plan, self.wake = scheduler.plan, scheduler.wake
        if self.is_new:
            self.poll, self.poll_result, self.exit_decision = actions.Poll, results.PollResult, ending.exit_decision
            self._give_up = _module("giveup").give_up_servers
            self._file_away = scheduler.file_away
        else:
            self.poll, self.poll_result, self.exit_decision = actions.LookAt, results.Look, ending.conclude

    def end(self, board: Any, action: Any, result: Any, now: float) -> None:
        """Take in how a poll has ended; with everything as it was before, no fact follows."""
        if self.is_new:
            moment = _module("notes").Moment(board.in_flight.began(action), now, WALL + now)
            outcome = _module("polls", "poll_results").interpret_poll(board, action, result, moment)
            for note in outcome.notes:
                board.apply(note)
            facts = outcome.facts
        else:
            facts = _module("judge").Judge(board, now, WALL + now).look(action, result)
        assert not facts
        board.end(action, now)

    def turn(self, board: Any, now: float) -> list[Any]:
        """Do what the engine does in a turn, and return what was started."""
        if self.is_new:
            board.tick(now, WALL + now)
            assert not list(self._give_up(board, now, WALL + now))
        else:
            board.tick(now)
        started: list[Any] = self.plan(board, now)
        for action in started:
            board.start(action, now)
        if self.is_new:
            self._file_away(board, now)
        assert self.exit_decision(board, now) is None
        self.wake(board, now)
        return started


def _module(*names: str) -> Any:
    """Return the first of these modules of the core that there is."""
    for name in names:
        try:
            return importlib.import_module(f"batchrunner.core.{name}")
        except ModuleNotFoundError:
            continue
    raise ModuleNotFoundError(names)


def measure(under_way: int) -> float:
    """Return the median seconds of a turn with so many polls under way."""
    core = Core()
    # A server is polled again when all the others that are not being polled had their turn.
    pause = STEP * (SERVERS - under_way + 0.5)
    board, answers = _board(core, pause)
    polls = deque(core.turn(board, 0.0))
    assert len(polls) == SERVERS
    now, times = 1.0, []
    while len(polls) > under_way:
        now += STEP
        action = polls.popleft()
        core.end(board, action, answers[action.server], now)
    for _ in range(TURNS):
        now += STEP
        action = polls.popleft()
        begun = perf_counter()
        core.end(board, action, answers[action.server], now)
        started = core.turn(board, now)
        passed = perf_counter() - begun
        assert all(isinstance(action, core.poll) for action in started)
        polls.extend(started)
        times.append(passed)
        assert abs(len(polls) - under_way) <= 1, "a poll was not started when it was due"
    return median(times)


def _board(core: Core, pause: float) -> tuple[Any, dict[str, Any]]:
    """Return a board whose servers hold two prompts each, and what each answers: one runs and one waits."""
    names = [f"http://gpu-{number:04}:8188" for number in range(SERVERS)]
    jobs = [f"{number:012x}" for number in range(JOBS)]
    board = core.board("cats", core.rules(poll=pause), names, 0.0)
    facts: list[Any] = []
    rows: dict[str, tuple[Any, ...]] = dict.fromkeys(names, ())
    for number, job in enumerate(jobs[: 2 * SERVERS]):
        name, prompt = names[number % SERVERS], core.identity.prompt_id("cats", job, 1)
        prefix = core.identity.file_prefix("cats", job, 1)
        facts.append(core.facts.Claimed(job, 1, 0.0, prompt, prefix, name, "0" * 64))
        facts.append(core.facts.Accepted(job, 1, 0.0, prompt, prefix, name))
        rows[name] = (*rows[name], core.row(prompt, number, number < SERVERS, (prefix,)))
    board.load(jobs, facts, 0.0)
    board.want(jobs, None, 0.0)
    return board, {name: core.poll_result(rows[name], {}, (), WALL) for name in names}


def main(words: list[str]) -> None:
    """Print the milliseconds of a turn with few and with many polls under way; with a commit also its, and ratios."""
    if words[:1] == ["--measure"]:
        sys.stdout.write(" ".join(f"{1000 * measure(polls):.4f}" for polls in UNDER_WAY))
        return
    ours = _run(ROOT)
    _say("this code", ours)
    for commit in words:
        with TemporaryDirectory() as folder:
            _unpack(commit, folder)
            theirs = _run(Path(folder))
        _say(commit, theirs)
        ratios = ", ".join(f"{then / now:.1f}" for now, then in zip(ours, theirs, strict=True))
        sys.stdout.write(f"times as fast as {commit}: {ratios}\n")


def _unpack(commit: str, folder: str) -> None:
    """Put the package as it was at a commit into a folder."""
    command = ["git", "archive", commit, "batchrunner"]
    packed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")


def _run(root: Path) -> list[float]:
    """Measure the code below `root` in a process of its own."""
    command = [sys.executable, __file__, "--measure"]
    done = subprocess.run(command, env={"PYTHONPATH": str(root)}, check=True, stdout=subprocess.PIPE, text=True)
    return [float(word) for word in done.stdout.split()]


def _say(who: str, found: list[float]) -> None:
    few, many = (f"{took:.3f} ms" for took in found)
    sys.stdout.write(f"{who}: {few} a turn with {UNDER_WAY[0]} polls under way, {many} with {UNDER_WAY[1]:,}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
