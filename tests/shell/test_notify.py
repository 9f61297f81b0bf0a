"""Notifications are delivered beside the batch: no target delays or harms it, and no URL appears anywhere."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sys
from contextlib import closing
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from socket import socket
from traceback import format_exception
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from answering import answering, raw, respond
from notifications import ALL, QUICK, failed, finished, inbox, notifier, server, to_command, to_url

from batchrunner.errors import LocalError, YoursError
from batchrunner.manifest.batch import Recipient
from batchrunner.notify import Notifier, Target, Timing, targets
from batchrunner.show.events import finished_event, server_event
from batchrunner.show.listeners import Listeners

if TYPE_CHECKING:
    from batchrunner.notify import Undelivered

NEVER = 3600.0
PATIENT = Timing(delivery=NEVER, retries=(NEVER,), gather=NEVER, drain=0.2)
PYTHON = Path(sys.executable).name
S = "s3cret"
with_apprise = pytest.mark.skipif(find_spec("apprise") is None, reason="apprise is not installed")
without_apprise = pytest.mark.skipif(find_spec("apprise") is not None, reason="apprise is installed")


def python(code: str, *arguments: str) -> Target:
    """Return a target that runs a line of Python."""
    return to_command(sys.executable, "-c", code, *arguments, environment={"PATH": ""})


# -- What is delivered, and when.


async def test_messages_arrive_in_order_by_way_of_the_listeners() -> None:
    """A notifier observes a batch like any other; each target gets the kinds it asked for, as JSON, in order."""
    told: list[str] = []
    async with inbox() as every, inbox() as few:
        to_few = to_url(few.place.url, frozenset({"finished"}))
        async with notifier(told, every.place.url, to_few).running() as notify:
            listeners = Listeners([notify], ("tok-s3cret",))
            listeners.event(server_event(0.0, "http://gpu-box:8188", "denied", "it knows tok-s3cret"))
            assert (await every.next())["event"] == "stopped"
            listeners.event(server_event(0.0, "http://gpu-box:8188", "stalled"))
            listeners.event(finished_event(0.0, {"done": 1}, 3))
            listeners.close()
        assert [message["event"] for message in every.all()] == ["stopped", "stuck", "stopped"]
        assert [message["event"] for message in few.all()] == ["finished"]
    assert every.place.asked[0].method == "POST"
    assert every.place.asked[0].headers["Content-Type"] == "application/json"
    assert S not in repr(every.place.asked)
    assert told == []


async def test_failed_jobs_are_one_message_a_minute() -> None:
    """The first failed job is told at once, those of the following minute together."""
    async with inbox() as box, notifier([], box.place.url).running() as notify:
        notify.event(failed("a"))
        assert (await box.next())["failed"] == 1
        notify.event(failed("b"))
        notify.event(failed("c"))
        assert (await box.next())["title"] == "t: 2 jobs failed"


async def test_within_the_minute_the_end_tells_what_failed() -> None:
    """Jobs that fail in the run's last minute are told with its end, not in a message of their own."""
    async with inbox() as box:
        async with notifier([], box.place.url, timing=replace(QUICK, gather=NEVER)).running() as notify:
            notify.event(failed("a"))
            await box.next()
            notify.event(failed("b"))
            notify.event(failed("c"))
            notify.event(finished(1))
        assert [(message["event"], len(message["jobs"])) for message in box.all()] == [("failed", 1), ("finished", 2)]


async def test_the_end_is_told_once() -> None:
    """A drained notifier ignores events: the last one, given to all observers afterwards, is no second message."""
    async with inbox() as box:
        async with notifier([], box.place.url).running() as notify:
            notify.event(finished())
            await notify.drain()
            notify.event(finished())
        assert len(box.all()) == 1


async def test_a_run_that_an_error_ends_is_told() -> None:
    """An error that ends the run is told and raised, a bug by its class alone; a wrong command line is not told."""
    async with inbox() as box:
        for error in (LocalError("the disk is full"), ValueError(S), YoursError("no such option")):
            with pytest.raises(type(error)):
                async with notifier([], box.place.url).running():
                    raise error
        assert [(message["exit"], message["message"]) for message in box.all()] == [
            (5, "the disk is full"),
            (70, "a bug in batchrunner (ValueError)"),
        ]


async def test_a_run_that_is_cancelled_waits_for_nobody() -> None:
    """A cancelled run ends at once: nothing is drained."""
    began = asyncio.Event()

    async def run() -> None:
        async with notifier([], place.url, timing=replace(PATIENT, drain=NEVER)).running() as notify:
            notify.event(finished())
            began.set()
            await asyncio.Event().wait()

    async with raw(hang=True) as place:
        running = asyncio.create_task(run())
        await began.wait()
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running


