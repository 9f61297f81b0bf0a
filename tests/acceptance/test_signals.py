"""Every signal in every state: nine states, three signals, once and twice, on real processes and real sockets.

A server that holds what it is told to hold makes each state last until the signal has come: nothing here is luck.
Every check takes the three most telling states, each with one signal once and another one twice: each signal has both
among them. BATCHRUNNER_SIGNAL_STATES=all takes all nine states, each with every signal once and twice.
"""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING

import pytest
from batches import Batch
from evidence import assert_home, assert_right, posted_twice, twice
from gated import Gated, Holds, gated
from processes import Ended, until

from batchrunner.core.lifecycle import folded
from batchrunner.ledger import Ledger
from batchrunner.sim.record import What

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator
    from pathlib import Path

    from processes import Running

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_CATS = ("cat-1", "cat-2", "cat-3")
_STOPPING = "Press Ctrl-C again to quit now."
_BELL = "bell"
_THREADS = 64
"""Each cell has a server whose encoder may wait in a thread, and a process that is listened to in another."""


@dataclass
class Cell:
    """One run to be signalled."""

    server: Gated
    batch: Batch
    running: Running
    bell: int = -1
    """The writing end of what the notified program reads."""

    async def hears(self, text: str) -> None:
        """Wait until the run has said this."""
        await asyncio.to_thread(self.running.hear, text)


async def _held(cell: Cell) -> None:
    await cell.server.reached.wait()


async def _posted(cell: Cell) -> None:
    """Wait until both prompts of ours stand behind a stranger's that runs."""
    await cell.server.until(What.POSTED, 2)


async def _second_runs(cell: Cell) -> None:
    await cell.server.until(What.STARTED, 2)


async def _away(cell: Cell) -> None:
    await cell.server.until(What.STARTED, 2)
    await cell.server.go_away()
    await cell.hears("is away")


async def _resting(cell: Cell) -> None:
    await cell.hears("it gets one more in")


async def _last_words(cell: Cell) -> None:
    """Wait until whoever is notified of the end is being told, and takes his time."""
    cell.bell = await asyncio.to_thread(until, lambda: _rung(cell.batch.folder / _BELL), "nobody was notified")


def _rung(bell: Path) -> int | None:
    try:
        return os.open(bell, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:  # nobody listens there yet
        return None


@dataclass(frozen=True)
class State:
    """A state that a run can be stopped in, and how it is brought there."""

    reached: Callable[[Cell], Awaitable[None]]
    holds: Holds
    rules: dict[str, str] = field(default_factory=dict)
    asks: bool = True
    """Whether the first signal is answered by seeing something through."""
    over: bool = False
    """Whether everything is home by then."""
    away: bool = False


_ALL = {
    "first question of all": State(_held, Holds("GET /object_info"), asks=False),
    "first look": State(_held, Holds("GET /queue")),
    "POST under way": State(_held, Holds("POST /prompt")),
    "behind a stranger": State(_posted, Holds(pictures=True)),
    "running": State(_second_runs, Holds(films=1)),
    "download stalled": State(_held, Holds("GET /view", films=1)),
    "server away": State(_away, Holds(films=1), away=True),
    "resting after failures": State(_resting, Holds(sick=True), {"grace": "60s"}),
    "last words": State(
        _last_words,
        Holds(),
        {"notify": f'{{command: [sh, -c, "test ! -p {_BELL} || read go < {_BELL}"], on: [finished]}}'},
        over=True,
    ),
}
_TELLING = ("POST under way", "download stalled", "server away")
"""A claim that nobody has answered, a video that is half saved, a server that can't be asked what it has."""
_EVERYTHING = os.environ.get("BATCHRUNNER_SIGNAL_STATES") == "all"
STATES = tuple(_ALL) if _EVERYTHING else _TELLING


@pytest.fixture(autouse=True)
def _hang_ups_count() -> Iterator[None]:
    """Let no `nohup` around these tests be inherited by what they start."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("name", STATES)
async def test_every_signal_in_every_state(tmp_path: Path, name: str) -> None:
    """Once downloads what is rendered, twice is out at once; then the same command ends well, nothing done twice."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS))
    cells = [_cell(tmp_path / f"{number.name}-{times}", _ALL[name], number, times) for number, times in _sent(name)]
    async with asyncio.TaskGroup() as group:
        for cell in cells:
            group.create_task(cell)


def test_each_signal_is_sent_once_and_twice() -> None:
    """Over the states of this run every signal comes once and twice."""
    assert {sent for name in STATES for sent in _sent(name)} == set(product(SIGNALS, (1, 2)))


@pytest.mark.parametrize("turns", range(6))
async def test_a_server_goes_away_in_order(tmp_path: Path, turns: int) -> None:
    """Whoever was let in before the server went away has a whole connection, in whichever turn of the loop it went."""
    async with gated(tmp_path, Holds()) as (server, _), AsyncExitStack() as stack:
        visitor = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        for _ in range(turns):
            await asyncio.sleep(0)
        await server.go_away()
        gc.collect()  # a connection that was forgotten warns here, and a warning is an error
        visitor.close()
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.port))


