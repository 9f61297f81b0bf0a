"""What leaves this machine, and what never does: the token, and what a poll or a POST may have sent."""

from __future__ import annotations

import asyncio
import copy
import pickle
import resource
import socket
import subprocess
import sys
import traceback
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import aiohttp
import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver
from answering import PATIENT, TOKEN, Place, answering, client, raw, respond, tells

from batchrunner.comfy.client import Client, session
from batchrunner.comfy.exchange import Timeouts
from batchrunner.comfy.secret import Secret
from batchrunner.core.actions import Cause, Failure, Poll, Taken
from batchrunner.core.facts import File
from batchrunner.errors import YoursError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from batchrunner.core.job import Json

POLL = Poll("s", ("a",))
ROOT = Path(__file__).parents[2]
SAID: Json = {"prompt_id": "a", "number": 1}


@pytest.fixture
def nobody() -> Iterator[Place]:
    """Yield a port on which nobody listens."""
    with closing(socket.socket()) as held:
        held.bind(("127.0.0.1", 0))
        yield Place(f"http://127.0.0.1:{held.getsockname()[1]}/")


async def _troubles(comfy: Client) -> list[Failure]:
    """Make one exchange of every kind, all of which must fail."""
    async with comfy.view(File("a.mp4"), 5, '"x"') as view:
        ends = [
            await comfy.poll(POLL),
            await comfy.submit(b"{}"),
            await comfy.withdraw(["a"]),
            await comfy.interrupt("a"),
            await comfy.object_info(),
            view,
        ]
    assert all(isinstance(end, Failure) for end in ends), ends
    return [end for end in ends if isinstance(end, Failure)]


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 305, 307, 308])
async def test_a_redirect_is_named_and_not_followed(status: int) -> None:
    """Another server that we are sent to sees neither prompt nor token; the message says where we were sent."""
    async with answering(tells(SAID)) as other:
        location = f"{other.url}login\x1b[2J?next={TOKEN}"
        async with (
            answering(respond(status, Location=location.replace("\x1b", "%1b"))) as place,
            client(place) as comfy,
        ):
            troubles = await _troubles(comfy)
    assert other.asked == []
    for trouble in troubles:
        assert trouble.cause is Cause.UNAVAILABLE
        assert f"{other.url}login" in trouble.message
        assert "\x1b" not in trouble.message
        assert TOKEN not in trouble.message


@pytest.mark.parametrize("location", ["", "/login?x=1", "//", "http://[", "http://user:pw@host/x", "x" * 9_000 + "é"])
async def test_a_redirect_to_anywhere_is_one_short_line(location: str) -> None:
    """Whatever a Location says, the message stays short, printable and free of passwords and queries."""
    answer = b"HTTP/1.1 302 Found\r\nContent-Length: 0\r\nLocation: %s\r\n\r\n" % location[:8000].encode()
    async with raw(answer) as place, client(place) as comfy:
        look = await comfy.poll(POLL)
    assert isinstance(look, Failure)
    assert len(look.message) < 300
    assert look.message.isprintable()
    assert "pw" not in look.message
    assert "x=1" not in look.message


async def test_nothing_a_server_does_makes_the_token_appear(nobody: Place) -> None:
    """No trouble of any kind, shown in any way, holds the token."""
    answers = [b"", b"x\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}", b"HTTP/1.1 401 No\r\n\r\n"]
    for answer in answers:
        async with raw(answer) as place, client(place) as comfy:
            async with comfy.view(File("a.mp4")) as view:
                ends = [await comfy.poll(POLL), await comfy.submit(b"{}"), view]
                if not isinstance(view, Failure):
                    ends.append(await view.read())
                    assert TOKEN not in repr(view)
            assert TOKEN not in repr(ends)
            assert TOKEN not in repr(comfy)
    async with client(nobody) as comfy:
        assert TOKEN not in repr(await _troubles(comfy))


async def test_an_error_in_a_callers_hands_has_no_request_behind_it(nobody: Place) -> None:
    """What a caller raises while it holds a trouble has no error of aiohttp, and so no header, as its context."""
    async with client(nobody) as comfy:
        with pytest.raises(KeyError) as caught:
            async with comfy.view(File("a.mp4")):
                raise KeyError("ours")
    shown = "".join(traceback.format_exception(caught.value))
    assert "aiohttp.client" not in shown
    assert TOKEN not in shown


