"""The page and its data on disk and over HTTP: whole, inert, and nothing else of the folder."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from hashlib import sha256
from html.parser import HTMLParser
from io import BytesIO
from typing import TYPE_CHECKING

import aiohttp
import pytest
import yarl

from batchrunner.errors import LocalError
from batchrunner.show.gallery import serving, write_data, write_page, write_posters
from batchrunner.show.gallery.page import data_script, page_html
from batchrunner.show.gallery.serve import usual_port
from batchrunner.sim.graph import Shot
from batchrunner.sim.media import Order
from batchrunner.sim.video import PyavRenderer

if TYPE_CHECKING:
    from pathlib import Path

HOSTILE = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(1)>\u2028\u202e&amp;\x7f\ud800"


class _Tags(HTMLParser):
    """Notes every start tag with its attributes."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def test_the_page_is_one_file_that_asks_nobody() -> None:
    """No address, no handler, no style attribute: everything is in the page or beside it."""
    tags = _Tags(page_html("cats")).found
    addresses = [value for _, attrs in tags for key, value in attrs.items() if key in {"src", "href"}]
    assert [address for address in addresses if not (address or "").startswith(("data:", "#"))] == []
    assert not any(key.startswith("on") or key == "style" for _, attrs in tags for key in attrs)
    assert [tag for tag, _ in tags].count("script") == 1


