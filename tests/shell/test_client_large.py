"""However much others send, our own prompts are found, and the memory it takes stays bounded."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from answering import Place, answering, client
from films import graph
from hypothesis import given, settings, strategies as st

from batchrunner.comfy import large, wire
from batchrunner.comfy.exchange import Timeouts
from batchrunner.comfy.wire import WrongShapeError
from batchrunner.core.actions import Failure, Poll, PollResult, Row

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

ROOT = Path(__file__).parents[2]
MIB = 2**20
MOST = 100
"""MiB that one poll may take."""
WAITS = Timeouts(connect=10.0, call=60.0)


def _workflow(nodes: int) -> dict[str, Any]:
    """Return what the editor of ComfyUI saves with a prompt: some 400 bytes for each node."""
    node = {
        "type": "KSampler",
        "pos": [1215.5, 312.25],
        "size": {"0": 315, "1": 262},
        "flags": {},
        "inputs": [{"name": "model", "type": "MODEL", "link": 7}, {"name": "latent", "type": "LATENT", "link": 8}],
        "outputs": [{"name": "LATENT", "type": "LATENT", "links": [9, 10], "slot_index": 0}],
        "properties": {"Node name for S&R": "KSampler"},
        "widgets_values": [680261518225, "randomize", 30, 5.5, "euler", 'a "cat" in the [rain] {again}\\'],
    }
    return {"nodes": [{"id": number, **node} for number in range(nodes)], "links": [], "version": 0.4}


WORKFLOW = _workflow(400)
"""Some 200 kB."""
EDITOR = {"extra_pnginfo": {"workflow": WORKFLOW}, "client_id": "editor"}


def _strange(number: int) -> list[Any]:
    return [number, f"stranger-{number}", graph(f"theirs-{number}"), EDITOR, ["9"]]


def _ours(prompt: str) -> list[Any]:
    return [7, prompt, graph(f"night-{prompt}"), {}, ["9"]]


def _entry(row: list[Any]) -> dict[str, Any]:
    return {"prompt": row, "outputs": {}, "status": {"status_str": "success", "messages": []}}


def _heavy_queue() -> bytes:
    pending = [*map(_strange, range(60)), _ours("b"), *map(_strange, range(60, 100))]
    body = json.dumps({"queue_running": [_ours("a")], "queue_pending": pending}).encode()
    assert 100 * 170_000 < len(body) < 32 * MIB
    return body


def _with_row(row: bytes) -> bytes:
    """Return a queue in which one row of a stranger stands between two of ours."""
    ours = [json.dumps(_ours(prompt)).encode() for prompt in "ab"]
    return b'{"queue_running": [%s], "queue_pending": [%s, %s]}' % (ours[0], row, ours[1])


def _says(**answers: bytes) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(request: web.Request) -> web.Response:
        body = answers.get(request.path.strip("/"), b"{}")
        return web.Response(body=body, content_type="application/json")

    return answer


async def _in_a_child(answer: Callable[[web.Request], Awaitable[web.Response]], recent: int = 0) -> dict[str, Any]:
    """Poll for `a`, `b` and `c` in a process of its own, whose memory is known; return what it saw."""
    async with answering(answer) as place:
        command = (sys.executable, str(Path(__file__).with_name("heavy.py")), place.url, str(recent), "a", "b", "c")
        child = await asyncio.create_subprocess_exec(
            *command, cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, stdout=asyncio.subprocess.PIPE
        )
        said, _ = await child.communicate()
    assert child.returncode == 0
    found: dict[str, Any] = json.loads(said)
    print(f"{found['MiB']} MiB")  # noqa: T201 - a figure for whoever runs with -s
    return found


async def _poll(answer: Callable[[web.Request], Awaitable[web.Response]], poll: Poll) -> tuple[Place, PollResult]:
    async with answering(answer) as place, client(place, waits=WAITS) as comfy:
        seen = await comfy.poll(poll)
    assert isinstance(seen, PollResult)
    return place, seen


async def test_two_of_ours_among_a_hundred_heavy_prompts() -> None:
    """A queue of 100 prompts that carry the editor's workflow of 200 kB is read, in less than 200 MiB."""
    found = await _in_a_child(_says(queue=_heavy_queue()))
    assert (found["queue"], found["rows"], found["unread"]) == (["a", "b"], 102, None)
    assert found["prefixes"] == [["night-a"], ["night-b"]]
    assert found["history"] == {"c": False}
    assert found["MiB"] < MOST


