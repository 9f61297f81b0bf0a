"""One file comes home whole, under its name, or not at all."""

from __future__ import annotations

import asyncio
import json
import os
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from typing import TYPE_CHECKING

import pytest
from aiohttp import web
from answering import answering, client, raw, respond
from films import PREFIX, box, film, graph, mesh, picture, tensors

from batchrunner.comfy.exchange import Timeouts
from batchrunner.core.actions import Cause, Download, Downloaded, Failure, LocalFile, NotFound, Rejected
from batchrunner.core.facts import File, Opened
from batchrunner.core.job import render_digest
from batchrunner.core.video import Video
from batchrunner.download.transfer import Downloader
from batchrunner.sim.graph import Shot
from batchrunner.sim.media import Order
from batchrunner.sim.video import PyavRenderer
from tests.lab.fake_disk import FakeDisk

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from answering import Place

    from batchrunner.core.actions import DownloadEnd

JOB, BOOT = "0123456789ab", "boot-1"
FILM = film(pixels=os.urandom(300_000))
OTHER = film("cats-0123456789ab-a2", pixels=os.urandom(300_000))
WEBM = b"\x1aE\xdf\xa3\x84abcd\x18S\x80g\xff" + bytes(90)
FETCH = Download(JOB, 1, PREFIX, "s", File(f"{PREFIX}_00001_.mp4", "sub"))
RENDERS = render_digest(graph())
PART = f"night/{PREFIX}-0.part"
GOT = Downloaded("night/cat.mp4", len(FILM), sha256(FILM).hexdigest())


def told(path: str, body: bytes, prefix: str = PREFIX) -> bytes:
    """Return the sidecar of a file, as far as it is read."""
    return json.dumps({"prefix": prefix, "file": {"path": path, "sha256": sha256(body).hexdigest()}}).encode()