def test_the_policy_knows_only_this_script_and_style() -> None:
    """Both run by the hash of exactly what stands there; nothing is allowed that is not named."""
    text = page_html("cats")
    policy = next(attrs["content"] for tag, attrs in _Tags(text).found if attrs.get("http-equiv")) or ""
    for tag in ("script", "style"):
        (inside,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = b64encode(sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy


def test_a_hostile_name_is_a_name() -> None:
    """Even a batch's name, which cannot hold any of this, would be text on the page."""
    assert [tag for tag, _ in _Tags(page_html(HOSTILE)).found] == [tag for tag, _ in _Tags(page_html("cats")).found]


def test_data_is_one_call_whatever_it_says() -> None:
    """Nothing in a prompt ends the script, begins a line or leaves ASCII, and it reads back as it was."""
    text = data_script({"prompt": HOSTILE})
    assert text.isascii()
    assert re.findall(r"[<>&\x7f]", text) == []
    assert text.count("\n") == 1
    inside = text.removeprefix("window.batchrunnerGallery?.(").removesuffix(");\n")
    assert json.loads(inside) == {"prompt": HOSTILE}


def test_files_are_replaced_whole(tmp_path: Path) -> None:
    """A second write takes the place of the first, leaves nothing behind, and follows no link."""
    other = tmp_path / "other"
    other.write_text("mine")
    (tmp_path / "gallery-data.js").symlink_to(other)
    write_page(tmp_path, "cats")
    write_data(tmp_path, {"n": 1})
    write_data(tmp_path, {"n": 2})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gallery-data.js", "index.html", "other"]
    assert '"n":2' in (tmp_path / "gallery-data.js").read_text()
    assert other.read_text() == "mine"


def test_a_folder_that_is_gone_is_said(tmp_path: Path) -> None:
    """What can't be written is a line for a person, not a traceback."""
    with pytest.raises(LocalError, match="can't be written"):
        write_data(tmp_path / "gone", {})


def test_a_film_has_a_poster(tmp_path: Path) -> None:
    """A picture of its middle, made once, found again; the film's name may be anything."""
    pytest.importorskip("av", reason="posters need PyAV (extra: video)")
    film = PyavRenderer(64, 12).render(Order("mp4", Shot(width=64, height=48, frames=12, text="a")))
    (tmp_path / "a #?.mp4").write_bytes(film)
    (made,) = write_posters(tmp_path, ["a #?.mp4", "b.mp4"]).values()
    content = (tmp_path / made).read_bytes()
    assert (content[:2], content[-2:]) == (b"\xff\xd8", b"\xff\xd9")
    (tmp_path / "b.mp4").write_bytes(film)
    (tmp_path / "a #?.mp4").unlink()
    assert write_posters(tmp_path, ["a #?.mp4"]) == {"a #?.mp4": made}
    (tmp_path / made).parent.rename(tmp_path / "elsewhere")
    (tmp_path / made).parent.symlink_to(tmp_path / "elsewhere")
    assert write_posters(tmp_path, ["b.mp4"]) == {}, "a planted link would have it written anywhere"
    assert len(list((tmp_path / "elsewhere").iterdir())) == 1


def test_what_has_no_poster_has_none(tmp_path: Path) -> None:
    """No film, no file, a place that is taken: no poster, and no trouble."""
    (tmp_path / "a.mp4").write_bytes(b"no film")
    assert write_posters(tmp_path, ["a.mp4", "gone.mp4"]) == {}


async def test_only_the_gallery_is_served(tmp_path: Path) -> None:
    """The page, its data, media and copies of inputs are; the state, the log, links and whatever lies above are not."""
    batch = tmp_path / "cats"
    (batch / "clips").mkdir(parents=True)
    (batch / "inputs").mkdir()
    for name in ("batchrunner-ab.png", ".hashes.json"):
        (batch / "inputs" / name).write_bytes(b"0123456789")
    write_page(batch, "cats")
    write_data(batch, {})
    secret = tmp_path / "secret.mp4"
    for path in (batch / "clips" / "a b.mp4", batch / "state.sqlite3", batch / "run.log", batch / "a.json", secret):
        path.write_bytes(b"0123456789")
    (batch / "link.mp4").symlink_to(secret)
    (batch / "above").symlink_to(tmp_path)
    expected = {
        "": 200,
        "index.html": 200,
        "gallery-data.js?1": 200,
        "clips/a%20b.mp4": 200,
        "inputs/batchrunner-ab.png": 200,
        "inputs/.hashes.json": 404,
        "state.sqlite3": 404,
        "run.log": 404,
        "a.json": 404,
        "clips/": 404,
        "none.mp4": 404,
        "link.mp4": 404,
        "above/secret.mp4": 404,
        "..%2Fsecret.mp4": 404,
        "clips/%2e%2e/%2e%2e/secret.mp4": 404,
        "%00.mp4": 404,
    }
    async with serving(batch) as url, aiohttp.ClientSession() as http:
        found = {}
        for path in expected:
            async with http.get(yarl.URL(url + path, encoded=True)) as answer:
                found[path] = answer.status
    assert found == expected


async def test_a_player_can_seek(tmp_path: Path) -> None:
    """A Range is answered with that range."""
    (tmp_path / "a.mp4").write_bytes(b"0123456789")
    async with serving(tmp_path) as url, aiohttp.ClientSession(headers={"Range": "bytes=2-4"}) as http:
        answer = await http.get(url + "a.mp4")
        assert (answer.status, await answer.read()) == (206, b"234")
        assert answer.headers["Content-Range"] == "bytes 2-4/10"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_no_other_name_is_answered(tmp_path: Path) -> None:
    """A page elsewhere whose name resolves to this machine gets nothing."""
    write_page(tmp_path, "cats")
    async with serving(tmp_path) as url, aiohttp.ClientSession(headers={"Host": "evil.example"}) as http:
        assert (await http.get(url)).status == 421


@pytest.mark.parametrize("path", ["", "index.html", "key/index.html", "%ff/index.html", "a/b/../index.html"])
async def test_nothing_is_shown_without_the_key(tmp_path: Path, path: str) -> None:
    """Another user of this machine who finds the port sees nothing."""
    write_page(tmp_path, "cats")
    async with serving(tmp_path) as url, aiohttp.ClientSession() as http:
        assert (await http.get(url)).status == 200
        async with http.get(yarl.URL(str(yarl.URL(url).origin()) + "/" + path, encoded=True)) as answer:
            assert answer.status == 404


@pytest.mark.parametrize(
    ("path", "host", "status"),
    [("a" * 5000 + ".mp4", None, 404), ("a%00.mp4", None, 404), ("", "[", 421), ("", "a b", 421), ("", "", 421)],
)
async def test_odd_requests_are_answered_without_a_traceback(
    tmp_path: Path, path: str, host: str | None, status: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Long paths and odd Host headers are the client's mistake, and nothing of ours breaks."""
    write_page(tmp_path, "cats")
    headers = {} if host is None else {"Host": host}
    async with (
        serving(tmp_path) as url,
        aiohttp.ClientSession(headers=headers) as http,
        http.get(yarl.URL(url + path, encoded=True)) as answer,
    ):
        assert answer.status in {status, 400}
    assert caplog.records == []


def test_page_data_and_sidecars_are_private(tmp_path: Path) -> None:
    """What tells of a batch is as private as its state, whatever the umask is."""
    write_page(tmp_path, "cats")
    write_data(tmp_path, {})
    assert [path.stat().st_mode & 0o777 for path in sorted(tmp_path.iterdir())] == [0o600, 0o600]


async def test_a_taken_port_is_said(tmp_path: Path) -> None:
    """Who asks for a port that somebody has is told so."""
    async with serving(tmp_path) as url:
        port = yarl.URL(url).port or 0
        with pytest.raises(LocalError, match=f"port {port}"):
            async with serving(tmp_path, port):
                pass


async def test_a_batch_keeps_its_port(tmp_path: Path) -> None:
    """The page of a batch is served on the same port each time, and on a free one while somebody has that."""
    ports = set[int | None]()
    async with serving(tmp_path) as first, serving(tmp_path) as second:
        ports = {yarl.URL(first).port, yarl.URL(second).port}
    assert usual_port(tmp_path) in ports
    assert len(ports) == 2


async def test_picks_are_kept_in_the_folder(tmp_path: Path) -> None:
    """The page finds its stars again in `picks.json`, which only its owner can read; before that there are none."""
    picks = {"batch": "cats", "picks": [{"job": "0" * 12, "note": "caf\u00e9 \ud800"}]}
    async with serving(tmp_path) as url, aiohttp.ClientSession() as http:
        async with http.get(url + "picks.json") as answer:
            assert (answer.status, answer.headers["X-Picks"]) == (204, "kept")
        own = {"Origin": str(yarl.URL(url).origin())}
        async with http.put(url + "picks.json", json=picks, headers=own) as answer:
            assert answer.status == 204
        async with http.get(url + "picks.json") as answer:
            assert (answer.status, await answer.json(), answer.headers["Cache-Control"]) == (200, picks, "no-store")
    assert (tmp_path / "picks.json").stat().st_mode & 0o777 == 0o600


_JSON = "application/json"


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (("picks.json", "http://evil.example", _JSON, b'{"picks": []}'), 403),
        (("picks.json", "null", _JSON, b'{"picks": []}'), 403),
        (("picks.json", "", _JSON, b'{"picks": []}'), 403),
        (("picks.json", "own", "text/plain", b'{"picks": []}'), 403),
        (("picks.json", "own", _JSON, b"{"), 400),
        (("picks.json", "own", _JSON, b"[]"), 400),
        (("picks.json", "own", _JSON, b'{"picks": 1}'), 400),
        (("picks.json", "own", _JSON, b" " * (5 << 20)), 413),
        (("state.sqlite3", "own", _JSON, b'{"picks": []}'), 405),
        (("../wrong-key/picks.json", "own", _JSON, b'{"picks": []}'), 404),
    ],
)
async def test_only_the_page_writes_and_only_picks(
    tmp_path: Path, request_: tuple[str, str, str, bytes], status: int
) -> None:
    """Nothing is written for a page from elsewhere, for another key, under another name, or if it is no picks."""
    path, origin, kind, body = request_
    async with serving(tmp_path) as url, aiohttp.ClientSession() as http:
        headers = {"Content-Type": kind}
        if origin:
            headers["Origin"] = str(yarl.URL(url).origin()) if origin == "own" else origin
        async with http.put(url + path, data=BytesIO(body), headers=headers) as answer:
            assert answer.status == status
    assert _names(tmp_path) == []