@pytest.mark.parametrize(
    ("row", "theirs"),
    [
        pytest.param(lambda: b'[9, "x", {}, [%s0]]' % (b"[]," * (2 * MIB)), ["x"], id="of empty arrays"),
        pytest.param(
            lambda: b'[9, "x", {}, %s%s]' % (b"[" * 9_000, b"]" * 9_000), ["x"], id="deeper than Python reads"
        ),
        pytest.param(lambda: b'["x", 9, "%s"]' % (b"\\\\" * (14 * MIB)), ["x"], id="of backslashes"),
        pytest.param(lambda: b'[9, "x", ["\xf0\x9f\x90\xb1%s"]]' % (b"a" * (28 * MIB)), ["x"], id="of one wide text"),
        pytest.param(lambda: b'[9, "x", [0%s]]' % (b',""' * (9 * MIB)), ["x"], id="of empty texts"),
        pytest.param(lambda: b'[9, "%s", {}]' % (b"x" * (28 * MIB)), [""], id="with an endless id"),
    ],
)
async def test_one_monster_does_not_hide_ours(row: Callable[[], bytes], theirs: list[str]) -> None:
    """A row that could never be built costs its workflow, and nothing else: its id counts, and so do our prompts."""
    found = await _in_a_child(_says(queue=_with_row(row())))
    assert (found["queue"], found["rows"], found["unread"]) == (["a", "b"], 3, None)
    assert found["others"] == theirs
    assert found["MiB"] < MOST


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(lambda: b"[" * (30 * MIB), id="nothing but brackets"),
        pytest.param(lambda: b'[9, "x", "' + b"a" * (30 * MIB), id="a text without end"),
        pytest.param(lambda: b'[{}, "x", [0%s]]' % (b",[]" * (2 * MIB)), id="no number"),
        pytest.param(lambda: b"[9, 8, [0%s]]" % (b",[]" * (2 * MIB)), id="no id"),
        pytest.param(lambda: b'[9, "x", [0%s]]]' % (b",[]" * (2 * MIB)), id="a bracket too many"),
    ],
)
async def test_a_monster_that_is_no_row_is_the_wrong_shape(row: Callable[[], bytes]) -> None:
    """What no server could have written is no queue, found out at once and without the memory it was meant to take."""
    async with answering(_says(queue=_with_row(row()))) as place, client(place, waits=WAITS) as comfy:
        seen = await comfy.poll(Poll("s"))
    assert isinstance(seen, Failure)
    assert "wrong shape" in seen.message


async def test_a_queue_beyond_the_cap_is_read_in_part() -> None:
    """Of a queue of more than 32 MiB the rows that came count; nobody is absent from what was not read."""
    finished = json.dumps({"c": _entry(_ours("c"))}).encode()
    body = _with_row(b'[9, "x", {}, ["%s"]]' % (b"x" * (40 * MIB)))
    answer = _says(queue=body, **{"history/c": finished})
    _, seen = await _poll(answer, Poll("s", ("a", "b", "c")))
    assert [row.prompt for row in seen.queue] == ["a", "x"]
    assert seen.unread is not None
    assert "more than 32768 KiB" in seen.unread.message
    assert {prompt: entry and entry.prompt for prompt, entry in seen.history.items()} == {"c": "c"}