def test_a_secret_shows_itself_to_no_one() -> None:
    """However a token is printed, copied or stored, it is three stars or an error."""
    secret = Secret(f" {TOKEN}\n")
    assert secret.bearer() == f"Bearer {TOKEN}"
    assert {f"{secret}", f"{secret!r}", str(secret), str([secret]), f"{secret!s:>3}"} == {"***", "[***]"}
    for keep in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError):
            keep(secret)


@pytest.mark.parametrize("text", ["", " ", "two words", "line\nbreak", "r\rn", "ünicode", "nul\0", "x" * 5_000, "\x7f"])
def test_a_token_that_no_header_can_carry_is_refused_unread(text: str) -> None:
    """A token with anything but visible ASCII is the user's mistake, told without the token."""
    with pytest.raises(YoursError) as caught:
        Secret(text)
    assert not text.strip() or text.strip() not in str(caught.value)


@pytest.mark.parametrize(
    "base",
    ["", "host:8188", "ftp://host", "http://", "http://u:p4ss@host", "http://u@h", "http://[", "http://h/?q=p4ss"],
)
async def test_an_address_must_be_plain(base: str) -> None:
    """A base URL is http or https, with a host and without password or query; the message repeats none of it."""
    async with session() as http:
        with pytest.raises(YoursError) as caught:
            Client(base, http)
    assert "p4ss" not in str(caught.value)


async def test_without_a_token_none_is_sent() -> None:
    """No token, no header."""
    async with answering(tells(SAID)) as place, client(place, token=None) as comfy:
        await comfy.submit(b"{}")
    assert "Authorization" not in place.asked[0].headers


async def test_cookies_are_not_kept() -> None:
    """A cookie set by a server is not sent back."""
    async with answering(respond(200, Set_Cookie="a=b")) as place, client(place) as comfy:
        await comfy.withdraw(["a"])
        await comfy.withdraw(["a"])
    assert ["Cookie" in asked.headers for asked in place.asked] == [False, False]


PROXIED = """
import asyncio, sys
from batchrunner.comfy.client import Client, session

async def main():
    async with session() as http:
        print(await Client(sys.argv[1], http).withdraw(["a"]))

asyncio.run(main())
"""


async def test_a_proxy_of_the_environment_sees_nothing() -> None:
    """Proxies named in the environment are passed by: they would see the token and the prompts."""
    async with answering(respond(500)) as proxy, answering(respond(200)) as place:
        environment = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"), proxy.url)
        command = (sys.executable, "-W", "error", "-c", PROXIED, place.url)
        done = await asyncio.create_subprocess_exec(*command, env=environment, cwd=ROOT, stdout=asyncio.subprocess.PIPE)
        said, _ = await done.communicate()
    assert (said, len(proxy.asked), len(place.asked)) == (b"None\n", 0, 1)


async def test_a_refused_connection_sent_nothing(nobody: Place) -> None:
    """Where nobody listens, not a byte left: the POST may be made again at once."""
    async with client(nobody) as comfy:
        troubles = await _troubles(comfy)
    assert {(trouble.cause, trouble.sent) for trouble in troubles} == {(Cause.UNAVAILABLE, False)}
    assert all("refused the connection" in trouble.message for trouble in troubles)


class _Resolver(AbstractResolver):
    """A resolver that fails, as the system's does."""

    def __init__(self, code: int) -> None:
        self._code = code

    async def resolve(self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET) -> NoReturn:
        """Fail with the code."""
        raise socket.gaierror(self._code, f"{host}:{port} {family}")

    async def close(self) -> None:
        """Do nothing."""


@pytest.mark.parametrize(("code", "needs_person"), [(socket.EAI_NONAME, True), (socket.EAI_AGAIN, False)])
async def test_an_unknown_name_sent_nothing(code: int, *, needs_person: bool) -> None:
    """A name that resolves to nothing is for a person to mend; a resolver that can't be asked may answer later."""
    connector = aiohttp.TCPConnector(limit=0, force_close=True, resolver=_Resolver(code))
    async with session(connector) as http:
        failures = await _troubles(Client("http://no-such-host.invalid:8188", http, waits=PATIENT))
    for failure in failures:
        assert (failure.cause, failure.sent, failure.handles) == (Cause.UNAVAILABLE, False, False)
        assert failure.needs_person == needs_person
        assert ("the name is unknown" in failure.message) == needs_person


async def test_a_server_without_tls_sent_nothing() -> None:
    """A server that speaks http is not reached by https, and was sent nothing."""
    async with answering(tells(SAID)) as place, client(Place(place.url.replace("http:", "https:"))) as comfy:
        trouble = await comfy.submit(b"{}")
    assert isinstance(trouble, Failure)
    assert (trouble.cause, trouble.sent) == (Cause.UNAVAILABLE, False)
    assert place.asked == []


