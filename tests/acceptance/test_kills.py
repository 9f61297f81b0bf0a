"""kill -9, and every gentler way to stop: nothing is lost and nothing is rendered twice."""

from __future__ import annotations

import asyncio
import os
import signal
from functools import partial
from typing import TYPE_CHECKING

import pytest
from batches import Batch
from comfyui import Doorbell, Server
from evidence import assert_home, most_at_once, ours, posted_twice, twice
from gated import Holds, gated
from processes import LIMIT, chances, until

from batchrunner.sim.record import What

if TYPE_CHECKING:
    from pathlib import Path

_TWELVE = tuple(f"cat-{number}" for number in range(1, 7))
_SEEDS = range(*map(int, os.environ.get("BATCHRUNNER_KILL_SEEDS", "0:1").split(":")))
"""More seeds, more nights of ten kills each: `BATCHRUNNER_KILL_SEEDS=0:50 pytest tests/acceptance/test_kills.py`."""


@pytest.mark.parametrize("seed", _SEEDS)
def test_ten_kills_in_one_batch(tmp_path: Path, seed: int) -> None:
    """Killed ten times at random moments and started again, twelve videos are right and each was rendered once."""
    chance = chances(seed)
    with Server(tmp_path / "server", seconds=0.7) as server:
        batch = Batch(tmp_path, (server.url,), _TWELVE)
        for _ in range(10):
            # However slow this machine starts a command, the server waits: it must outlive ten kills.
            server.process.signal(signal.SIGSTOP)
            with batch.start() as running:
                until(partial(batch.is_held, running.pid), "the batch is not held")
                server.process.signal(signal.SIGCONT)
                if chance.random() < 0.7:
                    running.hear("is up")
                assert running.lasts(chance.uniform(0.0, 0.5)), "the batch was over before it was killed"
                running.kill()
        last = batch.run()
        assert last.code == 0, last.err
        assert_home(batch.home, batch.wanted)
        assert len(server.events("rendered")) == 12
        assert (twice(server.events()), posted_twice(server.events())) == ({}, {})
        assert most_at_once(server.events()) == 2


@pytest.mark.parametrize("seed", _SEEDS)
def test_signals_at_random_moments(tmp_path: Path, seed: int) -> None:
    """Stopped by INT, TERM and HUP at random moments it exits with 130, 143 and 129, and nothing is rendered twice."""
    chance = chances(seed)
    codes = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
    with Server(tmp_path / "server", seconds=0.3) as server:
        batch = Batch(tmp_path, (server.url,), _TWELVE)
        for number in chance.sample(list(codes), k=3):
            server.process.signal(signal.SIGSTOP)
            with batch.start() as running:
                until(partial(batch.is_held, running.pid), "the batch is not held")
                server.process.signal(signal.SIGCONT)
                running.hear("is up")
                running.lasts(chance.uniform(0.0, 0.3))
                running.signal(number)
                assert running.end().code == codes[number]
        assert batch.run().code == 0
        assert_home(batch.home, batch.wanted)
        assert twice(server.events()) == {}


async def test_one_interrupt_brings_home_what_is_rendered(tmp_path: Path) -> None:
    """After SIGINT every rendered video comes home, the pending prompt is taken back, and the next run goes on."""
    async with gated(tmp_path / "server", Holds(films=2)) as (server, _):
        batch = Batch(tmp_path, (server.url,))
        with await asyncio.to_thread(batch.start) as running:
            async with asyncio.timeout(LIMIT):
                await server.until(What.STARTED, 3)
                await server.until(What.POSTED, 4)
            rendered = {event.prefix for event in server.simulator.record.of(What.SUCCEEDED)}
            running.signal(signal.SIGINT)
            first = await asyncio.to_thread(running.end)
        at_home = "".join(path.read_text("latin-1") for path in batch.home.glob("*.mp4"))
        assert first.code == 130
        assert len(rendered) == 2
        assert all(prefix in at_home for prefix in rendered)
        assert len(server.simulator.record.of(What.DELETED)) == 1
        assert "run the same command again" in first.err
        server.let_go()
        again = await asyncio.to_thread(batch.run)
        assert again.code == 0, again.err
        assert_home(batch.home, batch.wanted)
        assert twice(server.events()) == {}


def test_the_second_interrupt_is_out_at_once(tmp_path: Path) -> None:
    """While the first SIGINT waits for a server that hangs, the second one ends the run, and the state is valid."""
    with Server(tmp_path / "server", seconds=0.7) as server:
        batch = Batch(tmp_path, (server.url,), ("cat-1", "cat-2"))
        with batch.start() as running:
            server.until("rendered")
            server.process.signal(signal.SIGSTOP)
            running.signal(signal.SIGINT)
            running.hear("Finishing downloads. Press Ctrl-C again to quit now.")
            assert running.lasts(0.3)
            running.signal(signal.SIGINT)
            assert running.end().code == 130
        server.process.signal(signal.SIGCONT)
        assert batch.run().code == 0
        assert_home(batch.home, batch.wanted)
        assert twice(server.events()) == {}


def test_nohup_stays_in_force(tmp_path: Path) -> None:
    """A run that was started to ignore hang-ups goes on through one."""
    with Server(tmp_path / "server") as server:
        batch = Batch(tmp_path, (server.url,), ("cat-1", "cat-2"))
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            running = batch.start()
        finally:
            signal.signal(signal.SIGHUP, before)
        with running:
            server.until("rendered")
            running.signal(signal.SIGHUP)
            assert running.end().code == 0
        assert_home(batch.home, batch.wanted)


def test_a_second_runner_keeps_off(tmp_path: Path) -> None:
    """A second runner on the same batch exits with 4, says who holds it, and sends no request."""
    with Server(tmp_path / "server", seconds=0.3) as server, Doorbell() as bell:
        batch = Batch(tmp_path, (server.url,), ("cat-1", "cat-2"))
        with batch.start() as running:
            server.until("started")
            server.process.signal(signal.SIGSTOP)  # or the first run might be over before the second one begins
            second = batch.run("--server", bell.url)
            server.process.signal(signal.SIGCONT)
            assert (second.code, second.out, bell.rang()) == (4, "", False)
            assert f"another runner holds this batch (process {running.pid}" in second.err
            assert running.end().code == 0
        assert_home(batch.home, batch.wanted)
        assert twice(ours(server.events())) == {}