def put(path: Path, body: bytes) -> None:
    """Write a file, and the folders above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(body)


@dataclass
class DownloadTarget:
    """A folder to download to, and what was said on opening."""

    root: Path
    opened: list[tuple[str, int, str]] = field(default_factory=list)

    def note(self, etag: str, size: int, part: str) -> None:
        """Remember a call; nothing of this answer may be on the disk yet."""
        self.opened.append((etag, size, part))

    async def fetch(
        self, place: Place, action: Download = FETCH, boot: str = BOOT, stall: float = 30.0, renders: str = ""
    ) -> DownloadEnd:
        """Make one attempt."""
        async with client(place, waits=Timeouts(stall=stall)) as comfy:
            downloader = Downloader(self.root, boot)
            downloader.renders = lambda _: renders
            return await downloader.fetch(action, comfy, "night/cat", self.note)

    def again(self, action: Download = FETCH) -> Download:
        """Return the next attempt, which knows how the last one opened."""
        etag, size, part = self.opened[-1]
        return replace(action, opened=Opened(JOB, 1, 0.0, action.file.key, etag, size, part, BOOT))

    def put(self, path: str, body: bytes) -> None:
        """Write a file."""
        put(self.root / path, body)

    def files(self) -> dict[str, bytes]:
        """Return everything there is."""
        return {str(p.relative_to(self.root)): p.read_bytes() for p in sorted(self.root.rglob("*")) if p.is_file()}


@dataclass
class Breaking:
    """A file whose first bytes come; then the connection breaks, or (`silent`) nothing comes, or (`ends`) it ends."""

    first: bytes
    silent: bool = False
    ends: bool = False
    waiting: asyncio.Event = field(default_factory=asyncio.Event)
    status: int = 200
    etag: str = '"e"'
    size: int = len(FILM)
    start: int = 0
    content_type: str = "video/mp4"

    async def read(self) -> bytes | Failure:
        """Return the first bytes once."""
        piece, self.first = self.first, b""
        if piece or self.ends:
            return piece
        self.waiting.set()
        if self.silent:
            await asyncio.Event().wait()
        return Failure(Cause.UNAVAILABLE, "broke")

    @asynccontextmanager
    async def view(self, _file: File, _start: int = 0, _etag: str = "") -> AsyncIterator[Breaking]:
        """Open it."""
        yield self


@pytest.fixture
def target(tmp_path: Path) -> DownloadTarget:
    """Yield an empty folder."""
    (tmp_path / "out").mkdir()
    return DownloadTarget(tmp_path / "out")


@asynccontextmanager
async def serving(path: Path, body: bytes = FILM) -> AsyncIterator[Place]:
    """Serve one file as the real server does."""
    put(path, body)

    async def answer(_request: web.Request) -> web.StreamResponse:
        return web.FileResponse(path)

    async with answering(answer) as place:
        yield place


def cut(body: bytes, after: int, etag: str = '"e"') -> bytes:
    """Return an answer that promises `body` and ends after some of it."""
    head = f"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nETag: {etag}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body[:after]


def part_of(body: bytes, start: int, *, etag: str = '"e"', claim: str = "") -> bytes:
    """Return a 206 with the rest of `body`, or one that claims another range."""
    claim = claim or f"bytes {start}-{len(body) - 1}/{len(body)}"
    head = f"HTTP/1.1 206 Part\r\nETag: {etag}\r\nContent-Range: {claim}\r\nContent-Length: {len(body) - start}\r\n\r\n"
    return head.encode() + body[start:]


async def _half(target: DownloadTarget, body: bytes = FILM, after: int = 100_000, etag: str = '"e"') -> Download:
    """Make a first attempt that breaks off, and return the second one."""
    source = Breaking(body[:after], etag=etag, size=len(body))
    end = await Downloader(target.root, BOOT).fetch(FETCH, source, "night/cat", target.note)
    assert end == Failure(Cause.UNAVAILABLE, "broke")
    assert target.files() == {PART: body[:after]}
    return target.again()


async def test_a_file_comes_home(target: DownloadTarget, tmp_path: Path) -> None:
    """The whole film is under its final name and nothing else is there; what we asked for is what the history said."""
    async with serving(tmp_path / "f") as place:
        assert await target.fetch(place) == GOT
    assert target.files() == {"night/cat.mp4": FILM}
    (asked,) = place.asked
    assert asked.path == f"/view?filename={PREFIX}_00001_.mp4&type=output&subfolder=sub"
    assert "Range" not in asked.headers
    ((etag, size, part),) = target.opened
    assert (size, part) == (len(FILM), PART)
    assert etag.startswith('"')


async def test_what_stands_beside_a_file_is_written_between_two_syncs(tmp_path: Path) -> None:
    """A file is synced before it has its name, and the folder when what stands beside it is there too."""
    root, fake_disk = tmp_path / "out", FakeDisk()
    root.mkdir()
    seen: list[tuple[bool, bool]] = []

    def named(home: Downloaded) -> None:
        assert home == GOT
        seen.append((fake_disk.has(root / home.path), fake_disk.has(root / "night")))

    async with serving(tmp_path / "f") as place, client(place) as comfy:
        with fake_disk.installed():
            assert await Downloader(root, BOOT).fetch(FETCH, comfy, "night/cat", lambda *_: None, named) == GOT
    assert seen == [(True, False)]
    assert fake_disk.has(root / "night")


async def test_opened_is_said_before_the_first_byte_is_written(tmp_path: Path) -> None:
    """When the headers are in, the `.part` is empty; a caller that objects leaves no file open."""
    root = tmp_path / "out"
    root.mkdir()

    def object_to(_etag: str, _size: int, part: str) -> None:
        assert (root / part).read_bytes() == b""
        raise KeyError(part)

    async with serving(tmp_path / "f") as place, client(place) as comfy:
        with pytest.raises(KeyError):
            await Downloader(root, BOOT).fetch(FETCH, comfy, "night/cat", object_to)


async def test_what_is_home_is_not_fetched(target: DownloadTarget) -> None:
    """A final file that carries our prefix is home without a request; a leftover `.part` beside it goes."""
    target.put("night/cat.mp4", FILM)
    target.put(PART, b"rest")
    async with raw() as place:
        assert await target.fetch(place) == GOT
    assert place.asked == []
    assert target.files() == {"night/cat.mp4": FILM}


async def test_killed_between_the_last_byte_and_the_name_it_is_home(target: DownloadTarget) -> None:
    """A `.part` that is whole and ours gets its name without a request, with the Opened fact or without."""
    for action in (FETCH, replace(FETCH, opened=Opened(JOB, 1, 0.0, FETCH.file.key, '"e"', len(FILM), PART, BOOT))):
        target.put(PART, FILM)
        async with raw() as place:
            assert await target.fetch(place, action) == GOT
        assert place.asked == []
        assert target.files() == {"night/cat.mp4": FILM}
        (target.root / "night/cat.mp4").unlink()


async def test_killed_between_two_names_it_is_home(target: DownloadTarget) -> None:
    """A file that has its final name and still its old one is home, once."""
    target.put(PART, FILM)
    os.link(target.root / PART, target.root / "night/cat.mp4")
    async with raw() as place:
        assert await target.fetch(place) == GOT
    assert target.files() == {"night/cat.mp4": FILM}


async def test_after_a_power_cut_a_whole_looking_part_is_fetched_again(target: DownloadTarget, tmp_path: Path) -> None:
    """A `.part` of another boot may hold zeros in its midst: it is neither published nor continued."""
    zeros = FILM[:1000] + bytes(100_000) + FILM[101_000:]
    opened = Opened(JOB, 1, 0.0, FETCH.file.key, '"e"', len(FILM), PART, BOOT)
    for body in (zeros, zeros[:5000]):
        target.put(PART, body)
        async with serving(tmp_path / "f") as place:
            assert await target.fetch(place, replace(FETCH, opened=opened), boot="boot-2") == GOT
        assert "Range" not in place.asked[0].headers
        assert target.files() == {"night/cat.mp4": FILM}
        (target.root / "night/cat.mp4").unlink()


async def test_a_file_without_a_workflow_is_ours_by_its_length_alone(target: DownloadTarget, tmp_path: Path) -> None:
    """Where a server writes no metadata, a final file counts if it has the length the server had said."""
    bare = film(None)
    async with serving(tmp_path / "f", bare) as place:
        assert isinstance(await target.fetch(place), Downloaded)
        assert isinstance(await target.fetch(place, target.again()), Downloaded)
        assert len(place.asked) == 1
        assert await target.fetch(place) == Downloaded(
            "night/cat-0123456789ab.mp4", len(bare), sha256(bare).hexdigest()
        )
        target.put("night/cat.mp4", bare[:-8] + box(b"free"))


async def test_gone_is_gone_only_if_our_own_disk_has_it_not(target: DownloadTarget) -> None:
    """A 404 is the end of it; the unfinished file goes too."""
    again = await _half(target)
    async with answering(respond(404)) as place:
        assert await target.fetch(place, again) == NotFound()
        assert await target.fetch(place) == NotFound()
    assert target.files() == {}


async def test_a_foreign_film_is_never_ours(target: DownloadTarget, tmp_path: Path) -> None:
    """A film that carries another attempt's workflow is not published, and said to be foreign."""
    async with serving(tmp_path / "f", OTHER) as place:
        end = await target.fetch(place)
    assert isinstance(end, Rejected)
    assert (end.foreign, end.never, end.etag) == (True, False, target.opened[0][0])
    assert target.files() == {}


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"<html>", id="html"),
        pytest.param(FILM[:-1], id="a byte short"),
        pytest.param(FILM[:48], id="its beginning"),
        pytest.param(FILM + b"\0", id="a byte long"),
        pytest.param(picture(), id="a picture"),
        pytest.param(bytes(5000), id="zeros"),
        pytest.param(box(b"ftyp") + bytes(900), id="one box and zeros"),
    ],
)
async def test_what_is_no_film_is_not_published(target: DownloadTarget, tmp_path: Path, body: bytes) -> None:
    """Every byte came and it is no whole film: nothing gets the name, and the ETag says which file it was."""
    async with serving(tmp_path / "f", body) as place:
        end = await target.fetch(place)
    assert isinstance(end, Rejected)
    assert (end.etag, end.foreign, end.never) == (target.opened[0][0], False, False)
    assert end.message
    assert target.files() == {}