def _sent(name: str) -> list[tuple[signal.Signals, int]]:
    """Return which signals are sent in a state, and how often."""
    if _EVERYTHING:
        return list(product(SIGNALS, (1, 2)))
    place = STATES.index(name)
    return [(SIGNALS[place], 1), (SIGNALS[(place + 1) % len(SIGNALS)], 2)]


async def _cell(folder: Path, state: State, number: signal.Signals, times: int) -> None:
    """Bring a run into its state, signal it, judge what it leaves, run it again and judge that."""
    async with gated(folder / "server", state.holds) as (server, runner):
        batch = Batch(folder, (server.url,), _CATS, seeds=(7,), rules=state.rules)
        os.mkfifo(folder / _BELL)
        if state.holds.pictures:
            server.visit()
            await server.simulator.record.until(What.STARTED)
        with await asyncio.to_thread(batch.start) as running:
            cell = Cell(server, batch, running)
            await state.reached(cell)
            server.visit()
            rendered = {event["prefix"] for event in server.events() if event["what"] == What.SUCCEEDED}
            ended = await _signalled(cell, state, number, times)
        code = ended.code if times == 1 else _as_a_shell_sees(ended)
        assert code == (0 if state.over and times == 1 else 128 + number), ended.err
        assert "Traceback" not in ended.err
        _assert_sound(batch, rendered if times == 1 and not state.away else set())
        (folder / _BELL).unlink()
        server.let_go()
        if state.away:
            await server.listen(runner)
        again = await asyncio.to_thread(batch.run)
        assert again.code == 0, again.err
        await _assert_well(cell)


async def _signalled(cell: Cell, state: State, number: signal.Signals, times: int) -> Ended:
    """Signal the run, and again while it sees things through; let go of what it waits for if it may see it."""
    cell.server.shut = times == 2
    cell.running.signal(number)
    if state.asks:
        await cell.hears(_STOPPING)
    if times == 1:
        cell.server.answer()
        _ring(cell)
    else:
        cell.running.signal(number)
    ended = await asyncio.to_thread(cell.running.end)
    _ring(cell)
    return ended


def _ring(cell: Cell) -> None:
    """Let the notified program end."""
    if cell.bell >= 0:
        os.close(cell.bell)
        cell.bell = -1


def _as_a_shell_sees(ended: Ended) -> int:
    """Return the exit code; where the second signal met a process that was ending already, what a shell makes of it."""
    return ended.code if ended.code >= 0 else 128 - ended.code


def _assert_sound(batch: Batch, rendered: set[str]) -> None:
    """Fail unless the state folds, what is home is whole, and every `rendered` prefix is among it."""
    snapshot = Ledger.read(batch.home)
    assert snapshot is not None
    assert len(folded(snapshot.jobs, snapshot.facts)) <= len(batch.wanted)
    films = {path.name: path.read_bytes() for path in batch.home.rglob("*.mp4")}
    assert films.keys() <= batch.wanted.keys()
    for name, film in films.items():
        assert_right(film, *batch.wanted[name])
    at_home = b"".join(films.values())
    assert all(prefix.encode() in at_home for prefix in rendered if prefix.startswith(f"{batch.home.name}-"))


async def _assert_well(cell: Cell) -> None:
    """Fail unless every job is home and rendered once, and every stranger got what he came for."""
    assert_home(cell.batch.home, cell.batch.wanted)
    events = cell.server.events()
    assert (twice(events), posted_twice(events)) == ({}, {})
    await cell.server.simulator.idle()
    assert cell.server.strangers(What.SUCCEEDED) == cell.server.strangers(What.POSTED)
    assert cell.server.simulator.record.of(What.INTERRUPTED) == []
