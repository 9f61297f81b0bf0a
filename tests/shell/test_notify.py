"""Notices go out beside the batch: whatever a target does, the batch neither waits nor stumbles, and says so once."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from socket import socket
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from answering import answering, raw, respond
from notices import QUICK, Told, failed, finished, inbox, notifier, server

from batchrunner.errors import LocalError, YoursError
from batchrunner.notify import Waits
from batchrunner.notify.program import Command
from batchrunner.show.events import finished_event, server_event
from batchrunner.show.listeners import Listeners

if TYPE_CHECKING:
    from batchrunner.notify.webhook import Miss

NEVER = 3600.0
PATIENT = Waits(delivery=NEVER, retries=(NEVER,), gather=NEVER, drain=0.2)


def python(code: str, *arguments: str) -> Command:
    """Return a command that runs a line of Python."""
    return Command((sys.executable, "-c", code, *arguments), {"PATH": ""})


async def test_everything_arrives_in_order() -> None:
    """What happens is told as it happens, and the end of the run waits until it was."""
    told = Told()
    async with inbox() as box:
        async with notifier(told, box.place.url).running() as notify:
            notify.event(server("denied"))
            assert (await box.next())["event"] == "stopped"
            notify.event(server("stalled"))
            notify.event(finished(3))
        assert [notice["event"] for notice in box.all()] == ["stopped", "stuck", "stopped"]
    assert box.place.asked[0].method == "POST"
    assert box.place.asked[0].headers["Content-Type"] == "application/json"
    assert told == []


async def test_a_target_hears_what_it_asked_for() -> None:
    """A target that asked for failures alone is told of nothing else."""
    async with inbox() as box:
        async with notifier(Told(), box.place.url, on=frozenset({"failed"})).running() as notify:
            notify.event(server("denied"))
            notify.event(failed("a"))
            assert (await box.next())["event"] == "failed"
            notify.event(finished())
        assert len(box.all()) == 1


async def test_an_audience_takes_a_notifier() -> None:
    """A notifier is one of those who watch a batch, and is told what they are told."""
    async with inbox() as box:
        async with notifier(Told(), box.place.url).running() as notify:
            audience = Listeners([notify], "tok-s3cret")
            audience.event(server_event(0.0, "http://gpu-box:8188", "denied", "it knows tok-s3cret"))
            audience.event(finished_event(0.0, {"done": 1}, 0))
            audience.close()
        assert [notice["event"] for notice in box.all()] == ["stopped", "finished"]
    assert "s3cret" not in repr(box.place.asked)


async def test_failed_jobs_are_one_message_a_minute() -> None:
    """The first failed job is told at once, those of the following minute together."""
    async with inbox() as box, notifier(Told(), box.place.url).running() as notify:
        notify.event(failed("a"))
        assert (await box.next())["failed"] == 1
        notify.event(failed("b"))
        notify.event(failed("c"))
        assert (await box.next())["title"] == "t: 2 jobs failed"


async def test_within_the_minute_the_end_tells_what_failed() -> None:
    """Jobs that fail in the run's last minute are told with its end, not in a message of their own."""
    async with inbox() as box:
        async with notifier(Told(), box.place.url, waits=replace(QUICK, gather=NEVER)).running() as notify:
            notify.event(failed("a"))
            await box.next()
            notify.event(failed("b"))
            notify.event(failed("c"))
            notify.event(finished(1))
        assert [(notice["event"], len(notice["jobs"])) for notice in box.all()] == [("failed", 1), ("finished", 2)]


async def test_a_server_that_comes_back_is_told_after_all() -> None:
    """A 500, a 429 and a broken connection are tried again; nothing is said when it works in the end."""
    told, answers = Told(), [500, 429, 0, 200]

    async def answer(request: web.Request) -> web.Response:
        status = answers[len(place.asked) - 1]
        if not status and request.transport:
            request.transport.abort()
        return web.Response(status=status or 200)

    async with answering(answer) as place, notifier(told, place.url).running() as notify:
        notify.event(finished())
        await notify.drain()
    assert len({asked.body for asked in place.asked}) == 1
    assert (len(place.asked), told) == (4, [])


async def test_ten_minutes_of_500() -> None:
    """Four tries a message, then it is given up; trouble is told once, and at the end how much did not arrive."""
    told = Told()
    async with answering(respond(500)) as place:
        async with notifier(told, f"{place.url}hook/s3cret?key=s3cret").running() as notify:
            notify.event(server("denied"))
            notify.event(server("stalled"))
        assert 4 + 1 <= len(place.asked) <= 4 + 4
    assert told == [
        "notify: 127.0.0.1 answered 500; the batch goes on",
        "notify: 2 of 2 messages did not reach 127.0.0.1",
    ]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(status: int) -> None:
    """Whoever stands where a target sends us sees nothing, and the message does not name the way."""
    told = Told()
    async with answering(respond(200)) as other:
        async with (
            answering(respond(status, Location=f"{other.url}s3cret")) as place,
            notifier(told, f"{place.url}s3cret").running() as notify,
        ):
            notify.event(finished())
        assert (len(place.asked), other.asked) == (1, [])
    assert told == [f"notify: 127.0.0.1 sends us elsewhere ({status}); redirects are not followed; the batch goes on"]