async def test_a_probe_believes_only_a_film_that_carries_our_prefix(target: DownloadTarget, tmp_path: Path) -> None:
    """A guessed name proves nothing by itself."""
    probe = replace(FETCH, probe=True)
    for body, foreign in ((film(None), False), (FILM[:48], False), (OTHER, True)):
        async with serving(tmp_path / "f", body) as place:
            end = await target.fetch(place, probe)
        assert isinstance(end, Rejected)
        assert end.foreign is foreign
    async with serving(tmp_path / "f") as place:
        assert await target.fetch(place, probe) == GOT


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/xhtml+xml"])
async def test_a_login_page_is_no_film(target: DownloadTarget, kind: str) -> None:
    """An HTML page with 200 is not even written; what we had is kept."""
    again = await _half(target)
    async with answering(respond(200, b"<html>Login", Content_Type=kind)) as place:
        end = await target.fetch(place, again)
    assert isinstance(end, Failure)
    assert "page" in end.message
    assert target.files() == {PART: FILM[:100_000]}


@pytest.mark.parametrize(
    ("status", "cause"),
    [
        (401, Cause.UNAUTHORIZED),
        (403, Cause.UNAUTHORIZED),
        (500, Cause.UNAVAILABLE),
        (302, Cause.UNAVAILABLE),
        (429, Cause.UNAVAILABLE),
    ],
)
async def test_trouble_keeps_what_we_have(target: DownloadTarget, status: int, cause: Cause) -> None:
    """No status but 404 says that a file is gone; the unfinished one waits for the next attempt."""
    again = await _half(target)
    async with answering(respond(status)) as place:
        end = await target.fetch(place, again)
    assert isinstance(end, Failure)
    assert end.cause is cause
    assert target.files() == {PART: FILM[:100_000]}


