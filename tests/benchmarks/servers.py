"""What a turn of the engine costs with a thousand servers: python tests/benchmarks/servers.py [COMMIT].

A thousand servers hold two prompts each of 20,000 jobs, and so many polls are under way; a turn is tick, plan, wake and
the exit decision after one poll has ended. With a COMMIT (0f4fd1c is the last one before the servers were filed by the
moment at which they are due) the same is measured on that code, taken out of this repository, in the same run.
"""

from __future__ import annotations

import importlib
import io
import subprocess
import sys
import tarfile
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

SERVERS, JOBS, TURNS = 1_000, 20_000, 300
ROOT = Path(__file__).parents[2]


def module(*names: str) -> Any:
    """Return the first of these modules of the core that there is."""
    for name in names:
        try:
            return importlib.import_module(f"batchrunner.core.{name}")
        except ModuleNotFoundError:
            continue
    raise ModuleNotFoundError(names)


def measure(flying: int) -> float:
    """Return the median seconds of a turn with so many polls under way."""
    board_of, facts, rules = module("board").Board, module("facts"), module("settings", "rules").Rules
    identity, results, actions = module("identity"), module("results", "looks"), module("actions")
    scheduler, ending = module("scheduler", "plan"), module("exit", "conclude")
    poll_of, result_of = getattr(actions, "Poll", None), getattr(results, "PollResult", None)
    poll_of, result_of = poll_of or actions.LookAt, result_of or results.Look
    decide = getattr(ending, "exit_decision", None) or ending.conclude
    file_away = getattr(scheduler, "file_away", lambda *_: None)
    names = [f"http://gpu-{number:04}:8188" for number in range(SERVERS)]
    jobs = [f"{number:012x}" for number in range(JOBS)]
    board = board_of("cats", rules(), names, 0.0)
    held: list[Any] = []
    rows: dict[str, tuple[Any, ...]] = dict.fromkeys(names, ())
    for number, job in enumerate(jobs[: 2 * SERVERS]):
        name, prompt = names[number % SERVERS], identity.prompt_id("cats", job, 1)
        prefix = identity.file_prefix("cats", job, 1)
        held.append(facts.Claimed(job, 1, 0.0, prompt, prefix, name, "0" * 64))
        held.append(facts.Accepted(job, 1, 0.0, prompt, prefix, name))
        rows[name] = (*rows[name], results.Row(prompt, number, number < SERVERS, (prefix,)))
    board.load(jobs, held, 0.0)
    board.want(jobs, None, 0.0)

    def end(action: Any, now: float) -> None:
        result = result_of(rows[action.server], {}, (), 1.7e9 + now)
        if hasattr(board, "apply"):
            moment = module("notes").Moment(board.in_flight[action], now, 1.7e9 + now)
            outcome = module("polls").interpret_poll(board, action, result, moment)
            for note in outcome.notes:
                board.apply(note)
            assert not outcome.facts
        else:
            assert not module("judge").Judge(board, now, 1.7e9 + now).look(action, result)
        board.end(action, now)

    def tick(now: float) -> None:
        if hasattr(board, "apply"):
            board.tick(now, 1.7e9 + now)
        else:
            board.tick(now)

    def turn(now: float) -> list[Any]:
        tick(now)
        started = scheduler.plan(board, now)
        for action in started:
            board.start(action, now)
        file_away(board, now)
        decide(board, now)
        scheduler.wake(board, now)
        return started

    for action in turn(0.0):
        end(action, 0.1)
    now, times = 0.2, []
    turn(now)
    under_way: list[Any] = []
    for number in range(TURNS):
        now += 0.001
        while len(under_way) < flying:
            server = board.servers[names[(number * 7 + len(under_way) * 13) % SERVERS]]
            action = poll_of(getattr(server, "name", None) or server.url, ())
            if action not in under_way:
                board.start(action, now)
            under_way.append(action)
        action = under_way.pop(0)
        if action not in under_way:
            end(action, now)
        begun = perf_counter()
        turn(now)
        times.append(perf_counter() - begun)
    return median(times)


def main(words: list[str]) -> None:
    """Print the milliseconds of a turn with 50 and with 1,000 polls under way; with a commit also its and the ratios."""
    if words[:1] == ["--measure"]:
        sys.stdout.write(" ".join(f"{1000 * measure(flying):.4f}" for flying in (50, 1000)))
        return
    ours = _run(ROOT)
    _say("this code", ours)
    for commit in words:
        with TemporaryDirectory() as folder:
            packed = subprocess.run(
                ["git", "archive", commit, "batchrunner"],  # noqa: S607 - whatever git there is
                cwd=ROOT,
                check=True,
                capture_output=True,
            ).stdout
            tarfile.open(fileobj=io.BytesIO(packed)).extractall(folder, filter="data")
            theirs = _run(Path(folder))
        _say(commit, theirs)
        ratios = ", ".join(f"{then / now:.1f}" for now, then in zip(ours, theirs, strict=True))
        sys.stdout.write(f"times as fast as {commit}: {ratios}\n")


def _run(root: Path) -> list[float]:
    """Measure the code below `root` in a process of its own."""
    command = [sys.executable, __file__, "--measure"]
    done = subprocess.run(command, env={"PYTHONPATH": str(root)}, check=True, capture_output=True, text=True)
    return [float(word) for word in done.stdout.split()]


def _say(who: str, found: list[float]) -> None:
    few, many = found
    sys.stdout.write(f"{who}: {few:.3f} ms a turn with 50 polls under way, {many:.3f} ms with 1,000\n")


if __name__ == "__main__":
    main(sys.argv[1:])