# -- Targets that fail.


async def test_a_failing_server_is_tried_again() -> None:
    """A 500, a 429 and a broken connection are tried again; nothing is told if it works in the end."""
    told, answers = list[str](), [500, 429, 0, 200]

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


async def test_tries_are_limited() -> None:
    """Four tries a message, then it is given up; the first failure is told, and at the end how many did not arrive."""
    told: list[str] = []
    async with answering(respond(500)) as place:
        async with notifier(told, f"{place.url}hook/s3cret?key=s3cret").running() as notify:
            notify.event(server("denied"))
            notify.event(server("stalled"))
        assert 4 + 1 <= len(place.asked) <= 4 + 4
    assert told == [
        "notify: 127.0.0.1 answered 500; the batch goes on",
        "notify: 2 of 2 messages did not reach 127.0.0.1",
    ]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 404])
async def test_redirects_are_not_followed_and_refusals_not_repeated(status: int) -> None:
    """A redirect shows the message to nobody else and its address to nobody; like a 404 it is not asked again."""
    told: list[str] = []
    async with answering(respond(200)) as other:
        headers = {"Location": f"{other.url}s3cret"}
        async with (
            answering(respond(status, **headers)) as place,
            notifier(told, f"{place.url}s3cret").running() as notify,
        ):
            notify.event(finished())
        assert (len(place.asked), other.asked) == (1, [])
    why = "answered 404" if status == 404 else f"answered with a redirect ({status}), which is not followed"
    assert told == [f"notify: 127.0.0.1 {why}; the batch goes on"]


@pytest.mark.parametrize(
    "answer", [b"", b"HTTP/1.1 200", b"\x00\xff\r\n\r\n", b"HTTP/1.1 200 OK\r\nX: " + b"x" * 99_999]
)
async def test_an_answer_that_is_not_http(answer: bytes) -> None:
    """What is not HTTP is told as a connection that failed."""
    told: list[str] = []
    async with raw(answer) as place, notifier(told, place.url).running() as notify:
        notify.event(finished())
    assert told == ["notify: 127.0.0.1 closed the connection without a valid answer; the batch goes on"]


async def test_an_endless_answer_is_not_read() -> None:
    """A 200 is enough: what follows is not read."""
    told: list[str] = []
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n"
    async with raw(head, b"x" * 100_000, hang=True) as place, notifier(told, place.url).running() as notify:
        notify.event(finished())
    assert told == []


async def test_a_target_that_hangs_delays_no_other() -> None:
    """A try ends by its own limit; another target gets its messages meanwhile."""
    told: list[str] = []
    timing = replace(QUICK, delivery=1.0, retries=())
    async with (
        raw(hang=True) as silent,
        inbox() as box,
        notifier(told, silent.url, box.place.url, timing=timing).running() as notify,
    ):
        notify.event(finished())
        assert (await box.next())["event"] == "finished"
    assert told == ["notify: 127.0.0.1 did not answer in time; the batch goes on"]


async def test_the_end_waits_no_longer_than_the_drain() -> None:
    """A target that hangs for hours delays the run's end by the drain and no more, and what is left is told."""
    told: list[str] = []
    async with raw(hang=True) as silent, notifier(told, silent.url, timing=PATIENT).running() as notify:
        notify.event(server("stalled"))
        notify.event(finished())
        await notify.drain()
    assert told == ["notify: 2 of 2 messages did not reach 127.0.0.1"]


async def test_the_end_does_not_wait_for_a_pause() -> None:
    """A message in the middle of its minute's pause is tried at once when the run ends."""
    told, answers, twice = list[str](), [500, 500, 200], asyncio.Event()
    timing = replace(QUICK, retries=(0.01, NEVER))

    async def answer(_request: web.Request) -> web.Response:
        if len(place.asked) == 2:
            twice.set()
        return web.Response(status=answers[len(place.asked) - 1])

    async with answering(answer) as place, notifier(told, place.url, timing=timing).running() as notify:
        notify.event(finished())
        await twice.wait()
    assert (len(place.asked), told) == (3, [])