async def test_a_name_the_server_refuses_is_never_asked_again(target: DownloadTarget) -> None:
    """400 on a file is for ever."""
    async with answering(respond(400)) as place:
        end = await target.fetch(place)
    assert isinstance(end, Rejected)
    assert end.never


async def test_a_second_attempt_goes_on_where_the_first_broke_off(target: DownloadTarget, tmp_path: Path) -> None:
    """With Range and If-Match, never If-Range, the rest is appended, and the whole is what the server has."""
    async with serving(tmp_path / "f") as place:
        async with client(place) as comfy, comfy.view(FETCH.file) as view:
            assert not isinstance(view, Failure)
            etag = view.etag
        again = await _half(target, etag=etag)
        assert await target.fetch(place, again) == GOT
    asked = place.asked[-1]
    assert (asked.headers["Range"], asked.headers["If-Match"]) == ("bytes=100000-", etag)
    assert "If-Range" not in asked.headers
    assert target.files() == {"night/cat.mp4": FILM}
    assert target.opened[-1] == (etag, len(FILM), PART)


async def test_a_body_that_ends_before_its_length_is_continued(target: DownloadTarget) -> None:
    """A body that just ends too early is no film that is cut: what came is kept, and the next attempt goes on."""
    source = Breaking(FILM[:100_000], ends=True)
    end = await Downloader(target.root, BOOT).fetch(FETCH, source, "night/cat", target.note)
    assert end == Failure(Cause.UNAVAILABLE, f"the file broke off after 100000 of {len(FILM)} bytes")
    assert target.files() == {PART: FILM[:100_000]}
    rest = Breaking(FILM[100_000:], ends=True, status=206, start=100_000)
    assert await Downloader(target.root, BOOT).fetch(target.again(), rest, "night/cat", target.note) == GOT


async def test_more_than_was_announced_is_no_film(target: DownloadTarget) -> None:
    """A body that goes on after its length is not taken for the film that its first bytes are."""
    source = Breaking(FILM + b"x", ends=True)
    end = await Downloader(target.root, BOOT).fetch(FETCH, source, "night/cat", target.note)
    assert isinstance(end, Failure)
    assert "more than" in end.message
    assert set(target.files()) <= {PART}


async def test_a_replaced_file_is_fetched_from_its_begin(target: DownloadTarget, tmp_path: Path) -> None:
    """Where the file changed (412) or shrank, the old bytes are thrown away: nothing is ever spliced."""
    again = await _half(target, body=OTHER)
    async with serving(tmp_path / "f") as place:
        assert await target.fetch(place, again) == GOT
    assert ["Range" in asked.headers for asked in place.asked] == [True, False]
    assert target.files() == {"night/cat.mp4": FILM}


@pytest.mark.parametrize("status", [412, 416])
async def test_a_server_that_only_refuses_ranges_is_away(target: DownloadTarget, status: int) -> None:
    """412 or 416 to a plain request makes no sense; it is asked once more without a range, not for ever."""
    again = await _half(target)
    async with answering(respond(status)) as place:
        end = await target.fetch(place, again)
        assert isinstance(end, Failure)
        assert len(place.asked) == 2
        assert isinstance(await target.fetch(place), Failure)
        assert len(place.asked) == 3


async def test_a_server_that_ignores_ranges_sends_all(target: DownloadTarget) -> None:
    """200 to a request for a range is the whole file, and is taken as that."""
    again = await _half(target)
    async with raw(cut(FILM, len(FILM))) as place:
        assert await target.fetch(place, again) == GOT
    assert len(place.asked) == 1


@pytest.mark.parametrize(
    "answer",
    [
        part_of(FILM, 99_999),
        part_of(FILM, 100_000, etag='"other"'),
        part_of(FILM, 100_000, claim=f"bytes 100000-{len(FILM)}/{len(FILM) + 1}"),
        part_of(FILM, 100_000, claim="bytes 100000-*/*"),
        part_of(FILM, 100_000, claim="lines 1-2/3"),
        part_of(FILM, 100_000, claim="bytes 0-9/10"),
    ],
)
async def test_a_part_that_does_not_fit_is_not_appended(target: DownloadTarget, answer: bytes) -> None:
    """A 206 of another file, place or length is dropped together with what we had, and nothing is published."""
    again = await _half(target)
    async with raw(answer) as place:
        end = await target.fetch(place, again)
    assert isinstance(end, Failure)
    assert ["Range" in asked.body.decode() for asked in place.asked] == [True, False]
    assert target.files() == {}


