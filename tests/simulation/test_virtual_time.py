"""Virtual time runs unmodified aiohttp, anyio and aiofiles, the same for the same seed."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import threading
from datetime import timedelta
from typing import TYPE_CHECKING

import aiofiles
import aiohttp
import anyio
import pytest
from aiohttp import web

from tests.lab.clock import EPOCH, SILENCE, StuckError, VirtualLoop, run

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

NIGHT = timedelta(hours=8).total_seconds()


async def serve(app: web.Application, path: str = "server") -> web.AppRunner:
    """Serve `app` in memory at `path`."""
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, path).start()
    return runner


def client(path: str = "server", total: float | None = None) -> aiohttp.ClientSession:
    """Return a client whose every request goes to `path`."""
    return aiohttp.ClientSession(
        "http://server",
        connector=aiohttp.UnixConnector(path),
        timeout=aiohttp.ClientTimeout(total=total),
    )


def application(loop: VirtualLoop, folder: Path) -> web.Application:
    """Return a small server: one slow route, one file, one web socket."""

    async def slow(request: web.Request) -> web.Response:
        await loop.elapse(float(request.query["for"]))
        return web.json_response({"peer": id(request.transport) is not None})

    async def film(request: web.Request) -> web.FileResponse:
        return web.FileResponse(folder / request.match_info["name"])

    async def echo(request: web.Request) -> web.WebSocketResponse:
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        async for message in socket:
            await socket.send_str(message.data.upper())
        return socket

    app = web.Application()
    app.add_routes([web.get("/slow", slow), web.get("/film/{name}", film), web.get("/ws", echo)])
    return app


async def busy_night(loop: VirtualLoop, folder: Path) -> str:
    """Talk to a server for eight hours in every way there is, and return the digest of it."""
    (folder / "film.mp4").write_bytes(bytes(range(256)) * 4096)
    runner = await serve(application(loop, folder))

    async def visitor(number: int, session: aiohttp.ClientSession) -> None:
        while loop.now < NIGHT:
            async with session.get("/slow", params={"for": str(number)}) as answer:
                await answer.json()
            await loop.elapse(600 + random.random())  # noqa: S311 - the run's own dice

    async with client() as session:
        async with anyio.create_task_group() as task_group:
            for number in range(3):
                task_group.start_soon(visitor, number, session)
        async with session.get("/film/film.mp4") as answer, aiofiles.open(folder / "copy.mp4", "wb") as copy:
            async for chunk in answer.content.iter_chunked(100_000):
                await copy.write(chunk)
        async with session.ws_connect("/ws") as socket:
            await socket.send_str("hello")
            assert await socket.receive_str() == "HELLO"
    await runner.cleanup()
    assert (folder / "copy.mp4").read_bytes() == (folder / "film.mp4").read_bytes()
    return f"{loop.trace.digest()} {loop.steps} {loop.now}"


def night(seed: int, folder: Path) -> str:
    """Run one busy night."""
    return run(lambda loop: busy_night(loop, folder), seed=seed)


def test_eight_hours_of_timers_pass_at_their_times() -> None:
    """Timers fire in order and at their exact time, however far apart."""

    async def main(loop: VirtualLoop) -> list[float]:
        fired: list[float] = []
        for hour in range(8, 0, -1):
            loop.call_later(hour * 3600.0, lambda: fired.append(loop.time()))
        await loop.elapse(NIGHT + 1)
        return fired

    assert run(main, seed=1) == [hour * 3600.0 for hour in range(1, 9)]


def test_short_waits_stay_short_late_in_the_night() -> None:
    """A millisecond is a millisecond after eight hours too, and the clock never stands still."""

    async def main(loop: VirtualLoop) -> float:
        await loop.elapse(NIGHT)
        before = loop.time()
        for _ in range(1000):
            await loop.elapse(0.001)
        return loop.time() - before

    assert run(main, seed=1) == pytest.approx(1.0)


def test_aiohttp_anyio_and_aiofiles_run_unmodified(tmp_path: Path) -> None:
    """A download, a web socket, pooled connections and a written file work for eight hours without a socket."""
    assert float(night(1, tmp_path).split()[2]) > NIGHT


def test_the_same_seed_is_the_same_night(tmp_path: Path) -> None:
    """Two runs of a seed in one process are equal to the last step, and another seed is another night."""
    assert night(7, tmp_path) == night(7, tmp_path)
    assert night(7, tmp_path) != night(8, tmp_path)


def test_the_same_seed_is_the_same_night_in_another_process(tmp_path: Path) -> None:
    """Neither the hash seed nor the allocator of a Python process shows in a night."""
    told = {
        subprocess.run(
            [sys.executable, __file__, "7", str(tmp_path)],
            env=os.environ | {"PYTHONHASHSEED": hash_seed, "PYTHONMALLOC": allocator},
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for hash_seed, allocator in (("0", "pymalloc"), ("12345", "malloc"))
    }
    assert told == {night(7, tmp_path)}


def test_a_run_leaves_the_global_dice_as_they_were() -> None:
    """Whoever rolls dice afterwards sees nothing of the seed."""
    state = random.getstate()

    async def main(_: VirtualLoop) -> float:
        return random.random()  # noqa: S311 - that is what is tested

    assert run(main, seed=3) == run(main, seed=3)
    assert random.getstate() == state


def test_waiting_for_nothing_is_an_error() -> None:
    """Where a real loop would hang for ever, this one says so."""

    async def main(loop: VirtualLoop) -> None:
        await loop.create_future()

    with pytest.raises(StuckError):
        run(main, seed=1)


def test_never_waiting_is_an_error() -> None:
    """A loop that is busy without ever letting time pass is found too."""

    async def main(loop: VirtualLoop) -> None:
        while True:
            await loop.elapse(0)

    with pytest.raises(StuckError):
        run(main, seed=1)


async def heartbeat(loop: VirtualLoop) -> None:
    """Beat once a minute, for ever."""
    while True:
        await loop.elapse(60)


def test_nothing_but_a_heartbeat_is_an_error() -> None:
    """A run under way whose only timer is an endless heartbeat is stuck, after a day of it and no later."""
    ends: list[float] = []

    async def main(loop: VirtualLoop) -> None:
        await loop.elapse(NIGHT)
        with loop.under_way():
            try:
                await heartbeat(loop)
            finally:
                ends.append(loop.now)

    with pytest.raises(StuckError, match=r"since 28800\.000 s no fact was committed and no action begun, for 24 hours"):
        run(main, seed=1)
    assert ends == [NIGHT + SILENCE]


def test_progress_keeps_a_run_going() -> None:
    """A run may last for days beside its heartbeat as long as it makes progress, however rarely."""

    async def main(loop: VirtualLoop) -> float:
        beating = loop.create_task(heartbeat(loop))
        with loop.under_way():
            for _ in range(5):
                await loop.elapse(SILENCE - 1)
                loop.progress()
        beating.cancel()
        return loop.now

    assert run(main, seed=1) == 5 * (SILENCE - 1)


def test_heartbeats_of_no_run_are_nobodys_business() -> None:
    """Before a run and after it anything may beat for as long as it likes, and a late step of it changes nothing."""

    async def main(loop: VirtualLoop) -> float:
        with loop.under_way():
            pass
        loop.progress()
        beating = loop.create_task(heartbeat(loop))
        await loop.elapse(3 * SILENCE)
        beating.cancel()
        return loop.now

    assert run(main, seed=1) == 3 * SILENCE


def test_seeds_explore_the_order_of_ready_coroutines() -> None:
    """Coroutines that are ready together go on in an order of the seed's; without shuffling, in theirs."""

    async def main(_: VirtualLoop) -> tuple[int, ...]:
        order: list[int] = []

        async def step(number: int) -> None:
            order.append(number)

        await asyncio.gather(*(step(number) for number in range(5)))
        return tuple(order)

    assert len({run(main, seed=seed) for seed in range(10)}) > 3
    assert run(main, seed=1, shuffle=False) == (0, 1, 2, 3, 4)