async def test_no_more_than_32_messages_wait() -> None:
    """Of a hundred messages that can't go out, the last 32 are kept, and how many were dropped is told."""
    told: list[str] = []
    async with inbox() as box:
        notify = notifier(told, box.place.url)
        for number in range(100):
            notify.event(server("denied", f"{number}", at=number * 3600.0))
        async with notify.running():
            await notify.drain()
        kept = [message["message"].split(": ")[-1] for message in box.all()]
        assert kept == [str(number) for number in range(68, 100)]
    assert told == ["notify: 68 of 100 messages did not reach 127.0.0.1"]


async def test_a_bug_of_ours_harms_nobody() -> None:
    """A delivery that raises costs its own message and nothing else."""
    told: list[str] = []

    async def broken(body: bytes, limit: float) -> Undelivered | None:
        raise KeyError(f"{body!r} {limit}")

    async with inbox() as box:
        async with notifier(told, Target("broken", broken, ALL), box.place.url).running() as notify:
            notify.event(finished())
        assert len(box.all()) == 1
    assert told == ["notify: broken got no message, by a bug in batchrunner (KeyError); the batch goes on"]


# -- Commands.


async def test_a_command_reads_the_message_and_knows_no_token(tmp_path: Path) -> None:
    """A command gets its arguments as they stand, the message as JSON on its input, and no variable with the token."""
    code = (
        "import json, os, sys;"
        "print(json.dumps([sys.stdin.read(), sys.argv[2], dict(os.environ)]), file=open(sys.argv[1], 'w'))"
    )
    told, odd = list[str](), "; $(rm) `-x`"
    environment = {"HOME": "/h", "TOKEN": f"{S}\n", "SAME": f"Bearer {S}"}
    command = (sys.executable, "-c", code, str(tmp_path / "read"), odd)
    async with notifier(told, to_command(*command, environment=environment, token=S)).running() as notify:
        notify.event(finished(1))
    message, argument, variables = json.loads((tmp_path / "read").read_text("utf-8"))
    assert (json.loads(message)["exit"], argument) == (1, odd)
    assert variables["HOME"] == "/h"
    assert S not in repr(variables)
    assert told == []


@pytest.mark.parametrize("code", ["pass", "import os; os.close(0)", "print('x' * 10_000_000)"])
async def test_a_command_may_ignore_the_message(code: str) -> None:
    """A command that does not read, closes its input or prints a lot is fine."""
    told: list[str] = []
    async with notifier(told, python(code)).running() as notify:
        notify.event(finished())
    assert told == []


@pytest.mark.parametrize(
    ("target", "why"),
    [
        (python("import sys; sys.exit(7)", S), f"{PYTHON} ended with exit 7"),
        (python("import os; os.close(0); os.abort()", S), f"{PYTHON} was ended by signal 6"),
        (python(f"raise SystemExit('{S}')"), f"{PYTHON} ended with exit 1"),
        (
            python("import signal; signal.signal(15, signal.SIG_IGN); signal.alarm(60); signal.pause()"),
            f"{PYTHON} did not end within 1 s and was killed",
        ),
        (to_command(f"/no/such/{S}/tell", S), "tell can't be started: No such file or directory"),
        (to_command("/", S), "/ can't be started: Permission denied"),
        (to_command("tell", f"{S}\0b"), "tell can't be started: its arguments can't be passed on"),
    ],
    ids=["exit", "signal", "words", "hangs", "missing", "folder", "zero"],
)
async def test_a_command_that_fails_is_not_repeated(target: Target, why: str) -> None:
    """A command that fails is told once, by its name alone and without what it printed, and not run again."""
    told: list[str] = []
    timing = replace(QUICK, delivery=1.0) if "did not end" in why else QUICK
    async with notifier(told, target, timing=timing).running() as notify:
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
        async with notifier([], python(HANGS, str(port)), timing=PATIENT).running() as notify:
            notify.event(finished())
            await both.wait()
        async with asyncio.timeout(20):
            await gone.wait()


# -- A URL is a secret.


def hook(name: str = "HOOK", topic: str = "") -> Recipient:
    """Return a recipient whose URL is in the variable `name`."""
    return Recipient(name, "", (), topic, ALL)


def test_unset_variables_are_named() -> None:
    """Every variable that is missing is named once, before anything is sent, and it is the user's to set."""
    with pytest.raises(YoursError) as caught:
        targets([hook("A"), hook("B"), hook("B"), hook("C")], {"A": "http://h", "C": " "})
    assert str(caught.value).split("\n") == [
        "notify: the environment variable B is not set",
        "notify: the environment variable C is not set",
    ]


