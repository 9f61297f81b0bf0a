"""What a run needs of its own process: open files, signals, clocks, the boot id, and a simulator for `server: sim`."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import resource
import shutil
import signal
import sys
import time
from contextlib import asynccontextmanager, contextmanager
from functools import cache
from pathlib import Path
from threading import current_thread, main_thread
from typing import TYPE_CHECKING

import anyio

from batchrunner.core.localfault import Allotment, allot
from batchrunner.errors import LocalError, YoursError
from batchrunner.sim.machine import Pace
from batchrunner.sim.server import Simulator, serve
from batchrunner.sim.video import renderer
from batchrunner.text import quote

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence

    from anyio.abc import TaskStatus

_BOOT = Path("/proc/sys/kernel/random/boot_id")
_SIM_FOLDER = ".sim"
_SIM_PACE = Pace(fixed=0.8)
"""Slow enough to watch, fast enough to try things out."""


# -- Secrets of the environment, where a manifest's commands run.
#
# A variable that is deleted from `os.environ` stays in the kernel's copy of our environment, which any program of the
# same user can read. So the process starts itself again without it and gets it through a pipe, and on Linux nobody
# else may look into that process.


_SECRETS = "BATCHRUNNER_SECRETS_FD"
_PR_SET_DUMPABLE = 4
_PIPE = 32_768
"""Bytes that a pipe takes though nobody reads."""


def environment() -> Mapping[str, str]:
    """Return the environment, with the secrets that `hide_secrets` took out of it."""
    return {**os.environ, **_received()}


@cache
def _received() -> Mapping[str, str]:
    number = os.environ.pop(_SECRETS, "")
    if not number.isdecimal():
        return {}
    try:
        with os.fdopen(int(number), encoding="utf-8", errors="surrogateescape") as pipe:
            found: dict[str, str] = json.load(pipe)
    except (OSError, ValueError):  # not ours
        return {}
    return found


def hide_secrets(names: Sequence[str]) -> None:
    """Keep these variables from every program that this process starts.

    Where one is set, this does not return: the process begins anew, with the same arguments, and finds it in
    `environment`.
    """
    _received()
    found = {name: os.environ[name] for name in names if name in os.environ}
    if found:
        if len(json.dumps(found)) > _PIPE:
            raise YoursError(f"{' and '.join(found)}: too long for a secret")
        reader, writer = os.pipe()
        with os.fdopen(writer, "w", encoding="utf-8", errors="surrogateescape") as pipe:
            json.dump(found, pipe)
        os.set_inheritable(reader, True)  # noqa: FBT003 - positional only
        kept = {name: value for name, value in os.environ.items() if name not in found}
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**kept, _SECRETS: str(reader)})  # noqa: S606
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)


# -- Names of files.


def check_names(names: Iterable[str], encoding: str = "") -> None:
    """Raise YoursError if this system's encoding of file names (or another `encoding`) can't write one of `names`.

    Under a locale such as en_US.ISO-8859-1 no file of such a job could ever be saved.
    """
    encoding = encoding or sys.getfilesystemencoding()
    for name in names:
        try:
            name.encode(encoding, sys.getfilesystemencodeerrors())
        except UnicodeEncodeError:
            raise YoursError(
                f"the file name {quote(name)} can't be written in this locale ({encoding}); set LC_ALL=C.UTF-8, "
                "or choose other names with `files`"
            ) from None


# -- Open files.


def raise_file_limit(servers: int, downloads: int) -> Allotment:
    """Raise the soft limit of open files as far as that many servers need; return what it allows."""
    soft, hard = (
        sys.maxsize if limit == resource.RLIM_INFINITY else limit
        for limit in resource.getrlimit(resource.RLIMIT_NOFILE)
    )
    wanted = allot(servers, downloads, soft, hard)
    if wanted.limit > soft:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted.limit, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
        except (OSError, ValueError):  # macOS has a lower limit of its own beside an infinite one
            return allot(servers, downloads, soft, soft)
    return wanted


CANCEL = signal.SIGUSR1
"""What `cancel` sends to a run: it ends as by Ctrl-C, and knows that its prompts are removed from the servers next."""


def signal_exit(number: int) -> int:
    """Return the exit code of a run that a signal ended; one that was cancelled counts as interrupted."""
    return 128 + (signal.SIGINT if number == CANCEL else number)


def stop_signals() -> list[signal.Signals]:
    """Return the signals that stop a run; a hang-up that is ignored already (nohup) stays ignored."""
    signals = [signal.SIGINT, signal.SIGTERM, CANCEL]
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        signals.append(signal.SIGHUP)
    return signals


async def handle_signals(
    stop: Callable[[signal.Signals], None],
    before_exit: Callable[[], None],
    *,
    task_status: TaskStatus[None] = anyio.TASK_STATUS_IGNORED,
) -> None:
    """Call `stop` on the first signal; on the second call `before_exit`, and end the process at once.

    When this is cancelled after the first, the second still ends the process, whatever the run is closing then.
    """
    first = True
    numbers = stop_signals()
    try:
        with anyio.open_signal_receiver(*numbers) as signals:
            task_status.started()
            async for number in signals:
                if not first:
                    before_exit()
                    os._exit(signal_exit(number))
                first = False
                stop(signal.Signals(number))
    finally:
        if not first:
            for number in numbers:
                signal.signal(number, lambda late, _: os._exit(signal_exit(late)))


@contextmanager
def kept_signals() -> Iterator[None]:
    """Have after the block the handlers of signals that were there before it. Only the main thread can set any."""
    handlers = {number: signal.getsignal(number) for number in stop_signals()}
    try:
        yield
    finally:
        for number, handler in handlers.items() if current_thread() is main_thread() else ():
            if handler is not None:  # one that was not set from Python
                signal.signal(number, handler)


async def wait_for_signal() -> None:
    """Return on SIGINT or SIGTERM."""
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for _ in signals:
            return


class LoopClock:
    """The event loop's clock, and the wall's."""

    def now(self) -> float:
        """Seconds on the loop's clock."""
        return asyncio.get_running_loop().time()

    def wall(self) -> float:
        """Seconds since the epoch."""
        return time.time()


def boot_id() -> str:
    """Return the id of this boot of the machine; one of its own for each process where the system has none."""
    try:
        return _BOOT.read_text(encoding="ascii").strip()
    except OSError:
        return f"process {os.getpid()} of {time.time()}"


@asynccontextmanager
async def simulator(folder: Path, ttl: float | None, tell: Callable[[str], None]) -> AsyncIterator[str]:
    """Serve a simulator on a loopback port, with its files under the batch's own `folder`; yield its URL.

    `ttl`: seconds until it deletes a file, None to keep them. Without PyAV, which makes its videos, `tell` is told
    that there are stand-ins. Raises LocalError if the folder can't be created.
    """
    own = folder / _SIM_FOLDER
    shutil.rmtree(own, ignore_errors=True)
    try:
        own.mkdir(parents=True)
        machine = Simulator(own, pace=_SIM_PACE, renderer=renderer(tell), ttl=ttl, strict=False)
    except OSError as error:
        raise LocalError(f"{own}: can't create this folder: {error.strerror or error}") from None
    try:
        async with serve(machine) as url:
            yield url
    finally:
        shutil.rmtree(own, ignore_errors=True)