async def test_a_full_backlog_is_a_connection_never_made() -> None:
    """A connection that is not made in time is away, unsent."""
    with ExitStack() as held:
        deaf = held.enter_context(closing(socket.socket()))
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        for _ in range(4):
            waiting = held.enter_context(closing(socket.socket()))
            waiting.settimeout(0)
            waiting.connect_ex(deaf.getsockname())
        place = Place(f"http://127.0.0.1:{deaf.getsockname()[1]}/")
        async with client(place, waits=Timeouts(connect=0.2)) as comfy:
            trouble = await comfy.submit(b"{}")
    assert isinstance(trouble, Failure)
    assert (trouble.cause, trouble.sent) == (Cause.UNAVAILABLE, False)
    assert "in time" in trouble.message


async def test_a_silent_server_is_left_after_a_while() -> None:
    """Silence, also in the midst of an answer, ends by the clock; a POST then may have arrived."""
    waits = Timeouts(call=0.2, post=0.2, stall=0.2)
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 900\r\n\r\n{"
    for pieces in ((), (head[:20],), (head,)):
        async with raw(*pieces, hang=True) as place, client(place, waits=waits) as comfy:
            ends = [await comfy.poll(POLL), await comfy.submit(b"{}")]
        for end in ends:
            assert isinstance(end, Failure)
            assert (end.cause, end.sent) == (Cause.UNAVAILABLE, True)
            assert "in time" in end.message


async def test_a_post_is_sent_once_on_a_connection_of_its_own() -> None:
    """A server that drops kept-alive connections never makes a POST fail or go out twice: none is ever reused."""
    reply = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 28\r\nConnection: keep-alive\r\n\r\n"
    async with raw(reply + b'{"prompt_id":"a","number":1}') as place, client(place) as comfy:
        assert [await comfy.submit(b"{}") for _ in range(3)] == [Taken("a", 1.0)] * 3
    assert len(place.asked) == 3
    async with raw(b"") as dropping, client(dropping) as comfy:
        trouble = await comfy.submit(b"{}")
    assert isinstance(trouble, Failure)
    assert trouble.sent
    assert len(dropping.asked) == 1


async def test_a_connector_that_queues_is_refused() -> None:
    """A session is made only over a connector without limit that reuses nothing."""
    for wrong in (aiohttp.TCPConnector(limit=5, force_close=True), aiohttp.TCPConnector(limit=0)):
        with pytest.raises(YoursError):
            session(wrong)
        await wrong.close()


async def test_another_network_can_stand_in(tmp_path: Path) -> None:
    """The connector is a seam: over a Unix socket everything is the same."""

    async def answer(_request: web.Request) -> web.Response:
        return web.json_response(SAID)

    application = web.Application()
    application.router.add_route("*", "/{any:.*}", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.UnixSite(runner, str(tmp_path / "s")).start()
        connector = aiohttp.UnixConnector(str(tmp_path / "s"), limit=0, force_close=True)
        async with session(connector) as http:
            assert await Client("http://sim:1/", http, waits=PATIENT).submit(b"{}") == Taken("a", 1.0)
    finally:
        await runner.cleanup()


FEW_FILES = """
import asyncio, os, resource, sys
from batchrunner.comfy.client import Client, session
from batchrunner.core.actions import Poll
from batchrunner.core.facts import File

async def main():
    async with session() as http:
        comfy = Client(sys.argv[2], http)
        await comfy.poll(Poll("s"))
        resource.setrlimit(resource.RLIMIT_NOFILE, (int(sys.argv[1]), int(sys.argv[1])))
        held = []
        try:
            while True:
                held.append(os.dup(0))
        except OSError:
            pass
        async with comfy.view(File("a.mp4")) as view:
            ends = [await comfy.poll(Poll("s")), await comfy.submit(b"{}"), view]
        for end in ends:
            print(end.cause, end.handles, end.needs_person, end.message)
        for each in held:
            os.close(each)

asyncio.run(main())
"""


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_no_file_handles_left_is_this_machines_trouble(host: str) -> None:
    """Out of file handles, the server is not blamed, nor its name, nor the disk: polls, POSTs and files alike."""
    assert resource.getrlimit(resource.RLIMIT_NOFILE)[1] > 64
    command = [sys.executable, "-W", "error", "-c", FEW_FILES, "64", f"http://{host}:9/"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    said = f"local True False this machine has no file handles or sockets left for a connection to {host}:9\n"
    assert (done.stdout, done.stderr) == (said * 3, "")