@pytest.mark.parametrize("etag", ["", 'W/"e"', "e", '"a b"'])
async def test_without_a_strong_etag_nothing_is_continued(target: DownloadTarget, etag: str) -> None:
    """A file that can't be named for sure is fetched from its begin."""
    again = await _half(target, etag=etag)
    async with raw(cut(FILM, len(FILM))) as place:
        assert await target.fetch(place, again) == GOT
    assert b"Range" not in place.asked[0].body


@pytest.mark.parametrize(
    "changes", [{"boot": "boot-0"}, {"part": "night/other.part"}, {"file": "else.mp4"}, {"size": 99_999}, {"size": -1}]
)
async def test_a_part_is_continued_only_with_its_own_fact(
    target: DownloadTarget, changes: dict[str, str | int]
) -> None:
    """Another boot, file, length or name, or no fact at all: the `.part` is thrown away."""
    again = await _half(target)
    assert again.opened is not None
    stale = replace(again.opened, **changes)  # type: ignore[arg-type]
    for action in (replace(again, opened=stale), FETCH):
        target.put(PART, FILM[:100_000])
        async with raw(cut(FILM, len(FILM))) as place:
            assert await target.fetch(place, action) == GOT
        assert b"Range" not in place.asked[0].body
        (target.root / GOT.path).unlink()


async def test_a_stalled_transfer_is_left_and_continued(target: DownloadTarget) -> None:
    """Silence in mid-file ends the attempt after the inactivity time-out, and what came is kept."""
    async with raw(cut(FILM, 200_000), hang=True) as place:
        end = await target.fetch(place, stall=0.5)
    assert isinstance(end, Failure)
    assert "in time" in end.message
    assert target.files() == {PART: FILM[:200_000]}
    async with raw(part_of(FILM, 200_000)) as place:
        assert await target.fetch(place, target.again()) == GOT


async def test_a_file_without_a_length_is_judged_by_its_boxes(target: DownloadTarget) -> None:
    """Where the connection's end is the file's, HTTP sees no cut: the boxes tell, and the ETag is not blamed."""
    head = b'HTTP/1.0 200 OK\r\nContent-Type: video/mp4\r\nETag: "e"\r\n\r\n'
    async with raw(head + FILM[:-400]) as place:
        end = await target.fetch(place)
    assert isinstance(end, Rejected)
    assert end.etag == f"sha256 {sha256(FILM[:-400]).hexdigest()}"
    assert target.opened == [('"e"', -1, PART)]
    async with raw(head + FILM) as place:
        assert await target.fetch(place) == GOT


@pytest.mark.parametrize("etag", ["", "ETag: \r\n", 'ETag: ""\r\n', 'ETag: W/"e"\r\n', "ETag: e\r\n"])
async def test_without_an_etag_the_bytes_are_the_proof(target: DownloadTarget, etag: str) -> None:
    """Two bad bodies are proof that a file is bad only if they are the same; a weak or empty ETag is none."""
    proofs = []
    for body in (FILM[:5000], FILM[:5000], FILM[:4000]):
        head = f"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\n{etag}Content-Length: {len(body)}\r\n\r\n"
        async with raw(head.encode() + body) as place:
            end = await target.fetch(place)
        assert isinstance(end, Rejected)
        proofs.append(end.etag)
    assert proofs[0] == proofs[1] != proofs[2]
    assert "" not in proofs


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("kind", ["text/html", "application/xhtml+xml"])
async def test_a_proxys_page_says_nothing_of_the_file(target: DownloadTarget, status: int, kind: str) -> None:
    """A page with 400 is a proxy's own and passes: the file is asked for again, also if the client lets the page by."""
    again = await _half(target)
    async with answering(respond(status, b"<html>", Content_Type=f"{kind}; charset=utf-8")) as place:
        ends = [await target.fetch(place, again)]
    page = Breaking(b"<html>", status=status, content_type=kind)
    ends.append(await Downloader(target.root, BOOT).fetch(again, page, "night/cat", target.note))
    for end in ends:
        assert isinstance(end, Failure)
        assert (end.cause, end.page) == (Cause.UNAVAILABLE, True)
    assert target.files() == {PART: FILM[:100_000]}