@pytest.mark.parametrize(
    ("begin", "more"),
    [(b'{"queue_running": ["%s", 5], "queue_pending": [' % (b"x" * 100), b" "), (b"", b"[")],
    ids=["no row", "no object"],
)
async def test_beyond_the_cap_the_shape_counts_too(begin: bytes, more: bytes) -> None:
    """What was wrong before it grew too large is no queue, not even a part of one."""
    async with answering(_says(queue=begin + more * (33 * MIB))) as place, client(place, waits=WAITS) as comfy:
        seen = await comfy.poll(Poll("s"))
    assert isinstance(seen, Failure)
    assert "more than 32768 KiB" in seen.message


async def test_a_history_of_heavy_prompts_is_read() -> None:
    """The last 64 entries are read though each carries 200 kB; one that could never be built is left out alone."""
    monster = b'"monster": {"prompt": [9, "monster", {}, [0%s]]}' % (b",[]" * MIB)
    theirs = {f"stranger-{number}": _entry(_strange(number)) for number in range(60)}
    body = json.dumps({"a": _entry(_ours("a")), **theirs, "b": _entry(_ours("b"))}).encode()
    body = body[:-1] + b", %s}" % monster
    assert 10 * MIB < len(body) < 16 * MIB
    found = await _in_a_child(_says(queue=b'{"queue_running": [], "queue_pending": []}', history=body), recent=64)
    assert found["recent"] == ["a", *theirs, "b"]
    assert found["unread"] is None
    assert found["MiB"] < MOST


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize(("fits", "asked"), [(60, [100, 50]), (12, [100, 50, 25, 12]), (1, [100, 50, 25, 12, 6, 3, 1])])
async def test_a_list_beyond_the_cap_is_asked_for_again(fits: int, asked: list[int], *, chunked: bool) -> None:
    """Where so many entries are more than 16 MiB half as many are asked for, within one poll, down to one."""

    async def answer(request: web.Request) -> web.StreamResponse:
        if request.path == "/queue":
            return web.json_response({"queue_running": [], "queue_pending": []})
        count = int(request.query["max_items"])
        entries = {f"id-{n}": _entry(_ours(f"id-{n}")) for n in range(100 - count, 100)}
        padding = "" if count <= fits else " " * (17 * MIB)
        response = web.Response(text=json.dumps(entries) + padding, content_type="application/json")
        if chunked:
            response.enable_chunked_encoding()
        return response

    place, seen = await _poll(answer, Poll("s", (), 100))
    assert [each.path for each in place.asked] == ["/queue", *(f"/history?max_items={count}" for count in asked)]
    assert [entry.prompt for entry in seen.recent] == [f"id-{n}" for n in range(100 - asked[-1], 100)]
    assert seen.unread is None


async def test_one_entry_beyond_the_cap_costs_the_list_alone() -> None:
    """A single entry of a stranger that is too large leaves the list out, and the poll whole."""
    answer = _says(queue=b'{"queue_running": [], "queue_pending": []}', history=b" " * (17 * MIB))
    place, seen = await _poll(answer, Poll("s", ("a",), 3))
    assert (seen.recent, seen.unread, dict(seen.history)) == ((), None, {"a": None})
    assert [each.path for each in place.asked][-2:] == ["/history?max_items=3", "/history?max_items=1"]


_id = st.sampled_from(["a", "b", 'q"[{\\', "é\U0001f431"]) | st.text(max_size=5)
_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(alphabet='a"\\[]{},: é\n', max_size=6),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)
_number = st.integers() | st.floats()
_row = (
    st.tuples(_number, _id, _json, _json).map(list)
    | st.tuples(_id, _number).map(list)
    | st.tuples(_number, _id, st.builds(graph, st.text(max_size=4))).map(list)
    | _json
)
_rows = st.lists(_row, max_size=4)
_queues = st.fixed_dictionaries({"queue_running": _rows, "queue_pending": _rows}, optional={"more": _json}) | _json
_histories = st.dictionaries(_id, st.builds(lambda row: {"prompt": row, "outputs": {}}, _row) | _json, max_size=3)
_indents = st.sampled_from([None, 0, 1, "\t"])
_damage = st.none() | st.tuples(
    st.integers(0, 400), st.integers(0, 2), st.sampled_from([*b'[]{},:"\\ \n0', 0xFF]).map(lambda sign: bytes([sign]))
)


