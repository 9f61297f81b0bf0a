"""Copies of the repository in which changes are made and tried: the tree that is worked in is never touched.

Tests run in processes forked from one that has imported pytest and the libraries already, but nothing of the product.
"""

from __future__ import annotations

import json
import os
import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from typing import TYPE_CHECKING

from tests.lab.mutate.table import steps

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from tests.lab.mutate.sites import Mutant

_COPIED = ("batchrunner", "tests", "docs", "jobs", "pyproject.toml", "README.md", "CHANGELOG.md", "ARCHITECTURE.md")
_AHEAD = "pytest pytest_asyncio.plugin hypothesis aiohttp anyio aiofiles pydantic rich.live typer structlog yaml"
"""What is imported before the fork."""
_OPTIONS = ("-x", "-q", "-n", "0", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning")
_SERVE = "from tests.lab.mutate.trials import serve; serve()"
_WHOSE = "import batchrunner.engine as one, tests.lab as other; print(one.__file__, other.__file__, sep='\\n')"
_TIMES, _AT_LEAST = 5, 20
"""How many times its usual time, and how many seconds more, a run may take; one that takes longer has been caught."""
_MEMORY = 6 * 2**30


def serve() -> None:
    """Fork a run of pytest for every line on stdin, `[limit, file, ...]`; write its exit code, or -1, and its time."""
    for name in _AHEAD.split():
        import_module(name)
    for line in sys.stdin:
        limit, *files = json.loads(line)
        began = time.monotonic()
        child = os.fork()
        if not child:
            _test(files)
        code = _waited(child, began + limit)
        sys.stdout.write(json.dumps([code, time.monotonic() - began]) + "\n")
        sys.stdout.flush()


def _test(files: Sequence[str]) -> None:
    """Run pytest, in a process of its own, and end with its exit code."""
    code = 4
    try:
        os.setsid()
        os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
        output = os.open("output.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(output, 1)
        os.dup2(output, 2)
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        code = int(import_module("pytest").main([*_OPTIONS, f"--basetemp={Path.cwd().parent / 'tmp'}", *files]))
        sys.stdout.flush()
    finally:
        os._exit(code)


def _waited(child: int, until: float) -> int:
    """Return how a child ended, -1 if it had to be killed; nothing that it started is left behind."""
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            _kill(child)
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.01)
    _kill(child)
    os.waitpid(child, 0)
    return -1


def _kill(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


class Copy:
    """A copy of the repository in which one change at a time is made and tried."""

    def __init__(self, place: Path, source: Path) -> None:
        self._source = source
        self.root = place / "copy"
        self.root.mkdir(parents=True)
        for name in _COPIED:
            if (source / name).is_dir():
                shutil.copytree(source / name, self.root / name)
            elif (source / name).exists():
                shutil.copy2(source / name, self.root / name)
        # `CI` has hypothesis draw the same examples every time and keep none.
        environment = os.environ | {"PYTHONPATH": str(self.root), "CI": "true", "COLUMNS": "120"}
        self._assert_it_is_imported(environment)
        self._server = subprocess.Popen(
            [sys.executable, "-c", _SERVE],
            cwd=self.root,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def _assert_it_is_imported(self, environment: Mapping[str, str]) -> None:
        command = [sys.executable, "-c", _WHOSE]
        said = subprocess.run(command, cwd=self.root, env=environment, check=True, capture_output=True, text=True)
        assert all(Path(line).is_relative_to(self.root) for line in said.stdout.splitlines()), said.stdout

    def run(self, files: Sequence[str], limit: float) -> tuple[int, float]:
        """Run test files; return pytest's exit code, -1 if it took longer than `limit` seconds, and its seconds."""
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps([limit, *files]) + "\n")
        self._server.stdin.flush()
        code, seconds = json.loads(self._server.stdout.readline())
        return int(code), float(seconds)

    def output(self) -> str:
        """Return what the last run printed."""
        return (self.root / "output.txt").read_text(encoding="utf-8", errors="replace")

    def put(self, mutant: Mutant) -> None:
        """Make a change; its time is one that no compiled module has."""
        path = self.root / mutant.path
        path.write_text(mutant.source, encoding="utf-8")
        os.utime(path, (1, 1))
        for compiled in path.parent.glob(f"__pycache__/{path.stem}.*.pyc"):
            compiled.unlink()

    def take_back(self, mutant: Mutant) -> None:
        """Undo a change."""
        shutil.copy2(self._source / mutant.path, self.root / mutant.path)
        for compiled in (self.root / mutant.path).parent.glob(f"__pycache__/{Path(mutant.path).stem}.*.pyc"):
            compiled.unlink()

    def close(self) -> None:
        """End the process that forks; it ends when nothing more is asked."""
        assert self._server.stdin is not None
        self._server.stdin.close()
        self._server.wait()


@dataclass(frozen=True)
class Trial:
    """How one change fared."""

    mutant: Mutant
    caught_by: str
    """The step that failed, empty if none did."""
    seconds: float


class Trials:
    """Tries changes in several copies of the repository at a time."""

    def __init__(self, source: Path, place: Path, workers: int) -> None:
        self._source = source
        self._copies: SimpleQueue[Copy] = SimpleQueue()
        self._pool = ThreadPoolExecutor(workers)
        self._usual: dict[str, float] = {}
        self._all = [Copy(place / str(number), source) for number in range(workers)]
        for copy in self._all:
            self._copies.put(copy)

    def measure(self, files: Iterable[str]) -> None:
        """Run every test file on the unchanged product: it must pass, and its time is kept."""
        for file, seconds in self._pool.map(self._measured, files):
            self._usual[file] = seconds

    def _measured(self, file: str) -> tuple[str, float]:
        copy = self._copies.get()
        try:
            code, seconds = copy.run([file], 600.0)
            if code:
                raise SystemExit(f"{file} fails with nothing changed:\n{copy.output()}")
            return file, seconds
        finally:
            self._copies.put(copy)

    def of(self, chosen: Iterable[Mutant]) -> Iterator[Trial]:
        """Try changes; yield how each fared, in their order."""
        return self._pool.map(self._tried, chosen)

    def _tried(self, mutant: Mutant) -> Trial:
        copy = self._copies.get()
        began = time.monotonic()
        copy.put(mutant)
        try:
            for step in steps(mutant.path, copy.root):
                files = sorted(step, key=self._usual.__getitem__)
                code, _ = copy.run(files, _TIMES * sum(self._usual[file] for file in files) + _AT_LEAST)
                if code:
                    return Trial(mutant, _by(code, copy.output(), files), time.monotonic() - began)
            return Trial(mutant, "", time.monotonic() - began)
        finally:
            copy.take_back(mutant)
            self._copies.put(copy)

    def close(self) -> None:
        """End every process."""
        self._pool.shutdown(cancel_futures=True)
        for copy in self._all:
            copy.close()


def _by(code: int, output: str, files: Sequence[str]) -> str:
    if code == -1:
        return "taking too long"
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", output, re.MULTILINE)
    return failed[1] if failed else f"{files[0]} (exit {code})"