async def test_more_than_was_announced_is_the_servers_trouble(target: DownloadTarget) -> None:
    """A body longer than its length is no fault of the file; nothing of the surplus is written."""
    source = Breaking(FILM, size=1_000)
    end = await Downloader(target.root, BOOT).fetch(FETCH, source, "night/cat", target.note)
    assert isinstance(end, Failure)
    assert "more than" in end.message
    assert target.files() == {PART: b""}


async def test_a_compressed_file_is_refused(target: DownloadTarget) -> None:
    """Nothing is unpacked."""
    async with answering(respond(200, FILM, Content_Encoding="gzip")) as place:
        end = await target.fetch(place)
    assert isinstance(end, Failure)
    assert target.files() == {}


async def test_a_file_larger_than_any_is_not_taken(target: DownloadTarget) -> None:
    """A length beyond the bound is refused at once, and a body without length when it passes the bound."""
    async with raw(cut(FILM, len(FILM))) as place, client(place) as comfy:
        end = await Downloader(target.root, BOOT, largest=10_000).fetch(FETCH, comfy, "cat", target.note)
    assert isinstance(end, Rejected)
    assert target.opened == []
    async with raw(b"HTTP/1.0 200 OK\r\n\r\n" + FILM) as place, client(place) as comfy:
        end = await Downloader(target.root, BOOT, largest=10_000).fetch(FETCH, comfy, "cat", target.note)
    assert isinstance(end, Rejected)
    assert end.etag
    assert target.files() == {}


async def test_a_taken_name_is_never_overwritten(target: DownloadTarget, tmp_path: Path) -> None:
    """What stands under our name and is not ours stays; ours gets the job's id, then a number."""
    theirs = {"night/cat.mp4": OTHER, "night/cat-0123456789ab.mp4": b"junk", "night/cat-0123456789ab-2.mp4": b""}
    for path, body in theirs.items():
        target.put(path, body)
    async with serving(tmp_path / "f") as place:
        home = replace(GOT, path="night/cat-0123456789ab-3.mp4")
        assert await target.fetch(place) == home
        assert await target.fetch(place) == home
        assert len(place.asked) == 1
    assert target.files() == {**theirs, "night/cat-0123456789ab-3.mp4": FILM}


async def test_a_name_that_has_the_id_already(target: DownloadTarget, tmp_path: Path) -> None:
    """A job whose file is named by its id gets a number only: the id does not stand in a name twice."""
    target.put(f"cat-{JOB}.mp4", OTHER)
    async with serving(tmp_path / "f") as place, client(place) as comfy:
        for _ in range(2):
            end = await Downloader(target.root, BOOT).fetch(FETCH, comfy, f"cat-{JOB}", target.note)
            assert isinstance(end, Downloaded)
            assert end.path == f"cat-{JOB}-2.mp4"


async def test_a_guessed_file_must_render_the_job(target: DownloadTarget, tmp_path: Path) -> None:
    """Under a guessed name, our prefix on another workflow is somebody else's render; on the job's own it is ours."""
    probe = replace(FETCH, probe=True)
    async with serving(tmp_path / "f") as place:
        end = await target.fetch(place, probe, renders="something else")
        assert isinstance(end, Rejected)
        assert end.foreign
        assert target.files() == {}
        assert await target.fetch(place, probe, renders=RENDERS) == GOT


async def test_a_file_at_home_must_render_the_job(target: DownloadTarget, tmp_path: Path) -> None:
    """What lies here under our prefix with another workflow is left alone, and ours gets another name."""
    target.put("night/cat.mp4", FILM)
    async with serving(tmp_path / "f", film(pixels=os.urandom(300))) as place:
        end = await target.fetch(place, renders="something else")
        assert isinstance(end, Downloaded)
        assert end.path == f"night/cat-{JOB}.mp4"
        assert await target.fetch(place, renders=RENDERS) == GOT
        assert len(place.asked) == 1


async def test_a_rewritten_file_at_home_is_not_fetched_twice(target: DownloadTarget, tmp_path: Path) -> None:
    """A render that differs from what was sent is known again by the length with which its download was opened."""
    async with serving(tmp_path / "f") as place:
        assert await target.fetch(place, renders="something else") == GOT
        assert await target.fetch(place, target.again(), renders="something else") == GOT
        assert len(place.asked) == 1