def _read(read: Callable[[bytes], object], body: bytes) -> object:
    try:
        return read(body)
    except WrongShapeError:
        return "wrong shape"


def _damaged(body: bytes, damage: tuple[int, int, bytes] | None) -> bytes:
    if damage is None:
        return body
    place, gone, sign = damage
    place %= len(body)
    return body[:place] + sign + body[place + gone :]


@settings(max_examples=600, deadline=None)
@given(_queues, _indents, st.sampled_from([True, False]), _damage)
def test_a_queue_cut_into_rows_is_the_same_queue(value: Any, indent: Any, plain: bool, damage: Any) -> None:  # noqa: FBT001
    """However a small body is laid out or damaged, it is the same queue by row and as a whole, or none by both."""
    body = _damaged(json.dumps(value, indent=indent, ensure_ascii=plain).encode("utf-8", "surrogatepass"), damage)
    assert _read(large.queue, body) == _read(lambda each: wire.queue(wire.parse(each)), body)


@settings(max_examples=300, deadline=None)
@given(_histories, _indents, _damage)
def test_a_history_cut_into_entries_is_the_same_history(value: Any, indent: Any, damage: Any) -> None:
    """The same for the list of the last entries."""
    body = _damaged(json.dumps(value, indent=indent).encode(), damage)
    assert _read(large.recent, body) == _read(lambda each: wire.recent(wire.parse(each)), body)


@settings(max_examples=300, deadline=None)
@given(_rows, _rows, st.integers(0, 400))
def test_a_queue_that_is_cut_off_shows_what_came(running: Any, pending: Any, length: int) -> None:
    """Cut anywhere, a good queue shows only rows that are in it, in their order."""
    body = json.dumps({"queue_running": running, "queue_pending": pending}).encode()
    whole = _read(large.queue, body)
    seen = _read(lambda each: large.queue(each, cut=True), body[:length])
    if isinstance(whole, tuple) and isinstance(seen, tuple):
        assert [(row.prompt, row.running) for row in seen] == [(row.prompt, row.running) for row in whole[: len(seen)]]


@pytest.mark.parametrize("key", ["queue_running", "more"])
def test_a_key_twice_is_no_queue(key: str) -> None:
    """A queue that says something twice is refused row by row as it is as a whole."""
    body = b'{"queue_running": [], "queue_pending": [], "more": 1, "%s": []}' % key.encode()
    for read in (large.queue, lambda each: wire.queue(wire.parse(each))):
        with pytest.raises(WrongShapeError, match="twice"):
            read(body)


def test_a_row_known_by_its_head_is_of_no_attempt() -> None:
    """Of a row too large to be built neither prefix nor digest is known, so it is never taken for ours."""
    heavy = [3, "x", {**graph(), "1": {"class_type": "X", "inputs": {"all": [[]] * 200_000}}}]
    (row,) = large.queue(json.dumps({"queue_running": [heavy], "queue_pending": []}).encode())
    assert (row.prompt, row.prefixes, row.digest) == ("x", (), "")


def test_a_heavy_row_is_known_by_its_head() -> None:
    """Of a row that could not be built the number and the id are read, in either order and whatever is escaped."""
    heavy = b"[0%s]" % (b",[]" * MIB)
    rows = b'[ 9.5 , "\\u0061\\"" , %s], ["b",NaN,%s]' % (heavy, heavy)
    assert large.queue(b'{"queue_running": [%s], "queue_pending": []}' % rows) == (
        Row('a"', 9.5, running=True),
        Row("b", 0.0, running=True),
    )
