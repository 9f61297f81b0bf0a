"""Simulated processes are killed, signalled, suspended and given another time, as real ones are."""

from __future__ import annotations

import asyncio
import gc
import signal
import sqlite3
from typing import TYPE_CHECKING

import aiohttp
import anyio
import pytest
from aiohttp import web

from tests.lab.clock import VirtualLoop, run
from tests.lab.process import KilledError, Process

if TYPE_CHECKING:
    from pathlib import Path


async def patient(request: web.Request) -> web.StreamResponse:
    """Send a first chunk, and the rest never."""
    response = web.StreamResponse()
    await response.prepare(request)
    await response.write(b"x" * 1000)
    await asyncio.Event().wait()
    return response


async def server(path: str = "server") -> web.AppRunner:
    """Serve `patient` at `path`."""
    app = web.Application()
    app.router.add_get("/", patient)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, path).start()
    return runner


def test_a_process_gives_its_result_and_its_error() -> None:
    """Whoever starts a process can await how its main coroutine ended."""

    async def good() -> int:
        return 5

    async def bad() -> int:
        raise ValueError("no")

    async def main(loop: VirtualLoop) -> int:
        with pytest.raises(ValueError, match="no"):
            await loop.spawn("bad").start(bad())
        return await loop.spawn("good").start(good())

    assert run(main, seed=1) == 5


def test_nothing_runs_in_a_process_after_kill() -> None:
    """No `except`, no `finally` and no `__aexit__` runs after a kill, neither at once nor when garbage is collected."""
    said: list[str] = []

    async def program(loop: VirtualLoop) -> None:
        try:
            async with anyio.create_task_group() as task_group:
                task_group.start_soon(loop.elapse, 1000)
                await loop.elapse(1000)
        except BaseException:
            said.append("except")
            raise
        finally:
            said.append("finally")

    async def main(loop: VirtualLoop) -> None:
        process = loop.spawn("program")
        ended = process.start(program(loop))
        await loop.elapse(10)
        process.kill()
        with pytest.raises(KilledError):
            await ended
        await loop.elapse(2000)

    run(main, seed=1)
    gc.collect()
    assert said == []


def test_what_the_dead_compute_no_longer_counts() -> None:
    """Killed in the middle of a stretch without an await, a process sends nothing and schedules nothing more."""
    said: list[str] = []

    async def program(loop: VirtualLoop) -> None:
        loop.process.kill()
        loop.call_soon(said.append, "callback")
        late = asyncio.create_task(loop.elapse(1))
        await loop.run_in_executor(None, said.append, "thread")
        await late

    async def main(loop: VirtualLoop) -> None:
        with pytest.raises(KilledError):
            await loop.spawn("program").start(program(loop))
        await loop.elapse(10)

    run(main, seed=1)
    assert said == []


def test_peers_of_a_killed_server_see_a_reset() -> None:
    """A client in the middle of a download gets an error, a new one is refused."""

    async def main(loop: VirtualLoop) -> None:
        process = loop.spawn("server")
        await process.start(server())
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector("server")) as session:
            async with session.get("http://server/") as answer:
                loop.call_later(5, process.kill)
                with pytest.raises(aiohttp.ClientError):
                    await answer.read()
            assert 5 <= loop.now < 6
            with pytest.raises(aiohttp.ClientConnectorError):
                await session.get("http://server/")

    run(main, seed=1)


def test_a_server_of_the_same_name_can_follow_a_killed_one() -> None:
    """The path of a dead server is free at once."""

    async def main(loop: VirtualLoop) -> None:
        first = loop.spawn("first")
        await first.start(server())
        first.kill()
        await loop.spawn("second").start(server())

    run(main, seed=1)


def test_a_killed_client_leaves_the_server_running() -> None:
    """The server sees the reset of its dead client and serves the next one."""

    async def client(total: float) -> None:
        timeout = aiohttp.ClientTimeout(total=total)
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector("server"), timeout=timeout) as session,
            session.get("http://server/") as answer,
        ):
            await answer.read()

    async def main(loop: VirtualLoop) -> None:
        runner = await server()
        process = loop.spawn("client")
        process.start(client(3600))
        await loop.elapse(10)
        process.kill()
        with pytest.raises(TimeoutError):
            await loop.spawn("next").start(client(10))
        assert loop.now < 25
        await runner.cleanup()

    run(main, seed=1)


def test_committed_state_outlives_a_kill(tmp_path: Path) -> None:
    """SQLite keeps what was committed before the kill and nothing of what was not."""
    place = tmp_path / "state.sqlite3"

    async def program(loop: VirtualLoop) -> None:
        state = sqlite3.connect(place, isolation_level=None)
        state.execute("pragma journal_mode=wal")
        state.execute("create table fact (n)")
        for number in range(100):
            state.execute("insert into fact values (?)", [number])
            await loop.elapse(1)

    async def main(loop: VirtualLoop) -> int:
        process = loop.spawn("program")
        process.start(program(loop))
        await loop.elapse(9.5)
        process.kill()
        state = sqlite3.connect(place)
        (count,) = state.execute("select count(*) from fact").fetchone()
        state.close()
        return int(count)

    assert run(main, seed=1) == 10


def test_a_signal_reaches_what_the_process_set_for_it() -> None:
    """Two processes have their own answers to a signal; one that has none dies of it."""

    async def program(loop: VirtualLoop) -> str:
        with anyio.open_signal_receiver(signal.SIGTERM) as signals:
            async for number in signals:
                return f"{number.name} at {loop.now}"
        return "never"

    async def main(loop: VirtualLoop) -> str:
        first, second = loop.spawn("first"), loop.spawn("second")
        told, died = first.start(program(loop)), second.start(program(loop))
        await loop.elapse(5)
        first.signal(signal.SIGTERM)
        second.signal(signal.SIGINT)
        with pytest.raises(KilledError):
            await died
        return await told

    assert run(main, seed=1) == "SIGTERM at 5.0"