@pytest.mark.parametrize(
    ("name", "body", "home"),
    [
        ("m_00001_.glb", mesh(), "night/cat.glb"),
        ("s_00001_.SVG", b"<svg/>", "night/cat.svg"),
        ("l_00001_.latent", tensors(), "night/cat.latent"),
        ("w.safetensors", tensors(), "night/cat.safetensors"),
        ("t_00001.txt", b"a cat", "night/cat.txt"),
        ("t_00001.txt", b"", "night/cat.txt"),
        ("v_00001_.WEBM", WEBM, "night/cat.webm"),
        ("run.sh", b"#!/bin/sh\n", "night/cat.sh"),
        ("data.json", b"{}", "night/cat.bin"),
        ("no-suffix", b"x", "night/cat.bin"),
        ("../../odd.p/y", b"x", "night/cat.bin"),
    ],
)
async def test_a_file_of_any_kind_comes_home(
    target: DownloadTarget, tmp_path: Path, name: str, body: bytes, home: str
) -> None:
    """Whatever a node saved is downloaded as data: nothing of it can be run, and its length is what was announced."""
    action = replace(FETCH, file=File(name))
    async with serving(tmp_path / "f", body) as place:
        assert await target.fetch(place, action) == Downloaded(home, len(body), sha256(body).hexdigest())
    assert target.files() == {home: body}
    assert not (target.root / home).stat().st_mode & 0o111


@pytest.mark.parametrize(
    ("name", "body"),
    [("m.glb", mesh()[:-1]), ("m.glb", b"glTF"), ("m.glb", b"<html>"), ("l.latent", b""), ("s.svg", b"")],
)
async def test_a_mesh_that_was_cut_does_not_come_home(
    target: DownloadTarget, tmp_path: Path, name: str, body: bytes
) -> None:
    """Where a format says how long it is, a stump that the server has for whole is refused; so is an empty latent."""
    async with serving(tmp_path / "f", body) as place:
        end = await target.fetch(place, replace(FETCH, file=File(name)))
    assert isinstance(end, Rejected)
    assert target.files() == {}


async def test_a_latent_of_another_attempt_is_foreign(target: DownloadTarget, tmp_path: Path) -> None:
    """SaveLatent writes the workflow into the file's header, and that is believed before the name."""
    action = replace(FETCH, file=File("l.latent"))
    async with serving(tmp_path / "f", tensors("cats-0123456789ab-a2")) as place:
        end = await target.fetch(place, action)
    assert isinstance(end, Rejected)
    assert end.foreign


async def test_a_text_that_broke_off_is_continued(target: DownloadTarget) -> None:
    """A file without any structure is whole only with its last byte, and goes on where it broke off like a film."""
    body = b"word " * 30_000
    action = replace(FETCH, file=File("t.txt"))
    source = Breaking(body[:100_000], size=len(body))
    assert isinstance(await Downloader(target.root, BOOT).fetch(action, source, "night/cat", target.note), Failure)
    async with raw(part_of(body, 100_000)) as place:
        end = await target.fetch(place, target.again(action))
    assert end == Downloaded("night/cat.txt", len(body), sha256(body).hexdigest())


async def test_a_text_is_ours_by_its_sidecar(target: DownloadTarget, tmp_path: Path) -> None:
    """A saved text is not fetched again if its sidecar names our attempt, and never taken for ours if another's."""
    action, body = replace(FETCH, file=File("t.txt")), b"a cat"
    target.put("night/cat.txt", body)
    target.put("night/cat.json", told("night/cat.txt", body))
    async with serving(tmp_path / "f", body) as place:
        home = await target.fetch(place, action)
        assert home == Downloaded("night/cat.txt", len(body), sha256(body).hexdigest())
        assert place.asked == []
        opened = Opened(JOB, 1, 0.0, "t.txt", '"e"', len(body), f"night/{PREFIX}-0.part", BOOT)
        for sidecar in (told("night/cat.txt", body, "cats-0123456789ab-a2"), told("night/cat.txt", b"a dog")):
            target.put("night/cat.json", sidecar)
            end = await target.fetch(place, replace(action, opened=opened))
            assert isinstance(end, Downloaded)
            assert end.path == f"night/cat-{JOB}.txt"
            (target.root / end.path).unlink()


@pytest.mark.parametrize("sidecar", [b"", b"{", b"[]", b'{"file": 5}', b'{"file": {"path": "night/cat.png"}}', b"\xff"])
async def test_a_broken_sidecar_says_nothing(target: DownloadTarget, tmp_path: Path, sidecar: bytes) -> None:
    """A sidecar that can't be read, or is of another file, is no evidence: the length that we saw decides."""
    target.put("night/cat.json", sidecar)
    action = replace(FETCH, file=File("t.txt"))
    async with serving(tmp_path / "f", b"a cat") as place:
        assert isinstance(await target.fetch(place, action), Downloaded)
        assert isinstance(await target.fetch(place, target.again(action)), Downloaded)
        assert len(place.asked) == 1


