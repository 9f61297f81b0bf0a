"""What a hostile server may say, drawn by hypothesis: any status, any header, any framing, any body; and any name."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from films import PREFIX, film, picture
from hypothesis import HealthCheck, Phase, given, seed, settings, strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator

    from hypothesis.strategies import SearchStrategy

T = TypeVar("T")

ID = "6197ab7d-13af-5b88-b023-d96a0a27aaaf"
FILM = film()
_SLICE = 200
"""Examples drawn at a time: hypothesis remembers all it has drawn, some 35 kB each."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Everything that comes back on one connection, byte for byte."""

    message: bytes
    hangs: bool = False
    """Whether silence follows, and not the end of the connection."""


_KEYS = (
    "queue_running", "queue_pending", "outputs", "images", "gifs", "filename", "subfolder", "type", "status",
    "status_str", "messages", "prompt", "prompt_id", "number", "node_errors", "error", "timestamp", "exception_message",
)  # fmt: skip
_WORDS = (
    ID,
    PREFIX,
    f"{PREFIX}_00001_.mp4",
    "output",
    "success",
    "error",
    "execution_error",
    "execution_success",
    "..",
)
_plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | st.sampled_from(_WORDS)
_json = st.recursive(
    _plain,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from((*_KEYS, ID)), inner, max_size=4),
    max_leaves=12,
)
_ENTRY = '{"' + ID + '": %s}'
_SAVED = _ENTRY % '{"outputs": {"9": {"images": [%s, %s]}}, "status": {"status_str": "success"}}'
_HISTORY = (
    _ENTRY,
    _SAVED,
    _ENTRY % '{"outputs": %s}',
    _ENTRY % '{"outputs": {"9": %s}, "status": %s}',
    _ENTRY % '{"status": {"messages": [["execution_error", %s], %s]}}',
    _ENTRY % ('{"prompt": [1, "' + ID + '", %s]}'),
)
_QUEUE = (
    '{"queue_running": [%s], "queue_pending": []}',
    '{"queue_running": [], "queue_pending": [[1, "' + ID + '", %s, {}, []]]}',
    '{"queue_running": [["' + ID + '", %s]], "queue_pending": %s}',
)
_WORKFLOW = '{"9": {"inputs": {"filename_prefix": "' + PREFIX + '"}}}'
_JOB = (
    '{"id": "' + ID + '", "status": %s, "priority": %s}',
    '{"id": "' + ID + '", "status": "in_progress", "priority": %s}',
    '{"id": "' + ID + '", "status": "completed", "outputs": %s, "execution_status": %s, "workflow": {"prompt": {}}}',
    '{"id": "' + ID + '", "status": "completed", "outputs": {"9": {"images": [%s, %s]}}, "execution_status": '
    '{"status_str": "success"}, "workflow": {"prompt": ' + _WORKFLOW + "}}",
    '{"id": "' + ID + '", "status": "completed", "outputs": {}, "execution_status": {}, "workflow": {"prompt": %s}}',
)
_POSTED = (
    '{"prompt_id": "' + ID + '", "number": %s, "node_errors": {}}',
    '{"prompt_id": %s, "number": 1, "node_errors": {}}',
    '{"prompt_id": "' + ID + '", "number": 1, "node_errors": {"9": %s}}',
    '{"prompt_id": "' + ID + '", "node_errors": {"9": {"errors": [%s], "dependent_outputs": %s}}}',
    '{"error": %s, "node_errors": {}}',
)
_ANY = ("%s", '{"a": %s}', '{"a": %s, "a": 1}')
SHAPES = {
    "GET /queue": _QUEUE,
    "GET /api/jobs/": _JOB,
    "GET /history/": _HISTORY,
    "GET /history?": _HISTORY,
    "POST /prompt": _POSTED,
}
"""What the answers to some requests look like, at times; `%s` is anything at all."""


_films = st.builds(
    lambda whole, place, byte, end: whole[: place % len(whole)] + byte + whole[place % len(whole) + len(byte) :] + end,
    st.sampled_from([FILM, film("cats-ffffffffffff-a1"), film(None), picture(), FILM[:-9]]),
    st.integers(0, 5_000),
    st.sampled_from([b"", b"", b"\xff", b"\x7f\xff\xff\xff"]),
    st.sampled_from([b"", b"", b"\0", b"\0\0\0\1moov"]),
)
_odd = st.binary(max_size=60) | st.sampled_from(
    [b"", b"{}", b"[" * 3_000, b'{"":' * 3_000, b"<html>Login</html>", b"9" * 5_000, b"1e999", b"NaN"]
)


def _mostly(usual: SearchStrategy[T], odd: SearchStrategy[T]) -> SearchStrategy[T]:
    """Return the usual, and about every ninth time the odd; hypothesis takes `a | a | b` for `a | b`."""
    return st.integers(0, 8).flatmap(lambda number: odd if number == 5 else usual)