def test_no_process_answers_sigkill() -> None:
    """SIGKILL kills whatever was set."""

    async def main(loop: VirtualLoop) -> bool:
        process = loop.spawn("program")
        process.on_signal(signal.SIGKILL, lambda: None)
        process.signal(signal.SIGKILL)
        return process.dead

    assert run(main, seed=1)


def test_turning_the_wall_clock_leaves_timers_alone() -> None:
    """A day's jump shows in the wall clock of one process and in nobody's timers."""

    async def program(loop: VirtualLoop, process: Process) -> tuple[float, float]:
        wall, now = loop.wall(), loop.time()
        loop.call_later(5, process.turn_clock, 86_400)
        await loop.elapse(10)
        return loop.wall() - wall, loop.time() - now

    async def main(loop: VirtualLoop) -> tuple[tuple[float, float], float]:
        process, wall = loop.spawn("program"), loop.wall()
        return await process.start(program(loop, process)), loop.wall() - wall

    assert run(main, seed=1) == ((86_410, 10), 10)


def test_a_suspended_process_misses_the_time_its_wall_clock_shows() -> None:
    """After eight hours of a closed lid a timer still has the rest of its time to go, as CLOCK_MONOTONIC counts it."""

    async def program(loop: VirtualLoop) -> tuple[float, float, float]:
        wall, now = loop.wall(), loop.time()
        await loop.elapse(60)
        return loop.wall() - wall, loop.time() - now, loop.now

    async def main(loop: VirtualLoop) -> tuple[float, float, float]:
        process = loop.spawn("program")
        ended = process.start(program(loop))
        await loop.elapse(20)
        process.suspend(8 * 3600)
        return await ended

    assert run(main, seed=1) == (28_860, 60, 28_860)


def test_time_outs_are_exact_after_a_suspension() -> None:
    """A clock that stood still for an odd time still shows, when a timer fires, what the timer was set to."""

    async def program(loop: VirtualLoop) -> list[float]:
        late: list[float] = []
        for number in range(1, 2000):
            when = loop.time() + number / 7919
            with anyio.move_on_at(when):
                await asyncio.Event().wait()
            late.append(loop.time() - when)
        return late

    async def main(loop: VirtualLoop) -> list[float]:
        process = loop.spawn("program")
        ended = process.start(program(loop))
        process.suspend(4711.123456789)
        return await ended

    late = run(main, seed=1)
    assert min(late) >= 0
    assert max(late) < 1e-9


def test_a_suspended_process_reads_what_came_meanwhile() -> None:
    """Bytes that arrive during a suspension are there when it ends, and not before."""

    async def reader(loop: VirtualLoop) -> float:
        async with (
            aiohttp.ClientSession(connector=aiohttp.UnixConnector("server")) as session,
            session.get("http://server/") as answer,
        ):
            loop.process.suspend(1000)
            await answer.content.readexactly(1000)
            assert loop.time() < 1
        return loop.now

    async def main(loop: VirtualLoop) -> float:
        runner = await server()
        read = await loop.spawn("reader").start(reader(loop))
        await runner.cleanup()
        return read

    assert 1000 <= run(main, seed=1) < 1001


def test_a_named_point_can_kill_before_and_after_a_send() -> None:
    """Killed at `send` nothing reaches the server; killed at `sent` the request does."""

    async def client() -> None:
        async with aiohttp.ClientSession(connector=aiohttp.UnixConnector("server")) as session:
            await session.get("http://server/")

    def arrived(point: str) -> int:
        seen: list[str] = []

        async def note(request: web.Request) -> web.Response:
            seen.append(request.path)
            return web.Response()

        async def main(loop: VirtualLoop) -> None:
            app = web.Application()
            app.router.add_get("/", note)
            runner = web.AppRunner(app)
            await runner.setup()
            await web.UnixSite(runner, "server").start()
            process = loop.spawn("client")
            loop.on_point = lambda who, passed: process.kill() if who is process and passed.startswith(point) else None
            with pytest.raises(KilledError):
                await process.start(client())
            await loop.elapse(10)
            await runner.cleanup()

        run(main, seed=1)
        return len(seen)

    assert (arrived("send"), arrived("sent")) == (0, 1)


def test_a_named_point_can_kill_before_and_after_a_thread_acts(tmp_path: Path) -> None:
    """Killed at `call NAME` it never happened; killed at `called NAME` it did, and nobody learnt of it."""

    def happened(point: str) -> bool:
        place = tmp_path / point

        async def main(loop: VirtualLoop) -> None:
            loop.on_point = lambda process, passed: process.kill() if passed == f"{point} touch" else None
            with pytest.raises(KilledError):
                await loop.spawn("program").start(asyncio.to_thread(place.touch))

        run(main, seed=1)
        return place.exists()

    assert (happened("call"), happened("called")) == (False, True)


def test_a_named_point_can_make_a_disk_fail(tmp_path: Path) -> None:
    """An OSError raised at `call NAME` reaches whoever awaits the thread, and nothing was done."""

    def full(_process: Process, point: str) -> None:
        if point == "call touch":
            raise OSError(28, "No space left on device")

    async def main(loop: VirtualLoop) -> bool:
        loop.on_point = full
        with pytest.raises(OSError, match="No space"):
            await asyncio.to_thread((tmp_path / "file").touch)
        return (tmp_path / "file").exists()

    assert not run(main, seed=1)
