"""A URL that takes messages is a secret: it stands in no log, no exception and no repr, and goes to nobody else."""

from __future__ import annotations

import asyncio
import logging
import os
import subprocess
import sys
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from socket import socket
from traceback import format_exception

import pytest
from answering import answering, raw, respond
from notices import ALL, AT, QUICK, Told, finished, inbox, notifier

from batchrunner.errors import YoursError
from batchrunner.manifest.batch import Recipient
from batchrunner.notify import Notifier, targets
from batchrunner.notify.program import Apprise

ROOT = Path(__file__).parents[2]
S = "s3cret"
no_apprise = pytest.mark.skipif(find_spec("apprise") is not None, reason="apprise is installed")
with_apprise = pytest.mark.skipif(find_spec("apprise") is None, reason="apprise is not installed")


def by_url(name: str = "HOOK", topic: str = "") -> Recipient:
    """Return a target whose URL is in the variable `name`."""
    return Recipient(name, "", (), topic, ALL)


def by_command(*command: str) -> Recipient:
    """Return a target that is a command."""
    return Recipient("", "", command, "", ALL)


def test_unset_variables_are_named() -> None:
    """Before anything is sent, every variable that is missing is named, and it is the user's to mend."""
    with pytest.raises(YoursError) as caught:
        targets([by_url("A"), by_url("B"), by_url("B"), by_command("true"), by_url("C")], {"A": "http://h", "C": " "})
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
def test_a_value_that_is_no_url_is_not_shown(url: str) -> None:
    """A variable that holds no URL is named without what it holds, also in the traceback."""
    with pytest.raises(YoursError) as caught:
        targets([by_url()], {"HOOK": url})
    assert str(caught.value) == "notify: the environment variable HOOK is no URL that begins with http:// or https://"
    assert S not in "".join(format_exception(caught.value)).replace("test_notify_secrets", "")


def test_no_repr_shows_it() -> None:
    """However a target is printed, it shows a host's or a program's name at most."""
    wanted = [by_url(), by_command("tell", S)]
    found = targets(wanted, {"HOOK": f"https://{S}:{S}@hooks.example/{S}?{S}#{S}", "TOKEN": S})
    apprise = Apprise(f"tgram://{S}", {"TOKEN": S})
    shown = repr([found, apprise, Notifier("t", found, Told().append), [vars(each.way).keys() for each in found]])
    assert S not in shown
    assert "hooks.example" in shown
    assert S not in f"{found} {apprise}"


async def test_nothing_that_is_said_holds_it(caplog: pytest.LogCaptureFixture) -> None:
    """Whatever a target does, neither what we say nor any library's log, at its most talkative, holds the URL."""
    caplog.set_level(logging.DEBUG)
    asyncio.get_running_loop().set_debug(enabled=True)
    told = Told()
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
            secret = [f"{url.replace('//', f'//u:{S}@')}{S}?key={S}" for url in urls]
            async with notifier(told, *secret).running() as notify:
                notify.event(finished())
            assert S in ill.asked[0].path
    assert len(told) == 5
    # The access log is that of the places we post to, which know their own address.
    logged = [record.getMessage() for record in caplog.records if record.name != "aiohttp.access"]
    assert S not in "\n".join([*told, *logged])


async def test_the_topic_and_the_password_go_along() -> None:
    """Ntfy is told the topic in the JSON, and a password in the URL as a header."""
    async with inbox() as box:
        found = targets([by_url(topic="cats")], {"HOOK": f" {box.place.url.replace('//', f'//:{S}@')}\n"})
        async with Notifier("t", found, Told().append, QUICK, lambda: AT).running() as notify:
            notify.event(finished())
        assert box.all()[0]["topic"] == "cats"
        assert box.place.asked[0].headers["Authorization"].startswith("Basic ")
        assert box.place.asked[0].path == "/"


async def test_cookies_are_not_kept() -> None:
    """What a target sets is not sent back."""
    async with answering(respond(200, Set_Cookie="a=b")) as place:
        async with notifier(Told(), place.url).running() as notify:
            notify.event(finished())
            notify.event(finished())
        assert ["Cookie" in asked.headers for asked in place.asked] == [False, False]


async def test_a_command_does_not_get_the_token(tmp_path: Path) -> None:
    """A command inherits the environment, without any variable that holds the server's token."""
    code = "import os, sys; open(sys.argv[1], 'w').write(repr(dict(os.environ)))"
    environment = {"HOME": "/h", "TOKEN": f"{S}\n", "SAME": f"Bearer {S}"}
    found = targets([by_command(sys.executable, "-c", code, str(tmp_path / "said"))], environment, S)
    async with Notifier("t", found, Told().append, QUICK).running() as notify:
        notify.event(finished())
    said = (tmp_path / "said").read_text("utf-8")
    assert "'HOME': '/h'" in said
    assert S not in said


PROXIED = """
import asyncio, sys
from batchrunner.notify.webhook import Webhook
print(asyncio.run(Webhook(sys.argv[1]).deliver(b"{}", 5.0)))
"""


async def test_a_proxy_of_the_environment_sees_nothing() -> None:
    """Proxies named in the environment are passed by."""
    async with answering(respond(500)) as proxy, answering(respond(200)) as place:
        environment = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"), proxy.url)
        command = (sys.executable, "-W", "error", "-c", PROXIED, place.url)
        done = await asyncio.create_subprocess_exec(*command, env=environment, cwd=ROOT, stdout=subprocess.PIPE)
        said, _ = await done.communicate()
    assert (said, len(proxy.asked), len(place.asked)) == (b"None\n", 0, 1)


# -- apprise


def by_apprise() -> Recipient:
    """Return a target of apprise's."""
    return Recipient("", "APP", (), "", ALL)


@no_apprise
def test_apprise_that_is_missing_is_named_before_anything_is_sent() -> None:
    """Who wants apprise and has it not is told what to install."""
    with pytest.raises(YoursError, match=r"apprise is not installed: pip install 'batchrunner\[notify\]'"):
        targets([by_apprise()], {"APP": f"json://{S}"})


@no_apprise
async def test_apprise_that_went_missing_harms_nobody() -> None:
    """Uninstalled in the midst of a night, it is told like any other trouble."""
    told = Told()
    async with notifier(told, Apprise(f"json://{S}", dict(os.environ))).running() as notify:
        notify.event(finished())
    assert told == ["notify: apprise is not installed: pip install 'batchrunner[notify]'; the batch goes on"]


@with_apprise
async def test_apprise_delivers() -> None:
    """A URL of apprise's is told title and message."""
    told = Told()
    async with inbox() as box:
        found = targets([by_apprise()], {**os.environ, "APP": box.place.url.replace("http:", "json:")})
        async with Notifier("t", found, told.append, QUICK).running() as notify:
            notify.event(finished())
        assert (box.all()[0]["title"], told) == ("t: every job is done", [])


@with_apprise
@pytest.mark.parametrize(
    ("url", "why"), [(S, "does not understand the URL"), (f"json://127.0.0.1:1/{S}", "could not deliver")]
)
async def test_apprise_that_fails_says_no_more_than_that(url: str, why: str) -> None:
    """What apprise can't deliver is told without the URL."""
    told = Told()
    async with notifier(told, Apprise(url, dict(os.environ))).running() as notify:
        notify.event(finished())
    assert told == [f"notify: apprise {why}; the batch goes on"]