async def test_a_refusal_is_not_repeated() -> None:
    """A target that says the URL is wrong is not asked again for the same message."""
    told = Told()
    async with answering(respond(404)) as place, notifier(told, place.url).running() as notify:
        notify.event(finished())
    assert (len(place.asked), told) == (1, ["notify: 127.0.0.1 answered 404; the batch goes on"])


async def test_a_target_that_hangs_is_left() -> None:
    """Silence ends by the clock of one delivery; a target beside it is told meanwhile."""
    told = Told()
    waits = replace(QUICK, delivery=1.0, retries=())
    async with (
        raw(hang=True) as silent,
        inbox() as box,
        notifier(told, silent.url, box.place.url, waits=waits).running() as notify,
    ):
        notify.event(finished())
        assert (await box.next())["event"] == "finished"
    assert told == ["notify: 127.0.0.1 did not answer in time; the batch goes on"]


async def test_the_end_waits_no_longer_than_it_said() -> None:
    """A target that hangs for hours costs the run's end the drain's time and no more, and what is left is told."""
    told = Told()
    async with raw(hang=True) as silent, notifier(told, silent.url, waits=PATIENT).running() as notify:
        notify.event(server("stalled"))
        notify.event(finished())
        await notify.drain()
    assert told == ["notify: 2 of 2 messages did not reach 127.0.0.1"]


async def test_the_end_does_not_wait_for_a_pause() -> None:
    """A message in the midst of its minute's pause is tried at once when the run ends."""
    told, answers, twice = Told(), [500, 500, 200], asyncio.Event()
    waits = replace(QUICK, retries=(0.01, NEVER))

    async def answer(_request: web.Request) -> web.Response:
        if len(place.asked) == 2:
            twice.set()
        return web.Response(status=answers[len(place.asked) - 1])

    async with answering(answer) as place, notifier(told, place.url, waits=waits).running() as notify:
        notify.event(finished())
        await twice.wait()
    assert (len(place.asked), told) == (3, [])


async def test_a_refused_connection_is_tried_again() -> None:
    """Where nobody listens, four tries are made, and the trouble is told by the host's name alone."""
    told = Told()
    with closing(socket()) as held:
        held.bind(("127.0.0.1", 0))
        async with notifier(told, f"http://u:s3cret@127.0.0.1:{held.getsockname()[1]}/s3cret").running() as notify:
            notify.event(finished())
    assert told == ["notify: 127.0.0.1 can't be reached; the batch goes on"]


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200", b"\x00\xff\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 99_999]
)
async def test_nonsense_is_survived(answer: bytes) -> None:
    """What is no HTTP at all is a target that broke off."""
    told = Told()
    async with raw(answer) as place, notifier(told, place.url).running() as notify:
        notify.event(finished())
    assert told == ["notify: 127.0.0.1 broke the connection off; the batch goes on"]


async def test_an_endless_answer_is_not_read() -> None:
    """A 200 is enough: nobody reads what follows it."""
    told = Told()
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"
    async with raw(head, b"x" * 100_000, hang=True) as place, notifier(told, place.url).running() as notify:
        notify.event(finished())
    assert told == []


async def test_a_flood_is_bounded() -> None:
    """Of a hundred messages that can't go out, the last 32 are kept, and how many were dropped is told."""
    told = Told()
    async with inbox() as box:
        notify = notifier(told, box.place.url)
        for number in range(100):
            notify.event(server("denied", f"{number}", at=number * 3600.0))
        async with notify.running():
            await notify.drain()
        assert [notice["message"].split(": ")[-1] for notice in box.all()] == [str(number) for number in range(68, 100)]
    assert told == ["notify: 68 of 100 messages did not reach 127.0.0.1"]


async def test_a_run_that_breaks_off_is_told() -> None:
    """An error that ends the run is told before it goes on its way, a bug by its kind alone."""
    async with inbox() as box:
        for error in (LocalError("the disk is full"), ValueError("s3cret")):
            with pytest.raises(type(error)):
                async with notifier(Told(), box.place.url).running():
                    raise error
        assert [(notice["exit"], notice["message"]) for notice in box.all()] == [
            (5, "the disk is full"),
            (70, "a bug in batchrunner (ValueError)"),
        ]


async def test_the_end_is_told_once() -> None:
    """Drained, a notifier hears no more: the last event, told to everybody afterwards, is no second message."""
    async with inbox() as box:
        async with notifier(Told(), box.place.url).running() as notify:
            notify.event(finished())
            await notify.drain()
            notify.event(finished())
        assert len(box.all()) == 1