def test_plain_callbacks_keep_their_order() -> None:
    """Shuffling never breaks what asyncio promises: callbacks run in the order they were scheduled."""

    async def main(loop: VirtualLoop) -> list[int]:
        order: list[int] = []
        for number in range(20):
            loop.call_soon(order.append, number)
        await loop.elapse(1)
        return order

    assert run(main, seed=1) == list(range(20))


def test_a_thread_gives_its_result_its_error_and_its_time() -> None:
    """What a thread is given runs here, takes a moment, and raises to whoever awaits it."""

    async def main(loop: VirtualLoop) -> float:
        assert await asyncio.to_thread(max, 1, 2) == 2
        with pytest.raises(ZeroDivisionError):
            await loop.run_in_executor(None, divmod, 1, 0)
        return loop.now

    assert 0 < run(main, seed=1) < 0.01


def test_a_real_thread_may_not_call_back() -> None:
    """A thread that calls into the loop is told that there are none here."""

    async def main(loop: VirtualLoop) -> list[Exception]:
        trouble: list[Exception] = []

        def call() -> None:
            try:
                loop.call_soon_threadsafe(trouble.clear)
            except RuntimeError as error:
                trouble.append(error)

        thread = threading.Thread(target=call)
        thread.start()
        thread.join()
        return trouble

    assert "run_in_executor" in str(run(main, seed=1)[0])


def test_cancel_scopes_end_waits() -> None:
    """Anyio's deadlines are virtual time too."""

    async def main(loop: VirtualLoop) -> float:
        with anyio.move_on_after(3600):
            await loop.elapse(7200)
        return loop.now

    assert run(main, seed=1) == 3600


def test_what_still_runs_at_the_end_is_cancelled_and_cleans_up() -> None:
    """The end of a run is like the end of asyncio.run: `finally` blocks run, also those that wait."""
    cleaned: list[str] = []

    async def idle(loop: VirtualLoop) -> None:
        try:
            await loop.elapse(3600)
        finally:
            await loop.elapse(1)
            cleaned.append("task")

    async def numbers() -> AsyncIterator[int]:
        try:
            yield 1
            yield 2
        finally:
            cleaned.append("generator")

    kept = numbers()

    async def main(loop: VirtualLoop) -> asyncio.Task[None]:
        assert await anext(kept) == 1
        lasting = asyncio.create_task(idle(loop))
        await loop.elapse(1)
        return lasting

    run(main, seed=1)
    assert cleaned == ["task", "generator"]


def test_wall_clocks_start_at_the_epoch_and_follow_virtual_time() -> None:
    """The wall clock is the virtual clock plus a fixed epoch."""

    async def main(loop: VirtualLoop) -> float:
        await loop.elapse(90)
        return loop.wall()

    assert run(main, seed=1) == EPOCH + 90


if __name__ == "__main__":
    from pathlib import Path

    sys.stdout.write(night(int(sys.argv[1]), Path(sys.argv[2])))