@pytest.mark.parametrize(
    "url",
    [
        f"{S}",
        f"ftp://h/{S}",
        f"http://{S} x",
        f"http:///{S}",
        f"http://[{S}",
        f"http://h:{S}/",
        f"http://h/\r\nX: {S}",
        f"http://h/\u202e{S}",
    ],
)
def test_a_value_that_is_not_a_url_is_not_shown(url: str) -> None:
    """A variable that holds no URL is named without what it holds, also in the traceback."""
    with pytest.raises(YoursError) as caught:
        targets([hook()], {"HOOK": url})
    assert (
        str(caught.value) == "notify: the environment variable HOOK is not a URL that begins with http:// or https://"
    )
    assert S not in "".join(format_exception(caught.value))


async def test_nothing_we_say_holds_a_url(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever a target does, neither our messages and reprs nor any library's debug log hold the URL."""
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_debug(enabled=True)
    told: list[str] = []
    with closing(socket()) as held:
        held.bind(("127.0.0.1", 0))
        nobody = f"http://127.0.0.1:{held.getsockname()[1]}/"
        async with (
            answering(respond(500)) as ill,
            answering(respond(302, Location=f"http://127.0.0.1:1/{S}")) as away,
            answering(respond(200, Set_Cookie=S)) as well,
            raw(b"x\r\n\r\n") as odd,
        ):
            urls = [place.url for place in (ill, away, well, odd)] + [nobody, "http://no-such-host.invalid/"]
            found = [to_url(f"{url.replace('//', f'//u:{S}@')}{S}?key={S}#{S}") for url in urls]
            async with notifier(told, *found).running() as notify:
                notify.event(finished())
            assert S in ill.asked[0].path
    assert len(told) == 5
    assert "notify: 127.0.0.1 can't be reached; the batch goes on" in told
    assert "notify: no-such-host.invalid can't be found: its name does not resolve; the batch goes on" in told
    # The access log is that of the servers we post to, which know their own address.
    logged = [record.getMessage() for record in caplog.records if record.name != "aiohttp.access"]
    assert S not in "\n".join([*told, *logged, repr(found), repr(notify), repr(to_command("tell", S))])


async def test_the_topic_and_the_password_go_along_and_cookies_do_not() -> None:
    """Ntfy gets the topic in the JSON and a password as a header; a cookie that a target sets is not sent back."""
    async with answering(respond(200, Set_Cookie="a=b")) as place:
        found = targets([hook(topic="cats")], {"HOOK": f" {place.url.replace('//', f'//:{S}@')}\n"})
        async with Notifier("t", found, [].append, QUICK).running() as notify:
            notify.event(finished())
            notify.event(finished())
    for asked in place.asked:
        assert json.loads(asked.body)["topic"] == "cats"
        assert asked.headers["Authorization"].startswith("Basic ")
        assert (asked.path, "Cookie" in asked.headers) == ("/", False)


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """A message goes to its target, past the proxies that the environment names."""
    async with answering(respond(500)) as proxy, inbox() as box:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        async with notifier([], box.place.url).running() as notify:
            notify.event(finished())
    assert (len(box.all()), proxy.asked) == (1, [])


# -- Apprise.


def by_apprise(url: str) -> Target:
    """Return an apprise target."""
    return targets([Recipient("", "APP", (), "", ALL)], {**os.environ, "APP": url})[0]


@without_apprise
def test_apprise_that_is_missing_is_named_before_anything_is_sent() -> None:
    """If apprise is wanted and not installed, the error says what to install."""
    with pytest.raises(YoursError, match=r"apprise is not installed: pip install 'batchrunner\[notify\]'"):
        by_apprise(f"json://{S}")


@with_apprise
async def test_apprise_delivers() -> None:
    """A URL of apprise gets title and message, once."""
    told: list[str] = []
    async with inbox() as box:
        to_box = by_apprise(box.place.url.replace("http:", "json:"))
        async with notifier(told, to_box, timing=replace(QUICK, delivery=30.0, drain=30.0)).running() as notify:
            notify.event(finished())
        assert [message["title"] for message in box.all()] == ["t: every job is done"]
        assert box.all()[0]["message"].startswith("finished: 3 done")
    assert told == []


@with_apprise
@pytest.mark.parametrize("url", [S, f"json://127.0.0.1:1/{S}"])
async def test_apprise_that_fails_shows_no_url(url: str) -> None:
    """What apprise can't deliver is told by the variable's name."""
    told: list[str] = []
    timing = Timing(delivery=30.0, retries=(), gather=0.01, drain=30.0)
    async with notifier(told, by_apprise(url), timing=timing).running() as notify:
        notify.event(finished())
    assert told == ["notify: apprise (APP) ended with exit 1; the batch goes on"]
