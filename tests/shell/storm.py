"""A storm of hostile answers and names: `python tests/shell/storm.py ANSWERS NAMES`.

Each answer meets one call of the real client, while everything around it goes well. Prints how they ended, by name, and
the most memory that the process ever had. Ends with 1, and says which answer it was, where a promise is broken.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import shutil
import sys
import time
from collections import Counter
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import aiohttp
from films import PREFIX
from floods import floods
from hostility import FILM, ID, Answer, answers, drawn, names
from hypothesis import strategies as st

from batchrunner.comfy import wire
from batchrunner.comfy.client import Client, session
from batchrunner.comfy.secret import Credentials, Secret
from batchrunner.core.actions import Cause, Download, Downloaded, Failure, Poll
from batchrunner.core.facts import File, Opened
from batchrunner.download import verify as media
from batchrunner.download.transfer import Downloader
from tests.lab.clock import VirtualLoop, run

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

LIMIT = 300
"""MiB that the whole process may ever have, hypothesis included."""
TOKEN, JOB, BOOT, ETAG = "tok-5f3a-secret", "0123456789ab", "boot", '"e"'
_FETCH = Download(JOB, 1, PREFIX, "s", File(f"{PREFIX}_00001_.mp4"))
_PART = f"night/{PREFIX}-0.part"
_BEGUN = 100
_OPENED = Opened(JOB, 1, 0.0, _FETCH.file.key, ETAG, len(FILM), _PART, BOOT)


def _good(kind: bytes, body: bytes) -> Answer:
    head = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n"
    return Answer(head % (kind, len(body)) + body)


_GOOD = {
    "GET /queue": _good(b"application/json", b'{"queue_running": [], "queue_pending": []}'),
    "GET /history/": _good(b"application/json", b"{}"),
    "GET /history?": _good(b"application/json", b"{}"),
    "GET /view": _good(b"video/mp4", FILM),
}


@dataclass
class Place:
    """A server in memory, good but for `bad`; remembers how requests began."""

    bad: dict[str, Answer] = field(default_factory=dict)
    asked: list[bytes] = field(default_factory=list)

    def answer(self, head: bytes) -> Answer:
        """Return what to say to a request."""
        self.asked.append(head)
        line = head.decode("latin-1")
        return next(each for start, each in (*self.bad.items(), *_GOOD.items()) if line.startswith(start))


class _Speaker(asyncio.Protocol):
    """One connection to a place."""

    def __init__(self, place: Place) -> None:
        self._place, self._head = place, b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        waiting = b"\r\n\r\n" not in self._head
        self._head += data
        if waiting and b"\r\n\r\n" in self._head:
            answer = self._place.answer(self._head)
            # In two pieces, as it may come; and no piece is a request's first word, for which the network has an eye.
            self._transport.write(answer.message[:2])
            self._transport.write(answer.message[2:])
            if not answer.hangs:
                self._transport.close()


@dataclass
class Storm:
    """One storm: what it met and how that ended."""

    folder: Path
    ends: Counter[str] = field(default_factory=Counter)
    name_ends: Counter[str] = field(default_factory=Counter)

    def blow(self, several: list[tuple[Answer, ...]]) -> None:
        """Let each answer of each example meet the call it is for."""

        async def meet(loop: VirtualLoop) -> None:
            place = Place()
            await loop.create_unix_server(lambda: _Speaker(place), "hostile")
            async with session(aiohttp.UnixConnector("hostile", force_close=True, limit=0)) as http:
                client = Client("http://hostile", http, Credentials.bearer(Secret(TOKEN)))
                for answers_ in several:
                    for (request, call), answer in zip(CALLS.items(), answers_, strict=True):
                        place.bad = {request.partition("#")[0]: answer}
                        self._judge(request, answer, await call(client, self.folder))

        run(meet, seed=0)

    def _judge(self, request: str, answer: Answer, end: Any) -> None:
        """Count how it ended; fail if what it left behind is not what that says."""
        films = list(self.folder.rglob("*.mp4"))
        broken = [
            promise
            for promise, held in {
                "a server's answer is no trouble of ours": not _is_ours(end),
                "no answer makes us tell the token": TOKEN not in repr(end),
                "nothing is there but what came home": len(films) == isinstance(end, Downloaded),
                "what came home is whole, and nobody else's": all(_may_be_ours(film) for film in films),
                "nothing is outside": os.listdir(self.folder.parent) == ["out"],  # noqa: PTH208 - names are enough
            }.items()
            if not held
        ]
        if broken:
            raise SystemExit(f"{broken}: {request} was answered {answer!r:.2000}, which ended as {end!r:.2000}")
        self.ends[verdict(end)] += 1
        _tidy(self.folder)

    def name(self, several: list[tuple[str, str]]) -> None:
        """Let a server call its file so, in its history, and send our film under that name."""

        async def meet(loop: VirtualLoop) -> None:
            place = Place()
            await loop.create_unix_server(lambda: _Speaker(place), "hostile")
            async with session(aiohttp.UnixConnector("hostile", force_close=True, limit=0)) as http:
                client = Client("http://hostile", http, Credentials.bearer(Secret(TOKEN)))
                for name, subfolder in several:
                    await self._fetch_named(client, place, name, subfolder)

        run(meet, seed=0)

    async def _fetch_named(self, client: Client, place: Place, name: str, subfolder: str) -> None:
        saved = {"filename": name, "subfolder": subfolder, "type": "output"}
        body = json.dumps({ID: {"outputs": {"9": {"images": [saved]}}}}).encode()
        place.bad = {"GET /history/": _good(b"application/json", body)}
        entry = wire.history(wire.parse(body), ID)
        end = await _fetch(client, self.folder, entry.files[0]) if entry and entry.files else None
        left = {str(path.relative_to(self.folder.parent)) for path in self.folder.parent.rglob("*")}
        expected = {"out", "out/night", f"out/{end.path}"} if isinstance(end, Downloaded) else {"out"}
        odd = isinstance(end, Downloaded) and not _HOME.fullmatch(end.path)
        asked = [head for head in place.asked if not _ASKED.fullmatch(head)]
        if left - {"out/night"} != expected - {"out/night"} or odd or asked or _is_ours(end):
            raise SystemExit(f"the name {name!r} in {subfolder!r} left {left}, asked {asked}, ended as {end!r:.2000}")
        self.name_ends[verdict(end) if entry and entry.files else "no file"] += 1
        place.asked.clear()
        _tidy(self.folder)


_HOME = re.compile(r"night/cat\.[a-z0-9]{1,8}")
"""What a file is called on this disk: nothing of a server's name is in it but a plain suffix."""
_ASKED = re.compile(
    rb"GET /view\?[!-~]* HTTP/1\.1\r\n"
    rb"(?:(?:Host|Accept|Accept-Encoding|User-Agent|Authorization|Connection): [ -~]*\r\n)*\r\n"
)
"""What the request for a file looks like: nothing of its name breaks out of the first line."""