async def test_a_cancelled_attempt_leaves_what_can_be_continued(target: DownloadTarget) -> None:
    """On the way out the file is closed with every byte that came, and the next attempt goes on from there."""
    slow = Breaking(FILM[:123_456], silent=True)
    async with asyncio.TaskGroup() as group:
        attempt = group.create_task(Downloader(target.root, BOOT).fetch(FETCH, slow, "night/cat", target.note))
        await slow.waiting.wait()
        attempt.cancel()
    assert target.files() == {PART: FILM[:123_456]}
    async with raw(part_of(FILM, 123_456)) as place:
        assert await target.fetch(place, target.again()) == GOT


def test_a_scan_finds_this_batchs_whole_films(target: DownloadTarget) -> None:
    """Whole files that carry a prefix of the batch, or whose sidecar names one, are found; no copy of an input is."""
    second = picture("cats-ffffffffffff-a7")
    target.put("a/x.mp4", FILM)
    target.put("y.png", second)
    for path, body in {"b.mp4": FILM[:-1], "c.mp4": film("dogs-0123456789ab-a1"), "d.txt": FILM, "e.mp4": b""}.items():
        target.put(path, body)
    for path, prefix in {"f.txt": PREFIX, "g.txt": "dogs-0123456789ab-a1", "e.mp4": PREFIX}.items():
        target.put(path, b"")
        target.put(f"{path[0]}.json", told(path, b"", prefix))
    for hidden in (".sim/output/x.mp4", "a/._x.mp4", "a/.b/x.mp4", "inputs/batchrunner-x.mp4"):
        target.put(hidden, FILM)
    (target.root / "link.mp4").symlink_to("a/x.mp4")
    (target.root / "loop").symlink_to(".")
    assert set(Downloader(target.root, BOOT).scan("cats")) == {
        LocalFile(PREFIX, "a/x.mp4", len(FILM), GOT.sha256, RENDERS),
        LocalFile("cats-ffffffffffff-a7", "y.png", len(second), sha256(second).hexdigest(), RENDERS),
        LocalFile(PREFIX, "f.txt", 0, sha256(b"").hexdigest()),
    }


def test_a_scan_may_be_for_some_names_only(target: DownloadTarget) -> None:
    """Where only some jobs are missed, only the files that have their names, with any suffix, are opened."""
    for path in ("a/x.mp4", "a/y.mp4", "a/x.m4v", "x.mp4"):
        target.put(path, FILM)
    found = Downloader(target.root, BOOT).scan("cats", {"a/x"})
    assert [home.path for home in found] == ["a/x.m4v", "a/x.mp4"]


def test_a_sweep_removes_our_unfinished_files_only(target: DownloadTarget) -> None:
    """When a batch ends, no `.part` of an attempt is left; a person's own file of that kind stays."""
    for path in (PART, f"{PREFIX}-12.part", "mine.part", "night/cat.mp4", "cats-0123456789ab-a0-0.part"):
        target.put(path, b"x")
    Downloader(target.root, BOOT).sweep()
    assert sorted(target.files()) == ["cats-0123456789ab-a0-0.part", "mine.part", "night/cat.mp4"]


async def test_a_video_that_is_not_what_was_asked_for_is_kept_with_a_warning(tmp_path: Path) -> None:
    """It is saved like any other; what differs is said, also when it is found on our own disk later."""
    body = PyavRenderer(64, 9).render(Order("mp4", Shot(64, 32, 9), {"prompt": graph()}))
    body = body.replace(b'"simulated"', b'"as it was"')
    (tmp_path / "home").mkdir()
    downloader = Downloader(tmp_path / "home", BOOT)
    downloader.asked = lambda action: Video(1280, 704, 121) if action == FETCH else Video(64, 32, 9)
    async with serving(tmp_path / "f", body) as place, client(place) as comfy:
        for _ in range(2):
            end = await downloader.fetch(FETCH, comfy, "night/cat", lambda *_: None)
            assert isinstance(end, Downloaded)
            assert end.warning == "64x32 instead of 1280x704, 9 frames instead of 121"
        end = await downloader.fetch(replace(FETCH, attempt=2), comfy, "night/dog", lambda *_: None)
        assert isinstance(end, Downloaded)
        assert end.warning == ""