async def test_a_wrong_command_line_is_not_told() -> None:
    """A mistake of whoever sits before the machine is no message."""
    async with inbox() as box:
        with pytest.raises(YoursError):
            async with notifier(Told(), box.place.url).running():
                raise YoursError("no such option")
        assert box.all() == []


async def test_a_run_that_is_cancelled_waits_for_nobody() -> None:
    """Out at once means at once: nothing is drained."""
    began = asyncio.Event()

    async def run() -> None:
        async with notifier(Told(), place.url, waits=replace(PATIENT, drain=NEVER)).running() as notify:
            notify.event(finished())
            began.set()
            await asyncio.Event().wait()

    async with raw(hang=True) as place:
        running = asyncio.create_task(run())
        await began.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


class Broken:
    """A way with a bug in it."""

    name = "broken"

    async def deliver(self, body: bytes, limit: float) -> Miss | None:
        """Raise what nobody expects."""
        raise KeyError(f"{body!r} {limit}")


async def test_a_bug_of_ours_harms_nobody() -> None:
    """Even a way that raises costs its message and nothing else."""
    told = Told()
    async with inbox() as box:
        async with notifier(told, Broken(), box.place.url).running() as notify:
            notify.event(finished())
        assert len(box.all()) == 1
    assert told == ["notify: broken was not told, by a bug in batchrunner (KeyError); the batch goes on"]


# -- commands


async def test_a_command_reads_the_notice(tmp_path: Path) -> None:
    """A command gets its arguments as they stand, and the notice as JSON on its input."""
    code = "import sys, pathlib; pathlib.Path(sys.argv[1]).write_bytes(sys.stdin.buffer.read() + sys.argv[2].encode())"
    told, odd = Told(), "; $(rm) `-x`"
    async with notifier(told, python(code, str(tmp_path / "said"), odd)).running() as notify:
        notify.event(finished(1))
    said = (tmp_path / "said").read_text("utf-8")
    assert said.endswith(odd)
    assert json.loads(said.removesuffix(odd))["exit"] == 1
    assert told == []


@pytest.mark.parametrize(
    ("code", "why"),
    [
        ("import sys; sys.exit(7)", "ended with exit 7"),
        ("import os; os.close(0); os.abort()", "was ended by signal 6"),
        ("raise SystemExit('s3cret')", "ended with exit 1"),
    ],
)
async def test_a_command_that_fails_is_not_repeated(code: str, why: str) -> None:
    """A command that ends badly is told once; what it printed is not."""
    told = Told()
    async with notifier(told, python(code, "s3cret")).running() as notify:
        notify.event(finished())
    assert told == [f"notify: {Path(sys.executable).name} {why}; the batch goes on"]


@pytest.mark.parametrize("code", ["pass", "import os; os.close(0)", "print('x' * 10_000_000)"])
async def test_a_command_may_ignore_what_it_is_told(code: str) -> None:
    """A command that does not read, closes its input or prints a lot is a good command all the same."""
    told = Told()
    async with notifier(told, python(code)).running() as notify:
        notify.event(finished())
    assert told == []


@pytest.mark.parametrize(
    ("command", "why"),
    [
        (("/no/such/s3cret/tell", "s3cret"), "tell can't be started: No such file or directory"),
        (("/", "s3cret"), " can't be started: Permission denied"),
        (("tell", "a\0b"), "tell can't be started: its arguments can't be passed on"),
    ],
)
async def test_a_command_that_is_missing(command: tuple[str, ...], why: str) -> None:
    """A command that can't be started is told by its name alone."""
    told = Told()
    async with notifier(told, Command(command, {})).running() as notify:
        notify.event(finished())
    assert told == [f"notify: {why}; the batch goes on"]


HANGS = """
import os, signal, socket, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
held = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
os.fork()
signal.alarm(60)
held.send(b".")
signal.pause()
"""


async def test_a_command_that_hangs_is_killed() -> None:
    """After its time a command is killed, and not run again."""
    told = Told()
    hanging = python("import signal; signal.signal(15, signal.SIG_IGN); signal.alarm(60); signal.pause()")
    async with notifier(told, hanging, waits=replace(QUICK, delivery=0.1)).running() as notify:
        notify.event(finished())
    assert told == [f"notify: {Path(sys.executable).name} did not end within 0.1 s and was killed; the batch goes on"]


async def test_no_child_of_a_command_outlives_the_run() -> None:
    """A command that outlives the drain is killed with everything it started: nobody holds the connection any more."""
    both, gone = asyncio.Event(), asyncio.Event()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(2)
        both.set()
        await reader.read()
        gone.set()
        writer.close()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as place:
        port = place.sockets[0].getsockname()[1]
        async with notifier(Told(), python(HANGS, str(port)), waits=PATIENT).running() as notify:
            notify.event(finished())
            await both.wait()
        async with asyncio.timeout(20):
            await gone.wait()


def test_nobody_to_tell() -> None:
    """Without a target, events cost nothing and harm nobody."""
    notify = notifier(Told())
    for event in (failed("a"), finished()):
        notify.event(event)
    notify.tick(None)
    notify.close()