def _tidy(folder: Path) -> None:
    if (folder / "night").exists():
        shutil.rmtree(folder / "night")


def _may_be_ours(path: Path) -> bool:
    """Tell whether a film is whole and carries our prefix, or no workflow at all, as some servers' do."""
    with path.open("rb") as film:
        seen = media.inspect_open(film)
    return seen.whole and (seen.prefixes is None or PREFIX in seen.prefixes)


def _is_ours(end: Any) -> bool:
    return isinstance(end, Failure) and end.cause is Cause.LOCAL


def verdict(end: Any) -> str:
    """Return the name of how something ended."""
    if isinstance(end, Failure):
        return f"failure: {end.cause}"
    return {"NoneType": "ordered", "dict": "told"}.get(type(end).__name__, type(end).__name__.lower())


async def _poll(client: Client, _folder: Path) -> object:
    return await client.poll(Poll("s", (ID,), 100))


async def _fetch(client: Client, folder: Path, file: File = _FETCH.file, *, begun: bool = False) -> object:
    action = replace(_FETCH, file=file, opened=_OPENED if begun else None)
    return await Downloader(folder, BOOT).fetch(action, client, "night/cat", lambda *_: None)


async def _go_on(client: Client, folder: Path) -> object:
    (folder / "night").mkdir()
    (folder / _PART).write_bytes(FILM[:_BEGUN])
    return await _fetch(client, folder, begun=True)


CALLS: dict[str, Callable[[Client, Path], Awaitable[object]]] = {
    "GET /queue": _poll,
    "GET /history/": _poll,
    "GET /history?": _poll,
    "POST /prompt": lambda client, _: client.submit(b"{}"),
    "GET /view": _fetch,
    "GET /view#rest": _go_on,
    "POST /queue": lambda client, _: client.withdraw([ID]),
    "POST /interrupt": lambda client, _: client.interrupt(ID),
    "GET /object_info": lambda client, _: client.object_info(),
    "GET /api/jobs/": lambda client, _: client.poll(Poll("s", (ID,), ends=1)),
}
"""Who asks, by the beginning of the request that gets the hostile answer."""


def peak() -> int:
    """Return the most MiB of memory this process ever had, not those of whoever started it."""
    status = Path("/proc/self/status")
    if status.exists():
        return int(re.findall(r"VmHWM:\s+(\d+) kB", status.read_text(encoding="ascii"))[0]) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**20


def main(wanted: int, wanted_names: int) -> None:
    """Blow, and say what came of it."""
    began = time.monotonic()
    with TemporaryDirectory() as place:
        storm = Storm(Path(place) / "out")
        storm.folder.mkdir()
        for several in drawn(st.tuples(*map(answers, CALLS)), -(-wanted // len(CALLS))):
            storm.blow(several)
        _say(f"{storm.ends.total()} answers", storm.ends)
        for named in drawn(names, wanted_names):
            storm.name(named)
        _say(f"{storm.name_ends.total()} names", storm.name_ends)
        flooded = asyncio.run(floods(storm.folder))
    _say(f"{flooded.total()} floods", flooded)
    most = peak()
    _say(f"{most} MiB at most, {time.monotonic() - began:.0f} s", {})
    sys.exit(most >= LIMIT)


def _say(what: str, ends: dict[str, int]) -> None:
    said = ", ".join(f"{count} {name}" for name, count in sorted(ends.items(), key=lambda pair: -pair[1]))
    sys.stdout.write(f"{what}: {said}\n" if said else f"{what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