def _bodies(request: str) -> SearchStrategy[bytes]:
    """Return bodies for one kind of request: mostly nearly what it asks for."""
    if "/view" in request:
        return _mostly(_films, _odd)
    shape, value = st.sampled_from(SHAPES.get(request, _ANY)), _json.map(json.dumps)
    nearly = st.builds(
        lambda shape, one, two: shape.replace("%s", one, 1).replace("%s", two).encode(), shape, value, value
    )
    return _mostly(nearly, _films | _odd)


_headers = st.dictionaries(
    st.sampled_from(
        ["Retry-After", "Date", "ETag", "Content-Encoding", "Content-Range", "Location", "Connection", "Set-Cookie"]
    ),
    st.sampled_from(
        [
            b"1", b"-1", b"9" * 30, b'"e"', b'W/"e"', b"gzip", b"identity", b"keep-alive", b"http://else/", b"\xff",
            b"bytes 100-2231/2232", b"bytes 0-1/2", b"bytes */x", b"Tue, 01 Jan 2030 00:00:00 GMT", b"//[", b"a=b", b"",
        ]
    ),
    max_size=1,
)  # fmt: skip
_KINDS = (*[b"application/json"] * 12, b"text/html", b"video/mp4", b"application/octet-stream", b"")
_STATUS = (*[200] * 30, *[206] * 6, *[400] * 4, 401, 403, 404, 412, 413, 416, 422, 429, 500, 502, 504, 301, 307)
_FRAMES = (*["length"] * 20, "none", "chunked", "short", "long", "cut", "negative", "twice", "torn", "wild")
_heads = st.sampled_from(
    [b"", b"\r\n\r\n", b"HTTP/1.1 2000 x\r\n\r\n", b"HTTP/9.9 200 OK\r\n\r\n", b"200 OK\r\n\r\n{}", b"SSH-2.0-x\r\n"]
)


def _framed(frame: str, body: bytes) -> bytes:
    """Return the headers that say where a body ends, the end of all headers, and the body; most are lies."""
    chunk = b"%x\r\n%s\r\n" % (len(body), body) if body else b""
    size = len(body)
    said = {
        "length": b"Content-Length: %d\r\n\r\n%s" % (size, body),
        "none": b"\r\n" + body,
        "chunked": b"Transfer-Encoding: chunked\r\n\r\n%s0\r\n\r\n" % chunk,
        "short": b"Content-Length: %d\r\n\r\n%s" % (max(size - 1, 0), body),
        "long": b"Content-Length: %d\r\n\r\n%s" % (size + 10, body),
        "cut": b"Transfer-Encoding: chunked\r\n\r\n" + chunk,
        "negative": b"Content-Length: -1\r\n\r\n" + body,
        "twice": b"Content-Length: %d\r\nContent-Length: 1\r\n\r\n%s" % (size, body),
        "torn": b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n" + body,
        "wild": b"X-\x00: \x01\r\n\r\n" + body,
    }
    return said[frame]


def _answer(status: int, kind: bytes, headers: dict[str, bytes], framed: bytes, *, hangs: bool) -> Answer:
    said = b"".join(b"%s: %s\r\n" % (name.encode(), value) for name, value in headers.items())
    return Answer(b"HTTP/1.1 %d X\r\nContent-Type: %s\r\n%s%s" % (status, kind, said, framed), hangs)


_hangs = st.sampled_from([False] * 15 + [True])


def answers(request: str) -> SearchStrategy[Answer]:
    """Return any answer to one kind of request."""
    framed = st.builds(_framed, st.sampled_from(_FRAMES), _bodies(request))
    whole = st.builds(_answer, st.sampled_from(_STATUS), st.sampled_from(_KINDS), _headers, framed, hangs=_hangs)
    return _mostly(whole, st.builds(Answer, _heads | st.binary(max_size=40), _hangs))


_parts = st.sampled_from(
    [
        "..",
        ".",
        "/",
        "\\",
        "\0",
        "~",
        "%2e",
        "con",
        "\u202e",
        "\n",
        "\r\nX: y",
        "a",
        " ",
        ".png",
        "-rf",
        ":",
        "\ud800",
        "?",
    ]
)
names = st.tuples(
    st.builds(
        lambda parts, end: "".join(parts) + end, st.lists(_parts, max_size=8), st.sampled_from([".mp4", ".mp4", ""])
    ),
    st.lists(_parts, max_size=4).map("".join),
)
"""Any file name and any folder, by a server that wants out of ours."""


def drawn(strategy: SearchStrategy[T], count: int) -> Iterator[list[T]]:
    """Yield `count` examples in slices, the same every time, without hypothesis keeping what it has drawn."""
    number = 0
    while count > 0:
        found = _slice(strategy, min(count, _SLICE), number)[:count]
        yield found
        count -= len(found)
        number += 1


def _slice(strategy: SearchStrategy[T], count: int, number: int) -> list[T]:
    found: list[T] = []

    @seed(number)
    @settings(
        max_examples=count,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def keep(example: T) -> None:
        found.append(example)

    keep()
    return found
